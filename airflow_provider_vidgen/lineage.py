# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Names of what a video is made from and where it is stored, for lineage. No I/O.

A name never holds a query, a fragment or credentials: those sign a link.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

#: fsspec's names of a storage -> the scheme of OpenLineage.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_AZURE = frozenset({"abfs", "abfss", "adl", "az"})
#: Storages whose names do not begin with a slash.
_BUCKETS = frozenset({"s3", "gs", "oss"})


class DatasetName(NamedTuple):
    """A dataset as OpenLineage names it."""

    namespace: str
    name: str


def stored_object(path: str, server: str = "") -> DatasetName:
    """
    Return the name of a landed file, see https://openlineage.io/docs/spec/naming.

    :param path: as in the file's manifest. Airflow's connection id in it is left out.
    :param server: the account of Azure's storage, or the host of any other, where the path does not name it.
    """
    scheme, host, key = _split_path(path)
    if scheme == "file":
        return DatasetName("file", f"/{key}")
    if scheme in _AZURE:
        account = f"@{server}.dfs.core.windows.net" if server else ""
        return DatasetName(f"abfss://{host}{account}", key)
    host = host or server
    return DatasetName(f"{scheme}://{host}" if host else scheme, key if scheme in _BUCKETS else f"/{key}")


def stored_uri(path: str, server: str = "") -> str:
    """
    Return the URI of a landed file, as Airflow's assets have it, without the connection id.

    :param server: as for :func:`stored_object`.
    """
    scheme, host, key = _split_path(path)
    return f"{scheme}://{host or server}/{key}"


def vendor_video(vendor: Any, job_id: Any) -> DatasetName | None:
    """
    Return the name of a video while it is only at its vendor; ``None`` without a job id.

    It connects the task that generates a video with the one that downloads it.
    """
    return DatasetName(f"vidgen://{vendor}", str(job_id)) if vendor and job_id else None


def image_links(images: Any) -> list[str]:
    """
    Return the links among reference images, without queries, fragments and credentials.

    :param images: the task's argument. Images in data URLs, and whatever is no link, are left out.
    """
    if isinstance(images, str) or not isinstance(images, Iterable):
        return []
    return [link for link in dict.fromkeys(map(_location, images)) if link]


def image_dataset(link: str) -> DatasetName:
    """Return the name of a reference image, from one of :func:`image_links`."""
    parts = urlsplit(link)
    return DatasetName(f"{parts.scheme}://{parts.netloc}", parts.path)


def _location(link: Any) -> str:
    try:
        parts = urlsplit(link) if isinstance(link, str) else urlsplit("")
    except ValueError:
        return ""
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme in ("http", "https") and host else ""


def _split_path(path: str) -> tuple[str, str, str]:
    """
    Return scheme, host without the connection id, and path without the first slash.

    Not by ``urlsplit``: a file name may contain ``?`` and ``#``.
    """
    scheme, separator, rest = path.partition("://")
    if not separator:
        return "file", "", path.removeprefix("file:").lstrip("/")
    host, _, key = rest.partition("/")
    return _SCHEMES.get(scheme, scheme), host.rpartition("@")[2], key.lstrip("/")
