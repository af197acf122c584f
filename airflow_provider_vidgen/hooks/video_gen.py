# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The hook: submit, poll and wait for videos through an Airflow connection of type ``vidgen``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from importlib import import_module
from typing import Any

from airflow.sdk import BaseHook

from airflow_provider_vidgen import airflow_internals, clock, metrics
from airflow_provider_vidgen.client import TriggererClient, WorkerClient, validate_request
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection, Problem, StatusRefused, VidgenError
from airflow_provider_vidgen.models import Cost, JobStatus, Submission, VideoJob, VideoRequest
from airflow_provider_vidgen.polling import JobPoller, Progress, StatusChange


class VideoGenHook(BaseHook):
    """
    Submit videos, check jobs and wait for them.

    Proxy and CA certificates are those of the environment, on workers and on the triggerer. Result links are
    fetched through a proxy only if the connection's extra has ``allow_proxied_downloads``, because then the
    proxy resolves their host names and not the worker.

    :param vidgen_conn_id: Airflow connection of type ``vidgen``.
    """

    conn_name_attr = "vidgen_conn_id"
    default_conn_name = "vidgen_default"
    conn_type = "vidgen"
    hook_name = "AI video generation"

    def __init__(self, vidgen_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.vidgen_conn_id = vidgen_conn_id

    @cached_property
    def settings(self) -> ConnectionSettings:
        """
        The validated settings of the connection.

        :raises InvalidConnection: with all problems of the connection at once.
        """
        return self._parse(self.get_connection(self.vidgen_conn_id))

    def _parse(self, conn: Any, extra: dict[str, Any] | None = None) -> ConnectionSettings:
        return ConnectionSettings.read(
            self.vidgen_conn_id,
            host=conn.host,
            port=conn.port,
            schema=conn.schema,
            password=conn.password,
            extra=conn.extra_dejson if extra is None else extra,
            conn_type=conn.conn_type,
        )

    def get_conn(self) -> WorkerClient:
        """Return the account's client, for workers."""
        return self.client

    @cached_property
    def client(self) -> WorkerClient:
        """The account's client, for workers."""
        return WorkerClient(self.settings)

    def validate(self, request: VideoRequest) -> list[Problem]:
        """
        Validate a request before anything is paid.

        :return: warnings.
        :raises InvalidRequest: with all errors at once.
        """
        return validate_request(self.settings, request)

    def estimate(self, request: VideoRequest) -> Cost | None:
        """Return the cost of a request by the vendor's documented prices; ``None`` if it documents none."""
        try:
            return self.settings.vendor.estimate(request)
        except Exception as error:
            # A vendor of another package may raise anything, and a paid video must be delivered nevertheless.
            self.log.warning("The cost could not be estimated (%s)", type(error).__name__)
            return None

    def egress_problems(self) -> list[Problem]:
        """Return the problems of this machine's proxy and CA certificates that block access to the vendor."""
        # Imported here, because it imports requests, which parsing a Dag must not.
        from airflow_provider_vidgen.http.egress import egress_problems

        return egress_problems(self.settings.base_url)

    def submit(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Submission:
        """
        Validate the request and submit it; it is sent again only where the vendor cannot have accepted it.

        :param idempotency_key: one per logical request; used if the vendor supports such keys.
        :return: the job's handle and first status; for a synchronous endpoint the finished result.
        :raises InvalidRequest: nothing was sent.
        :raises InvalidConnection: nothing was sent, because the environment's proxy or CA certificates cannot
            be used.
        :raises SubmitError: there is no job handle; the subclass shows whether a job may exist nevertheless.
        """
        self.validate(request)
        if problems := self.egress_problems():
            raise InvalidConnection(
                f"{self.settings.base_url} cannot be reached from here",
                problems,
                next_step="Correct the environment of this worker.",
            )
        return self.client.submit(request, idempotency_key=idempotency_key)

    def get_status(self, job: VideoJob) -> JobStatus:
        """
        Check a job once.

        :raises StatusError: the state of the job is not known; the job itself continues.
        """
        return self.client.status(job)

    def wait(
        self,
        job: VideoJob,
        *,
        submitted_at: datetime,
        timeout: float = 1800,
        poll_interval: float | None = None,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> JobStatus:
        """
        Block until the job has ended.

        :param submitted_at: when it was submitted, UTC.
        :param timeout: seconds from submission.
        :param poll_interval: seconds between checks; ``None`` means the vendor's recommended intervals.
        :param on_progress: called when state or progress has changed, or the vendor does not answer.
        :return: the last status: a video, or the job's failure.
        :raises StatusError: the deadline passed, or the status checks failed.
        """
        poller = JobPoller(
            job,
            self.settings.vendor.schedule.with_interval(poll_interval),
            submitted_at=submitted_at,
            deadline=submitted_at + timedelta(seconds=timeout),
        )

        def on_status(status: JobStatus) -> None:
            metrics.noticed(job, status, clock.utcnow())
            if warning := poller.unknown_state_warning(status):
                self.log.warning("%s", warning)
            report(poller.status_change(status, clock.utcnow()))

        def on_failed_check(error: VidgenError, delay: float) -> None:
            report(poller.failed_check(error, delay, clock.utcnow()))

        def report(change: StatusChange | None) -> None:
            if change is not None:
                self.log.info("%s", change.message)
                if change.progress is not None:
                    on_progress(change.progress)

        return self.client.wait(poller, on_status, on_failed_check)

    def list_models(self) -> list[str]:
        """
        Return the vendor's models: its live list if it has such an endpoint, else the documented ones.

        :raises VidgenError: the list could not be fetched.
        """
        return self.client.list_models()

    def test_connection(self) -> tuple[bool, str]:
        """Test the account free of charge, for Airflow's *Test* button."""
        try:
            return self.client.test()
        except VidgenError as error:
            return False, str(error)

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[TriggererClient]:
        """Provide the account's client for one trigger; nothing in it blocks the event loop."""
        await _import_in_thread()
        # Already imported by now; at the top of the file it would import aiohttp when a Dag is parsed.
        from airflow_provider_vidgen.http.loop_resources import loop_resources

        async with loop_resources() as resources:
            settings = await resources.settings(self.vidgen_conn_id, self._fetch_settings)
            await resources.stagger()
            try:
                yield TriggererClient(settings, resources)
            except StatusRefused:
                resources.invalidate_settings(self.vidgen_conn_id)
                raise

    async def _fetch_settings(self) -> ConnectionSettings:
        conn = await self.aget_connection(self.vidgen_conn_id)
        extra = await airflow_internals.connection_extra(conn)
        # In a thread, because the vendor's module may have to be found and imported.
        return await asyncio.to_thread(self._parse, conn, extra)


_imported = False
_importing: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}


async def _import_in_thread() -> None:
    """Import what triggers need, once, in a thread, because it would block the event loop."""
    if _imported:
        return
    loop = asyncio.get_running_loop()
    if loop not in _importing:
        _importing[loop] = asyncio.create_task(_import_once())
    # Shielded: cancelling one trigger must not cancel the import for the others.
    await asyncio.shield(_importing[loop])


async def _import_once() -> None:
    global _imported
    try:
        await asyncio.to_thread(_import_modules)
        _imported = True
    finally:
        del _importing[asyncio.get_running_loop()]


def _import_modules() -> None:
    for module in ("http.triggerer", "http.loop_resources"):
        import_module(f"airflow_provider_vidgen.{module}")
    for module in airflow_internals.IMPORTED_BY_TRIGGERS:
        # A module that this version of Airflow does not have is not used later either.
        with suppress(ImportError):
            import_module(module)
    metrics.prepare()
