# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What the operators tell OpenLineage, through its own extractor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import requests_mock
from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.sdk.exceptions import AirflowException, TaskDeferred
from openlineage.client.serde import Serde

from airflow_provider_vidgen.landing import storage
from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import KEY, MODEL, PROMPT
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, failed, finished

Connect = Callable[..., None]
IMAGE = "https://images.example.com/shoe.png"


def extracted(operator: Any) -> dict[str, Any]:
    """Return what OpenLineage's provider makes of an operator that has run, as JSON values."""
    found = DefaultExtractor(operator).extract_on_complete(None)
    assert found is not None
    text = Serde.to_json(found)
    for secret in (PROMPT, KEY, "s3cret-signature", "sig="):
        assert secret not in text
    return dict(Serde.to_dict(found))


def generate(
    *, status: dict[str, Any] | None = None, resume: bool = False, **fields: Any
) -> VideoGenerationOperator:
    """Run a generation task to its end."""
    arguments: dict[str, Any] = {
        "task_id": "t",
        "prompt": PROMPT,
        "duration": "6",
        "resolution": "480p",
        "image_urls": [f"{IMAGE}?sig=s3cret-signature"],
        "poster": False,
        "deferrable": resume,
        **fields,
    }
    operator, task = VideoGenerationOperator(**arguments), context()
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=status or finished("apixo"))
        web.get(LINK, content=MP4)
        if resume:
            web.get(STATUS["apixo"], [{"json": {"code": 500}}, {"json": status or finished("apixo")}])
            with pytest.raises(TaskDeferred) as deferred:
                operator.execute(task)
            operator = VideoGenerationOperator(**arguments)
            web.get(STATUS["apixo"], json=status or finished("apixo"))
            assert deferred.value.kwargs is not None
            operator.execute_complete(task, None, **deferred.value.kwargs)
        else:
            operator.execute(task)
    return operator


@pytest.mark.parametrize("resume", [False, True])
def test_a_generation_has_its_images_as_inputs_and_the_stored_object_as_output(
    resume: bool, vidgen: Connect, tmp_path: Any
) -> None:
    vidgen("apixo")
    found = extracted(generate(resume=resume, output_path=f"file://{tmp_path}/v.mp4"))
    [image] = found["inputs"]
    assert (image["namespace"], image["name"]) == ("https://images.example.com", "/shoe.png")
    [video] = found["outputs"]
    assert (video["namespace"], video["name"]) == ("file", f"{tmp_path}/v.mp4")
    assert len(video["facets"]["version"]["datasetVersion"]) == 64
    assert video["facets"]["storage"]["fileFormat"] == "mp4"
    assert video["outputFacets"]["outputStatistics"]["size"] == len(MP4)
    facet = found["run_facets"]["vidgen_generation"]
    expected = {"vendor": "apixo", "model": MODEL["apixo"], "jobId": "task_1", "state": "succeeded"}
    assert expected.items() <= facet.items()
    assert facet["resolution"] == "480p"
    assert facet["requestedDurationSeconds"] == 6
    query = found["run_facets"]["externalQuery"]
    assert (query["externalQueryId"], query["source"]) == ("task_1", "apixo")


def test_a_video_that_is_not_landed_is_the_output_at_its_vendor_and_the_input_of_its_download(
    vidgen: Connect, tmp_path: Any
) -> None:
    vidgen("apixo")
    operator = generate()
    [at_vendor] = extracted(operator)["outputs"]
    assert (at_vendor["namespace"], at_vendor["name"]) == ("vidgen://apixo", "task_1")
    video = {"vendor": "apixo", "model": MODEL["apixo"], "task_id": "task_1", "result_urls": [LINK]}
    download = VideoDownloadOperator(
        task_id="d", video=video, output_path=f"file://{tmp_path}/v.mp4", poster=False
    )
    with requests_mock.Mocker() as web:
        web.get(LINK, content=MP4)
        download.execute(context())
    found = extracted(download)
    assert [(data["namespace"], data["name"]) for data in found["inputs"]] == [("vidgen://apixo", "task_1")]
    assert [data["name"] for data in found["outputs"]] == [f"{tmp_path}/v.mp4"]


def test_a_link_without_a_job_is_no_input(vidgen: Connect, tmp_path: Any) -> None:
    vidgen("apixo")
    download = VideoDownloadOperator(
        task_id="d", url=LINK, output_path=f"file://{tmp_path}/v.mp4", poster=False
    )
    with requests_mock.Mocker() as web:
        web.get(LINK, content=MP4)
        download.execute(context())
    found = extracted(download)
    assert found["inputs"] == []
    assert found["run_facets"] == {}
    assert [data["name"] for data in found["outputs"]] == [f"{tmp_path}/v.mp4"]


def test_a_failed_try_has_its_inputs_and_what_was_requested(vidgen: Connect, tmp_path: Any) -> None:
    vidgen("apixo")
    task = VideoGenerationOperator(
        task_id="t", prompt=PROMPT, model="grok-video", image_urls=[IMAGE], deferrable=False
    )
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=failed("apixo", "unsafe", "CONTENT_VIOLATION"))
        with pytest.raises(AirflowException):
            task.execute(context())
    found = extracted(task)
    assert [data["name"] for data in found["inputs"]] == ["/shoe.png"]
    assert found["outputs"] == []
    assert found["run_facets"]["vidgen_generation"]["model"] == "grok-video"


def test_an_error_in_lineage_is_only_a_warning_of_openlineage(
    vidgen: Connect, caplog: pytest.LogCaptureFixture, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vidgen("apixo")
    operator = generate(output_path=f"file://{tmp_path}/v.mp4")

    def fail(target: Any) -> str:
        raise RuntimeError("no server")

    monkeypatch.setattr("airflow_provider_vidgen.openlineage_events.server_of", fail)
    with caplog.at_level(logging.WARNING):
        assert DefaultExtractor(operator).extract_on_complete(None) is None


def test_the_server_is_that_of_the_file_system(tmp_path: Any) -> None:
    path = storage.storage_path(f"file://{tmp_path}/v.mp4")
    assert storage.server_of(path) == ""
    path.fs.storage_options["host"] = "files.example"
    try:
        assert storage.server_of(path) == "files.example"
    finally:
        del path.fs.storage_options["host"]
