"""The table of nodes: complete screens, and a cluster of 1,000 nodes whose table is still usable."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.maintenance import Holder
from ringcheck.core.node_status import NodeStatus, StopAnswer, statuses, stop_answers
from ringcheck.core.policy import Policy
from ringcheck.core.reasons import reason
from ringcheck.core.ring import Node
from ringcheck.documents.nodes import nodes_document
from ringcheck.report.nodes import NodesTable, render
from tests import article
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringcheck.core.ring import Snapshot

ONE, TWO, THREE = article.ADDRESSES


def table(seen: Snapshot, gate: Gate = Gate(), **fields: object) -> NodesTable:  # noqa: B008 - frozen
    verdict = assess(seen, Policy(), Question())
    stops = stop_answers(Gatekeeper(seen, Policy(), gate), article.ADDRESSES)
    made = NodesTable(verdict=verdict, statuses=statuses(verdict, stops), total=len(seen.nodes))
    return replace(made, **fields)  # type: ignore[arg-type]  # the fields of NodesTable


def test_a_healthy_cluster() -> None:
    """This is the complete output, as it is written to a file."""
    assert render(table(article.snapshot(), Gate(accept=("blog_1",)))) == (
        "blogs: 3 nodes (3 up); 3 of the 3 up may stop now, alone\n"
        "3 of 3 views usable; 2026-01-01T00:00:00Z\n"
        "\n"
        "DC   RACK  ADDRESS   STATE  SINCE  RELEASE  TOKENS  MODE    JOLOKIA  STOP\n"
        "dc1  r0    10.0.0.1  up         -  5.0.8       256  NORMAL  ok       yes\n"
        "dc1  r1    10.0.0.2  up         -  5.0.8       256  NORMAL  ok       yes\n"
        "dc1  r2    10.0.0.3  up         -  5.0.8       256  NORMAL  ok       yes"
    )


def test_a_node_down_comes_first_with_those_who_see_it() -> None:
    """Each reason for a refusal, and what would lift it, is given once for all nodes that have it."""
    shown = table(article.snapshot([TWO]), Gate(accept=("blog_1",)))
    assert render(shown, width=80) == (
        "blogs: 3 nodes (2 up, 1 down); none of the 2 up may stop now, alone\n"
        "2 of 3 views usable; 2026-01-01T00:00:00Z\n"
        "\n"
        "DC   RACK  ADDRESS   STATE  SINCE  RELEASE  TOKENS  MODE    JOLOKIA      STOP\n"
        "dc1  r1    10.0.0.2  down       -  5.0.8       256  ?       unreachable  yes\n"
        "dc1  r0    10.0.0.1  up         -  5.0.8       256  NORMAL  ok           no\n"
        "dc1  r2    10.0.0.3  up         -  5.0.8       256  NORMAL  ok           no\n"
        "\n"
        "10.0.0.2: seen down by 10.0.0.1, 10.0.0.3\n"
        "\n"
        "2 nodes (10.0.0.1, 10.0.0.3) must not stop now (would_become_unavailable)\n"
        "  768 of 768 ranges (100.0 % of the tokens) of blog_3 would become unavailable\n"
        "    at LOCAL_QUORUM in dc1\n"
        "  until more of their replicas are up"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2025-12-31T23:59:00Z", "60 s"), ("2025-12-31T23:00:00Z", "60 min"), ("2025-12-31T12:00:00Z", "12 h"),
        ("2025-12-25T00:00:00Z", "7 d"), ("2026-01-01T00:00:05Z", "0 s"), ("yesterday", "-"), (None, "-"),
    ],
)  # fmt: skip
def test_since_is_an_age(since: str | None, shown: str) -> None:
    """It has one unit and is the age at the time of the poll; a time that can't be read is unknown."""
    made = table(article.snapshot([ONE]))
    first = replace(made.statuses[0], since=since, begin_seen=None if since is None else True)
    line = render(replace(made, statuses=[first])).splitlines()[4]
    assert re.search(rf"down +{re.escape(shown)}  5\.0\.8", line)


def test_a_state_that_was_not_seen_to_begin_has_lasted_at_least_so_long() -> None:
    """An agent that has just been started does not know since when a node is down."""
    made = table(article.snapshot([ONE]))
    first = replace(made.statuses[0], since="2025-12-31T23:59:45Z", begin_seen=False)
    assert re.search(r"down +>= 15 s  5\.0\.8", render(replace(made, statuses=[first])).splitlines()[4])


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    """Columns in which all nodes are equal become one line; then the least important columns are left out."""
    made = table(article.snapshot([ONE]))
    long = replace(made.statuses[0].node, address="2001:db8:1111:2222:3333:4444:5555:6666", datacenter="d" * 30)
    shown = [replace(made.statuses[0], node=long), *made.statuses[1:]]
    text = render(replace(made, statuses=shown), width=width)
    assert max(map(len, text.splitlines())) <= width
    for needed in ("ADDRESS", "STATE", "STOP", "2001:db8:1111:2222:3333:4444:5555:6666"):
        assert needed in text


def test_what_all_have_in_common_is_said_once() -> None:
    """At 60 columns one line has the release and the number of tokens of all nodes."""
    text = render(table(article.snapshot([ONE])), width=60)
    assert "all: release 5.0.8, 256 tokens\n" in text
    assert "RELEASE" not in text


def test_colours_change_no_character() -> None:
    """States and answers are coloured, and the text is the same."""
    made = table(article.snapshot([ONE]))
    painted = render(made, colour=True, width=80)
    assert "\x1b[31;1mdown\x1b[0m" in painted
    assert "\x1b[33mno\x1b[0m" in painted
    plain = re.sub(r"\x1b\[[0-9;]*m", "", painted)
    assert [line.rstrip() for line in plain.splitlines()] == render(made, width=80).splitlines()


def thousand(down: int = 0) -> list[NodeStatus]:
    """1,000 nodes in two datacenters of five racks."""
    return [
        NodeStatus(
            node=Node(
                f"10.{number % 2}.{number // 200}.{number % 200 + 1}", datacenter=f"dc{number % 2 + 1}",
                rack=f"r{number % 5}", release_version="5.0.8", tokens=16, mode="NORMAL", source="ok",
            ),
            state="down" if number < down else "up", since=None, begin_seen=None, seen_down_by=(),
            view=None, lease=None, stop=StopAnswer("unsafe", reason("unknown_node", "x", "a text", lifts_when="never")),
        )
        for number in range(1000)
    ]  # fmt: skip


def test_a_thousand_nodes_fit_a_screen() -> None:
    """Problems are listed and the other nodes are counted by rack; --all lists every node."""
    made = table(article.snapshot())
    large = replace(made, statuses=thousand(down=3), total=1000)
    lines = render(large, width=80).splitlines()
    assert len(lines) <= 24
    assert sum(" down " in line for line in lines) == 3
    assert "Without problems: 997 nodes (--all lists them)" in lines
    assert "  dc1 r0: 99 nodes up, 5.0.8; 0 may stop now" in lines
    assert "1000 nodes (10.0.0.1, 10.1.0.2, 10.0.0.3, 10.1.0.4, 10.0.0.5 and 995 more) must" in lines
    assert len(render(replace(large, all=True)).splitlines()) > 1000


def test_some_of_the_nodes() -> None:
    """The first line says how many nodes there are in all."""
    made = table(article.snapshot())
    assert render(replace(made, statuses=made.statuses[:1])).startswith(
        "blogs: 1 of 3 nodes (1 up); the one up may not stop now, alone\n"
    )
    down = table(article.snapshot([article.ADDRESSES[0]]))
    assert render(replace(down, statuses=down.statuses[:1])).startswith("blogs: 1 of 3 nodes (1 down); none is up\n")


def test_what_the_gate_does_not_say_is_not_known() -> None:
    """The answer is never `yes`, and the note has the reason."""
    seen = article.snapshot()
    verdict = assess(seen, Policy(), Question())
    shown = NodesTable(verdict=verdict, statuses=statuses(verdict, None), total=3, notes=["the store does not answer"])
    text = render(shown)
    assert text.startswith("blogs: 3 nodes (3 up); which may stop is not known\n")
    assert text.endswith("\n\nthe store does not answer")
    assert [line.split()[-1] for line in text.splitlines()[4:7]] == ["?", "?", "?"]


def test_the_document() -> None:
    """It conforms to its schema, and has the same answers as the table."""
    shown = table(article.snapshot([TWO]), Gate(accept=("blog_1",)))
    document = nodes_document(shown.verdict.snapshot, shown.statuses)
    validate(document, "nodes-1")
    first, second, _ = document["nodes"]
    assert (first["address"], first["state"], first["seen_down_by"]) == (TWO, "down", [ONE, THREE])
    assert (first["problem"], second["problem"]) == ("down", None)
    assert second["stop"]["decision"] == "unsafe"
    assert second["stop"]["code"] == "would_become_unavailable"


def addresses(shown: Sequence[NodeStatus]) -> list[str]:
    return [status.node.address for status in shown]


def test_addresses_are_in_numeric_order() -> None:
    """10.0.0.9 comes before 10.0.0.10."""
    seen = article.snapshot()
    names = dict(zip(article.ADDRESSES, ("10.0.0.10", "10.0.0.9", "10.0.0.2"), strict=True))
    nodes = tuple(replace(node, address=names[node.address], rack="r") for node in seen.nodes)
    verdict = replace(assess(seen, Policy(), Question()), snapshot=replace(seen, nodes=nodes))
    assert addresses(statuses(verdict, None)) == ["10.0.0.2", "10.0.0.9", "10.0.0.10"]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"mode": "DRAINED"}, "mode DRAINED"), ({"gossip_running": False}, "gossip off"),
        ({"native_transport_running": False}, "native transport off"), ({"source": "denied"}, "Jolokia denied"),
        ({}, None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_node_that_is_up(fields: dict[str, object], wrong: str | None) -> None:
    """Such a node is among the problems; whether it may stop is no problem in itself."""
    seen = article.snapshot()
    node = replace(seen.nodes[2], **fields)  # type: ignore[arg-type]  # the fields of Node
    verdict = replace(
        assess(seen, Policy(), Question()), snapshot=replace(seen, nodes=(*seen.nodes[:2], node)), states=("up",) * 3
    )
    found = statuses(verdict, None)
    assert {status.node.address: status.wrong for status in found}[THREE] == wrong
    assert (addresses(found)[0] == THREE) is (wrong is not None)


@pytest.mark.slow
@pytest.mark.parametrize("down", [[], [ONE], [ONE, TWO]])
@pytest.mark.parametrize("gate", [Gate(), Gate(accept=("blog_1",)), Gate(require_all_up=True)])
def test_stop_is_what_the_gate_decides(down: list[str], gate: Gate) -> None:
    """For each node alone, STOP is `yes` exactly if preflight allows it."""
    keeper = Gatekeeper(article.snapshot(down), Policy(), gate)
    answers = stop_answers(keeper, article.ADDRESSES)
    for address in article.ADDRESSES:
        decision = keeper.decide([address])
        assert (answers[address].decision == "safe") is (decision.decision == "safe")
        assert (answers[address].reason is None) is (decision.decision == "safe")


def test_a_lease_on_a_node_that_may_stop_is_named() -> None:
    """Somebody else may be restarting it; the answer stays that of preflight."""
    seen = article.snapshot()
    holder = Holder(node=ONE, owner="bob", purpose="kernel", since="2026-01-01T00:00:00Z")
    keeper = Gatekeeper(seen, Policy(), Gate(accept=("blog_1",)), [holder])
    shown = statuses(assess(seen, Policy(), Question()), stop_answers(keeper, article.ADDRESSES))
    text = f"{ONE} is under the restart lease of bob: only its owner may stop it"
    assert text in render(NodesTable(verdict=assess(seen, Policy(), Question()), statuses=shown, total=3)).splitlines()
    [stop] = [item["stop"] for item in nodes_document(seen, shown)["nodes"] if item["address"] == ONE]
    assert (stop["decision"], stop["code"], stop["summary"]) == ("safe", "lease_held", text)
