"""Parts of sentences for summaries."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMED = 5  # names of a list that a line of text shows


def listed(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def counted(number: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def percent(share: float) -> str:
    """A share, 0 to 1, as a percentage; never rounded to 0 or to 100."""
    if 0 < share < 0.001:  # noqa: PLR2004 - half a digit of what is printed
        return "< 0.1 %"
    return f"{min(share * 100, 99.9) if share < 1 else 100:.1f} %"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that is most similar, for "did you mean"; None if no name is similar."""
    return next(iter(get_close_matches(name, list(names), n=1)), None)
