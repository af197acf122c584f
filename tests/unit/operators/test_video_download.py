# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The download operator: links in, manifests out, and never a new video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.clock import Clock
from tests.support.task_instance import context
from tests.support.vendor_replies import LINK, MP4, STATUS, finished

OTHER = "https://cdn.example.com/v/other.mp4"
VIDEO = {
    "vendor": "apixo",
    "model": "grok-video",
    "task_id": "task_1",
    "state": "succeeded",
    "result_urls": [LINK],
    "files": [],
}


@pytest.fixture
def download(vidgen: Callable[..., None], tmp_path: Path) -> Callable[..., Any]:
    """Run the operator against a fake server; the target is the folder by default."""
    vidgen("apixo", extra={"allow_private_urls": True})

    def run(replies: dict[str, Any], *, map_index: int = -1, **fields: Any) -> Any:
        operator = VideoDownloadOperator(**{"task_id": "t", "output_path": f"file://{tmp_path}/", **fields})
        with requests_mock.Mocker() as web:
            for url, reply in replies.items():
                web.get(url, reply)
            try:
                return operator.execute(context(map_index=map_index))
            finally:
                assert {sent.method for sent in web.request_history} <= {"GET"}

    return run


def test_a_link_lands_with_its_manifest(download: Callable[..., Any], tmp_path: Path) -> None:
    (file,) = download({LINK: [{"content": MP4}]}, url=LINK, output_path=f"file://{tmp_path}/v.mp4")
    assert file == {
        "path": f"file://{tmp_path}/v.mp4",
        "bytes": len(MP4),
        "sha256": hashlib.sha256(MP4).hexdigest(),
        "content_type": "video/mp4",
        "task_id": None,
        "already_existed": False,
        "sidecar": f"file://{tmp_path}/v.mp4.json",
        "poster": None,
        "probe": {"duration_seconds": 6.0, "width": 320, "height": 240, "codec": "mjpeg"},
        "mismatches": [],
    }
    assert (tmp_path / "v.mp4").read_bytes() == MP4


def test_map_index_is_filled_in(download: Callable[..., Any], tmp_path: Path) -> None:
    path = f"file://{tmp_path}/v-{{map_index}}.mp4"
    (file,) = download({LINK: [{"content": MP4}]}, url=LINK, output_path=path, map_index=3)
    assert file["path"] == f"file://{tmp_path}/v-3.mp4"


def test_sidecar_and_verification_can_be_turned_off(download: Callable[..., Any], tmp_path: Path) -> None:
    (file,) = download({LINK: [{"content": MP4}]}, url=LINK, sidecar=False, verify=False)
    assert (file["sidecar"], file["probe"], file["mismatches"]) == (None, None, [])
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_the_sidecar_of_a_download_has_the_generations_result(
    download: Callable[..., Any], tmp_path: Path
) -> None:
    cost = {"amount": "0.12", "currency": "USD"}
    (file,) = download({LINK: [{"content": MP4}]}, video={**VIDEO, "cost": cost})
    content = json.loads(Path(file["sidecar"].removeprefix("file://")).read_text())
    assert (content["vendor"], content["task_id"], content["cost"]) == ("apixo", "task_1", cost)


def test_each_link_of_a_list_gets_its_own_name(download: Callable[..., Any], tmp_path: Path) -> None:
    replies = {LINK: [{"content": MP4}], OTHER: [{"content": MP4 + b"2"}]}
    first, second = download(replies, url=[LINK, OTHER], output_path=f"file://{tmp_path}/v.mp4")
    assert (first["path"], second["path"]) == (f"file://{tmp_path}/v-0.mp4", f"file://{tmp_path}/v-1.mp4")
    assert second["bytes"] == len(MP4) + 1


def test_a_retry_recognises_landed_files_in_a_folder(download: Callable[..., Any], tmp_path: Path) -> None:
    replies = {LINK: [{"content": MP4}], OTHER: [{"content": MP4 + b"2"}]}
    first, again = download(replies, url=[LINK, OTHER]), download(replies, url=[LINK, OTHER])
    assert [file["already_existed"] for file in first + again] == [False, False, True, True]
    assert [{**file, "already_existed": False} for file in again] == first
    assert len(list(tmp_path.glob("*.mp4"))) == len(list(tmp_path.glob("*.json"))) == 2


def test_a_video_lands_named_after_its_job(download: Callable[..., Any], tmp_path: Path) -> None:
    (file,) = download(
        {LINK: [{"content": MP4}]},
        video=VIDEO,
        output_path=f"file://{tmp_path}/{{vendor}}/{{model}}/{{task_id}}-{{map_index}}.{{ext}}",
        map_index=3,
    )
    assert file["path"] == f"file://{tmp_path}/apixo/grok-video/task_1-3.mp4"
    assert file["task_id"] == "task_1"


def test_a_dead_link_of_a_video_is_refreshed(download: Callable[..., Any]) -> None:
    replies = {
        LINK: [{"status_code": 403}],
        STATUS["apixo"]: [{"json": finished("apixo", OTHER)}],
        OTHER: [{"content": MP4}],
    }
    assert download(replies, video=VIDEO)[0]["bytes"] == len(MP4)


def test_a_dead_link_without_a_job_is_retryable(
    download: Callable[..., Any], clock: Clock, tmp_path: Path
) -> None:
    with pytest.raises(
        AirflowException, match=r"LinkUnavailable: .*only with video= instead of url="
    ) as failure:
        download({LINK: [{"status_code": 410}]}, url=LINK)
    assert not isinstance(failure.value, AirflowFailException)
    assert "asks the vendor" not in str(failure.value)
    assert list(tmp_path.iterdir()) == []
    assert 300 <= sum(clock.slept) <= 320


@pytest.mark.parametrize("field", ["url", "video"])
def test_a_link_that_becomes_live_late_lands(field: str, download: Callable[..., Any], clock: Clock) -> None:
    replies = {
        LINK: [{"status_code": 404}] * 6 + [{"content": MP4}],
        STATUS["apixo"]: [{"json": finished("apixo")}],
    }
    assert download(replies, **{field: LINK if field == "url" else VIDEO})[0]["bytes"] == len(MP4)
    assert 60 <= sum(clock.slept) <= 70


def test_a_page_instead_of_a_video_is_reported_with_the_next_step(
    download: Callable[..., Any],
) -> None:
    replies = {LINK: [{"text": "<html>Sign in</html>"}], STATUS["apixo"]: [{"json": finished("apixo")}]}
    with pytest.raises(AirflowException, match="NotAVideo") as failure:
        download(replies, url=LINK)
    assert "A retry tries the same link again; no new video is made." in str(failure.value)
    assert "asks the vendor" not in str(failure.value)
    with pytest.raises(AirflowException, match="NotAVideo") as failure:
        download(replies, video=VIDEO)
    assert "A retry asks the vendor for a fresh link" in str(failure.value)
    assert not isinstance(failure.value, AirflowFailException)


DEAD: dict[str, Any] = {
    LINK: [{"status_code": 403}],
    STATUS["apixo"]: [{"json": finished("apixo")}],
}


@pytest.mark.parametrize(
    "expires_at",
    [
        *("2026-11-20T12:30:00+00:00", "2026-11-20T21:00:00+08:30", None, "", "soon", 7, ["x"], {}),
        *("2026-11-19T12:00:00", "9999-12-31T23:59:59-23:59"),
    ],
)
def test_a_dead_link_that_has_not_expired_is_retryable(
    expires_at: Any, download: Callable[..., Any], clock: Clock
) -> None:
    with pytest.raises(AirflowException, match=r"LinkUnavailable: .*A retry asks the vendor") as failure:
        download(DEAD, video={**VIDEO, "expires_at": expires_at})
    assert not isinstance(failure.value, AirflowFailException)
    assert sum(clock.slept) >= 300


def test_an_expired_dead_link_is_refreshed_once_and_then_final(
    download: Callable[..., Any], clock: Clock
) -> None:
    with pytest.raises(AirflowFailException, match=r"ResultExpired: .*2026-11-20T11:59:59\+00:00"):
        download(DEAD, video={**VIDEO, "expires_at": "2026-11-20T11:59:59+00:00"})
    assert len(clock.slept) == 1


def test_a_server_that_is_down_is_retryable(download: Callable[..., Any]) -> None:
    with pytest.raises(AirflowException, match="no new video is made") as failure:
        download({LINK: [{"status_code": 503}]}, url=LINK)
    assert not isinstance(failure.value, AirflowFailException)


def test_another_file_is_replaced_only_with_overwrite(download: Callable[..., Any], tmp_path: Path) -> None:
    target = tmp_path / "v.mp4"
    target.write_bytes(MP4 + b"old")
    path = f"file://{target}"
    with pytest.raises(AirflowFailException, match="TargetExists"):
        download({LINK: [{"content": MP4}]}, url=LINK, output_path=path)
    assert target.read_bytes() == MP4 + b"old"
    download({LINK: [{"content": MP4}]}, url=LINK, output_path=path, overwrite=True)
    assert target.read_bytes() == MP4


def test_a_video_of_another_vendor_lands_without_a_status_check(download: Callable[..., Any]) -> None:
    assert download({LINK: [{"content": MP4}]}, video={**VIDEO, "vendor": "apixgo"})
    with pytest.raises(AirflowException, match="must be apixgo"):
        download({LINK: [{"status_code": 403}]}, video={**VIDEO, "vendor": "apixgo", "task_id": "task_2"})


def test_a_landed_video_needs_no_link(download: Callable[..., Any]) -> None:
    (first,) = download({LINK: [{"content": MP4}]}, video=VIDEO)
    (again,) = download({LINK: [{"status_code": 410}]}, video=VIDEO)
    assert again == {**first, "already_existed": True}


@pytest.mark.parametrize(
    "make",
    [
        lambda: VideoDownloadOperator(task_id="t", output_path="x", url=LINK, verify="no"),  # type: ignore[arg-type]
        lambda: VideoGenerationOperator(task_id="t", prompt="x", verify="no"),  # type: ignore[arg-type]
    ],
)
def test_other_values_of_verify_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="verify="):
        make()


@pytest.mark.parametrize("verify", [True, False, "fail"])
def test_the_three_values_of_verify_are_accepted(verify: Any) -> None:
    download = VideoDownloadOperator(task_id="t", output_path="x", url=LINK, verify=verify)
    assert (download.verify, download.vidgen_conn_id) == (verify, "vidgen_default")
    assert VideoGenerationOperator(task_id="t", prompt="x", verify=verify).verify == verify


@pytest.mark.parametrize("given", [{}, {"url": LINK, "video": VIDEO}])
def test_exactly_one_of_url_and_video_is_required(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one of url and video"):
        VideoDownloadOperator(task_id="t", output_path="x", **given)


@pytest.mark.parametrize(
    "rendered",
    [
        {"url": []},
        {"url": [None]},
        {"url": 7},
        {"url": {"a": "b"}},
        {"video": {}},
        {"video": {**VIDEO, "result_urls": []}},
        {"video": {**VIDEO, "result_urls": None}},
        {"video": "{'vendor': 'apixo'}"},
        {"video": {"result_urls": [LINK]}},
    ],
)
def test_nothing_to_download_is_an_error(rendered: dict[str, Any], download: Callable[..., Any]) -> None:
    ((field, value),) = rendered.items()
    with pytest.raises(AirflowFailException) as failure:
        download({}, **rendered)
    assert "There is nothing to download" in str(failure.value)
    must_be = {"url": "must be a link or a list of links", "video": "must be the result of a generation"}[
        field
    ]
    assert f"{field}={type(value).__name__}: {must_be}" in str(failure.value)


@pytest.mark.parametrize("field", ["url", "video"])
def test_a_missing_xcom_is_an_error(field: str, vidgen: Callable[..., None]) -> None:
    vidgen("apixo")
    operator = VideoDownloadOperator(task_id="t", output_path="x", **{field: "{{ none }}"})  # type: ignore[arg-type]
    setattr(operator, field, None)  # as the template leaves it
    with pytest.raises(AirflowFailException, match="nothing to download"):
        operator.execute(context())


def test_text_that_is_not_a_link_is_refused(download: Callable[..., Any]) -> None:
    with pytest.raises(AirflowFailException, match="UnsafeLink"):
        download({}, url=f"['{LINK}']")


def test_the_fields_of_a_dag_author_are_templated() -> None:
    assert set(VideoDownloadOperator.template_fields) >= {"url", "video", "output_path", "vidgen_conn_id"}


THUMB = "https://cdn.example.com/t.jpg"
JPG = b"\xff\xd8\xff\xe0" + bytes(40)


def test_the_thumbnail_of_a_video_lands_next_to_it(download: Callable[..., Any], tmp_path: Path) -> None:
    replies = {LINK: [{"content": MP4}], THUMB: [{"content": JPG}]}
    (file,) = download(replies, video={**VIDEO, "thumbnail_url": THUMB})
    assert file["poster"] == f"file://{tmp_path}/task_1-0.jpg"
    assert (tmp_path / "task_1-0.jpg").read_bytes() == JPG


def test_no_poster_lands_with_poster_false(download: Callable[..., Any], tmp_path: Path) -> None:
    (file,) = download({LINK: [{"content": MP4}]}, video={**VIDEO, "thumbnail_url": THUMB}, poster=False)
    assert file["poster"] is None
    assert not (tmp_path / "task_1-0.jpg").exists()


@pytest.mark.parametrize("map_index", [0, 7])
def test_each_mapped_task_has_its_own_poster(
    map_index: int, download: Callable[..., Any], tmp_path: Path
) -> None:
    replies = {LINK: [{"content": MP4}], THUMB: [{"content": JPG}]}
    path = f"file://{tmp_path}/{{map_index}}.{{ext}}"
    (file,) = download(
        replies, map_index=map_index, video={**VIDEO, "thumbnail_url": THUMB}, output_path=path
    )
    assert file["poster"] == f"file://{tmp_path}/{map_index}.jpg"
