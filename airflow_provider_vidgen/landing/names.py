# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What files are called: after their job, and never outside the folder. No I/O."""

from __future__ import annotations

import hashlib
import re

from airflow_provider_vidgen.models import VideoJob

FIELDS = ("vendor", "model", "task_id", "index", "ext", "map_index")

#: The words of a template that are the same for all mapped tasks of a run; any other may tell them apart.
_OF_THE_RUN = frozenset(
    {"conn", "dag", "dag_run", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date"}
    | {"params", "run_id", "ts", "ts_nodash", "ts_nodash_with_tz", "var"}
)
_OF_THE_TASK = ("{vendor}", "{model}", "{task_id}", "{map_index}")


def same_for_all(written: object, output_path: str) -> bool:
    """
    Whether all mapped tasks of a run have one and the same path, as far as can be told.

    :param written: what all of them were given for it, before rendering; ``None`` if each has its own.
    :param output_path: what this one has made of it.
    """
    if not isinstance(written, str) or output_path.endswith("/"):
        return False
    if any(field in output_path for field in _OF_THE_TASK):
        return False
    from jinja2 import Environment, TemplateSyntaxError, meta

    try:
        words = meta.find_undeclared_variables(Environment().parse(written))
    except TemplateSyntaxError:  # in the words of an extension that only the Dag knows
        return False
    return words <= _OF_THE_RUN


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
    :param ext: the extension of its container, such as ``mp4``.
    :param link: names the file where there is no job id, the same at each try.
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
