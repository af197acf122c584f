# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Proxies and certificates from the environment, and which values are refused."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from airflow_provider_vidgen.http import egress
from airflow_provider_vidgen.http.egress import EgressError, egress_problems, proxy_for, tls_context
from airflow_provider_vidgen.http.result_links import download_problems
from dev.servers.tls_terminator import CertificateAuthority
from tests.support.accounts import settings

URL = "https://api.example.com/v1"
PROXY = "http://worker:s3cret@proxy.example.com:3128"


@pytest.fixture(scope="module")
def certificate() -> bytes:
    return CertificateAuthority().certificate


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    egress._context.cache_clear()
    yield
    egress._context.cache_clear()


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, URL, None),
        ({"HTTPS_PROXY": PROXY}, URL, "proxy.example.com:3128 from HTTPS_PROXY"),
        ({"https_proxy": PROXY}, URL, "proxy.example.com:3128 from https_proxy"),
        ({"ALL_PROXY": PROXY}, URL, "proxy.example.com:3128 from ALL_PROXY"),
        ({"all_proxy": PROXY}, URL, "proxy.example.com:3128 from all_proxy"),
        ({"HTTP_PROXY": PROXY}, URL, None),
        ({"HTTP_PROXY": PROXY}, "http://api.example.com/", "proxy.example.com:3128 from HTTP_PROXY"),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": PROXY}, URL, "proxy.example.com:3128 from HTTPS_PROXY"),
        (
            {"HTTPS_PROXY": "http://other:1", "https_proxy": PROXY},
            URL,
            "proxy.example.com:3128 from https_proxy",
        ),
        ({"HTTPS_PROXY": "socks5://other:1", "https_proxy": ""}, URL, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "example.com"}, URL, None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "localhost, .example.com"}, URL, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, URL, None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "other.com"}, URL, "proxy.example.com:3128 from HTTPS_PROXY"),
        ({"HTTPS_PROXY": "proxy.example.com"}, URL, "proxy.example.com:80 from HTTPS_PROXY"),
        ({"HTTPS_PROXY": "HTTPS://proxy.example.com"}, URL, "proxy.example.com:443 from HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://[fd00::1]:3128"}, URL, "[fd00::1]:3128 from HTTPS_PROXY"),
    ],
)
def test_the_proxy_is_the_one_that_requests_uses(
    variables: dict[str, str], url: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(url)
    assert (proxy and str(proxy)) == expected
    assert "s3cret" not in repr(proxy)
    assert egress_problems(url) == []


def test_a_proxy_from_the_operating_system_is_shown_with_the_variable_that_overrides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress, "get_environ_proxies", lambda url: {"https": PROXY})
    assert str(proxy_for(URL)) == "proxy.example.com:3128 from HTTPS_PROXY"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("socks5://worker:s3cret@proxy.example.com:1080", "a SOCKS proxy"),
        ("socks5h://proxy.example.com", "a SOCKS proxy"),
        ("SOCKS4://proxy.example.com", "a SOCKS proxy"),
        ("http://", "set"),
        ("http://worker:s3cret@", "set"),
        ("http://proxy.example.com:s3cret", "set"),
        ("http://[bad", "set"),
        ("ftp://s3cret.example.com", "set"),
    ],
)
def test_an_invalid_proxy_is_a_problem_that_names_the_variable_without_its_value(
    value: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    (problem,) = egress_problems(URL)
    assert (problem.field, problem.value) == ("ALL_PROXY", shown)
    assert "s3cret" not in str(problem)
    with pytest.raises(EgressError, match="ALL_PROXY"):
        proxy_for(URL)
    assert download_problems(settings()) == [problem]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_is_a_proxy_or_a_problem(value: str) -> None:
    before = os.environ.get("HTTPS_PROXY")
    os.environ["HTTPS_PROXY"] = value
    try:
        egress_problems("https://api.example.com")
    finally:
        del os.environ["HTTPS_PROXY"]
        if before is not None:
            os.environ["HTTPS_PROXY"] = before


def subjects(context: ssl.SSLContext) -> set[str]:
    return {
        str(dict(pair[0] for pair in ca["subject"])["commonName"])
        for ca in context.get_ca_certs()
        if any(pair[0][0] == "commonName" for pair in ca["subject"])
    }


OURS = "Example Company CA"


@pytest.mark.parametrize(
    ("variable", "alone"), [("REQUESTS_CA_BUNDLE", True), ("CURL_CA_BUNDLE", True), ("SSL_CERT_FILE", True)]
)
def test_a_bundle_replaces_all_other_certificates(
    variable: str, alone: bool, certificate: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificate)
    monkeypatch.setenv(variable, str(ca))
    context = tls_context()
    assert subjects(context) == {OURS}
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls_context() is context


def test_the_first_variable_that_is_set_applies(
    certificate: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(certificate)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    for ignored in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(ignored, "/nowhere")
    assert egress_problems(URL) == []
    assert egress_problems("http://127.0.0.1:1") == []
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    (problem,) = egress_problems(URL)
    assert problem.field == "CURL_CA_BUNDLE"
    assert egress_problems("http://127.0.0.1:1") == []


def test_without_a_variable_the_certificates_of_requests_and_of_the_system_are_trusted() -> None:
    trusted = subjects(tls_context())
    assert OURS not in trusted
    assert subjects(ssl.create_default_context(cafile=egress.DEFAULT_CA_BUNDLE_PATH)) <= trusted
    assert subjects(ssl.create_default_context()) <= trusted


def test_ssl_cert_dir_may_list_several_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere{os.pathsep}{tmp_path}")
    assert egress_problems(URL) == []
    monkeypatch.setenv("SSL_CERT_DIR", f"/nowhere{os.pathsep}/nor/here")
    (problem,) = egress_problems(URL)
    assert problem.field == "SSL_CERT_DIR"


@pytest.mark.parametrize(
    ("url", "proxy", "problems"),
    [
        ("http://127.0.0.1:1", "", 0),
        ("http://127.0.0.1:1", "http://proxy.example.com", 0),
        ("http://127.0.0.1:1", "HTTPS://proxy.example.com", 1),
        ("HTTPS://127.0.0.1:1", "", 1),
    ],
)
def test_certificates_are_checked_only_where_tls_is_used(
    url: str, proxy: str, problems: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    assert len(egress_problems(url)) == problems
    private = settings(host=url, extra={"allow_private_urls": True})
    assert len(download_problems(private)) == problems


def test_all_problems_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://proxy.example.com")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    assert [problem.field for problem in egress_problems(URL)] == ["HTTPS_PROXY", "REQUESTS_CA_BUNDLE"]


@pytest.mark.parametrize(
    ("variables", "extra", "fields"),
    [
        ({}, {}, []),
        ({"HTTPS_PROXY": PROXY}, {}, ["allow_proxied_downloads"]),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "api.apixgo.com"}, {}, ["allow_proxied_downloads"]),
        ({"HTTPS_PROXY": PROXY}, {"allow_proxied_downloads": True}, []),
        ({"HTTPS_PROXY": PROXY}, {"allow_private_urls": True}, []),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, {}, []),
        ({"HTTP_PROXY": PROXY}, {}, []),
    ],
)
def test_a_proxy_for_results_must_be_allowed_by_the_connection(
    variables: dict[str, str], extra: dict[str, bool], fields: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    problems = download_problems(settings(extra=extra))
    assert [problem.field for problem in problems] == fields
    for problem in problems:
        assert "NO_PROXY" in problem.constraint
        assert "proxy.example.com:3128" in problem.constraint
        assert "s3cret" not in str(problem)
