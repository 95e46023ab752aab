"""`ringcheck watch` on a terminal, on none, and on the way out."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run
from ringcheck.documents.snapshot import snapshot_document
from tests import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds; a slow machine is no failure
ENTER, LEAVE, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


def record(path: Path, down: Sequence[str] = ()) -> str:
    """Write whole or not at all: watch may be reading."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(snapshot_document(figures.snapshot(down))))
    fresh.replace(path)
    return str(path)


class Terminal:
    """A pseudo-terminal with a `watch` in it."""

    def __init__(self, arguments: Sequence[str], term: str, program: Sequence[str]) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.mode = termios.tcgetattr(self.theirs)
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, *program, "watch", "--interval", "200ms", *arguments],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, cwd=ROOT, start_new_session=True,
            env={"TERM": term, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            preexec_fn=self._adopt,  # noqa: PLW1509 - no other thread runs here, and nothing else adopts a terminal
        )  # fmt: skip

    def _adopt(self) -> None:
        """Make it the controlling terminal, so that Ctrl-C is a signal."""
        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

    def read(self, seconds: float = 0.1) -> None:
        ready, _, _ = select.select([self.ours], [], [], seconds)
        if ready:
            self.text += os.read(self.ours, 65536).decode(errors="replace")

    def until(self, text: str) -> None:
        """Wait for a text, without its colours; then forget what came before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.plain:
            assert time.monotonic() < deadline, f"no {text!r} in {self.plain[-3000:]!r}"
            self.read()
        self.text = ""

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self) -> int:
        """Its exit code, with all that it still had to say read."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.read()
        self.read(0.2)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@contextmanager
def terminal(
    arguments: Sequence[str], term: str = "xterm-256color", program: Sequence[str] = ("-m", "ringcheck")
) -> Iterator[Terminal]:
    found = Terminal(arguments, term, program)
    try:
        yield found
    finally:
        found.close()


def restored(one: Terminal) -> bool:
    """Cursor, screen and mode are as they were."""
    return LEAVE in one.text and SHOW_CURSOR in one.text and termios.tcgetattr(one.theirs) == one.mode


@pytest.mark.parametrize(
    ("way", "code"), [("q", 0), ("\x03", 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=["q", "^C", "TERM", "HUP"]
)
def test_the_terminal_is_given_back(way: str | signal.Signals, code: int, tmp_path: Path) -> None:
    """On every way out, and one line stays on the screen."""
    with terminal(["--from", record(tmp_path / "s.json")]) as one:
        one.until("OK  blogs")
        assert termios.tcgetattr(one.theirs) != one.mode
        one.press(way) if isinstance(way, str) else one.process.send_signal(way)
        assert one.end() == code
        assert restored(one)
        assert one.plain.rstrip().endswith("to an outage of blog at LOCAL_QUORUM; 2026-01-01T00:00:00Z")


CRASH = """
import sys
from ringcheck.cli import main
from ringcheck.core import assess
assess.assess = lambda *_: 1 / 0
main(sys.argv[1:])
"""


def test_a_crash_gives_the_terminal_back_too(tmp_path: Path) -> None:
    """A bug of ours is one line on a terminal that works."""
    with terminal(["--from", record(tmp_path / "s.json")], program=("-c", CRASH)) as one:
        assert one.end() == 3
        assert restored(one)
        assert "UNKNOWN - this is a bug of ringcheck: ZeroDivisionError: division by zero" in one.plain


def test_changes_and_errors_show_and_pass(tmp_path: Path) -> None:
    """A node falls, the source goes, the source comes back."""
    path = tmp_path / "s.json"
    with terminal(["--from", record(path)]) as one:
        one.until("OK  blogs")
        record(path, [figures.A, figures.C])
        one.until("node 10.0.0.3 is down (was up)")
        path.unlink()
        one.until("can't be read")
        record(path)
        one.until("node 10.0.0.3 is up (was down)")
        path.unlink()
        one.until("can't be read")
        one.press("q")
        assert one.end() == 3
        assert "UNKNOWN - " in one.plain
        assert "; was OK blogs" in one.plain


def test_keys(tmp_path: Path) -> None:
    """Space stops the polls and r asks for one; unknown keys do nothing."""
    path = tmp_path / "s.json"
    with terminal(["--from", record(path)]) as one:
        one.until("OK  blogs")
        one.press("x\x1b[B\x1b[5~ ")
        one.until("PAUSED")
        record(path, [figures.A, figures.C])
        time.sleep(0.7)
        one.read()
        assert "10.0.0.3" not in one.plain
        one.press("r")
        one.until("node 10.0.0.3 is down")
        one.press(" ")
        one.until("every 0.2 s")
        one.press("q")
        assert one.end() == 1


def test_control_z_gives_the_terminal_back_for_a_while(tmp_path: Path) -> None:
    """Stopped, the shell has its screen; continued, watch has it again."""
    with terminal(["--from", record(tmp_path / "s.json")]) as one:
        one.until("OK  blogs")
        one.press("\x1a")
        _, status = os.waitpid(one.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        one.read(0.3)
        assert restored(one)
        one.text = ""
        one.process.send_signal(signal.SIGCONT)
        one.until("OK  blogs")
        one.press("q")
        assert one.end() == 0


def test_a_count_ends_it(tmp_path: Path) -> None:
    """The exit code is the last verdict's."""
    with terminal(["--from", record(tmp_path / "s.json", [figures.A, figures.C]), "--count", "2"]) as one:
        assert one.end() == 1
        assert ENTER in one.text


def test_a_dumb_terminal_gets_reports(tmp_path: Path) -> None:
    """No escapes at all."""
    with terminal(["--from", record(tmp_path / "s.json"), "--count", "2"], term="dumb") as one:
        assert one.end() == 0
        assert one.text.count("OK blogs: ") == 2
        assert "\x1b" not in one.text


def test_a_pipe_gets_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As health prints them, one after the other."""
    source = record(tmp_path / "s.json", [figures.A, figures.C])
    assert run(["watch", "--from", source, "--count", "2", "--interval", "10ms"]) == 1
    reports = capsys.readouterr().out
    assert run(["health", "--from", source]) == 1
    assert reports == f"{capsys.readouterr().out}\n" * 2


def test_reports_survive_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is one line that says how old the last good report is; the next poll is made."""
    path = tmp_path / "s.json"
    source = record(path)
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("{"))
    assert run(["watch", "blog", "--from", source, "--count", "2"]) == 3
    text = capsys.readouterr().out
    assert text.startswith("OK blogs: ")
    last = text.rstrip().splitlines()[-1]
    assert last.startswith(f"UNKNOWN - {source} is not a JSON document: ")
    assert last.endswith(" (last seen: 2026-01-01T00:00:00Z)")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--from", "-"], "watch reads the snapshot again and again, but standard input can be read only once"),
        (["--from", "/nowhere/s.json", "--count", "1"], "/nowhere/s.json can't be read: No such file or directory"),
        (
            ["--from", "/nowhere/s.json", "--level", "QUORM"],
            "there is no consistency level 'QUORM' (did you mean QUORUM?)",
        ),
    ],
)
def test_what_can_t_be_watched_is_told(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line and 3, not a screen that repeats it."""
    assert run(["watch", *arguments]) == 3
    assert capsys.readouterr().out == f"UNKNOWN - {line}\n"


def test_a_source_that_was_never_there_ends_the_screen(tmp_path: Path) -> None:
    """A wrong name is told at once, on a terminal that works."""
    with terminal(["--from", str(tmp_path / "none.json")]) as one:
        assert one.end() == 3
        assert restored(one)
        assert "UNKNOWN - " in one.plain
        assert one.plain.rstrip().endswith("none.json can't be read: No such file or directory")
