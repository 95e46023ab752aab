"""`ringcheck check` through a proxy for JMX against `nodetool describering`: whole processes, alternately."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import Row, compared
from tests.benchmarks.check_vs_nodetool import KEYSPACES, VNODES, measured

if TYPE_CHECKING:
    from collections.abc import Iterator


def run() -> Iterator[Row]:
    for one in measured(jolokia="none"):
        what = f"check through a proxy, 3 nodes of {VNODES} vnodes, {KEYSPACES} keyspaces"
        other = f"nodetool describering of {KEYSPACES}"
        yield compared(what, one.check, other, one.all_, budget=1 / 10, text="<= 1/10")
