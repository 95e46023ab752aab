"""The faults that a node's HTTP can be made to show.

Owns the kinds of fault and the bytes of false answers; knows nothing of sockets. `server` carries them out.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ringcheck.errors import UsageError

FaultKind: TypeAlias = Literal[
    "delay",  # the right reply, `seconds` late
    "drip-headers",  # the right reply, `size` bytes at a time and `seconds` apart, from its first byte on
    "drip-body",  # the same, but with the headers at once
    "reset",  # the connection is reset instead of an answer
    "truncate",  # the body ends after `size` bytes, before its announced length
    "garbage",  # bytes that are not text
    "html",  # the page of a proxy, HTTP 200
    "status",  # HTTP `status` with an empty body: 401, 403, 500, 503
    "hang",  # the request is read and never answered
    "refuse",  # connections are reset at once, or refused if the node has an address of its own
    "wrong-node",  # the right reply of another node, `node`
    "oversize",  # a reply that goes on for `size` bytes
]
KINDS: tuple[str, ...] = get_args(FaultKind)

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form>Please sign in</form></body></html>\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a node's Jolokia.

    Attributes:
        kind: what goes wrong.
        seconds: for `delay` and between drips.
        size: bytes of a drip, of a truncated body, or of an oversize one.
        status: for `status`.
        node: for `wrong-node`, the node that answers instead; None for the next one.
        times: how many requests it affects before it ends; None for all.
    """

    kind: FaultKind
    _: KW_ONLY
    seconds: float = 1.0
    size: int = 1
    status: int = 500
    node: str | None = None
    times: int | None = None

    @classmethod
    def parse(cls, document: dict[str, Any]) -> Fault:
        """A fault from a JSON object.

        Raises:
            UsageError: if the kind or a field is unknown.
        """
        if document.get("kind") not in KINDS:
            raise UsageError(f"there is no fault {document.get('kind')}: choose from {', '.join(KINDS)}")
        try:
            return cls(**document)
        except TypeError as error:
            raise UsageError(f"fault: {error}") from None

    def spent(self) -> Fault | None:
        """The fault after one more request; None if it has ended."""
        if self.times is None:
            return self
        return replace(self, times=self.times - 1) if self.times > 1 else None


def garbage(size: int) -> bytes:
    """Bytes that are neither UTF-8 nor JSON."""
    return bytes((number * 73 + 128) % 256 for number in range(max(size, 64)))
