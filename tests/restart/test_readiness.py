"""When a node that was restarted is back, one thing after the other."""

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
    """The article's cluster with host ids; `fields` are of the first node."""
    snapshot = article.snapshot(down)
    nodes = [
        replace(
            node, host_id=f"h{number}", source="ok", mode="NORMAL", gossip_running=True, native_transport_running=True
        )
        for number, node in enumerate(snapshot.nodes, 1)
    ]
    return replace(snapshot, nodes=(replace(nodes[0], **fields), *nodes[1:]))


def view(snapshot: Snapshot, observer: str, *live: str) -> Snapshot:
    """The same, but that one observer sees these up and no others."""
    views = [
        replace(one, live=frozenset(live), unreachable=frozenset(article.ADDRESSES) - frozenset(live))
        if one.observer == observer
        else one
        for one in snapshot.views
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
def test_what_is_lacking(snapshot: Snapshot, lack: str) -> None:
    """Each of these alone keeps a node from being back, and the peers are named."""
    assert missing(TARGET, snapshot, frozenset()) == lack


def test_nothing_is_lacking() -> None:
    """A node that serves, sees all and is seen by all is back."""
    assert missing(TARGET, seen(), frozenset()) is None


def test_what_was_down_before_is_not_waited_for() -> None:
    """A peer that was down before the batch need not be seen up."""
    snapshot = seen(THREE)
    assert down_ids(snapshot) == {"h3"}
    assert missing(TARGET, snapshot, frozenset({"h3"})) is None
    assert missing(TARGET, snapshot, frozenset()) == f"it does not see {THREE} up"
    alone = seen(TWO, THREE)
    assert missing(TARGET, alone, frozenset({"h2", "h3"})) is None


def test_a_node_is_its_host_id() -> None:
    """With a new address it is found, and another node at its old address is not taken for it."""
    moved = seen(address="10.0.0.9")
    found = TARGET.find(moved)
    assert found is not None
    assert found.address == "10.0.0.9"
    assert RestartedNode(ONE, "gone").find(seen()) is None
    assert RestartedNode(ONE, None).find(seen()) is not None


def _server(answer: bytes | None) -> int:
    """A port that accepts, and answers, or closes at once."""
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
def test_a_port_that_answers(answer: bytes | None) -> None:
    """SUPPORTED is an answer, and so is a port that closes what is not TLS."""
    assert answers_cql("127.0.0.1", _server(answer), 5.0)


def test_a_port_that_does_not() -> None:
    """Neither a closed port nor one that accepts and stays silent is an answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers_cql("127.0.0.1", silent.getsockname()[1], 0.3)
        port = silent.getsockname()[1]
    assert not answers_cql("127.0.0.1", port, 0.3)
