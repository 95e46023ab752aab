"""The answer to one request while it comes in: bounded, and streamed where it is large.

Owns bytes and JSON documents; knows nothing of connections or of what a document means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ringcheck import errors
from ringcheck.errors import DataError, SourceError
from ringcheck.http.trees import VALUES, tree
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from ringcheck.http.connections import Answer
    from ringcheck.http.loop import BufferedAnswer

MEBIBYTE = 2**20
SMALL = MEBIBYTE  # a reply up to here is read at once; a larger one can be streamed
# A reply that is decoded at once. The largest that real clusters give is the text of gossip, 1.5 KB a node: this is
# enough for 10,000 nodes. One character outside Latin-1 makes a text take four times its bytes, twice while decoded.
WHOLE = 16 * MEBIBYTE
CHUNK = 64 * 1024
LONGEST_TEXT = 200  # characters of something that a node said


class Reply:
    """The decoded bytes of one answer: all of them where it is small, else the head and a way to read on."""

    def __init__(self, raw: Answer | BufferedAnswer, url: str, max_bytes: int) -> None:
        """Read up to `SMALL` bytes.

        Args:
            raw: the answer, its body not read.
            url: for messages.
            max_bytes: decoded bytes at most.

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
        """Whether the head is all there is."""
        return self._ended

    def _first(self) -> bytes:
        parts = []
        while self.bytes_read <= SMALL and (part := self._more(CHUNK)):
            parts.append(part)
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, the head first; the shape that ijson reads from.

        Raises:
            SourceError: if the connection breaks, time is over or the answer is larger than may be.
        """
        if size == 0:
            return b""  # ijson probes the type with this
        head, self.head = self.head, b""
        return head or self._more(CHUNK)

    def all(self, most: int | None = None) -> bytes:
        """Everything at once.

        Args:
            most: decoded bytes, if fewer than the whole reply may have.

        Raises:
            SourceError: as `read`.
        """
        self._max_bytes = min(self._max_bytes, most or self._max_bytes)
        return b"".join(iter(self.read, b""))

    def _more(self, size: int) -> bytes:
        part = b"" if self._ended else self._raw.read(size)
        self._ended = not part
        self.bytes_read += len(part)
        if self.bytes_read > self._max_bytes:
            limit = f"{self._max_bytes / MEBIBYTE:.3g} MiB"
            raise SourceError(f"{shown(self.url)}: the answer is larger than {limit}, which is refused")
        return part


def document(reply: Reply, values: int = VALUES) -> Any:  # noqa: ANN401 - decoded JSON is any shape; jolokia.outcomes judges it
    """The JSON document of a reply.

    Raises:
        SourceError: if it is none, or larger than `WHOLE`.
        DataError: if it has more values than given, or is otherwise out of the bounds of `trees`.
    """
    return parsed(reply.all(WHOLE), reply.url, values)


def parsed(body: bytes, url: str, values: int = VALUES) -> Any:  # noqa: ANN401 - as document
    """The JSON document of a body that came from a URL.

    Raises:
        SourceError: if it is none.
        DataError: as `document`.
    """
    try:
        return tree(body, values)
    except DataError as error:
        raise DataError(f"{shown(url)}: {error}") from None
    except (ValueError, RecursionError):
        raise SourceError(f"{shown(url)}: {_what_instead(body)}") from None


def _what_instead(body: bytes) -> str:
    """What came in place of a JSON document, in words."""
    start = body.lstrip()[:200].lower()
    if not start:
        return "the answer is empty"
    if start.startswith(b"<"):
        return "answered HTML instead of JSON: is this the URL of a Jolokia agent?"
    if start[:1] in b"{[":
        return f"the JSON of the answer is broken or cut off after {len(body)} bytes"
    return f"the answer is not JSON: {one_line(start)}"


def one_line(body: bytes) -> str:
    """The first words of a text body, printable and short."""
    return printable(body[:200].decode("utf-8", "replace"))[:100]


def printable(text: str) -> str:
    """A text in one line: white space is one blank, and what can't be printed or encoded a question mark."""
    return errors.printable(" ".join(text.split()))
