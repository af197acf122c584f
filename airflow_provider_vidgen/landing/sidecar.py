# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The JSON sidecar of a landed video: its file, job, request and cost.

It documents a folder of videos, and lets a later try recognise a file without downloading it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing.paths import target_for
from airflow_provider_vidgen.landing.storage import has_content, storage_path
from airflow_provider_vidgen.landing.storage_errors import is_forbidden
from airflow_provider_vidgen.landing.upload_options import UploadOptions
from airflow_provider_vidgen.landing.writers import atomic_writer
from airflow_provider_vidgen.models import VideoJob, VideoRequest
from airflow_provider_vidgen.redaction import without_secrets

_log = logging.getLogger(__name__)

CONTENT_TYPE = "application/json"
_GENERATOR = "airflow-provider-vidgen"
_SCHEMA_VERSION = 1
_MAX_SIZE = 1024**2
#: Fields of the request that may contain or repeat the prompt.
_PROMPT_FIELDS = ("prompt", "image_urls", "extra")


@dataclass(frozen=True, kw_only=True)
class VideoMetadata:
    """
    The origin of a video, for its sidecar.

    :param request: ``None`` where only the result is known.
    :param result: the result of the generation, see :mod:`airflow_provider_vidgen.xcom`.
    :param fingerprint: the ledger's fingerprint of the request; empty where it is not known.
    :param secrets: the API key, which is removed from the request wherever that contains it.
    """

    request: VideoRequest | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def requested_properties(self) -> dict[str, Any]:
        """Return what a probe is compared with."""
        if self.request is None:
            return {"duration": self.result.get("duration_seconds")}
        return {
            "duration": self.request.duration,
            "aspect_ratio": self.request.aspect_ratio,
            "resolution": self.request.resolution,
        }

    def request_as_json(self, *, include_prompt: bool) -> dict[str, Any] | None:
        """
        Return the request as JSON values, without keys, tokens and signatures.

        :param include_prompt: include the prompt and every field that may repeat it.
        """
        if self.request is None:
            return None
        # The callback URL contains a token of this package.
        omitted = {"callback_url", *(() if include_prompt else _PROMPT_FIELDS)}
        values: dict[str, Any] = {}
        for name in (item.name for item in fields(self.request)):
            value = getattr(self.request, name)
            if value is not None and name not in omitted:
                try:
                    values[name] = without_secrets(value, self.secrets)
                except RecursionError:
                    values[name] = "omitted: nested too deeply"
        return values


class SidecarMatch(Enum):
    """Whether a sidecar shows that an existing file is the one to land."""

    SAME = "complete, and of the same job and request"
    DIFFERENT = "of another job or request"
    UNKNOWN = "the sidecar does not describe the file"


def sidecar_path(
    target: ObjectStoragePath, folder: str | None, *, job: VideoJob | None, index: int, map_index: int | None
) -> ObjectStoragePath:
    """
    Return the path of a file's sidecar: its name with ``.json`` appended.

    :param folder: ends in ``/``, with fields still to be filled in; ``None`` is the file's own folder.
    :raises ValueError: the folder does not end in ``/``, or its storage is not installed.
    """
    if folder is None:
        return target.parent / f"{target.name}.json"
    if not folder.endswith("/"):
        raise ValueError(f"{folder!r} must end in /")
    # {index} keeps target_for from appending a name of its own; only the folder of the result is used.
    ext = PurePosixPath(target.name).suffix.removeprefix(".")
    path = target_for(f"{folder}{{index}}", job=job, index=index, of=1, map_index=map_index, ext=ext)
    return storage_path(f"{path.rpartition('/')[0]}/{target.name}.json")


def build(
    manifest: Mapping[str, Any],
    *,
    name: str,
    job: VideoJob | None,
    index: int,
    metadata: VideoMetadata,
    include_prompt: bool,
    landed_at: str,
) -> dict[str, Any]:
    """Return the content of a sidecar."""
    return {
        "generator": _GENERATOR,
        "schema_version": _SCHEMA_VERSION,
        "vendor": job.vendor if job else None,
        "model": job.model if job else None,
        "task_id": job.task_id if job else None,
        "index": index,
        "fingerprint": metadata.fingerprint or None,
        "request": metadata.request_as_json(include_prompt=include_prompt),
        "created_at": metadata.result.get("created_at"),
        "completed_at": metadata.result.get("completed_at"),
        "landed_at": landed_at,
        "cost": metadata.result.get("cost"),
        "file": {
            "name": name,
            **{key: manifest[key] for key in ("path", "bytes", "sha256", "content_type")},
        },
        "poster": manifest["poster"],
        "probe": manifest["probe"],
        "mismatches": manifest["mismatches"],
    }


def write(
    path: ObjectStoragePath, content: Mapping[str, Any], *, overwrite: bool, options: UploadOptions
) -> str | None:
    """
    Write a sidecar. Its video has landed already, so an error here never fails the task.

    :param overwrite: also replace a file that is no sidecar, or that of another video.
    :param options: sent to the store with the object.
    :return: its path; ``None`` if it could not be written.
    """
    try:
        replaces_own = read(path, content["file"]["path"]) is not None
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        with atomic_writer(path, overwrite=overwrite or replaces_own, options=options) as sink:
            sink.write(f"{text}\n".encode())
    except TargetExists:
        _log.warning("The sidecar was not written: another file already exists at %s", path)
        return None
    except Exception as error:
        _log.warning("The sidecar %s could not be written (%s)", path, type(error).__name__)
        return None
    return str(path)


def read(path: ObjectStoragePath, video_path: str) -> dict[str, Any] | None:
    """
    Read the sidecar of a video.

    :return: ``None`` if there is none, or the file is no sidecar, or that of another video.
    """
    try:
        with path.fs.open(path.path, "rb") as file:
            content = json.loads(file.read(_MAX_SIZE))
    except (OSError, ValueError, RecursionError):
        return None
    except Exception as error:
        if is_forbidden(error):
            return None
        raise
    if not isinstance(content, dict) or content.get("generator") != _GENERATOR:
        return None
    described_file = content.get("file")
    if not isinstance(described_file, dict):
        return None
    # A folder of sidecars may serve several folders of videos, with equal names in two of them.
    in_same_folder = str(path) == f"{video_path}.json"
    return content if in_same_folder or described_file.get("path") == video_path else None


def match_existing(
    target: ObjectStoragePath, content: Mapping[str, Any], job: VideoJob, index: int, fingerprint: str
) -> SidecarMatch:
    """
    Compare an existing file with its sidecar, and the sidecar with the job; reads the complete file.

    :param content: of the sidecar.
    :param fingerprint: of the request, since a vendor may assign the id of an old job again; empty where it
        is not known.
    """
    file = content["file"]
    if target.fs.size(target.path) != file.get("bytes"):
        return SidecarMatch.UNKNOWN
    if (content.get("vendor"), content.get("task_id"), content.get("index")) != (
        job.vendor,
        job.task_id,
        index,
    ):
        return SidecarMatch.DIFFERENT if content.get("task_id") else SidecarMatch.UNKNOWN
    if fingerprint and content.get("fingerprint") and content["fingerprint"] != fingerprint:
        return SidecarMatch.DIFFERENT
    return SidecarMatch.SAME if has_content(target, file.get("sha256")) else SidecarMatch.UNKNOWN
