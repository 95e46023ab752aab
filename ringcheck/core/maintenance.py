"""Nodes that are down on purpose: who holds a restart lease, and what that excuses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """A node under a restart lease.

    Attributes:
        node: its address.
        owner: who took the lease: `user@host` and what tells one run from another.
        purpose: why, for people.
        since: UTC, `2026-01-31T23:59:59Z`.
        host_id: of the node, where it is known; its address may change while it is down.
    """

    node: str
    owner: str
    purpose: str
    since: str
    host_id: str | None = None
