# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Our errors as Airflow's: whether another automatic try may help, and one sentence to read.

Airflow prints an exception with all its frames, and with those of what it was raised from. So there is one
exception, which was raised from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_vidgen.errors import GenerationFailed, StatusError, SubmitError, VidgenError
from airflow_provider_vidgen.redaction import redact, without_prompt

if TYPE_CHECKING:
    from airflow.sdk.exceptions import AirflowException

T = TypeVar("T")


class as_airflow_errors:
    """
    Turn errors into Airflow's, in a ``with`` statement.

    :param prompt: taken out of what the vendor said, should it have repeated it. Where it is not known, the
        vendor is not quoted.
    :param kinds: Airflow's exceptions for errors that mean something else here.
    :param next_steps: what to do about errors, where that is something else here.
    :raises AirflowFailException: another automatic try would fail again, or pay again.
    :raises AirflowException: another try may help.
    """

    def __init__(
        self,
        prompt: Any = None,
        *,
        kinds: Mapping[type[VidgenError], type[AirflowException]] | None = None,
        next_steps: Mapping[type[VidgenError], str] | None = None,
    ) -> None:
        self._prompt = prompt if isinstance(prompt, str) else None
        self._kinds = kinds or {}
        self._next_steps = next_steps or {}

    def __enter__(self) -> None:
        """Nothing is to be prepared."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        """Raise Airflow's exception instead of ours."""
        from airflow.sdk.exceptions import AirflowException, AirflowFailException

        if not isinstance(error, Exception) or isinstance(error, AirflowException):
            return
        if not isinstance(error, VidgenError):
            # Nobody has foreseen this one, so its frames are worth reading; its text may hold anything.
            text = without_prompt(redact(str(error)), self._prompt or "")
            raise AirflowException(f"{type(error).__name__}: {text}").with_traceback(frames) from None
        self._clean(error)
        by_severity = AirflowFailException if error.fatal else AirflowException
        raise _nearest(self._kinds, error, by_severity)(f"{type(error).__name__}: {error}") from None

    def _clean(self, error: VidgenError) -> None:
        """Take out what must not be read, also by those who find the error behind Airflow's."""
        error.__cause__ = error.__context__ = error.__traceback__ = None
        error.next_step = _nearest(self._next_steps, error, error.next_step)
        if isinstance(error, StatusError | SubmitError | GenerationFailed):
            error.vendor_code = without_prompt(error.vendor_code, self._prompt or "")
            error.vendor_message = without_prompt(error.vendor_message, self._prompt) if self._prompt else ""
        if isinstance(error, GenerationFailed):
            error.failure = replace(error.failure, code=error.vendor_code, message=error.vendor_message)


def _nearest(by_type: Mapping[type[VidgenError], T], error: VidgenError, otherwise: T) -> T:
    return next((by_type[kind] for kind in type(error).__mro__ if kind in by_type), otherwise)
