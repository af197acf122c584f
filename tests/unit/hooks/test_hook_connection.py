# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Airflow's *Test* button: free of charge, and with a message for each kind of problem."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import requests
import requests_mock

from airflow_provider_vidgen.errors import InvalidConnection
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from tests.support.accounts import BASE, KEY, VENDORS, MakeHook

UNKNOWN_JOB = {
    "apimodels": {"status_code": 404, "json": {"code": 404, "msg": "Task not found"}},
    "apixo": {"status_code": 400, "json": {"code": 400, "message": "Task not found", "data": None}},
    "apixgo": {"json": {"object": "list", "data": [{"id": "grok-image-video"}]}},
    "apimart": {"status_code": 404, "json": {"code": 404, "message": "not found"}},
}


def press_test_button(
    make_hook: MakeHook, vendor: str, reply: dict[str, Any], **fields: Any
) -> tuple[bool, str]:
    with requests_mock.Mocker() as web:
        web.register_uri(requests_mock.ANY, requests_mock.ANY, **reply)
        result = make_hook(vendor, **fields).test_connection()
    # Only GET requests, which cost nothing, and only to the API's own host.
    assert {sent.method for sent in web.request_history} <= {"GET"}
    assert all(sent.url.startswith(BASE[vendor]) for sent in web.request_history)
    assert KEY not in result[1]
    return result


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_reply_about_a_nonexistent_job_proves_that_the_api_key_is_accepted(
    vendor: str, make_hook: MakeHook
) -> None:
    ok, message = press_test_button(make_hook, vendor, UNKNOWN_JOB[vendor])
    assert ok
    assert "accepts the API key" in message


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("reply", "next_step"),
    [
        ({"status_code": 401, "json": {"code": 401, "message": "bad"}}, "Correct the API key."),
        ({"status_code": 403, "json": {"error": {"message": "no"}}}, "Check the key's permissions."),
        ({"json": {"code": 401, "message": "bad", "data": None}}, "Correct the API key."),
    ],
)
def test_a_refused_api_key_is_reported(
    vendor: str, reply: dict[str, Any], next_step: str, make_hook: MakeHook
) -> None:
    ok, message = press_test_button(make_hook, vendor, reply)
    assert not ok
    assert "was reached" in message
    assert "refuses the API key" in message
    assert message.endswith(next_step)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("error", [requests.ConnectTimeout, requests.ReadTimeout, requests.ConnectionError])
def test_an_unreachable_host_is_not_reported_as_a_refused_api_key(
    vendor: str, error: type[Exception], make_hook: MakeHook
) -> None:
    ok, message = press_test_button(make_hook, vendor, {"exc": error})
    assert not ok
    assert "cannot be reached" in message
    assert message.endswith("Check the host, the network and the proxy.")
    assert "key" not in message


@pytest.mark.parametrize("status", [200, 404, 502])
def test_an_html_reply_is_reported_as_not_from_the_vendor(status: int, make_hook: MakeHook) -> None:
    ok, message = press_test_button(make_hook, "apixo", {"status_code": status, "text": "<html>hello</html>"})
    assert not ok
    assert "not in the format of Apixo" in message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_429_and_5xx_replies_are_not_reported_as_a_refused_api_key(status: int, make_hook: MakeHook) -> None:
    ok, message = press_test_button(make_hook, "apixo", {"status_code": status, "json": {"code": status}})
    assert not ok
    assert "cannot answer now" in message


def test_a_redirect_is_not_followed(make_hook: MakeHook) -> None:
    reply = {"status_code": 302, "headers": {"Location": "https://elsewhere.example/"}, "text": ""}
    ok, _ = press_test_button(make_hook, "apixo", reply)
    assert not ok


def test_all_problems_of_the_connection_are_reported(make_hook: MakeHook) -> None:
    ok, message = press_test_button(make_hook, "apixo", {}, password="", extra={"timeout": -1})
    assert not ok
    assert "password" in message
    assert "timeout" in message


@pytest.mark.parametrize(
    "json",
    [{"detail": "Not Found"}, {"message": "no Route matched with those values"}, {"error": "Not Found"}],
)
def test_a_json_reply_of_another_service_is_reported_as_not_from_the_vendor(
    json: dict[str, Any], make_hook: MakeHook
) -> None:
    for vendor in VENDORS:
        ok, message = press_test_button(make_hook, vendor, {"status_code": 404, "json": json})
        assert not ok
        assert "but not in the format of" in message


@pytest.mark.parametrize(
    "connection", ["http://user:pw@example.com", '{"conn_type": "http", "host": "example.com"}']
)
def test_a_connection_of_another_type_is_refused_on_worker_and_triggerer(
    connection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", connection)
    hook = VideoGenHook("http_default")
    for get_settings in (lambda: hook.settings, lambda: asyncio.run(hook._fetch_settings())):
        with pytest.raises(InvalidConnection) as caught:
            get_settings()
        assert [problem.field for problem in caught.value.problems] == ["conn_type"]
        assert "'http_default'" in str(caught.value)
        assert "'http': must be 'vidgen'" in str(caught.value)


def test_a_connection_without_a_type_or_as_a_uri_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"vendor": "apixo"}
    for connection in (
        json.dumps({"password": KEY, "extra": extra}),
        json.dumps({"conn_type": "", "password": KEY, "extra": extra}),
        f"vidgen://:{KEY}@/?vendor=apixo",
    ):
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", connection)
        assert VideoGenHook().settings.vendor.name == "apixo"
        assert asyncio.run(VideoGenHook()._fetch_settings()).vendor.name == "apixo"
