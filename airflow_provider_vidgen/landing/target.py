# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is wrong with an ``output_path``, as far as it can be told before there is a job to pay for."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.errors import Problem, StorageUnreachable
from airflow_provider_vidgen.landing.described import Described
from airflow_provider_vidgen.landing.kinds import Kind
from airflow_provider_vidgen.landing.names import FIELDS, same_for_all, target_for
from airflow_provider_vidgen.landing.places import (
    BUCKET_STORES,
    exists,
    is_forbidden,
    is_local,
    place_at,
    status_of,
    token_has_expired,
    told,
)
from airflow_provider_vidgen.landing.renaming import try_folder
from airflow_provider_vidgen.landing.storing import try_upload
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_ALL_FIELDS = ", ".join(f"{{{field}}}" for field in FIELDS)
#: As a template writes what is missing: Python's, pandas' and numpy's words.
_MISSING = frozenset({"None", "nan", "NaN", "NaT", "<NA>"})
_EXTENSION = re.compile(r"[^.].*\.(\{ext\}|[A-Za-z]\w*)")
#: What a folder says that will not take a file later either; anything else may be over soon.
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP})


def problems_with(
    output_path: str, *, written: object, overwrite: bool, described: Described, job: VideoJob
) -> list[Problem]:
    """
    Return everything that is wrong.

    :param output_path: with fields still to be filled in; whatever a template may have made of it.
    :param written: what all mapped tasks of a run were given for it, before rendering.
    :param described: what the store will be told of a file.
    :param job: one that the path might be filled in from, to try whether a file would be taken there.
    :raises StorageUnreachable: the storage cannot be looked at, and nothing else is wrong.
    """
    found = list(_in_text(output_path, written))
    if isinstance(output_path, str) and output_path.strip():
        if not _has_ending(output_path):
            found.append("must end in / if it is a folder, or in an extension such as .{ext} if it is a file")
        if same_for_all(written, output_path):
            found.append("must differ between mapped tasks: end in /, or have {task_id} or {map_index}")
    return _with_storage("output_path", output_path, found, overwrite, described, job)


def problems_with_sidecars(folder: object, *, described: Described, job: VideoJob) -> list[Problem]:
    """
    Return everything that is wrong with a place for sidecars.

    :param folder: as :func:`problems_with` takes it.
    :raises StorageUnreachable: the storage cannot be looked at, and nothing else is wrong.
    """
    if isinstance(folder, bool):
        return []
    if not isinstance(folder, str):
        return [
            Problem(
                field="sidecar",
                value=type(folder).__name__,
                constraint="must be True, False or a folder's path",
            )
        ]
    found = list(_in_text(folder, None))
    if folder.strip() and not folder.endswith("/"):
        found.append("must end in /, for it is a folder")
    return _with_storage("sidecar", folder, found, True, described, job)


def _with_storage(
    field: str, path: object, found: list[str], overwrite: bool, described: Described, job: VideoJob
) -> list[Problem]:
    # What was not rendered names no place that could be looked at.
    if isinstance(path, str) and path.strip() and not _is_template(path):
        try:
            found += _in_storage(path, overwrite, described, job)
        except Exception as error:
            if not found:
                raise StorageUnreachable(
                    f"The storage of {redact(path)} could not be looked at", vendor_message=told(error)
                ) from error
    value = redact(path) if isinstance(path, str) else type(path).__name__
    return [Problem(field=field, value=value.strip() or "empty", constraint=text) for text in found]


def _in_text(output_path: object, written: object) -> Iterator[str]:
    if not isinstance(output_path, str):
        yield "must be text"
        return
    if not output_path.strip():
        yield "must be a folder that ends in /, or a file; a template may have left nothing"
        return
    if _is_template(output_path):
        yield "must be rendered: a template is left in it, as where it came out of another template"
    elif unknown := list(dict.fromkeys(re.findall(r"\{[^{}]*\}|[{}]", _FIELD.sub("", output_path)))):
        yield (
            f"must not hold {', '.join(unknown)}: what is filled in is {_ALL_FIELDS}. "
            "A value of your own comes in by a template, such as {{ params.product }}"
        )
    if lost := _missing(output_path, written):
        yield f"must not hold {lost!r} for a name, as a template makes it of a value that is missing"


def _is_template(output_path: str) -> bool:
    return "{{" in output_path or "{%" in output_path


def _missing(output_path: str, written: object) -> str | None:
    """Return the name that is none, unless the Dag has it in so many words."""
    for part in re.split(r"[/@]", output_path):
        stem = PurePosixPath(_FIELD.sub("", part)).stem.strip("-_. ")
        if stem in _MISSING and not (isinstance(written, str) and stem in written):
            return stem
    return None


def _has_ending(output_path: str) -> bool:
    scheme, is_url, path = output_path.partition("://")
    if is_url and scheme != "file":
        path = path.partition("/")[2]  # a bucket with a dot in its name is not a file
    name = (path if is_url else output_path).rpartition("/")[2]
    return output_path.endswith("/") or _EXTENSION.fullmatch(name) is not None


def _in_storage(output_path: str, overwrite: bool, described: Described, job: VideoJob) -> Iterator[str]:
    try:
        place = place_at(output_path)
        storage = place.fs
    except (ValueError, ImportError) as error:
        yield f"must be in storage that is installed and set up ({told(error)})"
        return
    yield from _in_host(output_path, storage)
    known, field, _ = place.path.partition("{")
    is_file = not field and _has_ending(output_path) and not output_path.endswith("/")
    folder = known.rpartition("/")[0] if field or is_file else known
    has_folders = place.protocol not in BUCKET_STORES
    taken = is_file and exists(place)
    if taken and (has_folders or not overwrite) and storage.isdir(known):
        yield "must end in /, for it is a folder"
    elif taken and not overwrite:
        yield "must be free: there is already a file"
    if has_folders:
        yield from _in_folder(place, folder or ("/" if known.startswith("/") else "."))
    elif (bucket := place.path.partition("/")[0]) and "{" not in bucket:
        tried = place_at(target_for(output_path, job=job, index=0, of=1, map_index=0, ext=Kind.MP4.ext))
        yield from _in_bucket(tried, bucket, described)


def _in_host(output_path: str, storage: AbstractFileSystem) -> Iterator[str]:
    """Find a folder of an SFTP server that was written where a host stands; Airflow would leave it out."""
    scheme, _, rest = output_path.partition("://")
    if scheme not in ("sftp", "ssh"):
        return
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    known = storage.storage_options.get("host")
    if host and host != known:
        yield f"must have / after the connection: {host!r} stands where a host does, and that is {known!r}"


def _in_bucket(tried: ObjectStoragePath, bucket: str, described: Described) -> Iterator[str]:
    """Begin an upload and take it back: what an account may do is known only by doing it."""
    try:
        try_upload(tried, described)
    except Exception as error:
        if isinstance(error, FileNotFoundError) or status_of(error) == 404:
            yield f"must be in a bucket that exists: there is no bucket {bucket!r}"
        elif is_forbidden(error):
            yield f"must be where this account may write: it may not write {tried} ({told(error)})"
        elif _is_refused(error):
            yield f"must be where such a file is taken, with its upload_args: {told(error)}"
        else:
            raise


def _is_refused(error: Exception) -> bool:
    """Whether the store would give the same answer again; botocore judges some values by itself."""
    if isinstance(error, NotImplementedError) or type(error).__name__ == "ParamValidationError":
        return True
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):  # gcsfs's 400
        return True
    return status_of(error) in (400, 405, 422, 501) and not token_has_expired(error)


def _in_folder(place: ObjectStoragePath, folder: str) -> Iterator[str]:
    """Look at a folder, or at the nearest one above it that is there already."""
    storage = place.fs
    local = is_local(storage)
    path = PurePosixPath(os.path.abspath(folder) if local else folder)  # noqa: PTH100 (a link is no matter here)
    there: Callable[[str], bool] = os.path.lexists if local else storage.exists
    nearest = next((str(each) for each in (path, *path.parents) if there(str(each))), None)
    if nearest is None:
        return
    if not storage.isdir(nearest):
        yield f"must not lie under {nearest}, which is not a folder"
    elif refused := _refuses_files(nearest) if local else _refuses_renaming(storage, nearest):
        yield f"must be where this worker may write: {nearest} takes no files ({refused})"


def _refuses_renaming(storage: AbstractFileSystem, folder: str) -> str | None:
    """Put a file into a folder and rename it, which is how a file lands there."""
    try:
        try_folder(storage, folder, utcnow())
    except NotImplementedError as error:
        return f"files could not be shown whole or not at all: {told(error)}"
    except Exception as error:
        if is_forbidden(error):
            return told(error)
        raise
    return None


def _refuses_files(folder: str) -> str | None:
    """
    Put a file without a name into a folder, which leaves no trace.

    The permissions alone do not tell: they bind no root, and say nothing of a disk that is read-only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        if error.errno in _FORBIDDEN:
            return error.strerror
        raise
