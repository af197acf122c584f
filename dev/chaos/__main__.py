# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Check that no fault makes a video be paid twice or lost: ``python -m dev.chaos``, or ``make chaos``.

A real Airflow generates videos with the simulator. Every kind of fault is injected at every crash point of a
task, and the simulator's billing ledger is compared with the results. Exits with 0 only if all checks passed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

from dev.chaos import scenarios
from dev.chaos.billing_check import count_totals
from dev.chaos.environment import chaos_environment
from dev.chaos.report import matrix, totals_text
from dev.chaos.scenarios import CRASH_POINTS, FAULTS, slug


def main() -> int:
    """Run all rounds, and print the matrix."""
    parser = argparse.ArgumentParser(prog="python -m dev.chaos", description=__doc__)
    parser.add_argument("--passes", type=int, default=2, help="runs of the whole matrix (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="for vendors and delays (%(default)s)")
    parser.add_argument(
        "--faults", nargs="+", choices=FAULTS, metavar="FAULT", help=f"only these of {', '.join(FAULTS)}"
    )
    parser.add_argument(
        "--points", nargs="+", metavar="POINT", help="only these crash points, such as after_intent"
    )
    parser.add_argument(
        "--outage", type=float, default=30, help="seconds for which a server is down (%(default)s)"
    )
    parser.add_argument("--home", type=Path, help="folder for all files (a temporary one)")
    parser.add_argument(
        "--ignore-ledger",
        action="store_true",
        help="negative control: tasks ignore their ledger, so videos are paid twice and the checks must fail",
    )
    args = parser.parse_args()
    points = [point for point in CRASH_POINTS if not args.points or slug(point) in args.points]
    if not points:
        parser.error(f"the crash points are {', '.join(map(slug, CRASH_POINTS))}")
    rounds = scenarios.all_rounds(args.passes, args.seed, args.faults or FAULTS, points)
    folder = (args.home or Path(tempfile.mkdtemp(prefix="vidgen-chaos-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = partial(print, flush=True)
    planned = sum(len(round_.scenarios) for round_ in rounds)
    log(f"Seed {args.seed}, {planned} scenarios in {len(rounds)} rounds; all files are in {folder}")
    started = time.monotonic()
    with chaos_environment(folder, outage=args.outage, ignore_ledger=args.ignore_ledger, log=log) as runner:
        for round_ in rounds:
            runner.run(round_)
        finished = [scenario for round_ in rounds for scenario in round_.scenarios]
        # Read again at the end of the run, so that late submissions are counted.
        entries = runner.billing.entries_by_tag(scenario.tag for scenario in finished)
        totals = count_totals(finished, entries)
    (folder / "scenarios.json").write_text(json.dumps([asdict(scenario) for scenario in finished], indent=1))
    print(f"\n{matrix(finished)}\n\n{totals_text(totals, time.monotonic() - started)}")
    return 0 if totals.passed else 1


if __name__ == "__main__":
    sys.exit(main())
