"""The operator's commands: how values of a node are filled in, and what is kept about a run."""

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
    """Quotes and blanks in a value that a node reports stay within one word."""
    evil = Node("10.0.0.1", host_id="x'; rm -rf / #", datacenter="dc 1", rack="$(reboot)")
    command = Command.parse("ssh {address} 'sudo restart {host_id}' {datacenter} {rack}")
    assert command.of(evil) == ("ssh", "10.0.0.1", "sudo restart x'; rm -rf / #", "dc 1", "$(reboot)")


def test_a_value_is_not_filled_in_again() -> None:
    """A rack with the name of a field stays as it is."""
    assert Command.parse("a {rack} {address}").of(Node("10.0.0.1", rack="{host_id}")) == ("a", "{host_id}", "10.0.0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the command is empty"),
        ("ssh 'a", "the command \"ssh 'a\" can't be split: a quote is not closed"),
        ("systemctl restart cassandra", "does not say which node: it needs {address} or {host_id}"),
        ("ssh {adress}", "has the unknown field {adress} (did you mean {address}?)"),
        ("ssh {address} {zone}", "(known: {address}, {host_id}, {datacenter}, {rack})"),
    ],
)
def test_an_unusable_command_is_refused(text: str, message: str) -> None:
    """A command that makes no sense is refused before any node is touched, with the reason."""
    with pytest.raises(UsageError) as caught:
        Command.parse(text)
    assert message in str(caught.value)


def test_braces_of_other_programs_stay() -> None:
    """Braces are left alone unless they enclose a name in lower case."""
    words = Command.parse("awk '{print $1}' {address}").of(NODE)
    assert words == ("awk", "{print $1}", "10.0.0.1")


def test_an_unknown_value_is_an_error() -> None:
    """An unknown rack must not become an empty word."""
    with pytest.raises(UsageError, match=r"the rack of 10\.0\.0\.1 is not known"):
        Command.parse("x {address} {rack}").of(Node("10.0.0.1"))


@pytest.mark.parametrize("rack", ["r\0", "r\udc80", "r\nreboot", "r\x1b[2J", "r\u202e"])
def test_a_value_that_can_not_be_passed_on_is_an_error(rack: str) -> None:
    """The system would refuse it only when the command starts, with the node drained; a line break may end it."""
    with pytest.raises(UsageError, match=r"the rack of 10\.0\.0\.1 can't be part of a command: it is 'r"):
        Command.parse("x {address} {rack}").of(Node("10.0.0.1", rack=rack))


@pytest.mark.parametrize("word", ["{rack}", "{rack}{host_id}", "'{rack} {host_id}'"])
def test_a_node_does_not_choose_an_option(word: str) -> None:
    """A word that begins with `-` only because of a value from a node would be an option of the program."""
    evil = Node("10.0.0.1", host_id="a", rack="-oProxyCommand=reboot")
    with pytest.raises(UsageError, match="would be the option '-oProxyCommand=reboot"):
        Command.parse(f"ssh {{address}} {word}").of(evil)
    words = Command.parse("ssh -o{rack} x-{rack} {address}").of(evil)
    assert words == ("ssh", "-o-oProxyCommand=reboot", "x--oProxyCommand=reboot", "10.0.0.1")


def test_a_command_that_can_not_be_announced_is_not_run(tmp_path: Path) -> None:
    """If its line can't be written to the journal, the command has no effect."""

    def refused(_: int) -> None:
        raise UsageError("the journal can't be written")

    with pytest.raises(UsageError, match="journal"):
        run(("touch", str(tmp_path / "mark")), 5, refused)
    assert not (tmp_path / "mark").exists()


def test_a_command_is_not_run_by_a_ringcheck_killed_before_its_announcement(tmp_path: Path) -> None:
    """Otherwise --resume would not know about it, and would run it a second time."""
    mark = tmp_path / "mark"
    kill = "import os, signal; from ringcheck.restart.commands import run"
    program = (
        f"{kill}; run(('touch', {str(mark)!r}), 60, lambda pid: print(pid, flush=True) or os.kill(os.getpid(), 9))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    ends = time.monotonic() + 20
    while birth(int(done.stdout)) is not None and not _is_zombie(int(done.stdout)) and time.monotonic() < ends:
        time.sleep(0.02)
    assert not mark.exists()


def test_words_reach_the_program_unchanged() -> None:
    """The helper that waits for the announcement passes them on, and its input is empty."""
    words = ("", "a b", "$HOME", "`id`", "*", "-n", "'\"\\", "\u00e9")
    program = "import sys; print(sys.argv[1:], repr(sys.stdin.read()))"
    assert run((sys.executable, "-c", program, *words), 30).output == f"{list(words)} ''\n"


def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose output has no file is not run, and its problem says why."""

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    assert run(("true",), 5).problem == "true can't be run: No space left on device"


def test_status_and_output_are_kept() -> None:
    """Both streams are kept, in order, and the exit status as it is."""
    ended = run((sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(7)"), 30)
    assert (ended.status, sorted(ended.output.split())) == (7, ["err", "out"])


def test_the_end_of_a_long_output_is_kept() -> None:
    """A command that prints megabytes adds only kilobytes to the journal."""
    ended = run((sys.executable, "-c", "print('x' * 10**6); print('the end')"), 30)
    assert ended.output.endswith("the end\n")
    assert len(ended.output) == KEPT


def test_a_command_that_does_not_exist_is_a_problem() -> None:
    """It has a reason instead of a status, and nothing is raised."""
    ended = run(("/no/such/program",), 5)
    text = "/no/such/program can't be run: there is no such program, or it is not executable"
    assert (ended.status, ended.problem) == (None, text)


@pytest.mark.slow
def test_a_command_that_hangs_is_ended_with_its_children() -> None:
    """After the deadline none of its processes is running, and it has no status."""
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


@pytest.mark.slow
def test_a_command_outlives_a_killed_ringcheck(tmp_path: Path) -> None:
    """Half a restart is worse than a complete one: a command that was started goes on, and can still write."""
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
    """The start time of a process does not change; a process that does not exist has none."""
    assert birth(os.getpid()) == birth(os.getpid()) is not None
    assert birth(2**22 + 1) is None
