# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""
Behind a company's proxy and its certificate authority, over real sockets.

Only the proxy resolves the host names of the API and its results, and only the company's CA has signed their
certificates.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_vidgen.client import TriggererClient, WorkerClient
from airflow_provider_vidgen.errors import (
    ConnectionFailed,
    DownloadBlocked,
    DownloadFailed,
    InvalidConnection,
    StatusUnavailable,
    SubmitOutcomeUnknown,
    UnsafeLink,
    VidgenError,
)
from airflow_provider_vidgen.hooks.video_gen import VideoGenHook
from airflow_provider_vidgen.http import egress
from airflow_provider_vidgen.http import loop_resources as loop_resources_module
from airflow_provider_vidgen.http.loop_resources import loop_resources
from airflow_provider_vidgen.http.result_links import open_link
from airflow_provider_vidgen.landing import Landing
from airflow_provider_vidgen.models import JobState, JobStatus, VideoJob, VideoRequest
from airflow_provider_vidgen.simulator import Simulator
from dev.servers.forward_proxy import ForwardProxy
from dev.servers.tls_terminator import CertificateAuthority, TlsTerminator
from tests.support.clock import SimulatorClock
from tests.support.simulated_accounts import START, account_at, billed, cdn_saw_no_key, posts, submit, wait

API, CDN = "api.vidgen.test", "cdn.vidgen.test"
CREDENTIALS = "worker:pr0xy-passw0rd"


class Egress(Simulator):
    """The vendors at https host names that only the proxy resolves."""

    def __init__(self) -> None:
        super().__init__(render=False, speed=0, start_time=START, public_url=f"https://{CDN}")

    def base_url(self, vendor: str) -> str:
        return f"https://{API}/{vendor}"


@pytest.fixture(scope="module")
def behind() -> Iterator[Egress]:
    with Egress() as running:
        yield running


@pytest.fixture
def vendors(behind: Egress) -> Egress:
    behind.reset()
    return behind


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture(scope="module")
def front(authority: CertificateAuthority, behind: Egress) -> Iterator[tuple[str, int]]:
    upstream = ("127.0.0.1", int(behind.url.rpartition(":")[2]))
    with TlsTerminator(authority, [API, CDN], upstream).running() as running:
        yield running.address


@pytest.fixture
def ca(authority: CertificateAuthority, tmp_path: Path) -> Path:
    path = tmp_path / "company-ca.pem"
    path.write_bytes(authority.certificate)
    return path


@pytest.fixture
def proxy(front: tuple[str, int]) -> Iterator[ForwardProxy]:
    with ForwardProxy({f"{API}:443": front, f"{CDN}:443": front}, credentials=CREDENTIALS).running() as it:
        yield it


@pytest.fixture
def account(
    vendors: Egress, clock: SimulatorClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., VideoGenHook]:
    """A hook as in production: https and public addresses only."""

    def make(vendor: str = "apixo", **extra: Any) -> VideoGenHook:
        extra = {"allow_private_urls": False, "allow_proxied_downloads": True, **extra}
        return account_at(vendors, clock, monkeypatch, vendor, extra=extra)

    return make


@pytest.fixture
def company(
    proxy: ForwardProxy, ca: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> ForwardProxy:
    """The company's environment; the proxy's password never gets into a log."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
    return proxy


@pytest.fixture(autouse=True)
def _no_password_is_told(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    yield
    log = caplog.text + "".join(capsys.readouterr())
    assert CREDENTIALS.partition(":")[2] not in log


def check_from_triggerer(hook: VideoGenHook, job: VideoJob) -> JobStatus:
    async def check() -> JobStatus:
        async with VideoGenHook().async_client() as client:
            return await client.status(job)

    return asyncio.run(check())


def land(hook: VideoGenHook, status: JobStatus, job: VideoJob, folder: Path) -> list[dict[str, Any]]:
    landing = Landing(hook.settings, verify=False, sidecar=False, sleep=lambda _: None)
    return landing.land(status.result_urls, f"file://{folder}/", job=job)


def test_submits_checks_and_downloads_use_the_proxy_and_trust_its_ca(
    vendors: Egress,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    tmp_path: Path,
) -> None:
    hook = account()
    submission = submit(hook)
    assert company.tunnels == [f"{API}:443"]
    assert not check_from_triggerer(hook, submission.job).has_video
    assert company.tunnels == [f"{API}:443"] * 2
    status = wait(hook, clock, submission)
    assert status.result_urls[0].startswith(f"https://{CDN}/")
    company.tunnels.clear()
    (file,) = land(hook, status, submission.job, tmp_path / "landed")
    assert company.tunnels == [f"{CDN}:443"]
    assert Path(file["path"].removeprefix("file://")).stat().st_size == file["bytes"]
    assert posts(vendors) == billed(vendors) == 1
    assert cdn_saw_no_key(vendors)
    assert {visit.authorization for visit in vendors.requests() if visit.host == "api"} == {"good"}


def outcomes(hook: VideoGenHook, clock: SimulatorClock, folder: Path) -> dict[str, VidgenError]:
    """The errors of a submit, a status check by the triggerer and a download, where none can succeed."""
    job = VideoJob(vendor="apixo", base_url=hook.settings.base_url, model="grok-video", task_id="task_1")
    ended: dict[str, VidgenError] = {}
    for name, attempt in {
        "submit": lambda: submit(hook),
        "check": lambda: check_from_triggerer(hook, job),
        "look": lambda: hook.get_status(job),
        "download": lambda: land(hook, FINISHED, job, folder),
    }.items():
        with pytest.raises(VidgenError) as failure:
            attempt()
        ended[name] = failure.value
    return ended


FINISHED = JobStatus(
    state=JobState.SUCCEEDED, raw_state="success", result_urls=(f"https://{CDN}/cdn/apixo/task_1/1.mp4",)
)
KINDS = {
    "submit": ConnectionFailed,
    "check": StatusUnavailable,
    "look": StatusUnavailable,
    "download": DownloadFailed,
}


def test_without_the_proxy_no_request_leaves_the_machine(
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("HTTPS_PROXY")
    ended = outcomes(account(), clock, tmp_path)
    assert {name: type(error) for name, error in ended.items()} == KINDS
    assert company.targets == []
    assert "Nothing was spent" in str(ended["submit"])


@pytest.mark.parametrize("excepted", [f"{API},{CDN}", ".vidgen.test", "vidgen.test", "*"])
def test_hosts_in_no_proxy_are_reached_directly(
    excepted: str,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("no_proxy", excepted)
    ended = outcomes(account(allow_proxied_downloads=False), clock, tmp_path)
    assert {name: type(error) for name, error in ended.items()} == KINDS
    assert company.targets == []


@pytest.mark.parametrize("trouble", ["407", "403", "502", "closed", "not a proxy"])
def test_a_failing_proxy_is_named_and_nothing_was_sent(
    trouble: str,
    vendors: Egress,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    expected = f"the proxy {company.host} from HTTPS_PROXY did not forward the request, HTTP {trouble}"
    if trouble == "407":
        monkeypatch.setenv("HTTPS_PROXY", company.url.replace("worker:", "somebody:"))
        expected = f"the proxy {company.host} from HTTPS_PROXY requires other credentials, HTTP 407"
    elif trouble == "403":
        company.status = 403
    elif trouble == "502":
        company.names.clear()
    else:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            dead = f"127.0.0.1:{taken.getsockname()[1]}"
        if trouble == "not a proxy":
            dead = behind_of(vendors)
        monkeypatch.setenv("HTTPS_PROXY", f"http://{CREDENTIALS}@{dead}")
        expected = f"the proxy {dead} from HTTPS_PROXY "
    ended = outcomes(account(), clock, tmp_path)
    assert {name: type(error) for name, error in ended.items()} == KINDS
    assert [name for name, error in ended.items() if expected not in str(error)] == []
    assert "Nothing was spent" in str(ended["submit"])
    assert "Check the proxy" in str(ended["submit"])
    assert not any("passw0rd" in str(error) or "worker" in str(error) for error in ended.values())
    assert company.tunnels == []
    assert posts(vendors) == 0


def test_a_silent_proxy_is_named_and_nothing_was_sent(
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", f" http://{CREDENTIALS}@{address}")
        ended = outcomes(account(timeout=0.2), clock, tmp_path)
    assert {name: type(error) for name, error in ended.items()} == KINDS
    assert [name for name, error in ended.items() if f"the proxy {address} from" not in str(error)] == []
    assert not any("passw0rd" in str(error) or "worker" in str(error) for error in ended.values())


def behind_of(vendors: Egress) -> str:
    return vendors.url.removeprefix("http://")


def test_a_reset_after_the_tunnel_is_up_leaves_the_submit_outcome_unknown(
    vendors: Egress, account: Callable[..., VideoGenHook], company: ForwardProxy
) -> None:
    vendors.fault("reset", route="create", times=1)
    with pytest.raises(SubmitOutcomeUnknown):
        submit(account())
    assert company.tunnels == [f"{API}:443"]


def test_without_the_companys_ca_nothing_is_sent_and_the_variable_is_named(
    vendors: Egress,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    ended = outcomes(account(), clock, tmp_path)
    assert {name: type(error) for name, error in ended.items()} == KINDS
    assert [name for name, error in ended.items() if "see REQUESTS_CA_BUNDLE" not in str(error)] == []
    assert vendors.requests() == []


def hashed(ca: Path, folder: Path) -> Path:
    """A folder of certificates, as c_rehash makes it."""
    folder.mkdir()
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(ca)]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (folder / f"{name}.0").write_bytes(ca.read_bytes())
    return folder


@pytest.mark.parametrize(
    "variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "a folder"]
)
@pytest.mark.parametrize("named", ["https_proxy", "ALL_PROXY", "without a scheme"])
def test_every_variable_applies_to_worker_triggerer_and_download_alike(
    variable: str,
    named: str,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    proxy: ForwardProxy,
    ca: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    if variable in ("SSL_CERT_DIR", "a folder"):
        ca = hashed(ca, tmp_path / "certs")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE" if variable == "a folder" else variable, str(ca))
    if named == "without a scheme":
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removeprefix("http://"))
    else:
        monkeypatch.setenv(named, proxy.url)
    hook = account("apixgo")
    submission = submit(hook)
    assert not check_from_triggerer(hook, submission.job).has_video
    land(hook, wait(hook, clock, submission), submission.job, tmp_path / "landed")
    assert {API, CDN} == {name.removesuffix(":443") for name in proxy.tunnels}


@pytest.mark.parametrize(
    "variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
)
@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
def test_unreadable_certificates_are_refused_before_any_request(
    content: bytes | None,
    variable: str,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_bytes(content)
    monkeypatch.setenv(variable, str(bad))
    ended = outcomes(account(), clock, tmp_path / "landed")
    kinds = {**KINDS, "submit": InvalidConnection, "download": DownloadBlocked}
    assert {name: type(error) for name, error in ended.items()} == kinds
    assert [name for name, error in ended.items() if f"{variable}='{bad}'" not in str(error)] == []
    assert "Nothing was spent" in str(ended["submit"])
    assert company.targets == []
    # The paid call itself refuses, too, in case that they disappear after the check.
    with pytest.raises(ConnectionFailed, match=variable):
        hook_client_submit(account())


def hook_client_submit(hook: VideoGenHook) -> None:
    hook.client.submit(VideoRequest(prompt="a lamp", model="grok-video"))


def test_a_socks_proxy_is_refused_before_any_request(
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", company.url.replace("http:", "socks5h:"))
    ended = outcomes(account(), clock, tmp_path)
    kinds = {**KINDS, "submit": InvalidConnection, "download": DownloadBlocked}
    assert {name: type(error) for name, error in ended.items()} == kinds
    assert [name for name, error in ended.items() if "HTTPS_PROXY=a SOCKS proxy" not in str(error)] == []
    assert company.targets == []


def test_every_redirect_of_a_download_uses_the_proxy(
    vendors: Egress,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    tmp_path: Path,
) -> None:
    hook = account()
    submission = submit(hook)
    status = wait(hook, clock, submission)
    company.tunnels.clear()
    vendors.fault("redirect", location=status.result_urls[0], route="download", times=2)
    land(hook, status, submission.job, tmp_path / "landed")
    assert company.tunnels == [f"{CDN}:443"] * 3
    vendors.fault("redirect", location="https://10.0.0.1/v.mp4", route="download", times=1)
    with pytest.raises(UnsafeLink, match=r"10\.0\.0\.1 is not a public host"):
        land(hook, status, submission.job, tmp_path / "again")
    assert company.targets[-1] == f"{CDN}:443"


def test_a_proxy_may_be_reached_over_tls(
    authority: CertificateAuthority,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host, _, port = company.host.partition(":")
    with TlsTerminator(authority, ["localhost"], (host, int(port))).running() as tls:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{CREDENTIALS}@localhost:{tls.address[1]}")
        hook = account()
        submission = submit(hook)
        assert not check_from_triggerer(hook, submission.job).has_video
        land(hook, wait(hook, clock, submission), submission.job, tmp_path / "landed")
    assert {API, CDN} == {name.removesuffix(":443") for name in company.tunnels}


def test_a_refusal_of_the_proxy_without_tls_is_not_taken_for_the_vendors(
    vendors: Egress,
    account: Callable[..., VideoGenHook],
    clock: SimulatorClock,
    company: ForwardProxy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    company.status = 407
    monkeypatch.setenv("HTTP_PROXY", company.url)
    hook = account()
    plain = replace(hook.settings, base_url=f"http://{API}/apixo", allow_private_urls=True)
    client = WorkerClient(plain, now=clock.now, sleep=clock.sleep)
    with pytest.raises(ConnectionFailed, match=f"{company.host} .* requires other credentials") as failure:
        client.submit(VideoRequest(prompt="a lamp", model="grok-video"))
    assert "Nothing was spent" in str(failure.value)
    link = FINISHED.result_urls[0].replace("https:", "http:")
    with pytest.raises(DownloadFailed, match="requires other credentials"), open_link(link, plain):
        pass
    job = VideoJob(vendor="apixo", base_url=plain.base_url, model="grok-video", task_id="task_1")

    async def check() -> None:
        async with loop_resources() as resources:
            await TriggererClient(plain, resources).status(job)

    with pytest.raises(StatusUnavailable, match="requires other credentials"):
        asyncio.run(check())
    # Inside of TLS it would be the vendor's own response.
    assert posts(vendors) == 0


def test_certificates_are_read_in_a_thread_once_for_all_triggers(
    account: Callable[..., VideoGenHook], company: ForwardProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = account()
    submission = submit(hook)
    read_in: list[threading.Thread] = []

    def tls_context() -> ssl.SSLContext:
        read_in.append(threading.current_thread())
        return egress.tls_context()

    monkeypatch.setattr(loop_resources_module, "tls_context", tls_context)

    async def check() -> None:
        async with loop_resources() as resources:
            clients = [TriggererClient(hook.settings, resources) for _ in range(5)]
            await asyncio.gather(*(client.status(submission.job) for client in clients))

    asyncio.run(check())
    (thread,) = read_in
    assert thread is not threading.main_thread()


def test_a_triggerer_with_missing_certificates_continues_once_they_exist(
    account: Callable[..., VideoGenHook], company: ForwardProxy, ca: Path
) -> None:
    hook = account()
    submission = submit(hook)
    kept = ca.rename(ca.with_suffix(".kept"))
    egress._context.cache_clear()

    async def check() -> JobStatus:
        async with loop_resources() as resources:
            client = TriggererClient(hook.settings, resources)
            for _ in range(2):
                with pytest.raises(StatusUnavailable, match="REQUESTS_CA_BUNDLE=") as failure:
                    await client.status(submission.job)
                assert failure.value.job == submission.job
            kept.rename(ca)
            return await client.status(submission.job)

    assert not asyncio.run(check()).has_video


def test_a_link_blocked_by_the_proxy_setting_does_not_count_as_dead(
    account: Callable[..., VideoGenHook], company: ForwardProxy
) -> None:
    landing = Landing(account(allow_proxied_downloads=False).settings)
    with pytest.raises(DownloadBlocked, match="allow_proxied_downloads"):
        landing.links_are_live(FINISHED.result_urls)
    assert company.targets == []
