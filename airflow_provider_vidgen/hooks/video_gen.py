# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The hook: an Airflow connection of type ``vidgen`` as an account at a vendor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_vidgen.errors import StatusRefused
from airflow_provider_vidgen.models import JobStatus, Submission, VideoJob, VideoRequest

if TYPE_CHECKING:
    from airflow_provider_vidgen.client import TriggererClient, WorkerClient
    from airflow_provider_vidgen.connection import ConnectionSettings
    from airflow_provider_vidgen.errors import Problem


class VideoGenHook(BaseHook):
    """
    Submit videos, ask about them, wait for them.

    Proxy and CA certificates are those of the environment, on workers and on the triggerer. Result links are
    fetched through a proxy only if the connection's extra has ``allow_proxied_downloads``, for the proxy and
    not the worker resolves their names then.

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
        What the connection says.

        :raises InvalidConnection: with every problem of the connection at once.
        """
        return self._read(self.get_connection(self.vidgen_conn_id))

    def _read(self, conn: Any, extra: dict[str, Any] | None = None) -> ConnectionSettings:
        from airflow_provider_vidgen.connection import ConnectionSettings

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
        from airflow_provider_vidgen.client import WorkerClient

        return WorkerClient(self.settings)

    def check(self, request: VideoRequest) -> list[Problem]:
        """
        Judge a request before anything is paid.

        :return: what is doubtful about it.
        :raises InvalidRequest: with everything that is wrong with it.
        """
        from airflow_provider_vidgen.client import check_request

        return check_request(self.settings, request)

    def egress_problems(self) -> list[Problem]:
        """Return what in this machine's environment, its proxy or certificates, keeps the vendor from it."""
        from airflow_provider_vidgen.http.egress import egress_problems

        return egress_problems(self.settings.base_url)

    def submit(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Submission:
        """
        Check the request and send the paid call, again only where the vendor cannot have taken it.

        :param idempotency_key: one for the logical request; used where the vendor knows such keys.
        :return: the job's handle and first state; a synchronous endpoint's result is already in it.
        :raises InvalidRequest: nothing was sent.
        :raises InvalidConnection: nothing was sent, for the environment names a proxy or certificates that
            cannot be used.
        :raises SubmitError: no job handle; the subclass says whether a job may exist all the same.
        """
        from airflow_provider_vidgen.errors import InvalidConnection

        self.check(request)
        if problems := self.egress_problems():
            raise InvalidConnection(
                f"{self.settings.base_url} cannot be reached from here",
                problems,
                next_step="Correct the environment of this worker.",
            )
        return self.client.submit(request, idempotency_key=idempotency_key)

    def get_status(self, job: VideoJob) -> JobStatus:
        """
        Ask about a job.

        :raises StatusError: no answer about the job; the job itself goes on.
        """
        return self.client.status(job)

    def wait(
        self,
        job: VideoJob,
        *,
        submitted_at: datetime,
        timeout: float = 1800,
        poll_interval: float | None = None,
        on_change: Callable[[JobStatus], None] = lambda status: None,
    ) -> JobStatus:
        """
        Block until the job has ended.

        :param submitted_at: when it was submitted, UTC.
        :param timeout: seconds from submission.
        :param poll_interval: seconds between checks; ``None`` follows the vendor's advice.
        :param on_change: called when state or progress changed.
        :return: the last status: a video, or the job's failure.
        :raises StatusError: the deadline passed, or the vendor cannot be asked.
        """
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.polling import JobPoller

        poller = JobPoller(
            job,
            self.settings.vendor.schedule.with_interval(poll_interval),
            submitted_at=submitted_at,
            deadline=submitted_at + timedelta(seconds=timeout),
        )

        def hear(status: JobStatus) -> None:
            if doubt := poller.unknown_state_warning(status):
                self.log.warning("%s", doubt)
            if news := poller.status_change(status, utcnow()):
                self.log.info("%s", news.line)
                if news.changed:
                    on_change(status)

        return self.client.wait(poller, hear)

    def list_models(self) -> list[str]:
        """
        Return the vendor's models: its live list where its document has one, else those of the document.

        :raises VidgenError: the vendor gave no list.
        """
        return self.client.list_models()

    def test_connection(self) -> tuple[bool, str]:
        """Try the account free of charge, for Airflow's *Test* button."""
        from airflow_provider_vidgen.errors import VidgenError

        try:
            return self.client.test()
        except VidgenError as error:
            return False, str(error)

    @asynccontextmanager
    async def async_client(self) -> AsyncIterator[TriggererClient]:
        """Lend the account's client for one trigger; nothing of it blocks the loop."""
        await _load_for_triggerer()
        from airflow_provider_vidgen.client import TriggererClient
        from airflow_provider_vidgen.http.loop_resources import loop_resources

        async with loop_resources() as resources:
            settings = await resources.settings(self.vidgen_conn_id, self._look_up)
            async with resources.gate:
                await asyncio.sleep(0)
            try:
                yield TriggererClient(settings, resources)
            except StatusRefused:
                resources.forget(self.vidgen_conn_id)
                raise

    async def _look_up(self) -> ConnectionSettings:
        from airflow_provider_vidgen.airflow_internals import connection_extra

        conn = await self.aget_connection(self.vidgen_conn_id)
        extra = await connection_extra(conn)
        # In a thread, because the vendor's file may have to be found and imported.
        return await asyncio.to_thread(self._read, conn, extra)


_loaded = False
_loading: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}


async def _load_for_triggerer() -> None:
    """Import what triggers need, once and in a thread: it takes so long that Airflow calls it blocking."""
    if _loaded:
        return
    loop = asyncio.get_running_loop()
    if loop not in _loading:
        _loading[loop] = asyncio.create_task(_load())
    # Whoever is cancelled while it goes on must not take it from the others.
    await asyncio.shield(_loading[loop])


async def _load() -> None:
    global _loaded
    try:
        await asyncio.to_thread(_import_for_triggerer)
        _loaded = True
    finally:
        del _loading[asyncio.get_running_loop()]


def _import_for_triggerer() -> None:
    for module in ("http.triggerer", "client", "http.loop_resources"):
        import_module(f"airflow_provider_vidgen.{module}")
    from airflow_provider_vidgen import airflow_internals

    for module in airflow_internals.IMPORTED_BY_TRIGGERS:
        # One that is gone is not imported at the first use either.
        with suppress(ImportError):
            import_module(module)
