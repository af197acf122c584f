# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The state of one simulator, and the operations that change it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from airflow_provider_vidgen.simulator.billing import BillingEntry, BillingLedger
from airflow_provider_vidgen.simulator.clock import VirtualClock
from airflow_provider_vidgen.simulator.faults import FaultRules
from airflow_provider_vidgen.simulator.idempotency import IdempotentRequests
from airflow_provider_vidgen.simulator.job_script import JobScript, script_from_prompt
from airflow_provider_vidgen.simulator.jobs import GenerationRequest, Job, JobRegistry, JobSnapshot
from airflow_provider_vidgen.simulator.limits import RequestRates
from airflow_provider_vidgen.simulator.media import MediaCache, image_size, thumbnail_of, videos_of
from airflow_provider_vidgen.simulator.options import Options
from airflow_provider_vidgen.simulator.request_log import RequestLog
from airflow_provider_vidgen.simulator.vendors.apimodels import P_VIDEO
from airflow_provider_vidgen.simulator.vendors.base import SimulatedVendor

_P_VIDEO_SECONDS: Final = (30.0, 60.0)


@dataclass(frozen=True)
class UploadedImage:
    """A reference image that a client has uploaded."""

    content: bytes
    content_type: str


class SimulatorState:
    """The state of all four vendors.

    :param clock: the virtual clock.
    :param options: the initial settings, which a reset restores.
    :param media: cache of the videos and thumbnails.
    :param seed: seed of the random ids; with None, no id is ever used again.
    """

    def __init__(self, clock: VirtualClock, options: Options, media: MediaCache, seed: int | None) -> None:
        self.clock = clock
        self.media = media
        self.url = ""
        self._initial_options = options
        self._seed = seed
        self._signing_key = Random(seed).randbytes(16)
        self.reset()

    def reset(self) -> None:
        """Delete all jobs, bills, logged requests, faults and changed options; the clock goes on."""
        self.options = self._initial_options
        self.random = Random(self._seed)
        self.jobs = JobRegistry()
        self.billing = BillingLedger()
        self.request_log = RequestLog()
        self.faults = FaultRules()
        self.request_rates = RequestRates()
        self.idempotent_requests = IdempotentRequests()
        self.uploads: dict[str, UploadedImage] = {}

    def accept(
        self, vendor: SimulatedVendor, request: GenerationRequest, account: str, request_hash: str
    ) -> Job:
        """Create a job and reserve its price.

        :param vendor: the vendor.
        :param request: the valid request.
        :param account: fingerprint of the API key that pays.
        :param request_hash: hash of the request.
        """
        task_id = vendor.new_task_id(self.random)
        while task_id in self.jobs:
            task_id = vendor.new_task_id(self.random)
        request, script = self._resolve_script(vendor, request)
        job_seconds = self.options.job_seconds
        if request.model == P_VIDEO:
            job_seconds = self.random.uniform(*_P_VIDEO_SECONDS)
        if script.job_seconds is not None:
            job_seconds = script.job_seconds
        now = self.clock.now()
        job = Job(vendor.name, task_id, request, account, now, job_seconds, script)
        self.jobs.add(job)
        self.billing.reserve(
            BillingEntry(
                vendor=vendor.name,
                task_id=task_id,
                key_fingerprint=account,
                request_hash=request_hash,
                state="reserved",
                amount=round(vendor.price(request), 4),
                currency=vendor.currency,
                updated_at=now,
            )
        )
        # Rendering starts here, so that the video is ready at the end of the job.
        self.media.prepare(videos_of(job)[0])
        return job

    def _resolve_script(
        self, vendor: SimulatedVendor, request: GenerationRequest
    ) -> tuple[GenerationRequest, JobScript]:
        """Fill in what the options and the reference image determine."""
        script = request.script or script_from_prompt(request.prompt)
        options = self.options
        script = replace(
            script,
            videos=script.videos or options.videos_per_job,
            thumbnail=options.thumbnails if script.thumbnail is None else script.thumbnail,
            container=script.container or options.container,
        )
        if vendor.uses_image_aspect_ratio and request.images:
            size = script.image_size or self._uploaded_image_size(request.images[0])
            if size is not None:
                request = replace(request, aspect_ratio=size.replace("x", ":"))
        return request, script

    def _uploaded_image_size(self, url: str) -> str | None:
        """Return the size of a reference image, such as ``600x800``, if it was uploaded to this simulator."""
        if not url.startswith(f"{self.url}/cdn/"):
            return None
        upload = self.uploads.get(url.rpartition("/")[2])
        return image_size(upload.content) if upload is not None else None

    def change_script(self, job: Job, changes: Mapping[str, Any]) -> None:
        """Change the script of a job.

        :param job: the job.
        :param changes: new values of its script; ``job_seconds`` counts from its acceptance.
        :raises ValueError: a field does not exist, or does not allow its value.
        """
        job.script = job.script.changed(changes)
        if job.script.job_seconds is not None:
            job.job_seconds = job.script.job_seconds
        if not job.ended:
            job.links = ()
        self.jobs.add(job)
        self.clock.wake_waiters()
        self.close_ended_jobs()

    def close_ended_jobs(self) -> None:
        """Settle or refund the jobs that have ended by now."""
        for job in self.jobs.pop_ended(self.clock.now()):
            succeeded = job.script.outcome == "succeeded"
            self.billing.close(job.task_id, succeeded=succeeded, now=job.finishes_at)

    def snapshot(self, job: Job, *, is_poll: bool) -> JobSnapshot:
        """Return the present state of a job.

        :param job: the job.
        :param is_poll: a client's status check, which counts as a poll; False for a callback.
        """
        now = self.clock.now()
        state = job.state(now)
        job.polls += is_poll
        job.polls_after_success += is_poll and state == "succeeded"
        has_urls = state == "succeeded" and not (
            is_poll and job.polls_after_success <= job.script.polls_without_url
        )
        return JobSnapshot(
            state=state,
            fraction=job.fraction(now),
            progress=job.progress(now),
            custom_state=job.custom_state(now),
            urls=self._links(job, now) if has_urls else (),
            thumbnail_url=job.thumbnail_link if has_urls else None,
            urls_expire_at=job.links_expire_at,
            created_at=job.created_at,
            finished_at=job.finishes_at,
            fail_code=job.script.fail_code,
            fail_message=job.script.fail_message,
            error_in_url=job.script.error_in_url,
        )

    def _links(self, job: Job, now: float) -> tuple[str, ...]:
        lifetime, renew = self.options.link_seconds[job.vendor], self.options.renew_expired_links
        if not job.links:
            job.links_expire_at = job.finishes_at + lifetime
        elif now < job.links_expire_at or not renew:
            return job.links
        if now >= job.links_expire_at and renew:
            job.links_expire_at = now + lifetime
        job.links = tuple(self._link(job, video.name) for video in videos_of(job))
        job.thumbnail_link = self._link(job, thumbnail_of(job).name) if job.script.thumbnail else None
        return job.links

    def _link(self, job: Job, name: str) -> str:
        path, expires = f"/cdn/{job.vendor}/{job.task_id}/{name}", repr(job.links_expire_at)
        return f"{self.url}{path}?exp={expires}&sig={self.link_signature(path, expires)}"

    def link_signature(self, path: str, expires: str) -> str:
        """Return the signature of a result link.

        :param path: path of the file.
        :param expires: expiry time, as it is written in the link.
        """
        return hmac.new(self._signing_key, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()
