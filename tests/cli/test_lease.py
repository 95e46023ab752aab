"""lease: acquire, list, release and break on the command line, with the embedded cluster."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

import ringcheck.documents
from ringcheck.cli import run
from ringcheck.cli.target import ChosenCluster
from ringcheck.core.maintenance import Holder
from ringcheck.leases import lockfile
from ringcheck.leases.lockfile import LockFile
from ringcheck.leases.record import LeaseError
from ringcheck.leases.stamp import whoami
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot

SCHEMA, DECISION = (
    json.loads((Path(ringcheck.documents.__file__).parent / "schemas" / f"{name}-1.json").read_text())
    for name in ("leases", "decision")
)
OLD = "2020-01-01T00:00:00Z"


class Stage:
    """A served cluster, with its configuration and its lock file, and a way to run commands."""

    def __init__(
        self, folder: Path, cluster: EmbeddedCluster, config: str, url: str, output: pytest.CaptureFixture[str]
    ) -> None:
        self.cluster = cluster
        self.url = url
        self.names = [node.address for node in cluster.nodes]
        self.store = LockFile("embedded", str(folder / "leases.json"))
        settings = yaml.safe_load(config)
        settings["clusters"]["embedded"] |= {"lease": {"file": str(self.store.path)}, "gate": {"accept": ["blog_1"]}}
        self.path = folder / "ringcheck.yaml"
        self.path.write_text(yaml.safe_dump(settings))
        self._output = output

    def configure(self, **gate: object) -> None:
        """Add settings to the gate of the configuration."""
        settings = yaml.safe_load(self.path.read_text())
        settings["clusters"]["embedded"]["gate"] |= gate
        self.path.write_text(yaml.safe_dump(settings))

    def run(self, command: str, *arguments: str) -> tuple[int, str]:
        """Exit code and output of `lease COMMAND`."""
        code = run(["lease", command, "-C", str(self.path), *arguments])
        out, err = self._output.readouterr()
        assert not (out and err)
        return code, out + err

    def preflight(self, *nodes: str) -> int:
        """Exit code of `preflight`."""
        code = run(["preflight", "-C", str(self.path), *nodes])
        self._output.readouterr()
        return code


@pytest.fixture
def stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    cluster = EmbeddedCluster.uniform(6, racks=3, time_factor=0.0)
    with serve(cluster) as server:
        yield Stage(tmp_path, cluster, server.config(), server.template, capsys)


@pytest.mark.slow
def test_a_lease_is_granted_and_released(stage: Stage) -> None:
    """For a second request and for preflight the node counts as down; its lease is released only when it is back."""
    first, second = stage.names[:2]
    code, text = stage.run("acquire", first, "--purpose", "kernel")
    assert (code, text.splitlines()[0]) == (0, f"SAFE embedded: {first} may stop now")
    assert "protects against other runs on this host only" in text
    assert text.endswith(f": give them back with `ringcheck lease release -C {stage.path} {first}`\n")
    (holder,) = stage.store.holders()
    assert (holder.node, holder.owner, holder.purpose) == (first, whoami(), "kernel")
    assert holder.host_id == stage.cluster.nodes[0].host_id

    code, text = stage.run("acquire", second, "--owner", "you")
    assert (code, text.splitlines()[0]) == (2, f"UNSAFE embedded: {second} must not stop now")
    assert f"blocks lease_held: {first} is under the restart lease of {whoami()}" in text
    assert f"{whoami()} releases the lease on {first} (kernel, since {holder.since})" in " ".join(text.split())
    assert "would become unavailable" in text
    assert stage.preflight(second) == 2
    assert stage.store.holders() == (holder,)

    stage.cluster.down(0, instant=True)
    code, text = stage.run("release", first)
    assert (code, text.split(";")[0]) == (2, f"REFUSED embedded: {first}: its Jolokia does not answer")
    assert stage.store.holders() == (holder,)
    stage.cluster.up(0, instant=True)
    assert stage.run("release", first) == (0, f"embedded: released {first}\n")
    assert stage.store.holders() == ()


@pytest.mark.slow
def test_preflight_counts_the_loss_of_a_node_under_a_lease(stage: Stage) -> None:
    """The other lease may still be under decision, so the loss of its node counts in full."""
    first, second = stage.names[:2]
    stage.store.add([Holder(node=first, owner="you", purpose="", since=OLD)])
    assert run(["preflight", "-C", str(stage.path), first]) == 0
    named = f"{first} is under the restart lease of you: only its owner may stop it"
    lines = stage._output.readouterr().out.splitlines()
    assert f"though {named}" in lines
    assert f"  note lease_held: {named}" in lines
    assert stage.preflight(first, "--require-spare") == 2
    stage.store.add([Holder(node=second, owner="you", purpose="", since=OLD)])
    assert stage.preflight(first) == 2
    assert stage.preflight(first, second) == 2


@pytest.mark.slow
def test_a_lease_is_granted_by_the_configured_gate(stage: Stage) -> None:
    """The settings of the configuration apply without any options."""
    first, second = stage.names[:2]
    stage.configure(require_spare=True)
    code, text = stage.run("acquire", first)
    assert (code, "blocks would_be_at_minimum" in text) == (2, True)
    stage.configure(require_spare=False, require_all_up=True, level="LOCAL_ONE", accept=["blog_*"])
    stage.cluster.down(0, instant=True)
    code, text = stage.run("acquire", second)
    assert (code, "blocks node_down_elsewhere" in text) == (2, True)
    assert stage.store.holders() == ()


def test_preflight_without_the_leases_is_unknown(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    """If it is not known which nodes are about to stop, the answer is never yes."""
    stage.store.path.write_text("junk")
    capsys.readouterr()
    assert run(["preflight", "-C", str(stage.path), stage.names[0]]) == 3
    assert "has no readable lease record" in capsys.readouterr().err


@pytest.mark.slow
def test_a_node_of_another_owner_is_refused(stage: Stage) -> None:
    """Acquire and release refuse it with exit code 2; break names the owner."""
    first = stage.names[0]
    stage.store.add([Holder(node=first, owner="you@there", purpose="disk", since=OLD)])
    code, text = stage.run("acquire", first)
    assert (code, text) == (2, f"UNSAFE embedded: {first} is under the restart lease of you@there since {OLD}\n")
    code, text = stage.run("release", first)
    assert (code, text.startswith(f"REFUSED embedded: {first} is under the restart lease of you@there")) == (2, True)
    code, text = stage.run("break", first, "--reason", "gone home")
    assert (code, text) == (0, f"embedded: {first} is no longer under the lease of you@there since {OLD}\n")
    assert [(one.by, one.reason) for one in stage.store.history()] == [(whoami(), "gone home")]
    assert stage.run("acquire", first)[0] == 0


def test_acquire_prints_a_decision_as_json(stage: Stage) -> None:
    """This holds even if another owner holds one of the nodes, and the gate is not asked."""
    first, second, third = stage.names[:3]
    stage.store.add([Holder(node=third, owner="you", purpose="disk", since=OLD)])
    for nodes in ((first, second), (second, third)):
        code, text = stage.run("acquire", *nodes, "--format", "json")
        document = json.loads(text)
        jsonschema.Draft202012Validator(DECISION).validate(document)
        assert (code, document["decision"], document["candidates"]) == (2, "unsafe", list(nodes))
    (reason,) = document["reasons"]
    assert (reason["code"], reason["subject"], reason["blocks"]) == ("lease_held", third, True)
    assert reason["summary"] == f"{third} is under the restart lease of you since {OLD}"
    assert (document["holders"], document["checked"]["levels"]) == ([third], [])
    assert [one.node for one in stage.store.holders()] == [third]


@pytest.mark.slow
def test_a_node_that_is_not_back_keeps_its_lease(stage: Stage) -> None:
    """The lease stays as long as CQL or gossip is off, or the node is paused or drained."""
    first = stage.names[0]
    stage.store.add([Holder(node=first, owner=whoami(), purpose="", since=OLD, host_id=stage.cluster.nodes[0].host_id)])
    cluster = stage.cluster
    for undo, do, why in (
        (cluster.binary_on, cluster.binary_off, "its native transport is not running"),
        (
            lambda at: cluster.gossip_on(at, instant=True),
            lambda at: cluster.gossip_off(at, instant=True),
            "its gossip is not running",
        ),
        (
            lambda at: cluster.resume(at, instant=True),
            lambda at: cluster.pause(at, instant=True),
            "its Jolokia does not answer",
        ),
        (lambda at: cluster.up(at, instant=True), lambda at: cluster.drain(at, instant=True), "it is DRAINED"),
    ):
        do(0)
        code, text = stage.run("release", first, "-t", "3s")
        assert (code, why in text) == (2, True), text
        undo(0)
    assert stage.run("release", first)[0] == 0


def test_a_peer_that_sees_it_down_keeps_the_lease(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node is NORMAL and serves, but one coordinator would send it no requests."""
    first, second = stage.names[:2]
    stage.store.add([Holder(node=first, owner=whoami(), purpose="", since=OLD)])
    real = ChosenCluster.snapshot

    def blind(self: ChosenCluster) -> Snapshot:
        seen = real(self)
        lacks = {seen.nodes[0].address, seen.nodes[0].endpoint}
        views = (replace(one, live=one.live - lacks) if one.observer == second else one for one in seen.views)
        return replace(seen, views=tuple(views))

    monkeypatch.setattr(ChosenCluster, "snapshot", blind)
    code, text = stage.run("release", first)
    refusal = f"REFUSED embedded: {first}: {second} does not see it up; nothing is released"
    assert (code, text.startswith(refusal)) == (2, True), text


@pytest.mark.parametrize("why", ["it does not see", "no peer's view can be used"])
def test_the_view_of_the_node_itself_keeps_the_lease(stage: Stage, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """A node that sees its peers down fails queries; without a peer's view it is not known to be up."""
    first = stage.names[0]
    stage.store.add([Holder(node=first, owner=whoami(), purpose="", since=OLD)])
    real = ChosenCluster.snapshot

    def blind(self: ChosenCluster) -> Snapshot:
        seen = real(self)
        own = replace(seen.views[0], live=frozenset({first}), unreachable=frozenset(stage.names[1:]))
        peers = tuple(replace(one, outcome="unreachable", reason="x") for one in seen.views[1:])
        return replace(seen, views=(own, *seen.views[1:]) if why.startswith("it") else (seen.views[0], *peers))

    monkeypatch.setattr(ChosenCluster, "snapshot", blind)
    code, text = stage.run("release", first)
    assert (code, text.startswith(f"REFUSED embedded: {first}: {why}")) == (2, True), text
    assert [one.node for one in stage.store.holders()] == [first]


def test_other_nodes_that_are_down_are_not_waited_for(stage: Stage) -> None:
    """A node that is back is released even if another node is down."""
    first = stage.names[0]
    stage.store.add([Holder(node=first, owner=whoami(), purpose="", since=OLD)])
    stage.cluster.down(1, instant=True)
    assert stage.run("release", first)[0] == 0


def test_force_releases_without_asking_a_node(stage: Stage) -> None:
    """If no node answers, an operator can still release a lease."""
    first = stage.names[0]
    stage.store.add([Holder(node=first, owner=whoami(), purpose="", since=OLD)])
    for at in range(6):
        stage.cluster.down(at, instant=True)
    assert stage.run("release", first)[0] == 3
    assert stage.run("release", first, "--force")[0] == 0
    assert stage.store.holders() == ()


def test_the_list_marks_overdue_leases(stage: Stage) -> None:
    """The exit code is then 1; both formats mark such leases, and the document validates."""
    assert stage.run("list") == (0, f"embedded: no node under a restart lease; {stage.store.describe()}\n")
    stage.run("acquire", stage.names[0])
    assert stage.run("list")[0] == 0
    stage.store.add([Holder(node=stage.names[1], owner="you", purpose="a\x1b[2Jb", since=OLD)])
    stage.store.add([Holder(node=stage.names[2], owner="you", purpose="", since="2999-01-01T00:00:00Z")])
    stage.store.take_away(stage.names[2], "boss", "from the future")
    code, text = stage.run("list")
    lines = text.splitlines()
    assert (code, lines[0]) == (1, f"embedded: 2 nodes under a restart lease; {stage.store.describe()}")
    assert lines[2].endswith(f"since {OLD}, of you: a?[2Jb; OVERDUE: 60 min are allowed")
    assert lines[4:] == ["Broken leases", lines[5]]
    assert lines[5].startswith(f"  {stage.names[2]} from you by boss, ")
    code, text = stage.run("list", "--format", "json")
    document = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert (code, [one["overdue"] for one in document["holders"]]) == (1, [False, True])
    assert set(SCHEMA["properties"]) == set(document)


def test_a_lease_from_the_future_is_overdue(stage: Stage) -> None:
    """If clocks differ that much they are not trusted."""
    stage.store.add([Holder(node=stage.names[2], owner="you", purpose="", since="2999-01-01T00:00:00Z")])
    assert stage.run("list")[0] == 1


def test_a_lease_without_a_time_zone_is_listed(stage: Stage) -> None:
    """A record that another program wrote is in UTC unless it says otherwise."""
    stage.store.add([Holder(node=stage.names[1], owner="you", purpose="", since=OLD.removesuffix("Z"))])
    code, text = stage.run("list")
    assert (code, "OVERDUE" in text) == (1, True)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["acquire", "nobody.invalid"], "nobody.invalid is not a node of embedded"),
        (["acquire"], "Missing argument 'NODE...'"),
        (["release", "10.9.9.9"], "10.9.9.9 is under no restart lease (nodes under a lease: 127."),
        (["release", "127.0.1.4"], "127.0.1.4 is under no restart lease (nodes under a lease: 127.0.1.1, 127.0.1.2)"),
        (["release", "127."], "127. can mean 127."),
        (["break", "10.9.9.9", "--reason", "x"], "10.9.9.9 is under no restart lease"),
        (["break", "127.0.1.1"], "Missing option '--reason'"),
        (["break", "127.0.1.1", "--reason", " "], "--reason is empty"),
        (["list", "--cluster", "none"], "has no cluster 'none'"),
    ],
)
def test_mistakes_change_nothing(stage: Stage, command: list[str], says: str) -> None:
    """Each ends with exit code 3, and the leases are unchanged."""
    before = stage.store.add([Holder(node=one, owner="you", purpose="", since=OLD) for one in stage.names[:2]]).holders
    code, text = stage.run(command[0], *command[1:])
    assert (code, says in text) == (3, True), text
    assert stage.store.holders() == before


@pytest.mark.parametrize("command", [["release"], ["break", "--reason", "x"]])
def test_a_lease_of_another_node_is_never_released(
    stage: Stage, command: list[str], hosts: dict[str, list[str]]
) -> None:
    """An address, host name or empty name never means an address or host id that merely begins with it."""
    hosts["db1"] = ["10.0.0.3"]
    assert "10.0.0.1 is under no restart lease (no node is under one)" in stage.run(*command, "10.0.0.1")[1]
    before = stage.store.add(
        [Holder(node="10.0.0.10", owner=whoami(), purpose="", since=OLD, host_id="db1f5a3e-0000")]
    ).holders
    for name, says in (
        ("10.0.0.1", "10.0.0.1 is under no restart lease (nodes under a lease: 10.0.0.10)"),
        ("db1", "db1 can mean 10.0.0.10, 10.0.0.3"),
        ("", "a NODE is empty"),
    ):
        code, text = stage.run(*command, name)
        assert (code, says in text) == (3, True), text
    assert stage.store.holders() == before


def test_a_lease_is_released_by_host_name(stage: Stage, hosts: dict[str, list[str]]) -> None:
    """The name that acquired the lease also releases it."""
    hosts["db1"] = [stage.names[0]]
    assert stage.run("acquire", "db1")[0] == 0
    assert stage.run("release", "db1") == (0, f"embedded: released {stage.names[0]}\n")


@pytest.mark.slow
def test_no_lease_is_held_while_acquire_waits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--wait` tries again until the other lease is released, and blocks no other owner in between."""
    first, second = stage.names[:2]
    stage.store.add([Holder(node=second, owner="you", purpose="", since=OLD)])
    seen: list[list[str]] = []

    def sleep(_: float) -> None:
        seen.append([one.node for one in stage.store.holders()])
        if len(seen) == 2:
            stage.store.remove([second], "you")

    monkeypatch.setattr("ringcheck.cli.lease.time.sleep", sleep)
    assert stage.run("acquire", first, "--wait", "10m")[0] == 0
    assert seen == [[second], [second]]
    assert [one.node for one in stage.store.holders()] == [first]


class Swapped:
    """After the first snapshots of a cluster, its first two nodes have each other's address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
        self.left = before
        polls = ChosenCluster.polls

        @contextmanager
        def polled(cluster: ChosenCluster, **options: bool) -> Iterator[Callable[[], Snapshot]]:
            with polls(cluster, **options) as poll:
                yield lambda: self.seen(poll())

        monkeypatch.setattr(ChosenCluster, "polls", polled)
        monkeypatch.setattr("ringcheck.cli.preflight.BETWEEN", 0.01)

    def seen(self, now: Snapshot) -> Snapshot:
        self.left -= 1
        if self.left >= 0:
            return now
        first, second, *others = now.nodes
        swapped = replace(first, host_id=second.host_id), replace(second, host_id=first.host_id)
        return replace(now, nodes=(*swapped, *others))


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 3])
def test_a_node_is_followed_to_its_new_address(stage: Stage, monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    """A host id stands for the same node while acquire waits: the gate is asked about the node under the lease."""
    (first, second), host_id = stage.names[:2], stage.cluster.nodes[0].host_id
    stage.store.add([Holder(node=stage.names[2], owner="you", purpose="", since=OLD)])
    Swapped(monkeypatch, before)
    code, text = stage.run("acquire", host_id, "--wait", "1s", "--format", "json")
    assert (code, json.loads(text)["candidates"]) == (2, [second]), text
    assert first != second


@pytest.mark.slow
@pytest.mark.parametrize("before", [1, 2, 3])
def test_an_address_that_another_node_has_now_gets_no_lease(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The operator would stop the node at that address, and the lease would protect the other one."""
    first, second = stage.names[:2]
    stage.configure(stable_readings=3)
    Swapped(monkeypatch, before)
    code, text = stage.run("acquire", first)
    assert (code, f"{first} is another node now ({first})" in text, f"is {second} now" in text) == (3, True, True), text
    assert stage.store.holders() == ()


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["text", "json"])
def test_an_unsafe_stop_stays_unsafe_if_its_lease_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    """The exit code and the decision are the gate's, and standard error says which lease is left."""
    stage.cluster.down(1, instant=True)

    def fails(*_: object) -> None:
        raise LeaseError("the disk is full")

    monkeypatch.setattr(LockFile, "remove", fails)
    capsys.readouterr()
    assert run(["lease", "acquire", "-C", str(stage.path), stage.names[0], "--format", format_]) == 2
    out, err = capsys.readouterr()
    assert f"the lease of {stage.names[0]} could not be withdrawn and is left: the disk is full" in err
    assert (json.loads(out)["decision"] if format_ == "json" else out.split()[0].lower()) == "unsafe"


@pytest.mark.slow
@pytest.mark.parametrize("leases", ["junk", "gone"])
def test_an_unsafe_stop_is_unsafe_whatever_leases_there_are(
    stage: Stage, capsys: pytest.CaptureFixture[str], leases: str
) -> None:
    """Preflight and a dry run of roll ask the gate even if leases can't be read, or one is of a node that is gone."""
    if leases == "junk":
        stage.store.path.write_text("junk")
    else:
        stage.store.add([Holder(node="10.9.9.9", owner="you", purpose="", since=OLD)])
    assert stage.preflight(stage.names[0]) == 3
    roll = ["roll", "-C", str(stage.path), "--dry-run", "--no-cql", "--exec", "true {address}", stage.names[0]]
    assert run(roll) == 3
    assert capsys.readouterr().out == ""
    stage.cluster.down(1, instant=True)
    assert stage.preflight(stage.names[0]) == 2
    assert run(roll) == 2


@pytest.mark.slow
def test_without_configuration(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `-H` and `-u`, leases are kept in a lock file on this host, named after Cassandra's cluster name."""
    monkeypatch.setattr(lockfile, "FOLDER", tmp_path / "shared")
    target = ["-H", stage.names[0], "-u", stage.url]
    capsys.readouterr()
    assert run(["lease", "acquire", *target, "--accept", "blog_1", "--owner", "Jo Doe", stage.names[0]]) == 0
    again = f"-H {stage.names[0]} -u '{stage.url}' {stage.names[0]} --owner 'Jo Doe'`"
    assert f"`ringcheck lease release {again}" in capsys.readouterr().out
    store = LockFile("embedded", str(tmp_path / "shared" / "embedded.json"))
    assert [one.node for one in store.holders()] == [stage.names[0]]
    assert run(["preflight", *target, "--accept", "blog_1", stage.names[1]]) == 2
    assert run(["lease", "release", *target, "--owner", "Jo Doe", stage.names[0]]) == 0
