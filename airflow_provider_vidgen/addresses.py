# Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
# compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

"""Which hosts are public. No I/O: names are judged by their look, addresses by their range."""

from __future__ import annotations

import ipaddress
import re
import unicodedata

#: IPv6 ranges whose last 32 bits are the IPv4 address that is reached.
_IPV4_INSIDE = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
#: IPv6 ranges of local use that the standard library calls global.
_LOCAL_IPV6 = tuple(map(ipaddress.IPv6Network, ("fec0::/10", "64:ff9b:1::/48")))
#: What the C library takes for (the last part of) an IPv4 address: ``127.1``, ``0x7f.1``, ``127.0x0.0.1``.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)
_LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home.arpa")


def is_public_address(address: str) -> bool:
    """Whether an IP address is on the public internet; IPv4 inside IPv6 is judged as the IPv4 it is."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if any(ip in network for network in _LOCAL_IPV6):
            return False
        if embedded is not None:
            ip = embedded
        elif any(ip in network for network in _IPV4_INSIDE):
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.is_global and not ip.is_multicast


def may_be_public_host(host: str) -> bool:
    """Whether a host is a public address, or a name that could lead to one; one without a dot cannot."""
    host = unicodedata.normalize("NFKC", host).replace("\u3002", ".").strip("[]").rstrip(".").lower()
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):
        return is_public_address(host)
    if "." not in host:
        return False
    return not any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES)
