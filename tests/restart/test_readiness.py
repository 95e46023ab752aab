"""When a restarted node counts as back: each condition separately."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.restart.readiness import RestartedNode, answers_cql, down_ids, missing
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

ONE, TWO, THREE = article.ADDRESSES
TARGET = RestartedNode(ONE, "h1")


def seen(*down: str, **fields: Any) -> Snapshot:
    """The article's cluster with host ids; `fields` override those of the first node."""
    snapshot = article.snapshot(down)
    nodes = [
        replace(
            node, host_id=f"h{number}", source="ok", mode="NORMAL", gossip_running=True, native_transport_running=True
        )
        for number, node in enumerate(snapshot.nodes, 1)
    ]
    return replace(snapshot, nodes=(replace(nodes[0], **fields), *nodes[1:]))


def view(snapshot: Snapshot, observer: str, *live: str) -> Snapshot:
    """The same snapshot, except that one observer sees these nodes up and no others."""
    views = [
        replace(belief, live=frozenset(live), unreachable=frozenset(article.ADDRESSES) - frozenset(live))
        if belief.observer == observer
        else belief
        for belief in snapshot.views
    ]
    return replace(snapshot, views=tuple(views))


LACKS = [
    (seen(source="unreachable"), "its Jolokia does not answer"),
    (seen(mode="JOINING"), "it is JOINING"),
    (seen(mode=None), "its process has only begun to start"),
    (seen(gossip_running=False), "its gossip is not running"),
    (seen(native_transport_running=False), "its native transport is not running"),
    (view(seen(), ONE, ONE, TWO), f"it does not see {THREE} up"),
    (view(seen(), TWO, TWO, THREE), f"{TWO} does not see it up"),
    (view(view(seen(), ONE, ONE, TWO), THREE, TWO, THREE), f"it does not see {THREE} up; {THREE} does not see it up"),
    (replace(seen(), nodes=seen().nodes[1:]), "no node lists it"),
    (replace(seen(), views=seen().views[:1]), "no peer's view can be used"),
]


@pytest.mark.parametrize(("snapshot", "lack"), LACKS)
def test_each_condition_keeps_a_node_from_being_back(snapshot: Snapshot, lack: str) -> None:
    """Each of these alone is enough to prevent it, and the peers are named."""
    assert missing(TARGET, snapshot, frozenset()) == lack


def test_a_node_that_meets_all_conditions_is_back() -> None:
    """It serves clients, sees all peers up, and all peers see it up."""
    assert missing(TARGET, seen(), frozenset()) is None


def test_a_peer_that_was_down_before_is_not_waited_for() -> None:
    """It need not be seen up, nor see the restarted node up."""
    snapshot = seen(THREE)
    assert down_ids(snapshot) == {"h3"}
    assert missing(TARGET, snapshot, frozenset({"h3"})) is None
    assert missing(TARGET, snapshot, frozenset()) == f"it does not see {THREE} up"
    alone = seen(TWO, THREE)
    assert missing(TARGET, alone, frozenset({"h2", "h3"})) is None


def test_a_node_is_found_by_its_host_id() -> None:
    """It is found at a new address, and another node at its old address is not mistaken for it."""
    moved = seen(address="10.0.0.9")
    node = TARGET.find(moved)
    assert node is not None
    assert node.address == "10.0.0.9"
    assert RestartedNode(ONE, "gone").find(seen()) is None
    assert RestartedNode(ONE, None).find(seen()) is not None


def _server(answer: bytes | None) -> int:
    """A port that accepts one connection, and answers it or closes it at once."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, listener:
            if answer:
                connection.recv(64)
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


@pytest.mark.parametrize("answer", [b"\x84\x00\x00\x00\x06", None], ids=["CQL", "closed, as TLS does"])
def test_an_answer_or_a_close_shows_a_native_transport(answer: bytes | None) -> None:
    """SUPPORTED is an answer; a port that requires TLS closes the connection."""
    assert answers_cql("127.0.0.1", _server(answer), 5.0)


def test_silence_or_a_refusal_shows_none() -> None:
    """A closed port shows none, and neither does a port that accepts connections and stays silent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers_cql("127.0.0.1", silent.getsockname()[1], 0.3)
        port = silent.getsockname()[1]
    assert not answers_cql("127.0.0.1", port, 0.3)
