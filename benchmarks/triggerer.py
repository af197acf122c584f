# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A thousand triggers in one triggerer, which is killed and started again: ``make bench-triggerer``.

Runs a real Airflow and the simulator in real time. Half of the jobs are at APIModels, which has no documented
limit, half at Apixo, whose limit of 60 requests a minute the simulator enforces. No job ends. ``--control``
uses triggers of Airflow's own that only sleep, to show what blocks the event loop without this provider.
``--changing-progress`` uses the vendors that report progress, which changes at every check.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.trigger_load.environment import NEVER_ENDS, TriggerLoad, trigger_load_environment
from dev.trigger_load.triggerer_metrics import (
    TriggererRun,
    arrival_times,
    first_request_by_job,
    max_in_window,
)

_UNLIMITED, _LIMITED = "apimodels", "apixo"
_WITH_PROGRESS = ("apimart", "apixgo")
#: Rendering time with which the progress, in percent, changes at every check.
_PROGRESS_JOB_SECONDS = 600.0


def main() -> None:
    """Run the benchmark, and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--triggers", type=int, default=1000, help="number of triggers (%(default)s)")
    parser.add_argument("--seconds", type=float, default=120, help="duration of each triggerer (%(default)s)")
    variant = parser.add_mutually_exclusive_group()
    variant.add_argument("--control", action="store_true", help="Airflow's triggers that only sleep")
    variant.add_argument("--changing-progress", action="store_true", help="progress changes at every check")
    args = parser.parse_args()
    vendors = _WITH_PROGRESS if args.changing_progress else (_UNLIMITED, _LIMITED)
    counts = {vendors[0]: args.triggers // 2, vendors[1]: args.triggers - args.triggers // 2}
    job_seconds = _PROGRESS_JOB_SECONDS if args.changing_progress else NEVER_ENDS
    with (
        tempfile.TemporaryDirectory(prefix="vidgen-bench-") as folder,
        trigger_load_environment(Path(folder), counts, job_seconds=job_seconds) as load,
    ):
        load.defer_tasks(control=args.control)
        runs = [run_triggerer(load, args.seconds) for _ in range(2)]
    print_report(runs, counts)


def run_triggerer(load: TriggerLoad, seconds: float) -> TriggererRun:
    """Run a triggerer for some seconds, and kill it."""
    with load.run_triggerer() as run:
        time.sleep(seconds)
    load_average = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"killed a triggerer after {seconds:.0f} s; load average {load_average}", flush=True)
    return run


def print_report(runs: Sequence[TriggererRun], counts: Mapping[str, int]) -> None:
    """Print the table, and the locations of the event loop stalls."""
    print(f"\n{sum(counts.values())} triggers\n\n| | first triggerer | second | both |\n|---|---|---|---|")
    print_row("triggers that wrote a log", [run.trigger_logs for run in runs])
    print_row("running triggers, as logged by Airflow", [run.running for run in runs])
    print_row("'blocked' warnings", [len(run.blocked) for run in runs])
    print_row("their durations", [", ".join(f"{seconds:.2f} s" for seconds in run.blocked) for run in runs])
    print_row("event loop stalls of 0.1 s or more", [f"{len(run.stalls)} times" for run in runs])
    print_row("the last stall, after the start", [f"{last_stall(run):.0f} s" for run in runs])
    print_row("longest stall in the provider's code", [f"{longest_in_provider(run):.2f} s" for run in runs])
    for vendor, count in counts.items():
        requests = [run.status_requests(vendor) for run in runs]
        if not any(requests):
            continue
        times = [arrival_times(run_requests) for run_requests in requests]
        all_times = [time for run_times in times for time in run_times]
        print_row(f"{vendor}: checks", [len(run_requests) for run_requests in requests])
        print_row(
            f"{vendor}: busiest minute",
            [max_in_window(run_times, 60) for run_times in times],
            max_in_window(all_times, 60),
        )
        print_row(
            f"{vendor}: busiest second",
            [max_in_window(run_times, 1) for run_times in times],
            max_in_window(all_times, 1),
        )
        print_row(
            f"{vendor}: answered with 429",
            [sum(request.status == 429 for request in run_requests) for run_requests in requests],
        )
        first_requests = [first_request_by_job(run_requests) for run_requests in requests]
        print_row(f"{vendor}: checked jobs, of {count}", [len(first) for first in first_requests])
        print_row(
            f"{vendor}: last job's first check, after the start",
            [
                f"{max(first.values()) - run.started_at:.0f} s" if first else ""
                for first, run in zip(first_requests, runs, strict=True)
            ],
        )
    print_row("memory of the triggerer's two processes", [f"{run.memory / 2**20:.0f} MiB" for run in runs])
    print_row("CPU time of both", [f"{run.cpu:.1f} s" for run in runs])
    for number, run in enumerate(runs, 1):
        print(f"\ntriggerer {number}")
        for location, count in Counter(stall.main_location for stall in run.stalls).most_common():
            longest = max(stall.wall for stall in run.stalls if stall.main_location == location)
            print(f"  {count} stalls, at most {longest:.2f} s: {location}")


def print_row(name: str, values: Sequence[object], both: object = "") -> None:
    """Print one row of the table."""
    print(f"| {name} | {' | '.join(map(str, values))} | {both} |")


def last_stall(run: TriggererRun) -> float:
    """Return when the last stall ended, in seconds from the start."""
    return max((stall.ended_at for stall in run.stalls), default=run.started_at) - run.started_at


def longest_in_provider(run: TriggererRun) -> float:
    """Return the seconds of the longest stall in the provider's code."""
    return max((stall.provider_seconds for stall in run.stalls), default=0.0)


if __name__ == "__main__":
    main()
