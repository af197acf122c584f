# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Reports of failures: the cause, the job id, the cost, and whether Airflow retries."""

from __future__ import annotations

import re
import time

import pytest

from airflow_provider_vidgen.simulator import SimulatorClient
from airflow_provider_vidgen.video_status import VideoState, VideoStatus
from dev.servers.storage import LocalS3
from tests.support.task_runs import Runs, bill, billed_jobs, submissions

DAG = "system_failures"
#: Vendors may repeat the prompt in their messages; the log must not contain it.
CRASH_PROMPT = "a velvet pangolin on a GPU"


@pytest.fixture(scope="module", autouse=True)
def crashed_job(runs: Runs, simulator: SimulatorClient) -> str:
    """The id of the job that fails for the vendor's own reasons."""
    job_id = runs.task(DAG, "crash").wait_for_job()
    simulator.end_job(
        job_id, "failed", fail_code="INTERNAL", fail_message=f"GPU node lost making '{CRASH_PROMPT}'"
    )
    return job_id


def test_rejected_content_fails_at_once_with_the_vendors_message(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "content")
    finished = task.wait_until_finished("failed")
    assert (finished["try_number"], finished["max_tries"]) == (1, 2)
    [entry] = billed_jobs(simulator, "behaving badly")
    log = task.log()
    assert "ContentRejected: " in log
    assert "CONTENT_VIOLATION No pangolins please" in log
    assert f"Job: apixo job {entry.task_id}." in log
    assert "the same content would be rejected again" in log
    assert log.count("exc_type") == 1
    assert entry.state == "refunded"
    assert task.record()["phase"] == "failed"


def test_an_account_without_funds_fails_at_once(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task(DAG, "funds")
    assert task.wait_until_finished("failed")["try_number"] == 1
    log = task.log()
    assert "InsufficientFunds: " in log
    assert "Nothing was spent. Top up the account" in log
    assert billed_jobs(simulator, "on credit") == []


def test_the_log_of_a_failure_ends_with_what_happened_and_what_to_do(runs: Runs) -> None:
    task = runs.task(DAG, "funds")
    task.wait_until_finished("failed")
    traceback, end = task.log().split("::group::Post Execute")
    assert '"exc_type"' in traceback
    # Outside of the group, which Airflow's UI shows collapsed.
    group, shown, _ = end.split("::endgroup::")
    assert "Top up the account" not in group
    assert "Nothing was spent. Top up the account" in shown


def test_the_xcom_of_a_failure_has_what_the_videos_tab_shows(runs: Runs) -> None:
    task = runs.task(DAG, "funds")
    task.wait_until_finished("failed")
    status = VideoStatus.from_json(task.xcom("video"))
    assert status is not None
    assert (status.state, status.billing) == (VideoState.FAILED, "Nothing was spent.")
    assert "on credit" in status.prompt


def test_a_bad_key_is_reported_as_such_and_fails_at_once(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task(DAG, "key")
    assert task.wait_until_finished("failed")["try_number"] == 1
    log = task.log()
    assert "BadCredentials: " in log
    assert "Correct the API key (password) of the connection" in log
    assert "could not be reached" not in log
    assert [visit.authorization for visit in submissions(simulator, "at the door")] == ["bad"]
    assert billed_jobs(simulator, "at the door") == []


def test_an_unreachable_host_is_reported_as_such_and_costs_nothing(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "host")
    task.wait_until_finished("failed")
    log = task.log()
    assert "ConnectionFailed: " in log
    assert "could not be reached" in log
    assert "Nothing was spent. Check the connection's host and the network" in log
    assert "BadCredentials" not in log
    assert submissions(simulator, "nowhere") == []


def test_a_missing_bucket_is_refused_before_anything_is_paid(
    runs: Runs, simulator: SimulatorClient, s3: LocalS3
) -> None:
    task = runs.task(DAG, "bucket")
    assert task.wait_until_finished("failed")["try_number"] == 1
    log = task.log()
    assert "there is no bucket 'pangolin-typo'" in log
    assert "Nothing was spent" in log
    assert submissions(simulator, "in a bucket") == []
    assert [bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]] == ["videos"]


def test_mapped_tasks_with_the_same_output_path_are_refused_before_anything_is_paid(
    runs: Runs, simulator: SimulatorClient
) -> None:
    for index in (0, 1):
        task = runs.task(DAG, "one_place", index)
        assert task.wait_until_finished("failed")["try_number"] == 1
        assert "must differ between mapped tasks" in task.log()
    assert submissions(simulator, "pangolin, twice") == []


def test_a_failed_write_to_storage_is_retried_with_the_same_video(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "storage")
    assert task.wait_until_finished("failed")["try_number"] == 2
    [entry] = billed_jobs(simulator, "fits no shelf")
    for number in (1, 2):
        log = task.log(number)
        assert "StorageError: " in log
        assert f"Job: apixo job {entry.task_id}. The video was paid for." in log
        assert "no new video is made" in log
    assert len(submissions(simulator, "fits no shelf")) == 1
    assert entry.state == "settled"


@pytest.mark.parametrize(
    ("task_id", "verb"), [("deadline_deferred", "sleeps"), ("deadline_blocking", "dozes")]
)
def test_a_deadline_fails_the_try_and_the_next_one_reattaches_to_the_same_job(
    runs: Runs, simulator: SimulatorClient, task_id: str, verb: str
) -> None:
    task = runs.task(DAG, task_id)
    assert task.wait_until_finished("failed")["try_number"] == 2
    [entry] = billed_jobs(simulator, f"pangolin that {verb}")
    for number in (1, 2):
        log = task.log(number)
        assert "DeadlineExceeded: The job was still running" in log
        assert f"Job: apixo job {entry.task_id}." in log
        assert "A retry checks the same job once more" in log
    assert f"An earlier try submitted the job {entry.task_id}" in task.log(2)
    assert len(submissions(simulator, f"pangolin that {verb}")) == 1
    assert task.record()["phase"] == "submitted"


def test_after_a_failure_of_the_vendors_own_the_next_try_submits_a_new_job(
    runs: Runs, simulator: SimulatorClient, crashed_job: str
) -> None:
    task = runs.task(DAG, "crash")
    task.wait("running", try_number=2)
    while (job_id := task.wait_for_job()) == crashed_job:
        time.sleep(0.2)
    simulator.end_job(job_id)
    assert task.wait_until_finished("success")["try_number"] == 2
    assert "INTERNAL GPU node lost making '***'" in task.log(1)
    assert f"Job: apixo job {crashed_job}." in task.log(1)
    assert "A retry submits a new job, which may be billed again" in task.log(1)
    assert re.search(
        rf"earlier try the job {crashed_job} ended without a video; a new job is submitted", task.log(2)
    )
    assert (bill(simulator, crashed_job).state, bill(simulator, job_id).state) == ("refunded", "settled")
    assert task.xcom()["task_id"] == job_id
