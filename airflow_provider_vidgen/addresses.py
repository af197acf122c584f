# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Which hosts are public: names by their syntax, addresses by their range. No I/O."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

#: IPv4 ranges without servers of the public internet. From the IANA IPv4 Special-Purpose Address
#: Registry (https://www.iana.org/assignments/iana-ipv4-special-registry) and the IPv4 Address Space Registry.
#: Not ``is_global`` of the standard library: patch levels of one Python version disagree about these ranges.
_NOT_PUBLIC_IPV4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private use
            "100.64.0.0/10",  # shared address space; 100.100.100.200 is a cloud's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # not in the registry: Azure's platform, on every virtual machine there
            "169.254.0.0/16",  # link local; 169.254.169.254 is most clouds' metadata
            "172.16.0.0/12",  # private use
            "192.0.0.0/24",  # IETF protocol assignments; 192.0.0.192 is a cloud's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relay anycast, deprecated
            "192.168.0.0/16",  # private use
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarking
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, limited broadcast
        ),
    )
)
#: All of IPv6 that IANA has assigned for public use (IPv6 Address Space Registry). Outside it are local,
#: multicast, discard-only and segment routing addresses: fc00::/7, fe80::/10, fec0::/10, ff00::/8, 100::/64,
#: 5f00::/16.
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
#: Its special-purpose ranges, from the IANA IPv6 Special-Purpose Address Registry
#: (https://www.iana.org/assignments/iana-ipv6-special-registry).
_NOT_PUBLIC_IPV6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID, DRIP
            "2001:db8::/32",  # documentation
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
#: IPv6 ranges whose last 32 bits are the IPv4 address that is reached: mapped, compatible, translated.
_IPV4_EMBEDDING = tuple(
    map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
)
#: A number that the C library accepts as the last part of an IPv4 address: ``127.1``, ``127.0x0.0.0x1``.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home.arpa")


def is_public_address(address: str) -> bool:
    """Whether an IP address is on the public internet; IPv4 embedded in IPv6 is treated as IPv4."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded_ipv4(ip)
        if embedded is None:
            return ip in _PUBLIC_IPV6 and not any(ip in network for network in _NOT_PUBLIC_IPV6)
        ip = embedded
    return not any(ip in network for network in _NOT_PUBLIC_IPV4)


def _embedded_ipv4(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if any(ip in network for network in _IPV4_EMBEDDING):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.sixtofour


def may_be_public_host(host: str) -> bool:
    """Whether a host is a public address, or a name that may resolve to one; a name without a dot cannot."""
    host = unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip("[]").rstrip(".").lower()
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return is_public_address(host)
    if "." not in host:
        return False
    return not any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES)
