"""plan: exit codes, the complete output, the document, and the nodes that are planned for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.cli import run
from ringcheck.cli.target import ChosenCluster
from ringcheck.documents.snapshot import read_snapshot, snapshot_document
from tests.core.clusters import nodes, ring, snapshot

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
SCHEMA = Path(ringcheck.documents.__file__).parent / "schemas" / "plan-1.json"
HEALTHY, ONE_DOWN = (str(SNAPSHOTS / f"article-{name}.json") for name in ("healthy", "one-down"))
PLACES = [f"{dc}:r{rack}" for dc in ("dc1", "dc2") for rack in (1, 1, 2, 2, 3, 3)]
ROWS = [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12], [1, 4, 6, 7, 10, 12], [2, 3, 5, 8, 9, 11]]


@pytest.fixture
def two_dcs(tmp_path: Path) -> str:
    """Twelve nodes in three racks of two datacenters, RF 3 each, and a keyspace of RF 1 on the first node."""
    rings = [
        ring("orders", "NetworkTopologyStrategy {dc1=3, dc2=3}", ROWS, 12),
        ring("scratch", "NetworkTopologyStrategy {dc1=1}", [[1]], 12),
    ]
    path = tmp_path / "two.json"
    path.write_text(json.dumps(snapshot_document(snapshot(nodes(*PLACES), rings))))
    return str(path)


def planned(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[list[int]]]:
    """The exit code, and the last octet of each address in the batches."""
    code = run(["plan", "--format", "json", *arguments])
    document = json.loads(capsys.readouterr().out)
    return code, [[int(one.rpartition(".")[2]) for one in batch] for batch in document["batches"]]


def test_the_whole_output(two_dcs: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It has batches by rack, refused nodes with their reasons, and the next step; in a pipe no line is broken."""
    assert run(["plan", "--from", two_dcs]) == 2
    assert (
        capsys.readouterr().out
        == """\
REFUSED test: 11 nodes in 3 batches, 1 node refused
fewest: proven
for the ring of 2024-05-06T07:08:09Z, if all nodes outside the batch are up

Batch 1: 3 nodes
  dc1 r1 (1): 10.0.0.2
  dc2 r1 (2): 10.0.0.7, 10.0.0.8
Batch 2: 4 nodes
  dc1 r2 (2): 10.0.0.3, 10.0.0.4
  dc2 r2 (2): 10.0.0.9, 10.0.0.10
Batch 3: 4 nodes
  dc1 r3 (2): 10.0.0.5, 10.0.0.6
  dc2 r3 (2): 10.0.0.11, 10.0.0.12

Refused: 1 node
  10.0.0.1
    structurally_never_safe: 1 of 1 ranges (100.0 % of the tokens) of scratch \
can't survive any stop at LOCAL_QUORUM in dc1
      lifts when the replication factor is raised, or the keyspace is accepted by name

Next: ringcheck roll --exec 'CMD {address}' asks the gate before each batch
"""
    )


def test_the_next_command_has_the_options_of_this_one(
    two_dcs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that `roll` takes too, quoted for a shell; also from the variables of `plan`, but no password in a URL."""
    seen = read_snapshot(Path(two_dcs).read_bytes(), two_dcs)
    monkeypatch.setattr(ChosenCluster, "snapshot", lambda *_, **__: seen)
    monkeypatch.setenv("RINGCHECK_PLAN_MAX_BATCH", "1")
    monkeypatch.setenv("RINGCHECK_USERNAME", "me")
    words = ["-u", "http://u:s3cret@10.0.0.1:8778/jolokia", "--accept", "scratch", "--accept", "scr*", "--level", "ONE"]
    run(["plan", *words, "--by", "rack", "-t", "5s", "host-3"])
    where, rest = "-u http://10.0.0.1:8778/jolokia", "host-3 --max-batch 1 --by rack"
    command = f"ringcheck roll {where} --level ONE --accept scratch --accept 'scr*' {rest} --exec 'CMD {{address}}'"
    assert f"Next: {command} asks" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("wishes", "batches"),
    [
        ([], [[1, 2, 7, 8], [3, 4, 9, 10], [5, 6, 11, 12]]),
        (["--by", "rack"], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10], [11, 12]]),
        (["--by", "node"], [[one] for one in range(1, 13)]),
        (["--dc", "dc2"], [[7, 8], [9, 10], [11, 12]]),
        (["--dc", "dc2", "--max-batch", "1"], [[7], [8], [9], [10], [11], [12]]),
        (["--rack", "r2", "--dc", "dc1"], [[3, 4]]),
        (["10.0.0.12", "10.0.0.1", "host-3"], [[1, 12], [3]]),
        (["--level", "ONE"], [[1, 2, 3, 4, 7, 8, 9, 10], [5, 6, 11, 12]]),  # LOCAL_ONE is critical by default
    ],
)
def test_wishes(two_dcs: str, wishes: list[str], batches: list[list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    """Options choose the nodes, how many restart at the same time, and the level."""
    result = planned(["--from", two_dcs, "--accept", "scratch", *wishes], capsys)
    assert result == (0, batches)


@pytest.mark.parametrize(
    ("arguments", "code", "first"),
    [
        (["--accept", "blog_1"], 0, "PLAN blogs: 3 nodes in 3 batches"),
        ([], 2, "REFUSED blogs: 3 nodes refused"),
        (["--accept", "*"], 3, "UNKNOWN blogs: 3 nodes refused"),
        (["--accept", "blog_1", "10.0.0.1", "10.9.9.9"], 3, "UNKNOWN blogs: 1 node in 1 batch, 1 node refused"),
        (["10.0.0."], 3, "UNKNOWN - 10.0.0. can mean"),
        (["10.0.0.1", "--rack", "r1"], 3, "UNKNOWN - name nodes or a --rack, not both"),
        (["--rack", "r9"], 3, "UNKNOWN - there is no rack r9"),
        (["--rack", ""], 3, "UNKNOWN - there is no rack ''"),
        (
            ["--rack", "r1", "--dc", "dc1", "--dc", "dc9"],
            3,
            "UNKNOWN - datacenter dc9 has no nodes (did you mean dc1?)",
        ),
        (["--dc", "dc9"], 3, "UNKNOWN - datacenter dc9 has no nodes (did you mean dc1?)"),
        (["--max-batch", "0"], 3, "UNKNOWN - usage: "),
        (["--allow", "nothing"], 3, "UNKNOWN - there is no reason 'nothing' (known: "),
    ],
)
def test_exit_codes(arguments: list[str], code: int, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 only if every node has a batch."""
    assert run(["plan", "--from", HEALTHY, *arguments]) == code
    out, err = capsys.readouterr()
    assert (err if first.startswith("UNKNOWN - ") else out).startswith(first)
    assert not (out and err)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--accept", "blog_1"], ["--accept", "*"], ["10.9.9.9"]])
@pytest.mark.parametrize("source", [HEALTHY, ONE_DOWN])
def test_the_document_is_what_its_schema_says(
    source: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Plans with refusals, notes and gaps validate."""
    run(["plan", "--from", source, "--format", "json", *arguments])
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("eighty_columns")
def test_no_line_is_too_wide_for_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a large rack some nodes are named and the others counted, so that the lines fit."""
    places = nodes(*(f"dc1:r{1 + one % 3}" for one in range(120)))
    rows = [[one, one + 1, one + 2] for one in (1, 4, 7, 10)]
    seen = snapshot(places, [ring("ks", "NetworkTopologyStrategy {dc1=3}", rows, 120)], down=[2, 5])
    path = tmp_path / "large.json"
    path.write_text(json.dumps(snapshot_document(replace(seen, cluster="large"))))
    assert run(["plan", "--from", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("more (--format json)" in line for line in lines)
    assert "  note node_down_elsewhere: 2 nodes down: 10.0.0.2, 10.0.0.5; bring back what is" in lines
