# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a storage raises is called what it is; an error of anybody else is not its fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from airflow_provider_vidgen.errors import StorageError, VidgenError
from airflow_provider_vidgen.landing.places import told

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_vidgen.landing.storing import Sink


@contextmanager
def storage_errors(target: ObjectStoragePath) -> Iterator[None]:
    """
    Call a storage, and nobody else, in a ``with`` statement.

    :raises StorageError: it raised something.
    """
    try:
        yield
    except VidgenError:
        raise
    except Exception as error:
        raise StorageError(f"{target} could not be stored", vendor_message=told(error)) from error


@contextmanager
def in_storage(target: ObjectStoragePath, place: AbstractContextManager[Sink]) -> Iterator[Sink]:
    """
    Open a place in a storage, whose errors are told from those of the block.

    :raises StorageError: the storage raised something.
    """
    with storage_errors(target):
        sink = place.__enter__()
    try:
        yield _Guarded(target, sink)
    except BaseException:
        with storage_errors(target):
            ended = place.__exit__(*sys.exc_info())
        if not ended:
            raise
    else:
        with storage_errors(target):
            place.__exit__(None, None, None)


class _Guarded:
    def __init__(self, target: ObjectStoragePath, sink: Sink) -> None:
        self._target = target
        self._sink = sink

    def write(self, data: bytes) -> None:
        with storage_errors(self._target):
            self._sink.write(data)

    def restart(self) -> None:
        with storage_errors(self._target):
            self._sink.restart()

    def add_metadata(self, name: str, value: str) -> None:
        with storage_errors(self._target):
            self._sink.add_metadata(name, value)
