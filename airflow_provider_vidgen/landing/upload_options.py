# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Content type, metadata and the user's ``upload_args`` of an upload, per kind of store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from airflow_provider_vidgen.errors import Problem

#: A path may be landed on again, so caches must revalidate, which costs no bytes.
_CACHE_CONTROL = "no-cache"
#: S3 takes 2 KiB of metadata in all.
_MAX_METADATA_VALUE = 256

_S3 = frozenset({"s3", "s3a", "s3n"})
_GOOGLE = frozenset({"gs", "gcs"})
_AZURE = frozenset({"abfs", "abfss", "adl", "az"})

#: Arguments of boto3's put_object, without the keys of SSE-C, which every reader of the object would need.
_S3_ARGS = frozenset(
    {
        "ACL",
        "BucketKeyEnabled",
        "CacheControl",
        "ContentDisposition",
        "ContentLanguage",
        "ExpectedBucketOwner",
    }
    | {"Expires", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWriteACP", "Metadata"}
    | {"ObjectLockLegalHoldStatus", "ObjectLockMode", "ObjectLockRetainUntilDate", "RequestPayer"}
    | {"SSEKMSEncryptionContext", "SSEKMSKeyId", "ServerSideEncryption", "StorageClass", "Tagging"}
    | {"WebsiteRedirectLocation"}
)
#: Arguments of gcsfs's open, the first ones as fixed_key_metadata.
_GOOGLE_FIXED_KEYS = frozenset({"cache_control", "content_disposition", "content_language", "custom_time"})
_GOOGLE_ARGS = _GOOGLE_FIXED_KEYS | {"kms_key_name", "metadata"}
#: Arguments of adlfs's open, the first ones as Azure's ContentSettings.
_AZURE_CONTENT_SETTINGS = frozenset({"cache_control", "content_disposition", "content_language"})
_AZURE_ARGS = _AZURE_CONTENT_SETTINGS | {"metadata"}

#: Arguments on how and to whom a video is served. Not for its sidecar, which may hold the prompt.
_VIDEO_ONLY_ARGS = frozenset(
    {
        "CacheControl",
        "ContentDisposition",
        "ContentLanguage",
        "Expires",
        "Metadata",
        "WebsiteRedirectLocation",
    }
    | {"GrantRead", "GrantReadACP", "GrantWriteACP", "cache_control", "content_disposition"}
    | {"content_language", "metadata"}
)
_PUBLIC_ACLS = frozenset({"public-read", "public-read-write", "authenticated-read"})


@dataclass(frozen=True, kw_only=True)
class UploadOptions:
    """
    Content type, metadata and arguments of an upload.

    :param content_type: such as ``video/mp4``.
    :param metadata: stored with the object where the store has metadata. Names are letters and digits only,
        because Azure takes no hyphens and some proxies drop headers with underscores; values are any text.
    :param upload_args: the user's own arguments, already validated by :func:`upload_args_problems`.
    """

    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    upload_args: Mapping[str, Any] = field(default_factory=dict)

    def for_s3(self) -> dict[str, Any]:
        """Return arguments of ``put_object``."""
        args = dict(self.upload_args)
        metadata = {**encode_metadata(self.metadata), **args.pop("Metadata", {})}
        return {
            "ContentType": self.content_type,
            "CacheControl": _CACHE_CONTROL,
            **args,
            "Metadata": metadata,
        }

    def for_google(self) -> dict[str, Any]:
        """Return arguments of gcsfs's ``open``."""
        args = dict(self.upload_args)
        fixed_keys = {name: args.pop(name) for name in _GOOGLE_FIXED_KEYS & set(args)}
        return {
            "content_type": self.content_type,
            "metadata": {**encode_metadata(self.metadata), **args.pop("metadata", {})},
            "fixed_key_metadata": {"cache_control": _CACHE_CONTROL, **fixed_keys},
            **args,
        }

    def for_azure(self) -> dict[str, Any]:
        """Return arguments of adlfs's ``open``."""
        args = dict(self.upload_args)
        settings = {name: args.pop(name) for name in _AZURE_CONTENT_SETTINGS & set(args)}
        # adlfs sets is_directory on every file that is given no metadata.
        metadata = {"is_directory": "false", **encode_metadata(self.metadata), **args.pop("metadata", {})}
        settings = {"content_type": self.content_type, "cache_control": _CACHE_CONTROL, **settings}
        return {"content_settings": settings, "metadata": metadata}

    def for_protocol(self, protocol: str) -> dict[str, Any]:
        """Return arguments of ``open`` of a file system other than S3's."""
        if protocol in _GOOGLE:
            return self.for_google()
        return self.for_azure() if protocol in _AZURE else {}


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as HTTP headers can carry it: percent-encoded, without values that are too long."""
    encoded = {name: quote(value, safe="/:@+=,;.~_-") for name, value in metadata.items()}
    return {name: value for name, value in encoded.items() if 0 < len(value) <= _MAX_METADATA_VALUE}


def upload_args_problems(upload_args: object, protocol: str) -> Iterator[Problem]:
    """
    Yield everything that is wrong with a user's ``upload_args``.

    :param upload_args: rendered, so it may be of any type.
    :param protocol: of the storage they are for.
    """
    if not upload_args:
        return
    if not isinstance(upload_args, Mapping) or not all(isinstance(name, str) for name in upload_args):
        value_type = type(upload_args).__name__
        yield Problem(field="upload_args", value=value_type, constraint="must map names to values")
        return
    allowed, store = _allowed_args(protocol)
    for name, value in upload_args.items():
        field_name = f"upload_args[{name}]"
        if name not in allowed:
            constraint = (
                f"must be one of {', '.join(sorted(allowed))} {store}"
                if allowed
                else f"must be left out: no arguments are taken {store}"
            )
            yield Problem(field=field_name, value="given", constraint=constraint)
        elif name in ("Metadata", "metadata"):
            if not _is_valid_metadata(value):
                yield Problem(
                    field=field_name,
                    value=type(value).__name__,
                    constraint="must map ASCII text to ASCII text",
                )
        elif allowed is not _S3_ARGS and not isinstance(value, str):
            yield Problem(field=field_name, value=type(value).__name__, constraint="must be text")


def sidecar_upload_args(
    upload_args: Mapping[str, Any], video_protocol: str, sidecar_protocol: str
) -> dict[str, Any]:
    """Return those of a video's ``upload_args`` that apply to its sidecar, none in another kind of store."""
    if _allowed_args(video_protocol) != _allowed_args(sidecar_protocol):
        return {}
    return {
        name: value
        for name, value in upload_args.items()
        if name not in _VIDEO_ONLY_ARGS and not (name == "ACL" and value in _PUBLIC_ACLS)
    }


def protocol_of(path: object) -> str:
    """Return the protocol of a rendered path, which may be of any type; empty where it has none."""
    scheme, is_url, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return scheme.strip() if is_url else ""


def _allowed_args(protocol: str) -> tuple[frozenset[str], str]:
    for protocols, names, store in (
        (_S3, _S3_ARGS, "on S3"),
        (_GOOGLE, _GOOGLE_ARGS, "on Google Cloud Storage"),
        (_AZURE, _AZURE_ARGS, "on Azure"),
    ):
        if protocol in protocols:
            return names, store
    return frozenset(), f"by {protocol or 'file'}://"


def _is_valid_metadata(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) and text.isascii() and text.isprintable()
        for pair in value.items()
        for text in pair
    )
