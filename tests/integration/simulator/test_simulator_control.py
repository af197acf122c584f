# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Whatever is posted to the control API, it says what is wrong or works, and the vendors go on answering."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator_calls import (
    AUTH,
    CREATE_PATHS,
    STATUS_PATHS,
    VENDORS,
    create,
    created,
    finished_link,
    order,
    status,
)

from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.simulator.faults import FAULT_KINDS, ROUTES

BROKEN = "Server got itself in trouble"


@pytest.fixture(scope="module")
def world() -> Iterator[Simulator]:
    """A simulator of this file's own, since no reset turns its clock back."""
    with Simulator(render=False, speed=0) as running:
        yield running


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """See that no handler has raised."""
    caplog.set_level(logging.ERROR, "aiohttp.server")
    yield
    assert [record.getMessage() for record in caplog.records] == []


def post(sim: Simulator, path: str, body: Any) -> requests.Response:
    headers = {"Content-Type": "application/json"}
    return requests.post(f"{sim.url}/__sim/{path}", data=json.dumps(body), headers=headers, timeout=5)


def rule(**fault: Any) -> dict[str, Any]:
    return {"fault": {"kind": "status", **fault}}


REFUSED: list[tuple[str, Any, tuple[str, ...]]] = [
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


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("path", "body", "words"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_wrong_order_to_the_simulator_is_refused_with_what_is_allowed(
    world: Simulator, path: str, body: Any, words: tuple[str, ...]
) -> None:
    world.reset()
    task_id = created(world, "apimart")
    before = (world.options(), world.now(), requests.get(f"{world.url}/__sim/faults", timeout=5).json())
    reply = post(world, path.format(task_id=task_id), body)
    assert reply.status_code == 400, reply.text
    for word in words:
        assert word in reply.json()["error"]
    assert (
        world.options(),
        world.now(),
        requests.get(f"{world.url}/__sim/faults", timeout=5).json(),
    ) == before
    for vendor in VENDORS:
        assert status(world, vendor, created(world, vendor)).status_code == 200


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("raw", ["{", "null", "7", "[" * 100_000, '{"advance": ' + "9" * 5000 + "}", "\xff"])
@pytest.mark.parametrize("path", ["faults", "options", "clock", "reset"])
def test_a_body_that_cannot_be_read_is_refused(world: Simulator, path: str, raw: str) -> None:
    headers = {"Content-Type": "application/json"}
    reply = requests.post(f"{world.url}/__sim/{path}", data=raw.encode("latin-1"), headers=headers, timeout=5)
    assert reply.status_code == 400


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "words",
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
def test_no_words_in_a_prompt_break_a_vendor(world: Simulator, vendor: str, words: str) -> None:
    world.reset()
    task_id = created(world, vendor, order(vendor, f"a cat {words}"))
    for step in (0, 15, 5):
        world.advance(step)
        assert status(world, vendor, task_id).status_code == 200
    assert world.jobs()[0].polls == 3


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_request_nested_too_deep_is_refused(world: Simulator, vendor: str) -> None:
    world.reset()
    url = world.base_url(vendor) + CREATE_PATHS[vendor]
    reply = requests.post(url, data="[" * 100_000, headers=AUTH, timeout=5)
    assert reply.status_code == 400
    assert BROKEN not in reply.text


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("asked", [f"bytes=0-{'9' * 5000}", "bytes=٣-", f"bytes=-{'9' * 5000}", "bytes=9-1"])
def test_no_range_breaks_a_download(world: Simulator, asked: str) -> None:
    world.reset()
    url = finished_link(world, "apixo")
    reply = requests.get(url, headers={"Range": asked.encode()}, timeout=5)
    assert reply.status_code in (200, 206, 416)


@pytest.mark.usefixtures("quiet")
def test_no_hop_breaks_a_chain_of_redirects(world: Simulator) -> None:
    world.reset()
    url = finished_link(world, "apixo")
    world.fault("redirect", route="download", times=2)
    assert requests.get(f"{url}&hop=seven", timeout=5).status_code == 200


@pytest.mark.usefixtures("quiet")
def test_an_upload_of_many_parts_in_one_is_refused(world: Simulator) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n'
        b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\na\r\n--y--\r\n\r\n--x--\r\n"
    )
    headers = {**AUTH, "Content-Type": "multipart/form-data; boundary=x"}
    url = world.base_url("apimart") + "/v1/uploads/images"
    assert requests.post(url, data=body, headers=headers, timeout=5).status_code == 400


@pytest.mark.usefixtures("quiet")
def test_time_ends_before_dates_do(world: Simulator) -> None:
    with Simulator(render=False, speed=0) as far:
        for _ in range(300):
            far.advance(1e9)
        far.options(requests_per_minute={"apimart": 1}, retry_after="date")
        assert [create(far, "apimart").status_code for _ in range(2)] == [200, 429]
        far.set_speed(1e9)
        for vendor in ("apimodels", "apixo", "apixgo"):
            assert status(far, vendor, created(far, vendor)).status_code == 200


WORDS = st.sampled_from(
    ["", "a", "\ud800", "\r\n", "text/html", "apixo", "reset", "status", "before", "é", "[sim:stuck]"]
)
NUMBERS = (
    st.integers(-3, 700)
    | st.floats(0, 2)
    | st.sampled_from([0.01, 1e300, float("nan"), float("inf"), 10**30])
)
ANY = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
# A fault that hangs or drips would do what it is told, and this test would wait for it.
QUICK = st.sampled_from(
    [kind for kind in FAULT_KINDS if kind not in ("hang", "slow_headers", "slow_body", "byte_by_byte")]
)
FAULTS = st.fixed_dictionaries(
    {"kind": QUICK},
    optional={
        "when": st.sampled_from(["before", "after"]) | ANY,
        "seconds": st.just(0.01) | ANY,
        "body_fraction": st.floats(0, 1) | ANY,
        "status": st.integers(200, 599) | ANY,
        "body": ANY,
        "content_type": st.sampled_from(["text/html", "video/mp4; a=b"]) | ANY,
        "headers": st.dictionaries(st.sampled_from(["Retry-After", "X-A", "Date", "Location"]) | WORDS, WORDS)
        | ANY,
        "location": st.sampled_from(["/x", "https://a.example/é"]) | ANY,
    },
)
RULES = st.fixed_dictionaries(
    {"fault": FAULTS},
    optional={
        "vendor": st.sampled_from(VENDORS) | ANY,
        "route": st.sampled_from(ROUTES) | ANY,
        "task_id": ANY,
        "nth": st.integers(1, 3) | ANY,
        "times": st.integers(1, 3) | ANY,
    },
)


def settings_of(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    values = ANY | st.dictionaries(st.sampled_from(VENDORS), ANY, max_size=3) | st.lists(WORDS, max_size=2)
    return st.dictionaries(st.sampled_from(names), values, max_size=4)


OPTION_NAMES = [
    "job_seconds",
    "api_keys",
    "apimart_create_format",
    "apimart_error_format",
    "apimart_cost",
    "apixgo_create_format",
]
OPTION_NAMES += [
    "apimodels_result_field",
    "apixo_errors_with_http_200",
    "requests_per_minute",
    "concurrent_jobs",
]
OPTION_NAMES += [
    "retry_after",
    "link_seconds",
    "expired_link_response",
    "renew_expired_links",
    "callbacks",
    "callback_delay",
]
OPTION_NAMES += ["videos_per_job", "thumbnails", "container", "apimodels_failed_result"]
SCRIPT_NAMES = ["job_seconds", "outcome", "fail_code", "fail_message", "stuck", "custom_state", "progress"]
SCRIPT_NAMES += ["polls_without_url", "polls_without_data", "link_delay", "error_in_url"]
SCRIPT_NAMES += ["videos", "thumbnail", "container", "image_size"]


@pytest.mark.usefixtures("quiet")
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rules=st.lists(RULES | ANY, max_size=2),
    options=settings_of(OPTION_NAMES),
    script=settings_of(SCRIPT_NAMES),
    clock=st.dictionaries(st.sampled_from(["advance", "speed"]), ANY, max_size=2),
)
def test_whatever_is_posted_it_is_refused_or_works(
    world: Simulator, rules: list[Any], options: Any, script: Any, clock: Any
) -> None:
    world.reset()
    world.set_speed(0)
    jobs = {vendor: created(world, vendor) for vendor in VENDORS}
    posted = [post(world, "options", options), post(world, "clock", clock)]
    posted += [post(world, "faults", rule) for rule in rules]
    posted += [post(world, f"jobs/{task_id}", script) for task_id in jobs.values()]
    assert {reply.status_code for reply in posted} <= {200, 400}, [reply.text for reply in posted]
    world.set_speed(0)
    for path in ("options", "faults", "jobs", "ledger", "callbacks", "clock"):
        json.loads(requests.get(f"{world.url}/__sim/{path}", timeout=5).text, parse_constant=pytest.fail)
    for vendor, task_id in jobs.items():
        with contextlib.suppress(requests.RequestException):  # as the faults want it
            assert BROKEN not in create(world, vendor, allow_redirects=False).text
        with contextlib.suppress(requests.RequestException):
            assert BROKEN not in status(world, vendor, task_id, allow_redirects=False).text
    world.clear_faults()
    post(
        world,
        "options",
        {"api_keys": None, "concurrent_jobs": {"apixo": None}, "requests_per_minute": {"apixo": None}},
    )
    for vendor, task_id in jobs.items():
        told = requests.get(
            world.base_url(vendor) + STATUS_PATHS[vendor].format(task_id), headers=AUTH, timeout=5
        )
        assert told.status_code in (200, 429)
        assert BROKEN not in told.text
