# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
OpenLineage events of the operators: what a video was made from, its job, and where it was stored.

Imported only by the methods that Airflow's OpenLineage provider calls, because it is optional. That provider
catches and logs whatever goes wrong here, so lineage never disturbs a task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attr
from airflow.providers.openlineage.extractors import OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    RunFacet,
    dataset_version_dataset,
    external_query_run,
    output_statistics_output_dataset,
    storage_dataset,
)

from airflow_provider_vidgen.landing.storage import server_of, storage_path
from airflow_provider_vidgen.lineage import (
    DatasetName,
    image_dataset,
    image_links,
    stored_object,
    vendor_video,
)
from airflow_provider_vidgen.models import VideoRequest

#: The key of :class:`VideoGenerationRunFacet`.
GENERATION_FACET = "vidgen_generation"


@attr.define
class VideoGenerationRunFacet(RunFacet):
    """
    The job of a generation task. Without prompt, links and files.

    :param jobId: the vendor's id of the job.
    :param requestedDurationSeconds: as requested; ``durationSeconds`` is the video's own, if it is reported.
    :param cost: ``amount``, ``currency`` and ``basis``, as in the task's result.
    """

    vendor: str | None = None
    model: str | None = None
    jobId: str | None = None
    state: str | None = None
    requestedDurationSeconds: float | None = None
    resolution: str | None = None
    aspectRatio: str | None = None
    durationSeconds: float | None = None
    createdAt: str | None = None
    completedAt: str | None = None
    cost: dict[str, Any] | None = None


def generation_lineage(operator: Any, result: Mapping[str, Any] | None) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of a generation task.

    :param operator: its rendered arguments.
    :param result: the task's result; ``None`` if it has failed.
    """
    result = result or {}
    vendor, job_id = result.get("vendor"), result.get("task_id")
    outputs = [_output(file) for file in result.get("files", ())]
    if not outputs:
        outputs = [OutputDataset(*name) for name in _known(vendor_video(vendor, job_id))]
    cost = result.get("cost")
    # Also reads a number from text.
    duration = VideoRequest(prompt="", duration=operator.duration).duration
    facet = VideoGenerationRunFacet(
        vendor=vendor,
        model=result.get("model") or _text(operator.model),
        jobId=job_id or None,
        state=result.get("state"),
        requestedDurationSeconds=duration if isinstance(duration, int) else None,
        resolution=_text(operator.resolution),
        aspectRatio=_text(operator.aspect_ratio),
        durationSeconds=result.get("duration_seconds"),
        createdAt=result.get("created_at"),
        completedAt=result.get("completed_at"),
        cost=dict(cost) if cost else None,
    )
    return OperatorLineage(
        inputs=[InputDataset(*image_dataset(link)) for link in image_links(operator.image_urls)],
        outputs=outputs,
        run_facets={GENERATION_FACET: facet, **_external_query(vendor, job_id)},
    )


def download_lineage(video: Any, files: Sequence[Mapping[str, Any]]) -> OperatorLineage[Any, Any]:
    """
    Return the lineage of a download task.

    :param video: the result of the generation, as the task was given it.
    :param files: manifests of the landed files; empty if the task has failed.
    """
    known = video if isinstance(video, Mapping) else {}
    vendor, job_id = known.get("vendor"), known.get("task_id")
    return OperatorLineage(
        inputs=[InputDataset(*name) for name in _known(vendor_video(vendor, job_id))],
        outputs=[_output(file) for file in files],
        run_facets=_external_query(vendor, job_id),
    )


def _output(file: Mapping[str, Any]) -> OutputDataset:
    path = file["path"]
    return OutputDataset(
        *stored_object(path, server_of(storage_path(path))),
        facets={
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=file["sha256"]),
            "storage": storage_dataset.StorageDatasetFacet(
                storageLayer=path.partition("://")[0] if "://" in path else "file",
                fileFormat=file["content_type"].rpartition("/")[2],
            ),
        },
        outputFacets={
            "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                size=file["bytes"], fileCount=1
            )
        },
    )


def _external_query(vendor: Any, job_id: Any) -> dict[str, RunFacet]:
    if not vendor or not job_id:
        return {}
    facet = external_query_run.ExternalQueryRunFacet(externalQueryId=str(job_id), source=str(vendor))
    return {"externalQuery": facet}


def _known(name: DatasetName | None) -> list[DatasetName]:
    return [name] if name else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
