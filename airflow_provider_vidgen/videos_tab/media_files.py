# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The files of videos as the API server reaches them: opened and checked, or signed for the browser.

A path comes from an XCom, which Dag authors write and people may edit, so it is not trusted: it could name
any file that the API server, or one of Airflow's connections, may read. Therefore a file is opened, its first
bytes are read, and it is only served, with a content type of our own, if these begin an MP4, QuickTime, WebM
or Matroska video, or a JPEG, PNG or WebP image. What is served is the handle that was checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseHook, ObjectStoragePath

from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.landing.containers.matroska import EBML
from airflow_provider_vidgen.landing.containers.validator import ContainerValidator
from airflow_provider_vidgen.landing.storage import BUCKET_PROTOCOLS, storage_path
from airflow_provider_vidgen.landing.storage_errors import describe, is_forbidden
from airflow_provider_vidgen.redaction import redact
from airflow_provider_vidgen.videos_tab.paths import is_web_link
from airflow_provider_vidgen.videos_tab.wording import clean

#: Bytes that are read to recognise a file.
_HEAD_SIZE = 64 * 1024
#: Seconds that a signed link can be used to begin with; a player that seeks later asks the route again.
SIGNED_SECONDS = 900
_SIGNATURES = (
    (b"\xff\xd8\xff", 0, b"", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, b"", "image/png"),
    (b"RIFF", 8, b"WEBP", "image/webp"),
)


class MediaError(Exception):
    """
    A file cannot be served.

    :param status: of the HTTP response.
    :param text: says why, for people.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """
    A file that was recognised; whoever has it closes it.

    :param file: readable and seekable.
    :param size: in bytes.
    :param etag: changes when the file does.
    :param target: its path.
    """

    file: Any
    size: int
    content_type: str
    etag: str
    target: ObjectStoragePath

    @property
    def name(self) -> str:
        """The name of the file without its folder."""
        return PurePosixPath(self.target.path).name


def open_video(path: str) -> OpenedFile:
    """
    Open a landed video.

    :raises MediaError: it cannot be read, or is no video.
    """
    return _open(path, _video_type, "a video")


def open_poster(path: str) -> OpenedFile:
    """
    Open a poster.

    :raises MediaError: it cannot be read, or is no image.
    """
    return _open(path, _image_type, "a poster")


def _open(path: str, recognise: Any, kind: str) -> OpenedFile:
    file = None
    try:
        target = storage_path(path)
        if target.conn_id:
            # Amazon's hook would use the API server's own credentials for a connection that does not exist.
            BaseHook.get_connection(target.conn_id)
        fs = target.fs
        info = fs.info(target.path)
        if info.get("type") == "directory":
            raise IsADirectoryError(path)
        if info.get("type") != "file" or not info.get("size"):
            # An empty file, or a device or pipe, whose reading may never end.
            raise MediaError(HTTPStatus.FORBIDDEN, f"{_shown(path)} is not {kind}, so it is not shown.")
        file = fs.open(target.path, "rb", **_read_options(target))
        content_type = recognise(file.read(_HEAD_SIZE))
        if content_type is None:
            raise MediaError(HTTPStatus.FORBIDDEN, f"{_shown(path)} is not {kind}, so it is not shown.")
        opened = OpenedFile(
            file=file,
            size=int(info["size"]),
            content_type=content_type,
            etag=_etag(target, info),
            target=target,
        )
        file = None
        return opened
    except MediaError:
        raise
    except Exception as error:
        raise _as_media_error(path, error) from error
    finally:
        if file is not None:
            file.close()


def _read_options(target: ObjectStoragePath) -> dict[str, Any]:
    # Each read is one request for just these bytes: most files are only recognised here, and then signed.
    return {"cache_type": "none"} if target.protocol in BUCKET_PROTOCOLS else {}


def _etag(target: ObjectStoragePath, info: Mapping[str, Any]) -> str:
    values = [str(target), info["size"]]
    values += [
        info.get(name) for name in ("mtime", "ETag", "etag", "LastModified", "updated", "last_modified")
    ]
    return f'"{hashlib.blake2b(repr(values).encode(), digest_size=12).hexdigest()}"'


def _video_type(head: bytes) -> str | None:
    """Return the content type of a video by its first bytes; ``None`` for any other file."""
    # The containers accept QuickTime of the last century as well, which begins like many other files.
    if not head.startswith(EBML) and head[4:8] != b"ftyp":
        return None
    validator = ContainerValidator()
    try:
        validator.feed(head)
    except VidgenError:
        return None
    return None if validator.format is None else validator.format.content_type


def _image_type(head: bytes) -> str | None:
    """Return the content type of a poster by its first bytes; ``None`` for any other file."""
    for start, offset, more, content_type in _SIGNATURES:
        if head.startswith(start) and head.startswith(more, offset):
            return content_type
    return None


def sign(opened: OpenedFile, *, download: bool) -> str | None:
    """
    Return a link with which a browser gets the file from its store for some minutes.

    :param download: the browser is to save the file instead of showing it.
    :return: ``None`` if the store cannot sign, or these credentials cannot.
    """
    target = opened.target
    if target.protocol not in BUCKET_PROTOCOLS:
        return None
    fs = target.fs
    disposition = content_disposition(opened.name, download=download)
    options: dict[str, Any] = {}
    if target.protocol.startswith("s3"):
        fs = _signing_s3(fs)
        options = {"ResponseContentType": opened.content_type, "ResponseContentDisposition": disposition}
    elif target.protocol in ("abfs", "abfss", "az", "adl"):
        options = {"content_type": opened.content_type, "content_disposition": disposition}
    elif target.protocol in ("gs", "gcs"):
        options = {
            "version": "v4",
            "response_type": opened.content_type,
            "response_disposition": disposition,
        }
    try:
        link = fs.sign(target.path, expiration=SIGNED_SECONDS, **options)
    except Exception:
        # No private key, no account key, no signing at all: the file is streamed instead.
        return None
    return link if isinstance(link, str) and is_web_link(link) else None


def _signing_s3(fs: Any) -> Any:
    """
    Return a file system that signs in version 4, unless its connection sets a version.

    Links are otherwise signed in version 2 in some regions, which S3 refuses for encrypted objects and in
    all regions since 2014.
    """
    options = dict(fs.storage_options)
    config = dict(options.get("config_kwargs") or {})
    if "signature_version" in config or options.get("anon"):
        return fs
    # fsspec keeps one instance for each set of arguments.
    return type(fs)(**{**options, "config_kwargs": {**config, "signature_version": "s3v4"}})


def content_disposition(name: str, *, download: bool) -> str:
    """Return the header that shows or saves a file under its name."""
    kind = "attachment" if download else "inline"
    return f"{kind}; filename*=utf-8''{quote(clean(name, 200), safe='')}"


def _as_media_error(path: str, error: Exception) -> MediaError:
    shown = _shown(path)
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return MediaError(
            HTTPStatus.NOT_FOUND,
            f"There is no file {shown}, seen from the API server. It was deleted or moved, or it is on a "
            "worker's own disk.",
        )
    if type(error).__name__ == "AirflowNotFoundException":
        return MediaError(
            HTTPStatus.BAD_GATEWAY,
            f"{shown} cannot be read: its connection is not known to the API server. A connection that is "
            "defined in the workers' environment has to be defined in the API server's, too.",
        )
    if is_forbidden(error):
        return MediaError(
            HTTPStatus.BAD_GATEWAY, f"{shown} cannot be read: the API server has no access to it."
        )
    return MediaError(HTTPStatus.BAD_GATEWAY, f"{shown} cannot be read: {clean(describe(error), 500)}")


def _shown(path: str) -> str:
    return clean(redact(path), 500)
