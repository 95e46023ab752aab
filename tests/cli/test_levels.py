"""`ringcheck levels`, and how commands apply `auto`: by the agent's state file, or by the default levels."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent.levels import LevelBook
from ringcheck.cli import run
from ringcheck.cli.target import ChosenCluster
from ringcheck.config.values import Observing
from ringcheck.core.consistency import Level
from ringcheck.core.levels import Following
from ringcheck.core.node_requests import NodeRequests
from ringcheck.core.uses import LOGINS, ROLES, SCANS, SCOPES, Use
from ringcheck.documents.levels import read_levels
from ringcheck.errors import DataError
from ringcheck.history import database
from ringcheck.history.levels import SaveEvidence
from tests import article
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot

WINDOW = 7 * 86400.0


def seen(at: float, **counts: int) -> Snapshot:
    """A snapshot of the article's cluster, in which each node counted this many queries."""
    snapshot = article.snapshot(["10.0.0.1", "10.0.0.2"])
    every = dict.fromkeys([*SCOPES, LOGINS, ROLES, SCANS], 0) | {
        name.replace("__", "-"): count for name, count in counts.items()
    }
    requests = tuple(
        NodeRequests(
            node=str(node.host_id), address=node.address, datacenter="dc1", release="5.0.8",
            started=at - 20 * WINDOW, counts=every,
        )
        for node in snapshot.nodes
    )  # fmt: skip
    return replace(snapshot, requests=requests)


def polling(monkeypatch: pytest.MonkeyPatch, *down: str) -> None:
    """Let every poll show the article's cluster with these nodes down."""

    @contextmanager
    def polls(_: ChosenCluster, **_options: bool) -> Iterator[Callable[[], Snapshot]]:
        yield lambda: article.snapshot(down)

    monkeypatch.setattr(ChosenCluster, "polls", polls)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster with `auto` levels, two of three nodes down, and evidence for a complete window in the state file."""
    polling(monkeypatch, "10.0.0.1", "10.0.0.2")
    clock, now = [time.time() - WINDOW - 120], time.time()
    with closing(database.connected(tmp_path / "state.db")) as connection:

        def save(*values: Any) -> None:
            SaveEvidence.of(*values)(connection)

        levels = LevelBook(save, lambda: clock[0]).of("blogs")
        observing = Observing(following=Following(window=WINDOW))
        levels.note(observing, seen(now))
        clock[0] = now - 60
        levels.report(observing, {Use("blog_1", "dc1", Level.LOCAL_ONE, "read"): 700})
        levels.note(observing, seen(now, **{"Read__LOCAL_QUORUM": 604_800, SCANS: 3}))
        connection.commit()
    path = tmp_path / "ringcheck.yaml"
    path.write_text(
        "clusters:\n  blogs:\n    jolokia: {contact_points: [127.0.0.1]}\n"
        "    monitor: {keyspaces: blog_3, critical: auto, warning: auto}\n"
        "  plain:\n    jolokia: {contact_points: [127.0.0.1]}\n"
        "agent: {state: state.db}\n"
    )
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run(list(words)) == code
    shown = capsys.readouterr()
    return shown.err if code == 3 and words[0] != "check" else shown.out


def test_the_state_file_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has evidence, levels in use and rules, in 80 columns."""
    text = printed(capsys, "levels", "-C", str(config), "--cluster", "blogs")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("blogs: window of 7 days, the window is incomplete: defaults apply too")
    assert "  proxy: 60 s of 7 days are known" in lines
    assert any("range scans were seen" in line for line in lines)
    [counters] = [line for line in lines if line.endswith("counters")]
    assert counters.split()[:5] == ["*", "dc1", "LOCAL_QUORUM", "read", "3"]
    assert "  *: LOCAL_QUORUM in dc1" in lines
    assert '      - keyspaces: ["*"]' in lines


def test_json_is_the_document(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It equals the document of the agent's API."""
    text = printed(capsys, "levels", "-C", str(config), "--cluster", "blogs", "--format", "json")
    document = json.loads(text)
    validate(document, "levels-1")
    assert read_levels(text, "x") == document
    assert (document["whole"], document["scans"]) == (False, True)
    assert {use["source"] for use in document["uses"]} == {"counters", "proxy"}
    assert document["in_use"] == [
        {"keyspace": None, "datacenter": "dc1", "level": "LOCAL_QUORUM"},
        {"keyspace": "blog_1", "datacenter": "dc1", "level": "LOCAL_QUORUM"},
    ]


def test_a_cluster_that_follows_nothing_has_no_levels(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing records its queries."""
    text = printed(capsys, "levels", "-C", str(config), "--cluster", "plain", code=3)
    assert "plain has neither `observed` nor `auto` in the configuration" in text


def test_without_a_state_file_there_is_nothing_to_show(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No state file is configured, or it does not exist."""
    (config.parent / "state.db").unlink()
    assert "state.db can't be read" in printed(capsys, "levels", "-C", str(config), "--cluster", "blogs", code=3)
    config.write_text(config.read_text().replace("agent: {state: state.db}\n", ""))
    assert "name an --agent" in printed(capsys, "levels", "-C", str(config), "--cluster", "blogs", code=3)


def check(capsys: pytest.CaptureFixture[str], config: Path, code: int) -> str:
    return printed(capsys, "check", "-C", str(config), "--cluster", "blogs", "-k", "blog_3", "-v", code=code)


def test_check_uses_the_evidence_of_the_state_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """LOCAL_QUORUM is in use and lost, which is CRITICAL; by the default levels it would be a WARNING."""
    assert "unavailable at LOCAL_QUORUM in dc1" in check(capsys, config, 2)


WHY = {
    "not configured": "no state file of an agent is configured",
    "missing": "state.db can't be read: No such file or directory",
    "of another cluster": "state.db has no evidence of blogs",
}


def without_evidence(config: Path, broken: str) -> None:
    state = config.parent / "state.db"
    if broken == "not configured":
        config.write_text(config.read_text().replace("agent: {state: state.db}\n", ""))
    elif broken == "missing":
        state.unlink()
    else:
        with closing(database.connected(state)) as connection:
            connection.execute("DELETE FROM evidence")
            connection.commit()


@pytest.mark.parametrize("broken", WHY)
def test_check_without_evidence_uses_the_default_levels(
    broken: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output says so, with the reason."""
    without_evidence(config, broken)
    assert f"{WHY[broken]}; the default levels apply" in check(capsys, config, 1)


@pytest.mark.slow
@pytest.mark.parametrize("broken", WHY)
@pytest.mark.parametrize("follows", ["monitor: {keyspaces: blog_3, critical: auto, warning: auto}", "observed: {}"])
def test_the_gate_of_commands_needs_evidence(
    follows: str, broken: str, config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes that are up must not stop while it is not known which levels clients use; --allow lifts the reason."""
    polling(monkeypatch)
    config.write_text(
        config.read_text().replace(
            "monitor: {keyspaces: blog_3, critical: auto, warning: auto}", f"gate: {{accept: [blog_1]}}\n    {follows}"
        )
    )
    without_evidence(config, broken)
    options = ["-C", str(config), "--cluster", "blogs"]
    why = f"the levels that clients use are not known: {config.parent if 'state.db' in WHY[broken] else ''}"
    for command in (["preflight", *options, "10.0.0.1"], ["plan", *options]):
        assert run(command) == 3
        shown = capsys.readouterr().out
        assert why in shown
        assert WHY[broken] in shown
        assert run([*command, "--allow", "levels_unclear"]) == 0
        assert "levels_unclear" in capsys.readouterr().out
    assert run(["nodes", "-C", str(config), "--cluster", "blogs", "--format", "json"]) == 0
    assert {node["stop"]["decision"] for node in json.loads(capsys.readouterr().out)["nodes"]} == {"unknown"}


def test_a_recording_shows_no_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The levels of today are not those of the recording."""
    config = tmp_path / "ringcheck.yaml"
    config.write_text("clusters: {blogs: {jolokia: {contact_points: [127.0.0.1]}, observed: {}}}\n")
    recording = str(Path(__file__).parent.parent / "snapshots" / "article-one-down.json")
    assert run(["preflight", "-C", str(config), "--from", recording, "--accept", "blog_1", "10.0.0.1"]) == 3
    assert "are not known: a recorded snapshot does not show them" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "ringcheck/history/1"},
        {"uses": None},
        {"uses": [{}]},
        {"in_use": [1]},
        {"rules": [{"keyspaces": []}]},
        {"window_seconds": "long"},
    ],
)
def test_what_is_no_document_is_refused(
    change: dict[str, Any], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is one line that begins with the source of the text."""
    text = printed(capsys, "levels", "-C", str(config), "--cluster", "blogs", "--format", "json")
    with pytest.raises(DataError, match=r"^http://x"):
        read_levels(json.dumps(json.loads(text) | change), "http://x")
