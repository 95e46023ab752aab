"""preflight: names of nodes, exit codes, the document, and readings in a row."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.cli import run
from ringcheck.cli.preflight import BETWEEN
from ringcheck.cli.target import ChosenCluster
from tests import article

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
SCHEMA = Path(ringcheck.documents.__file__).parent / "schemas" / "decision-1.json"
HEALTHY, ONE_DOWN = (str(SNAPSHOTS / f"article-{name}.json") for name in ("healthy", "one-down"))

BOOTSTRAP = ["--action", "bootstrap", "--datacenter"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("snapshot", "nodes", "code", "first"),
    [
        (HEALTHY, ["10.0.0.1"], 0, "SAFE blogs: 10.0.0.1 may stop now"),
        (HEALTHY, ["host-1"], 0, "SAFE blogs: 10.0.0.2 may stop now"),
        (HEALTHY, ["--rack", "r2"], 0, "SAFE blogs: 10.0.0.3 may stop now"),
        (HEALTHY, ["10.0.0.1", "10.0.0.1"], 0, "SAFE blogs: 10.0.0.1 may stop now"),
        (HEALTHY, ["10.0.0.1", "10.0.0.2"], 2, "UNSAFE blogs: 10.0.0.1, 10.0.0.2 must not stop now"),
        (ONE_DOWN, ["10.0.0.2"], 2, "UNSAFE blogs: 10.0.0.2 must not stop now"),
        (ONE_DOWN, ["10.0.0.1"], 0, "SAFE blogs: 10.0.0.1 may stop now"),
        (HEALTHY, ["10.0.0.77"], 3, "UNKNOWN blogs: not known whether 10.0.0.77 may stop now"),
        (HEALTHY, ["10.0.0."], 3, "UNKNOWN - 10.0.0. can mean 10.0.0.1, 10.0.0.2, 10.0.0.3"),
        (HEALTHY, ["--rack", "r9"], 3, "UNKNOWN - there is no rack r9"),
        (HEALTHY, [], 3, "UNKNOWN - name the nodes that are to stop, or a --rack"),
        (HEALTHY, ["10.0.0.1", "--allow", "nothing"], 3, "UNKNOWN - there is no reason 'nothing' (known: "),
        (HEALTHY, ["10.0.0.1", "-k", "blog_3"], 3, "UNKNOWN - usage: ringcheck preflight does not take --keyspace: "),
        (ONE_DOWN, ["10.0.0.1", "--action", "replace"], 0, "SAFE blogs: 10.0.0.1 may be replaced now"),
        (ONE_DOWN, ["10.0.0.1", "--action", "removenode"], 2, "UNSAFE blogs: 10.0.0.1 must not be removed now"),
        (HEALTHY, ["10.0.0.1", "--action", "replace"], 2, "UNSAFE blogs: 10.0.0.1 must not be replaced now"),
        (HEALTHY, [*BOOTSTRAP, "dc1", "--rack", "r1"], 0, "SAFE blogs: a node in dc1 r1 may join now"),
        (ONE_DOWN, [*BOOTSTRAP, "dc1", "--rack", "r1"], 2, "UNSAFE blogs: a node in dc1 r1 must not join now"),
        (HEALTHY, [*BOOTSTRAP, "dc1"], 3, "UNKNOWN - bootstrap needs the datacenter and the rack of the new node"),
        (HEALTHY, ["--action", "replace", "--rack", "r1"], 3, "UNKNOWN - replace needs the nodes that it is about"),
        (HEALTHY, ["10.0.0.1", "--datacenter", "dc1"], 3, "UNKNOWN - restart has no new node: "),
        (HEALTHY, ["10.0.0.1", "--level", "ALL"], 2, "UNSAFE blogs: 10.0.0.1 must not stop now"),
    ],
)
def test_who_may_stop(
    snapshot: str, nodes: list[str], code: int, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only exit code 0 means yes; a name that means no node, or several, never gives it."""
    assert run(["preflight", "--from", snapshot, "--accept", "blog_1", *nodes]) == code
    out, err = capsys.readouterr()
    assert (err if first.startswith("UNKNOWN - ") else out).startswith(first)
    assert not (out and err)


@pytest.mark.slow
@pytest.mark.parametrize(
    "nodes",
    [
        ["10.0.0.1"],
        ["10.0.0.1", "10.0.0.2"],
        ["nobody.invalid"],
        ["10.0.0.1", "10.0.0.2", "--action", "replace", "--datacenter", "dc1", "--rack", "r1"],
        [*BOOTSTRAP, "dc1", "--rack", "r1"],
    ],
)
def test_the_document_is_what_its_schema_says(nodes: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Safe, unsafe and unknown decisions validate."""
    run(["preflight", "--from", HEALTHY, "--format", "json", *nodes])
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(capsys.readouterr().out))


def test_what_is_allowed_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """A reason that --allow permits stays in the decision, as a note."""
    arguments = ["preflight", "--from", HEALTHY, "--format", "json", "--allow", "structurally_never_safe", "10.0.0.1"]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    blocks = [reason["blocks"] for reason in document["reasons"] if reason["code"] == "structurally_never_safe"]
    assert (document["decision"], blocks) == ("safe", [False])


def test_a_configured_recording_is_one_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster with `replay:` can't show what needs live nodes, and the decision says so as with --from."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    (recordings / "0.json").write_text(Path(HEALTHY).read_text())
    config = tmp_path / "ringcheck.yaml"
    config.write_text(f"clusters:\n  blogs:\n    replay: {{directory: {recordings}}}\n")
    left_out = []
    for source in (["--from", HEALTHY], ["-C", str(config)]):
        run(["preflight", *source, "--format", "json", "10.0.0.1"])
        left_out.append(json.loads(capsys.readouterr().out)["left_out"])
    assert left_out[0] == left_out[1] != []


class Clock:
    """Time that passes only while something sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "readings", "code"),
    [
        ([], "s", 0),
        ([], "u", 2),
        (["--stable", "3"], "sss", 0),
        (["--stable", "3"], "ssu", 2),
        (["--wait", "1m"], "uus", 0),
        (["--wait", "1m", "--stable", "2"], "susuuss", 0),
        (["--wait", "4s"], "uuu", 2),
        (["--wait", "2s", "--stable", "3"], "usss", 0),
    ],
)
def test_readings_in_a_row(
    options: list[str], readings: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many polls as needed are made: a safe series is finished even after --wait; an unsafe reading ends it."""
    snapshots = {"s": article.snapshot(), "u": article.snapshot(["10.0.0.3"])}
    left, clock = list(readings), Clock()

    @contextmanager
    def polls(_: ChosenCluster, *, streams: bool = False) -> Iterator[Callable[[], Snapshot]]:
        assert streams
        yield lambda: snapshots[left.pop(0)]

    monkeypatch.setattr(ChosenCluster, "polls", polls)
    monkeypatch.setattr(ChosenCluster, "holders", lambda *_: ())
    monkeypatch.setattr("ringcheck.cli.preflight.time", clock)
    gate = ["--accept", "blog_1", "--allow", "recently_changed", "--allow", "streaming"]
    assert run(["preflight", "-H", "127.0.0.1:1", *gate, *options, "10.0.0.1"]) == code, capsys.readouterr().out
    assert (left, clock.now) == ([], BETWEEN * (len(readings) - 1))
