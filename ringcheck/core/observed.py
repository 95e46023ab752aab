"""The levels that clients use, as `core.levels` determines them and a policy contains them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.consistency import Level

PATIENCE = 300.0  # seconds: the longest time between two readings of a source that does not count as a gap
WEEK = 7 * 86400.0
EVERY = "*"  # the keyspaces that no source reports by name


class Used(NamedTuple):
    """A level that clients of a datacenter use; an empty datacenter means all."""

    datacenter: str
    level: Level


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """A change of the levels in use.

    Attributes:
        keyspace: EVERY for those that no source reports by name.
        was: levels, as text.
        now: levels, as text.
        at: seconds of Unix time.
    """

    keyspace: str
    was: str
    now: str
    at: float

    @property
    def summary(self) -> str:
        """One line: `clients of orders use ALL, before LOCAL_QUORUM in dc1`."""
        whose = "clients" if self.keyspace == EVERY else f"clients of {self.keyspace}"
        return f"{whose} use {self.now}, before {self.was}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The levels in use.

    Attributes:
        keyspaces: levels by keyspace, where keyspaces are known; EVERY has those of all others.
        datacenters: all datacenters of the cluster.
        clients: datacenters with clients; empty if that is not known.
        scanned: datacenters in which clients made range scans, at levels that are not known; the default levels apply.
        unclear: what evidence is missing; empty if none is. If any is, the default levels hold in addition.
        known: whether any source shows anything of the window; if none does, `keyspaces` prove nothing.
        changes: the last ones.
        begun: keyspaces whose levels, or the lack of any, were known once: from then on each new level is a change.
    """

    keyspaces: Mapping[str, tuple[Used, ...]]
    datacenters: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    scanned: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    known: bool = True
    changes: tuple[LevelChange, ...] = ()
    begun: frozenset[str] = frozenset()

    def of(self, keyspace: str) -> tuple[Used, ...]:
        """The levels in use for a keyspace."""
        return self.keyspaces.get(keyspace, self.keyspaces.get(EVERY, ()))
