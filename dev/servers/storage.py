# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Empty storage servers on loopback, with their Airflow connections and clients.

moto or s3rver for S3, gcp-storage-emulator for Google Cloud Storage, Azurite for Azure, asyncssh for SFTP.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from urllib.request import Request, urlopen

from dev.loopback import HOST, free_port, running_server

BUCKET = "videos"
#: Buckets in Google Cloud Storage, with their permissions on objects.
READ_ONLY, WRITE_ONLY = "read-only", "write-only"
_REGION = "us-east-1"

#: Installed by `make azurite`.
_AZURITE = Path(sys.prefix, "azurite", "node_modules", ".bin", "azurite-blob")
#: Installed by `make s3rver`.
_S3RVER = Path(sys.prefix, "s3rver", "node_modules")
#: Azurite's well-known account, from its documentation.
_AZURITE_ACCOUNT = (
    "DefaultEndpointsProtocol=http;BlobEndpoint={url}/devstoreaccount1;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
)


class LocalS3:
    """
    Endpoint and credentials of an S3 server.

    :param url: endpoint.
    :param secret: secret access key.
    :param account: access key id.
    """

    def __init__(self, url: str, secret: str, account: str = "local") -> None:
        self.url = url
        self._secret = secret
        self._account = account

    @classmethod
    def from_connection(cls, connection: str) -> LocalS3:
        """Return the server of an Airflow connection, given as JSON."""
        fields = json.loads(connection)
        return cls(fields["extra"]["endpoint_url"], fields["password"], fields["login"])

    @property
    def connection(self) -> str:
        """The Airflow connection, as JSON."""
        extra = {"endpoint_url": self.url, "region_name": _REGION}
        fields = {"conn_type": "aws", "login": self._account, "password": self._secret, "extra": extra}
        return json.dumps(fields)

    def client(self, service: str = "s3") -> Any:
        """Return a boto3 client, for checks that do not depend on the provider."""
        import boto3  # type: ignore[import-untyped]

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=_REGION,
            aws_access_key_id=self._account,
            aws_secret_access_key=self._secret,
        )

    def user_with_policy(self, name: str, statement: Mapping[str, Any]) -> LocalS3:
        """Create a user with an IAM policy, and return the server with the user's credentials."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]}
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return LocalS3(self.url, key["SecretAccessKey"], key["AccessKeyId"])

    def enforce_policies(self) -> None:
        """Have moto enforce IAM policies from now on."""
        headers = {"Content-Type": "text/plain"}  # otherwise moto parses the body as a form
        urlopen(Request(f"{self.url}/moto-api/reset-auth", data=b"0", headers=headers)).close()


@contextmanager
def local_s3(secret: str = "local") -> Iterator[LocalS3]:
    """Run an S3 server (moto) with the bucket :data:`BUCKET`."""
    port = free_port()
    with running_server([sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)], port) as url:
        server = LocalS3(url, secret)
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@contextmanager
def local_s3rver(
    folder: Path, if_none_match: Literal["ignored", "unsupported", "supported"]
) -> Iterator[LocalS3]:
    """
    Run an S3 server that is not moto, with the bucket :data:`BUCKET`.

    :param folder: folder of its files.
    :param if_none_match: handling of the header ``If-None-Match: *``: ignored, as s3rver does by default,
        answered with 501, or as in S3.
    :raises FileNotFoundError: s3rver is not installed.
    """
    if not _S3RVER.exists():
        raise FileNotFoundError(f"s3rver is not installed in {_S3RVER}; run `make s3rver`")
    port = free_port()
    command = ["node", "dev/servers/s3rver.js", HOST, str(port), str(folder), BUCKET, if_none_match]
    with running_server(command, port, NODE_PATH=str(_S3RVER)) as url:
        yield LocalS3(url, "S3RVER", "S3RVER")


class LocalSftp:
    """
    Address of an SFTP server.

    :param port: port on loopback.
    :param folder: folder that the server has as its root.
    """

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.folder = folder

    @property
    def connection(self) -> str:
        """The Airflow connection, as JSON."""
        fields = {"conn_type": "sftp", "host": HOST, "port": self.port, "login": "local", "password": "local"}
        return json.dumps({**fields, "extra": {"no_host_key_check": True}})


@contextmanager
def local_sftp(folder: Path) -> Iterator[LocalSftp]:
    """Run an SFTP server."""
    port = free_port()
    command = [sys.executable, "-m", "dev.servers.sftp_server", str(port), str(folder)]
    with running_server(command, port, is_http=False):
        yield LocalSftp(port, folder)


@contextmanager
def local_gcs() -> Iterator[Any]:
    """Run Google Cloud Storage with all buckets named here, and return gcsfs's file system."""
    port = free_port()
    with running_server([sys.executable, "-m", "dev.servers.gcs_emulator", str(port), BUCKET], port) as url:
        # gcsfs would request the bucket's kind over gRPC, which the emulator does not support.
        os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
        from gcsfs import GCSFileSystem  # type: ignore[import-untyped]

        filesystem = GCSFileSystem(project="local", token="anon", endpoint_url=url)
        for bucket in (READ_ONLY, WRITE_ONLY):
            filesystem.mkdir(bucket)
        yield filesystem


@contextmanager
def local_azure() -> Iterator[Any]:
    """
    Run Azure Blob Storage (Azurite), and return adlfs's file system.

    :raises FileNotFoundError: Azurite is not installed.
    """
    if not _AZURITE.exists():
        raise FileNotFoundError(f"Azurite is not installed at {_AZURITE}; run `make azurite`")
    port = free_port()
    command = [str(_AZURITE), "--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence"]
    with running_server([*command, "--skipApiVersionCheck", "--silent", "--disableTelemetry"], port) as url:
        from adlfs import AzureBlobFileSystem  # type: ignore[import-untyped]

        filesystem = AzureBlobFileSystem(connection_string=_AZURITE_ACCOUNT.format(url=url))
        filesystem.mkdir(BUCKET)
        yield filesystem


def azure_with_permissions(filesystem: Any, *, read: bool = False, write: bool = False) -> Any:
    """Return an Azurite file system whose access to :data:`BUCKET` is restricted to these permissions."""
    from adlfs import AzureBlobFileSystem
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    account = dict(part.split("=", 1) for part in filesystem.connection_string.strip(";").split(";"))
    signature = generate_container_sas(
        account["AccountName"],
        BUCKET,
        account_key=account["AccountKey"],
        permission=ContainerSasPermissions(read=read, list=read, write=write, create=write),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    connection = f"BlobEndpoint={account['BlobEndpoint']};SharedAccessSignature={signature}"
    return AzureBlobFileSystem(connection_string=connection, skip_instance_cache=True)
