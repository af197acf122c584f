# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""When a deferred task may wake, and when Airflow gives it up."""

from __future__ import annotations

from datetime import datetime, timedelta

#: Airflow's own timeout of a deferral comes later than ours, so that our path, which keeps the job, wins.
_MARGIN = timedelta(minutes=10)


def deferral_window(until: datetime) -> tuple[str, timedelta]:
    """
    Return the moment before which the task must not wake (ISO 8601, UTC), and the timeout of its deferral.

    :param until: when our own trigger gives up.
    """
    from airflow_provider_vidgen.airflow_internals import minimum_deferral_seconds
    from airflow_provider_vidgen.clock import utcnow

    now, shortest = utcnow(), minimum_deferral_seconds()
    left = max((until - now).total_seconds(), shortest)
    # A plain timedelta: pendulum's differences cannot be sent to the supervisor.
    return (now + timedelta(seconds=shortest)).isoformat(), timedelta(seconds=left) + _MARGIN
