# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Convert this package's errors to Airflow's, at the border between the two.

Airflow prints an exception with its traceback and those of its causes. So exactly one exception is raised,
with one message and without a cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.errors import GenerationFailed, StatusError, SubmitError, TaskRef, VidgenError
from airflow_provider_vidgen.redaction import redact, without_prompt

T = TypeVar("T")


class as_airflow_errors:
    """
    Convert errors to Airflow's, in a ``with`` statement.

    The message is logged a second time after Airflow's traceback, because that is where people read first.

    :param operator: the operator that runs.
    :param task: the task instance, for the commands in the message.
    :param prompt: removed from the vendor's message, which may repeat it. If it is not known, the vendor's
        message is left out.
    :param exceptions: Airflow's exception by error class, where it differs in this task.
    :param next_steps: the next step by error class, where it differs in this task.
    :raises AirflowFailException: another automatic try would fail again, or pay again.
    :raises AirflowException: another try may succeed.
    """

    def __init__(
        self,
        *,
        operator: Any,
        task: TaskRef | None = None,
        prompt: Any = None,
        exceptions: Mapping[type[VidgenError], type[AirflowException]] | None = None,
        next_steps: Mapping[type[VidgenError], str] | None = None,
    ) -> None:
        self._operator = operator
        self._task = task
        self._prompt = prompt if isinstance(prompt, str) else None
        self._exceptions = exceptions or {}
        self._next_steps = next_steps or {}

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        """Raise Airflow's exception in place of this package's."""
        if not isinstance(error, Exception) or isinstance(error, AirflowException):
            return
        if not isinstance(error, VidgenError):
            # An unexpected error: its traceback is worth reading, and its text may hold anything.
            text = without_prompt(redact(str(error)), self._prompt or "")
            airflow_internals.log_after_traceback(self._operator, f"{type(error).__name__}: {text}")
            raise AirflowException(f"{type(error).__name__}: {text}").with_traceback(frames) from None
        self._remove_secrets(error)
        message = error.describe(self._task, next_step=_most_specific(self._next_steps, error, None))
        by_class = AirflowFailException if error.fatal else AirflowException
        exception = _most_specific(self._exceptions, error, by_class)
        airflow_internals.log_after_traceback(self._operator, message)
        raise exception(f"{type(error).__name__}: {message}") from None

    def _remove_secrets(self, error: VidgenError) -> None:
        """Clean the error itself, because it stays reachable as the context of Airflow's exception."""
        error.__cause__ = error.__context__ = error.__traceback__ = None
        if isinstance(error, StatusError | SubmitError | GenerationFailed):
            error.vendor_code = without_prompt(error.vendor_code, self._prompt or "")
            error.vendor_message = without_prompt(error.vendor_message, self._prompt) if self._prompt else ""
        if isinstance(error, GenerationFailed):
            error.failure = replace(error.failure, code=error.vendor_code, message=error.vendor_message)


def _most_specific(by_class: Mapping[type[VidgenError], T], error: VidgenError, default: T) -> T:
    return next((by_class[kind] for kind in type(error).__mro__ if kind in by_class), default)
