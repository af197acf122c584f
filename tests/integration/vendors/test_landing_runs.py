# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Whole runs of landing at the simulated vendors: many videos, short-lived links, and a rest asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.landing import About, Landing
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.results import build_result
from airflow_provider_vidgen.simulator import Simulator
from tests.support.accounts import MODEL, VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, cdn_saw_no_key, posts, submit, wait

LATE = (0.0, 2.0, 4.0, 60.0, 7200.0)


@pytest.mark.parametrize("dead", [403, 404, 410, "html200"])
def test_a_marketing_run_whose_links_live_three_seconds_lands_all_its_files(
    dead: int | str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    vendors.options(dead_link=dead, link_seconds=dict.fromkeys(VENDORS, 3.0))
    landed: list[dict[str, Any]] = []
    for vendor in VENDORS:
        hook = account(vendor)
        for late in LATE:
            # A key of its own, or the vendor that knows keys would take all of them for one job.
            request = VideoRequest(prompt="a lamp", model=MODEL[vendor])
            submission = hook.submit(request, idempotency_key=f"{vendor}-{late}")
            status = wait(hook, clock, submission)
            clock.sleep(late)
            landed += Landing(hook.settings, sleep=clock.sleep).land(
                status.result_urls,
                f"file://{tmp_path}/{{vendor}}/",
                job=submission.job,
                refresh=lambda hook=hook, job=submission.job: hook.get_status(job).result_urls,
                about=About(request=request, result=build_result(submission.job, status)),
            )
    assert len(landed) == len(VENDORS) * len(LATE) == posts(vendors) == billed(vendors)
    assert cdn_saw_no_key(vendors)
    assert len({file["sha256"] for file in landed}) == len(landed)
    for file in landed:
        path = Path(file["path"].removeprefix("file://"))
        told = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert path.stat().st_size == file["bytes"] == told["file"]["bytes"]
        assert (told["task_id"], told["request"]["prompt"]) == (file["task_id"], "a lamp")
        assert file["probe"] is not None


def test_a_broken_download_asks_the_store_for_the_rest(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    hook = account("apixo")
    submission = submit(hook)
    links = wait(hook, clock, submission).result_urls
    vendors.fault("truncated", route="download", share=0.5)
    files = Landing(hook.settings, sleep=clock.sleep).land(
        links, f"file://{tmp_path}/v.mp4", job=submission.job
    )
    assert (tmp_path / "v.mp4").stat().st_size == files[0]["bytes"]
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 2
