"""The answer to one request while it comes in: bounded, and streamed if it is large.

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
LONGEST_TEXT = 200  # characters of a text from a node in a message


class Reply:
    """The decoded bytes of one answer: all of them if it is small, else the head and a way to read on."""

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
        """Whether the head is the whole answer."""
        return self._ended

    def _first(self) -> bytes:
        parts = []
        while self.bytes_read <= SMALL and (part := self._more(CHUNK)):
            parts.append(part)
        return b"".join(parts)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, the head first; the shape that ijson reads from.

        Raises:
            SourceError: if the connection breaks, the time is over or the answer is too large.
        """
        if size == 0:
            return b""  # ijson probes the type with this
        head, self.head = self.head, b""
        return head or self._more(CHUNK)

    def all(self, most: int | None = None) -> bytes:
        """Everything at once.

        Args:
            most: limit of decoded bytes, if it is lower than that of the reply.

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
        SourceError: if the reply is not a JSON document, or is larger than `WHOLE`.
        DataError: if it has more than `values` values, or exceeds another bound of `trees`.
    """
    return parsed(reply.all(WHOLE), reply.url, values)


def parsed(body: bytes, url: str, values: int = VALUES) -> Any:  # noqa: ANN401 - as document
    """The JSON document of a body that came from a URL.

    Raises:
        SourceError: if the body is not a JSON document.
        DataError: as `document`.
    """
    try:
        return tree(body, values)
    except DataError as error:
        raise DataError(f"{shown(url)}: {error}") from None
    except (ValueError, RecursionError):
        raise SourceError(f"{shown(url)}: {_what_instead(body)}", symptom="foreign") from None


def _what_instead(body: bytes) -> str:
    """A description of what came instead of a JSON document."""
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
    """A text in one line: each run of white space becomes a blank, each unprintable character a question mark."""
    return errors.printable(" ".join(text.split()))
