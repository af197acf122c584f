# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An S3 of our own on loopback (moto's server) with a bucket, and the ways to reach it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

from dev.airflow_settings import HOST, free_port

BUCKET = "videos"
_REGION = "us-east-1"
_START_TIMEOUT = 30.0


class LocalS3:
    """
    Where it is, and who may enter.

    :param url: its endpoint.
    :param secret: of the account ``local``.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self._secret = secret

    @classmethod
    def of_connection(cls, connection: str) -> LocalS3:
        """Return the one that a connection leads to."""
        told = json.loads(connection)
        return cls(told["extra"]["endpoint_url"], told["password"])

    @property
    def connection(self) -> str:
        """Airflow's connection to it, as JSON."""
        extra = {"endpoint_url": self.url, "region_name": _REGION}
        return json.dumps({"conn_type": "aws", "login": "local", "password": self._secret, "extra": extra})

    def client(self) -> Any:
        """Return a client that looks at it as anybody else would."""
        import boto3  # type: ignore[import-untyped]

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=_REGION,
            aws_access_key_id="local",
            aws_secret_access_key=self._secret,
        )


@contextmanager
def local_s3(secret: str = "local") -> Iterator[LocalS3]:
    """
    Run one with an empty bucket ``videos``, in a process of its own.

    :raises TimeoutError: it does not listen.
    """
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = LocalS3(f"http://{HOST}:{port}", secret)
        _wait(found.url)
        found.client().create_bucket(Bucket=BUCKET)
        yield found
    finally:
        server.terminate()
        server.wait()


def _wait(url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            urlopen(f"{url}/moto-api/").close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"moto's server did not listen at {url}")
