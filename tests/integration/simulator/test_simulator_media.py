# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Results: several videos, thumbnails, containers, rendering, and the reference image's aspect ratio."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import av
import pytest
import requests
from PIL import Image
from simulator_calls import (
    AUTH_HEADER,
    TIMEOUT,
    VENDORS,
    create_job,
    finished_job_link,
    get_status,
    request_body,
    result_link,
    status_data,
)
from simulator_examples import APIMODELS_RESULT, RESULTS

from airflow_provider_vidgen.simulator import Simulator, media, options
from airflow_provider_vidgen.simulator.media import frame_size, image_size

VENDORS_WITH_SEVERAL_LINKS = ("apimodels", "apixo", "apimart")


@pytest.fixture(scope="module")
def rendering_sim() -> Iterator[Simulator]:
    """A simulator that renders real videos."""
    with Simulator(render=True, speed=0) as simulator:
        yield simulator


def result_links(sim: Simulator, vendor: str, task_id: str) -> dict[str, Any]:
    """Return the links of a finished job in the same form for all vendors."""
    payload = status_data(sim, vendor, task_id)
    if vendor == "apimart":
        result = payload["result"]
        return {"urls": result["videos"][0]["url"], "thumbnail": result.get("thumbnail_url")}
    if vendor == "apixgo":
        return {"urls": [payload["result_url"]], "thumbnail": None}
    result = json.loads(payload["resultJson"]) if "resultJson" in payload else payload
    return {"urls": result["resultUrls"], "thumbnail": result.get("thumbnailUrl")}


def finished_job(sim: Simulator, vendor: str, directives: str = "") -> str:
    task_id = create_job(sim, vendor, request_body(vendor, f"a cat {directives}"))
    sim.advance(20)
    return task_id


# --- the documented fields -----------------------------------------------------------------------------


def assert_same_fields(example: Any, actual: Any, path: str = "") -> None:
    """Check that a response has the fields of a documented example, of the same types, and no others."""
    if isinstance(example, dict):
        assert isinstance(actual, dict), path
        assert list(actual) == list(example), path
        for name in example:
            assert_same_fields(example[name], actual[name], f"{path}.{name}")
    elif isinstance(example, list):
        assert [type(item) for item in actual] == [type(item) for item in example], path
    elif isinstance(example, str) and example[:1] == "{":
        assert_same_fields(json.loads(example), json.loads(actual), f"{path}()")
    elif isinstance(example, str) and example.startswith("https://"):
        assert actual.startswith("http://127.0.0.1:"), path
        assert actual.split("?")[0].endswith(example[-4:]), path
    else:
        assert type(actual) is type(example), path


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_has_the_fields_of_the_documents_example(sim: Simulator, name: str) -> None:
    vendor, directive, changes, example = RESULTS[name]
    sim.options(**changes)
    task_id = create_job(sim, vendor, request_body(vendor, f"a cat {directive}"))
    sim.advance(20)
    payload = get_status(sim, vendor, task_id).json()
    assert_same_fields(json.loads(example), payload)


def test_the_apimodels_result_object_has_all_documented_fields(sim: Simulator) -> None:
    sim.options(apimodels_result_field="resultJson", thumbnails=True)
    body = request_body("apimodels", model="grok-video-3-10s", size="1080P", aspect_ratio="9:16")
    task_id = create_job(sim, "apimodels", body)
    sim.advance(20)
    payload = json.loads(status_data(sim, "apimodels", task_id)["resultJson"])
    assert_same_fields(json.loads(APIMODELS_RESULT), payload)
    assert (payload["videoSize"], payload["videoDuration"], payload["videoModel"]) == (
        "1080x1920",
        10,
        "grok-video-3-10s",
    )


# --- several videos -------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS_WITH_SEVERAL_LINKS)
def test_a_job_can_make_several_videos(sim: Simulator, vendor: str) -> None:
    urls = result_links(sim, vendor, finished_job(sim, vendor, "[sim:videos=3]"))["urls"]
    contents = {requests.get(url, timeout=TIMEOUT).content for url in urls}
    assert len(urls) == len(set(urls)) == len(contents) == 3
    sim.options(videos_per_job=2)
    assert len(result_links(sim, vendor, finished_job(sim, vendor))["urls"]) == 2
    assert len(result_links(sim, vendor, finished_job(sim, vendor, "[sim:videos=1]"))["urls"]) == 1


def test_an_apixgo_result_has_one_link(sim: Simulator) -> None:
    payload = status_data(sim, "apixgo", finished_job(sim, "apixgo", "[sim:videos=3] [sim:thumbnail]"))
    assert set(payload) == {"task_id", "status", "progress", "result_url", "fail_reason"}
    assert requests.get(payload["result_url"], timeout=TIMEOUT).status_code == 200


def test_a_running_job_can_be_scripted_to_make_several_videos(sim: Simulator) -> None:
    task_id = create_job(sim, "apimart")
    sim.script_job(task_id, videos=4, thumbnail=True)
    sim.advance(20)
    payload = result_links(sim, "apimart", task_id)
    assert (len(payload["urls"]), bool(payload["thumbnail"])) == (4, True)


def test_all_links_of_a_job_expire_and_are_renewed_together(sim: Simulator) -> None:
    sim.options(link_seconds={"apixo": 60})
    task_id = finished_job(sim, "apixo", "[sim:videos=2] [sim:thumbnail]")
    first = result_links(sim, "apixo", task_id)
    old = [*first["urls"], first["thumbnail"]]
    sim.advance(59)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in old] == [200] * 3
    sim.advance(1)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in old] == [403] * 3
    fresh = result_links(sim, "apixo", task_id)
    new = [*fresh["urls"], fresh["thumbnail"]]
    assert not set(old) & set(new)
    assert [requests.get(url, timeout=TIMEOUT).status_code for url in new] == [200] * 3


# --- thumbnails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", VENDORS_WITH_SEVERAL_LINKS)
def test_a_thumbnail_is_a_small_jpeg_behind_a_signed_link(sim: Simulator, vendor: str) -> None:
    assert result_links(sim, vendor, finished_job(sim, vendor))["thumbnail"] is None
    sim.options(thumbnails=True)
    urls = [result_links(sim, vendor, finished_job(sim, vendor))["thumbnail"] for _ in range(2)]
    responses = [requests.get(url, timeout=TIMEOUT) for url in urls]
    assert {response.headers["Content-Type"] for response in responses} == {"image/jpeg"}
    assert responses[0].content != responses[1].content
    with Image.open(io.BytesIO(responses[0].content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("JPEG", (16, 9))
    assert requests.get(urls[0].replace("sig=", "sig=0"), timeout=TIMEOUT).status_code == 403
    assert requests.get(urls[0], headers={"Range": "bytes=0-9"}, timeout=TIMEOUT).status_code == 206


def test_download_faults_apply_to_thumbnails(sim: Simulator) -> None:
    url = result_links(sim, "apixo", finished_job(sim, "apixo", "[sim:thumbnail]"))["thumbnail"]
    sim.fault("html_as_video", route="download")
    response = requests.get(url, timeout=TIMEOUT)
    assert (response.headers["Content-Type"], response.content[:9]) == ("image/jpeg", b"<!DOCTYPE")


def test_a_rendered_thumbnail_shows_the_video(rendering_sim: Simulator) -> None:
    payload = result_links(rendering_sim, "apixo", finished_job(rendering_sim, "apixo", "[sim:thumbnail]"))
    content = requests.get(payload["thumbnail"], timeout=TIMEOUT).content
    with Image.open(io.BytesIO(content)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (320, 180))
        with av.open(io.BytesIO(requests.get(payload["urls"][0], timeout=TIMEOUT).content)) as video:
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


@pytest.mark.parametrize(("container", "extension", "content_type", "format_name", "magic"), CONTAINERS)
@pytest.mark.parametrize("render", [False, True])
def test_a_video_can_have_any_container(
    rendering_sim: Simulator,
    sim: Simulator,
    container: str,
    extension: str,
    content_type: str,
    format_name: str,
    magic: bytes,
    render: bool,
) -> None:
    simulator = rendering_sim if render else sim
    simulator.reset()
    url = result_link(simulator, "apixo", finished_job(simulator, "apixo", f"[sim:container={container}]"))
    assert url.split("?")[0].endswith(f"/1.{extension}")
    response = requests.get(url, timeout=TIMEOUT)
    assert response.headers["Content-Type"] == content_type
    assert magic in response.content[:64]
    assert (b"moof" in response.content) == (container == "fragmented")
    if container == "mp4" and not render:
        return  # the placeholder cannot be decoded
    with av.open(io.BytesIO(response.content)) as video:
        assert video.format.name == format_name
        stream = video.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height) == (854, 480)
        assert sum(1 for _ in video.decode(stream)) == 6 * 8


def test_a_video_in_any_container_is_reproducible_byte_for_byte() -> None:
    for container in ("webm", "mov", "fragmented"):
        with Simulator(render=True, speed=0, seed=3, options={"container": container}) as one:
            first = requests.get(finished_job_link(one, "apixo"), timeout=TIMEOUT).content
        with Simulator(render=True, speed=0, seed=3, options={"container": container}) as other:
            assert requests.get(finished_job_link(other, "apixo"), timeout=TIMEOUT).content == first


def test_a_container_that_needs_the_extra_is_rejected_without_it(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "can_render", lambda: False)
    with pytest.raises(
        ValueError, match=r"container='webm': needs the extra: airflow-provider-vidgen\[simulator\]"
    ):
        sim.options(container="webm")
    assert "/1.mp4" in result_link(sim, "apixo", finished_job(sim, "apixo", "[sim:container=webm]"))


def test_a_link_is_404_after_the_container_of_its_job_changed(sim: Simulator) -> None:
    url = finished_job_link(sim, "apimart")
    sim.script_job(sim.jobs()[0].task_id, container="webm")
    assert requests.get(url, timeout=TIMEOUT).status_code == 404


# --- rendering ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "more", "size", "seconds"),
    [
        ("apixo", {}, (854, 480), 6),
        ("apixo", {"aspect_ratio": "3:2", "resolution": "720p", "duration": 10}, (1080, 720), 10),
        ("apixgo", {"seconds": 4, "aspect_ratio": "9:16"}, (720, 1280), 4),
        ("apimart", {"size": "1:1"}, (480, 480), 6),
        ("apimodels", {"size": "1080P"}, (1920, 1080), 5),
    ],
)
def test_a_rendered_video_has_the_requested_size_and_duration(
    vendor: str, more: dict[str, object], size: tuple[int, int], seconds: int
) -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_job_link(
            sim, vendor, request_body(vendor, "A dog running on the beach, slow motion", **more)
        )
        content = requests.get(url, timeout=TIMEOUT).content
        again = requests.get(url, timeout=TIMEOUT).content
    assert content == again
    with av.open(io.BytesIO(content), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height) == size
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(seconds, abs=0.2)
        frames = list(container.decode(stream))
    assert len(frames) == seconds * 8
    assert bytes(frames[0].planes[0]) != bytes(frames[-1].planes[0])


def test_a_client_that_disconnects_does_not_cancel_the_rendering() -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_job_link(sim, "apimart", request_body("apimart", duration=30, quality="720p"))
        with pytest.raises(requests.ReadTimeout):
            requests.get(url, timeout=0.05)
        assert requests.get(url, timeout=TIMEOUT).content[4:8] == b"ftyp"


def test_a_long_prompt_without_spaces_is_rendered() -> None:
    with Simulator(render=True, speed=0) as sim:
        url = finished_job_link(
            sim, "apixgo", request_body("apixgo", "雨夜霓虹街道上的红色跑车" * 20, seconds=1)
        )
        assert requests.get(url, timeout=TIMEOUT).content[4:8] == b"ftyp"


# --- reference images -------------------------------------------------------------------------------


def upload_image(sim: Simulator, width: int, height: int, image_format: str = "PNG") -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, image_format)
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("ref", file.getvalue(), f"image/{image_format.lower()}")}
    return str(requests.post(url, files=files, headers=AUTH_HEADER, timeout=TIMEOUT).json()["url"])


def video_size(sim: Simulator, vendor: str, body: Any) -> tuple[int, int]:
    content = requests.get(finished_job_link(sim, vendor, body), timeout=TIMEOUT).content
    with av.open(io.BytesIO(content)) as video:
        context = video.streams.video[0].codec_context
        return context.width, context.height


@pytest.mark.parametrize(
    ("image", "quality", "video"),
    [((600, 800), "480p", (480, 640)), ((800, 600), "720p", (960, 720)), ((50, 50), "480p", (480, 480))],
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_the_first_reference_image_determines_apimarts_aspect_ratio(
    sim: Simulator, image: tuple[int, int], quality: str, video: tuple[int, int], image_format: str
) -> None:
    images = [upload_image(sim, *image, image_format), upload_image(sim, 320, 180)]
    body = request_body(
        "apimart", "a cat [sim:container=fragmented]", size="16:9", quality=quality, image_urls=images
    )
    assert video_size(sim, "apimart", body) == video


def test_the_size_of_an_image_that_was_not_uploaded_is_scripted(sim: Simulator) -> None:
    images = ["https://example.com/start.png"]
    prompt = "a cat [sim:container=mov]"
    assert video_size(sim, "apimart", request_body("apimart", prompt, image_urls=images, size="1:1")) == (
        480,
        480,
    )
    prompt += " [sim:image_size=300x400]"
    assert video_size(sim, "apimart", request_body("apimart", prompt, image_urls=images, size="1:1")) == (
        480,
        640,
    )
    assert video_size(sim, "apimart", request_body("apimart", prompt, size="1:1")) == (480, 480)


def test_the_aspect_ratio_of_an_extreme_image_is_limited(sim: Simulator) -> None:
    images = [upload_image(sim, 1, 900)]
    body = request_body("apimart", "a cat [sim:container=mov]", image_urls=images)
    assert video_size(sim, "apimart", body) == frame_size("1:4", "480p") == (480, 1920)


def test_an_unreadable_image_has_no_effect_on_the_aspect_ratio(sim: Simulator) -> None:
    url = sim.base_url("apimart") + "/v1/uploads/images"
    files = {"file": ("ref", b"\x89PNG\r\n\x1a\n\x00", "image/png")}
    broken = requests.post(url, files=files, headers=AUTH_HEADER, timeout=TIMEOUT).json()["url"]
    body = request_body("apimart", "a cat [sim:container=mov]", image_urls=[broken])
    assert video_size(sim, "apimart", body) == (854, 480)


def test_without_pillow_the_size_of_an_image_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("RGB", (6, 8)).save(file, "PNG")
    assert image_size(file.getvalue()) == "6x8"
    monkeypatch.setattr(media, "can_render", lambda: False)
    assert image_size(file.getvalue()) is None


@pytest.mark.parametrize("vendor", [vendor for vendor in VENDORS if vendor != "apimart"])
def test_other_vendors_use_the_requested_aspect_ratio(sim: Simulator, vendor: str) -> None:
    images = {"image_urls": [upload_image(sim, 600, 800)], "aspect_ratio": "1:1"}
    mode = {"mode": "image-to-video"} if vendor == "apixo" else {}
    width, height = video_size(
        sim, vendor, request_body(vendor, "a cat [sim:container=mov]", **images, **mode)
    )
    assert width == height
