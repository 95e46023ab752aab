"""What a node's HTTP can do wrong, at will.

Owns the kinds of fault and the bytes of false answers; knows nothing of sockets. The server asks what to send
instead of, or how to send, an honest reply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ringcheck.errors import UsageError

FaultKind: TypeAlias = Literal[
    "delay",  # the honest reply, `seconds` late
    "drip-headers",  # `size` bytes at a time, `seconds` apart, from the first byte on
    "drip-body",  # the same, after whole headers
    "reset",  # the connection is reset instead of an answer
    "truncate",  # the body ends after `size` bytes, though its length was announced
    "garbage",  # bytes that are no text
    "html",  # a proxy's page, HTTP 200
    "status",  # HTTP `status` with an empty body: 401, 403, 500, 503
    "hang",  # the request is read and never answered
    "refuse",  # connections are closed at once; refused where the node has its own address
    "wrong-node",  # the honest reply of another node, `node`
    "oversize",  # a reply that goes on for `size` bytes
]
KINDS: tuple[str, ...] = get_args(FaultKind)

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Please sign in</form></body></html>\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong.

    Attributes:
        kind: see above.
        seconds: of delay, or between drips.
        size: bytes a drip, of a truncated body, or of an oversize one.
        status: HTTP status.
        node: whose answers to give.
        times: how many requests it spoils before it is over; None is for good.
    """

    kind: FaultKind
    seconds: float = 1.0
    size: int = 1
    status: int = 500
    node: str | None = None
    times: int | None = None

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Fault:
        """A fault from a JSON object.

        Raises:
            UsageError: for an unknown kind or field.
        """
        if document.get("kind") not in KINDS:
            raise UsageError(f"there is no fault {document.get('kind')}: choose from {', '.join(KINDS)}")
        try:
            return cls(**document)
        except TypeError as error:
            raise UsageError(f"fault: {error}") from None

    def spent(self) -> Fault | None:
        """What is left of it after one more request."""
        if self.times is None:
            return self
        return replace(self, times=self.times - 1) if self.times > 1 else None


def garbage(size: int) -> bytes:
    """Bytes that are neither UTF-8 nor JSON."""
    return bytes((number * 73 + 128) % 256 for number in range(max(size, 64)))
