"""Endpoints: an address, and a port if the release reports ports (4.0+, CASSANDRA-7544).

Canonical text is `10.0.0.1`, `10.0.0.1:7000`, `2001:db8::1` or `[2001:db8::1]:7000`. Sources and documents make it with
`canonical`; everything else compares such texts, and takes them apart with the other functions here.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]+)\]|(?P<host>[^\s:/?#@\[\]\\]+))(?::(?P<port>[0-9]{1,5}))?")


def canonical(text: str) -> str:
    """The canonical text of an address with or without a port, in any spelling. A zone (`%eth0`) is dropped.

    Raises:
        ValueError: if the text is not an address; host names are not resolved.
    """
    try:
        return _ip(text)
    except ValueError:
        host, port = host_and_port(text)
    ip = _ip(host)
    if port is None:  # an address in brackets, which no release writes
        raise ValueError(f"{text!r} is not an address")
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _ip(text: str) -> str:
    return str(ip_address(text.partition("%")[0]))


def host_and_port(text: str) -> tuple[str, int | None]:
    """Host, in lower case, and port of `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`; None if there is no port.

    Raises:
        ValueError: if it has none of these forms. An IPv6 address without brackets has none.
    """
    parts = _HOST_AND_PORT.fullmatch(text)
    if parts is None or int(parts["port"] or 0) >= 2**16:
        raise ValueError(f"{text!r} is neither HOST, HOST:PORT nor [IPV6]:PORT")
    port = int(parts["port"]) if parts["port"] else None
    return parts["host"].lower() if parts["host"] else str(IPv6Address(parts["ipv6"])), port


def split(endpoint: str) -> tuple[str, int | None]:
    """Address and port of a canonical endpoint."""
    ip = ip_of(endpoint)
    return (ip, None) if ip == endpoint else (ip, int(endpoint.rpartition(":")[2]))


def ip_of(endpoint: str) -> str:
    """The address of a canonical endpoint, without its port."""
    if ":" not in endpoint:
        return endpoint
    if endpoint.startswith("["):
        return endpoint[1 : endpoint.index("]")]
    return endpoint.partition(":")[0] if endpoint.count(":") == 1 else endpoint


def has_port(endpoint: str) -> bool:
    """Whether a canonical endpoint has a port."""
    return ip_of(endpoint) != endpoint


def order(endpoint: str) -> tuple[int, int, int, str]:
    """A key to sort by: IPv4 before IPv6, numerically, then by port; texts that are not endpoints come last."""
    try:
        ip, port = split(endpoint)
        address = ip_address(ip)
    except ValueError:
        return 99, 0, 0, endpoint
    return address.version, int(address), port or 0, ""
