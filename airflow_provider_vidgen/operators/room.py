# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Wait for a vendor that has no room for another job, deferred or blocking, before anything is paid."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_vidgen.operators.deferring import earliest_and_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_provider_vidgen.errors import SubmitError
    from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
    from airflow_provider_vidgen.submission import Attached


@dataclass(frozen=True, kw_only=True)
class Place:
    """
    A task's place in the line for an account.

    :param since: when it first asked for room; the line is ordered by this.
    :param until: when it gives up.
    :param called: it has stood in line and was called.
    """

    since: datetime
    until: datetime
    called: bool = False


class WaitsForRoom:
    """Mixin of the operator that submits."""

    vidgen_conn_id: str
    deferrable: bool
    if TYPE_CHECKING:
        log: Any
        defer: Callable[..., NoReturn]

    def line_up_first(self, context: Context, hook: VideoGenHook, place: Place) -> None:
        """
        Stand in line before asking the vendor, where a refusal is certain.

        Of a mapped task, so many submit at once as the account may have jobs. The others would only be
        refused, and count against the account's pace.
        """
        jobs, index = hook.settings.jobs_at_a_time, context["ti"].map_index
        if self.deferrable and not place.called and jobs is not None and (index or 0) >= jobs:
            self.log.info("The account takes %d jobs at a time; waiting in line without a worker", jobs)
            self._line_up(place, None)

    def attach_when_there_is_room(
        self, hook: VideoGenHook, attach: Callable[[], Attached], place: Place
    ) -> Attached:
        """
        Attach, and wait for room if the vendor has none.

        :raises SubmitError: it is another error, or there was no room until the end of waiting.
        """
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.errors import SubmitError

        if not self.deferrable:
            return hook.client.when_there_is_room(attach, until=place.until)
        try:
            return attach()
        except SubmitError as error:
            if not error.no_room or utcnow() >= place.until:
                raise
            # Without the vendor's words, which may repeat the prompt.
            self.log.warning("%s; waiting for room without a worker", error.what)
            self._line_up(place, error)

    def _line_up(self, place: Place, refused: SubmitError | None) -> NoReturn:
        """Leave the worker; the task goes on once it is called."""
        from airflow_provider_vidgen.clock import utcnow
        from airflow_provider_vidgen.triggers.vendor_room import VendorRoomTrigger

        not_before, timeout = earliest_and_timeout(place.until)
        waiting = {"since": place.since.isoformat(), "until": place.until.isoformat()}
        self.defer(
            trigger=VendorRoomTrigger(
                vidgen_conn_id=self.vidgen_conn_id,
                not_before=not_before,
                refused_at=utcnow().isoformat() if refused else "",
                retry_after=refused.retry_after if refused else None,
                **waiting,
            ),
            method_name="resume_in_line",
            kwargs=waiting,
            timeout=timeout,
        )
