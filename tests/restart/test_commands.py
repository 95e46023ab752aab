"""The operator's commands: how a node's values are filled in, and what is kept of a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.ring import Node
from ringcheck.errors import UsageError
from ringcheck.restart.commands import KEPT, Command, birth, run

if TYPE_CHECKING:
    from pathlib import Path

NODE = Node("10.0.0.1", host_id="aaaa-bbbb", datacenter="dc1", rack="r1")


def test_the_node_is_filled_in_after_the_split() -> None:
    """Quotes and blanks in a value that a node reports stay inside one word."""
    evil = Node("10.0.0.1", host_id="x'; rm -rf / #", datacenter="dc 1", rack="$(reboot)")
    command = Command.parse("ssh {address} 'sudo restart {host_id}' {datacenter} {rack}")
    assert command.of(evil) == ("ssh", "10.0.0.1", "sudo restart x'; rm -rf / #", "dc 1", "$(reboot)")


def test_a_value_is_not_filled_in_again() -> None:
    """A rack named like a field stays as it is."""
    assert Command.parse("a {rack} {address}").of(Node("10.0.0.1", rack="{host_id}")) == ("a", "{host_id}", "10.0.0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the command is empty"),
        ("ssh 'a", "the command \"ssh 'a\" can't be split: No closing quotation"),
        ("systemctl restart cassandra", "does not say which node: it needs {address} or {host_id}"),
        ("ssh {adress}", "has the unknown field {adress} (did you mean {address}?)"),
        ("ssh {address} {zone}", "(known: {address}, {host_id}, {datacenter}, {rack})"),
    ],
)
def test_an_unusable_command_is_refused(text: str, message: str) -> None:
    """A command that can't be meant is refused before any node is touched, with the reason."""
    with pytest.raises(UsageError) as caught:
        Command.parse(text)
    assert message in str(caught.value)


def test_braces_of_other_programs_stay() -> None:
    """Braces around anything but a name in lower case are left alone."""
    words = Command.parse("awk '{print $1}' {address}").of(NODE)
    assert words == ("awk", "{print $1}", "10.0.0.1")


def test_an_unknown_value_is_an_error() -> None:
    """A rack that is not known must not become an empty word."""
    with pytest.raises(UsageError, match=r"the rack of 10\.0\.0\.1 is not known"):
        Command.parse("x {address} {rack}").of(Node("10.0.0.1"))


def test_status_and_output_are_kept() -> None:
    """Both streams, mixed; the exit status as it is."""
    ended = run((sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(7)"), 30)
    assert (ended.status, sorted(ended.output.split())) == (7, ["err", "out"])


def test_the_end_of_a_long_output_is_kept() -> None:
    """A command that prints megabytes adds only kilobytes to the journal."""
    ended = run((sys.executable, "-c", "print('x' * 10**6); print('the end')"), 30)
    assert ended.output.endswith("the end\n")
    assert len(ended.output) == KEPT


def test_a_command_that_does_not_exist_is_a_problem() -> None:
    """It has no status and a reason; nothing is raised."""
    ended = run(("/no/such/program",), 5)
    assert (ended.status, ended.problem) == (None, "/no/such/program can't be run: No such file or directory")


@pytest.mark.slow
def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    """After the deadline none of its processes runs any more, and it has no status."""
    program = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    ended = run((sys.executable, "-c", program), 2.0)
    assert (ended.status, ended.problem) == (None, "it took longer than 2 s")
    ends = time.monotonic() + 10
    while birth(int(ended.output)) is not None and time.monotonic() < ends:
        time.sleep(0.05)
    assert birth(int(ended.output)) is None or _is_zombie(int(ended.output))


def _is_zombie(pid: int) -> bool:
    """Whether the process has ended and its parent, which adopted it, has not asked for its status yet."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a line of /proc
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_a_command_outlives_a_killed_ringcheck(tmp_path: Path) -> None:
    """Half a restart is worse than a whole one: a command that was started goes on, and can still write."""
    mark = tmp_path / "mark"
    inner = f"sleep 1; echo said; echo done > {mark}"
    program = f"from ringcheck.restart.commands import run; run(('sh', '-c', {inner!r}), 60, lambda pid: print(pid))"
    process = subprocess.Popen([sys.executable, "-c", program])
    time.sleep(0.7)
    process.kill()
    process.wait()
    ends = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert mark.read_text() == "done\n"


def test_a_process_is_identified_by_its_start() -> None:
    """The start of a process does not change; a process that does not exist has none."""
    assert birth(os.getpid()) == birth(os.getpid()) is not None
    assert birth(2**22 + 1) is None
