# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""The ledger, the request log, and APIMart's replays."""

from __future__ import annotations

import pytest
import requests
from simulator_calls import AUTH, CREATE_PATHS, TIMEOUT, create, created, link, order, status, word

from airflow_provider_vidgen.simulator import Simulator, request_hash


def bills(sim: Simulator) -> list[str]:
    return [entry.state for entry in sim.ledger().entries]


def test_a_job_is_reserved_at_acceptance_and_settled_at_success(sim: Simulator) -> None:
    created(sim, "apimodels")
    entry = sim.ledger().entries[0]
    assert (entry.vendor, entry.state, entry.amount, entry.currency) == ("apimodels", "reserved", 0.08, "USD")
    # Nobody asks for the status: a vendor bills all the same.
    sim.advance(20)
    settled = sim.ledger().entries[0]
    assert (settled.state, settled.updated_at) == ("settled", entry.updated_at + 20)


def test_a_failed_or_cancelled_job_is_refunded_and_a_stuck_one_stays_reserved(sim: Simulator) -> None:
    for words in ("[sim:fail=X]", "[sim:cancel]", "[sim:stuck]"):
        created(sim, "apimart", order("apimart", words))
    sim.advance(10_000)
    assert bills(sim) == ["refunded", "refunded", "reserved"]


def test_the_ledger_counts_acceptances_of_the_same_request(sim: Simulator) -> None:
    body = b'{"model": "grok-image-video", "prompt": "a cat"}'
    for _ in range(2):
        requests.post(
            sim.base_url("apixgo") + CREATE_PATHS["apixgo"], data=body, headers=AUTH, timeout=TIMEOUT
        )
    hashed = request_hash("/apixgo" + CREATE_PATHS["apixgo"], body)
    assert sim.ledger().accepted_by_hash == {hashed: 2}


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_no_key_is_kept_anywhere(sim: Simulator, name: str) -> None:
    create(sim, "apixo", headers={name: "Bearer sim-very-secret"})
    for path in ("ledger", "requests", "jobs"):
        assert "very-secret" not in requests.get(f"{sim.url}/__sim/{path}", timeout=TIMEOUT).text
    assert len(sim.ledger().entries[0].key_fingerprint) == 12


def test_the_log_shows_what_arrived_and_what_was_answered(sim: Simulator) -> None:
    task_id = created(sim, "apixo")
    status(sim, "apixo", task_id, headers={})
    first, second = sim.requests()
    assert (first.seq, first.vendor, first.host, first.method) == (1, "apixo", "api", "POST")
    assert first.path == "/apixo/api/v1/generateTask/grok-video"
    assert (first.authorization, first.status) == ("good", 200)
    assert (second.authorization, second.status) == ("none", 401)
    assert second.query == {"taskId": task_id}


def test_a_request_to_a_path_that_no_vendor_has_is_logged_too(sim: Simulator) -> None:
    requests.get(sim.base_url("apimart") + "/v2/else", timeout=TIMEOUT)
    assert (sim.requests()[0].path, sim.requests()[0].status) == ("/apimart/v2/else", 404)


def test_apimart_replays_the_same_key_without_billing_again(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    first = create(sim, "apimart", headers=headers)
    again = create(sim, "apimart", headers=headers)
    assert again.json() == first.json()
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(sim.ledger().entries) == 1


def test_apimart_refuses_the_same_key_for_another_request(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    create(sim, "apimart", headers=headers)
    assert create(sim, "apimart", order("apimart", "a dog"), headers=headers).status_code == 409
    assert len(sim.ledger().entries) == 1


def test_apimart_keys_belong_to_one_api_key_and_have_a_form(sim: Simulator) -> None:
    create(sim, "apimart", headers={**AUTH, "Idempotency-Key": "one"})
    other = {"Authorization": "Bearer sim-other", "Idempotency-Key": "one"}
    assert "Idempotency-Replayed" not in create(sim, "apimart", headers=other).headers
    assert create(sim, "apimart", headers={**AUTH, "Idempotency-Key": "a b"}).status_code == 400


def test_a_refused_request_leaves_its_key_free(sim: Simulator) -> None:
    headers = {**AUTH, "Idempotency-Key": "one"}
    assert create(sim, "apimart", {}, headers=headers).status_code == 400
    assert create(sim, "apimart", headers=headers).status_code == 200


def test_other_vendors_bill_the_same_key_twice(sim: Simulator) -> None:
    for _ in range(2):
        create(sim, "apixgo", headers={**AUTH, "Idempotency-Key": "one"})
    assert len(sim.ledger().entries) == 2


def test_reset_forgets_everything_but_the_time(sim: Simulator) -> None:
    task_id = created(sim, "apimart")
    sim.options(apimart_create_format="list")
    sim.fault("reset", route="create", times=None)
    before = sim.now()
    sim.reset()
    assert (sim.jobs(), sim.ledger().entries, sim.requests()) == ([], [], [])
    assert status(sim, "apimart", task_id).status_code == 404
    assert isinstance(create(sim, "apimart").json()["data"], dict)
    assert sim.now() == before


def test_the_course_of_a_job_can_be_changed_while_it_runs(sim: Simulator) -> None:
    task_id = created(sim, "apixo")
    sim.advance(10)
    view = sim.script_job(task_id, outcome="failed", fail_code="NSFW_DETECTED", job_seconds=10)
    assert view.state == "failed"
    assert word(sim, "apixo", task_id) == "failed"
    assert bills(sim) == ["refunded"]


def test_a_job_can_be_ended_at_once(sim: Simulator) -> None:
    task_id = created(sim, "apimart", order("apimart", "[sim:stuck]"))
    sim.advance(7.3)
    assert sim.end_job(task_id, "failed", fail_message="No capacity").state == "failed"
    assert status(sim, "apimart", task_id).json()["data"]["error"]["message"] == "No capacity"
    assert bills(sim) == ["refunded"]


def test_an_ended_job_keeps_its_bill(sim: Simulator) -> None:
    task_id = created(sim, "apimart")
    sim.advance(20)
    with pytest.raises(ValueError, match="has ended"):
        sim.end_job(task_id, "failed")
    assert bills(sim) == ["settled"]


def test_a_stuck_job_can_be_freed(sim: Simulator) -> None:
    task_id = created(sim, "apixo", order("apixo", "[sim:stuck]"))
    sim.advance(100)
    assert word(sim, "apixo", task_id) == "processing"
    sim.script_job(task_id, stuck=False)
    assert link(sim, "apixo", task_id)
    assert bills(sim) == ["settled"]
