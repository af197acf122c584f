# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Directives in a prompt that change the behaviour of its job."""

from __future__ import annotations

from typing import Any

import pytest
from simulator_calls import VENDORS, create_job, get_status, request_body, status_data, vendor_state

from airflow_provider_vidgen.simulator import Simulator

SUCCEEDED = {"apimodels": "completed", "apixo": "success", "apixgo": "SUCCESS", "apimart": "completed"}
FAILED = {"apimodels": "failed", "apixo": "failed", "apixgo": "FAILURE", "apimart": "failed"}


def create_scripted_job(sim: Simulator, vendor: str, directives: str) -> str:
    return create_job(sim, vendor, request_body(vendor, f"a cat {directives}"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_fast_job_is_complete_at_the_first_poll(sim: Simulator, vendor: str) -> None:
    assert vendor_state(sim, vendor, create_scripted_job(sim, vendor, "[sim:fast]")) == SUCCEEDED[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_slow_job_takes_the_given_time(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:slow=60]")
    sim.advance(59)
    assert vendor_state(sim, vendor, task_id) != SUCCEEDED[vendor]
    sim.advance(1)
    assert vendor_state(sim, vendor, task_id) == SUCCEEDED[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stuck_job_never_ends(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:stuck]")
    sim.advance(10**9)
    assert vendor_state(sim, vendor, task_id) in ("processing", "IN_PROGRESS")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_can_fail(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:fail=CONTENT_VIOLATION]")
    sim.advance(20)
    assert vendor_state(sim, vendor, task_id) == FAILED[vendor]
    assert "safety guidelines" in get_status(sim, vendor, task_id).text


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_can_have_an_undocumented_state(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:state=processing_r2]")
    sim.advance(10)
    assert vendor_state(sim, vendor, task_id) == "processing_r2"
    sim.advance(10)
    assert vendor_state(sim, vendor, task_id) == SUCCEEDED[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_can_succeed_without_a_link_for_some_polls(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:no_url=2]")
    sim.advance(20)
    responses = [get_status(sim, vendor, task_id) for _ in range(3)]
    assert ["/cdn/" in response.text for response in responses] == [False, False, True]
    assert all(SUCCEEDED[vendor] in response.text for response in responses)


@pytest.mark.parametrize("vendor", VENDORS)
def test_data_can_be_null_for_some_polls(sim: Simulator, vendor: str) -> None:
    task_id = create_scripted_job(sim, vendor, "[sim:null_data=2]")
    polls: list[Any] = [status_data(sim, vendor, task_id) for _ in range(3)]
    assert polls[:2] == [None, None]
    assert polls[2] is not None


def test_progress_can_decrease(sim: Simulator) -> None:
    task_id = create_scripted_job(sim, "apimart", "[sim:progress=decreasing]")
    sim.advance(10)
    assert [status_data(sim, "apimart", task_id)["progress"] for _ in range(3)] == [50, 20, 50]


@pytest.mark.parametrize("vendor", ["apixgo", "apimart"])
def test_progress_can_be_null_empty_or_absent(sim: Simulator, vendor: str) -> None:
    values = [
        status_data(sim, vendor, create_scripted_job(sim, vendor, f"[sim:progress={style}]")).get(
            "progress", "absent"
        )
        for style in ("null", "empty", "absent")
    ]
    assert values == [None, "", "absent"]


def test_a_failed_apixgo_job_can_have_its_error_message_in_the_link_field(sim: Simulator) -> None:
    task_id = create_scripted_job(sim, "apixgo", "[sim:error_in_url]")
    sim.advance(20)
    payload = status_data(sim, "apixgo", task_id)
    assert (payload["status"], payload["result_url"]) == ("FAILURE", "Generation failed")


def test_an_apimart_job_can_be_cancelled(sim: Simulator) -> None:
    task_id = create_scripted_job(sim, "apimart", "[sim:cancel]")
    sim.advance(20)
    assert vendor_state(sim, "apimart", task_id) == "cancelled"


def test_unknown_directives_and_invalid_values_are_ignored(sim: Simulator) -> None:
    assert (
        vendor_state(sim, "apixo", create_scripted_job(sim, "apixo", "[sim:dance] [sim:slow=soon] 100%"))
        == "pending"
    )
