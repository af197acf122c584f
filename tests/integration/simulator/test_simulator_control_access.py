# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.
"""Access to the control API: web pages of other origins on the same machine are rejected."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from simulator_calls import TIMEOUT, VENDORS, create_job, post_create

from airflow_provider_vidgen.simulator import Simulator
from airflow_provider_vidgen.simulator.control_access import exposure_warning

CONTROL_REQUESTS = [
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


def send(sim: Simulator, control_request: tuple[str, str, Any], headers: dict[str, str]) -> requests.Response:
    """Send a control request to a simulator with one job, and check that a rejected one changed nothing."""
    task_id = create_job(sim, "apimart")
    method, path, body = control_request
    path = path.format(task_id=task_id)
    before = (sim.now(), sim.options())
    url = f"{sim.url}/__sim{path}"
    response = requests.request(method, url, json=body, headers=headers, timeout=TIMEOUT)
    if response.status_code >= 400:
        assert (sim.now(), sim.options()) == before
        assert [job.task_id for job in sim.jobs()] == [task_id]
        assert sim.jobs()[0].finishes_at is not None
        assert create_job(sim, "apimart")
    return response


@pytest.mark.parametrize("control_request", CONTROL_REQUESTS, ids=lambda value: f"{value[0]} {value[1]}")
@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "http://127.0.0.1:1", "http://127.0.0.1"]
)
def test_a_page_of_another_origin_is_rejected(sim: Simulator, control_request: Any, origin: str) -> None:
    response = send(sim, control_request, {"Origin": origin})
    assert response.status_code == 403
    assert origin in response.json()["error"]
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("control_request", CONTROL_REQUESTS, ids=lambda value: f"{value[0]} {value[1]}")
@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:{port}", "localhost.attacker.example", "[", ""]
)
def test_dns_rebinding_is_rejected(sim: Simulator, control_request: Any, host: str) -> None:
    host = host.format(port=urlsplit(sim.url).port)
    response = send(sim, control_request, {"Host": host, "Origin": f"http://{host}"})
    assert response.status_code in (400, 403)
    sim.reset()
    response = send(sim, control_request, {"Host": host})
    assert response.status_code in (400, 403)
    if response.status_code == 403:
        assert "--public-url" in response.json()["error"]


@pytest.mark.parametrize("control_request", CONTROL_REQUESTS, ids=lambda value: f"{value[0]} {value[1]}")
@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}", "127.0.0.1"]
)
def test_tools_and_pages_of_the_same_origin_are_accepted(
    sim: Simulator, control_request: Any, host: str
) -> None:
    host = host.format(port=urlsplit(sim.url).port)
    assert send(sim, control_request, {"Host": host}).status_code == 200
    sim.reset()
    assert send(sim, control_request, {"Host": host, "Origin": f"http://{host}"}).status_code == 200


def test_the_host_of_the_public_url_is_accepted() -> None:
    with Simulator(render=False, public_url="https://sim.example/vidgen/") as sim:
        for headers in ({"Host": "sim.example"}, {"Host": "sim.example", "Origin": "https://sim.example"}):
            assert (
                requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 200
            )
        headers = {"Host": "sim.example", "Origin": "https://other.example"}
        assert requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 403


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        None,
    ],
)
@pytest.mark.parametrize("path", ["options", "faults", "clock", "reset"])
def test_a_body_with_a_content_type_of_html_forms_is_rejected(
    sim: Simulator, path: str, content_type: str | None
) -> None:
    before = sim.options()
    response = requests.post(
        f"{sim.url}/__sim/{path}",
        data=b'{"renew_expired_links": false, "advance": 5}',
        headers={"Content-Type": content_type} if content_type else {},
        timeout=TIMEOUT,
    )
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]
    assert sim.options() == before


def test_a_json_content_type_with_a_charset_is_accepted(sim: Simulator) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = requests.post(
        f"{sim.url}/__sim/clock", data=b'{"advance": 5}', headers=headers, timeout=TIMEOUT
    )
    assert response.status_code == 200


def test_a_form_without_a_body_is_rejected(sim: Simulator) -> None:
    create_job(sim, "apimart")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert requests.post(f"{sim.url}/__sim/reset", headers=headers, timeout=TIMEOUT).status_code == 415
    assert len(sim.jobs()) == 1


@pytest.mark.parametrize("vendor", VENDORS)
def test_the_vendors_accept_any_host_and_origin(sim: Simulator, vendor: str) -> None:
    headers = {"Authorization": "Bearer sim-key", "Host": "api.example", "Origin": "https://shop.example"}
    assert post_create(sim, vendor, headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "10.0.0.1"])
def test_an_address_reachable_from_other_machines_gets_a_warning(host: str) -> None:
    warning = exposure_warning(host)
    for text in (host, "without a password", "prompts", "reset", "--host 127.0.0.1"):
        assert text in warning


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_gets_no_warning(host: str) -> None:
    assert exposure_warning(host) == ""


def test_a_name_that_cannot_be_resolved_gets_a_warning() -> None:
    assert "no-such-host.invalid" in exposure_warning("no-such-host.invalid")


def test_the_warning_is_printed_at_startup() -> None:
    command = [sys.executable, "-m", "airflow_provider_vidgen.simulator", "--no-render", "--host", "0.0.0.0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("simulator listening on http://0.0.0.0:")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    assert err == f"warning: {exposure_warning('0.0.0.0')}\n"


def test_an_ipv6_address_is_in_brackets_in_the_url() -> None:
    with contextlib.suppress(RuntimeError), Simulator(render=False, host="::1") as sim:
        assert sim.url.startswith("http://[::1]:")
        assert sim.options()
