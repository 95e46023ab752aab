"""The record of a cluster's restart leases, `ringcheck/leases/1`: its content, and how each step changes it.

Pure: knows nothing of stores. A step returns a new record, and the store replaces the old one by it only if nobody else
replaced it in between. Fields that this release does not know are kept as they are.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ringcheck.core.maintenance import Holder
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ringcheck.core.gate import Decision
    from ringcheck.documents.fields import Json

SCHEMA = "ringcheck/leases/1"
HISTORY = 50  # most leases in the history of a record
LONGEST = 500  # characters of a reason or a purpose; longer ones are cut
MAX_BYTES = 2**20  # of a record; etcd itself accepts requests up to 1.5 MiB


class LeaseError(RingcheckError):
    """It is in doubt who holds which lease: no node may be stopped.

    Attributes:
        decision: what the gate had decided before the error; None if it was not asked.
    """

    decision: Decision | None = None

    @property
    def unsafe(self) -> bool:
        """Whether the stop is known to be unsafe, whatever is in doubt."""
        return self.decision is not None and self.decision.decision == "unsafe"


class HeldError(LeaseError):
    """Another owner holds the lease of a node; nothing was changed.

    Attributes:
        holders: the leases in the way.
    """

    unsafe = True

    def __init__(self, holders: Sequence[Holder]) -> None:
        self.holders = tuple(holders)
        super().__init__(
            "; ".join(
                f"{lease.node} is under the restart lease of {lease.owner} since {lease.since}" for lease in holders
            )
        )


class NotHeldError(LeaseError):
    """The node has no lease that could be taken away."""


class Taken(NamedTuple):
    """A lease that was taken away from its owner.

    Attributes:
        holder: the lease as it was.
        by: who took it away.
        reason: why, for people.
        at: time in UTC, `2026-01-31T23:59:59Z`.
    """

    holder: Holder
    by: str
    reason: str
    at: str


class Record:
    """The leases of one cluster as one document; immutable."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = dict(document)
        self.holders = tuple(map(_holder, self._document["holders"]))
        self.history = tuple(map(_taken, self._document.get("history", ())))
        if len({lease.node for lease in self.holders}) < len(self.holders):
            raise ValueError("it has two leases for one node")

    @classmethod
    def empty(cls, cluster: str) -> Record:
        """The record of a cluster that has none stored yet."""
        return cls({"schema": SCHEMA, "cluster": cluster, "holders": [], "history": []})

    @classmethod
    def parse(cls, text: str | bytes, cluster: str, where: str) -> Record:
        """Parse a record.

        Args:
            text: JSON.
            cluster: the cluster that it must belong to.
            where: location of the record, for errors.

        Raises:
            LeaseError: the text is not a record, or it is the record of another cluster, which must not be overwritten.
        """
        try:
            document = json.loads(text)
            _check(document, cluster)
            return cls(document)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            why = f"{type(error).__name__} {error}" if isinstance(error, KeyError | TypeError) else str(error)
            raise LeaseError(f"{where} has no readable lease record of {cluster}: {why}") from None

    def dump(self) -> bytes:
        """The record as JSON."""
        return json.dumps(self._document, separators=(",", ":")).encode()

    def with_(self, wanted: Sequence[Holder], grant: str) -> Record:
        """The record with more leases; asking again for a node that its owner already holds keeps its original time.

        Args:
            wanted: leases of one owner.
            grant: mark of these entries; see `without`.

        Raises:
            HeldError: another owner holds one of the nodes.
        """
        foreign = [
            lease for lease in self.holders if any(_same(lease, new) and lease.owner != new.owner for new in wanted)
        ]
        if foreign:
            raise HeldError(foreign)
        others = [entry for entry in self._document["holders"] if not any(_same(_holder(entry), new) for new in wanted)]
        return self._with(holders=others + [self._entry(new) | {"grant": grant} for new in wanted])

    def _entry(self, new: Holder) -> Json:
        for lease, entry in zip(self.holders, self._document["holders"], strict=True):
            if _same(lease, new):
                return {**entry, "node": new.node, "host_id": new.host_id or lease.host_id}
        return {**_fields(new), "purpose": new.purpose[:LONGEST]}

    def kept(self, wanted: Sequence[Holder], grant: str) -> frozenset[str]:
        """The wanted nodes that already have a lease, leases with this mark left out."""
        entries = zip(self.holders, self._document["holders"], strict=True)
        earlier = [lease for lease, entry in entries if entry.get("grant") != grant]
        return frozenset(new.node for new in wanted if any(_same(lease, new) for lease in earlier))

    def without(self, nodes: Collection[str], owner: str, grant: str | None = None) -> Record:
        """The record without the leases of some nodes; nodes without a lease are ignored.

        Args:
            nodes: addresses.
            owner: the owner of the leases.
            grant: remove only entries with this mark; a later request for the same node replaces the mark.

        Raises:
            HeldError: another owner holds one of the nodes, and no mark was given.
        """
        foreign = [lease for lease in self.holders if lease.node in nodes and lease.owner != owner]
        if foreign and grant is None:
            raise HeldError(foreign)
        entries = self._document["holders"]
        return self._with(holders=[entry for entry in entries if not _matches(entry, nodes, owner, grant)])

    def taken(self, node: str, by: str, reason: str, at: str) -> tuple[Record, Holder]:
        """The record with a node's lease moved to the history, and the lease.

        Raises:
            NotHeldError: the node has no lease.
        """
        holder = next((lease for lease in self.holders if lease.node == node), None)
        if holder is None:
            raise NotHeldError(f"{node} is under no restart lease")
        taken = {**_fields(holder), "taken_at": at, "by": by, "reason": reason[:LONGEST]}
        others = [entry for entry in self._document["holders"] if entry["node"] != node]
        return self._with(holders=others, history=[*self._document.get("history", ()), taken][-HISTORY:]), holder

    def _with(self, **fields: Iterable[Json]) -> Record:
        return Record({**self._document, **fields})


def _check(document: Any, cluster: str) -> None:  # noqa: ANN401 - decoded JSON
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        schema = document.get("schema") if isinstance(document, dict) else document
        raise ValueError(f"its schema is {str(schema)[:40]!r}, and this release reads {SCHEMA!r}")
    if document.get("cluster") != cluster:
        raise ValueError(f"it belongs to cluster {str(document.get('cluster'))[:80]!r}")
    if not isinstance(document["holders"], list) or not isinstance(document.get("history", []), list):
        raise TypeError("holders and history must be lists")


_REQUIRED = ("node", "owner", "purpose", "since")


def _holder(entry: Mapping[str, Any]) -> Holder:
    host_id = entry.get("host_id")
    if not all(isinstance(entry[name], str) for name in _REQUIRED) or not isinstance(host_id, str | None):
        raise TypeError("the fields of a holder must be text")
    if not entry["node"] or not entry["owner"]:
        raise ValueError("a holder has no node or no owner")
    datetime.fromisoformat(entry["since"])
    return Holder(**{name: entry[name] for name in _REQUIRED}, host_id=host_id)


def _taken(entry: Mapping[str, Any]) -> Taken:
    by, reason, at = entry["by"], entry["reason"], entry["taken_at"]
    if not all(isinstance(text, str) for text in (by, reason, at)):
        raise TypeError("the fields of the history must be text")
    return Taken(holder=_holder(entry), by=by, reason=reason, at=at)


def _fields(holder: Holder) -> Json:
    return {name: getattr(holder, name) for name in Holder.__slots__}


def _same(lease: Holder, new: Holder) -> bool:
    """Whether two leases are for one node, whose address may have changed."""
    return lease.node == new.node or (lease.host_id is not None and lease.host_id == new.host_id)


def _matches(entry: Mapping[str, Any], nodes: Collection[str], owner: str, grant: str | None) -> bool:
    return entry["node"] in nodes and entry["owner"] == owner and grant in {None, entry.get("grant")}
