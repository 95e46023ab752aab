"""The record of a cluster's restart leases, `ringcheck/leases/1`: what it holds, and how each step changes it.

Pure: knows nothing of where a record is kept. A step makes a new document; whoever keeps the record replaces the old
one by it only if nobody else did in between. Fields that this release does not know stay as they are.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ringcheck.core.maintenance import Holder
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

SCHEMA = "ringcheck/leases/1"
HISTORY = 50  # leases taken away that a record remembers
LONGEST = 500  # characters of what people write: a reason, a purpose
MAX_BYTES = 2**20  # of a record; etcd itself takes 1.5 MiB

Json = dict[str, Any]


class LeaseError(RingcheckError):
    """Who holds which lease is in doubt: nothing may be stopped."""


class HeldError(LeaseError):
    """A node is under the lease of another owner; nothing was changed.

    Attributes:
        holders: those leases.
    """

    def __init__(self, holders: Sequence[Holder]) -> None:
        self.holders = tuple(holders)
        told = "; ".join(f"{one.node} is under the restart lease of {one.owner} since {one.since}" for one in holders)
        super().__init__(told)


class NotHeldError(LeaseError):
    """A lease that is to be taken away is nobody's."""


class Taken(NamedTuple):
    """A lease that somebody took away from its holder.

    Attributes:
        holder: as it was.
        by: who did it.
        reason: why, for people.
        at: UTC, `2026-01-31T23:59:59Z`.
    """

    holder: Holder
    by: str
    reason: str
    at: str


class Record:
    """One cluster's leases as one document; never changed in place."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = dict(document)
        self.holders = tuple(_holder(one) for one in self._document["holders"])
        self.history = tuple(_taken(one) for one in self._document.get("history", ()))
        if len({one.node for one in self.holders}) < len(self.holders):
            raise ValueError("a node stands in it twice")

    @classmethod
    def empty(cls, cluster: str) -> Record:
        """The record of a cluster of which none is kept yet."""
        return cls({"schema": SCHEMA, "cluster": cluster, "holders": [], "history": []})

    @classmethod
    def parse(cls, text: str | bytes, cluster: str, where: str) -> Record:
        """A record from its JSON.

        Args:
            text: what is kept.
            cluster: whose it must be.
            where: for errors.

        Raises:
            LeaseError: if it is no record, or another cluster's; it must not be written over then.
        """
        try:
            document = json.loads(text)
            _check(document, cluster)
            return cls(document)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__} {error}" if isinstance(error, KeyError | TypeError) else str(error)
            raise LeaseError(f"{where} holds no record of leases of {cluster} that can be read: {why}") from None

    def dump(self) -> bytes:
        """Its JSON."""
        return json.dumps(self._document, separators=(",", ":")).encode()

    def with_(self, wanted: Sequence[Holder], grant: str) -> Record:
        """The record with more leases; a node that its owner holds already keeps its time.

        Args:
            wanted: all of one owner.
            grant: marks these entries as this caller's; see `without`.

        Raises:
            HeldError: if another owner has one of the nodes.
        """
        others = [one for one in self.holders if any(_same(one, new) and one.owner != new.owner for new in wanted)]
        if others:
            raise HeldError(others)
        stay = [one for one in self._document["holders"] if not any(_same(_holder(one), new) for new in wanted)]
        return self._with(holders=stay + [self._entry(new) | {"grant": grant} for new in wanted])

    def _entry(self, new: Holder) -> Json:
        for at, one in enumerate(self.holders):
            if _same(one, new):
                return {**self._document["holders"][at], "node": new.node, "host_id": new.host_id or one.host_id}
        return {**_fields(new), "purpose": new.purpose[:LONGEST]}

    def kept(self, wanted: Sequence[Holder], grant: str) -> frozenset[str]:
        """Those of the wanted nodes that stand here, but for entries with this mark."""
        others = [
            one for one, its in zip(self.holders, self._document["holders"], strict=True) if its.get("grant") != grant
        ]
        return frozenset(new.node for new in wanted if any(_same(one, new) for one in others))

    def without(self, nodes: Collection[str], owner: str, grant: str | None = None) -> Record:
        """The record without some nodes' leases; nodes that have none are passed over.

        Args:
            nodes: addresses.
            owner: whose leases they are.
            grant: leave those that anyone has asked for again since they were marked so.

        Raises:
            HeldError: if another owner has one of the nodes.
        """
        others = [one for one in self.holders if one.node in nodes and one.owner != owner]
        if others and grant is None:
            raise HeldError(others)
        return self._with(holders=[one for one in self._document["holders"] if not _goes(one, nodes, owner, grant)])

    def taken(self, node: str, by: str, reason: str, at: str) -> tuple[Record, Holder]:
        """The record with a node's lease moved to its history, and the lease.

        Raises:
            NotHeldError: if the node is under no lease.
        """
        holder = next((one for one in self.holders if one.node == node), None)
        if holder is None:
            raise NotHeldError(f"{node} is under no restart lease")
        told = {**_fields(holder), "taken_at": at, "by": by, "reason": reason[:LONGEST]}
        rest = [one for one in self._document["holders"] if one["node"] != node]
        return self._with(holders=rest, history=[*self._document.get("history", ()), told][-HISTORY:]), holder

    def _with(self, **fields: Iterable[Json]) -> Record:
        return Record({**self._document, **fields})


def _check(document: Any, cluster: str) -> None:  # noqa: ANN401 - decoded JSON
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else document
        raise ValueError(f"its schema is {str(found)[:40]!r}, and this release reads {SCHEMA!r}")
    if document.get("cluster") != cluster:
        raise ValueError(f"it is that of {str(document.get('cluster'))[:80]!r}")
    if not isinstance(document["holders"], list) or not isinstance(document.get("history", []), list):
        raise TypeError("holders and history are lists")


_REQUIRED = ("node", "owner", "purpose", "since")


def _holder(one: Mapping[str, Any]) -> Holder:
    host_id = one.get("host_id")
    if not all(isinstance(one[name], str) for name in _REQUIRED) or not isinstance(host_id, str | None):
        raise TypeError("a holder's fields are text")
    if not one["node"] or not one["owner"]:
        raise ValueError("a holder has no node or no owner")
    datetime.fromisoformat(one["since"])
    return Holder(node=one["node"], owner=one["owner"], purpose=one["purpose"], since=one["since"], host_id=host_id)


def _taken(one: Mapping[str, Any]) -> Taken:
    by, reason, at = one["by"], one["reason"], one["taken_at"]
    if not all(isinstance(text, str) for text in (by, reason, at)):
        raise TypeError("the history's fields are text")
    return Taken(_holder(one), by, reason, at)


def _fields(holder: Holder) -> Json:
    return {name: getattr(holder, name) for name in Holder.__slots__}


def _same(one: Holder, other: Holder) -> bool:
    """Whether two leases are about one node, whose address may have changed."""
    return one.node == other.node or (one.host_id is not None and one.host_id == other.host_id)


def _goes(one: Mapping[str, Any], nodes: Collection[str], owner: str, grant: str | None) -> bool:
    return one["node"] in nodes and one["owner"] == owner and grant in {None, one.get("grant")}
