# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""An Airflow connection, read and judged."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_vidgen.errors import InvalidConnection
from airflow_provider_vidgen.transport.settings import ConnectionSettings
from tests.support.accounts import BASE, KEY, VENDORS, settings


def read(**fields: Any) -> ConnectionSettings:
    extra = {"vendor": "apixo", **fields.pop("extra", {})}
    return ConnectionSettings.read("c", **{"host": None, "password": KEY, "extra": extra, **fields})


def refused(**fields: Any) -> dict[str, str]:
    """The problems of a connection, by field."""
    with pytest.raises(InvalidConnection) as caught:
        read(**fields)
    return {problem.field: f"{problem.value} {problem.allowed}" for problem in caught.value.problems}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("host", [None, "", "  "])
def test_an_empty_host_means_the_vendors_own(vendor: str, host: str | None) -> None:
    assert settings(vendor, host=host).base_url == BASE[vendor]


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "gw.example.com"}, "https://gw.example.com"),
        ({"host": "gw.example.com/"}, "https://gw.example.com"),
        ({"host": "gw.example.com/pre/fix/"}, "https://gw.example.com/pre/fix"),
        ({"host": "https://gw.example.com:8443/pre"}, "https://gw.example.com:8443/pre"),
        ({"host": "gw.example.com", "port": 8443}, "https://gw.example.com:8443"),
        ({"host": "https://gw.example.com/pre", "port": 8443}, "https://gw.example.com:8443/pre"),
        ({"host": "https://gw.example.com:8443", "port": 8443}, "https://gw.example.com:8443"),
        # As a connection URI is taken apart by Airflow: the path comes as the schema.
        (
            {"host": "https://gw.example.com", "port": 8443, "schema": "pre"},
            "https://gw.example.com:8443/pre",
        ),
        ({"host": "gw.example.com", "schema": "pre/fix"}, "https://gw.example.com/pre/fix"),
        ({"host": "gw.example.com", "schema": "https"}, "https://gw.example.com"),
    ],
)
def test_a_host_may_be_bare_or_whole_with_port_and_prefix(fields: dict[str, Any], base_url: str) -> None:
    assert read(**fields).base_url == base_url


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": "http://127.0.0.1", "port": 8080, "schema": "apixo"}, "http://127.0.0.1:8080/apixo"),
        ({"host": "127.0.0.1", "port": 8080, "schema": "http"}, "http://127.0.0.1:8080"),
        ({"host": "http://[::1]", "port": 8080}, "http://[::1]:8080"),
        ({"host": "http", "port": 80}, "https://http:80"),
    ],
)
def test_private_hosts_may_be_given_once_private_urls_are_allowed(
    fields: dict[str, Any], base_url: str
) -> None:
    assert read(**fields, extra={"allow_private_urls": True}).base_url == base_url


@pytest.mark.parametrize(
    "host",
    [
        "http://gw.example.com",
        "https://localhost",
        "https://127.0.0.1",
        "https://10.0.0.8",
        "https://[::1]",
        "https://[::ffff:10.0.0.8]",
        "https://169.254.169.254",
        "https://intranet",
        "https://db.internal",
    ],
)
def test_the_key_is_not_sent_to_http_or_to_private_hosts_unless_allowed(host: str) -> None:
    assert "allow_private_urls" in refused(host=host)["host"]
    assert read(host=host, extra={"allow_private_urls": "true"}).base_url == host


@pytest.mark.parametrize(
    "host",
    [
        "ftp://gw.example.com",
        "https://",
        "https://user:word@gw.example.com",
        "https://gw.example.com?x=1",
        "https://gw.example.com#x",
        "https://[bad",
        "gw example.com",
    ],
)
@pytest.mark.parametrize("port", [None, 8443])
def test_a_host_that_is_no_base_url_is_a_problem_and_not_a_crash(host: str, port: int | None) -> None:
    assert "host" in refused(host=host, port=port)


def test_a_user_name_in_the_host_is_not_repeated() -> None:
    problem = refused(host="https://user:s3cret@gw.example.com")["host"]
    assert "user name" in problem
    assert "s3cret" not in problem


def test_every_wrong_field_is_reported_at_once() -> None:
    problems = refused(
        host="http://localhost",
        password=" ",
        extra={
            "vendor": "nobody",
            "timeout": 0,
            "requests_per_minute": "many",
            "max_concurrent": -1,
            "callback_base_url": "not a link",
            "allow_private_urls": "perhaps",
            "allow_proxied_downloads": "no",
        },
    )
    assert set(problems) == {
        "host",
        "password",
        "vendor",
        "timeout",
        "requests_per_minute",
        "max_concurrent",
        "callback_base_url",
        "allow_private_urls",
        "allow_proxied_downloads",
    }
    assert "apimart, apimodels, apixgo, apixo" in problems["vendor"]


def test_the_error_names_the_connection_what_it_cost_and_the_next_step() -> None:
    with pytest.raises(InvalidConnection) as caught:
        read(password="")
    text = str(caught.value)
    assert "'c'" in text
    assert "Nothing was spent." in text
    assert "Correct the connection." in text


@pytest.mark.parametrize("vendor", [None, "", "Nobody", 7, ["apixo"]])
def test_the_vendor_is_required(vendor: Any) -> None:
    assert set(refused(extra={"vendor": vendor})) == {"vendor"}


def test_the_vendors_name_may_be_written_loosely() -> None:
    assert read(extra={"vendor": " Apixo "}).vendor.name == "apixo"


@pytest.mark.parametrize("password", [None, "", "   "])
def test_the_key_is_required(password: str | None) -> None:
    assert set(refused(password=password)) == {"password"}


@pytest.mark.parametrize("password", ["two words", "line\nbreak", "schlüssel-1234"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_shown(password: str) -> None:
    problem = refused(password=password)["password"]
    assert password not in problem


def test_a_line_end_pasted_with_the_key_is_left_out() -> None:
    assert read(password=f" {KEY}\n").api_key == KEY


def test_the_key_shows_in_no_repr_and_no_text() -> None:
    told = read()
    assert KEY not in repr(told)
    assert KEY not in str(told)
    assert KEY not in f"{told.vendor!r}"


def test_optional_fields_have_defaults() -> None:
    told = read()
    assert (told.timeout, told.requests_per_minute, told.max_concurrent) == (30.0, None, None)
    assert (told.callback_base_url, told.allow_private_urls, told.model) == (None, False, None)


def test_optional_fields_are_read_also_from_text_as_a_form_sends_it() -> None:
    told = read(
        extra={
            "timeout": "12.5",
            "requests_per_minute": "30",
            "max_concurrent": 4,
            "callback_base_url": "https://airflow.example.com",
            "allow_private_urls": "True",
            "model": " grok-video ",
        }
    )
    assert (told.timeout, told.requests_per_minute, told.max_concurrent) == (12.5, 30, 4)
    assert told.callback_base_url == "https://airflow.example.com"
    assert told.allow_private_urls is True
    assert told.model == "grok-video"


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_optional_fields_are_as_good_as_none(empty: Any) -> None:
    fields = ("timeout", "requests_per_minute", "max_concurrent", "callback_base_url", "model")
    told = read(extra={**dict.fromkeys(fields, empty), "allow_private_urls": empty})
    assert told == read()


@pytest.mark.parametrize("value", [True, False, 1, 0, "1", "0", "true", "FALSE", " true "])
@pytest.mark.parametrize("flag", ["allow_private_urls", "allow_proxied_downloads"])
def test_a_flag_may_be_spelled_in_the_usual_ways(flag: str, value: Any) -> None:
    told = getattr(read(extra={flag: value}), flag)
    assert told is (str(value).strip().lower() in ("true", "1"))


@pytest.mark.parametrize("field", ["timeout", "requests_per_minute", "max_concurrent"])
@pytest.mark.parametrize("value", [0, -3, "x", True, [1], float("nan"), float("inf")])
def test_a_limit_must_be_a_number_above_zero(field: str, value: Any) -> None:
    assert set(refused(extra={field: value})) == {field}


@pytest.mark.parametrize("field", ["requests_per_minute", "max_concurrent"])
@pytest.mark.parametrize("value", [0.5, 2.5, "1e-3"])
def test_a_limit_of_half_a_request_is_refused_and_not_rounded_to_none(field: str, value: Any) -> None:
    assert set(refused(extra={field: value})) == {field}


@pytest.mark.parametrize("conn_type", ["http", "aws", "generic"])
def test_a_connection_of_another_type_is_called_that_and_nothing_else(conn_type: str) -> None:
    found = refused(conn_type=conn_type, password=None, extra={"vendor": None})
    assert list(found) == ["conn_type"]
    assert repr(conn_type) in found["conn_type"]
    assert "'vidgen'" in found["conn_type"]


@pytest.mark.parametrize("conn_type", ["vidgen", "", None])
def test_the_right_type_or_none_at_all_passes(conn_type: str | None) -> None:
    assert read(conn_type=conn_type).vendor.name == "apixo"
