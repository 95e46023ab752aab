"""Sending to Sensu from a service: nothing that Sensu does or does not do may hold up a poll."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ringcheck.agent.sensu import Courier, Sender, default_ttl, senders
from ringcheck.config import load
from ringcheck.config.values import Sensu
from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy
from ringcheck.errors import UsageError
from ringcheck.report.reading import Reading
from tests import article
from tests.counterparts import sensu as double
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ringcheck.core.verdict import Verdict

PAGE = "ringcheck.blogs.page"
BASE = Sensu(team="t", runbook="r")


def verdict(*down: str) -> Verdict:
    return assess(article.snapshot(down), Policy())


@contextmanager
def deaf() -> Iterator[int]:
    """The port of a listener that takes connections and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        yield server.getsockname()[1]


@contextmanager
def full() -> Iterator[int]:
    """The port of a listener whose queue is full: connecting to it hangs."""
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        first.connect(server.getsockname())
        second.settimeout(0)
        second.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["socket", "sensu-go"])
def test_a_hanging_sensu_costs_the_deadline_once_and_one_thread(transport: str) -> None:
    """The first sending is given up; the socket's, which may hang for ever, is not begun a second time beside it."""
    with full() as port:
        sensu = replace(BASE, transport=transport, port=port, url=f"http://127.0.0.1:{port}")
        sender = Sender("blogs", sensu, 15, deadline=0.3)
        first = sender.send(verdict())
        before = threading.active_count()
        again = [sender.send(verdict()) for _ in range(3)]
        assert threading.active_count() <= before
    assert first is not None
    assert "127.0.0.1" in first
    assert all(again)


def test_an_api_that_never_answers_is_given_up() -> None:
    """A connection alone is no answer."""
    with deaf() as port:
        sender = Sender("blogs", replace(BASE, transport="sensu-go", url=f"http://127.0.0.1:{port}"), 15, deadline=0.3)
        problem = sender.send(verdict())
        assert problem is not None
        assert "0.3 s" in problem


def test_each_event_s_problem_is_told_in_one_line() -> None:
    """Both events and why each could not be sent."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    problem = Sender("blogs", replace(BASE, transport="sensu-go", url=f"http://127.0.0.1:{port}"), 15).send(verdict())
    assert problem == "; ".join(
        f"ringcheck.blogs.{tier}: http://127.0.0.1:{port}/events: connection refused" for tier in ("page", "ticket")
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"team": None}, "cluster a: `sensu` needs team and runbook"),
        ({"runbook": ""}, "cluster a: `sensu` needs team and runbook"),
        ({"ttl": 15.0}, "cluster a: a ttl of 15 s is over before the next event, 15 s later"),
    ],
)
def test_settings_that_reach_nobody_are_refused(changes: dict[str, object], text: str) -> None:
    """At the start, not with the first outage."""
    with pytest.raises(UsageError, match=text.replace("`", ".")):
        Sender("a", replace(BASE, **changes), 15)  # type: ignore[arg-type]  # of several types


def test_senders_are_made_for_the_clusters_that_have_sensu(tmp_path: Path) -> None:
    """With the agent's interval, and a ttl of ten of them."""
    file = tmp_path / "r.yaml"
    file.write_text(
        "clusters:\n"
        "  a: {jolokia: {contact_points: h}, sensu: {team: t, runbook: r}}\n"
        "  b: {jolokia: {contact_points: h}}\n"
        "agent: {interval: 60s}\n"
    )
    found = senders(load(str(file)))
    assert set(found) == {"a"}
    assert (found["a"]._terms.interval, found["a"]._terms.ttl) == (60, 600)
    assert default_ttl(1) == 300


@pytest.fixture
def sensu() -> Iterator[double.Sensu]:
    with double.Sensu() as running:
        yield running


@pytest.mark.parametrize(
    ("reading", "status", "output"),
    [
        (Reading(cluster="blogs", verdict=verdict("10.0.0.1"), fresh=True), 2, "CRITICAL - blogs: 256 of 768 ranges"),
        (
            Reading(cluster="blogs", verdict=verdict("10.0.0.1"), fresh=True, error="x"),
            2,
            "CRITICAL - blogs: 256 of 768 ranges",
        ),
        (
            Reading(cluster="blogs", verdict=verdict(), fresh=False, error="nobody answered"),
            3,
            "UNKNOWN - blogs: nobody answered",
        ),
        (Reading(cluster="blogs"), 3, "UNKNOWN - blogs: nothing is known yet"),
    ],
)
def test_a_reading_is_told_as_the_present_only_while_it_is(
    reading: Reading, status: int, output: str, sensu: double.Sensu
) -> None:
    """An old OK is UNKNOWN in both tiers: silence would leave it standing."""
    sender = Sender("blogs", replace(BASE, transport="sensu-go", url=sensu.url), 15)
    assert sender.send_reading(reading) is None
    page = sensu.event("blogs", PAGE)
    assert page.status == status
    assert page.output.startswith(output)


class Slow(Sender):
    """Sends nothing: waits until it is let, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__("blogs", BASE, 15)
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.given: list[str | None] = []

    def send_reading(self, reading: Reading) -> str | None:
        self.begun.release()
        self.go.acquire(timeout=30)
        self.given.append(reading.error)
        if reading.error == "boom":
            raise ZeroDivisionError(reading.error)
        return reading.error


def test_who_hands_in_a_reading_never_waits_and_the_newest_wins() -> None:
    """While one is being sent a thousand more need room for one."""
    sender = Slow()
    with Courier({"blogs": sender}, lambda *_: None) as courier:
        courier(Reading(cluster="blogs", error="first"))
        assert sender.begun.acquire(timeout=30)
        for number in range(1000):
            courier(Reading(cluster="blogs", error=str(number)))
        courier(Reading(cluster="unknown"))
        assert sender.given == []
        sender.go.release(10)  # none is sent a second time
    assert sender.given == ["first", "999"]


def test_a_problem_is_told_once_a_change_and_a_bug_ends_nothing() -> None:
    """Once when it begins, once when it ends; not with every poll, nor where its text alone is another."""
    told: list[tuple[str, str | None]] = []
    sender = Slow()
    with Courier({"blogs": sender}, lambda *one: told.append(one)) as courier:
        for error in ("down", "down for longer", "boom", "down", None, None):
            courier(Reading(cluster="blogs", error=error))
            sender.go.release()
            assert sender.begun.acquire(timeout=30)
            await_(lambda: not sender.go._value, 30, "the reading was not sent")
    assert told == [
        ("blogs", "down"),
        ("blogs", "this is a bug of ringcheck: ZeroDivisionError: boom"),
        ("blogs", "down"),
        ("blogs", None),
    ]


def test_a_dead_sensu_delays_no_other_cluster_s(sensu: double.Sensu) -> None:
    """Each cluster has a thread of its own."""
    stuck = Slow()
    well = Sender("blogs", replace(BASE, transport="sensu-go", url=sensu.url), 15)
    with Courier({"stuck": stuck, "blogs": well}, lambda *_: None) as courier:
        courier(Reading(cluster="stuck"))
        assert stuck.begun.acquire(timeout=30)
        courier(Reading(cluster="blogs", verdict=verdict(), fresh=True))
        await_(lambda: ("blogs", PAGE) in sensu.events, 30, "the other cluster's event did not come")
        assert stuck.given == []
        stuck.go.release()
