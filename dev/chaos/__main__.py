# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Prove that nothing is paid twice and no paid video is lost: ``python -m dev.chaos``, or ``make chaos``.

A real Airflow makes videos at the simulator. At each point of a task's way each kind of crash happens, and
the simulator's billing ledger is the judge. Ends with 0 only if the promise held.
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

from dev.chaos import plan
from dev.chaos.books import add_up
from dev.chaos.setting import stage
from dev.chaos.table import matrix, totals_text


def main() -> int:
    """Run the rounds, print the matrix."""
    options = argparse.ArgumentParser(prog="python -m dev.chaos", description=__doc__)
    options.add_argument("--passes", type=int, default=2, help="how often the whole table (%(default)s)")
    options.add_argument("--seed", type=int, default=1, help="vendors, moments (%(default)s)")
    options.add_argument("--only", choices=plan.KINDS, action="append", help="only this kind of crash")
    options.add_argument("--points", nargs="+", metavar="POINT", help="only these, such as after_intent")
    options.add_argument("--outage", type=float, default=30, help="seconds that a server is down")
    options.add_argument("--home", type=Path, help="where everything is kept; else a temporary directory")
    options.add_argument(
        "--forgetful", action="store_true", help="the tasks forget their submissions; the promise must break"
    )
    chosen = options.parse_args()
    points = [point for point in plan.POINTS if not chosen.points or plan.slug(point) in chosen.points]
    if not points:
        options.error(f"the points are {', '.join(map(plan.slug, plan.POINTS))}")
    rounds = plan.plan(chosen.passes, chosen.seed, chosen.only or plan.KINDS, points)
    folder = (chosen.home or Path(tempfile.mkdtemp(prefix="vidgen-chaos-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    say = partial(print, flush=True)
    planned = sum(len(round_.cells) for round_ in rounds)
    say(f"Seed {chosen.seed}, {planned} cells in {len(rounds)} rounds; everything is in {folder}")
    begun = time.monotonic()
    with stage(folder, outage=chosen.outage, forgetful=chosen.forgetful, say=say) as runner:
        for round_ in rounds:
            runner.run(round_)
        cells = [cell for round_ in rounds for cell in round_.cells]
        totals = add_up(cells, runner.books.by_tag(cell.tag for cell in cells))
    (folder / "cells.json").write_text(json.dumps([asdict(cell) for cell in cells], indent=1))
    print(f"\n{matrix(cells)}\n\n{totals_text(totals, time.monotonic() - begun)}")
    return 0 if totals.good else 1


if __name__ == "__main__":
    sys.exit(main())
