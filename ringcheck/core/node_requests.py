"""The counters of client requests that one node reported, as a snapshot has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequests:
    """The counters of one node.

    Attributes:
        node: host id; the address if it is not known.
        address: for texts.
        datacenter: empty if it is not known.
        release: ReleaseVersion; None if it is not known.
        auth_read_level: the level at which it reads system_auth when a client logs in; None if it is not known.
        started: when the process was started, in seconds of Unix time by the node's clock; None if it is not known.
        generation: of its gossip state, about the same time; it may rise without a restart. None if it is not known.
        counts: counters by name, with the names of `core.uses`; None if they could not be read.
        problem: why they could not be read; empty if they could be read, or if the release has none.
    """

    node: str
    address: str
    datacenter: str = ""
    release: str | None = None
    auth_read_level: str | None = None
    started: float | None = None
    generation: int | None = None
    counts: Mapping[str, int] | None = None
    problem: str = ""
