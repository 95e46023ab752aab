"""The text of an error that nobody expected: a bug of ringcheck, in one line."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from ringcheck.errors import one_line

TEXT_BYTES = 270  # up to 810 as escapes in the log, which cuts at 1,000; the location must follow


def bug_text(error: Exception) -> str:
    """The type and text of an error, without its location: for answers to clients."""
    return f"this is a bug of ringcheck: {type(error).__name__}: {one_line(str(error), TEXT_BYTES)}"


def located_bug(error: Exception) -> str:
    """The same with the file and line that raised it: for the log."""
    frames = traceback.extract_tb(error.__traceback__)
    location = f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return bug_text(error) + location
