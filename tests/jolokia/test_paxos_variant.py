"""The Paxos variant that each node reports: it is asked for in every poll, since it can change while the node runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_jolokia import denied, failed, missing_attribute, missing_mbean
from tests.jolokia.scripted import ONE, PAXOS_VARIANT, THREE, TWO, Lab, Running, asked_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot

V2 = "v2_without_linearizable_reads"


def variants(seen: Snapshot) -> list[str | None]:
    return [node.paxos_variant for node in seen.nodes]


def times_asked(running: Running, address: str) -> int:
    return asked_of(running, address).count(PAXOS_VARIANT[1])


def test_each_node_reports_its_own_variant_in_each_poll() -> None:
    """A variant that is set over JMX is seen in the next poll, which is one request per node."""
    lab = Lab()
    lab.nodes[TWO].other[PAXOS_VARIANT] = V2
    with lab.running() as running:
        assert variants(running.poll()) == ["v1", V2, "v1"]
        lab.nodes[THREE].other[PAXOS_VARIANT] = "v2"
        posts = running.cluster.posts
        seen = running.poll()
        assert variants(seen) == ["v1", V2, "v2"]
        assert running.cluster.posts - posts == 3
    assert [view.outcome for view in seen.views] == ["ok"] * 3


@pytest.mark.parametrize(
    "answer",
    [denied, missing_mbean, missing_attribute, lambda item: failed(item, 500, "java.lang.IllegalStateException")],
)
def test_a_variant_that_is_not_reported_is_unknown(answer: Callable[[Any], Any]) -> None:
    """The node's view counts all the same, and the request for everything else is not repeated."""
    lab = Lab()
    lab.nodes[TWO].other[PAXOS_VARIANT] = answer
    with lab.running() as running:
        assert variants(running.poll()) == ["v1", None, "v1"]
        posts = running.cluster.posts
        seen = running.poll()
        assert running.cluster.posts - posts == 3
    assert variants(seen) == ["v1", None, "v1"]
    assert [view.outcome for view in seen.views] == ["ok"] * 3


@pytest.mark.parametrize("value", ["v9", ""])
def test_a_variant_of_the_future_is_reported_as_it_is(value: str) -> None:
    """The core decides what it means."""
    lab = Lab()
    lab.nodes[TWO].other[PAXOS_VARIANT] = value
    with lab.running() as running:
        assert variants(running.poll()) == ["v1", value, "v1"]


def test_a_variant_of_another_shape_is_no_answer() -> None:
    """If an agent reports something other than text, it can't be believed."""
    lab = Lab()
    lab.nodes[TWO].other[PAXOS_VARIANT] = ["v1"]
    with lab.running() as running:
        seen = running.poll()
    assert [node.source for node in seen.nodes] == ["ok", "error", "ok"]
    assert variants(seen) == ["v1", None, "v1"]


@pytest.mark.parametrize("release", ["2.2.19", "3.11.19", "4.0.17"])
def test_older_releases_are_not_asked_again(release: str) -> None:
    """Only the first request to a node, whose release is not yet known, asks for attributes that it may lack."""
    with Lab(release=release).running() as running:
        for _ in range(3):
            assert variants(running.poll()) == [None] * 3
        assert [times_asked(running, address) for address in (ONE, TWO, THREE)] == [1, 0, 0]


def test_an_upgraded_node_is_asked_in_the_poll_that_shows_its_release() -> None:
    """Until then it was asked as an old release; its variant must not be unknown for a whole poll."""
    lab = Lab(release="4.0.17")
    with lab.running() as running:
        running.poll()
        upgraded = lab.nodes[TWO]
        upgraded.attributes |= {"ReleaseVersion": "4.1.9", "CurrentGenerationNumber": 1795239999}
        upgraded.other[PAXOS_VARIANT] = "v2"
        assert variants(running.poll()) == [None, "v2", None]
        upgraded.other[PAXOS_VARIANT] = "v1"
        before = times_asked(running, TWO)
        assert variants(running.poll()) == [None, "v1", None]
        assert times_asked(running, TWO) == before + 1
