# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Many triggers in a real triggerer that is killed and restarted: a small ``make bench-triggerer``."""

from __future__ import annotations

import time
from pathlib import Path

from dev.crowd.seen import Shift, busiest, checks, first_checks, times
from dev.crowd.setting import Crowd, stage

EACH = 60
LIMIT = 60
#: Status requests to Apixo per triggerer: they would exceed its limit if each triggerer sent them at once.
PACED = 18
#: Seconds after which a triggerer is killed in any case.
TIMEOUT = 240.0


def watch(crowd: Crowd) -> Shift:
    """Run a triggerer until it has begun all triggers and polled all unlimited jobs, and then kill it."""
    logs_before = trigger_logs(crowd)
    with crowd.triggerer() as shift:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            visits = crowd.visits()
            everywhere = len(first_checks(checks(visits, "apimodels"))) == EACH
            begun = trigger_logs(crowd) - logs_before == 2 * EACH
            if begun and everywhere and len(checks(visits, "apixo")) >= PACED:
                break
            time.sleep(0.5)
    return shift


def trigger_logs(crowd: Crowd) -> int:
    """Count the logs of triggers; each triggerer writes its own."""
    return sum(1 for _ in crowd.airflow.home.rglob("*.trigger.*.log"))


def test_many_triggers_neither_block_the_triggerer_nor_burst_after_it_is_killed(
    tmp_path: Path, database_templates: Path
) -> None:
    counts = {"apimodels": EACH, "apixo": EACH}
    with stage(tmp_path, counts, template_dir=database_templates) as crowd:
        crowd.gather()
        shifts = [watch(crowd), watch(crowd)]
        shown = [crowd.progress("apimodels", index) for index in (0, EACH - 1)]

    paced = [visit for shift in shifts for visit in shift.checks("apixo")]
    assert busiest(times(paced), 60) <= LIMIT
    for shift in shifts:
        assert shift.trigger_logs == 2 * EACH, shift.log
        assert len(first_checks(shift.checks("apimodels"))) == EACH, shift.log
        assert len(shift.checks("apixo")) >= PACED, shift.log
        assert {visit.status for visit in shift.visits} == {200}
        # Airflow also warns when its own logging, the garbage collection or a busy machine stalls the loop.
        assert not [hold for hold in shift.holds if hold.is_surely_ours]
    assert {told["state"] for told in shown} == {"queued"}
