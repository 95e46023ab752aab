"""Which node a name on the command line means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ringcheck.cli.gate import resolve
from ringcheck.core.ring import Node
from ringcheck.errors import UsageError
from ringcheck.report.document import read_snapshot

ARTICLE = Path(__file__).parent.parent / "snapshots" / "article-healthy.json"
NODES = tuple(Node(f"10.0.0.{last}", f"{last}a-{last}") for last in (10, 21, 22))
SEEN = replace(read_snapshot(ARTICLE.read_bytes(), "article"), nodes=NODES, views=(), rings=())


@pytest.mark.parametrize(
    ("name", "address"),
    [("10.0.0.10", "10.0.0.10"), ("10.0.0.1", "10.0.0.1"), ("10.0.0.2", "10.0.0.2"), ("10a", "10.0.0.10")],
)
def test_a_whole_address_is_no_beginning_of_another(name: str, address: str) -> None:
    """10.0.0.1 must never be answered for 10.0.0.10; a part of a host id may stand for it."""
    assert resolve(name, SEEN) == address


def test_a_beginning_of_several_is_refused() -> None:
    """Nobody guesses which one was meant."""
    with pytest.raises(UsageError, match=r"2 can mean 10\.0\.0\.21, 10\.0\.0\.22"):
        resolve("2", SEEN)
