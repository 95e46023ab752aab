"""what-if and risk: exit codes, complete outputs, the documents, and the nodes that are assumed down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import ringcheck.documents
from ringcheck.cli import run
from ringcheck.documents.snapshot import snapshot_document
from tests.core.clusters import address, nodes, ring, snapshot, with_view
from tests.core.test_quorum import cluster as metadata_cluster
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Collection

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
SCHEMAS = Path(ringcheck.documents.__file__).parent / "schemas"
HEALTHY, ONE_DOWN, TWO_DOWN = (str(SNAPSHOTS / f"article-{name}.json") for name in ("healthy", "one-down", "two-down"))
PLACES = [f"{dc}:r{rack}" for dc in ("dc1", "dc2") for rack in (1, 1, 2, 2, 3, 3)]
ROWS = [[1, 3, 5, 7, 9, 11], [2, 4, 6, 8, 10, 12], [1, 4, 6, 7, 10, 12], [2, 3, 5, 8, 9, 11]]


def two_dcs(folder: Path, down: Collection[int] = (), **fields: Any) -> str:
    """A file of twelve nodes in three racks of two datacenters, RF 3 each."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=3, dc2=3}", ROWS, 12)]
    path = folder / "two.json"
    path.write_text(json.dumps(snapshot_document(snapshot(nodes(*PLACES), rings, down, **fields))))
    return str(path)


def test_the_output_of_what_if(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the changes, then what `health` would print; in a pipe no line is broken."""
    assert run(["what-if", "--from", two_dcs(tmp_path), "--down", "10.0.0.1,10.0.0.3"]) == 1
    changes, _, verdict = capsys.readouterr().out.partition("\n\n")
    assert (
        changes
        == """\
Assuming 10.0.0.1, 10.0.0.3 down: OK -> WARNING
  orders at LOCAL_ONE in dc1: OK; unavailable 0 of 4 ranges (0.0 %); at minimum 0 -> 1; \
failures to outage: nodes 3 -> 1, racks 3 -> 1
  orders at LOCAL_QUORUM in dc1: OK -> WARNING; unavailable 0 -> 1 of 4 ranges (25.0 %); at minimum 0 -> 2; \
failures to outage: nodes 2 -> 0, racks 2 -> 0"""
    )
    head, seen = verdict.splitlines()[:2]
    lost = "1 of 4 ranges (25.0 % of the tokens) of orders unavailable at LOCAL_QUORUM in dc1"
    assert head == f"WARNING test: {lost} (2 nodes down: 10.0.0.1, 10.0.0.3)"
    assert seen == "12 nodes (10 up, 2 down); 10 of 12 views usable; 2024-05-06T07:08:09Z"


@pytest.mark.parametrize(
    ("arguments", "code", "supposed"),
    [
        (["--down", "10.0.0.1"], 0, ([1], [])),
        (["10.0.0.1", "10.0.0.3"], 1, ([1, 3], [])),
        (["--down", "10.0.0.1", "--down", "host-3,10.0.0.5"], 2, ([1, 3, 5], [])),
        (["--down", "10.0.0.1,10.0.0.1", "10.0.0.1"], 0, ([1], [])),
        (["--rack", "r1", "--dc", "dc2"], 0, ([7, 8], [])),
        (["--rack", "r1", "--dc", "dc1", "--down", "10.0.0.3"], 1, ([3, 1, 2], [])),
        (["--down-dc", "dc2"], 2, ([7, 8, 9, 10, 11, 12], [])),
        (["--down-dc", "dc2", "--dc", "dc1"], 0, ([7, 8, 9, 10, 11, 12], [])),
        (["--down-dc", "dc1", "--down-dc", "dc2"], 3, (list(range(1, 13)), [])),
        (["--up", "10.0.0.12"], 0, ([], [12])),
        (["--down", "10.0.0.1", "--up", "10.0.0.2"], 0, ([1], [2])),
    ],
)
def test_the_supposed_nodes_and_the_verdict(
    arguments: list[str],
    code: int,
    supposed: tuple[list[int], list[int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The document has the nodes that are assumed down and back; the exit code is that of the supposed severity."""
    assert run(["what-if", "--from", two_dcs(tmp_path), "--format", "json", *arguments]) == code
    document = json.loads(capsys.readouterr().out)
    down, up = supposed
    assert document["supposed"] == {"down": [address(one) for one in down], "up": [address(one) for one in up]}


def test_a_node_that_is_down_is_not_supposed_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a supposed state is called so; a node that is down is down anyway."""
    assert run(["what-if", "--from", two_dcs(tmp_path, down=[1]), "--down", "10.0.0.1,10.0.0.3"]) == 1
    out = capsys.readouterr().out
    assert "note node_down: 10.0.0.1 is down\n" in out
    assert "note node_down: 10.0.0.3 is down (assumed down)\n" in out
    silent = snapshot(nodes("dc1:r1", "dc1:r2", "dc1:r3"), [ring("orders", None, [[1]], 1)])
    silent = with_view(silent, 1, outcome="unreachable", reason="timed out")
    path = tmp_path / "silent.json"
    path.write_text(json.dumps(snapshot_document(silent)))
    run(["what-if", "--from", str(path), "--down", "10.0.0.1"])
    assert "node_down: 10.0.0.1 is down (assumed down)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "name nodes to assume down (--down, --rack, --down-dc) or up (--up), or use --rf, --add or --tokens"),
        (["--down", "10.9.9.9"], "10.9.9.9 is not a node of test"),
        (["--up", "nowhere.invalid"], "nowhere.invalid is not a node of test"),
        (["--down", "10.0.0."], "10.0.0. can mean 10.0.0.1, "),
        (["--down", ","], "name nodes to assume down"),
        (["--down", "10.0.0.1", "--up", "10.0.0.1"], "10.0.0.1 can't be assumed both down and up"),
        (["--up", "10.0.0.1", "10.0.0.2"], "put --down or --up before 10.0.0.2"),
        (["--rack", "r9"], "there is no rack r9"),
        (["--rack", "r1"], "rack r1 is in dc1, dc2: choose with --dc"),
        (["--down-dc", "dc9"], "datacenter dc9 has no nodes (known: dc1, dc2)"),
        (["--down", "10.0.0.1", "--level", "MOST"], ""),
    ],
)
def test_wrong_suppositions_are_errors(
    arguments: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends with one line and exit code 3, never with a verdict about other nodes than those that were meant."""
    assert run(["what-if", "--from", two_dcs(tmp_path), *arguments]) == 3
    out = capsys.readouterr().out
    assert out.startswith(f"UNKNOWN - {error}")
    assert out.count("\n") == 1


def test_the_output_of_risk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has a summary, then for each level the number of sets, and the worst sets of nodes and of racks, unbroken."""
    arguments = ["--from", two_dcs(tmp_path, down=[1]), "--dc", "dc1", "--limit", "2"]
    assert run(["risk", *arguments]) == 0
    assert (
        capsys.readouterr().out
        == """\
RISK test: a CRITICAL outage takes 2 nodes or 2 racks; a WARNING outage takes 1 node or 1 rack
12 nodes (11 up, 1 down); 11 of 12 views usable; 2024-05-06T07:08:09Z

orders at LOCAL_ONE in dc1 (CRITICAL)
  2 nodes: 2 sets of 4 nodes; worst 2
     25.0 %  10.0.0.3, 10.0.0.5
     25.0 %  10.0.0.4, 10.0.0.6
  2 racks: all of 2 racks
     50.0 %  dc1/r2, dc1/r3

orders at LOCAL_QUORUM in dc1 (WARNING)
  1 node: any 1 of 4 nodes (4 sets)
     25.0 %  10.0.0.3
     25.0 %  10.0.0.4
    and 2 more (--limit)
  1 rack: any 1 of 2 racks (2 sets)
     50.0 %  dc1/r2
     50.0 %  dc1/r3

Shares are of the token space that is unavailable after the loss, in addition to the nodes that are down now (10.0.0.1).
"""
    )


def test_risk_of_the_metadata_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The losses of its quorum are separate from those of keyspaces, in text and document, and so are its odds."""
    path = tmp_path / "six.json"
    path.write_text(json.dumps(snapshot_document(metadata_cluster(1, 2, 3))))
    assert run(["risk", "--from", str(path), *RATES]) == 0
    text = capsys.readouterr().out
    assert (
        """
Cluster metadata service: no change of schema or topology without its quorum
  2 nodes: any 2 of 3 nodes (3 sets)
    10.0.0.1, 10.0.0.2
    10.0.0.1, 10.0.0.3
    10.0.0.2, 10.0.0.3
  2 racks: any 2 of 3 racks (3 sets)
    dc1/r0, dc1/r1
"""
        in text
    )
    assert "\ncluster metadata service\n  it has no quorum: probability 2.6e-06, one outage in " in text
    document = printed(capsys, "risk", "--from", str(path), *RATES)
    validate(document, "risk-1")
    service = document["metadata_service"]
    assert (service["problem"], service["nodes"]["failures"], service["nodes"]["sets"]) == (None, 2, 3)
    assert document["odds"]["metadata_service"]["counted_to"] == 3
    path.write_text(json.dumps(snapshot_document(metadata_cluster(1, 2, 3, down=(1, 2)))))
    assert run(["risk", "--from", str(path)]) == 0
    assert "\n  there is no quorum now: see `ringcheck health`\n" in capsys.readouterr().out
    assert printed(capsys, "risk", "--from", HEALTHY)["metadata_service"] is None


def test_a_gap_is_no_low_risk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing is seen, or a keyspace does not exist, the output says so and the exit code is 3."""
    assert run(["risk", "--from", two_dcs(tmp_path, down=range(1, 13))]) == 3
    assert capsys.readouterr().out.startswith("UNKNOWN test: no level that is watched could be evaluated\n")
    assert run(["risk", "--from", HEALTHY, "-k", "blog_3", "-k", "blog_9"]) == 3
    out = capsys.readouterr().out
    assert "Incomplete: smaller losses than these may be an outage\n  no_keyspaces: no keyspace matches blog_9" in out


@pytest.mark.slow
@pytest.mark.parametrize("source", [HEALTHY, ONE_DOWN, TWO_DOWN])
@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (["what-if", "--down", "10.0.0.2", "--up", "10.0.0.1", "--level", "all"], "verdict-1.json"),
        (["risk", "--level", "all"], "risk-1.json"),
        (["risk", "-k", "nothing"], "risk-1.json"),
    ],
)
def test_documents_are_what_their_schemas_say(
    source: str, arguments: list[str], schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Suppositions and risks validate, even with gaps and with levels that are not monitored."""
    run([*arguments, "--from", source, "--format", "json"])
    rules = json.loads((SCHEMAS / schema).read_text())
    jsonschema.Draft202012Validator.check_schema(rules)
    jsonschema.Draft202012Validator(rules).validate(json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("eighty_columns")
def test_no_line_is_too_wide_for_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines fit even with long names and large sets."""
    long = "a_team_with_a_name_of_some_length"
    rows = [[one + 1 for one in range(12)], [12 - one for one in range(12)]]
    rings = [ring(f"{long}_1 {long}_2 {long}_3", "NetworkTopologyStrategy {dc1=6, dc2=6}", rows, 12)]
    path = tmp_path / "wide.json"
    path.write_text(json.dumps(snapshot_document(snapshot(nodes(*PLACES), rings))))
    assert run(["risk", "--from", str(path), "--level", "all"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# Topologies and odds

RATES = ["--node-mtbf", "180d", "--repair", "4h"]
PLACED = ring("orders", "NetworkTopologyStrategy {dc1=2}", [[1, 2], [2, 3], [3, 4], [4, 1]], 4)


def four(folder: Path) -> str:
    """A file of four nodes in four racks with a token each, RF 2."""
    path = folder / "four.json"
    members = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r4")
    path.write_text(json.dumps(snapshot_document(snapshot(members, [PLACED]))))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run([*arguments, "--format", "json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_a_certain_outage_is_permanent_and_not_rare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One outage in thousands of years that does not end must not read as if there was none."""
    long = ["--node-mtbf", "4h", "--repair", "180d", "--rack-mtbf", "90d"]
    assert run(["risk", "--from", four(tmp_path), *long]) == 0
    odds = capsys.readouterr().out.partition("Odds at any moment")[2]
    assert "  note: a repair takes longer than a node stays up, so more nodes are down than up\n" in odds
    assert "  note: a repair takes longer than a rack stays up, so more racks are down than up\n" in odds
    assert "any WARNING outage: probability 1, the outage is permanent\n" in odds
    assert "  all replicas of a range have failed: probability 1, the loss is permanent\n" in odds
    assert " years" not in odds
    assert run(["risk", "--from", four(tmp_path), "--node-mtbf", "30d", "--repair", "30d"]) == 0
    usual = capsys.readouterr().out
    assert "any WARNING outage: probability 0.94, 3 outages a year\n" in usual
    assert "note: a repair" not in usual


def test_the_output_of_a_supposed_topology(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The supposition comes first, with how tokens are chosen; the document has it too."""
    arguments = ["what-if", "--from", four(tmp_path), "--rf", "orders=dc1:3", "--add", "dc1:r9", "--down", "10.0.0.2"]
    assert run(arguments) == 0
    head = capsys.readouterr().out.splitlines()[0]
    added = "a new node added-1 in dc1/r9 with random tokens"
    assert head == f"Assuming 10.0.0.2 down and orders with dc1=3 and {added}: still OK"
    document = printed(capsys, *arguments)
    validate(document, "verdict-1")
    assert document["supposed"] == {
        "down": ["10.0.0.2"],
        "up": [],
        "replication": {"orders": {"strategy": "NetworkTopologyStrategy", "options": {"dc1": "3"}}},
        "added": [{"address": "added-1", "datacenter": "dc1", "rack": "r9"}],
        "token_choice": "random",
    }
    tokens = printed(capsys, "what-if", "--from", four(tmp_path), "--tokens", "8", "--allocated")
    assert tokens["supposed"] == {"down": [], "up": [], "tokens": 8, "token_choice": "allocated"}
    assert {node["tokens"] for node in tokens["nodes"]} == {8}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["what-if", "--rf", "orders"], "'orders' is not a replication such as orders=dc1:3,dc2:3"),
        (["what-if", "--rf", "orders=dc1:x"], "'orders=dc1:x' is not a replication"),
        (["what-if", "--rf", "orders=3"], "'orders=3' is not a replication"),
        (["what-if", "--rf", "orders=dc1:1,dc1:2"], "'orders=dc1:1,dc1:2' is not a replication"),
        (["what-if", "--rf", "orders=dc1:1", "--rf", "orders=dc1:2"], "name each keyspace once with --rf"),
        (["what-if", "--rf", "none=dc1:1"], "there is no keyspace none (known: orders)"),
        (["what-if", "--rf", "orders=dc9:1"], "datacenter dc9 has no nodes (did you mean dc1?)"),
        (["what-if", "--add", "dc1"], "'dc1' is not a place such as dc1:rack1"),
        (["what-if", "--allocated", "--down", "10.0.0.1"], "--allocated says how the tokens of --add or --tokens"),
        (["what-if", "--tokens", "0"], "usage: "),
        (["risk", "--node-mtbf", "180d"], "the odds need both --node-mtbf and --repair"),
        (["risk", "--repair", "4h"], "the odds need both --node-mtbf and --repair"),
        (["risk", "--rack-mtbf", "4h"], "the odds need both --node-mtbf and --repair"),
        (["risk", "--rack-aware"], "the odds need both --node-mtbf and --repair"),
        (["risk", *RATES, "--allocated"], "--allocated says how the tokens of --tokens are chosen"),
        (["risk", "--node-mtbf", "often", "--repair", "4h"], "usage: Invalid value for '--node-mtbf'"),
    ],
)
def test_wrong_topologies_and_rates_are_errors(
    arguments: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends with one line and exit code 3."""
    assert run([*arguments, "--from", four(tmp_path)]) == 3
    printed = capsys.readouterr()
    out = printed.out if arguments[0] == "what-if" else printed.err
    assert out.startswith(f"UNKNOWN - {error}")
    assert out.count("\n") == 1


@pytest.mark.usefixtures("eighty_columns")
def test_the_output_of_the_odds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows the assumptions, the odds of each level and of data, and what depends on one rack, in 80 columns."""
    arguments = ["risk", "--from", four(tmp_path), *RATES, "--rack-mtbf", "1095d", "--tokens", "4", "--level", "ALL"]
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    _, _, odds = out.partition("Odds")
    assert odds.startswith(" at any moment in the long run, whatever is down now\n")
    assert "  assumed: on average a node fails after 180 d up, a rack after 1095 d\n" in odds
    assert "  assumed: on average they are up again after 4 h\n" in odds
    assert "  assumed: failures are independent of each other (exponential times)\n" in odds
    assert "any CRITICAL outage: probability 4.6e-06, one outage in 49 years\n  with 4 random tokens: " in odds
    assert "  different sets of replicas (copysets): 4; least possible: 2\n" in odds
    assert "orders at ALL hangs on one rack: the loss of any of dc1/r1, dc1/r2, dc1/r3," in odds
    assert "data of orders hangs" not in odds


def test_the_document_of_the_odds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the numbers with their bounds; without rates the field is absent."""
    source = four(tmp_path)
    assert "odds" not in printed(capsys, "risk", "--from", source)
    document = printed(capsys, "risk", "--from", source, *RATES, "--tokens", "4", "--tokens", "8", "--rack-aware")
    validate(document, "risk-1")
    odds = document["odds"]
    assert (odds["node_mtbf_seconds"], odds["repair_seconds"], odds["rack_mtbf_seconds"]) == (15552000, 14400, None)
    assert [entry.get("tokens", "racks") for entry in odds["supposed"]] == [4, 8, "racks"]
    (data,) = odds["data"]
    down = 4 / (180 * 24 + 4)
    lost = 1 - (1 - down) ** 4 - 4 * down * (1 - down) ** 3 - 2 * down**2 * (1 - down) ** 2  # a pair that is no outage
    assert data["probability"]["at_least"] == pytest.approx(lost, rel=1e-9)
    assert data["probability"]["at_most"] == pytest.approx(lost, rel=1e-9)
    assert (data["copysets"], data["copysets_least"], data["counted_to"]) == (4, 2, 4)


def test_odds_without_a_view_are_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed that could be read as "no risk"."""
    assert run(["risk", "--from", two_dcs(tmp_path, down=range(1, 13)), *RATES]) == 3
    assert capsys.readouterr().out.endswith("  not known: no level could be evaluated\n")


def test_risk_names_the_levels_that_are_lost_now(capsys: pytest.CaptureFixture[str]) -> None:
    """With one of three nodes down a keyspace of one replica has lost both watched levels, and one of three has not."""
    assert run(["risk", "--from", ONE_DOWN, "-k", "blog_1"]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .endswith(": LOCAL_ONE is lost now (CRITICAL); LOCAL_QUORUM is lost now (WARNING)")
    )
    assert run(["risk", "--from", ONE_DOWN, "-k", "blog_3"]) == 0
    assert " lost now" not in capsys.readouterr().out
