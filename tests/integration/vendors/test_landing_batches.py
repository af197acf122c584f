# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Landing at the simulated vendors: many videos, short-lived links, and a resumed download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.landing import Landing, VideoMetadata
from airflow_provider_vidgen.models import VideoRequest
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.xcom import build_result
from tests.support.accounts import MODEL, VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, cdn_saw_no_key, posts, submit, wait

DELAYS = (0.0, 2.0, 4.0, 60.0, 7200.0)


@pytest.mark.parametrize("dead_link", [403, 404, 410, "html200"])
def test_a_batch_with_links_that_expire_after_three_seconds_lands_every_file(
    dead_link: int | str, vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    vendors.options(expired_link_response=dead_link, link_seconds=dict.fromkeys(VENDORS, 3.0))
    landed: list[dict[str, Any]] = []
    for vendor in VENDORS:
        hook = account(vendor)
        for delay in DELAYS:
            # Each job has its own idempotency key; with one key, APIMart would create a single job.
            request = VideoRequest(prompt="a lamp", model=MODEL[vendor])
            submission = hook.submit(request, idempotency_key=f"{vendor}-{delay}")
            status = wait(hook, clock, submission)
            clock.sleep(delay)
            landed += Landing(hook.settings, sleep=clock.sleep).land(
                status.result_urls,
                f"file://{tmp_path}/{{vendor}}/",
                job=submission.job,
                refresh=lambda hook=hook, job=submission.job: hook.get_status(job).result_urls,
                metadata=VideoMetadata(request=request, result=build_result(submission.job, status)),
            )
    assert len(landed) == len(VENDORS) * len(DELAYS) == posts(vendors) == billed(vendors)
    assert cdn_saw_no_key(vendors)
    assert len({file["sha256"] for file in landed}) == len(landed)
    for file in landed:
        path = Path(file["path"].removeprefix("file://"))
        sidecar = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert path.stat().st_size == file["bytes"] == sidecar["file"]["bytes"]
        assert (sidecar["task_id"], sidecar["request"]["prompt"]) == (file["task_id"], "a lamp")
        assert file["probe"] is not None


def test_an_interrupted_download_is_resumed(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    hook = account("apixo")
    submission = submit(hook)
    links = wait(hook, clock, submission).result_urls
    vendors.fault("truncated", route="download", body_fraction=0.5)
    files = Landing(hook.settings, sleep=clock.sleep).land(
        links, f"file://{tmp_path}/v.mp4", job=submission.job
    )
    assert (tmp_path / "v.mp4").stat().st_size == files[0]["bytes"]
    assert sum(visit.host == "cdn" for visit in vendors.requests()) == 2
