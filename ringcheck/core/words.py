"""Parts of sentences for summaries."""

from __future__ import annotations

from difflib import SequenceMatcher, get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMED = 5  # names of a list that a line of text shows
SUGGESTED = 12  # known names that an error lists
LONGEST = 64  # characters of a name that are compared


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
    """The name that is most similar, ignoring case, for "did you mean".

    None if no name is similar, or if several are equally similar.
    """
    by_lower = {known.lower(): known for known in names}
    asked = name[:LONGEST].lower()  # difflib takes seconds for a megabyte
    near = get_close_matches(asked, list(by_lower), n=2)
    if len(near) > 1 and _similarity(near[0], asked) == _similarity(near[1], asked):
        return None
    return by_lower[near[0]] if near else None


def _similarity(known: str, asked: str) -> float:
    return SequenceMatcher(None, known, asked).ratio()


def suggestion(name: str, names: Iterable[str], most: int = SUGGESTED) -> str:
    """What to try instead of an unknown name: `did you mean dc1?`, or `known: dc1, dc2`.

    Args:
        name: the unknown name.
        names: the known names.
        most: how many of the known names to list if none is similar.
    """
    known = list(names)
    if near := nearest(name, known):
        return f"did you mean {near}?"
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"known: {', '.join(known[:most]) or 'none'}{more}"
