# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Job scripts: what a job does, set by the control API or by directives in prompts (``[sim:stuck]``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

from pydantic import Field

from airflow_provider_vidgen.simulator.options import Container, VideoCount
from airflow_provider_vidgen.simulator.validation import MAX_SECONDS, STRICT, Count, Seconds, validate

ProgressStyle = Literal["normal", "decreasing", "null", "empty", "absent"]
_IMAGE_SIZE: Final = "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
_DIRECTIVE: Final = re.compile(r"\[sim:([a-z_]+)(?:=([^\]]*))?\]")
# The failure codes and messages of the Apixo document; other vendors report the message only.
_FAIL_MESSAGES: Final = {
    "CONTENT_VIOLATION": "Content does not meet safety guidelines",
    "INVALID_IMAGE_URL": "Cannot access provided image URL",
    "INVALID_TASK_ID": "Invalid previous task ID or index",
}


@dataclass(frozen=True)
class JobScript:
    """The behaviour of one job.

    :param job_seconds: virtual seconds from acceptance to the end; None uses the option.
    :param outcome: how the job ends.
    :param fail_code: the vendor's error code, for vendors that report one.
    :param fail_message: the vendor's error message.
    :param stuck: the job never ends.
    :param custom_state: an undocumented state, reported in the second half of the job's time.
    :param progress: ``normal``, ``decreasing`` at every other poll, ``null``, ``empty`` text, ``absent``.
    :param polls_without_url: number of polls that report success without a link.
    :param polls_without_data: number of polls that return ``"data": null``.
    :param link_delay: virtual seconds after the job's end during which its link answers 404, as with an
        eventually consistent store.
    :param error_in_url: a failed job has its error message in the field of the link (Apixgo).
    :param videos: number of videos; None uses the option.
    :param thumbnail: whether the result includes a JPEG; None uses the option.
    :param container: file format of the videos; None uses the option.
    :param image_size: width and height of the reference image, such as ``600x800``, if it determines the
        aspect ratio of the video (APIMart) and was not uploaded to the simulator.
    """

    __pydantic_config__: ClassVar = STRICT

    job_seconds: Seconds | None = None
    outcome: Literal["succeeded", "failed", "cancelled"] = "succeeded"
    fail_code: str = "GENERATION_FAILED"
    fail_message: str = "Generation failed"
    stuck: bool = False
    custom_state: str | None = None
    progress: ProgressStyle = "normal"
    polls_without_url: Count = 0
    polls_without_data: Count = 0
    link_delay: Seconds = 0.0
    error_in_url: bool = False
    videos: VideoCount | None = None
    thumbnail: bool | None = None
    container: Container | None = None
    image_size: Annotated[str, Field(pattern=_IMAGE_SIZE)] | None = None

    def changed(self, changes: Mapping[str, Any]) -> JobScript:
        """Return a copy with some fields changed.

        :param changes: new values by field name.
        :raises ValueError: a field does not exist, or does not allow its value.
        """
        return validate(JobScript, {**asdict(self), **changes})


def failing_script(code: str, message: str | None = None) -> JobScript:
    """Return the script of a job that fails.

    :param code: the vendor's error code.
    :param message: the vendor's error message; None for the documented message of that code.
    """
    return JobScript(outcome="failed", fail_code=code, fail_message=message or _FAIL_MESSAGES.get(code, code))


def script_from_prompt(prompt: str) -> JobScript:
    """Read the directives of a prompt; unknown directives and values that do not fit are ignored.

    :param prompt: the user's prompt.
    """
    script = JobScript()
    for name, value in _DIRECTIVE.findall(prompt.encode(errors="replace").decode()):
        match name:
            case "fail":
                code, _, message = (value or "GENERATION_FAILED").partition(":")
                failing = failing_script(code, message or None)
                script = replace(
                    script, outcome="failed", fail_code=failing.fail_code, fail_message=failing.fail_message
                )
            case "cancel":
                script = replace(script, outcome="cancelled", fail_message="Task was cancelled")
            case "stuck":
                script = replace(script, stuck=True)
            case "fast":
                script = replace(script, job_seconds=0.0)
            case "slow":
                script = replace(script, job_seconds=_number(value, 60.0))
            case "state":
                script = replace(script, custom_state=value or "halfway")
            case "progress" if value in get_args(ProgressStyle):
                script = replace(script, progress=value)
            case "no_url":
                script = replace(script, polls_without_url=int(_number(value, 3)))
            case "link_delay":
                script = replace(script, link_delay=_number(value, 60.0))
            case "null_data":
                script = replace(script, polls_without_data=int(_number(value, 1)))
            case "videos":
                script = _changed_if_valid(script, videos=int(_number(value, 2)))
            case "thumbnail":
                script = replace(script, thumbnail=True)
            case "container" | "image_size":
                script = _changed_if_valid(script, **{name: value})
            case "error_in_url":
                script = replace(script, outcome="failed", error_in_url=True)
    return script


def _changed_if_valid(script: JobScript, **change: Any) -> JobScript:
    try:
        return script.changed(change)
    except ValueError:
        return script


def _number(text: str, default: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return default
    return number if isfinite(number) and 0 <= number <= MAX_SECONDS else default
