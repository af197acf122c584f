# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Our errors as Airflow's: whether another automatic try may help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_vidgen.errors import VidgenError


@contextmanager
def airflow_errors() -> Iterator[None]:
    """
    Turn errors of this package into Airflow's.

    :raises AirflowFailException: another automatic try would fail again, or pay again.
    :raises AirflowException: another try may help.
    """
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    try:
        yield
    except VidgenError as error:
        kind = AirflowFailException if error.ends_retries else AirflowException
        raise kind(f"{type(error).__name__}: {error}") from error
