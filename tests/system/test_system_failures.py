# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""What failed, whose fault it was, what it cost, and whether Airflow should try again."""

from __future__ import annotations

import re

import pytest
from airflow_runs import Runs, bill, jobs_for, orders

from airflow_provider_vidgen.simulator import SimulatorClient
from dev.servers.storage import LocalS3

DAG = "system_failures"
#: Vendors may repeat the prompt; the log must not.
CRASHED = "a velvet pangolin on a GPU"


@pytest.fixture(scope="module", autouse=True)
def crashed(runs: Runs, simulator: SimulatorClient) -> str:
    """The job that the vendor gives up for reasons of its own."""
    job = runs.task(DAG, "crash").wait_for_job()
    simulator.end_job(job, "failed", fail_code="INTERNAL", fail_message=f"GPU node lost making '{CRASHED}'")
    return job


def test_rejected_content_fails_at_once_with_the_vendors_words(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "content")
    ended = task.ends("failed")
    assert (ended["try_number"], ended["max_tries"]) == (1, 2)
    [entry] = jobs_for(simulator, "behaving badly")
    log = task.log()
    assert "ContentRejected: " in log
    assert "CONTENT_VIOLATION No pangolins please" in log
    assert f"Job: apixo job {entry.task_id}." in log
    assert "the same content would be rejected again" in log
    assert log.count("exc_type") == 1
    assert entry.state == "refunded"
    assert task.record()["phase"] == "failed"


def test_an_empty_account_fails_at_once(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task(DAG, "funds")
    assert task.ends("failed")["try_number"] == 1
    log = task.log()
    assert "InsufficientFunds: " in log
    assert "Nothing was spent. Top up the account" in log
    assert jobs_for(simulator, "on credit") == []


def test_a_bad_key_is_named_as_such_and_fails_at_once(runs: Runs, simulator: SimulatorClient) -> None:
    task = runs.task(DAG, "key")
    assert task.ends("failed")["try_number"] == 1
    log = task.log()
    assert "BadCredentials: " in log
    assert "Correct the API key (password) of the connection" in log
    assert "could not be reached" not in log
    assert [visit.authorization for visit in orders(simulator, "at the door")] == ["bad"]
    assert jobs_for(simulator, "at the door") == []


def test_an_unreachable_host_is_named_as_such_and_costs_nothing(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "host")
    task.ends("failed")
    log = task.log()
    assert "ConnectionFailed: " in log
    assert "could not be reached" in log
    assert "Nothing was spent. Check the connection's host and the network" in log
    assert "BadCredentials" not in log
    assert orders(simulator, "nowhere") == []


def test_a_bucket_that_does_not_exist_is_refused_before_anything_is_paid(
    runs: Runs, simulator: SimulatorClient, s3: LocalS3
) -> None:
    task = runs.task(DAG, "bucket")
    assert task.ends("failed")["try_number"] == 1
    log = task.log()
    assert "there is no bucket 'pangolin-typo'" in log
    assert "Nothing was spent" in log
    assert orders(simulator, "in a bucket") == []
    assert [bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]] == ["videos"]


def test_mapped_tasks_that_would_share_one_path_are_refused_before_anything_is_paid(
    runs: Runs, simulator: SimulatorClient
) -> None:
    for index in (0, 1):
        task = runs.task(DAG, "one_place", index)
        assert task.ends("failed")["try_number"] == 1
        assert "must differ between mapped tasks" in task.log()
    assert orders(simulator, "pangolin, twice") == []


def test_storage_that_does_not_take_the_video_is_tried_again_with_the_same_one(
    runs: Runs, simulator: SimulatorClient
) -> None:
    task = runs.task(DAG, "storage")
    assert task.ends("failed")["try_number"] == 2
    [entry] = jobs_for(simulator, "fits no shelf")
    for number in (1, 2):
        log = task.log(number)
        assert "StorageError: " in log
        assert f"Job: apixo job {entry.task_id}. The video was paid for." in log
        assert "no new video is made" in log
    assert len(orders(simulator, "fits no shelf")) == 1
    assert entry.state == "settled"


@pytest.mark.parametrize(
    ("task_id", "words"), [("deadline_deferred", "sleeps"), ("deadline_blocking", "dozes")]
)
def test_a_deadline_fails_the_try_and_the_next_one_asks_about_the_same_job(
    runs: Runs, simulator: SimulatorClient, task_id: str, words: str
) -> None:
    task = runs.task(DAG, task_id)
    assert task.ends("failed")["try_number"] == 2
    [entry] = jobs_for(simulator, f"pangolin that {words}")
    for number in (1, 2):
        log = task.log(number)
        assert "DeadlineExceeded: The job was still running" in log
        assert f"Job: apixo job {entry.task_id}." in log
        assert "The job stays attached" in log
    assert f"An earlier try has submitted the job {entry.task_id}" in task.log(2)
    assert len(orders(simulator, f"pangolin that {words}")) == 1
    assert task.record()["phase"] == "submitted"


def test_a_vendors_own_failure_is_submitted_afresh_by_the_next_try(
    runs: Runs, simulator: SimulatorClient, crashed: str
) -> None:
    task = runs.task(DAG, "crash")
    task.wait("running", try_number=2)
    while (job := task.wait_for_job()) == crashed:
        pass
    simulator.end_job(job)
    assert task.ends("success")["try_number"] == 2
    assert "INTERNAL GPU node lost making '***'" in task.log(1)
    assert f"Job: apixo job {crashed}." in task.log(1)
    assert "A retry submits a new job, which may cost again" in task.log(1)
    assert re.search(rf"earlier try .*the job {crashed} end without a video; a new one may cost", task.log(2))
    assert (bill(simulator, crashed).state, bill(simulator, job).state) == ("refunded", "settled")
    assert task.xcom()["task_id"] == job
