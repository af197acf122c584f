# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Results as the documents have them: several videos, thumbnails, other containers, images' ratios."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import av
import pytest
import requests
from PIL import Image
from simulator_calls import AUTH, TIMEOUT, VENDORS, created, data, finished_link, link, order, status
from simulator_examples import APIMODELS_RESULT, RESULTS

from airflow_provider_vidgen.simulator import Simulator, media, options
from airflow_provider_vidgen.simulator.media import frame_size, image_size

SEVERAL = ("apimodels", "apixo", "apimart")


@pytest.fixture(scope="module")
def rendering() -> Iterator[Simulator]:
    """A simulator that makes real videos."""
    with Simulator(render=True, speed=0) as running:
        yield running


def result(sim: Simulator, vendor: str, task_id: str) -> dict[str, Any]:
    """The links of a finished job in one spelling."""
    told = data(sim, vendor, task_id)
    if vendor == "apimart":
        inner = told["result"]
        return {"urls": inner["videos"][0]["url"], "thumbnail": inner.get("thumbnail_url")}
    if vendor == "apixgo":
        return {"urls": [told["result_url"]], "thumbnail": None}
    inner = json.loads(told["resultJson"]) if "resultJson" in told else told
    return {"urls": inner["resultUrls"], "thumbnail": inner.get("thumbnailUrl")}


def finished(sim: Simulator, vendor: str, words: str = "") -> str:
    task_id = created(sim, vendor, order(vendor, f"a cat {words}"))
    sim.advance(20)
    return task_id


# --- what the documents show ----------------------------------------------------------------------------


def same_shape(shown: Any, sent: Any, where: str = "") -> None:
    """See that a reply has the fields of a document's example, of the same types, and no others."""
    if isinstance(shown, dict):
        assert isinstance(sent, dict), where
        assert list(sent) == list(shown), where
        for name in shown:
            same_shape(shown[name], sent[name], f"{where}.{name}")
    elif isinstance(shown, list):
        assert [type(item) for item in sent] == [type(item) for item in shown], where
    elif isinstance(shown, str) and shown[:1] == "{":
        same_shape(json.loads(shown), json.loads(sent), f"{where}()")
    elif isinstance(shown, str) and shown.startswith("https://"):
        assert sent.startswith("http://127.0.0.1:"), where
        assert sent.split("?")[0].endswith(shown[-4:]), where
    else:
        assert type(sent) is type(shown), where


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_the_fields_of_the_documents_example(sim: Simulator, name: str) -> None:
    vendor, words, options, shown = RESULTS[name]
    sim.options(**options)
    task_id = created(sim, vendor, order(vendor, f"a cat {words}"))
    sim.advance(20)
    told = status(sim, vendor, task_id).json()
    same_shape(json.loads(shown), told)


def test_apimodels_result_object_has_all_that_its_document_shows(sim: Simulator) -> None:
    sim.options(apimodels_result_field="resultJson", thumbnails=True)
    body = order("apimodels", model="grok-video-3-10s", size="1080P", aspect_ratio="9:16")
    task_id = created(sim, "apimodels", body)
    sim.advance(20)
    told = json.loads(data(sim, "apimodels", task_id)["resultJson"])
    same_shape(json.loads(APIMODELS_RESULT), told)
    assert (told["videoSize"], told["videoDuration"], told["videoModel"]) == (
        "1080x1920",
        10,
        "grok-video-3-10s",
    )


# --- several videos -------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", SEVERAL)
def test_a_job_can_make_several_videos(sim: Simulator, vendor: str) -> None:
    urls = result(sim, vendor, finished(sim, vendor, "[sim:videos=3]"))["urls"]
    contents = {requests.get(url, timeout=TIMEOUT).content for url in urls}
    assert len(urls) == len(set(urls)) == len(contents) == 3
    sim.options(videos_per_job=2)
    assert len(result(sim, vendor, finished(sim, vendor))["urls"]) == 2
    assert len(result(sim, vendor, finished(sim, vendor, "[sim:videos=1]"))["urls"]) == 1


def test_apixgo_has_a_place_for_one_link(sim: Simulator) -> None:
    told = data(sim, "apixgo", finished(sim, "apixgo", "[sim:videos=3] [sim:thumbnail]"))
    assert set(told) == {"task_id", "status", "progress", "result_url", "fail_reason"}
    assert requests.get(told["result_url"], timeout=TIMEOUT).status_code == 200


def test_a_job_can_be_scripted_to_make_more_until_it_has_ended(sim: Simulator) -> None:
    task_id = created(sim, "apimart")
    sim.script_job(task_id, videos=4, thumbnail=True)
    sim.advance(20)
    told = result(sim, "apimart", task_id)
    assert (len(told["urls"]), bool(told["thumbnail"])) == (4, True)


def test_all_links_of_a_job_die_and_are_renewed_together(sim: Simulator) -> None:
    sim.options(link_seconds={"apixo": 60})
    task_id = finished(sim, "apixo", "[sim:videos=2] [sim:thumbnail]")
    first = result(sim, "apixo", task_id)
    old = [*first["urls"], first["thumbnail"]]
    sim.advance(59)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in old] == [200] * 3
    sim.advance(1)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in old] == [403] * 3
    fresh = result(sim, "apixo", task_id)
    new = [*fresh["urls"], fresh["thumbnail"]]
    assert not set(old) & set(new)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in new] == [200] * 3


# --- thumbnails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", SEVERAL)
def test_a_thumbnail_is_a_small_jpeg_of_the_same_life(sim: Simulator, vendor: str) -> None:
    assert result(sim, vendor, finished(sim, vendor))["thumbnail"] is None
    sim.options(thumbnails=True)
    urls = [result(sim, vendor, finished(sim, vendor))["thumbnail"] for _ in range(2)]
    replies = [requests.get(url, timeout=TIMEOUT) for url in urls]
    assert {reply.headers["Content-Type"] for reply in replies} == {"image/jpeg"}
    assert replies[0].content != replies[1].content
    with Image.open(io.BytesIO(replies[0].content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("JPEG", (16, 9))
    assert requests.get(urls[0].replace("sig=", "sig=0"), timeout=TIMEOUT).status_code == 403
    assert requests.get(urls[0], headers={"Range": "bytes=0-9"}, timeout=TIMEOUT).status_code == 206


def test_a_thumbnail_can_go_wrong_as_a_download(sim: Simulator) -> None:
    url = result(sim, "apixo", finished(sim, "apixo", "[sim:thumbnail]"))["thumbnail"]
    sim.fault("html_as_video", route="download")
    reply = requests.get(url, timeout=TIMEOUT)
    assert (reply.headers["Content-Type"], reply.content[:9]) == ("image/jpeg", b"<!DOCTYPE")


def test_a_rendered_thumbnail_shows_the_video(rendering: Simulator) -> None:
    told = result(rendering, "apixo", finished(rendering, "apixo", "[sim:thumbnail]"))
    content = requests.get(told["thumbnail"], timeout=TIMEOUT).content
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (320, 180))
        with av.open(io.BytesIO(requests.get(told["urls"][0], timeout=TIMEOUT).content)) as video:
            frame = next(video.decode(video=0)).to_image().resize(picture.size)
        middle = (picture.width // 2, picture.height // 2)
        pairs = zip(picture.convert("RGB").getpixel(middle), frame.getpixel(middle), strict=True)
        assert all(abs(one - other) < 40 for one, other in pairs)


# --- containers -----------------------------------------------------------------------------------------

CONTAINERS = [
    ("mp4", "mp4", "video/mp4", "mov,mp4,m4a,3gp,3g2,mj2", b"ftyp"),
    ("fragmented", "mp4", "video/mp4", "mov,mp4,m4a,3gp,3g2,mj2", b"ftyp"),
    ("mov", "mov", "video/quicktime", "mov,mp4,m4a,3gp,3g2,mj2", b"ftypqt  "),
    ("webm", "webm", "video/webm", "matroska,webm", b"webm"),
]


@pytest.mark.parametrize(("container", "ending", "kind", "form", "mark"), CONTAINERS)
@pytest.mark.parametrize("render", [False, True])
def test_a_video_can_come_in_any_container(
    rendering: Simulator,
    sim: Simulator,
    container: str,
    ending: str,
    kind: str,
    form: str,
    mark: bytes,
    render: bool,
) -> None:
    running = rendering if render else sim
    running.reset()
    url = link(running, "apixo", finished(running, "apixo", f"[sim:container={container}]"))
    assert url.split("?")[0].endswith(f"/1.{ending}")
    reply = requests.get(url, timeout=TIMEOUT)
    assert reply.headers["Content-Type"] == kind
    assert mark in reply.content[:64]
    assert (b"moof" in reply.content) == (container == "fragmented")
    if container == "mp4" and not render:
        return  # it holds no picture
    with av.open(io.BytesIO(reply.content)) as video:
        assert video.format.name == form
        stream = video.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height) == (854, 480)
        assert sum(1 for _ in video.decode(stream)) == 6 * 8


def test_a_video_in_any_container_is_made_with_the_same_bytes_again() -> None:
    for container in ("webm", "mov", "fragmented"):
        with Simulator(render=True, speed=0, seed=3, options={"container": container}) as one:
            first = requests.get(finished_link(one, "apixo"), timeout=TIMEOUT).content
        with Simulator(render=True, speed=0, seed=3, options={"container": container}) as other:
            assert requests.get(finished_link(other, "apixo"), timeout=TIMEOUT).content == first


def test_a_container_that_needs_the_extra_is_refused_without_it(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "can_render", lambda: False)
    with pytest.raises(
        ValueError, match=r"container='webm': needs the extra: airflow-provider-vidgen\[simulator\]"
    ):
        sim.options(container="webm")
    assert "/1.mp4" in link(sim, "apixo", finished(sim, "apixo", "[sim:container=webm]"))


def test_a_link_of_another_container_than_the_job_has_now_is_dead(sim: Simulator) -> None:
    url = finished_link(sim, "apimart")
    sim.script_job(sim.jobs()[0].task_id, container="webm")
    assert requests.get(url, timeout=TIMEOUT).status_code == 404


# --- the reference image decides ------------------------------------------------------------------------


def uploaded(sim: Simulator, width: int, height: int, form: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, form)
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("ref", file.getvalue(), f"image/{form.lower()}")}
    return str(requests.post(url, files=files, headers=AUTH, timeout=TIMEOUT).json()["url"])


def size_of(sim: Simulator, vendor: str, body: Any) -> tuple[int, int]:
    content = requests.get(finished_link(sim, vendor, body), timeout=TIMEOUT).content
    with av.open(io.BytesIO(content)) as video:
        context = video.streams.video[0].codec_context
        return context.width, context.height


@pytest.mark.parametrize(
    ("picture", "quality", "video"),
    [((600, 800), "480p", (480, 640)), ((800, 600), "720p", (960, 720)), ((50, 50), "480p", (480, 480))],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_at_apimart_the_first_reference_image_decides_the_ratio(
    sim: Simulator, picture: tuple[int, int], quality: str, video: tuple[int, int], form: str
) -> None:
    images = [uploaded(sim, *picture, form), uploaded(sim, 320, 180)]
    body = order(
        "apimart", "a cat [sim:container=fragmented]", size="16:9", quality=quality, image_urls=images
    )
    assert size_of(sim, "apimart", body) == video


def test_an_image_that_is_elsewhere_is_measured_by_the_script(sim: Simulator) -> None:
    images = ["https://example.com/start.png"]
    words = "a cat [sim:container=mov]"
    assert size_of(sim, "apimart", order("apimart", words, image_urls=images, size="1:1")) == (480, 480)
    words += " [sim:image_size=300x400]"
    assert size_of(sim, "apimart", order("apimart", words, image_urls=images, size="1:1")) == (480, 640)
    assert size_of(sim, "apimart", order("apimart", words, size="1:1")) == (480, 480)


def test_no_picture_makes_a_video_of_any_length_of_side(sim: Simulator) -> None:
    images = [uploaded(sim, 1, 900)]
    body = order("apimart", "a cat [sim:container=mov]", image_urls=images)
    assert size_of(sim, "apimart", body) == frame_size("1:4", "480p") == (480, 1920)


def test_what_is_no_picture_decides_nothing(sim: Simulator) -> None:
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("ref", b"\x89PNG\r\n\x1a\n\x00", "image/png")}
    broken = requests.post(url, files=files, headers=AUTH, timeout=TIMEOUT).json()["url"]
    body = order("apimart", "a cat [sim:container=mov]", image_urls=[broken])
    assert size_of(sim, "apimart", body) == (854, 480)


def test_without_pillow_no_picture_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (6, 8)).save(file, "PNG")
    assert image_size(file.getvalue()) == "6x8"
    monkeypatch.setattr(media, "can_render", lambda: False)
    assert image_size(file.getvalue()) is None


@pytest.mark.parametrize("vendor", [vendor for vendor in VENDORS if vendor != "apimart"])
def test_other_vendors_keep_to_what_was_asked(sim: Simulator, vendor: str) -> None:
    images = {"image_urls": [uploaded(sim, 600, 800)], "aspect_ratio": "1:1"}
    mode = {"mode": "image-to-video"} if vendor == "apixo" else {}
    width, height = size_of(sim, vendor, order(vendor, "a cat [sim:container=mov]", **images, **mode))
    assert width == height
