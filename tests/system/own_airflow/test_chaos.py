# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""A small part of the chaos run, with a fixed seed; ``make chaos`` runs all of it."""

from __future__ import annotations

from pathlib import Path

from dev.chaos import plan
from dev.chaos.books import add_up
from dev.chaos.setting import stage
from dev.chaos.table import matrix, totals_text

SEED = 1
CRASHES = {
    plan.AFTER_INTENT: plan.WORKER,
    plan.UNANSWERED: plan.WORKER,
    plan.ANSWERED: plan.WORKER,
    plan.FIRST_WRITE: plan.WORKER,
    plan.LANDING: plan.WORKER,
    plan.DEFERRED: plan.TRIGGERER,
    plan.PERSISTED: plan.RESET,
    plan.CLEARED: plan.WORKER,
}


def test_no_crash_makes_anything_be_paid_twice_or_lost(tmp_path: Path, database_templates: Path) -> None:
    told: list[str] = []
    round_ = plan.mixed(CRASHES, SEED)
    with stage(tmp_path, rendering=False, template_dir=database_templates, say=told.append) as runner:
        runner.run(round_)
        entries = runner.books.by_tag(cell.tag for cell in round_.cells)
    totals = add_up(round_.cells, entries)
    shown = "\n".join([*told, matrix(round_.cells), totals_text(totals, 0)])
    assert totals.good, shown
    assert totals.injected == totals.jobs == totals.settled == len(CRASHES), shown
    outcomes = {cell.point: cell.outcome for cell in round_.cells}
    # A job that was billed but not recorded is found and adopted; a recorded one goes on without help.
    by_itself = (plan.LANDING, plan.DEFERRED, plan.PERSISTED, plan.CLEARED)
    assert {outcomes[point] for point in by_itself} == {"ok"}, shown
    # Its id is in the task's log, although the record could not be written.
    assert outcomes[plan.FIRST_WRITE] == "unknown, adopted", shown
    assert totals.unknown == sum("unknown" in outcome for outcome in outcomes.values()) > 0, shown
