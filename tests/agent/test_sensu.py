"""Sending to Sensu from the service: no failure of Sensu delays a poll."""

from __future__ import annotations

import re
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
    """The port of a listener that accepts connections and never reads."""
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
    """The first attempt is abandoned at the deadline; while its thread hangs, no second thread is started."""
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


def test_an_api_that_never_answers_is_abandoned() -> None:
    """Accepting the connection is not an answer."""
    with deaf() as port:
        sender = Sender("blogs", replace(BASE, transport="sensu-go", url=f"http://127.0.0.1:{port}"), 15, deadline=0.3)
        problem = sender.send(verdict())
        assert problem is not None
        assert "0.3 s" in problem


def test_the_problems_of_all_events_are_one_line() -> None:
    """The line names both events, each with its error."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    problem = Sender("blogs", replace(BASE, transport="sensu-go", url=f"http://127.0.0.1:{port}"), 15).send(verdict())
    assert problem == "; ".join(
        f"ringcheck.blogs.{tier}: http://127.0.0.1:{port}/events: connection refused" for tier in ("page", "ticket")
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"team": None}, "cluster a: `sensu` needs team and runbook"),
        ({"runbook": ""}, "cluster a: `sensu` needs team and runbook"),
        ({"ttl": 15.0}, "cluster a: the ttl of 15 s ends before the next event, 15 s later"),
    ],
)
def test_settings_that_would_notify_nobody_are_refused(changes: dict[str, object], text: str) -> None:
    """The error comes at the start, not at the first outage."""
    with pytest.raises(UsageError, match=text.replace("`", ".")):
        Sender("a", replace(BASE, **changes), 15)  # type: ignore[arg-type]  # of several types


def test_only_clusters_with_sensu_have_a_sender(tmp_path: Path) -> None:
    """Its interval is that of the agent, and its ttl is ten intervals."""
    file = tmp_path / "r.yaml"
    file.write_text(
        "clusters:\n"
        "  a: {jolokia: {contact_points: h}, sensu: {team: t, runbook: r}}\n"
        "  b: {jolokia: {contact_points: h}}\n"
        "agent: {interval: 60s}\n"
    )
    by_name = senders(load(str(file)))
    assert set(by_name) == {"a"}
    assert (by_name["a"]._terms.interval, by_name["a"]._terms.ttl) == (60, 600)
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
            Reading(cluster="blogs", verdict=verdict(), fresh=False, error="no node answered"),
            3,
            "UNKNOWN - blogs: no node answered",
        ),
        (Reading(cluster="blogs"), 3, "UNKNOWN - blogs: no poll has finished yet"),
    ],
)
def test_an_old_verdict_is_sent_as_unknown(reading: Reading, status: int, output: str, sensu: double.Sensu) -> None:
    """Both tiers get it, because without a new event Sensu would keep showing the last OK."""
    sender = Sender("blogs", replace(BASE, transport="sensu-go", url=sensu.url), 15)
    assert sender.send_reading(reading) is None
    page = sensu.event("blogs", PAGE)
    assert page.status == status
    assert page.output.startswith(output)


class Slow(Sender):
    """A sender that sends nothing: it waits for `go`, and records the readings."""

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


def test_the_caller_never_waits_and_the_newest_reading_is_sent() -> None:
    """While one reading is being sent, only the newest of a thousand later ones waits."""
    sender = Slow()
    with Courier({"blogs": sender}, lambda *_: None) as courier:
        courier(Reading(cluster="blogs", error="first"))
        assert sender.begun.acquire(timeout=30)
        for number in range(1000):
            courier(Reading(cluster="blogs", error=str(number)))
        courier(Reading(cluster="unknown"))
        assert sender.given == []
        sender.go.release(10)  # no reading is sent twice
    assert sender.given == ["first", "999"]


def test_a_problem_is_reported_once_a_change() -> None:
    """It is reported when it begins and ends, not with each poll or a new text; a bug does not end the thread."""
    reported: list[tuple[str, str | None]] = []
    sender = Slow()
    with Courier({"blogs": sender}, lambda *change: reported.append(change)) as courier:
        for error in ("down", "down for longer", "boom", "down", None, None):
            courier(Reading(cluster="blogs", error=error))
            sender.go.release()
            assert sender.begun.acquire(timeout=30)
            await_(lambda: not sender.go._value, 30, "the reading was not sent")
    assert [cluster for cluster, _ in reported] == ["blogs"] * 4
    problems = [problem for _, problem in reported]
    assert (problems[0], *problems[2:]) == ("down", "down", None)
    assert re.fullmatch(r"this is a bug in ringcheck: ZeroDivisionError: boom \(test_sensu.py:\d+\)", str(problems[1]))


def test_a_dead_sensu_delays_no_other_cluster(sensu: double.Sensu) -> None:
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
