"""`check --sensu` with a socket that reads like Sensu's agent, and with sockets that don't."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import sensu
from ringcheck.cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
ONE_DOWN = str(SNAPSHOTS / "article-one-down.json")


@contextmanager
def agent() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A port and the events that arrive there: one JSON object per connection, read to its end as by Sensu's agent."""
    events: list[dict[str, Any]] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as stream:
                    events.append(json.loads(stream.read()))

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], events
        thread.join(5)


def test_two_events_are_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """A page event with `page` and a ticket event with `ticket`, both for the cluster's proxy entity."""
    with agent() as (port, events):
        arguments = [
            "check",
            "--from",
            ONE_DOWN,
            "--sensu",
            "--team",
            "orders",
            "--runbook",
            "http://rb",
            "--sensu-port",
            str(port),
        ]
        assert run(arguments) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    keys = ("name", "status", "page", "ticket", "team", "runbook", "source")
    assert [tuple(event[key] for key in keys) for event in events] == [
        ("ringcheck.blogs.page", 2, True, False, "orders", "http://rb", "blogs"),
        ("ringcheck.blogs.ticket", 1, False, True, "orders", "http://rb", "blogs"),
    ]
    assert events[0]["output"].partition(" | ")[0] == lines[0].partition(" | ")[0]


def test_team_and_runbook_come_from_the_configuration(tmp_path: Path) -> None:
    """Without options the configured team is notified."""
    file = tmp_path / "r.yaml"
    with agent() as (port, events):
        settings = f"{{team: search, runbook: 'http://rb2', port: {port}}}"
        file.write_text(f"clusters: {{blogs: {{jolokia: {{contact_points: h}}, sensu: {settings}}}}}\n")
        assert run(["check", "-C", str(file), "--from", ONE_DOWN, "--sensu"]) == 2
    assert [(one["team"], one["runbook"]) for one in events] == [("search", "http://rb2")] * 2


def test_sensu_without_a_team_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """An event without a team would reach nobody."""
    assert run(["check", "--from", ONE_DOWN, "--sensu"]) == 3
    assert "--sensu needs --team and --runbook" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--sensu-url", "http://127.0.0.1:1", "--sensu-port", "3030"], "choose one"),
        (["--sensu-url", "localhost:3031"], "--sensu-url: 'localhost:3031' is not an http or https URL"),
        (["--sensu-port", "70000"], "usage: Invalid value for '--sensu-port'"),
    ],
)
def test_options_that_name_no_transport_are_usage_errors(
    options: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Contradictory or malformed options are errors."""
    assert run(["check", "--from", ONE_DOWN, "--sensu", "--team", "t", "--runbook", "r", *options]) == 3
    assert line in capsys.readouterr().out


def test_sensu_is_notified_if_no_node_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The events are UNKNOWN like the plugin's line; otherwise the last good event would stay in force."""
    file = tmp_path / "r.yaml"
    with agent() as (port, events):
        settings = f"{{team: t, runbook: r, port: {port}}}"
        file.write_text(f"clusters: {{orders: {{jolokia: {{contact_points: '127.0.0.1:1'}}, sensu: {settings}}}}}\n")
        assert run(["check", "-C", str(file), "--sensu"]) == 3
    out = capsys.readouterr().out
    assert [(one["name"], one["status"], f"{one['output']}\n") for one in events] == [
        ("ringcheck.orders.page", 3, out),
        ("ringcheck.orders.ticket", 3, out),
    ]


def test_without_a_name_no_event_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """If a cluster neither answers nor is configured, Sensu's entity has no name."""
    assert run(["check", "-H", "127.0.0.1:1", "--sensu", "--team", "t", "--runbook", "r"]) == 3
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("UNKNOWN - no node answered")
    assert second.startswith("Sensu was not notified: without a configuration the cluster's name")


def test_a_dead_sensu_changes_neither_verdict_nor_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The result for Nagios does not depend on Sensu."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert (
        run(["check", "--from", ONE_DOWN, "--sensu", "--team", "t", "--runbook", "r", "--sensu-port", str(port)]) == 2
    )
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("CRITICAL - ")
    assert second.startswith("Sensu was not notified: ")
    assert "Connection refused" in second


def test_a_sensu_that_does_not_read_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pysensu-yelp has no timeout, but sending has a deadline."""
    monkeypatch.setattr(sensu, "DEADLINE", 0.3)
    with socket.socket() as deaf, socket.socket() as queued:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        queued.connect(deaf.getsockname())  # the only free slot in the queue
        queued2 = socket.socket()
        queued2.settimeout(0)
        queued2.connect_ex(deaf.getsockname())
        port = str(deaf.getsockname()[1])
        assert run(["check", "--from", ONE_DOWN, "--sensu", "--team", "t", "--runbook", "r", "--sensu-port", port]) == 2
        queued2.close()
    assert capsys.readouterr().out.splitlines()[1] == f"Sensu was not notified: 127.0.0.1:{port} took longer than 0.3 s"
