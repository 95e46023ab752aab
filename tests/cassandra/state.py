"""The record of a cluster, in a file beside its nodes: any process can read it and continue.

The file is the only record; nothing is kept in memory, since another process may have started or killed a node.
"""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE = "cluster.json"


@dataclass(slots=True)
class NodeRecord:
    """A node: the settings of its next start, and its process if it has one.

    Attributes:
        host: last octet of its address; 0 for its number.
        instance: number of the instance on its address, from 0 on; each instance has its own ports.
        seeds: seeds of its next start; empty for the harness's choice.
    """

    number: int
    datacenter: str
    rack: str
    release: str
    ring_delay_ms: int
    auto_bootstrap: bool = False
    yaml: dict[str, Any] = field(default_factory=dict)
    jolokia_options: dict[str, str] = field(default_factory=dict)
    jvm_options: list[str] = field(default_factory=list)
    host: int = 0
    instance: int = 0
    seeds: list[str] = field(default_factory=list)
    started_before: bool = False
    left: bool = False
    pid: int = 0
    started: int = 0


@dataclass(slots=True)
class ClusterRecord:
    """The settings that all nodes of a cluster share, and the nodes."""

    name: str
    subnet: str
    jmx_base: int
    jolokia: str | None
    num_tokens: int
    authenticator: str
    yaml: dict[str, Any]
    jolokia_options: dict[str, str]
    jvm_options: list[str]
    nodes: list[NodeRecord]
    proxies: list[tuple[int, int]] = field(default_factory=list)  # pid and start time of each


def exists(directory: Path) -> bool:
    """Whether the directory contains a cluster."""
    return (directory / _FILE).is_file()


def load(directory: Path) -> ClusterRecord:
    """Read the cluster's record; FileNotFoundError if there is none."""
    content = json.loads((directory / _FILE).read_text())
    nodes = [NodeRecord(**node) for node in content.pop("nodes")]
    return ClusterRecord(nodes=nodes, **content)


def save(directory: Path, record: ClusterRecord) -> None:
    """Replace the cluster's record in one step."""
    scratch = directory / f".{_FILE}"
    scratch.write_text(json.dumps(asdict(record), indent=1) + "\n")
    scratch.rename(directory / _FILE)


@contextmanager
def edit(directory: Path) -> Iterator[ClusterRecord]:
    """Change the cluster's record under a lock."""
    with (directory / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        record = load(directory)
        yield record
        save(directory, record)
