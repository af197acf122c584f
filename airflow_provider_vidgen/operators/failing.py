# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Our errors as Airflow's: whether another automatic try may help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_vidgen.errors import VidgenError

#: A repeated prompt may have been cut off; so many of its characters are enough to know it by.
_TELLING = 40
_SHORTEST = 6


@contextmanager
def airflow_errors(prompt: Any = None) -> Iterator[None]:
    """
    Turn errors of this package into Airflow's.

    :param prompt: taken out of what the vendor said, should it have repeated it.
    :raises AirflowFailException: another automatic try would fail again, or pay again.
    :raises AirflowException: another try may help.
    """
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    try:
        yield
    except VidgenError as error:
        if isinstance(prompt, str):
            error.words = _without(prompt.strip(), error.words)
        kind = AirflowFailException if error.ends_retries else AirflowException
        raise kind(f"{type(error).__name__}: {error}") from error


def _without(prompt: str, words: str) -> str:
    if len(prompt) < _SHORTEST:
        return words
    words = words.replace(prompt, "***")
    head, cut, _ = words.partition(prompt[:_TELLING])
    return f"{head}***" if cut else words
