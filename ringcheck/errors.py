"""What can go wrong, and whose fault it is.

Every error that ringcheck raises on purpose is one of these; a command turns each into one line and exit code 3.
Anything else that escapes is a bug of ringcheck.
"""

from __future__ import annotations


class RingcheckError(Exception):
    """Base of all errors raised on purpose; its text is one line for an operator."""


class UsageError(RingcheckError):
    """The caller's fault: an option, argument or name that can't be used."""


class ConfigError(UsageError):
    """The configuration's fault; the text starts with `file:line:column:`."""


class DataError(RingcheckError):
    """The source's fault: what it said is missing, truncated, contradictory or not understood."""


class RingError(DataError):
    """Ranges that do not tile the ring, an unknown partitioner, or replicas that name no node."""


class SourceError(RingcheckError):
    """Nobody's data: the source could not be asked. `kind` says how.

    Attributes:
        kind: `unreachable` (no connection, timeout), `denied` (401, 403) or `error` (an answer that is none).
    """

    def __init__(self, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.kind = kind


class GoneError(SourceError):
    """Nothing listens any more where the node itself is: its own address refuses connections, not that of a proxy."""


class DeniedError(SourceError):
    """The source refuses every request, not only one item of it: asking it for something else is of no use."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "denied")
