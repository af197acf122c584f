# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Validation in the control API: any input is either rejected or works, and the vendors keep responding."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator_calls import (
    AUTH_HEADER,
    CREATE_PATHS,
    STATUS_PATHS,
    VENDORS,
    create_job,
    finished_job_link,
    get_status,
    post_create,
    request_body,
)

from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.simulator.faults import FAULT_KINDS, ROUTES
from airflow_provider_vidgen.simulator.job_script import JobScript
from airflow_provider_vidgen.simulator.options import Options

SERVER_ERROR = "Server got itself in trouble"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    """A simulator for this module alone, because a reset does not turn the clock back."""
    with Simulator(render=False, speed=0) as simulator:
        yield simulator


@pytest.fixture
def no_handler_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Check that no handler has raised."""
    caplog.set_level(logging.ERROR, "aiohttp.server")
    yield
    assert [record.getMessage() for record in caplog.records] == []


def post(sim: Simulator, path: str, body: Any) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{sim.url}/__sim/{path}", data=json.dumps(body), headers=headers, timeout=5)


def rule(**fault: Any) -> dict[str, Any]:
    return {"fault": {"kind": "status", **fault}}


INVALID: list[tuple[str, Any, tuple[str, ...]]] = [
    ("faults", rule(status=99), ("fault.status=99", "200")),
    ("faults", rule(body=json.loads("[" * 300 + "]" * 300)), ("recursion",)),
    ("faults", rule(body=[{"a": float("nan")}]), ("fault", "body", "finite")),
    ("faults", {"fault": {"kind": "busy", "status": 500}}, ("status=500", "429 or 503")),
    ("faults", rule(status=1000), ("fault.status=1000", "599")),
    ("faults", rule(status="abc"), ("fault.status='abc'", "integer")),
    ("faults", rule(status=True), ("fault.status=True", "integer")),
    ("faults", rule(status=503.5), ("fault.status=503.5",)),
    ("faults", {"fault": {"kind": "redirect", "status": 200}}, ("status=200", "300")),
    ("faults", rule(headers={"a b": "c"}), ("headers", "a b")),
    ("faults", rule(headers={"X-A": "a\r\nX-B: b"}), ("headers.X-A",)),
    ("faults", rule(headers={"Content-Length": "7"}), ("Content-Length",)),
    ("faults", rule(headers={"transfer-encoding": "chunked"}), ("transfer-encoding",)),
    ("faults", rule(headers=["X-A"]), ("fault.headers",)),
    ("faults", rule(content_type="text/html\r\nX-B: b"), ("content_type",)),
    ("faults", rule(content_type=""), ("content_type",)),
    ("faults", rule(body="\ud800"), ("UTF-8",)),
    ("faults", {"fault": {"kind": "redirect", "location": "/x\r\nX: y"}}, ("location",)),
    ("faults", {"fault": {"kind": "redirect", "location": ""}}, ("location",)),
    ("faults", {"fault": {"kind": "hang", "seconds": -1}}, ("seconds=-1", "0")),
    ("faults", {"fault": {"kind": "hang", "seconds": float("nan")}}, ("seconds", "finite")),
    ("faults", {"fault": {"kind": "hang", "seconds": float("inf")}}, ("seconds", "finite")),
    ("faults", {"fault": {"kind": "truncated", "body_fraction": 2}}, ("body_fraction=2", "1")),
    ("faults", {"fault": {"kind": "explode"}}, ("explode", "reset", "byte_by_byte")),
    ("faults", {"fault": {"kind": "reset", "loud": True}}, ("fault.loud", "is not one of", "body_fraction")),
    ("faults", {"fault": {"kind": "reset", "when": "while"}}, ("when", "before", "after")),
    ("faults", {"route": "submit", "fault": {"kind": "reset"}}, ("route", "p-video")),
    ("faults", {"vendor": "apixxo", "fault": {"kind": "reset"}}, ("vendor", "apixo")),
    ("faults", {"nth": 0, "fault": {"kind": "reset"}}, ("nth=0", "1")),
    ("faults", {"times": -1, "fault": {"kind": "reset"}}, ("times=-1",)),
    ("faults", {"seen": 7, "fault": {"kind": "reset"}}, ("seen",)),
    ("faults", {"task_id": 7, "fault": {"kind": "reset"}}, ("task_id=7", "string")),
    ("faults", {"fault": "reset"}, ("fault='reset'",)),
    ("faults", {}, ("fault", "required")),
    ("faults", [], ("object",)),
    ("faults", rule(status=99, body_fraction=-1), ("fault.status=99", "fault.body_fraction=-1")),
    ("options", {"colour": "red"}, ("colour", "is not one of", "job_seconds")),
    ("options", {"expired_link_response": 418}, ("expired_link_response", "404", "html200")),
    ("options", {"renew_expired_links": "yes"}, ("renew_expired_links='yes'", "boolean")),
    ("options", {"job_seconds": -1}, ("job_seconds=-1",)),
    ("options", {"job_seconds": float("inf")}, ("job_seconds",)),
    ("options", {"api_keys": "sim-a"}, ("api_keys",)),
    ("options", {"link_seconds": {"apixxo": 1}}, ("link_seconds", "apixo")),
    ("options", {"link_seconds": {"apixo": "1"}}, ("link_seconds.apixo='1'",)),
    ("options", {"link_seconds": {"apixo": None}}, ("link_seconds.apixo=None",)),
    ("options", {"link_seconds": 7}, ("link_seconds=7",)),
    ("options", {"requests_per_minute": {"apixo": -1}}, ("requests_per_minute.apixo=-1",)),
    ("options", {"concurrent_jobs": {"apixo": 1.5}}, ("concurrent_jobs.apixo=1.5",)),
    ("options", {"callback_delay": float("nan")}, ("callback_delay",)),
    (
        "options",
        {"callbacks": "never", "retry_after": "soon"},
        ("callbacks='never'", "retry_after='soon'", "date"),
    ),
    ("options", {"videos_per_job": 0}, ("videos_per_job=0", "1")),
    ("options", {"videos_per_job": 11}, ("videos_per_job=11", "10")),
    ("options", {"container": "avi"}, ("container='avi'", "webm")),
    ("options", {"thumbnails": 1}, ("thumbnails=1", "boolean")),
    ("clock", {"advance": -1}, ("advance=-1", "0")),
    ("clock", {"advance": "5"}, ("advance='5'",)),
    ("clock", {"advance": float("inf")}, ("advance",)),
    ("clock", {"advance": 1e300}, ("advance",)),
    ("clock", {"speed": -1}, ("speed=-1", "0")),
    ("clock", {"speed": float("nan")}, ("speed",)),
    ("clock", {"spead": 1}, ("spead", "is not one of")),
    ("clock", {"speed": 1, "advance": -1}, ("advance=-1",)),
    ("jobs/{task_id}", {"outcome": "lost"}, ("outcome='lost'", "cancelled")),
    ("jobs/{task_id}", {"progress": 50}, ("progress=50", "absent")),
    ("jobs/{task_id}", {"job_seconds": "soon"}, ("job_seconds='soon'",)),
    ("jobs/{task_id}", {"job_seconds": -5}, ("job_seconds=-5",)),
    ("jobs/{task_id}", {"job_seconds": float("inf")}, ("seconds",)),
    ("jobs/{task_id}", {"job_seconds": 1e300}, ("seconds",)),
    ("jobs/{task_id}", {"stuck": 1}, ("stuck=1",)),
    ("jobs/{task_id}", {"polls_without_url": 1.5}, ("polls_without_url=1.5",)),
    ("jobs/{task_id}", {"polls_without_data": "many"}, ("polls_without_data",)),
    ("jobs/{task_id}", {"link_delay": None}, ("link_delay=None",)),
    ("jobs/{task_id}", {"fail_message": {"a": 1}}, ("fail_message",)),
    ("jobs/{task_id}", {"image_size": "0x7"}, ("image_size='0x7'",)),
    ("jobs/{task_id}", {"container": 7}, ("container=7",)),
    ("jobs/{task_id}", {"dance": 1}, ("dance", "is not one of")),
]


@pytest.mark.usefixtures("no_handler_errors")
@pytest.mark.parametrize(("path", "body", "expected"), INVALID, ids=lambda value: str(value)[:60])
def test_invalid_input_is_rejected_with_the_allowed_values(
    sim: Simulator, path: str, body: Any, expected: tuple[str, ...]
) -> None:
    sim.reset()
    task_id = create_job(sim, "apimart")
    before = (sim.options(), sim.now(), requests.get(f"{sim.url}/__sim/faults", timeout=5).json())
    response = post(sim, path.format(task_id=task_id), body)
    assert response.status_code == 400, response.text
    for text in expected:
        assert text in response.json()["error"]
    assert (
        sim.options(),
        sim.now(),
        requests.get(f"{sim.url}/__sim/faults", timeout=5).json(),
    ) == before
    for vendor in VENDORS:
        assert get_status(sim, vendor, create_job(sim, vendor)).status_code == 200


@pytest.mark.usefixtures("no_handler_errors")
@pytest.mark.parametrize("raw", ["{", "null", "7", "[" * 100_000, '{"advance": ' + "9" * 5000 + "}", "\xff"])
@pytest.mark.parametrize("path", ["faults", "options", "clock", "reset"])
def test_an_unreadable_body_is_rejected(sim: Simulator, path: str, raw: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = requests.post(
        f"{sim.url}/__sim/{path}", data=raw.encode("latin-1"), headers=headers, timeout=5
    )
    assert response.status_code == 400


@pytest.mark.usefixtures("no_handler_errors")
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "directive",
    [
        "[sim:stuck][sim:fast]",
        "[sim:slow=inf]",
        "[sim:slow=nan]",
        "[sim:slow=-5]",
        "[sim:slow=1e300]",
        "[sim:no_url=inf]",
        "[sim:null_data=nan]",
        "[sim:link_delay=inf]",
        "[sim:link_delay=-1]",
        "[sim:fail=\ud800:\ud800]",
        "[sim:state=\ud800]",
        "[sim:progress=50]",
        "[sim:videos=99]",
        "[sim:videos=inf]",
        "[sim:container=avi]",
        "[sim:image_size=0x0]",
    ],
)
def test_no_prompt_directive_breaks_a_vendor(sim: Simulator, vendor: str, directive: str) -> None:
    sim.reset()
    task_id = create_job(sim, vendor, request_body(vendor, f"a cat {directive}"))
    for step in (0, 15, 5):
        sim.advance(step)
        assert get_status(sim, vendor, task_id).status_code == 200
    assert sim.jobs()[0].polls == 3


@pytest.mark.usefixtures("no_handler_errors")
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_too_deeply_nested_request_is_rejected(sim: Simulator, vendor: str) -> None:
    sim.reset()
    url = sim.base_url(vendor) + CREATE_PATHS[vendor]
    response = requests.post(url, data="[" * 100_000, headers=AUTH_HEADER, timeout=5)
    assert response.status_code == 400
    assert SERVER_ERROR not in response.text


@pytest.mark.usefixtures("no_handler_errors")
@pytest.mark.parametrize(
    "byte_range", [f"bytes=0-{'9' * 5000}", "bytes=٣-", f"bytes=-{'9' * 5000}", "bytes=9-1"]
)
def test_no_range_header_breaks_a_download(sim: Simulator, byte_range: str) -> None:
    sim.reset()
    url = finished_job_link(sim, "apixo")
    response = requests.get(url, headers={"Range": byte_range.encode()}, timeout=5)
    assert response.status_code in (200, 206, 416)


@pytest.mark.usefixtures("no_handler_errors")
def test_no_hop_parameter_breaks_a_chain_of_redirects(sim: Simulator) -> None:
    sim.reset()
    url = finished_job_link(sim, "apixo")
    sim.fault("redirect", route="download", times=2)
    assert requests.get(f"{url}&hop=seven", timeout=5).status_code == 200


@pytest.mark.usefixtures("no_handler_errors")
def test_an_upload_with_a_nested_multipart_is_rejected(sim: Simulator) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
        b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--\r\n\r\n--x--\r\n"
    )
    headers = {**AUTH_HEADER, "Content-Type": "multipart/form-data; boundary=x"}
    url = sim.base_url("apimart") + "/v1/uploads/images"
    assert requests.post(url, data=body, headers=headers, timeout=5).status_code == 400


@pytest.mark.usefixtures("no_handler_errors")
def test_the_clock_stops_before_the_last_valid_date() -> None:
    with Simulator(render=False, speed=0) as simulator:
        for _ in range(300):
            simulator.advance(1e9)
        simulator.options(requests_per_minute={"apimart": 1}, retry_after="date")
        assert [post_create(simulator, "apimart").status_code for _ in range(2)] == [200, 429]
        simulator.set_speed(1e9)
        for vendor in ("apimodels", "apixo", "apixgo"):
            assert get_status(simulator, vendor, create_job(simulator, vendor)).status_code == 200


TEXTS = st.sampled_from(
    ["", "a", "\ud800", "\r\n", "text/html", "apixo", "reset", "status", "before", "é", "[sim:stuck]"]
)
NUMBERS = (
    st.integers(-3, 700)
    | st.floats(0, 2)
    | st.sampled_from([0.01, 1e300, float("nan"), float("inf"), 10**30])
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
# Without the kinds that make a client wait.
FAST_KINDS = st.sampled_from(
    [kind for kind in FAULT_KINDS if kind not in ("hang", "slow_headers", "slow_body", "byte_by_byte")]
)
FAULTS = st.fixed_dictionaries(
    {"kind": FAST_KINDS},
    optional={
        "when": st.sampled_from(["before", "after"]) | ANYTHING,
        "seconds": st.just(0.01) | ANYTHING,
        "body_fraction": st.floats(0, 1) | ANYTHING,
        "status": st.integers(200, 599) | ANYTHING,
        "body": ANYTHING,
        "content_type": st.sampled_from(["text/html", "video/mp4; a=b"]) | ANYTHING,
        "headers": st.dictionaries(st.sampled_from(["Retry-After", "X-A", "Date", "Location"]) | TEXTS, TEXTS)
        | ANYTHING,
        "location": st.sampled_from(["/x", "https://a.example/é"]) | ANYTHING,
    },
)
RULES = st.fixed_dictionaries(
    {"fault": FAULTS},
    optional={
        "vendor": st.sampled_from(VENDORS) | ANYTHING,
        "route": st.sampled_from(ROUTES) | ANYTHING,
        "task_id": ANYTHING,
        "nth": st.integers(1, 3) | ANYTHING,
        "times": st.integers(1, 3) | ANYTHING,
    },
)


def values_of(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    values = (
        ANYTHING
        | st.dictionaries(st.sampled_from(VENDORS), ANYTHING, max_size=3)
        | st.lists(TEXTS, max_size=2)
    )
    return st.dictionaries(st.sampled_from(names), values, max_size=4)


OPTION_NAMES = [field.name for field in fields(Options)]
SCRIPT_NAMES = [field.name for field in fields(JobScript)]


@pytest.mark.usefixtures("no_handler_errors")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(RULES | ANYTHING, max_size=2),
    options=values_of(OPTION_NAMES),
    script=values_of(SCRIPT_NAMES),
    clock=st.dictionaries(st.sampled_from(["advance", "speed"]), ANYTHING, max_size=2),
)
def test_any_posted_input_is_rejected_or_works(
    sim: Simulator, rules: list[Any], options: Any, script: Any, clock: Any
) -> None:
    sim.reset()
    sim.set_speed(0)
    jobs = {vendor: create_job(sim, vendor) for vendor in VENDORS}
    posted = [post(sim, "options", options), post(sim, "clock", clock)]
    posted += [post(sim, "faults", rule) for rule in rules]
    posted += [post(sim, f"jobs/{task_id}", script) for task_id in jobs.values()]
    assert {response.status_code for response in posted} <= {200, 400}, [response.text for response in posted]
    sim.set_speed(0)
    for path in ("options", "faults", "jobs", "ledger", "callbacks", "clock"):
        json.loads(requests.get(f"{sim.url}/__sim/{path}", timeout=5).text, parse_constant=pytest.fail)
    for vendor, task_id in jobs.items():
        with contextlib.suppress(requests.RequestException):  # from the faults
            assert SERVER_ERROR not in post_create(sim, vendor, allow_redirects=False).text
        with contextlib.suppress(requests.RequestException):
            assert SERVER_ERROR not in get_status(sim, vendor, task_id, allow_redirects=False).text
    sim.clear_faults()
    post(
        sim,
        "options",
        {"api_keys": None, "concurrent_jobs": {"apixo": None}, "requests_per_minute": {"apixo": None}},
    )
    for vendor, task_id in jobs.items():
        response = requests.get(
            sim.base_url(vendor) + STATUS_PATHS[vendor].format(task_id), headers=AUTH_HEADER, timeout=5
        )
        assert response.status_code in (200, 429)
        assert SERVER_ERROR not in response.text
