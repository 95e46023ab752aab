"""The history over HTTP, on the page and in the command's output: which entries the death of a node leaves."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import history
from ringcheck.cli import run
from ringcheck.history import reader
from ringcheck.history.database import StateFileError
from tests.agent.service import PATIENCE
from tests.agent.watched import NAME, World, watched
from tests.counterparts.daemon import await_
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATH = "/api/v1/clusters/NAME/history"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("history")


@pytest.fixture(scope="module")
def world(folder: Path) -> Iterator[World]:
    """A cluster one of whose nodes died and came back."""
    with watched(folder) as world:
        world.cluster.down(0, instant=True)
        world.seen("WARNING")
        world.cluster.up(0, instant=True)
        world.seen("OK")
        world.post("/api/v1/clusters/NAME/preflight", {"nodes": [world.address(0)]})
        await_(lambda: "decision" in kinds(world, limit=1000), PATIENCE, "the decision is not kept")
        yield world


def asked(world: World, **parameters: Any) -> Any:
    answer = world.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    validate(answer.json(), "history-1")
    return answer.json()


def kinds(world: World, **parameters: Any) -> list[str]:
    return [entry["kind"] for entry in asked(world, **parameters)["entries"]]


@pytest.mark.slow
def test_the_history_has_what_happened(world: World) -> None:
    """It has the severity, the node and the gate's answer, newest first."""
    entries = asked(world, limit=1000)["entries"]
    severities = [(entry["was"], entry["now"]) for entry in entries if entry["kind"] == "severity"]
    assert severities[0][1] == "OK"
    assert ("OK", "WARNING") in severities
    nodes = [entry["now"] for entry in entries if entry["kind"] == "node" and entry["subject"] == world.address(0)]
    assert nodes[0] == "up"
    assert "down" in nodes
    assert [entry["id"] for entry in entries] == sorted((entry["id"] for entry in entries), reverse=True)


@pytest.mark.slow
def test_pages_of_the_history(world: World) -> None:
    """In both directions, all pages together have every entry."""
    for order in ("newest", "oldest"):
        whole = asked(world, limit=1000, order=order)["entries"]
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = asked(world, limit=2, order=order, **cursor)
            found += page["entries"]
            if not page["entries"] or page["cursor"] is None:
                break
            cursor = {"cursor": page["cursor"]}
        assert found == whole


@pytest.mark.slow
def test_bounds_of_the_history(world: World) -> None:
    """The history can be limited to times and kinds of entries; Grafana's times in milliseconds are understood."""
    assert kinds(world, since="2126-01-01T00:00:00Z") == []
    assert kinds(world, since="1h")
    assert kinds(world, until="1767225600000") == []
    assert set(kinds(world, kind=["severity", "node"])) == {"severity", "node"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("since=yesterday", "is not a time such as 24h"),
        ("limit=0", "limit is a number from 1 to 1000"),
        ("limit=1001", "limit is a number from 1 to 1000"),
        ("cursor=x", "cursor is a number"),
        ("order=random", "order is newest or oldest"),
        ("kind=weather", "there is no kind 'weather'"),
        ("from=1h", "there is no parameter 'from' here"),
    ],
)
def test_a_wrong_question_is_an_error(world: World, query: str, why: str) -> None:
    """A wrong parameter gets 400 with what is wrong."""
    answer = world.get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_a_cluster_without_that_name_has_no_history(world: World) -> None:
    """The answer is 404, as on every other path."""
    assert world.get("/api/v1/clusters/other/history").status_code == 404


def test_everything_says_since_when(world: World) -> None:
    """The verdict, its nodes, the metrics and the pages show the same time."""
    last = asked(world, kind="severity")["entries"][0]
    verdict = world.get("/api/v1/clusters/NAME/health").json()
    validate(verdict, "verdict-1")
    assert verdict["since"] == f"{last['at'][:19]}Z"
    assert all(node["since"] for node in verdict["nodes"])
    assert "cassandra_ring_severity_since_timestamp_seconds" in world.get("/metrics").text
    assert "ringcheck_history_up 1.0" in world.get("/metrics").text
    assert verdict["since"] in world.get("/clusters/NAME").text
    assert verdict["since"] in world.get("/").text


def test_the_page_has_a_timeline(world: World) -> None:
    """The timeline is part of the page and needs no script."""
    page = world.get("/clusters/NAME").text
    assert '<h2 id="h-history">History</h2>' in page
    assert "WARNING</span> was OK: " in page
    assert f"{world.address(0)} is down (was up)" in page


def test_the_command_asks_the_agent_or_reads_the_file(
    world: World, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both print the same entries, the newest last."""
    sources = (["--agent", world.served.url], ["--state", str(folder / "state.db")])
    for format_ in ("text", "json"):
        outputs = []
        for source in sources:
            assert run(["history", *source, "--cluster", NAME, "--since", "1h", "--format", format_]) == 0
            outputs.append(capsys.readouterr().out)
        assert outputs[0] == outputs[1]
    document = json.loads(outputs[0])
    validate(document, "history-1")
    ids = [entry["id"] for entry in document["entries"]]
    assert ids == sorted(ids)
    assert run(["history", *sources[1], "--cluster", NAME, "--limit", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{NAME}: the last 1 change; --limit shows more\n")


def test_a_file_that_can_not_be_read_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API states the reason, the page shows everything else, and a broken file is checked."""
    doubts: list[bool] = []

    def broken(*_: object) -> None:
        raise StateFileError("state.db can't be read: malformed", broken=True)

    assert world.agent.recorder.writer
    monkeypatch.setattr(reader, "page", broken)
    monkeypatch.setattr(world.agent.recorder.writer, "doubt", lambda: doubts.append(True))
    answer = world.get(PATH)
    assert (answer.status_code, answer.json()["error"]) == (503, "state.db can't be read: malformed")
    page = world.get("/clusters/NAME")
    assert page.status_code == 200
    assert "state.db can&#39;t be read: malformed" in page.text
    assert doubts == [True, True]


def test_a_disk_that_hangs_holds_up_nothing_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for the history end in time and are bounded in number; metrics and verdicts are still served."""
    go, whole = threading.Event(), reader.page

    def hanging(*arguments: Any) -> Any:
        go.wait(PATIENCE)
        return whole(*arguments)

    monkeypatch.setattr(reader, "page", hanging)
    monkeypatch.setattr(history, "SECONDS", 0.05)
    monkeypatch.setattr(history, "WAITING", 3)
    monkeypatch.setattr(history.HistoryReader.page, "__defaults__", (0.05,))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.get(PATH), range(4)))
    assert {answer.status_code for answer in answers} == {503}
    assert any("could not be read within" in answer.text for answer in answers)
    assert any("too many questions" in answer.text for answer in answers)
    assert world.get("/metrics").status_code == 200
    assert world.get("/clusters/NAME").status_code == 200
    go.set()
    monkeypatch.undo()
    await_(lambda: world.get(PATH).status_code == 200, PATIENCE, "the history is not read again")


def test_without_a_state_file_there_is_no_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 503 and names the configuration key, and the page has no timeline."""
    monkeypatch.setattr(world.agent.recorder, "writer", None)
    answer = world.get(PATH)
    assert answer.status_code == 503
    assert "agent: {state: FILE}" in answer.json()["error"]
    page = world.get("/clusters/NAME")
    assert page.status_code == 200
    assert "h-history" not in page.text
    assert "ringcheck_history_up" not in [line.split(" ")[0] for line in world.get("/metrics").text.splitlines()]
