# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Stores of our own on loopback, each empty, and the ways to reach them.

S3 is moto's server or s3rver, Google's is gcp-storage-emulator, Azure's is Azurite, SFTP's is asyncssh.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from dev.airflow_settings import HOST, free_port

BUCKET = "videos"
#: In Google's store, what everybody may do with the objects of these buckets.
READ_ONLY, WRITE_ONLY = "read-only", "write-only"
_REGION = "us-east-1"
_START_TIMEOUT = 30.0
_ROOT = Path(__file__).resolve().parent.parent

#: `make azurite` puts it there.
_AZURITE = Path(sys.prefix, "azurite", "node_modules", ".bin", "azurite-blob")
#: `make s3rver` puts it there.
_S3RVER = Path(sys.prefix, "s3rver", "node_modules")
#: The one account of every Azurite, as its documentation gives it.
_AZURITE_ACCOUNT = (
    "DefaultEndpointsProtocol=http;BlobEndpoint={url}/devstoreaccount1;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
)


class LocalS3:
    """
    Where an S3 is, and who may enter.

    :param url: its endpoint.
    :param secret: of the account.
    :param account: the access key's id.
    """

    def __init__(self, url: str, secret: str, account: str = "local") -> None:
        self.url = url
        self._secret = secret
        self._account = account

    @classmethod
    def of_connection(cls, connection: str) -> LocalS3:
        """Return the one that a connection leads to."""
        told = json.loads(connection)
        return cls(told["extra"]["endpoint_url"], told["password"], told["login"])

    @property
    def connection(self) -> str:
        """Airflow's connection to it, as JSON."""
        extra = {"endpoint_url": self.url, "region_name": _REGION}
        told = {"conn_type": "aws", "login": self._account, "password": self._secret, "extra": extra}
        return json.dumps(told)

    def client(self, service: str = "s3") -> Any:
        """Return a client that looks at it as anybody else would."""
        import boto3  # type: ignore[import-untyped]

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=_REGION,
            aws_access_key_id=self._account,
            aws_secret_access_key=self._secret,
        )

    def user_who_may(self, name: str, statement: Mapping[str, Any]) -> LocalS3:
        """Return the same store as another user sees it, whom moto holds to a policy; see :meth:`enforce`."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return LocalS3(self.url, key["SecretAccessKey"], key["AccessKeyId"])

    def enforce(self) -> None:
        """Have moto hold every account to its policy from now on."""
        headers = {"Content-Type": "text/plain"}  # else it would be taken for a form
        urlopen(Request(f"{self.url}/moto-api/reset-auth", data=b"0", headers=headers)).close()


@contextmanager
def local_s3(secret: str = "local") -> Iterator[LocalS3]:
    """Run an S3."""
    port = free_port()
    with _running([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], port) as url:
        found = LocalS3(url, secret)
        found.client().create_bucket(Bucket=BUCKET)
        yield found


@contextmanager
def local_s3rver(folder: Path, conditions: Literal["ignored", "refused", "kept"]) -> Iterator[LocalS3]:
    """
    Run an S3 that is not moto.

    :param folder: where it keeps its files.
    :param conditions: what it does where a name must be free: takes no notice, as s3rver does by itself,
        answers that it does not know this, or does as S3.
    :raises FileNotFoundError: s3rver is not installed.
    """
    if not _S3RVER.exists():
        raise FileNotFoundError(f"There is no {_S3RVER}: `make s3rver` installs it")
    port = free_port()
    command = ["node", "dev/s3rver.js", HOST, str(port), str(folder), BUCKET, conditions]
    with _running(command, port, NODE_PATH=str(_S3RVER)) as url:
        yield LocalS3(url, "S3RVER", "S3RVER")


class LocalSftp:
    """
    Where an SFTP server is.

    :param port: of this machine.
    :param folder: what it shows as its root.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder

    @property
    def connection(self) -> str:
        """Airflow's connection to it, as JSON."""
        told = {"conn_type": "sftp", "host": HOST, "port": self.port, "login": "local", "password": "local"}
        return json.dumps({**told, "extra": {"no_host_key_check": True}})


@contextmanager
def local_sftp(folder: Path) -> Iterator[LocalSftp]:
    """Run an SFTP server."""
    port = free_port()
    command = [sys.executable, "-m", "dev.sftp_server", str(port), str(folder)]
    with _running(command, port, speaks_http=False):
        yield LocalSftp(port, folder)


@contextmanager
def local_gcs() -> Iterator[Any]:
    """Run a Google Cloud Storage, with a bucket for each kind of account, and return gcsfs's file system."""
    port = free_port()
    with _running([sys.executable, "-m", "dev.gcs_emulator", str(port), BUCKET], port) as url:
        # It would ask over gRPC what kind of bucket this is, which the emulator does not speak.
        os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
        from gcsfs import GCSFileSystem  # type: ignore[import-untyped]

        found = GCSFileSystem(project="local", token="anon", endpoint_url=url)
        for bucket in (READ_ONLY, WRITE_ONLY):
            found.mkdir(bucket)
        yield found


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


def azure_who_may(storage: Any, *, read: bool = False, write: bool = False) -> Any:
    """Return the file system of an account that may do only this in the bucket of an Azurite."""
    from adlfs import AzureBlobFileSystem
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    told = dict(part.split("=", 1) for part in storage.connection_string.strip(";").split(";"))
    signature = generate_container_sas(
        told["AccountName"],
        BUCKET,
        account_key=told["AccountKey"],
        permission=ContainerSasPermissions(read=read, list=read, write=write, create=write),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    entry = f"BlobEndpoint={told['BlobEndpoint']};SharedAccessSignature={signature}"
    return AzureBlobFileSystem(connection_string=entry, skip_instance_cache=True)


@contextmanager
def _running(
    command: Sequence[str], port: int, *, speaks_http: bool = True, **environment: str
) -> Iterator[str]:
    """
    Run a server in a process of its own while the block lasts.

    :return: its URL, once it answers there.
    :raises TimeoutError: it does not.
    """
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=_ROOT,
        env={**os.environ, **environment},
    )
    try:
        url = f"http://{HOST}:{port}"
        _wait((lambda: urlopen(url).close()) if speaks_http else lambda: _connect(port), url)
        yield url
    finally:
        server.terminate()
        server.wait()


def _connect(port: int) -> None:
    socket.create_connection((HOST, port)).close()


def _wait(answers: Callable[[], None], url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        try:
            answers()
        except HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"Nobody answers at {url}")
