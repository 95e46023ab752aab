"""Endpoints: an address, and a port where the release tells ports (4.0+, CASSANDRA-7544).

Canonical text is `10.0.0.1`, `10.0.0.1:7000`, `2001:db8::1` or `[2001:db8::1]:7000`.
"""

from __future__ import annotations


def ip_of(endpoint: str) -> str:
    """The address of a canonical endpoint, without its port."""
    if endpoint.startswith("["):
        return endpoint[1 : endpoint.index("]")]
    return endpoint.partition(":")[0] if endpoint.count(":") == 1 else endpoint


def has_port(endpoint: str) -> bool:
    """Whether a canonical endpoint names a port."""
    return ip_of(endpoint) != endpoint
