"""The answers of ringcheck about a real cluster, and whether the cluster behaves accordingly.

Predictions are compared range by range with queries to each coordinator. A SAFE is put to the test: the node is really
stopped, and every range is queried through every other coordinator that served it before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.cassandra import queries
from tests.cassandra.launch import JOLOKIA_PORT
from tests.cassandra.queries import LEDGER, Comparison, Keys, Prediction, network, simple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.cassandra.cluster import RealCluster, RealNode

GATE_LEVEL = "LOCAL_QUORUM"
LEVELS = ("LOCAL_ONE", GATE_LEVEL)  # what is watched by default
KEYSPACES = (simple(1), network("nts_2", dc1=2), network("nts_3", dc1=3))
ACCEPTED = ("simple_1", "nts_2")  # ranges with one replica: no stop could be safe
SECONDS = 30
Document = dict[str, Any]


@dataclass(slots=True)
class Answers:
    """Asks ringcheck, and queries the coordinators, of a cluster.

    Attributes:
        cluster: all its running nodes are contact points.
        accepted: keyspaces that may lose ranges by a stop.
    """

    cluster: RealCluster
    accepted: Sequence[str] = ACCEPTED
    _keys: Keys = field(default_factory=lambda: Keys(each=8))

    def check(self, *arguments: str) -> tuple[int, str]:
        """Exit code and complete output of `check -v`."""
        return queries.ringcheck("check", "-v", *self._target(), *arguments)

    def health(self, *arguments: str) -> Document:
        """The verdict document, with unavailable ranges at the watched levels."""
        levels = [word for level in LEVELS for word in ("--level", level)]
        wanted = ("--ranges", "--format", "json", *levels, *arguments)
        _, text = queries.ringcheck("health", *self._target(), *wanted)
        assert text.startswith("{"), text
        found: Document = json.loads(text)
        return found

    def preflight(self, *names: str) -> Document:
        """The gate's decision about nodes by host id or name."""
        code, text = self.gate("--format", "json", *names)
        assert text.startswith("{"), text
        found: Document = json.loads(text)
        assert (code == 0) == (found["decision"] == "safe"), text
        return found

    def gate(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output of `preflight`, without a limit on how long nodes must have run."""
        accepted = [word for name in self.accepted for word in ("--accept", name)]
        return queries.ringcheck("preflight", *self._target(), "--allow", "recently_changed", *accepted, *arguments)

    def differences(self, state: str, *coordinators: RealNode) -> list[str]:
        """Queries whose outcome differs from the prediction for their coordinator, one line each."""
        found, known = Comparison(), self.health()
        for node in coordinators:
            predicted = Prediction(self.health("--view", _shown(known, node)), node)
            found.add(queries.compare(node, KEYSPACES, predicted, self._keys, LEVELS))
        LEDGER.append((coordinators[0].release, state, found))
        return found.differences

    def outcomes(self, node: RealNode, level: str = GATE_LEVEL) -> dict[str, set[str]]:
        """Outcomes of reads and writes of every range through one coordinator, by keyspace."""
        by_keyspace: dict[str, set[str]] = {}
        with self.cluster.session(node) as session:
            for keyspace in KEYSPACES:
                wanted = list(queries.queries(keyspace.name, queries.pieces(node, keyspace.name), self._keys, (level,)))
                by_keyspace[keyspace.name] = set(queries.ask(session, wanted))
        return by_keyspace

    def serving(self, nodes: Iterable[RealNode]) -> set[tuple[int, str]]:
        """Pairs of coordinator and keyspace with every range served at the gate's level."""
        return {
            (node.number, keyspace)
            for node in nodes
            for keyspace, outcomes in self.outcomes(node).items()
            if outcomes == {"served"}
        }

    def cost_of_stop(self, *victims: RealNode) -> set[tuple[int, str]]:
        """Stop nodes; the coordinators and keyspaces, not accepted, that served every range before and no longer do.

        The nodes are started again. Returns when they and all nodes that saw them before see each other.
        """
        others = [node for node in self._serving_cql() if node not in victims]
        seeing = [node for node in others if any(victim.endpoint in node.endpoints("LiveNodes") for victim in victims)]
        before = self.serving(others)
        for victim in victims:
            victim.terminate()
        for victim in victims:
            self.cluster.wait_down(victim)
        after = self.serving(others)
        for victim in victims:
            victim.start()
        self.cluster.wait_all_up([*seeing, *victims])
        return {(number, keyspace) for number, keyspace in before - after if keyspace not in self.accepted}

    def _serving_cql(self) -> list[RealNode]:
        return [node for node in self.cluster.members if node.running and node.read("NativeTransportRunning")]

    def _target(self) -> list[str]:
        running = [node for node in self.cluster.nodes if node.running]
        hosts = [word for node in running for word in ("-H", f"{node.address}:{node.port(JOLOKIA_PORT)}")]
        return [*hosts, "-t", f"{SECONDS}s"]


def _shown(document: Document, node: RealNode) -> str:
    """The name of a node in documents: its address, with the port if other nodes share the address."""
    host_id = node.read("LocalHostId")
    names = [each["address"] for each in document["nodes"] if each["host_id"] == host_id]
    return str(names[0]) if names else node.address  # a node without tokens may be absent from the document


def lost(document: Document, level: str, keyspace: str) -> int:
    """The number of ranges of a keyspace that are unavailable for reads or writes at a level."""
    (entry,) = [each for each in document["keyspaces"] if each["name"] == keyspace]
    (share,) = [each for each in entry["levels"] if each["level"] == level]
    return int(share["unavailable"])


def member_ids(document: Document) -> set[str]:
    """Host ids of all nodes in a document; a node without a host id has its address instead."""
    return {node["host_id"] or node["address"] for node in document["nodes"]}


def advised(document: Document) -> list[str]:
    """Nodes to bring back first, best first."""
    return [advice["node"] for advice in document["recover_first"]]


def blocking(decision: Document) -> set[str]:
    """Codes of the reasons that block a stop."""
    return {reason["code"] for reason in decision["reasons"] if reason["blocks"]}
