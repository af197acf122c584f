# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing in the same task, callbacks, and the kill of a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk import DAG, task_group
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from dev.sample_videos import sample_video
from tests.support.accounts import MODEL, PROMPT
from tests.support.task_instance import context, record_of
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, finished, status_body

Connect = Callable[..., None]


def operator(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, **fields})


def posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


def test_an_existing_file_at_the_output_path_is_reported_before_payment(
    vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apixo")
    existing = tmp_path / "v.mp4"
    existing.write_bytes(MP4)
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator(output_path=f"file://{existing}").execute(context())
    assert "Nothing was spent." in str(failure.value)
    assert "v.mp4" in str(failure.value)
    assert web.request_history == []


def test_an_output_path_of_an_unknown_storage_is_reported_before_payment(vidgen: Connect) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="output_path"):
        operator(output_path="nostorage://bucket/{task_id}.mp4").execute(context())
    assert web.request_history == []


def mapped_dag(**fields: Any) -> Any:
    with DAG("d", schedule=None) as dag:
        VideoGenerationOperator.partial(task_id="t", **fields.pop("fixed", {})).expand(**fields)
    return dag


def in_a_mapped_group(path: str) -> Any:
    @task_group
    def group(prompt: str) -> None:
        VideoGenerationOperator(task_id="t", prompt=prompt, output_path=path)

    with DAG("d", schedule=None) as dag:
        group.expand(prompt=[PROMPT, "b"])
    return dag


@pytest.mark.parametrize("map_index", [0, 3])
def test_mapped_tasks_with_the_same_output_path_are_reported_before_payment(
    vidgen: Connect, tmp_path: Path, map_index: int
) -> None:
    vidgen("apixo")
    path = f"file://{tmp_path}/{{{{ ds }}}}.mp4"
    for dag in (mapped_dag(fixed={"output_path": path}, prompt=[PROMPT, "b"]), in_a_mapped_group(path)):
        (name,) = dag.task_dict
        task = {**context(map_index=map_index, task_id=name), "dag": dag}
        with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
            operator(output_path=f"file://{tmp_path}/2026-11-21.mp4").execute(task)
        assert "must differ between mapped tasks: end in /, or have {task_id} or {map_index}" in str(
            failure.value
        )
        assert "Nothing was spent." in str(failure.value)
        assert web.request_history == []


def test_mapped_tasks_with_different_output_paths_are_submitted(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo")
    path = f"file://{tmp_path}/a.mp4"
    dag = mapped_dag(fixed={"prompt": PROMPT}, output_path=[path, "b.mp4"])
    task = {**context(map_index=0, task_id="t"), "dag": dag}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(TaskDeferred):
            operator(output_path=path, deferrable=True).execute(task)
    assert posts(web) == 1


def test_the_file_of_a_mapped_task_is_named_by_its_map_index(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    path = f"file://{tmp_path}/v-{{map_index}}.mp4"
    dag = mapped_dag(fixed={"output_path": path}, prompt=[PROMPT, "b", "c", "d"])
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        operator(deferrable=False, output_path=path).execute(
            {**context(map_index=3, task_id="t"), "dag": dag}
        )
    assert (tmp_path / "v-3.mp4").read_bytes() == MP4


def test_the_file_lands_in_the_same_task(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        result = operator(deferrable=False, output_path=f"file://{tmp_path}/").execute(context())
    (file,) = result["files"]
    assert (tmp_path / "task_1-0.mp4").read_bytes() == MP4
    sidecar = json.loads((tmp_path / "task_1-0.mp4.json").read_text())
    assert (sidecar["task_id"], sidecar["request"]["prompt"]) == ("task_1", PROMPT)
    assert sidecar["file"]["sha256"] == file["sha256"]
    assert "s3cret" not in json.dumps(sidecar)
    assert file["task_id"] == "task_1"


def test_a_dead_link_is_refreshed_by_a_status_check(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    fresh = "https://cdn.example.com/v/fresh.mp4"
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], [{"json": finished("apixo")}, {"json": finished("apixo", fresh)}])
        web.get(LINK, status_code=403)
        web.get(fresh, content=MP4)
        operator(deferrable=False, output_path=f"file://{tmp_path}/v.mp4").execute(context())
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize("sidecar_prompt", [True, False])
def test_the_sidecar_has_the_request_and_the_prompt_only_if_enabled(
    sidecar_prompt: bool, vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        path = f"file://{tmp_path}/v.mp4"
        operator(
            deferrable=False, output_path=path, sidecar_prompt=sidecar_prompt, verify=False, duration=6
        ).execute(task)
    sidecar = json.loads((tmp_path / "v.mp4.json").read_text())
    assert sidecar["request"].get("prompt") == (PROMPT if sidecar_prompt else None)
    assert sidecar["request"]["duration"] == 6
    assert sidecar["fingerprint"] == record_of(task)["fingerprint"]
    assert sidecar["mismatches"] == []


def test_the_sidecar_never_contains_the_api_key(vidgen: Connect, tmp_path: Path) -> None:
    key = "correcthorsebattery"
    vidgen("apixo", password=key, extra={"allow_private_urls": True})
    extra = {"notes": [f"paid with {key}, as agreed"], "param": json.dumps({"by": key}), key: 1}
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        operator(deferrable=False, output_path=f"file://{tmp_path}/", extra=extra).execute(context())
    sidecar = json.loads((tmp_path / "task_1-0.mp4.json").read_text())["request"]["extra"]
    assert sidecar == {"notes": ["paid with ***, as agreed"], "param": '{"by": "***"}', "***": 1}


def test_the_thumbnail_lands_in_the_same_task_and_is_returned_after_a_clear(
    vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apimart", extra={"allow_private_urls": True})
    thumb, jpg = "https://cdn.example.com/t?sig=s3cret", b"\xff\xd8\xff\xe0" + bytes(40)
    reply = finished("apimart")
    reply["data"]["result"]["thumbnail_url"] = thumb
    task, path = context(), f"file://{tmp_path}/"
    with requests_mock.Mocker() as web:
        web.post(CREATE["apimart"], json=create_body("apimart"))
        web.get(STATUS["apimart"], json=reply)
        web.get(LINK, content=MP4)
        web.get(thumb, content=jpg)
        task_operator = operator(model=MODEL["apimart"], deferrable=False, output_path=path)
        (file,) = task_operator.execute(task)["files"]
        assert file["poster"] == f"file://{tmp_path}/task_1-0.jpg"
        assert (tmp_path / "task_1-0.jpg").read_bytes() == jpg
        web.get(STATUS["apimart"], json=status_body("apimart", "completed", result={}))
        cleared = context(max_tries=5)
        cleared["task_state_store"] = task["task_state_store"]
        (again,) = task_operator.execute(cleared)["files"]
    recorded_fields = ("path", "bytes", "sha256", "content_type", "poster")
    assert again == {name: file[name] for name in recorded_fields}
    assert posts(web) == 1


def test_no_poster_lands_with_poster_false(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=sample_video("mp4"))
        operator(deferrable=False, output_path=f"file://{tmp_path}/", poster=False).execute(context())
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".mp4"]


def test_a_download_that_fails_leaves_the_job_attached(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    task = context()
    task_operator = operator(deferrable=False, output_path=f"file://{tmp_path}/v.mp4")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, status_code=500)
        with pytest.raises(AirflowException, match="DownloadFailed") as failure:
            task_operator.execute(task)
        assert "apixo job task_1" in str(failure.value)
        assert list(tmp_path.iterdir()) == []
        web.get(LINK, content=MP4)
        assert task_operator.execute(task)["files"][0]["bytes"] == len(MP4)
    assert posts(web) == 1


def test_a_target_created_after_the_submission_can_be_changed_by_a_clear(
    vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(TaskDeferred):
            operator(deferrable=True, output_path=f"file://{tmp_path}/v.mp4").execute(task)
        (tmp_path / "v.mp4").write_bytes(b"another file")
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        with pytest.raises(AirflowFailException, match="clear the task before the link expires") as failure:
            operator(deferrable=False, output_path=f"file://{tmp_path}/v.mp4").execute(task)
        assert "apixo job task_1. The video was paid for." in str(failure.value)
        cleared = context(max_tries=5)
        cleared["task_state_store"] = task["task_state_store"]
        operator(deferrable=False, output_path=f"file://{tmp_path}/w.mp4").execute(cleared)
    assert (tmp_path / "v.mp4").read_bytes() == b"another file"
    assert (tmp_path / "w.mp4").read_bytes() == MP4
    assert posts(web) == 1


def test_a_dead_link_of_a_job_without_an_id_is_not_refreshed(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apimodels", extra={"allow_private_urls": True})
    with requests_mock.Mocker() as web:
        reply = {"code": 200, "data": {"state": "completed", "resultUrls": [LINK]}}
        web.post("https://apimodels.app/api/v1/video/p-video", json=reply)
        web.get(LINK, status_code=403)
        with pytest.raises(AirflowException, match=r"LinkUnavailable.*gave this job no id"):
            operator(model="p-video", output_path=f"file://{tmp_path}/").execute(context())
    assert all("p-video" in sent.url or sent.url == LINK for sent in web.request_history)


def test_use_callback_without_a_callback_base_url_is_refused(vidgen: Connect) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator(use_callback=True).execute(context())
    assert "The connection 'vidgen_default' cannot be used with use_callback" in str(failure.value)
    assert "callback_base_url=empty: must be a URL that the vendor can reach" in str(failure.value)
    assert web.request_history == []


def test_the_callback_url_is_taken_from_the_connection(vidgen: Connect) -> None:
    vidgen("apixo", extra={"callback_base_url": "https://airflow.example.com/vidgen"})
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        with pytest.raises(TaskDeferred):
            operator(use_callback=True, deferrable=True).execute(context())
    body = web.request_history[0].json()
    assert body["request_type"] == "callback"
    assert body["callback_url"].startswith("https://airflow.example.com/vidgen")


def test_use_callback_is_refused_for_a_vendor_without_callbacks(vidgen: Connect) -> None:
    vidgen("apixgo", extra={"callback_base_url": "https://airflow.example.com/vidgen"})
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException, match="callback"):
        operator(use_callback=True).execute(context())
    assert web.request_history == []


def test_on_kill_logs_that_the_job_continues(logged: Callable[[], str]) -> None:
    operator().on_kill()
    assert (
        "The task was killed. A submitted job continues at the vendor and may be billed. "
        "A clear of the task checks the same job."
    ) in logged()
