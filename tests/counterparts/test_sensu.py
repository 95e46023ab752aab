"""Both transports against a test double of Sensu that has the pitfalls of the real one; first, tests of the double."""

from __future__ import annotations

import json
import shlex
import socket
import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ringcheck.agent.sensu import Sender, default_ttl
from ringcheck.cli import run
from ringcheck.config.values import Sensu as Configured
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.deadline import TIMEOUT
from ringcheck.errors import LINE_BYTES
from ringcheck.report.sensu import Terms, api_event, blind, events, safe_name, socket_event
from tests import article
from tests.counterparts import sensu as double
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.core.verdict import Verdict

ROOT = Path(__file__).parents[2]
WATCH = Policy(
    (
        Rule(keyspaces=("blog_3",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL)),
        Rule(keyspaces=("*",), ignore=True),
    )
)
PAGE, TICKET = "ringcheck.blogs.page", "ringcheck.blogs.ticket"
TERMS = Terms(team="orders", runbook="https://wiki.example.org/cassandra", interval=15, ttl=300)
BASE = Configured(team=TERMS.team, runbook=TERMS.runbook, ttl=300)


@pytest.fixture
def sensu() -> Iterator[double.Sensu]:
    with double.Sensu(reads=0.3) as running:
        yield running


def verdict(*down: str, cluster: str = "blogs") -> Verdict:
    return assess(article.snapshot(down, cluster), WATCH)


def api(running: double.Sensu, **changes: Any) -> Sender:
    return Sender("blogs", replace(BASE, **({"transport": "sensu-go", "url": running.url} | changes)), 15)


def classic(running: double.Sensu, **changes: Any) -> Sender:
    return Sender("blogs", replace(BASE, port=running.port, **changes), 15)


def said_to_socket(running: double.Sensu, message: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", running.port), 5) as connection:
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(100)


GOOD = {"name": "a", "status": 0, "output": "x"}


@pytest.mark.parametrize(
    ("message", "answer", "dropped"),
    [
        (GOOD, b"ok", 0),
        (GOOD | {"status": 7, "output": "x" * 200_000}, b"ok", 0),
        (GOOD | {"status": "2"}, b"invalid", 0),
        (GOOD | {"output": ""}, b"", 1),
        (GOOD | {"name": ""}, b"", 1),
        (GOOD | {"name": "a b"}, b"", 1),
        (GOOD | {"status": -1}, b"", 1),
        (GOOD | {"source": "a b"}, b"", 1),
    ],
)
def test_the_double_s_socket_is_as_silent_as_the_real_one(
    message: dict[str, Any], answer: bytes, dropped: int, sensu: double.Sensu
) -> None:
    """The socket answers `ok` or `invalid`, or closes and silently drops the message."""
    assert said_to_socket(sensu, json.dumps(message).encode()) == answer
    assert (len(sensu.dropped), len(sensu.events)) == (dropped, int(answer == b"ok"))


def test_the_double_answers_junk(sensu: double.Sensu) -> None:
    """For Sensu Go a bare `ping` is not an event."""
    assert said_to_socket(sensu, b"ping") == b"invalid"


CHECK = {"metadata": {"name": "a"}, "status": 0, "output": "x", "interval": 10}


@pytest.mark.parametrize(
    ("check", "status", "text"),
    [
        (CHECK, 202, ""),
        (CHECK | {"output": ""}, 202, ""),
        ({"metadata": {"name": "a"}, "ttl": 5}, 202, ""),
        (CHECK | {"metadata": {"name": "a b"}}, 400, "check name cannot contain spaces or special characters"),
        (CHECK | {"proxy_entity_name": "ü"}, 400, "proxy entity name cannot contain spaces or special characters"),
        (CHECK | {"ttl": 10}, 400, "ttl must be greater than check interval"),
    ],
)
def test_the_double_s_api_says_what_the_real_one_does(
    check: dict[str, Any], status: int, text: str, sensu: double.Sensu
) -> None:
    """The API answers 202 without a body, or 400 with plain text."""
    answer = requests.post(f"{sensu.url}/events", json={"check": check}, timeout=5)
    assert (answer.status_code, answer.text.strip()) == (status, text)


def test_the_double_reads_perfdata_as_badly_as_the_real_one() -> None:
    """Spaces in labels, exponents and a second bar have the effects that were observed."""
    assert double.points("OK | 'ranges down'=3 'lat'=0.01s") == {"down'": 3.0, "'lat'": 0.01}
    assert double.points("OK | a=1e5;;;0") == {"a": 15.0}
    assert double.points("OK | a=1 | b=2") == {}


def test_what_the_api_keeps(sensu: double.Sensu) -> None:
    """Team, runbook, tier and ttl arrive as annotations and fields; both events belong to the proxy entity."""
    assert api(sensu).send(verdict("10.0.0.1", "10.0.0.2")) is None
    page, ticket = sensu.event("blogs", PAGE), sensu.event("blogs", TICKET)
    assert (page.status, page.state, page.entity_class, page.ttl, page.interval) == (2, "failing", "proxy", 300, 15)
    assert page.annotations == {
        "team": "orders",
        "runbook": "https://wiki.example.org/cassandra",
        "page": "true",
        "ticket": "false",
        "fatigue_check/occurrences": "1",
    }
    assert page.labels == {"cassandra_cluster": "blogs", "ringcheck_tier": "page"}
    assert (ticket.annotations["ticket"], ticket.labels["ringcheck_tier"]) == ("true", "ticket")
    assert page.output.startswith(
        "CRITICAL - blogs: 768 of 768 ranges (100.0 % of the tokens) of blog_3 unavailable at LOCAL_QUORUM"
    )
    assert page.handlers == ("default",)


def test_what_the_socket_loses_is_said_in_the_output_or_by_the_classic_server(sensu: double.Sensu) -> None:
    """Sensu Go keeps neither ttl nor team from the socket, though the message has them; it keeps status and text."""
    assert classic(sensu).send(verdict("10.0.0.1", "10.0.0.2")) is None
    wait_for(sensu, 2)
    page = sensu.event("blogs", PAGE)
    assert (page.status, page.ttl, page.annotations, page.entity_class) == (2, 0, {}, "proxy")
    assert page.output.startswith("CRITICAL - blogs: ")
    raw = sensu.raw[0]
    told = {name: raw[name] for name in ("team", "runbook", "ttl", "interval", "page", "ticket", "realert_every")}
    assert told == {
        "team": "orders",
        "runbook": "https://wiki.example.org/cassandra",
        "ttl": 300,
        "interval": 15,
        "page": True,
        "ticket": False,
        "realert_every": -1,
    }
    assert sensu.dropped == []


def wait_for(running: double.Sensu, number: int) -> None:
    """Wait until the double has this many events: the sender does not wait for the socket's answer."""
    await_(lambda: len(running.events) >= number, 10, "the events did not come")


def heard(running: double.Sensu, name: str, times: int) -> None:
    """Wait until an event has arrived this many times."""
    key = ("blogs", name)
    await_(lambda: key in running.events and len(running.events[key].history) >= times, 10, f"{name} did not come")


@pytest.mark.parametrize("transport", ["sensu-go", "socket"])
def test_a_recovery_resolves_both(transport: str, sensu: double.Sensu) -> None:
    """During a warning, a page and a recovery each event follows its own tier."""
    sender = api(sensu) if transport == "sensu-go" else classic(sensu)
    past = 0
    for down in (("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), ()):
        assert sender.send(verdict(*down)) is None
        heard(sensu, TICKET, past := past + 1)
        heard(sensu, PAGE, past)
    assert sensu.event("blogs", PAGE).history == [0, 2, 0]
    assert sensu.event("blogs", TICKET).history == [1, 1, 0]


def test_silence_turns_a_standing_page_into_a_warning_and_a_poll_brings_it_back(sensu: double.Sensu) -> None:
    """After the ttl a page becomes a warning that still fails and keeps its annotations, until the next event."""
    sender = api(sensu)
    outage = verdict("10.0.0.1", "10.0.0.2")
    sender.send(outage)
    sensu.advance(299)
    assert sensu.event("blogs", PAGE).status == 2
    sensu.advance(1)
    page = sensu.event("blogs", PAGE)
    assert (page.status, page.output, page.state) == (1, "Last check execution was 300 seconds ago", "failing")
    assert page.annotations["page"] == "true"
    sender.send(outage)
    assert sensu.event("blogs", PAGE).status == 2


def test_polls_in_time_never_let_a_page_grow_stale(sensu: double.Sensu) -> None:
    """With the default ttl nine polls in a row may fail to reach Sensu without an effect."""
    sender = api(sensu, ttl=default_ttl(60))
    outage = verdict("10.0.0.1", "10.0.0.2")
    for _ in range(3):
        sender.send(outage)
        sensu.advance(9 * 60)
    assert set(sensu.event("blogs", PAGE).history) == {2}


@pytest.mark.parametrize("interval", [1.0, 15.0, 29.5, 300.0, 86400.0])
def test_the_default_ttl_is_one_that_sensu_takes(interval: float) -> None:
    """The default ttl is in whole seconds, longer than the interval, and long enough for three events."""
    check = api_event(events(verdict())[0], replace(TERMS, interval=interval, ttl=default_ttl(interval)))["check"]
    assert check["ttl"] >= 3 * check["interval"]
    assert (type(check["ttl"]), type(check["interval"])) == (int, int)


@given(st.text(max_size=80) | st.text(string.printable, max_size=40), st.sampled_from(list(Severity)))
def test_no_cluster_s_name_makes_an_event_that_is_dropped(name: str, severity: Severity) -> None:
    """For any ClusterName, both transports accept name, source, output and status."""
    server = double.Backend()
    for event in blind(name, "no node answered", severity):
        server.from_api(api_event(event, TERMS))
        server.from_socket(socket_event(event, TERMS))
        assert server.event(event.source, event.name).status == severity.exit_code
    assert len(server.events) == 2


@pytest.mark.parametrize("down", [(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), article.ADDRESSES])
def test_every_number_of_an_output_becomes_its_point(down: tuple[str, ...]) -> None:
    """Sensu Go's parser reads the same labels and values from the perfdata as that of Nagios."""
    for event in events(verdict(*down, cluster="a|b = c")):
        perf = event.output.partition(" | ")[2].split(" ")
        expected = {one.partition("=")[0]: one.partition("=")[2].partition(";")[0].rstrip("s%") for one in perf}
        found = double.points(event.output)
        assert {name: float(value) for name, value in expected.items()} == found
        assert len(found) >= 8


def test_names_beyond_ascii_arrive(sensu: double.Sensu) -> None:
    """The entity has a name that Sensu accepts, and the output has the cluster's own name."""
    found = verdict(cluster="Größe 1")
    assert api(sensu).send(found) is None
    assert safe_name("Größe 1") == "Gr-e-1"
    assert "Größe 1: " in sensu.event("Gr-e-1", "ringcheck.Gr-e-1.page").output


def test_many_at_once_are_all_taken(sensu: double.Sensu) -> None:
    """All of thirty events for fifteen clusters arrive."""
    for place in range(15):
        assert api(sensu).send(verdict(cluster=f"c{place}")) is None
    assert len(sensu.events) == 30


def test_a_refusal_of_the_api_is_reported_in_one_line(sensu: double.Sensu) -> None:
    """The error has the text of the 400, the event and the URL."""
    url = f"{sensu.url}/elsewhere"
    problem = api(sensu, url=url, page="never").send(verdict())
    assert problem == f"{TICKET}: HTTP 404 from {url}/events: 404 page not found"


def test_repeats_and_patience_are_as_configured(sensu: double.Sensu) -> None:
    """`after` and `repeat` arrive in the form that each of the two kinds of handlers uses."""
    assert api(sensu, after=60.0, repeat=3600.0).send(verdict()) is None
    told = sensu.event("blogs", PAGE).annotations
    assert (told["fatigue_check/occurrences"], told["fatigue_check/interval"]) == ("5", "3600")
    classic(sensu, after=60.0, repeat=3600.0).send(verdict())
    await_(lambda: len(sensu.raw) == 2, 10, "the events did not come")
    assert {(one["alert_after"], one["realert_every"]) for one in sensu.raw} == {(60, 240)}


@pytest.mark.parametrize("transport", ["sensu-go", "socket"])
def test_check_speaks_both(transport: str, sensu: double.Sensu, tmp_path: Path) -> None:
    """`check --sensu` uses the transport of the configuration."""
    where = f"url: '{sensu.url}'" if transport == "sensu-go" else f"port: {sensu.port}"
    file = tmp_path / "r.yaml"
    told = f"{{transport: {transport}, team: t, runbook: r, ttl: 150s, {where}}}"
    file.write_text(f"clusters: {{orders: {{jolokia: {{contact_points: h}}, sensu: {told}}}}}\n")
    snapshot = str(ROOT / "tests" / "snapshots" / "article-one-down.json")
    assert run(["check", "-C", str(file), "--from", snapshot, "--sensu"]) == 2
    wait_for(sensu, 2)
    assert {(name, one.status) for (_, name), one in sensu.events.items()} == {
        ("ringcheck.blogs.page", 2),
        ("ringcheck.blogs.ticket", 1),
    }


def test_check_sends_to_the_api_that_the_command_line_names(sensu: double.Sensu) -> None:
    """--sensu-url suffices without a configuration."""
    snapshot = str(ROOT / "tests" / "snapshots" / "article-one-down.json")
    arguments = ["check", "--from", snapshot, "--sensu", "--team", "t", "--runbook", "r", "--sensu-url", sensu.url]
    assert run(arguments) == 2
    assert sensu.event("blogs", PAGE).status == 2


def test_an_agent_s_way_to_merge_stderr_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    """Sensu stores stdout and stderr together; check prints nothing on stderr, so the perfdata stays intact."""
    snapshot = str(ROOT / "tests" / "snapshots" / "article-one-down.json")
    code = run(["check", "--from", snapshot])
    status, output = double.results(code, *capsys.readouterr())
    assert status == 2
    assert double.points(output)["nodes_down"] == 1


def test_a_definition_s_timeout_ends_after_ours() -> None:
    """Sensu's own timeout is CRITICAL; check's -t of 9 s ends earlier, with UNKNOWN."""
    assert double.results(0, "x", "", timed_out=True) == (2, "Execution timed out")
    for spec, _ in definitions():
        given = dict(zip(words := shlex.split(spec["command"]), words[1:], strict=False)).get("-t")
        assert spec["timeout"] > float(given or TIMEOUT)


def definitions() -> list[tuple[dict[str, Any], str]]:
    found = []
    for path in (ROOT / "config" / "sensu-go").glob("check-*.yaml"):
        for one in yaml.safe_load_all(path.read_text()):
            assert (one["type"], one["api_version"]) == ("CheckConfig", "core/v2")
            found.append((one["spec"], one["metadata"]["name"]))
    for path in (ROOT / "config" / "sensu").glob("check-*.json"):
        found += [(spec, name) for name, spec in json.loads(path.read_text())["checks"].items()]
    return found


def test_the_definitions_are_taken() -> None:
    """A backend accepts names and ttls of the definitions, and notices silence."""
    assert len(definitions()) >= 2
    for spec, name in definitions():
        assert double.refuses_check(spec, name) is None
        assert spec["ttl"] > 2 * spec["interval"]
        assert not spec.get("round_robin") or spec["proxy_entity_name"]


def test_the_definitions_commands_are_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command in a definition uses options of check, and works with a recorded cluster."""
    file = tmp_path / "r.yaml"
    file.write_text("clusters: {orders-prod: {jolokia: {contact_points: h}}}\n")
    monkeypatch.setenv("RINGCHECK_FROM", str(ROOT / "tests" / "snapshots" / "article-one-down.json"))
    for spec, _ in definitions():
        program, *options = shlex.split(spec["command"])
        assert program.endswith("/check_cassandra_ring")
        assert run(["check", *(str(file) if one.startswith("/etc/") else one for one in options)]) == 2
        assert capsys.readouterr().out.startswith("CRITICAL - ")


def test_a_line_stays_short_for_all() -> None:
    """The output that Sensu gets is as short as the plugin's."""
    page, ticket = events(verdict("10.0.0.1", cluster="x" * 5000))
    assert max(len(one.output.encode()) for one in (page, ticket)) <= LINE_BYTES
