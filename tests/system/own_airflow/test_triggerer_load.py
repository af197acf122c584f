# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Many triggers in a real triggerer that is killed and restarted: a small ``make bench-triggerer``."""

from __future__ import annotations

import time
from pathlib import Path

from dev.trigger_load.environment import TriggerLoad, trigger_load_environment
from dev.trigger_load.triggerer_metrics import (
    TriggererRun,
    arrival_times,
    first_request_by_job,
    max_in_window,
    status_requests,
)

EACH = 60
LIMIT = 60
#: Status requests to Apixo per triggerer: they would exceed its limit if each triggerer sent them at once.
PACED = 18
#: Seconds after which a triggerer is killed in any case.
TIMEOUT = 240.0


def watch(load: TriggerLoad) -> TriggererRun:
    """Run a triggerer until it has begun all triggers and polled all unlimited jobs, and then kill it."""
    logs_before = load.count_trigger_logs()
    with load.run_triggerer() as run:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            requests = load.requests()
            everywhere = len(first_request_by_job(status_requests(requests, "apimodels"))) == EACH
            begun = load.count_trigger_logs() - logs_before == 2 * EACH
            if begun and everywhere and len(status_requests(requests, "apixo")) >= PACED:
                break
            time.sleep(0.5)
    return run


def test_many_triggers_neither_block_the_triggerer_nor_burst_after_it_is_killed(
    tmp_path: Path, database_templates: Path
) -> None:
    counts = {"apimodels": EACH, "apixo": EACH}
    with trigger_load_environment(tmp_path, counts, template_dir=database_templates) as load:
        load.defer_tasks()
        runs = [watch(load), watch(load)]
        shown = [load.progress("apimodels", index) for index in (0, EACH - 1)]

    paced = [request for run in runs for request in run.status_requests("apixo")]
    assert max_in_window(arrival_times(paced), 60) <= LIMIT
    for run in runs:
        assert run.trigger_logs == 2 * EACH, run.log
        assert len(first_request_by_job(run.status_requests("apimodels"))) == EACH, run.log
        assert len(run.status_requests("apixo")) >= PACED, run.log
        assert {request.status for request in run.requests} == {200}
        # Airflow also warns when its own log stops the loop, or the garbage collection, or a busy machine.
        assert not [stall for stall in run.stalls if stall.is_certainly_provider]
    assert {told["state"] for told in shown} == {"queued"}
