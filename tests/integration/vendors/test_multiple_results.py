# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Results with several videos and a thumbnail."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.xcom import build_result
from tests.support.accounts import VENDORS
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import MakeAccount, billed, submit, wait

#: Apixgo's reply has one field for a link and none for a thumbnail.
SINGLE_RESULT = ("apixgo",)


@pytest.mark.parametrize("shape", ["resultUrls", "resultJson"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_all_videos_of_a_job_land_and_its_thumbnail_is_returned(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path, vendor: str, shape: str
) -> None:
    vendors.options(videos_per_job=3, thumbnails=True, apimodels_result_field=shape)
    hook = account(vendor)
    submission = submit(hook)
    status = wait(hook, clock, submission)
    count = 1 if vendor in SINGLE_RESULT else 3
    assert len(status.result_urls) == count
    result = build_result(submission.job, status)
    assert (result["thumbnail_url"] is None) == (vendor in SINGLE_RESULT)
    if result["thumbnail_url"]:
        reply = requests.get(result["thumbnail_url"], timeout=5)
        assert (reply.status_code, reply.headers["Content-Type"]) == (200, "image/jpeg")
    files = Landing(hook.settings, sleep=clock.sleep).land(
        status.result_urls, f"file://{tmp_path}/", job=submission.job
    )
    assert len({file["path"] for file in files}) == len({file["sha256"] for file in files}) == count
    assert billed(vendors) == 1


def test_a_cdn_that_is_busy_at_first_costs_no_second_video(
    vendors: Simulator, account: MakeAccount, clock: SimulatorClock, tmp_path: Path
) -> None:
    hook = account("apixo")
    submission = submit(hook)
    links = wait(hook, clock, submission).result_urls
    vendors.fault("busy", route="download", seconds=1, times=2)
    (file,) = Landing(hook.settings, sleep=clock.sleep).land(
        links, f"file://{tmp_path}/v.mp4", job=submission.job
    )
    assert (tmp_path / "v.mp4").stat().st_size == file["bytes"]
    assert (billed(vendors), sum(visit.host == "cdn" for visit in vendors.requests())) == (1, 3)
