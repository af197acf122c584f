# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Wait for capacity at the vendor, before anything is paid.

A task that waits is rescheduled (``up_for_reschedule``): it holds no worker, no trigger slot and no pool
slot, so it never stands in the way of a job that is paid for. At each look the task starts anew.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowRescheduleException

from airflow_provider_vidgen import airflow_internals, clock
from airflow_provider_vidgen.errors import LedgerUnreadable, SubmitError
from airflow_provider_vidgen.state_store import NonExpiringStateStore

KEY = "vidgen_queue"

#: Seconds that a video usually takes; only the length of a pause depends on it.
_USUAL_RENDER = 60.0
_SHORTEST, _LONGEST = 15.0, 600.0
#: Seconds of pause after the first refusal, at least; doubled by each further one.
_FIRST_BACKOFF = 20.0
#: A batch with the same place or the same Retry-After comes back spread over this part of its pause.
_SPREAD = 0.2


@dataclass(frozen=True, kw_only=True)
class QueueTicket:
    """
    How long one try of a task has waited for capacity.

    :param queued_at: ISO 8601, UTC; when it had to wait first.
    :param expires_at: ISO 8601, UTC; when it waits no longer.
    :param refusals: how often the vendor refused its submission.
    """

    queued_at: str
    expires_at: str
    try_number: int
    refusals: int = 0

    @classmethod
    def from_json(cls, value: Any) -> QueueTicket | None:
        """Read back a ticket; what is none is ``None``, for it only costs a longer wait."""
        try:
            ticket = cls(**value) if isinstance(value, Mapping) else None
            return ticket if ticket and clock.from_iso(ticket.expires_at) and ticket.refusals >= 0 else None
        except (TypeError, ValueError):
            return None


def pause_in_line(ahead: int, limit: int) -> float:
    """
    Return the seconds until a look at the line is worthwhile: half of the wait to be expected.

    :param ahead: how many have to end before.
    :param limit: how many are under way at a time.
    """
    expected = ahead / limit * _USUAL_RENDER
    return _spread(max(expected / 2, _SHORTEST))


def pause_after_refusal(refusals: int, retry_after: float | None) -> float:
    """
    Return the seconds until the vendor may be asked again.

    :param refusals: how many there have been, this one included.
    :param retry_after: seconds that the vendor asked to wait.
    """
    longest = min(_FIRST_BACKOFF * 2 ** min(refusals, 10), _LONGEST)
    # Drawn from a wide range: those that were refused together would be refused together again.
    return max(random.uniform(longest / 2, longest), _spread(retry_after or 0.0))


def _spread(pause: float) -> float:
    return min(pause * random.uniform(1, 1 + _SPREAD), _LONGEST)


class Capacity:
    """
    The capacity of a task's account.

    :param limit: of jobs at a time, or ``None`` if none is known.
    :param timeout: seconds for which a try waits for capacity.
    :param log: the task's.
    """

    def __init__(self, context: Mapping[str, Any], *, limit: int | None, timeout: float, log: Any) -> None:
        self._ti: Any = context["ti"]
        self._store = NonExpiringStateStore(context["task_state_store"], self._ti.id)
        self._limit = limit
        self._timeout = timedelta(seconds=timeout)
        self._log = log
        #: As it stands in the store.
        self._written: QueueTicket | None = None

    def before_submit(self) -> None:
        """
        Let only as many instances of a mapped task submit as the account may have jobs, in their order.

        An instance submits if fewer than ``limit`` of those before it, by map index, have not ended. So no
        more than ``limit`` have a job at a time, and the vendor need not refuse the others.

        :raises AirflowRescheduleException: it is not this instance's turn yet.
        """
        index = self._ti.map_index
        if self._limit is None or index is None or index < self._limit:
            return
        try:
            before = airflow_internals.unfinished_instances_before(self._ti, self._limit)
        except Exception as error:
            self._log.warning(
                "How many instances come first is not known (%s); submitting, as the vendor refuses what is "
                "too much",
                type(error).__name__,
            )
            return
        ahead = before - self._limit + 1
        if ahead <= 0:
            return
        ticket = self._ticket()
        if self._has_expired(ticket):
            self._log.info("Waited since %s; now the vendor decides", ticket.queued_at)
            return
        self._reschedule(
            ticket,
            pause_in_line(ahead, self._limit),
            f"{before} instances of this task come first and the account takes {self._limit} jobs at a time",
        )

    def after_refusal(self, error: SubmitError) -> None:
        """
        Wait if the vendor has no capacity; return if another error is the matter, or the wait is over.

        :raises AirflowRescheduleException: the vendor is to be asked again.
        """
        if not error.at_capacity:
            return
        ticket = self._ticket()
        if self._has_expired(ticket):
            return
        ticket = replace(ticket, refusals=ticket.refusals + 1)
        # Without the vendor's words, which may repeat the prompt.
        self._reschedule(ticket, pause_after_refusal(ticket.refusals, error.retry_after), error.summary)

    def _ticket(self) -> QueueTicket:
        """
        Return this try's ticket, or a new one that is not written yet.

        :raises LedgerUnreadable: without it nobody knows when the wait has to end.
        """
        try:
            ticket = self._written = QueueTicket.from_json(self._store.get(KEY))
        except Exception as error:
            summary = f"How long the task has waited for capacity cannot be read ({type(error).__name__})"
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

    def _reschedule(self, ticket: QueueTicket, pause: float, why: str) -> NoReturn:
        """Leave the worker, and write down what must not be lost by it."""
        if ticket != self._written:
            self._store.set(KEY, asdict(ticket))
        now = clock.utcnow()
        left = (clock.from_iso(ticket.expires_at) - now).total_seconds()
        pause = max(min(pause, left), airflow_internals.minimum_deferral_seconds())
        self._log.info("%s; waiting without a worker, looking again in %.0f s", why, pause)
        raise AirflowRescheduleException(now + timedelta(seconds=pause))  # type: ignore[no-untyped-call]
