# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Who may use the control API: no web page that happens to be open in a browser on the same machine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from simulator_calls import TIMEOUT, VENDORS, create, created

from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.simulator.control_access import exposure_warning

WAYS = [
    ("GET", "/ledger", None),
    ("GET", "/requests", None),
    ("GET", "/jobs", None),
    ("GET", "/callbacks", None),
    ("GET", "/faults", None),
    ("GET", "/options", None),
    ("GET", "/clock", None),
    ("POST", "/jobs/{task_id}", {"stuck": True}),
    ("POST", "/faults", {"fault": {"kind": "reset"}}),
    ("DELETE", "/faults", None),
    ("POST", "/options", {"renew_expired_links": False}),
    ("POST", "/clock", {"advance": 100}),
    ("POST", "/reset", None),
]


def ask(sim: Simulator, way: tuple[str, str, Any], headers: dict[str, str]) -> requests.Response:
    """Use a control route of a simulator that has one job, and see that a refusal changed nothing."""
    task_id = created(sim, "apimart")
    method, path, body = way
    path = path.format(task_id=task_id)
    before = (sim.now(), sim.options())
    url = f"{sim.url}/__sim{path}"
    reply = requests.request(method, url, json=body, headers=headers, timeout=TIMEOUT)
    if reply.status_code >= 400:
        assert (sim.now(), sim.options()) == before
        assert [job.task_id for job in sim.jobs()] == [task_id]
        assert sim.jobs()[0].finishes_at is not None
        assert created(sim, "apimart")
    return reply


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]} {way[1]}")
@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"]
)
def test_a_page_of_another_origin_is_refused(sim: Simulator, way: Any, origin: str) -> None:
    reply = ask(sim, way, {"Origin": origin})
    assert reply.status_code == 403
    assert origin in reply.json()["error"]
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]} {way[1]}")
@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:{port}", "localhost.attacker.example", "[", ""]
)
def test_a_name_that_an_attacker_has_pointed_here_is_refused(sim: Simulator, way: Any, host: str) -> None:
    host = host.format(port=urlsplit(sim.url).port)
    reply = ask(sim, way, {"Host": host, "Origin": f"http://{host}"})
    assert reply.status_code in (400, 403)
    sim.reset()
    reply = ask(sim, way, {"Host": host})
    assert reply.status_code in (400, 403)
    if reply.status_code == 403:
        assert "--public-url" in reply.json()["error"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way[0]} {way[1]}")
@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "127.0.0.1"]
)
def test_a_tool_and_a_page_of_its_own_may(sim: Simulator, way: Any, host: str) -> None:
    host = host.format(port=urlsplit(sim.url).port)
    assert ask(sim, way, {"Host": host}).status_code == 200
    sim.reset()
    assert ask(sim, way, {"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_the_public_url_is_a_name_of_its_own() -> None:
    with Simulator(render=False, public_url="https://sim.example/vidgen/") as sim:
        for headers in ({"Host": "sim.example"}, {"Host": "sim.example", "Origin": "https://sim.example"}):
            assert (
                requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 200
            )
        headers = {"Host": "sim.example", "Origin": "https://other.example"}
        assert requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 403


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        None,
    ],
)
@pytest.mark.parametrize("path", ["options", "faults", "clock", "reset"])
def test_a_body_that_a_form_could_send_is_refused(sim: Simulator, path: str, kind: str | None) -> None:
    before = sim.options()
    reply = requests.post(
        f"{sim.url}/__sim/{path}",
        data=b'{"renew_expired_links": false, "advance": 5}',
        headers={"Content-Type": kind} if kind else {},
        timeout=TIMEOUT,
    )
    assert reply.status_code == 415
    assert "application/json" in reply.json()["error"]
    assert sim.options() == before


def test_json_may_name_its_characters(sim: Simulator) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    reply = requests.post(f"{sim.url}/__sim/clock", data=b'{"advance": 5}', headers=headers, timeout=TIMEOUT)
    assert reply.status_code == 200


def test_a_form_without_a_body_is_refused(sim: Simulator) -> None:
    created(sim, "apimart")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 415
    assert len(sim.jobs()) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_themselves_answer_under_any_name(sim: Simulator, vendor: str) -> None:
    headers = {"Authorization": "Bearer sim-key", "Host": "api.example", "Origin": "https://shop.example"}
    assert create(sim, vendor, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "10.0.0.1"])
def test_an_address_that_others_reach_is_warned_of(host: str) -> None:
    said = exposure_warning(host)
    for exposed in (host, "without a password", "prompts", "reset", "--host 127.0.0.1"):
        assert exposed in said


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_is_not(host: str) -> None:
    assert exposure_warning(host) == ""


def test_a_name_is_looked_up_and_one_without_an_address_is_warned_of() -> None:
    assert "no-such-host.invalid" in exposure_warning("no-such-host.invalid")


def test_the_warning_is_printed_at_the_start() -> None:
    command = [sys.executable, "-m", "airflow_provider_vidgen.simulator", "--no-render", "--host", "0.0.0.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("simulator listening on http://0.0.0.0:")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    assert err == f"warning: {exposure_warning('0.0.0.0')}\n"


def test_an_ipv6_address_stands_in_brackets() -> None:
    with contextlib.suppress(RuntimeError), Simulator(render=False, host="::1") as sim:
        assert sim.url.startswith("http://[::1]:")
        assert sim.options()
