# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The *Test* button: free of charge, and it tells what is wrong apart."""

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


def pressed(make_hook: MakeHook, vendor: str, reply: dict[str, Any], **fields: Any) -> tuple[bool, str]:
    with requests_mock.Mocker() as web:
        web.register_uri(requests_mock.ANY, requests_mock.ANY, **reply)
        result = make_hook(vendor, **fields).test_connection()
    # Nothing that could cost: looks only, all of them at the API's own host.
    assert {sent.method for sent in web.request_history} <= {"GET"}
    assert all(sent.url.startswith(BASE[vendor]) for sent in web.request_history)
    assert KEY not in result[1]
    return result


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_good_key_is_told_by_an_answer_about_a_job_that_cannot_exist(
    vendor: str, make_hook: MakeHook
) -> None:
    good, words = pressed(make_hook, vendor, UNKNOWN_JOB[vendor])
    assert good
    assert "accepts the API key" in words


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    "reply",
    [
        {"status_code": 401, "json": {"code": 401, "message": "bad"}},
        {"status_code": 403, "json": {"error": {"message": "no"}}},
        {"status_code": 200, "json": {"code": 401, "message": "bad", "data": None}},
    ],
)
def test_a_bad_key_is_named(vendor: str, reply: dict[str, Any], make_hook: MakeHook) -> None:
    good, words = pressed(make_hook, vendor, reply)
    assert not good
    assert "was reached" in words
    assert "refuses the API key" in words


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("error", [requests.ConnectTimeout, requests.ReadTimeout, requests.ConnectionError])
def test_a_host_out_of_reach_is_told_apart_from_a_bad_key(
    vendor: str, error: type[Exception], make_hook: MakeHook
) -> None:
    good, words = pressed(make_hook, vendor, {"exc": error})
    assert not good
    assert "cannot be reached" in words
    assert "key" not in words


@pytest.mark.parametrize("status", [200, 404, 502])
def test_a_host_that_answers_in_html_is_not_the_vendor(status: int, make_hook: MakeHook) -> None:
    good, words = pressed(make_hook, "apixo", {"status_code": status, "text": "<html>hello</html>"})
    assert not good
    assert "not as Apixo does" in words


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_vendor_that_cannot_answer_now_says_nothing_about_the_key(status: int, make_hook: MakeHook) -> None:
    good, words = pressed(make_hook, "apixo", {"status_code": status, "json": {"code": status}})
    assert not good
    assert "cannot answer now" in words


def test_a_redirect_is_not_followed_with_the_key(make_hook: MakeHook) -> None:
    reply = {"status_code": 302, "headers": {"Location": "https://elsewhere.example/"}, "text": ""}
    good, _ = pressed(make_hook, "apixo", reply)
    assert not good


def test_everything_wrong_with_the_connection_is_said(make_hook: MakeHook) -> None:
    good, words = pressed(make_hook, "apixo", {}, password="", extra={"timeout": -1})
    assert not good
    assert "password" in words
    assert "timeout" in words


@pytest.mark.parametrize(
    "json",
    [{"detail": "Not Found"}, {"message": "no Route matched with those values"}, {"error": "Not Found"}],
)
def test_a_host_that_answers_in_json_of_its_own_is_not_the_vendor(
    json: dict[str, Any], make_hook: MakeHook
) -> None:
    for vendor in VENDORS:
        good, words = pressed(make_hook, vendor, {"status_code": 404, "json": json})
        assert not good
        assert "but not as" in words


@pytest.mark.parametrize(
    "stored", ["http://user:pw@example.com", '{"conn_type": "http", "host": "example.com"}']
)
def test_a_connection_of_another_type_is_called_that_by_worker_and_triggerer(
    stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", stored)
    hook = VideoGenHook("http_default")
    for look_up in (lambda: hook.settings, lambda: asyncio.run(hook._look_up())):
        with pytest.raises(InvalidConnection) as caught:
            look_up()
        assert [problem.field for problem in caught.value.problems] == ["conn_type"]
        assert "'http_default'" in str(caught.value)
        assert "'http': must be 'vidgen'" in str(caught.value)


def test_a_connection_that_names_no_type_or_is_a_uri_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"vendor": "apixo"}
    for stored in (
        json.dumps({"password": KEY, "extra": extra}),
        json.dumps({"conn_type": "", "password": KEY, "extra": extra}),
        f"vidgen://:{KEY}@/?vendor=apixo",
    ):
        monkeypatch.setenv("AIRFLOW_CONN_VIDGEN_DEFAULT", stored)
        assert VideoGenHook().settings.vendor.name == "apixo"
        assert asyncio.run(VideoGenHook()._look_up()).vendor.name == "apixo"
