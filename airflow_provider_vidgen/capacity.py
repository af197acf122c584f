# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Wait for capacity at the vendor, before anything is paid.

A waiting task is rescheduled (``up_for_reschedule``): it holds no worker, no trigger slot and no pool slot,
so it never blocks a job that is paid for. At each check the task starts anew.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_provider_vidgen import airflow_internals, clock
from airflow_provider_vidgen.errors import LedgerUnreadable, SubmitError
from airflow_provider_vidgen.state_store import NonExpiringStateStore

_log = logging.getLogger(__name__)

KEY = "vidgen_queue_ticket"

#: Seconds that a video usually takes; only the length of a wait depends on it.
_USUAL_RENDER_TIME = 60.0
_MIN_WAIT, _MAX_WAIT = 15.0, 600.0
#: Seconds to wait after the first refusal, at least; doubled by each further refusal.
_FIRST_BACKOFF = 20.0
#: Instances with the same place in the queue, or the same Retry-After, are spread over this part of their
#: wait.
_JITTER = 0.2


@dataclass(frozen=True, kw_only=True)
class QueueTicket:
    """
    How long one try of a task has been waiting for capacity.

    :param queued_at: when the wait began, ISO 8601, UTC.
    :param expires_at: when the wait ends, ISO 8601, UTC.
    :param try_number: the try that waits.
    :param refusals: how often the vendor refused the submission.
    """

    queued_at: str
    expires_at: str
    try_number: int
    refusals: int = 0

    @classmethod
    def from_json(cls, value: Any) -> QueueTicket | None:
        """Parse a ticket; return ``None`` for anything else: the wait then starts again."""
        try:
            ticket = cls(**value) if isinstance(value, Mapping) else None
            return ticket if ticket and clock.from_iso(ticket.expires_at) and ticket.refusals >= 0 else None
        except (TypeError, ValueError):
            return None


class WaitingForCapacity(AirflowRescheduleException):
    """
    The task is rescheduled, because there is no capacity for its job.

    :param until: the next check, UTC.
    :param queued_at: when the wait began, ISO 8601, UTC.
    :param reason: what the task waits for.
    :param ahead: number of instances of a mapped task that have to end first, if that is known.
    :param limit: number of jobs that the account runs at a time, if that is known.
    """

    def __init__(
        self, until: datetime, *, queued_at: str, reason: str, ahead: int | None, limit: int | None
    ) -> None:
        super().__init__(until)  # type: ignore[no-untyped-call]
        self.queued_at = queued_at
        self.reason = reason
        self.ahead = ahead
        self.limit = limit


def wait_in_queue(ahead: int, limit: int) -> float:
    """
    Return the seconds until the next check of the queue: half of the expected wait.

    :param ahead: number of instances that have to end first.
    :param limit: number of jobs that run at a time.
    """
    expected = ahead / limit * _USUAL_RENDER_TIME
    return _with_jitter(max(expected / 2, _MIN_WAIT))


def wait_after_refusal(refusals: int, retry_after: float | None) -> float:
    """
    Return the seconds until the next submission may be tried.

    :param refusals: number of refusals, this one included.
    :param retry_after: the vendor's Retry-After in seconds, if there is one.
    """
    longest = min(_FIRST_BACKOFF * 2 ** min(refusals, 10), _MAX_WAIT)
    # Drawn from a wide range: submissions that were refused together would be refused together again.
    return max(random.uniform(longest / 2, longest), _with_jitter(retry_after or 0.0))


def _with_jitter(seconds: float) -> float:
    return min(seconds * random.uniform(1, 1 + _JITTER), _MAX_WAIT)


class CapacityQueue:
    """
    The wait of one task for capacity of its account.

    :param context: the task's.
    :param limit: jobs that the account may run at a time, or ``None`` if no limit is known.
    :param timeout: longest wait of one try, in seconds.
    """

    def __init__(self, context: Mapping[str, Any], *, limit: int | None, timeout: float) -> None:
        self._ti: Any = context["ti"]
        self._store = NonExpiringStateStore(context["task_state_store"], self._ti.id)
        self._limit = limit
        self._timeout = timedelta(seconds=timeout)
        #: The ticket as it was last read from the store.
        self._stored: QueueTicket | None = None

    def wait_for_slot(self) -> None:
        """
        In a mapped task, let only the first ``limit`` instances that have not ended submit.

        The order is that of the map index. At most ``limit`` instances have a job at a time, so the vendor
        does not have to refuse the others.

        :raises WaitingForCapacity: this instance has to wait.
        """
        index = self._ti.map_index
        if self._limit is None or index is None or index < self._limit:
            return
        try:
            before = airflow_internals.unfinished_instances_before(self._ti, self._limit)
        except Exception as error:
            _log.warning(
                "The instances before this one could not be counted (%s); submitting, as the vendor refuses "
                "submissions above its capacity",
                type(error).__name__,
            )
            return
        ahead = before - self._limit + 1
        if ahead <= 0:
            return
        ticket = self._ticket()
        if self._has_expired(ticket):
            _log.info("Waited for capacity since %s; submitting now", ticket.queued_at)
            return
        self._reschedule(
            ticket,
            wait_in_queue(ahead, self._limit),
            f"Number {ahead} in line for capacity: {before} instances of this task come first and the "
            f"account runs {self._limit} jobs at a time",
            ahead=ahead,
        )

    def wait_after(self, error: SubmitError) -> None:
        """
        Wait if the vendor had no capacity; return if the error is another one, or the wait has expired.

        :raises WaitingForCapacity: the submission is tried again later.
        """
        if not error.at_capacity:
            return
        ticket = self._ticket()
        if self._has_expired(ticket):
            return
        ticket = replace(ticket, refusals=ticket.refusals + 1)
        # Without the vendor's message, which may repeat the prompt.
        self._reschedule(ticket, wait_after_refusal(ticket.refusals, error.retry_after), error.summary)

    def _ticket(self) -> QueueTicket:
        """
        Return this try's ticket, or a new one that is not stored yet.

        :raises LedgerUnreadable: the ticket cannot be read, so the end of the wait is not known.
        """
        try:
            ticket = self._stored = QueueTicket.from_json(self._store.get(KEY))
        except Exception as error:
            summary = f"The queue ticket of the wait for capacity cannot be read ({type(error).__name__})"
            raise LedgerUnreadable(summary) from error
        if ticket is not None and ticket.try_number == self._ti.try_number:
            return ticket
        now = clock.utcnow()
        return QueueTicket(
            queued_at=now.isoformat(),
            expires_at=(now + self._timeout).isoformat(),
            try_number=self._ti.try_number,
        )

    @staticmethod
    def _has_expired(ticket: QueueTicket) -> bool:
        return clock.utcnow() >= clock.from_iso(ticket.expires_at)

    def _reschedule(
        self, ticket: QueueTicket, wait: float, reason: str, *, ahead: int | None = None
    ) -> NoReturn:
        """Store the ticket, and free the worker."""
        if ticket != self._stored:
            self._store.set(KEY, asdict(ticket))
        now = clock.utcnow()
        remaining = (clock.from_iso(ticket.expires_at) - now).total_seconds()
        wait = max(min(wait, remaining), airflow_internals.minimum_deferral_seconds())
        _log.info("%s; rescheduled, the next check is in %.0f s", reason, wait)
        raise WaitingForCapacity(
            now + timedelta(seconds=wait),
            queued_at=ticket.queued_at,
            reason=reason,
            ahead=ahead,
            limit=self._limit,
        )
