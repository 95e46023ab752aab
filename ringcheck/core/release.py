"""The release of a node, read from its ReleaseVersion.

Rules of levels, auth defaults and the choice of JMX calls all depend on it. They read it here, so that they can't
disagree about the same text; what an unreadable text means is for each of them to decide.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Release: TypeAlias = "tuple[int, int, int]"
"""Major, minor and patch number."""

_NUMBERS = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?(?![0-9])")


def parse_release(text: str | None) -> Release | None:
    """Major, minor and patch number of a ReleaseVersion; None if it does not begin with a major and a minor number.

    What follows the numbers does not count: `5.0-beta1` and `4.1.0-SNAPSHOT` are read as the releases that they become,
    and the fourth number of a vendor's build (`4.0.0.6812`) is dropped. A missing patch number is 0.
    """
    numbers = _NUMBERS.match(text or "")
    return (int(numbers[1]), int(numbers[2]), int(numbers[3] or 0)) if numbers else None
