"""A single parser reads a node's release for everyone."""

from __future__ import annotations

import pytest

from ringcheck.core.consistency import release
from ringcheck.core.release import Release, parse_release
from ringcheck.jolokia import mbeans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2.2.19", (2, 2, 19)),
        ("3.11.19", (3, 11, 19)),
        ("4.0-rc1", (4, 0, 0)),
        ("4.0.0-beta2", (4, 0, 0)),
        ("4.0.11.SNAPSHOT", (4, 0, 11)),
        ("4.1-SNAPSHOT", (4, 1, 0)),
        ("5.0", (5, 0, 0)),
        ("5.0-beta1", (5, 0, 0)),
        ("5.0~beta1-1", (5, 0, 0)),
        ("5.0beta1", (5, 0, 0)),
        ("6.0-alpha2", (6, 0, 0)),
        ("10.2.3", (10, 2, 3)),
        ("3.11.11.2", (3, 11, 11)),
        ("4.0.0.6812", (4, 0, 0)),  # DSE 6.8
        ("3.0.8", (3, 0, 8)),  # Scylla, which reports the Cassandra release that it is compatible with
        ("4.1.x", (4, 1, 0)),
        ("4.1.12345678901", (4, 1, 0)),
    ],
)
def test_releases(text: str, expected: Release) -> None:
    """Suffixes and a fourth number are ignored; level rules and JMX calls see the same numbers."""
    assert parse_release(text) == expected
    assert release(text) == expected[:2]
    assert mbeans.release(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "5",
        "5.",
        ".1",
        "trunk",
        "unknown",
        "v5.0",
        "-5.0",
        "\u0665.\u0660",
        "12345678901.0",
        "9" * 5000 + ".0",
    ],
)
def test_texts_that_are_no_release(text: str | None) -> None:
    """Levels are then judged by the rules of 4.0, and only calls that every release has are made."""
    assert parse_release(text) is None
    assert release(text) == (4, 0)
    assert mbeans.release(text) == mbeans.OLDEST
