# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A store to land in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.local_s3 import LocalS3, local_s3


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """An S3 of our own with a bucket ``videos``."""
    with local_s3() as found:
        yield found
