# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The report of a chaos run: the matrix of outcomes, and the totals."""

from __future__ import annotations

from dev.chaos import scenarios
from dev.chaos.billing_check import Totals
from dev.chaos.scenarios import CRASH_POINTS, FAULTS, Scenario

_HEADERS = {
    scenarios.WORKER: "worker SIGKILL",
    scenarios.TRIGGERER: "triggerer SIGKILL",
    scenarios.SCHEDULER: "scheduler SIGKILL",
    scenarios.API_SERVER: "API server down",
    scenarios.SIMULATOR: "simulator down",
    scenarios.RESET: "connection reset",
    scenarios.LATE_LINK: "link late",
    scenarios.WRONG_HOST: "wrong host",
}
NOT_APPLICABLE = "n/a"
_NOTES = """\
ok                 succeeded without help; one job, one bill, one complete file
unknown, adopted   correctly reported as unknown; the operator found the job and had the task adopt it
unknown, cleared   correctly reported as unknown; the operator found no job and cleared the task
failed, cleared    the fault ended the task's tries; after a clear it continued the same submission
n/a                a deferred task has no worker process that could be killed

Each row of a crash point is a pass, with another vendor; every second pass uses the harder variant. Worker:
the task's process, its supervisor, or both are killed, in turn. Scheduler and triggerer: killed with their
child processes, or alone, and the child processes continue next to the successor. API server: down for longer
than Airflow's heartbeat timeout, or for less. Simulator: down when the calls start, or going down during the
calls. Connection reset: of the call that follows the crash point; a POST is reset before or after its
acceptance. Link late: answers 404 for a minute after the end of the job. Wrong host: for a minute the
connection has another server's host, or another server answers at the vendor's host. Cleared after delivery:
the task has succeeded and was cleared; the fault is injected when it has its video again."""


def matrix(finished: list[Scenario]) -> str:
    """Return a table with a row for each crash point and pass, and a column for each fault."""
    faults = [fault for fault in FAULTS if any(scenario.fault == fault for scenario in finished)]
    points = [point for point in CRASH_POINTS if any(scenario.point == point for scenario in finished)]
    lines: list[list[str]] = [["", *(_HEADERS[fault] for fault in faults)]]
    for point in points:
        columns = [
            [_cell(scenario) for scenario in finished if scenario.fault == fault and scenario.point == point]
            for fault in faults
        ]
        for row in range(max(map(len, columns))):
            cells = [column[row] if row < len(column) else "" for column in columns]
            lines.append([point if row == 0 else "", *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:], "", _NOTES])


def _cell(scenario: Scenario) -> str:
    is_applicable = scenario.outcome != NOT_APPLICABLE
    return f"{scenario.outcome} ({scenario.vendor})" if is_applicable else NOT_APPLICABLE


def totals_text(totals: Totals, seconds: float) -> str:
    """Return the totals as text."""
    return "\n".join(
        [
            f"faults injected          {totals.injected:4d}   in {seconds:.0f} s",
            f"jobs accepted            {totals.jobs:4d}   {totals.settled} settled",
            f"billed more than once    {totals.billed_twice:4d}",
            f"paid videos lost         {totals.lost:4d}",
            f"tasks stuck              {totals.stuck:4d}",
            f"reported as unknown      {totals.unknown:4d}   {totals.wrongly_unknown} of them wrongly",
            f"failed, then cleared     {totals.cleared:4d}",
            f"faults not injected      {totals.not_injected:4d}",
            f"scenarios with problems  {totals.problems:4d}",
            "All checks passed." if totals.passed else "CHECKS FAILED.",
        ]
    )
