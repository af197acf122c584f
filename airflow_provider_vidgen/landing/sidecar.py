# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
The note beside a landed video: what it is, of which job, asked for how, at what cost.

It makes a folder of videos explain itself, and lets a later try know a file again without fetching it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow_provider_vidgen.errors import TargetExists
from airflow_provider_vidgen.landing.described import Described
from airflow_provider_vidgen.landing.names import target_for
from airflow_provider_vidgen.landing.places import has_content, is_forbidden, place_at
from airflow_provider_vidgen.landing.storing import whole_or_absent
from airflow_provider_vidgen.models import VideoJob, VideoRequest
from airflow_provider_vidgen.redaction import without_secrets

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

_log = logging.getLogger(__name__)

_MADE_BY = "airflow-provider-vidgen"
_VERSION = 1
_LONGEST = 1024**2
_TELLING = ("prompt", "image_urls", "extra")


@dataclass(frozen=True, kw_only=True)
class About:
    """
    What is known of a video besides its bytes.

    :param request: what was asked for; ``None`` where only the result is known.
    :param result: what the generation handed on, see :mod:`airflow_provider_vidgen.xcom`.
    :param fingerprint: the ledger's of the request: two requests that differ have different ones. Empty where
        it is not known.
    :param secrets: the connection's key, which must not be kept wherever the request may hold it.
    """

    request: VideoRequest | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def asked(self) -> dict[str, Any]:
        """Return what the video can be held against."""
        if self.request is None:
            return {"duration": self.result.get("duration_seconds")}
        return {
            "duration": self.request.duration,
            "aspect_ratio": self.request.aspect_ratio,
            "resolution": self.request.resolution,
        }

    def request_told(self, prompt: bool) -> dict[str, Any] | None:
        """
        Return the request as JSON values, without keys, tokens and signatures.

        :param prompt: with the prompt, and whatever else may repeat it.
        """
        if self.request is None:
            return None
        # The callback's link carries a secret of ours.
        left_out = {"callback_url", *(() if prompt else _TELLING)}
        told: dict[str, Any] = {}
        for name in (item.name for item in fields(self.request)):
            value = getattr(self.request, name)
            if value is not None and name not in left_out:
                try:
                    told[name] = without_secrets(value, self.secrets)
                except RecursionError:
                    told[name] = "nested too deep to be kept"
        return told


class Known(Enum):
    """What the sidecar says of the file that is there."""

    SAME = "whole, and of the same job"
    OTHER = "of another job or request"
    NOTHING = "nothing that could be relied on"


def place_for(
    target: ObjectStoragePath, folder: str | None, *, job: VideoJob | None, index: int, map_index: int | None
) -> ObjectStoragePath:
    """
    Return where the sidecar of a file is: its name with ``.json`` behind it.

    :param folder: with fields still to be filled in, and ``/`` at its end; ``None`` is the file's own.
    :raises ValueError: the folder is on no storage that is known here.
    """
    if folder is None:
        return target.parent / f"{target.name}.json"
    if not folder.endswith("/"):
        raise ValueError(f"{folder!r} must end in /")
    # A name with {index} is as it is; without one, this would be named after the job.
    ext = PurePosixPath(target.name).suffix.removeprefix(".")
    inside = target_for(f"{folder}{{index}}", job=job, index=index, of=1, map_index=map_index, ext=ext)
    return place_at(f"{inside.rpartition('/')[0]}/{target.name}.json")


def build(
    manifest: Mapping[str, Any],
    *,
    name: str,
    job: VideoJob | None,
    index: int,
    about: About,
    prompt: bool,
    landed_at: str,
) -> dict[str, Any]:
    """Return the content of a sidecar."""
    return {
        "made_by": _MADE_BY,
        "version": _VERSION,
        "vendor": job.vendor if job else None,
        "model": job.model if job else None,
        "task_id": job.task_id if job else None,
        "index": index,
        "fingerprint": about.fingerprint or None,
        "request": about.request_told(prompt),
        "created_at": about.result.get("created_at"),
        "completed_at": about.result.get("completed_at"),
        "landed_at": landed_at,
        "cost": about.result.get("cost"),
        "file": {
            "name": name,
            **{key: manifest[key] for key in ("path", "bytes", "sha256", "content_type")},
        },
        "poster": manifest["poster"],
        "probe": manifest["probe"],
        "mismatches": manifest["mismatches"],
    }


def write(
    place: ObjectStoragePath, content: Mapping[str, Any], *, overwrite: bool, described: Described
) -> str | None:
    """
    Put a sidecar into its place. The video is there already, so nothing here fails its task.

    :param overwrite: also replace a file that is not a sidecar, or that of another video.
    :param described: what the store is told of it.
    :return: where it is; ``None`` if it could not be written.
    """
    try:
        ours = read(place, content["file"]["path"]) is not None
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        with whole_or_absent(place, overwrite=overwrite or ours, described=described) as sink:
            sink.write(f"{text}\n".encode())
    except TargetExists:
        _log.warning("No sidecar was written: another file is already at %s", place)
        return None
    except Exception as error:
        _log.warning("The sidecar %s could not be written (%s)", place, type(error).__name__)
        return None
    return str(place)


def read(place: ObjectStoragePath, path: str) -> dict[str, Any] | None:
    """
    Read the sidecar of a file; ``None`` if there is none, or what is there is something else.

    :param path: of the file.
    """
    try:
        with place.fs.open(place.path, "rb") as file:
            content = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    except Exception as error:
        if is_forbidden(error):
            return None
        raise
    if not isinstance(content, dict) or content.get("made_by") != _MADE_BY:
        return None
    file_told = content.get("file")
    if not isinstance(file_told, dict):
        return None
    # A folder of sidecars may serve several folders of videos, and names may be the same in two of them.
    beside = str(place) == f"{path}.json"
    return content if beside or file_told.get("path") == path else None


def recognise(
    target: ObjectStoragePath, told: Mapping[str, Any], job: VideoJob, index: int, fingerprint: str
) -> Known:
    """
    Hold a file against what its sidecar says, and that against the job; reads the whole file.

    :param fingerprint: of the request, for a vendor may give the id of an old job again; empty where it is
        not known.
    """
    file = told["file"]
    if target.fs.size(target.path) != file.get("bytes"):
        return Known.NOTHING
    if (told.get("vendor"), told.get("task_id"), told.get("index")) != (job.vendor, job.task_id, index):
        return Known.OTHER if told.get("task_id") else Known.NOTHING
    if fingerprint and told.get("fingerprint") and told["fingerprint"] != fingerprint:
        return Known.OTHER
    return Known.SAME if has_content(target, file.get("sha256")) else Known.NOTHING
