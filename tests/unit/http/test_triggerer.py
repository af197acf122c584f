# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""The triggerer's transport: its errors name the job, and contain no secrets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from airflow_provider_vidgen.errors import StatusUnavailable
from airflow_provider_vidgen.http.loop_resources import loop_resources
from airflow_provider_vidgen.http.triggerer import PreparedCall
from tests.support.accounts import KEY, job, settings


def test_the_error_about_an_unusable_proxy_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://worker:s3cret@proxy.example.com:1080")
    account = settings("apixo")
    with pytest.raises(StatusUnavailable, match=r"Apixo cannot be reached .*SOCKS") as caught:
        PreparedCall(account, account.vendor.status_call(job("apixo")), job("apixo"))
    assert caught.value.job == job("apixo")
    assert "s3cret" not in str(caught.value)


def test_the_error_about_missing_certificates_names_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    account = settings("apixo")
    call = PreparedCall(account, account.vendor.status_call(job("apixo")), job("apixo"))

    async def main() -> None:
        async with loop_resources() as resources:
            await call.send(resources)

    with pytest.raises(StatusUnavailable, match=r"cannot be reached over TLS .*REQUESTS_CA_BUNDLE") as caught:
        asyncio.run(main())
    assert caught.value.job == job("apixo")


def test_the_error_about_a_refused_connection_names_the_job() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        account = settings("apixo", host=base_url, extra={"allow_private_urls": True})
        handle = job("apixo", base_url=base_url)
        call = PreparedCall(account, account.vendor.status_call(handle), handle)

        async def main() -> None:
            async with loop_resources() as resources:
                await call.send(resources)

        with pytest.raises(StatusUnavailable, match="Apixo did not answer") as caught:
            asyncio.run(main())
    assert caught.value.job == handle
    assert KEY not in str(caught.value)
