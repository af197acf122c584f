# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The paths of landed files: fields of ``output_path`` filled in, values kept inside the folder. No I/O."""

from __future__ import annotations

import hashlib
import re

from jinja2 import Environment, TemplateSyntaxError, meta

from airflow_provider_vidgen.models import VideoJob

FIELDS = ("vendor", "model", "task_id", "index", "ext", "map_index")

#: Template variables with the same value in all mapped tasks of a run; any other may differ.
_RUN_VARIABLES = frozenset(
    {"conn", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date"}
    | {"params", "run_id", "ts", "ts_nodash", "ts_nodash_with_tz", "var"}
)
#: Fields that differ between mapped tasks.
_TASK_FIELDS = ("{vendor}", "{model}", "{task_id}", "{map_index}")


def is_same_in_all_mapped_tasks(template: object, output_path: str) -> bool:
    """
    Whether the template gives all mapped tasks of a run the same path.

    :param template: the argument of all mapped tasks, before rendering; ``None`` if each has its own.
    :param output_path: its rendered value in this task.
    """
    if not isinstance(template, str) or output_path.endswith("/"):
        return False
    if any(field in output_path for field in _TASK_FIELDS):
        return False
    try:
        variables = meta.find_undeclared_variables(Environment().parse(template))
    except TemplateSyntaxError:  # it uses an extension that only the Dag's own environment has
        return False
    return variables <= _RUN_VARIABLES


def target_for(
    output_path: str,
    *,
    job: VideoJob | None,
    index: int,
    of: int,
    map_index: int | None,
    ext: str,
    link: str = "",
) -> str:
    """
    Return the path of one file of a job.

    ``{vendor}``, ``{model}``, ``{task_id}``, ``{index}``, ``{ext}`` and ``{map_index}`` are filled in. A path
    ending in ``/`` is a folder, in which files are named after their job. Several files of one job get
    different names.

    :param output_path: a URL or path as :class:`airflow.sdk.ObjectStoragePath` takes it.
    :param index: of the file among ``of`` files.
    :param ext: the extension of its container format, such as ``mp4``.
    :param link: names the file, by its hash, where there is no job id.
    """
    if output_path.endswith("/"):
        output_path += "{task_id}-{index}.{ext}"
    elif of > 1 and "{index}" not in output_path:
        stem, dot, end = output_path.rpartition(".")
        output_path = f"{stem}-{{index}}{dot}{end}" if dot and "/" not in end else f"{output_path}-{{index}}"
    values = {
        "vendor": job.vendor if job else "unknown",
        "model": job.model if job else "unknown",
        "task_id": (job.task_id if job else "") or hashlib.sha256(link.encode()).hexdigest()[:32],
        "index": str(index),
        "ext": ext,
        "map_index": str(map_index),
    }
    return re.sub(
        r"\{(" + "|".join(FIELDS) + r")\}",
        lambda field: re.sub(r"[^\w.-]+", "_", values[field[1]]).lstrip("."),
        output_path,
    )
