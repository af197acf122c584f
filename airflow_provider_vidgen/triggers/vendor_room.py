# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The trigger of a task that found its vendor full: wait for room, without submitting anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_vidgen import airflow_internals
from airflow_provider_vidgen.clock import from_iso, utcnow
from airflow_provider_vidgen.errors import VidgenError
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.triggers.events import Reason, make_event

#: A refusal so old says nothing any more about the room there is; the trigger has been started again.
_FRESH = timedelta(seconds=30)


class VendorRoomTrigger(BaseTrigger):
    """
    Stand in line until there is room for one more job on the account, then wake the task, which submits.

    All triggers of a triggerer that wait for the same API key form one line, in the order of ``since``.

    :param vidgen_conn_id: Airflow connection of type ``vidgen``.
    :param since: ISO 8601, UTC; when the task first asked for room.
    :param until: ISO 8601, UTC; when it gives up. A restart of the triggerer moves neither.
    :param not_before: ISO 8601, UTC; no event is sent earlier, see :mod:`.airflow_internals`.
    :param refused_at: ISO 8601, UTC; when the vendor said that it had no room, or empty: the task has not
        asked the vendor yet.
    :param retry_after: seconds from there after which the vendor wants to be asked again, if it said so.
    """

    def __init__(
        self,
        *,
        vidgen_conn_id: str,
        since: str,
        until: str,
        not_before: str,
        refused_at: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.vidgen_conn_id = vidgen_conn_id
        self.since = since
        self.until = until
        self.not_before = not_before
        self.refused_at = refused_at
        self.retry_after = retry_after

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_provider_vidgen.triggers.vendor_room.VendorRoomTrigger",
            {
                "vidgen_conn_id": self.vidgen_conn_id,
                "since": self.since,
                "until": self.until,
                "not_before": self.not_before,
                "refused_at": self.refused_at,
                "retry_after": self.retry_after,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield one event; an error is an event, too, so that its kind is not lost."""
        try:
            await self._wait()
            reason = Reason.ROOM
        except TimeoutError:
            reason = Reason.NO_ROOM
        except VidgenError as error:
            self.log.warning("Room cannot be waited for: %s", error.what)
            reason = Reason.TROUBLE
        except Exception as error:
            # Only the kind: texts of other libraries may quote links.
            self.log.error("Room cannot be waited for: %s", type(error).__name__)
            reason = Reason.TROUBLE
        await asyncio.sleep(max(0.0, (from_iso(self.not_before) - utcnow()).total_seconds()))
        yield TriggerEvent(make_event(reason))  # type: ignore[no-untyped-call]

    async def _wait(self) -> None:
        async with VideoGenHook(self.vidgen_conn_id).async_client() as client:
            now = utcnow()
            await client.account.room(
                airflow_internals.identity(self),
                since=from_iso(self.since).timestamp(),
                patience=(from_iso(self.until) - now).total_seconds(),
                refused=bool(self.refused_at) and now - from_iso(self.refused_at) < _FRESH,
                retry_after=self.retry_after,
            )
