# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The matrix, as it is printed."""

from __future__ import annotations

from dev.chaos import plan
from dev.chaos.books import Totals
from dev.chaos.plan import Cell

_HEADS = {
    plan.WORKER: "worker SIGKILL",
    plan.TRIGGERER: "triggerer SIGKILL",
    plan.SCHEDULER: "scheduler SIGKILL",
    plan.API_SERVER: "API server down",
    plan.SIMULATOR: "simulator down",
    plan.RESET: "connection reset",
    plan.LATE_LINK: "link late",
    plan.MISTYPED: "host mistyped",
}
NOT_APPLICABLE = "n/a"
_NOTES = """\
ok                 success by itself; one job, one bill, one whole file
unknown, adopted   reported as unknown, and it was; the person found the job and gave its id to the task
unknown, cleared   reported as unknown, and it was; the person found no job and cleared the task
failed, cleared    an outage used up the task's tries, or ended them; a clear went on with the same submission
n/a                no worker process belongs to a task while it is deferred, so there is none to kill

Passes stand under each other, each with other vendors; every second one is the harder variant. Worker: the
task's process is killed, its supervisor, or both, in turn. Scheduler and triggerer: first with all that they
have started, then the main process alone, and the rest goes on beside its successor. API server: first for
longer than Airflow waits for a heartbeat, then the tasks live through it. Simulator: first the calls come
while it is down, then it goes down under them. Connection reset: of the call that follows the point; for the
paid call now before, now after acceptance. Link late: it answers 404 for a minute after the job's end. Host
mistyped: for a minute the connection leads to another server, then another server is at the vendor's host.
Cleared after delivery: the task has succeeded and was cleared, and is hit when it has its video again."""


def matrix(cells: list[Cell]) -> str:
    """Return rows of points and columns of kinds; what several passes brought stands under each other."""
    kinds = [kind for kind in plan.KINDS if any(cell.kind == kind for cell in cells)]
    points = [point for point in plan.POINTS if any(cell.point == point for cell in cells)]
    lines: list[list[str]] = [["", *(_HEADS[kind] for kind in kinds)]]
    for point in points:
        columns = [
            [_word(cell) for cell in cells if cell.kind == kind and cell.point == point] for kind in kinds
        ]
        for row in range(max(map(len, columns))):
            words = [column[row] if row < len(column) else "" for column in columns]
            lines.append([point if row == 0 else "", *words])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", _NOTES])


def _word(cell: Cell) -> str:
    return f"{cell.outcome} ({cell.vendor})" if cell.outcome != NOT_APPLICABLE else NOT_APPLICABLE


def totals_text(totals: Totals, seconds: float) -> str:
    """Return the figures, and the verdict."""
    return "\n".join(
        [
            f"faults injected          {totals.injected:4d}   in {seconds:.0f} s",
            f"jobs accepted            {totals.jobs:4d}   {totals.settled} settled",
            f"billed more than once    {totals.twice:4d}",
            f"paid videos lost         {totals.lost:4d}",
            f"tasks stuck              {totals.stuck:4d}",
            f"reported as unknown      {totals.unknown:4d}   {totals.untrue} of them wrongly",
            f"out of tries, cleared    {totals.tries_used_up:4d}",
            f"points not reached       {totals.missed:4d}",
            f"other trouble            {totals.trouble:4d}",
            "The promise held." if totals.good else "THE PROMISE DID NOT HOLD.",
        ]
    )
