# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Object stores of our own on loopback, each with an empty bucket, and the ways to reach them.

S3 is moto's server, Google's is gcp-storage-emulator, Azure's is Azurite.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from dev.airflow_settings import HOST, free_port

BUCKET = "videos"
_REGION = "us-east-1"
_START_TIMEOUT = 30.0
_ROOT = Path(__file__).resolve().parent.parent

#: `make azurite` puts it there.
_AZURITE = Path(sys.prefix, "azurite", "node_modules", ".bin", "azurite-blob")
#: The one account of every Azurite, as its documentation gives it.
_AZURITE_ACCOUNT = (
    "DefaultEndpointsProtocol=http;BlobEndpoint={url}/devstoreaccount1;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
)


class LocalS3:
    """
    Where an S3 is, and who may enter.

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
    """Run an S3."""
    port = free_port()
    with _running([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], port) as url:
        found = LocalS3(url, secret)
        found.client().create_bucket(Bucket=BUCKET)
        yield found


@contextmanager
def local_gcs() -> Iterator[Any]:
    """Run a Google Cloud Storage, and return gcsfs's file system on it."""
    port = free_port()
    with _running([sys.executable, "-m", "dev.gcs_emulator", str(port), BUCKET], port) as url:
        # It would ask over gRPC what kind of bucket this is, which the emulator does not speak.
        os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
        from gcsfs import GCSFileSystem  # type: ignore[import-untyped]

        yield GCSFileSystem(project="local", token="anon", endpoint_url=url)


@contextmanager
def local_azure() -> Iterator[Any]:
    """
    Run an Azure Blob Storage, and return adlfs's file system on it.

    :raises FileNotFoundError: Azurite is not installed.
    """
    if not _AZURITE.exists():
        raise FileNotFoundError(f"There is no {_AZURITE}: `make azurite` installs it")
    port = free_port()
    command = [str(_AZURITE), "--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence"]
    with _running([*command, "--skipApiVersionCheck", "--silent", "--disableTelemetry"], port) as url:
        from adlfs import AzureBlobFileSystem  # type: ignore[import-untyped]

        found = AzureBlobFileSystem(connection_string=_AZURITE_ACCOUNT.format(url=url))
        found.mkdir(BUCKET)
        yield found


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[str]:
    """
    Run a server in a process of its own while the block lasts.

    :return: its URL, once it answers there.
    :raises TimeoutError: it does not.
    """
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=_ROOT)
    try:
        url = f"http://{HOST}:{port}"
        _wait(url)
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait(url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            urlopen(url).close()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"Nobody answers at {url}")
