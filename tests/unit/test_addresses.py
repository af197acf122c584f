# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Which hosts are public, in all spellings of those that are not."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_vidgen.addresses import is_public_address, may_be_public_host

_PRIVATE_V4 = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.0.192",  # Oracle's metadata
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "100.100.100.200",  # Alibaba's metadata
    "168.63.129.16",  # Azure's, in the middle of public addresses
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
)
_PRIVATE_V6 = (
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "100::1",
    "100:0:0:1::1",
    "64:ff9b:1::808:808",
    "2001::1",
    "2001:2::1",
    "2001:1ff:ffff::1",
    "2001:20::1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "4000::1",
    "5f00::1",
    "fd00:ec2::254",  # Amazon's metadata
)
_PUBLIC = (
    "8.8.8.8",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "168.63.129.15",
    "2606:4700:4700::1111",
    "2001:200::1",
    "2001:4860:4860::8888",
    "3ffe::1",
)


def _groups(ipv4: str) -> str:
    a, b, c, d = map(int, ipv4.split("."))
    return f"{a << 8 | b:x}:{c << 8 | d:x}"


@pytest.mark.parametrize("address", [*_PRIVATE_V4, *_PRIVATE_V6])
def test_a_private_address_is_not_public(address: str) -> None:
    assert not is_public_address(address)
    assert not may_be_public_host(address)
    assert not may_be_public_host(f"[{address}]")


@pytest.mark.parametrize("address", _PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public_address(address)
    assert may_be_public_host(address)
    assert may_be_public_host(f"[{address}]")


@pytest.mark.parametrize(
    "form", ["::ffff:{v4}", "::{v4}", "64:ff9b::{v4}", "::ffff:0:{v4}", "2002:{hex}::1", "64:ff9b::{hex}"]
)
def test_an_ipv4_address_embedded_in_ipv6_is_treated_as_ipv4(form: str) -> None:
    for private in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1"):
        assert not is_public_address(form.format(v4=private, hex=_groups(private)))
        assert not may_be_public_host("[" + form.format(v4=private, hex=_groups(private)) + "]")
    assert is_public_address(form.format(v4="8.8.8.8", hex=_groups("8.8.8.8")))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0x0.0.1",
        "127.0.0.0x1",
        "0x7F.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "2130706433.",
        "0",
        "0x",
        "1.2.3.4.5",
        "256.1.1.1",
        "8.8.2056",
        "foo.0x7f",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "::1%lo",
    ],
)
def test_another_spelling_of_an_ipv4_address_is_not_a_name(host: str) -> None:
    assert not may_be_public_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "..",
        "[]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "ｌｏｃａｌｈｏｓｔ",
        "a.localhost",
        "printer.local",
        "db.internal",
        "metadata.google.internal",
        "metadata.google.internal.",
        "nas.lan",
        "router.home.arpa",
        "home.arpa",
        "airflow",
        "intranet.",
        "host.localhost..",
    ],
)
def test_a_local_name_is_not_public(host: str) -> None:
    assert not may_be_public_host(host)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "EXAMPLE.com.",
        "cdn-1.example.com",
        "1.example.com",
        "0x7f.example.com",
        "8.8.8.8.example.com",
        "mylocalhost.com",
        "local.example.com",
        "internal-docs.com",
        "例え.jp",
        "dead.beef",
    ],
)
def test_a_name_may_be_public(host: str) -> None:
    assert may_be_public_host(host)


@pytest.mark.parametrize("text", ["", "example.com", "127.1", "1.2.3.4/8", "::g", " 8.8.8.8", "8.8.8.8:443"])
def test_text_that_is_no_address_is_not_public(text: str) -> None:
    assert not is_public_address(text)


@given(st.text(max_size=30) | st.from_regex(r"\A[0-9a-fx.:%\[\]]{1,20}\Z"))
def test_any_text_is_classified(host: str) -> None:
    assert is_public_address(host) in (True, False)
    assert may_be_public_host(host) in (True, False)


_PART = st.integers(0, 255).flatmap(lambda n: st.sampled_from([str(n), hex(n), f"0{n:o}", f"0X{n:X}"]))


@given(st.lists(_PART, min_size=1, max_size=4).map(".".join))
def test_a_private_address_as_the_c_library_parses_it_is_never_public(host: str) -> None:
    try:
        reached = socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return
    assert not may_be_public_host(host) or (reached == host and is_public_address(reached))


def test_the_patch_level_of_python_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (ipaddress.IPv4Address, ipaddress.IPv6Address):
        for judged in ("is_global", "is_private", "is_reserved", "is_multicast"):
            monkeypatch.setattr(kind, judged, property(lambda self, says=judged == "is_global": says))
    assert [address for address in (*_PRIVATE_V4, *_PRIVATE_V6) if is_public_address(address)] == []


_MAPPED = ipaddress.ip_network("::ffff:0:0/96")


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6).filter(lambda address: address not in _MAPPED))
def test_addresses_that_this_python_considers_private_are_not_public(address: ipaddress.IPv4Address) -> None:
    assert not (is_public_address(str(address)) and address.is_private and not address.is_global)
