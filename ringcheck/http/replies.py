"""The answer to one request while it comes in: limited in size, and streamed if it is large.

Owns bytes and JSON syntax; knows nothing of connections or of what a document means.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ringcheck.errors import SourceError
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from ringcheck.http.connections import Answer
    from ringcheck.http.loop import BufferedAnswer

MEBIBYTE = 2**20
SMALL = MEBIBYTE  # up to this size a reply is read at once; a larger one can be streamed
CHUNK = 64 * 1024
LONGEST_TEXT = 200  # characters of a remote text that a message quotes


def shown(url: str) -> str:
    """A URL without credentials, query and fragment, for messages."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


class Reply:
    """The decoded bytes of one answer: all of them if it is small, else the first ones and a way to read on."""

    def __init__(self, raw: Answer | BufferedAnswer, url: str, max_bytes: int) -> None:
        """Read up to `SMALL` bytes.

        Args:
            raw: the answer, with its body not read yet.
            url: of the request, for messages.
            max_bytes: decoded bytes, at most.

        Raises:
            SourceError: as `read`.
        """
        self.url = url
        self.bytes_read = 0
        self._raw = raw
        self._max_bytes = max_bytes
        self._ended = False
        self.head = self._first()

    @property
    def whole(self) -> bool:
        """Whether `head` is the complete body."""
        return self._ended

    def _first(self) -> bytes:
        parts = []
        while self.bytes_read <= SMALL and (part := self._more(CHUNK)):
            parts.append(part)
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, `head` first; empty at the end. `size` is only a hint: ijson needs a file-like object.

        Raises:
            SourceError: if the answer is too large.
        """
        if size == 0:
            return b""  # ijson probes the type with this
        head, self.head = self.head, b""
        return head or self._more(CHUNK)

    def all(self) -> bytes:
        """All bytes that were not read yet."""
        return b"".join(iter(self.read, b""))

    def _more(self, size: int) -> bytes:
        part = b"" if self._ended else self._raw.read(size)
        self._ended = not part
        self.bytes_read += len(part)
        if self.bytes_read > self._max_bytes:
            limit = f"{self._max_bytes / MEBIBYTE:.3g} MiB"
            raise SourceError(f"{shown(self.url)}: the answer is larger than {limit}, which is refused")
        return part


def document(reply: Reply) -> Any:  # noqa: ANN401 - JSON of any shape, for the caller to judge
    """The JSON document of a reply.

    Raises:
        SourceError: if the body is not JSON, or too large.
    """
    return parsed(reply.all(), reply.url)


def parsed(body: bytes, url: str) -> Any:  # noqa: ANN401 - as document
    """The JSON document of a body that came from a URL.

    Raises:
        SourceError: if the body is not JSON; the message describes what it is instead.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise SourceError(f"{shown(url)}: {_what_instead(body)}") from None


def _what_instead(body: bytes) -> str:
    """A description of a body that is not JSON."""
    start = body.lstrip()[:200].lower()
    if not start:
        return "the answer is empty"
    if start.startswith(b"<"):
        return "answered HTML instead of JSON: is this the URL of a Jolokia agent?"
    if start[:1] in b"{[":
        return f"the JSON of the answer is broken or cut off after {len(body)} bytes"
    return f"the answer is not JSON: {one_line(start)}"


def one_line(body: bytes) -> str:
    """The beginning of a text body in one printable line, at most 100 characters."""
    return printable(body[:200].decode("utf-8", "replace"))[:100]


def printable(text: str) -> str:
    """A text in one line: each run of white space becomes a blank, each unprintable character a question mark."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
