# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Parsing and validating an Airflow connection."""

from __future__ import annotations

from itertools import permutations
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_vidgen import vendors
from airflow_provider_vidgen.connection import ConnectionSettings
from airflow_provider_vidgen.errors import InvalidConnection
from tests.support.accounts import BASE, KEY, VENDORS, settings


def read(**fields: Any) -> ConnectionSettings:
    extra = {"vendor": "apixo", **fields.pop("extra", {})}
    return ConnectionSettings.read("c", **{"host": None, "password": KEY, "extra": extra, **fields})


def problems_of(**fields: Any) -> dict[str, str]:
    """Return the problems of an invalid connection, by field."""
    with pytest.raises(InvalidConnection) as caught:
        read(**fields)
    return {problem.field: f"{problem.value} {problem.constraint}" for problem in caught.value.problems}


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("host", [None, "", "  "])
def test_an_empty_host_means_the_vendors_default_base_url(vendor: str, host: str | None) -> None:
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
        # Airflow puts the path of a connection URI into the schema.
        (
            {"host": "https://gw.example.com", "port": 8443, "schema": "pre"},
            "https://gw.example.com:8443/pre",
        ),
        ({"host": "gw.example.com", "schema": "pre/fix"}, "https://gw.example.com/pre/fix"),
        ({"host": "gw.example.com", "schema": "https"}, "https://gw.example.com"),
    ],
)
def test_host_may_be_a_bare_name_or_a_url_with_port_and_prefix(fields: dict[str, Any], base_url: str) -> None:
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
def test_allow_private_urls_permits_private_hosts(fields: dict[str, Any], base_url: str) -> None:
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
def test_http_and_private_hosts_are_refused_unless_allowed(host: str) -> None:
    assert "allow_private_urls" in problems_of(host=host)["host"]
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
def test_an_invalid_host_is_reported_as_a_problem(host: str, port: int | None) -> None:
    assert "host" in problems_of(host=host, port=port)


def test_credentials_in_the_host_are_not_shown() -> None:
    problem = problems_of(host="https://user:s3cret@gw.example.com")["host"]
    assert "user name" in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("key", [KEY, "0123456789abcdef0123456789abcdef", "abcdefghijklmnopqrstuvwxyz"])
@pytest.mark.parametrize(
    "field",
    [
        *("vendor", "timeout", "requests_per_minute", "max_concurrent", "callback_base_url"),
        *("allow_private_urls", "allow_proxied_downloads"),
    ],
)
def test_an_api_key_in_a_field_of_the_extra_is_not_shown(field: str, key: str) -> None:
    assert key not in problems_of(extra={field: key})[field]
    assert key not in problems_of(extra={field: {"key": key}})[field]


def test_an_api_key_in_the_host_is_not_shown() -> None:
    assert KEY not in problems_of(host=KEY)["host"]


def test_a_short_invalid_value_is_shown() -> None:
    problems = problems_of(extra={"vendor": "nobody", "timeout": -1.5, "allow_private_urls": "perhaps"})
    assert problems["vendor"].startswith("'nobody' ")
    assert problems["timeout"].startswith("-1.5 ")
    assert problems["allow_private_urls"].startswith("'perhaps' ")


def test_all_invalid_fields_are_reported_at_once() -> None:
    problems = problems_of(
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


def test_the_error_says_which_connection_what_was_spent_and_what_to_do_next() -> None:
    with pytest.raises(InvalidConnection) as caught:
        read(password="")
    text = str(caught.value)
    assert "'c'" in text
    assert "Nothing was spent." in text
    assert "Correct the connection." in text


@pytest.mark.parametrize("vendor", [None, "", "Nobody", 7, ["apixo"]])
def test_the_vendor_is_required(vendor: Any) -> None:
    assert set(problems_of(extra={"vendor": vendor})) == {"vendor"}


def test_case_and_spaces_of_the_vendor_are_ignored() -> None:
    assert read(extra={"vendor": " Apixo "}).vendor.name == "apixo"


@pytest.mark.parametrize("password", [None, "", "   "])
def test_the_api_key_is_required(password: str | None) -> None:
    assert set(problems_of(password=password)) == {"password"}


@pytest.mark.parametrize("password", ["two words", "line\nbreak", "schlüssel-1234"])
def test_an_api_key_that_cannot_be_sent_in_a_header_is_refused_and_not_shown(password: str) -> None:
    problem = problems_of(password=password)["password"]
    assert password not in problem


def test_whitespace_around_the_api_key_is_removed() -> None:
    assert read(password=f" {KEY}\n").api_key == KEY


def test_the_api_key_is_in_no_repr_or_str() -> None:
    parsed = read()
    assert KEY not in repr(parsed)
    assert KEY not in str(parsed)
    assert KEY not in f"{parsed.vendor!r}"


def test_a_token_in_the_callback_url_is_in_no_repr() -> None:
    parsed = read(extra={"callback_base_url": "https://airflow.example.com/hook?token=t0ken"})
    assert "t0ken" not in repr(parsed)


def test_optional_fields_have_defaults() -> None:
    parsed = read()
    assert (parsed.timeout, parsed.requests_per_minute, parsed.max_concurrent) == (30.0, None, None)
    assert (parsed.callback_base_url, parsed.allow_private_urls, parsed.model) == (None, False, None)


def test_optional_fields_may_be_text_as_the_connection_form_sends_it() -> None:
    parsed = read(
        extra={
            "timeout": "12.5",
            "requests_per_minute": "30",
            "max_concurrent": 4,
            "callback_base_url": "https://airflow.example.com",
            "allow_private_urls": "True",
            "model": " grok-video ",
        }
    )
    assert (parsed.timeout, parsed.requests_per_minute, parsed.max_concurrent) == (12.5, 30, 4)
    assert parsed.callback_base_url == "https://airflow.example.com"
    assert parsed.allow_private_urls is True
    assert parsed.model == "grok-video"


@pytest.mark.parametrize("empty", [None, ""])
def test_empty_optional_fields_count_as_not_set(empty: Any) -> None:
    fields = ("timeout", "requests_per_minute", "max_concurrent", "callback_base_url", "model")
    parsed = read(extra={**dict.fromkeys(fields, empty), "allow_private_urls": empty})
    assert parsed == read()


@pytest.mark.parametrize("value", [True, False, 1, 0, "1", "0", "true", "FALSE", " true "])
@pytest.mark.parametrize("field", ["allow_private_urls", "allow_proxied_downloads"])
def test_a_boolean_may_be_a_bool_a_number_or_text(field: str, value: Any) -> None:
    parsed = getattr(read(extra={field: value}), field)
    assert parsed is (str(value).strip().lower() in ("true", "1"))


@pytest.mark.parametrize("field", ["timeout", "requests_per_minute", "max_concurrent"])
@pytest.mark.parametrize("value", [0, -3, "x", True, [1], float("nan"), float("inf")])
def test_limits_must_be_above_zero(field: str, value: Any) -> None:
    assert set(problems_of(extra={field: value})) == {field}


@pytest.mark.parametrize("field", ["requests_per_minute", "max_concurrent"])
@pytest.mark.parametrize("value", [0.5, 2.5, "1e-3"])
def test_a_fractional_limit_is_refused_and_not_rounded_to_zero(field: str, value: Any) -> None:
    assert set(problems_of(extra={field: value})) == {field}


@pytest.mark.parametrize("conn_type", ["http", "aws", "generic"])
def test_a_connection_of_another_type_is_reported_with_no_other_problem(conn_type: str) -> None:
    problems = problems_of(conn_type=conn_type, password=None, extra={"vendor": None})
    assert list(problems) == ["conn_type"]
    assert repr(conn_type) in problems["conn_type"]
    assert "'vidgen'" in problems["conn_type"]


@pytest.mark.parametrize("conn_type", ["vidgen", "", None])
def test_the_connection_type_must_be_vidgen_or_empty(conn_type: str | None) -> None:
    assert read(conn_type=conn_type).vendor.name == "apixo"


@pytest.mark.parametrize(("vendor", "other"), list(permutations(VENDORS, 2)))
def test_a_host_that_is_another_vendors_own_is_an_error_about_the_vendor(vendor: str, other: str) -> None:
    with pytest.raises(InvalidConnection) as caught:
        settings(vendor, host=f"{BASE[other]}/v1")
    [problem] = caught.value.problems
    assert problem.field == "vendor"
    assert (
        f"must be {other!r}, as the host {urlsplit(BASE[other]).hostname} is that of " in problem.constraint
    )


def test_an_unknown_vendor_with_the_host_of_a_known_one_is_one_error() -> None:
    with pytest.raises(InvalidConnection) as caught:
        settings("apixoo", host=BASE["apixo"])
    assert [problem.field for problem in caught.value.problems] == ["vendor"]


def test_a_vendor_that_cannot_be_loaded_does_not_matter_to_other_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vendors, "vendor_names", lambda: (*VENDORS, "broken"))
    assert [vendor.name for vendor in vendors.other_vendors("apixo")] == [
        name for name in VENDORS if name != "apixo"
    ]
