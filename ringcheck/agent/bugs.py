"""The text of an unexpected error, in one line: a bug in ringcheck, or a limit of its host."""

from __future__ import annotations

import traceback
from pathlib import PurePath

from ringcheck.errors import limit_of, one_line

TEXT_BYTES = 270  # as escapes in the log up to 810: the log cuts at 1,000, and the location must still follow


def bug_text(error: BaseException) -> str:
    """The type and text of an error, without its location: for answers to clients."""
    return limit_of(error) or f"this is a bug in ringcheck: {type(error).__name__}: {one_line(str(error), TEXT_BYTES)}"


def located_bug(error: BaseException) -> str:
    """The text of `bug_text` with the file and line that raised the error: for the log."""
    if what := limit_of(error):
        return what
    return f"{bug_text(error)}{location(error)}"


def location(error: BaseException) -> str:
    """The file and line that raised an error, as ` (watch.py:12)`; empty if it was not raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({PurePath(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
