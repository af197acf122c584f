# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A store to land in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from landing_s3 import client


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of an S3 of our own with a bucket ``videos``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client(f"http://{host}:{port}").create_bucket(Bucket="videos")
        yield f"http://{host}:{port}"
    finally:
        server.stop()
