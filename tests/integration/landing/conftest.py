# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Stores to land in, each with a bucket ``videos``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dev.object_stores import LocalS3, local_azure, local_gcs, local_s3


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3."""
    with local_s3() as found:
        yield found


@pytest.fixture(scope="session")
def gcs() -> Iterator[Any]:
    """The file system of a Google Cloud Storage."""
    with local_gcs() as found:
        yield found


@pytest.fixture(scope="session")
def azure() -> Iterator[Any]:
    """The file system of an Azure Blob Storage."""
    with local_azure() as found:
        yield found
