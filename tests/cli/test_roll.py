"""`ringcheck roll` on the command line: errors, dry runs, whole runs, interrupts and --resume."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.cli import run
from ringcheck.cli.target import ChosenCluster
from ringcheck.core.usage import Evidence
from ringcheck.core.usage_values import plain
from ringcheck.history import database
from ringcheck.history.levels import SaveEvidence
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, topology
from ringcheck.simulator.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def served(tmp_path: Path, nodes: int = 3) -> Iterator[tuple[EmbeddedCluster, Server, Path]]:
    """An embedded cluster; its configuration has a lease file and no settling time."""
    cluster = EmbeddedCluster.uniform(
        nodes, racks=3, vnodes=4, addresses=loopback_address, time_factor=0.02, keyspaces={"orders": topology(dc1=3)}
    )
    with serve(cluster) as server:
        config = tmp_path / "ringcheck.yaml"
        lease = f"    gate: {{settle: 0s}}\n    lease: {{file: {tmp_path / 'leases.json'}}}\n"
        config.write_text(server.config().rstrip("\n") + "\n" + lease)
        yield cluster, server, config


def script(tmp_path: Path, server: Server, *, seconds: float = 0.0, status: int = 0) -> str:
    """A command that restarts a node of the embedded cluster, and records its address in the file `ran`."""
    file = tmp_path / "restart"
    drive = f"{sys.executable} -m ringcheck simulate"
    file.write_text(
        f"#!/bin/sh\nset -e\n{drive} down $1 --url {server.url}\necho $1 >> {tmp_path / 'ran'}\n"
        f"sleep {seconds}\n{drive} up $1 --url {server.url}\necho restarted; exit {status}\n"
    )
    file.chmod(0o755)
    return f"{file} {{address}}"


def ran(tmp_path: Path) -> list[str]:
    file = tmp_path / "ran"
    return file.read_text().split() if file.exists() else []


def roll(config: Path, *words: str) -> list[str]:
    return ["roll", "-C", str(config), "--no-cql", "--stable", "1", "--journal", str(config.parent / "j"), *words]


def events(config: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.parent / "j").read_text().splitlines()]


@pytest.mark.slow
def test_a_whole_roll(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator's command restarts every node once, and the last lines report that."""
    with served(tmp_path) as (cluster, server, config):
        assert run(roll(config, "--exec", script(tmp_path, server))) == 0
        names = [node.address for node in cluster.nodes]
    lines = capsys.readouterr().out.splitlines()
    assert ran(tmp_path) == names
    assert lines[-1].startswith("DONE embedded: 3 of 3 nodes restarted in ")
    assert [one["node"] for one in events(config) if one["event"] == "back"] == names
    assert all(len(line) > 9 and line[2] == ":" for line in lines[:-2])


@pytest.mark.slow
def test_a_roll_reads_the_levels_in_use_before_each_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the agent's state file is lost in the middle, no other batch begins."""
    state = tmp_path / "state.db"
    with closing(database.connected(state)) as connection:
        evidence = Evidence(at=time.time(), since=time.time() - 60)
        SaveEvidence.of("embedded", "proxy", plain(evidence))(connection)
        connection.commit()
    with served(tmp_path) as (cluster, server, config):
        config.write_text(f"{config.read_text()}    observed: {{}}\nagent: {{state: {state}}}\n")
        file = tmp_path / "losing"
        file.write_text(f'#!/bin/sh\n{script(tmp_path, server).split()[0]} "$1" && rm {state}\n')
        file.chmod(0o755)
        assert run(roll(config, "--exec", f"{file} {{address}}", "--wait", "1s")) == 3
        assert ran(tmp_path) == [cluster.nodes[0].address]
    assert f"the levels that clients use are not known: {state} can't be read" in capsys.readouterr().out


def test_a_dry_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows batches, commands and the gate's decision, and touches no node, journal or lease."""
    with served(tmp_path) as (_, server, config):
        assert run(roll(config, "--exec", "echo {address} restart", "--dry-run")) == 0
        assert server.url
    out = capsys.readouterr().out
    assert "WOULD RESTART 3 nodes of embedded in 3 batches (fewest: proven)" in out
    assert "  127.0.1.1 echo 127.0.1.1 restart\n" in out
    assert "SAFE embedded: 127.0.1.1 may stop now" in out
    assert not (tmp_path / "j").exists()
    assert not (tmp_path / "leases.json").exists()


@pytest.mark.usefixtures("eighty_columns")
def test_a_dry_run_is_broken_at_the_width_of_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands are long, and a row that continues one is indented."""
    with served(tmp_path) as (_, _, config):
        words = "sudo systemctl restart cassandra " * 3
        assert run(roll(config, "--exec", f"echo {{address}} {words}", "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "    restart cassandra sudo systemctl restart cassandra" in lines


@pytest.mark.slow
def test_a_run_that_reaches_no_cql_port_names_the_command_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command would be refused again; a dry run shows the refusal before a journal is begun."""
    with served(tmp_path) as (_, server, config):
        words = roll(config, "--exec", script(tmp_path, server))
        words.remove("--no-cql")
        words += ["--cql-port", "1"]
        why = "the CQL port 127.0.1.1:1 of 127.0.1.1 can't be reached from here: name the port with --cql-port"
        assert run([*words, "--dry-run"]) == 2
        out = capsys.readouterr().out
        assert "SAFE embedded: 127.0.1.1 may stop now" in out
        assert f"\nREFUSED embedded: {why}, or skip the check with --no-cql\n" in out
        assert not (tmp_path / "j").exists()
        assert run(words) == 2
        out = capsys.readouterr().out
        assert f"because {why}" in out
        last = "To continue, run the same command with --resume and --cql-port PORT or --no-cql"
        assert out.endswith(f"\n{last} (journal {tmp_path / 'j'}).\n")
        assert run([*words, "--resume", "--no-cql"]) == 0
        assert ran(tmp_path) == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]


@pytest.mark.slow
def test_a_dry_run_reads_the_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused where a run is, and with --resume it shows the nodes that are left."""
    with served(tmp_path) as (_, server, config):
        command = ["--exec", script(tmp_path, server, status=9)]
        assert run(roll(config, *command, "--dry-run", "--resume")) == 3
        assert capsys.readouterr().err == f"UNKNOWN - {tmp_path / 'j'} has no roll to resume\n"
        assert not (tmp_path / "j").exists()
        assert run(roll(config, *command)) == 2
        journal = events(config)
        assert run(roll(config, *command, "--dry-run")) == 3
        assert "has an unfinished roll of embedded" in capsys.readouterr().err
        # Until the peers see the node up that has restarted, the gate refuses the others.
        until(lambda: run(roll(config, *command, "--dry-run", "--resume")) == 0)
        assert "WOULD RESTART 2 nodes of embedded in 2 batches" in capsys.readouterr().out
        assert run(roll(config, *command, "--dry-run", "--resume", "127.0.1.1")) == 0
        assert events(config) == journal


@pytest.mark.slow
def test_a_failed_command_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and a line for the failed node; a new run is refused until --resume has continued this one."""
    with served(tmp_path) as (_, server, config):
        command = script(tmp_path, server, status=9)
        assert run(roll(config, "--exec", command)) == 2
        out = capsys.readouterr().out
        assert "FAILED embedded: 0 of 3 nodes restarted in" in out
        [line] = [one for one in out.splitlines() if one.startswith("  127.0.1.1 failed")]
        assert line.startswith("  127.0.1.1 failed and is still under its lease: the command ended with status 9: ")
        assert line.endswith(" restarted")
        assert run(roll(config, "--exec", command)) == 3
        assert "has an unfinished roll of embedded" in capsys.readouterr().err
        assert run(roll(config, "--exec", script(tmp_path, server), "--resume")) == 0
    assert ran(tmp_path) == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]  # the failed command had restarted the first node


WRONG = [
    ([], "state how nodes are restarted: --exec, or --stop-exec and --start-exec"),
    (["--exec", "a {address}", "--stop-exec", "b {address}"], "state how nodes are restarted"),
    (["--stop-exec", "b {address}"], "state how nodes are restarted"),
    (["--exec", "systemctl restart cassandra"], "does not say which node"),
    (["--exec", "a {address}", "--step"], "--step asks before each batch: it needs a terminal"),
    (["--exec", "a {address}", "--bake", "5m"], "name their number with --canary"),
    (["--exec", "a {address}", "--window", "22-6"], "'22-6' is not a window such as 22:00-06:00"),
    (["--exec", "a {address}", "--check", "no-such-program"], "no-such-program can't be run"),
    (["--exec", "a {address}", "--resume"], "has no roll to resume"),
    (["--exec", "a {address}", "10.9.9.9"], "10.9.9.9 is not a node of embedded"),
    (["--exec", "a {address}", "--rack", "r9"], "there is no rack r9"),
    (["--exec", "a {address}", "--rack", ""], "there is no rack ''"),
    (["--exec", "a {address}", "--rack", "r9", "--dc", "dc1"], "there is no rack r9 in dc1"),
    (["--exec", "a {address}", "--dc", "dc9"], "datacenter dc9 has no nodes (did you mean dc1?)"),
    (["--exec", "a {address}", "--dc", "dc9", "--dry-run"], "datacenter dc9 has no nodes (did you mean dc1?)"),
    (["--exec", "a {address}", "--dc", "dc1", "--dc", "dc9"], "datacenter dc9 has no nodes (did you mean dc1?)"),
    (["--exec", "a {address}", "--dc", "dc9", "127.0.1.1"], "datacenter dc9 has no nodes (did you mean dc1?)"),
    (["--exec", "a {address}", "--dc", "dc9", "--rack", "r1"], "datacenter dc9 has no nodes (did you mean dc1?)"),
    (["--exec", "/no/such/program {address}"], "/no/such/program can't be run: there is no such program"),
    (["--exec", "/no/such/program {address}", "--dry-run"], "/no/such/program can't be run: there is no such program"),
    (["--stop-exec", "true {address}", "--start-exec", "a {address}"], "a can't be run: there is no such program"),
    (["--exec", "a {address}", "--allow", "everything"], "there is no reason 'everything'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "message"), WRONG)
def test_wrong_options_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """One line and exit code 3; nothing is done, and no run is recorded that would have to be resumed."""
    with served(tmp_path) as (_, _, config):
        assert run(roll(config, *words)) == 3
        assert not (tmp_path / "j").exists() or not events(config)
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(("words", "message"), [([], "embedded has no node\n"), (["--dc", "x"], "no node in x\n")])
def test_a_cluster_without_nodes_is_an_error(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
) -> None:
    """If no node was found, the run has not succeeded."""
    real = ChosenCluster._with_configured_name
    monkeypatch.setattr(
        ChosenCluster, "_with_configured_name", lambda *a: replace(real(*a), nodes=(), views=(), rings=())
    )
    with served(tmp_path) as (_, _, config):
        assert run(roll(config, "--exec", "a {address}", *words)) == 3
    assert message in capsys.readouterr().err


def start(config: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ringcheck", *roll(config, *words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def until(condition: Any, seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "the condition did not become true"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("redirect", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_a_roll_without_a_writable_stdout_touches_no_node(
    tmp_path: Path, redirect: str, why: str, words: list[str]
) -> None:
    """It ends with exit code 3 and one line on stderr."""
    with served(tmp_path) as (_, server, config):
        line = roll(config, "--exec", script(tmp_path, server), *words)
        done = subprocess.run(
            ["sh", "-c", f'"$@" {redirect}', "sh", sys.executable, "-m", "ringcheck", *line],
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, f"UNKNOWN - stdout can't be written: {why}\n")
    assert not ran(tmp_path)


@pytest.mark.slow
def test_an_interrupt_finishes_the_batch_and_resume_continues(tmp_path: Path) -> None:
    """SIGINT comes while a command runs: its node comes back, and no other is touched; --resume restarts the others."""
    with served(tmp_path) as (_, server, config):
        command = script(tmp_path, server, seconds=1.0)
        process = start(config, "--exec", command)
        until(lambda: ran(tmp_path))
        os.killpg(process.pid, signal.SIGINT)
        out = process.communicate(timeout=120)[0]
        assert process.returncode == 1, out
        assert "STOPPED embedded: 1 of 3 nodes restarted" in out
        assert ran(tmp_path) == ["127.0.1.1"]
        assert run(roll(config, "--exec", command, "--resume")) == 0
        assert ran(tmp_path) == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]


@pytest.mark.slow
def test_a_killed_roll_can_be_resumed(tmp_path: Path) -> None:
    """SIGKILL comes while a command runs: the command goes on, --resume waits for it, and no node restarts twice."""
    with served(tmp_path) as (_, server, config):
        command = script(tmp_path, server, seconds=2.0)
        process = start(config, "--exec", command)
        until(lambda: ran(tmp_path))
        process.kill()
        process.communicate()
        assert run(roll(config, "--exec", command, "--resume")) == 0
        assert ran(tmp_path) == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]
        assert json.loads((tmp_path / "leases.json").read_text())["holders"] == []


@pytest.mark.slow
def test_a_lost_stdout_does_not_leave_a_node_drained(tmp_path: Path) -> None:
    """The reader of a pipe goes away during a node's restart: the node comes back, and no other node is touched."""
    with served(tmp_path) as (_, server, config):
        process = start(config, "--exec", script(tmp_path, server))
        assert process.stdout
        for line in process.stdout:
            if " draining " in line:
                break
        process.stdout.close()
        assert process.wait(120) == 3
        assert [event["node"] for event in events(config) if event["event"] == "back"] == ["127.0.1.1"]
        assert events(config)[-1]["outcome"] == "doubt"
        assert ran(tmp_path) == ["127.0.1.1"]
        assert json.loads((tmp_path / "leases.json").read_text())["holders"] == []
        assert run(roll(config, "--exec", script(tmp_path, server), "--resume")) == 0
        assert ran(tmp_path) == ["127.0.1.1", "127.0.1.2", "127.0.1.3"]
