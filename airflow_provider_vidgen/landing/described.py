# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What a store is told of an object besides its bytes, and what of it the user may say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from airflow_provider_vidgen.errors import Problem

#: A path may be landed on anew: ask whether the object is still the same one, which costs no bytes.
_CACHE_CONTROL = "no-cache"
#: S3 takes 2 KiB of metadata in all.
_LONGEST_VALUE = 256

_S3 = frozenset({"s3", "s3a", "s3n"})
_GOOGLE = frozenset({"gs", "gcs"})
_AZURE = frozenset({"abfs", "abfss", "adl", "az"})

#: As boto3's put_object calls them. Not the keys of SSE-C: whoever reads the object would need them, too.
_FOR_S3 = frozenset(
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
#: As gcsfs calls them.
_FOR_GOOGLE_FIXED = frozenset({"cache_control", "content_disposition", "content_language", "custom_time"})
_FOR_GOOGLE = _FOR_GOOGLE_FIXED | {"kms_key_name", "metadata"}
#: As adlfs, and the ContentSettings of Azure, call them.
_FOR_AZURE_CONTENT = frozenset({"cache_control", "content_disposition", "content_language"})
_FOR_AZURE = _FOR_AZURE_CONTENT | {"metadata"}

#: What is said of a video and not of the sidecar, which has the prompt: how it is shown, and to whom.
_OF_THE_VIDEO = frozenset(
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
_SHOWN_TO_OTHERS = frozenset({"public-read", "public-read-write", "authenticated-read"})


@dataclass(frozen=True, kw_only=True)
class Described:
    """
    What a store is told of an object.

    :param content_type: such as ``video/mp4``.
    :param metadata: kept with the object where the store can: names of letters and digits, and any text.
    :param upload_args: the user's own arguments for the store, without problems; see
        :func:`problems_with_upload_args`.
    """

    content_type: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    upload_args: Mapping[str, Any] = field(default_factory=dict)

    def for_s3(self) -> dict[str, Any]:
        """Return it as arguments of ``put_object``."""
        given = dict(self.upload_args)
        metadata = {**as_headers(self.metadata), **given.pop("Metadata", {})}
        return {
            "ContentType": self.content_type,
            "CacheControl": _CACHE_CONTROL,
            **given,
            "Metadata": metadata,
        }

    def for_google(self) -> dict[str, Any]:
        """Return it as arguments of gcsfs's ``open``."""
        given = dict(self.upload_args)
        fixed = {name: given.pop(name) for name in _FOR_GOOGLE_FIXED & set(given)}
        return {
            "content_type": self.content_type,
            "metadata": {**as_headers(self.metadata), **given.pop("metadata", {})},
            "fixed_key_metadata": {"cache_control": _CACHE_CONTROL, **fixed},
            **given,
        }

    def for_azure(self) -> dict[str, Any]:
        """Return it as arguments of adlfs's ``open``."""
        given = dict(self.upload_args)
        settings = {name: given.pop(name) for name in _FOR_AZURE_CONTENT & set(given)}
        # adlfs says of every file of its own that it is none.
        metadata = {"is_directory": "false", **as_headers(self.metadata), **given.pop("metadata", {})}
        settings = {"content_type": self.content_type, "cache_control": _CACHE_CONTROL, **settings}
        return {"content_settings": settings, "metadata": metadata}

    def for_protocol(self, protocol: str) -> dict[str, Any]:
        """Return it as arguments for ``open`` of a file system that is not S3's."""
        if protocol in _GOOGLE:
            return self.for_google()
        return self.for_azure() if protocol in _AZURE else {}


def as_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as headers can carry it: percent-encoded, and without what is too long."""
    encoded = {name: quote(value, safe="/:@+=,;.~_-") for name, value in metadata.items()}
    return {name: value for name, value in encoded.items() if 0 < len(value) <= _LONGEST_VALUE}


def problems_with_upload_args(given: object, protocol: str) -> Iterator[Problem]:
    """
    Tell what is wrong with a user's arguments for a store.

    :param given: whatever a template may have made of them.
    :param protocol: of the place that they are for.
    """
    if not given:
        return
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        yield Problem(field="upload_args", value=type(given).__name__, constraint="must map names to values")
        return
    known, store = _taken_by(protocol)
    for name, value in given.items():
        field_name = f"upload_args[{name}]"
        if name not in known:
            names = (
                f"must be one of {', '.join(sorted(known))}"
                if known
                else "must be left out: nothing is taken"
            )
            yield Problem(field=field_name, value="given", constraint=f"{names} {store}")
        elif name in ("Metadata", "metadata"):
            if not _are_headers(value):
                yield Problem(
                    field=field_name,
                    value=type(value).__name__,
                    constraint="must map ASCII text to ASCII text",
                )
        elif known is not _FOR_S3 and not isinstance(value, str):
            yield Problem(field=field_name, value=type(value).__name__, constraint="must be text")


def args_for_sidecar(given: Mapping[str, Any], video: str, sidecar: str) -> dict[str, Any]:
    """
    Return what of the arguments for a video holds for its sidecar.

    :param video: the protocol of the video's place.
    :param sidecar: that of the sidecar's.
    """
    if _taken_by(video) != _taken_by(sidecar):
        return {}
    return {
        name: value
        for name, value in given.items()
        if name not in _OF_THE_VIDEO and not (name == "ACL" and value in _SHOWN_TO_OTHERS)
    }


def protocol_of(path: object) -> str:
    """Return the protocol of a path, whatever a template may have made of it; empty where it has none."""
    scheme, is_url, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return scheme.strip() if is_url else ""


def _taken_by(protocol: str) -> tuple[frozenset[str], str]:
    for protocols, names, store in (
        (_S3, _FOR_S3, "on S3"),
        (_GOOGLE, _FOR_GOOGLE, "on Google Cloud Storage"),
        (_AZURE, _FOR_AZURE, "on Azure"),
    ):
        if protocol in protocols:
            return names, store
    return frozenset(), f"by {protocol or 'file'}://"


def _are_headers(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) and text.isascii() and text.isprintable()
        for pair in value.items()
        for text in pair
    )
