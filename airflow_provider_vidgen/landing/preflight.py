# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Check before a job is submitted and paid whether its files could be downloaded and stored."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from airflow.sdk import ObjectStoragePath
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from airflow_provider_vidgen.clock import utcnow
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import Problem, StorageUnreachable
from airflow_provider_vidgen.http.result_links import download_problems
from airflow_provider_vidgen.landing import sidecar
from airflow_provider_vidgen.landing.containers import ContainerFormat
from airflow_provider_vidgen.landing.options import LandingOptions
from airflow_provider_vidgen.landing.paths import FIELDS, is_same_in_all_mapped_tasks, target_for
from airflow_provider_vidgen.landing.pyav import NEEDS_PYAV, is_pyav_installed
from airflow_provider_vidgen.landing.storage import BUCKET_PROTOCOLS, exists, is_local, storage_path
from airflow_provider_vidgen.landing.storage_errors import (
    describe,
    http_status_of,
    is_forbidden,
    token_has_expired,
)
from airflow_provider_vidgen.landing.upload_options import (
    UploadOptions,
    protocol_of,
    sidecar_upload_args,
    upload_args_problems,
)
from airflow_provider_vidgen.landing.writers import check_upload
from airflow_provider_vidgen.landing.writers.rename import check_rename
from airflow_provider_vidgen.models import VideoJob
from airflow_provider_vidgen.redaction import redact

_FIELD = re.compile(r"\{(" + "|".join(FIELDS) + r")\}")
_ALL_FIELDS = ", ".join(f"{{{field}}}" for field in FIELDS)
_SAME_PATH = "must differ between mapped tasks: end in /, or have {task_id} or {map_index}"
#: How a template renders a missing value of Python, pandas or numpy.
_MISSING_VALUES = frozenset({"None", "nan", "NaN", "NaT", "<NA>"})
_FILE_NAME = re.compile(r"[^.].*\.(\{ext\}|[A-Za-z]\w*)")
#: Errors of a folder that a retry will meet again; any other may be temporary.
_PERMANENT_ERRORS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP}
)


def target_problems(
    output_path: str, *, template: object, settings: ConnectionSettings, options: LandingOptions
) -> list[Problem]:
    """
    Return everything that would prevent the files from landing.

    :param output_path: rendered, with fields still to be filled in; may be of any type.
    :param template: the argument of all mapped tasks, before rendering; ``None`` if each has its own.
    :raises StorageUnreachable: a storage did not answer, and nothing else is wrong.
    """
    problems = download_problems(settings)
    if options.verify == "fail" and not is_pyav_installed():
        problems.append(Problem(field="verify", value="'fail'", constraint=NEEDS_PYAV))
    protocol = protocol_of(output_path)
    args_problems = list(upload_args_problems(options.upload_args, protocol))
    problems += args_problems
    upload_args = {} if args_problems else options.upload_args
    # Fills the fields of the path for the test upload.
    job = VideoJob(
        vendor=settings.vendor.name,
        base_url="",
        model=settings.model or "model",
        task_id="vidgen-preflight",
    )
    unreachable: StorageUnreachable | None = None
    try:
        problems += _output_path_problems(
            output_path,
            template=template,
            overwrite=options.overwrite,
            options=UploadOptions(content_type=ContainerFormat.MP4.content_type, upload_args=upload_args),
            job=job,
        )
    except StorageUnreachable as error:
        unreachable = error
    try:
        sidecar_args = sidecar_upload_args(upload_args, protocol, protocol_of(options.sidecar))
        problems += _sidecar_folder_problems(
            options.sidecar,
            options=UploadOptions(content_type=sidecar.CONTENT_TYPE, upload_args=sidecar_args),
            job=job,
        )
    except StorageUnreachable as error:
        unreachable = error
    if unreachable is not None and not problems:
        raise unreachable
    return problems


def static_target_problems(
    output_path: object, *, template: object, options: LandingOptions
) -> list[Problem]:
    """
    Return what is wrong with the target of files whatever storage it is in, without accessing the storage.

    :param output_path: as in the Dag file. Of a template only its literal parts are judged.
    :param template: the argument of all mapped tasks; ``None`` if each has its own.
    """
    if isinstance(output_path, str) and _is_template(output_path):
        # A value at the end of the path may be a folder's.
        is_file = not output_path.rstrip().endswith(("}}", "%}"))
        is_same = is_file and is_same_in_all_mapped_tasks(template, output_path)
        constraints = [_SAME_PATH] if is_same else []
    else:
        constraints = _output_path_constraints(output_path, template)
    return [
        *upload_args_problems(options.upload_args, protocol_of(output_path)),
        *_to_problems("output_path", output_path, constraints),
        *_to_problems("sidecar", options.sidecar, _sidecar_constraints(options.sidecar)),
    ]


def _output_path_problems(
    output_path: str, *, template: object, overwrite: bool, options: UploadOptions, job: VideoJob
) -> list[Problem]:
    constraints = _output_path_constraints(output_path, template)
    return _with_storage_problems("output_path", output_path, constraints, overwrite, options, job)


def _output_path_constraints(output_path: object, template: object) -> list[str]:
    constraints = list(_text_constraints(output_path, template))
    if isinstance(output_path, str) and output_path.strip():
        if not _is_folder_or_file(output_path):
            constraints.append(
                "must end in / if it is a folder, or in an extension such as .{ext} if it is a file"
            )
        if is_same_in_all_mapped_tasks(template, output_path):
            constraints.append(_SAME_PATH)
    return constraints


def _sidecar_folder_problems(folder: object, *, options: UploadOptions, job: VideoJob) -> list[Problem]:
    if isinstance(folder, bool):
        return []
    return _with_storage_problems("sidecar", folder, _sidecar_constraints(folder), True, options, job)


def _sidecar_constraints(folder: object) -> list[str]:
    if isinstance(folder, bool):
        return []
    if not isinstance(folder, str):
        return ["must be True, False or a folder's path"]
    constraints = list(_text_constraints(folder, None))
    if folder.strip() and not folder.endswith("/"):
        constraints.append("must end in /, since it is a folder")
    return constraints


def _with_storage_problems(
    field: str, path: object, constraints: list[str], overwrite: bool, options: UploadOptions, job: VideoJob
) -> list[Problem]:
    # An unrendered template is no path that could be checked.
    if isinstance(path, str) and path.strip() and not _is_template(path):
        try:
            constraints += _storage_constraints(path, overwrite, options, job)
        except Exception as error:
            if not constraints:
                raise StorageUnreachable(
                    f"The storage of {redact(path)} could not be checked", vendor_message=describe(error)
                ) from error
    return _to_problems(field, path, constraints)


def _to_problems(field: str, path: object, constraints: list[str]) -> list[Problem]:
    value = redact(path) if isinstance(path, str) else type(path).__name__
    return [Problem(field=field, value=value.strip() or "empty", constraint=text) for text in constraints]


def _text_constraints(output_path: object, template: object) -> Iterator[str]:
    """Yield the constraints that the text of a path violates, without accessing the storage."""
    if not isinstance(output_path, str):
        yield "must be text"
        return
    if not output_path.strip():
        yield "must be a folder that ends in /, or a file; its template may have rendered to nothing"
        return
    if _is_template(output_path):
        yield "must be rendered: it still contains a template, perhaps as the value of another template"
    elif unknown := list(dict.fromkeys(re.findall(r"\{[^{}]*\}|[{}]", _FIELD.sub("", output_path)))):
        yield (
            f"must not contain {', '.join(unknown)}: the fields are {_ALL_FIELDS}. "
            "For another value use a template, such as {{ params.product }}"
        )
    if name := _missing_value(output_path, template):
        yield f"must not contain the name {name!r}, which a template renders for a missing value"


def _is_template(output_path: str) -> bool:
    return "{{" in output_path or "{%" in output_path


def _missing_value(output_path: str, template: object) -> str | None:
    """Return the part of a path that is a missing value, unless the Dag's author wrote it literally."""
    for part in re.split(r"[/@]", output_path):
        stem = PurePosixPath(_FIELD.sub("", part)).stem.strip("-_. ")
        if stem in _MISSING_VALUES and not (isinstance(template, str) and stem in template):
            return stem
    return None


def _is_folder_or_file(output_path: str) -> bool:
    """Whether a path ends in ``/`` or has a file extension."""
    scheme, is_url, path = output_path.partition("://")
    if is_url and scheme != "file":
        path = path.partition("/")[2]  # a dot in the name of a bucket is no extension
    name = (path if is_url else output_path).rpartition("/")[2]
    return output_path.endswith("/") or _FILE_NAME.fullmatch(name) is not None


def _storage_constraints(
    output_path: str, overwrite: bool, options: UploadOptions, job: VideoJob
) -> Iterator[str]:
    """Yield the constraints of the storage that a path violates."""
    try:
        target = storage_path(output_path)
        storage = target.fs
    except (ValueError, ImportError) as error:
        yield f"must be in storage that is installed and configured ({describe(error)})"
        return
    yield from _sftp_host_constraints(output_path, storage)
    literal, field, _ = target.path.partition("{")
    is_file = not field and _is_folder_or_file(output_path) and not output_path.endswith("/")
    folder = literal.rpartition("/")[0] if field or is_file else literal
    has_folders = target.protocol not in BUCKET_PROTOCOLS
    is_taken = is_file and exists(target)
    if is_taken and (has_folders or not overwrite) and storage.isdir(literal):
        yield "must end in /, since it is a folder"
    elif is_taken and not overwrite:
        yield "must not exist yet: there is already a file"
    if has_folders:
        yield from _folder_constraints(target, folder or ("/" if literal.startswith("/") else "."))
    elif (bucket := target.path.partition("/")[0]) and "{" not in bucket:
        example = storage_path(
            target_for(output_path, job=job, index=0, of=1, map_index=0, ext=ContainerFormat.MP4.ext)
        )
        yield from _bucket_constraints(example, bucket, options)


def _sftp_host_constraints(output_path: str, storage: AbstractFileSystem) -> Iterator[str]:
    """Detect a folder written in the place of the host, which Airflow would silently ignore."""
    scheme, _, rest = output_path.partition("://")
    if scheme not in ("sftp", "ssh"):
        return
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0]
    actual = storage.storage_options.get("host")
    if host and host != actual:
        yield f"must have / after the connection: {host!r} is in the place of the host, which is {actual!r}"


def _bucket_constraints(example: ObjectStoragePath, bucket: str, options: UploadOptions) -> Iterator[str]:
    """Begin an upload and abort it: no other call shows whether the account may write."""
    try:
        check_upload(example, options)
    except Exception as error:
        if isinstance(error, FileNotFoundError) or http_status_of(error) == 404:
            yield f"must be in a bucket that exists: there is no bucket {bucket!r}"
        elif is_forbidden(error):
            yield f"must be where this account may write: it may not write {example} ({describe(error)})"
        elif _is_permanent_refusal(error):
            yield f"must be where such a file is accepted with its upload_args: {describe(error)}"
        else:
            raise


def _is_permanent_refusal(error: Exception) -> bool:
    """Whether the store would refuse it again; botocore validates some values before the request."""
    if isinstance(error, NotImplementedError) or type(error).__name__ == "ParamValidationError":
        return True
    if isinstance(error, ValueError) and str(error).startswith("Bad Request: "):  # gcsfs's form of a 400
        return True
    return http_status_of(error) in (400, 405, 422, 501) and not token_has_expired(error)


def _folder_constraints(target: ObjectStoragePath, folder: str) -> Iterator[str]:
    """Check a folder, or its nearest parent that exists."""
    storage = target.fs
    local = is_local(storage)
    path = PurePosixPath(os.path.abspath(folder) if local else folder)  # noqa: PTH100 (links need no resolving)
    path_exists: Callable[[str], bool] = os.path.lexists if local else storage.exists
    nearest = next((str(parent) for parent in (path, *path.parents) if path_exists(str(parent))), None)
    if nearest is None:
        return
    if not storage.isdir(nearest):
        yield f"must not be under {nearest}, which is not a folder"
    elif refusal := _local_write_refusal(nearest) if local else _rename_refusal(storage, nearest):
        yield f"must be where this worker may write: {nearest} does not accept files ({refusal})"


def _rename_refusal(storage: AbstractFileSystem, folder: str) -> str | None:
    """Create a file in a folder and rename it, as a landing does; return why that is not possible."""
    try:
        check_rename(storage, folder, utcnow())
    except NotImplementedError as error:
        return f"files would not appear atomically: {describe(error)}"
    except Exception as error:
        if is_forbidden(error):
            return describe(error)
        raise
    return None


def _local_write_refusal(folder: str) -> str | None:
    """
    Create an unnamed file in a folder, which leaves no trace; return why that is not possible.

    The permissions alone are no proof: root ignores them, and a disk may be read-only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        if error.errno in _PERMANENT_ERRORS:
            return error.strerror
        raise
