# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Links that are not live yet, and unusable output paths: neither costs a second payment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests_mock
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from tests.support.accounts import PROMPT, VENDORS
from tests.support.clock import Clock
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, MP4, STATUS, create_body, finished

Connect = Callable[..., None]


def operator(output_path: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(task_id="t", prompt=PROMPT, deferrable=False, output_path=output_path)


def posts(web: requests_mock.Mocker) -> int:
    return sum(sent.method == "POST" for sent in web.request_history)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "not_live", [{"status_code": 404}, {"status_code": 403}, {"text": "<html>wait</html>"}]
)
def test_a_link_that_is_not_live_yet_is_retried_and_then_left_to_the_next_try(
    vendor: str, not_live: dict[str, Any], vidgen: Connect, clock: Clock, tmp_path: Path
) -> None:
    vidgen(vendor, extra={"allow_private_urls": True})
    task = context()
    with requests_mock.Mocker() as web:
        web.post(CREATE[vendor], json=create_body(vendor))
        web.get(STATUS[vendor], json=finished(vendor))
        web.get(LINK, [not_live])
        with pytest.raises(AirflowException, match=r"LinkUnavailable|NotAVideo") as failure:
            operator(f"file://{tmp_path}/v.mp4").execute(task)
        assert not isinstance(failure.value, AirflowFailException)
        # A clear re-attaches to the same job; its link becomes live after a minute.
        cleared = context(max_tries=5)
        cleared["task_state_store"] = task["task_state_store"]
        web.get(LINK, [not_live] * 6 + [{"content": MP4}])
        operator(f"file://{tmp_path}/v.mp4").execute(cleared)
        assert posts(web) == 1
    assert (tmp_path / "v.mp4").read_bytes() == MP4


@pytest.mark.parametrize(
    "path",
    [
        "{folder}/{product}/{task_id}.mp4",
        "{folder}/{{ product }}.mp4",
        "{folder}/videos",
        "{folder}/None/",
        "nan",
        " ",
        "/dev/null/v.mp4",
        "/dev/null/",
        "/proc/videos/v.mp4",
    ],
)
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_unusable_output_path_is_refused_before_payment(
    path: str, deferrable: bool, vidgen: Connect, tmp_path: Path
) -> None:
    vidgen("apixo")
    with requests_mock.Mocker() as web:
        web.post(CREATE["apixo"], json=create_body("apixo"))
        generation = operator(path.replace("{folder}", str(tmp_path)))
        generation.deferrable = deferrable
        with pytest.raises(
            AirflowFailException,
            match=r"(?s)The video could not be made or landed from this worker.*output_path=.*Nothing was"
            r" spent\.",
        ):
            generation.execute(context())
        assert web.request_history == []
