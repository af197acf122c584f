# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""What one job will do: chosen by the control API, or by words such as ``[sim:stuck]`` in its prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import isfinite
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from airflow_provider_vidgen.simulator.checking import LONGEST, STRICT, Count, Seconds, checked
from airflow_provider_vidgen.simulator.extras import Container
from airflow_provider_vidgen.simulator.options import Results

PROGRESS: Final = ("natural", "null", "empty", "absent")
_SIZE: Final = "^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$"
_DIRECTIVE: Final = re.compile(r"\[sim:([a-z_]+)(?:=([^\]]*))?\]")


@dataclass(frozen=True)
class Script:
    """The course of one job.

    :param seconds: from acceptance to the end, in virtual seconds; None takes the vendor's usual time.
    :param outcome: how it ends.
    :param fail_code: the vendor's error code, where the vendor gives one.
    :param fail_message: the vendor's words for a failure.
    :param stuck: it is worked on for ever.
    :param word: a state word of one's own, said in the second half of the job's life.
    :param progress: ``natural``, or shown as ``null``, as ``empty`` text or ``absent``.
    :param backwards: the progress falls back at every other look.
    :param polls_without_url: how many looks find it successful but without a link.
    :param polls_without_data: how many looks find ``"data": null``.
    :param link_late: virtual seconds after its end for which its link answers 404: a store that lags.
    :param error_in_url: a failure puts its text where the link would be (Apixgo).
    :param results: how many videos it makes; None takes the option's.
    :param thumbnail: whether there is a picture besides; None takes the option's.
    :param container: what its videos come in; None takes the option's.
    :param picture: width and height of the reference image, as in ``600x800``, where that decides about the
        video (APIMart) and the image was not uploaded here.
    """

    __pydantic_config__: ClassVar = STRICT

    seconds: Seconds | None = None
    outcome: Literal["succeeded", "failed", "cancelled"] = "succeeded"
    fail_code: str = "GENERATION_FAILED"
    fail_message: str = "Generation failed"
    stuck: bool = False
    word: str | None = None
    progress: Literal["natural", "null", "empty", "absent"] = "natural"
    backwards: bool = False
    polls_without_url: Count = 0
    polls_without_data: Count = 0
    link_late: Seconds = 0.0
    error_in_url: bool = False
    results: Results | None = None
    thumbnail: bool | None = None
    container: Container | None = None
    picture: Annotated[str, Field(pattern=_SIZE)] | None = None

    def changed(self, changes: Mapping[str, Any]) -> Script:
        """Give this script with some lines changed.

        :param changes: new values by name.
        :raises ValueError: a line does not exist, or does not take its value.
        """
        return checked(Script, {**asdict(self), **changes})


# The failure codes of the Apixo document with its own words; other vendors say the words only.
_WORDS: Final = {
    "CONTENT_VIOLATION": "Content does not meet safety guidelines",
    "INVALID_IMAGE_URL": "Cannot access provided image URL",
    "INVALID_TASK_ID": "Invalid previous task ID or index",
}


def failing(code: str, message: str | None = None) -> Script:
    """Give the script of a job that fails.

    :param code: the vendor's error code.
    :param message: the vendor's words; the usual ones for that code when left out.
    """
    return Script(outcome="failed", fail_code=code, fail_message=message or _WORDS.get(code, code))


def from_prompt(prompt: str) -> Script:
    """Read the directives in a prompt; words that are no directive are left to the vendor.

    :param prompt: what the user wrote.
    """
    script = Script()
    for name, value in _DIRECTIVE.findall(prompt.encode(errors="replace").decode()):
        match name:
            case "fail":
                code, _, message = (value or "GENERATION_FAILED").partition(":")
                told = failing(code, message or None)
                script = replace(
                    script, outcome="failed", fail_code=told.fail_code, fail_message=told.fail_message
                )
            case "cancel":
                script = replace(script, outcome="cancelled", fail_message="Task was cancelled")
            case "stuck":
                script = replace(script, stuck=True)
            case "fast":
                script = replace(script, seconds=0.0)
            case "slow":
                script = replace(script, seconds=_number(value, 60.0))
            case "word":
                script = replace(script, word=value or "halfway")
            case "progress" if value in PROGRESS:
                script = script.changed({"progress": value})
            case "backwards":
                script = replace(script, backwards=True)
            case "nourl":
                script = replace(script, polls_without_url=int(_number(value, 3)))
            case "latelink":
                script = replace(script, link_late=_number(value, 60.0))
            case "null":
                script = replace(script, polls_without_data=int(_number(value, 1)))
            case "results":
                script = _if_it_fits(script, results=int(_number(value, 2)))
            case "thumbnail":
                script = replace(script, thumbnail=True)
            case "container" | "picture":
                script = _if_it_fits(script, **{name: value})
            case "errorurl":
                script = replace(script, outcome="failed", error_in_url=True)
    return script


def _if_it_fits(script: Script, **line: Any) -> Script:
    """Take a line over; one that does not fit is no directive."""
    try:
        return script.changed(line)
    except ValueError:
        return script


def _number(text: str, default: float) -> float:
    try:
        number = float(text)
    except ValueError:
        return default
    return number if isfinite(number) and 0 <= number <= LONGEST else default
