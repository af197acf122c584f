# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
A thousand videos watched by one triggerer, which is killed and started again: ``make bench-triggerer``.

A real Airflow and the simulator, at the speed of the clock. Half of the tasks wait at APIModels, which has no
documented limit, half at Apixo, whose limit of 60 requests a minute the simulator enforces. No job ends.
``--control`` has as many triggers of Airflow's own instead that only sleep: what blocks the loop then is not
ours. ``--changing`` has the vendors with progress instead, and it changes at every check.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.trigger_load.triggerer_metrics import Shift, busiest, first_checks, times
from dev.trigger_load.environment import FOR_EVER, Crowd, stage

_UNLIMITED, _LIMITED = "apimodels", "apixo"
_WITH_PROGRESS = ("apimart", "apixgo")
#: So long takes a video whose progress, in percent, changes at every check.
_CHANGING_SECONDS = 600.0


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--triggers", type=int, default=1000, help="in all (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=120, help="to watch each triggerer for (%(default)s)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--control", action="store_true", help="triggers that only sleep")
    what.add_argument("--changing", action="store_true", help="progress that changes at every check")
    args = parser.parse_args()
    vendors = _WITH_PROGRESS if args.changing else (_UNLIMITED, _LIMITED)
    counts = {vendors[0]: args.triggers // 2, vendors[1]: args.triggers - args.triggers // 2}
    lasts = _CHANGING_SECONDS if args.changing else FOR_EVER
    with (
        tempfile.TemporaryDirectory(prefix="vidgen-bench-") as folder,
        stage(Path(folder), counts, job_seconds=lasts) as crowd,
    ):
        crowd.gather(control=args.control)
        shifts = [watch(crowd, args.seconds) for _ in range(2)]
    report(shifts, counts)


def watch(crowd: Crowd, seconds: float) -> Shift:
    """Watch a triggerer, and kill it."""
    with crowd.triggerer() as shift:
        time.sleep(seconds)
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"a triggerer was killed after {seconds:.0f} s; load {load}", flush=True)
    return shift


def report(shifts: Sequence[Shift], counts: Mapping[str, int]) -> None:
    """Print the table, and where the loops were held."""
    print(f"\n{sum(counts.values())} triggers\n\n| | first triggerer | second | across |\n|---|---|---|---|")
    row("triggers that wrote to the log of their task", [shift.trigger_logs for shift in shifts])
    row("triggers running, as Airflow says each minute", [shift.running for shift in shifts])
    row("'blocked' warnings", [len(shift.blocked) for shift in shifts])
    row("their seconds", [", ".join(f"{one:.2f}" for one in shift.blocked) for shift in shifts])
    row("loop held for 0.1 s and more", [f"{len(shift.holds)} times" for shift in shifts])
    row("the last time, after the start", [f"{last_hold(shift):.0f} s" for shift in shifts])
    row("longest in code of ours", [f"{longest_of_ours(shift):.2f} s" for shift in shifts])
    for vendor, count in counts.items():
        visits = [shift.checks(vendor) for shift in shifts]
        if not any(visits):
            continue
        moments = [times(each) for each in visits]
        together = [moment for each in moments for moment in each]
        row(f"{vendor}: checks", [len(each) for each in visits])
        row(f"{vendor}: busiest minute", [busiest(each, 60) for each in moments], busiest(together, 60))
        row(f"{vendor}: busiest second", [busiest(each, 1) for each in moments], busiest(together, 1))
        row(f"{vendor}: answered with 429", [sum(one.status == 429 for one in each) for each in visits])
        firsts = [first_checks(each) for each in visits]
        row(f"{vendor}: jobs checked, of {count}", [len(first) for first in firsts])
        row(
            f"{vendor}: the last of the first checks, after the start",
            [
                f"{max(first.values()) - shift.started:.0f} s" if first else ""
                for first, shift in zip(firsts, shifts, strict=True)
            ],
        )
    row("memory of the triggerer's two processes", [f"{shift.memory / 2**20:.0f} MiB" for shift in shifts])
    row("CPU of both", [f"{shift.cpu:.1f} s" for shift in shifts])
    for number, shift in enumerate(shifts, 1):
        print(f"\ntriggerer {number}")
        for where, holds in Counter(hold.mostly for hold in shift.holds).most_common():
            longest = max(hold.wall for hold in shift.holds if hold.mostly == where)
            print(f"  {holds} times, {longest:.2f} s at most: {where}")


def row(name: str, values: Sequence[object], across: object = "") -> None:
    """Print one line of the table."""
    print(f"| {name} | {' | '.join(map(str, values))} | {across} |")


def last_hold(shift: Shift) -> float:
    """Return when the loop was held last, in seconds from the start."""
    return max((hold.at for hold in shift.holds), default=shift.started) - shift.started


def longest_of_ours(shift: Shift) -> float:
    """Return for how long code of this package held the loop, at most."""
    return max((hold.ours for hold in shift.holds), default=0.0)


if __name__ == "__main__":
    main()
