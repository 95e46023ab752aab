"""An endpoint has a single text, and text with host and port is parsed in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.core.endpoint import canonical, has_port, host_and_port, ip_of, order, split

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:07000", "10.0.0.1:7000"),
        ("[10.0.0.1]:7000", None),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("[2001:db8:0::1]:7000", "[2001:db8::1]:7000"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%2]:7000", "[fe80::1]:7000"),
        ("[2001:db8::1]", None),
        ("10.0.0.256", None),
        ("10.0.0.1:", None),
        ("10.0.0.1:65536", None),
        ("10.0.0.1:x", None),
        ("db7", None),
        ("db7:7000", None),
        ("", None),
    ],
)
def test_canonical_endpoints(text: str, expected: str | None) -> None:
    """Every spelling of an address gets the same text; anything else is refused."""
    if expected is None:
        with pytest.raises(ValueError, match=r"address|HOST|At least 3 parts"):
            canonical(text)
    else:
        assert canonical(text) == expected


@given(st.ip_addresses(), st.integers(0, 65535))
def test_canonical_endpoints_stay_as_they_are(ip: IPv4Address | IPv6Address, port: int) -> None:
    """This holds with and without a port; address and port can be parsed back from the text."""
    written = f"[{ip.exploded}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    endpoint = canonical(written)
    assert canonical(endpoint) == endpoint
    assert (split(endpoint), ip_of(endpoint), has_port(endpoint)) == ((str(ip), port), str(ip), True)
    bare = canonical(ip.exploded)
    assert (bare, split(bare), ip_of(bare), has_port(bare)) == (str(ip), (str(ip), None), str(ip), False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cas1", ("cas1", None)),
        ("Cas1.Example.org:9000", ("cas1.example.org", 9000)),
        ("10.0.0.1:0", ("10.0.0.1", 0)),
        ("[2001:db8:0::1]:9000", ("2001:db8::1", 9000)),
        ("[::1]", ("::1", None)),
    ],
)
def test_hosts_and_ports(text: str, expected: tuple[str, int | None]) -> None:
    """Names are not resolved; IPv6 addresses need brackets."""
    assert host_and_port(text) == expected


@pytest.mark.parametrize(
    "text", ["", "::1", "cas1:", "cas1:x", "cas1:99999", "a b", "user@cas1", "cas1/path", "[cas1]:1", "[::1", "[::1]9"]
)
def test_texts_that_are_no_host_and_port(text: str) -> None:
    """They are refused, so that no part of a URL is taken for a host."""
    with pytest.raises(ValueError, match=r"HOST|At least 3 parts"):
        host_and_port(text)


def test_endpoints_are_ordered_as_numbers() -> None:
    """10.0.0.9 comes before 10.0.0.10, IPv4 before IPv6, then ports in order; text that is no endpoint comes last."""
    wanted = ["10.0.0.9", "10.0.0.9:7001", "10.0.0.10", "2001:db8::9", "2001:db8::10", "[2001:db8::10]:7000", "x", "y"]
    as_text = sorted(wanted)
    assert as_text != wanted
    assert sorted(as_text, key=order) == wanted
