# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What is wrong with an ``output_path``, as far as it can be told before there is a job to pay for."""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from airflow_provider_vidgen.errors import Problem, StorageUnreachable
from airflow_provider_vidgen.landing.names import FIELDS, same_for_all
from airflow_provider_vidgen.landing.places import BUCKET_STORES, is_local, place_at, told
from airflow_provider_vidgen.redaction import redact

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

_log = logging.getLogger(__name__)

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_ALL_FIELDS = ", ".join(f"{{{field}}}" for field in FIELDS)
#: As a template writes what is missing: Python's, pandas' and numpy's words.
_MISSING = frozenset({"None", "nan", "NaN", "NaT", "<NA>"})
_EXTENSION = re.compile(r"[^.].*\.(\{ext\}|[A-Za-z]\w*)")
#: What a folder says that will not take a file later either; anything else may be over soon.
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP})


def problems_with(output_path: str, *, written: object, overwrite: bool) -> list[Problem]:
    """
    Return everything that is wrong.

    :param output_path: with fields still to be filled in; whatever a template may have made of it.
    :param written: what all mapped tasks of a run were given for it, before rendering.
    :raises StorageUnreachable: the storage cannot be looked at, and nothing else is wrong.
    """
    found = list(_in_text(output_path, written))
    # What was not rendered names no place that could be looked at.
    if isinstance(output_path, str) and output_path.strip() and not _is_template(output_path):
        try:
            found += _in_storage(output_path, overwrite)
        except Exception as error:
            if not found:
                raise StorageUnreachable(
                    f"The storage of {redact(output_path)} could not be looked at", words=told(error)
                ) from error
    value = redact(output_path) if isinstance(output_path, str) else type(output_path).__name__
    return [Problem(field="output_path", value=value.strip() or "empty", allowed=text) for text in found]


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
    if not _has_ending(output_path):
        yield "must end in / if it is a folder, or in an extension such as .{ext} if it is a file"
    if same_for_all(written, output_path):
        yield "must differ between mapped tasks: end in /, or have {task_id} or {map_index}"


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


def _in_storage(output_path: str, overwrite: bool) -> Iterator[str]:
    try:
        place = place_at(output_path)
        storage = place.fs
    except (ValueError, ImportError) as error:
        yield f"must be in storage that is installed and set up ({told(error)})"
        return
    known, field, _ = place.path.partition("{")
    is_file = not field and _has_ending(output_path) and not output_path.endswith("/")
    folder = known.rpartition("/")[0] if field or is_file else known
    has_folders = place.protocol not in BUCKET_STORES
    if has_folders:
        yield from _in_folder(storage, folder or ("/" if known.startswith("/") else "."))
        taken = is_file and storage.exists(known)
    else:
        bucket = known.partition("/")[0]
        there = bool(bucket) and storage.exists(known if is_file else folder)
        taken = is_file and there
        if bucket and not there and not _may_exist(storage, bucket):
            yield f"must be in a bucket that exists: there is no bucket {bucket!r}"
    if taken and (has_folders or not overwrite) and storage.isdir(known):
        yield "must end in /, for it is a folder"
    elif taken and not overwrite:
        yield "must be free: there is already a file"


def _may_exist(storage: AbstractFileSystem, bucket: str) -> bool:
    try:
        storage.info(bucket)
    except FileNotFoundError:
        return False
    except Exception as error:  # not everybody who may write may look at the bucket itself
        _log.debug("The bucket %s could not be looked at (%s)", bucket, type(error).__name__)
    return True


def _in_folder(storage: AbstractFileSystem, folder: str) -> Iterator[str]:
    """Look at a folder, or at the nearest one above it that is there already."""
    local = is_local(storage)
    path = PurePosixPath(os.path.abspath(folder) if local else folder)  # noqa: PTH100 (a link is no matter here)
    there: Callable[[str], bool] = os.path.lexists if local else storage.exists
    nearest = next((str(each) for each in (path, *path.parents) if there(str(each))), None)
    if nearest is None:
        return
    if not storage.isdir(nearest):
        yield f"must not lie under {nearest}, which is not a folder"
    elif local and (refused := _refuses_files(nearest)):
        yield f"must be where this worker may write: {nearest} takes no files ({refused})"


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
