# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""upload_args and sidecar folders of both operators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, finished

Connect = Callable[..., None]


@pytest.mark.parametrize("operator", [VideoGenerationOperator, VideoDownloadOperator])
def test_upload_args_and_sidecar_are_templated(operator: Any) -> None:
    assert {"upload_args", "sidecar"} <= set(operator.template_fields)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"upload_args": {"StorageClass": "X"}}, "upload_args[StorageClass]=given: must be left out"),
        ({"upload_args": "StorageClass"}, "upload_args=str: must map names to values"),
        ({"sidecar": "/proc/notes/"}, "sidecar=/proc/notes/: must be where this worker may write"),
        ({"sidecar": "notes"}, "sidecar=notes: must end in /"),
    ],
)
def test_unusable_upload_args_and_sidecar_are_refused_before_payment(
    vidgen: Connect, tmp_path: Path, arguments: dict[str, Any], problem: str
) -> None:
    vidgen("apixo")
    operator = VideoGenerationOperator(
        task_id="t", prompt=PROMPT, output_path=f"{tmp_path}/{{product}}/", **arguments
    )
    with requests_mock.Mocker() as web, pytest.raises(AirflowFailException) as failure:
        operator.execute(context())
    assert problem in str(failure.value)
    assert "output_path=" in str(failure.value), "all at once"
    assert "Nothing was spent." in str(failure.value)
    assert web.request_history == []


def test_without_output_path_they_are_not_checked(vidgen: Connect) -> None:
    vidgen("apixo")
    operator = VideoGenerationOperator(
        task_id="t", prompt=PROMPT, upload_args={"Nope": 1}, sidecar="nope", deferrable=False
    )
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        assert operator.execute(context())["state"] == "succeeded"


def test_a_generation_writes_the_sidecar_to_the_given_folder(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    operator = VideoGenerationOperator(
        task_id="t",
        prompt=PROMPT,
        output_path=f"{tmp_path}/videos/",
        sidecar=f"{tmp_path}/notes/",
        verify=False,
        deferrable=False,
    )
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        web.get(STATUS["apixo"], json=finished("apixo"))
        web.get(LINK, content=MP4)
        (file,) = operator.execute(context())["files"]
    assert PROMPT in Path(file["sidecar"]).read_text()
    assert Path(file["sidecar"]).parent == tmp_path / "notes"
    assert [path.name for path in (tmp_path / "videos").iterdir()] == [Path(file["path"]).name]


def test_a_download_with_rejected_upload_args_lands_nothing(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    operator = VideoDownloadOperator(
        task_id="t", url=LINK, output_path=f"{tmp_path}/v.mp4", upload_args={"ACL": "private", "x": 1}
    )
    with requests_mock.Mocker() as web, pytest.raises(AirflowException, match="clear the task") as failure:
        operator.execute(context())
    assert all(f"upload_args[{name}]" in str(failure.value) for name in ("ACL", "x"))
    assert web.request_history == []
    assert list(tmp_path.iterdir()) == []


def test_a_download_writes_the_sidecar_to_the_given_folder(vidgen: Connect, tmp_path: Path) -> None:
    vidgen("apixo", extra={"allow_private_urls": True})
    operator = VideoDownloadOperator(
        task_id="t",
        url=LINK,
        output_path=f"{tmp_path}/videos/v.mp4",
        sidecar=f"{tmp_path}/notes/",
        verify=False,
    )
    with requests_mock.Mocker() as web:
        web.get(LINK, content=MP4)
        (file,) = operator.execute(context())
    assert file["sidecar"] == f"{tmp_path}/notes/v.mp4.json"
