"""What can go wrong, whose fault it is, and the form in which it is printed.

Every error that ringcheck raises on purpose is one of these; a command turns each into one line and exit code 3.
Anything else that escapes is a bug in ringcheck. The text of an error may hold what a node or a file said, so each
output passes it through `one_line`.
"""

from __future__ import annotations

import errno

LINE_BYTES = 1000  # of an error that is printed; old releases of check_nrpe cut a line at 1,023 without notice


def one_line(text: str, most: int = LINE_BYTES) -> str:
    """The text as one line that is safe to print: at most so many bytes of UTF-8.

    White space becomes a blank. `?` stands for what can't be printed or encoded: control characters and escape
    sequences, marks that change the direction of text, lone surrogates.
    """
    return cut(printable(" ".join(text.split())), most)


def printable(text: str) -> str:
    """The text with `?` for every character that can't be printed or encoded, line breaks included."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def cut(text: str, most: int = LINE_BYTES) -> str:
    """The beginning of a printable text, with `...` at its end if it has more than so many bytes of UTF-8."""
    if len(text) * 4 <= most:
        return text
    encoded = text.encode()
    return text if len(encoded) <= most else f"{encoded[: most - 3].decode(errors='ignore')}..."


class RingcheckError(Exception):
    """Base of all errors raised on purpose; its text is one line for an operator."""


class UsageError(RingcheckError):
    """The caller's fault: an option, argument or name that can't be used.

    Attributes:
        step: what to do; empty if the text says it.
    """

    def __init__(self, message: str, step: str = "") -> None:
        super().__init__(message)
        self.step = step


class ConfigError(UsageError):
    """The configuration's fault; the text starts with `file:line:column:`."""


class DataError(RingcheckError):
    """The source's fault: what it said is missing, truncated, contradictory or not understood."""


class RingError(DataError):
    """Ranges that do not tile the ring, an unknown partitioner, or replicas that are not nodes."""


class SourceError(RingcheckError):
    """The source could not be asked, so that there are no data. `kind` says how.

    Attributes:
        kind: `unreachable` (no connection, timeout), `denied` (401, 403) or `error` (an answer that can't be used).
        symptom: what an operator can do something about: `refused`, `name`, `silent`, `closed`, `not_tls`, `not_http`,
            `untrusted`, `wrong_name`, `expired`, `not_yet` (the certificate is not valid yet), `login_missing`,
            `login_wrong`, `forbidden`, `path`, `redirect`, `status` (another HTTP status than 200) or `foreign` (the
            answer of another program); of a node's JMX, which a proxy asked, `jmx_refused`, `jmx_moved`, `jmx_silent`,
            `jmx_packets`, `jmx_name`, `jmx_protocol`, `jmx_tls`, `jmx_login` or `jmx_target`; empty for anything else.
        asked: what was asked: `jolokia`, `proxy` or `agent`.
    """

    asked = "jolokia"

    def __init__(self, message: str, kind: str = "error", symptom: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.symptom = symptom


class GoneError(SourceError):
    """Nothing listens any more where the node itself is: its own address refuses connections, not that of a proxy."""


class DeniedError(SourceError):
    """The source refuses every request, not only one item of it: asking it for something else is of no use."""

    def __init__(self, message: str, symptom: str = "") -> None:
        super().__init__(message, "denied", symptom)


class LimitError(RingcheckError):
    """This host's fault: it has no memory, descriptor, thread or disk space left for what ringcheck must do."""


_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_THREAD = "can't start new thread"  # the text of Python's RuntimeError


def limit_of(error: BaseException | None) -> str:
    """What this host has run out of, in words, if an error or one of its causes says so; empty for any other error."""
    while error is not None:
        if isinstance(error, MemoryError):
            return "this host is at a limit: out of memory"
        if isinstance(error, OSError) and error.errno in _LIMITS:
            return f"this host is at a limit: {(error.strerror or str(error)).lower()}"
        if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
            return f"this host is at a limit: {_NO_THREAD}"
        error = error.__cause__
    return ""
