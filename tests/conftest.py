"""Settings of all tests: how many random examples hypothesis makes, and whether a run can be repeated."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# A factor for the number of examples of each test. Up to 1, every run makes the same examples, so that a failure can be
# repeated anywhere; above 1, every run makes new ones.
FACTOR = float(os.environ.get("RINGCHECK_EXAMPLES", "1"))


def examples(count: int) -> int:
    """How many examples a test makes in this run if it makes `count` of them in a full run."""
    return max(1, round(count * FACTOR))


settings.register_profile(
    "ci", max_examples=examples(100), deadline=None, derandomize=True, print_blob=True, database=None
)
settings.register_profile("more", max_examples=examples(100), deadline=None, print_blob=True)
settings.load_profile("ci" if FACTOR <= 1 else "more")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first: if one of them began last, a parallel run would wait for it alone."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """Undo what a test does to the signals of its process: `ringcheck agent` blocks them, and programs inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
