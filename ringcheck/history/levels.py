"""The table of the evidence of levels in use: one document for each cluster and source, replaced as a whole."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

Documents = dict[str, dict[str, object]]
"""Plain values by cluster and source."""


@dataclass(frozen=True, slots=True)
class SaveEvidence:
    """What one source has shown of a cluster, to be written.

    Attributes:
        cluster: its name.
        source: its name.
        text: JSON of plain values.
    """

    cluster: str
    source: str
    text: str

    @classmethod
    def of(cls, cluster: str, source: str, values: Mapping[str, object]) -> SaveEvidence:
        """The same of plain values."""
        return cls(cluster, source, json.dumps(values, separators=(",", ":")))

    def __call__(self, connection: sqlite3.Connection) -> None:
        """Write it."""
        row = self.cluster, self.source, self.text
        connection.execute("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?)", row)


def drop_evidence(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Delete the evidence of clusters that are no longer watched."""
    connection.executemany("DELETE FROM evidence WHERE cluster = ?", ((name,) for name in names))


def load_evidence(connection: sqlite3.Connection, cluster: str | None = None) -> Documents:
    """All documents, or those of one cluster; one that is not JSON is left out."""
    found: Documents = defaultdict(dict)
    where, values = ("", ()) if cluster is None else (" WHERE cluster = ?", (cluster,))
    for name, source, text in connection.execute(f"SELECT cluster, source, document FROM evidence{where}", values):  # noqa: S608 - a constant
        try:
            found[name][source] = json.loads(text)
        except ValueError:
            continue
    return dict(found)
