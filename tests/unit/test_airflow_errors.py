# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The log of a failed task: one short error without secrets."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock
from airflow.sdk._shared.logging.structlog import structlog_processors
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from airflow_provider_vidgen.airflow_errors import as_airflow_errors
from airflow_provider_vidgen.errors import GenerationFailed, VidgenError
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.operators.video_download import VideoDownloadOperator
from airflow_provider_vidgen.operators.video_generation import VideoGenerationOperator
from airflow_provider_vidgen.sensors.video_task import VideoTaskSensor
from tests.support.accounts import KEY, PROMPT, job
from tests.support.clock import NOW
from tests.support.task_instance import context
from tests.support.vendor_replies import CREATE, LINK, STATUS, create_body, failed

#: A vendor may quote the prompt in full, in capitals, or truncated.
VENDOR_MESSAGE = f"cannot make '{PROMPT}' or {PROMPT.upper()!r} ({PROMPT[:18]}...) for {KEY}, see {LINK}"
SECRETS = ("lighthouse", "heavy storm", KEY, "s3cret-signature")
FAILED = {"json": failed("apixo", VENDOR_MESSAGE, "GENERATION_FAILED")}
REFUSED = {"status_code": 401, "json": {"code": 401, "message": VENDOR_MESSAGE}}
INVALID = {"status_code": 400, "json": {"code": 400, "message": VENDOR_MESSAGE}}
UNAVAILABLE = {"status_code": 503, "json": {"code": 503, "message": VENDOR_MESSAGE}}
ACCEPTED = {"json": create_body("apixo")}
TIMES = {"submitted_at": NOW.isoformat(), "deadline": (NOW + timedelta(minutes=30)).isoformat()}


def generation(**fields: Any) -> VideoGenerationOperator:
    return VideoGenerationOperator(**{"task_id": "t", "prompt": PROMPT, "model": "grok-video", **fields})


def resumed(operator: Any, reason: str) -> Any:
    event = {"v": 1, "reason": reason, "task_id": "task_1"}
    return operator.execute_complete(context(), event=event, job=job("apixo").to_dict(), **TIMES)


def download(folder: Path, **fields: Any) -> Any:
    video = {"vendor": "apixo", "model": "grok-video", "task_id": "task_1", "result_urls": [LINK]}
    operator = VideoDownloadOperator(task_id="t", video=video, output_path=f"file://{folder}/", **fields)
    return operator.execute(context())


#: The vendor's replies to a submission and a status check, and the run of the task.
CASES: dict[str, tuple[Any, Any, Callable[[Path], Any]]] = {
    "blocking, failed": (ACCEPTED, FAILED, lambda _: generation().execute(context())),
    "blocking, refused": (INVALID, None, lambda _: generation().execute(context())),
    "blocking, unknown outcome": (UNAVAILABLE, None, lambda _: generation().execute(context())),
    "blocking, failed check": (ACCEPTED, REFUSED, lambda _: generation().execute(context())),
    "deferrable, refused": (INVALID, None, lambda _: generation(deferrable=True).execute(context())),
    "resumed, failed": (None, FAILED, lambda _: resumed(generation(), "ended")),
    "resumed, failed check": (None, UNAVAILABLE, lambda _: resumed(generation(), "vendor_unavailable")),
    "resumed, refused": (None, REFUSED, lambda _: resumed(generation(), "access_denied")),
    "sensor, failed": (
        None,
        FAILED,
        lambda _: VideoTaskSensor(task_id="t", job_id="task_1").execute(context()),
    ),
    "sensor, resumed": (
        None,
        FAILED,
        lambda _: resumed(VideoTaskSensor(task_id="t", job_id="task_1"), "ended"),
    ),
    "sensor, refused": (
        None,
        REFUSED,
        lambda _: VideoTaskSensor(task_id="t", job_id="task_1", deferrable=True).execute(context()),
    ),
    "download, refused": (None, REFUSED, download),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def failure(request: Any, vidgen: Callable[..., None], tmp_path: Path) -> AirflowException:
    """Return the exception of a task whose vendor repeats the prompt, the API key and a signed link."""
    vidgen("apixo", extra={"allow_private_urls": True})
    submit, check, run = request.param
    with requests_mock.Mocker() as web:
        web.get(LINK, status_code=403)
        if submit is not None:
            web.post(CREATE["apixo"], **submit)
        if check is not None:
            web.get(STATUS["apixo"], **check)
        with pytest.raises(AirflowException) as raised:
            run(tmp_path)
    return raised.value


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_no_secret_that_the_vendor_repeats_is_in_the_log(
    failure: AirflowException, logged: Callable[[], str]
) -> None:
    text = "".join(traceback.format_exception(failure)) + logged()
    # Nor in the attributes of the exceptions in the chain.
    text += "".join(repr(error) + str(error) + str(vars(error)) for error in chain(failure))
    for secret in SECRETS:
        assert secret not in text.lower(), text


def test_one_traceback_is_printed_and_the_message_is_its_last_line(failure: AirflowException) -> None:
    text = "".join(traceback.format_exception(failure)).strip()
    assert text.count("Traceback (most recent call last)") == 1
    assert text.endswith(str(failure))
    frames = traceback.extract_tb(failure.__traceback__)
    own_frames = [frame.filename for frame in frames if "/airflow_provider_vidgen/" in frame.filename]
    assert len(own_frames) <= 4, text
    for library in ("tenacity", "concurrent", "requests", "urllib3", "landing"):
        assert f"/{library}/" not in text
    assert str(failure).startswith(f"{type(original_error(failure)).__name__}: ")


def test_airflows_log_has_exactly_one_exception(failure: AirflowException) -> None:
    processors, *_ = structlog_processors(json_output=True, log_format="", colors=False)
    event: Any = {"event": "Task failed with exception", "exc_info": failure}
    for processor in processors:
        if type(processor).__name__ == "ExceptionRenderer":
            event = processor(logging.getLogger(), "error", event)
    (text,) = event["exception"]
    assert text["exc_value"] == str(failure)
    assert len(text["frames"]) <= 10


def original_error(failure: AirflowException) -> VidgenError:
    error = failure.__context__
    assert isinstance(error, VidgenError)
    return error


def test_an_unexpected_error_keeps_its_frames_and_is_redacted(
    vidgen: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def land(*_: Any, **__: Any) -> Any:
        raise requests.ConnectionError(f"HTTPSConnectionPool: {LINK} with Bearer {KEY}")

    vidgen("apixo")
    monkeypatch.setattr(Landing, "land", land)
    with pytest.raises(AirflowException, match="ConnectionError: HTTPSConnectionPool") as failure:
        download(tmp_path)
    text = "".join(traceback.format_exception(failure.value))
    assert text.count("Traceback (most recent call last)") == 1
    assert "in land" in text
    for secret in SECRETS:
        assert secret not in text


def test_airflows_own_exceptions_pass_unchanged() -> None:
    for raised in (AirflowSkipException("enough"), KeyboardInterrupt()):
        with pytest.raises(type(raised)) as passed, as_airflow_errors(operator=generation(), prompt=PROMPT):
            raise raised
        assert passed.value is raised


def test_the_vendors_message_is_included_only_if_the_prompt_is_known(vidgen: Callable[..., None]) -> None:
    vidgen("apixo")
    reply = {"json": failed("apixo", f"the sky of '{PROMPT}' is too dark", "CONTENT_VIOLATION")}
    with requests_mock.Mocker() as web:
        web.get(STATUS["apixo"], **reply)
        with pytest.raises(AirflowFailException, match=r"CONTENT_VIOLATION the sky of '\*\*\*' is too dark"):
            resumed(generation(), "ended")
        with pytest.raises(AirflowFailException, match=r'content_policy\): "CONTENT_VIOLATION"\.') as unknown:
            resumed(VideoTaskSensor(task_id="t", job_id="task_1"), "ended")
    error = original_error(unknown.value)
    assert isinstance(error, GenerationFailed)
    assert (error.failure.code, error.failure.message) == ("CONTENT_VIOLATION", "")
