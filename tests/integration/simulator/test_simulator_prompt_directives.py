# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Jobs that take another course, chosen by words in the prompt."""

from __future__ import annotations

from typing import Any

import pytest
from simulator_calls import VENDORS, created, data, order, status, word

from airflow_provider_vidgen.simulator import Simulator

DONE = {"apimodels": "completed", "apixo": "success", "apixgo": "SUCCESS", "apimart": "completed"}
LOST = {"apimodels": "failed", "apixo": "failed", "apixgo": "FAILURE", "apimart": "failed"}


def started(sim: Simulator, vendor: str, words: str) -> str:
    return created(sim, vendor, order(vendor, f"a cat {words}"))


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_fast_job_is_done_at_the_first_look(sim: Simulator, vendor: str) -> None:
    assert word(sim, vendor, started(sim, vendor, "[sim:fast]")) == DONE[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_slow_job_takes_its_time(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:slow=60]")
    sim.advance(59)
    assert word(sim, vendor, task_id) != DONE[vendor]
    sim.advance(1)
    assert word(sim, vendor, task_id) == DONE[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stuck_job_never_ends(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:stuck]")
    sim.advance(10**9)
    assert word(sim, vendor, task_id) in ("processing", "IN_PROGRESS")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_can_fail(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:fail=CONTENT_VIOLATION]")
    sim.advance(20)
    assert word(sim, vendor, task_id) == LOST[vendor]
    assert "safety guidelines" in status(sim, vendor, task_id).text


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_job_can_say_a_word_of_its_own(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:state=processing_r2]")
    sim.advance(10)
    assert word(sim, vendor, task_id) == "processing_r2"
    sim.advance(10)
    assert word(sim, vendor, task_id) == DONE[vendor]


@pytest.mark.parametrize("vendor", VENDORS)
def test_success_can_come_without_a_link_for_a_while(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:no_url=2]")
    sim.advance(20)
    replies = [status(sim, vendor, task_id) for _ in range(3)]
    assert ["/cdn/" in reply.text for reply in replies] == [False, False, True]
    assert all(DONE[vendor] in reply.text for reply in replies)


@pytest.mark.parametrize("vendor", VENDORS)
def test_data_can_be_null_for_a_while(sim: Simulator, vendor: str) -> None:
    task_id = started(sim, vendor, "[sim:null_data=2]")
    seen: list[Any] = [data(sim, vendor, task_id) for _ in range(3)]
    assert seen[:2] == [None, None]
    assert seen[2] is not None


def test_progress_can_fall_back(sim: Simulator) -> None:
    task_id = started(sim, "apimart", "[sim:progress=decreasing]")
    sim.advance(10)
    assert [data(sim, "apimart", task_id)["progress"] for _ in range(3)] == [50, 20, 50]


@pytest.mark.parametrize("vendor", ["apixgo", "apimart"])
def test_progress_can_be_null_empty_or_absent(sim: Simulator, vendor: str) -> None:
    shown = [
        data(sim, vendor, started(sim, vendor, f"[sim:progress={style}]")).get("progress", "none at all")
        for style in ("null", "empty", "absent")
    ]
    assert shown == [None, "", "none at all"]


def test_a_failed_apixgo_job_can_put_its_words_where_the_link_would_be(sim: Simulator) -> None:
    task_id = started(sim, "apixgo", "[sim:error_in_url]")
    sim.advance(20)
    told = data(sim, "apixgo", task_id)
    assert (told["status"], told["result_url"]) == ("FAILURE", "Generation failed")


def test_an_apimart_job_can_be_cancelled(sim: Simulator) -> None:
    task_id = started(sim, "apimart", "[sim:cancel]")
    sim.advance(20)
    assert word(sim, "apimart", task_id) == "cancelled"


def test_words_that_are_no_directive_are_left_alone(sim: Simulator) -> None:
    assert word(sim, "apixo", started(sim, "apixo", "[sim:dance] [sim:slow=soon] 100%")) == "pending"
