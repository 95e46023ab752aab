"""`ringcheck watch` on a terminal and in a pipe, and how it ends."""

from __future__ import annotations

import contextlib
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
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run, watch
from ringcheck.core.assess import Question
from ringcheck.documents.snapshot import snapshot_document
from tests import figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PATIENCE = 90.0  # seconds; enough for a busy machine
ENTER, LEAVE, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


def record(path: Path, down: Sequence[str] = ()) -> str:
    """Replace the whole file in one step, since watch may be reading it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(snapshot_document(figures.snapshot(down))))
    fresh.replace(path)
    return str(path)


class Terminal:
    """A pseudo-terminal in which `watch` runs."""

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
        """Make it the controlling terminal, so that Ctrl-C sends a signal."""
        fcntl.ioctl(self.theirs, termios.TIOCSCTTY, 0)

    def read(self, seconds: float = 0.1) -> None:
        ready, _, _ = select.select([self.ours], [], [], seconds)
        if ready:
            self.text += os.read(self.ours, 65536).decode(errors="replace")

    def until(self, text: str) -> None:
        """Wait for a text, ignoring colours; then forget what was read."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.plain:
            assert time.monotonic() < deadline, f"no {text!r} in {self.plain[-3000:]!r}"
            self.read()
        self.text = ""

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    @property
    def sentence(self) -> str:
        """The text as one line: long lines are broken at the width of the terminal."""
        return " ".join(self.plain.split())

    def press(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def end(self) -> int:
        """Wait for the end, and return the exit code; meanwhile read all output, one buffer at a time."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the process does not end"
            self.read()
        os.close(self.theirs)
        with contextlib.suppress(OSError):  # EIO: everything was read, and no writer is left
            while True:
                self.text += os.read(self.ours, 65536).decode(errors="replace")
        return self.process.returncode

    @property
    def restored(self) -> bool:
        """Whether cursor, screen and mode are restored."""
        return LEAVE in self.text and SHOW_CURSOR in self.text and termios.tcgetattr(self.ours) == self.mode

    def until_restored(self) -> None:
        """Wait until cursor, screen and mode are restored."""
        deadline = time.monotonic() + PATIENCE
        while not self.restored:
            assert time.monotonic() < deadline, f"not restored: {self.text[-300:]!r}"
            self.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        with contextlib.suppress(OSError):  # `end` has closed it
            os.close(self.theirs)


@contextmanager
def terminal(
    arguments: Sequence[str], term: str = "xterm-256color", program: Sequence[str] = ("-m", "ringcheck")
) -> Iterator[Terminal]:
    opened = Terminal(arguments, term, program)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "code"), [("q", 0), ("\x03", 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0)], ids=["q", "^C", "TERM", "HUP"]
)
def test_the_terminal_is_restored(way: str | signal.Signals, code: int, tmp_path: Path) -> None:
    """This holds for every way to end; one line stays on the screen."""
    with terminal(["--from", record(tmp_path / "s.json")]) as tty:
        tty.until("OK  blogs")
        assert termios.tcgetattr(tty.ours) != tty.mode
        tty.press(way) if isinstance(way, str) else tty.process.send_signal(way)
        assert tty.end() == code
        assert tty.restored
        assert tty.sentence.endswith("to an outage of blog at LOCAL_QUORUM; 2026-01-01T00:00:00Z")


CRASH = """
import sys
from ringcheck.cli import main
from ringcheck.core import assess
assess.assess = lambda *_: 1 / 0
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_crash_restores_the_terminal_too(tmp_path: Path) -> None:
    """A bug prints one line, and the terminal works."""
    with terminal(["--from", record(tmp_path / "s.json")], program=("-c", CRASH)) as tty:
        assert tty.end() == 3
        assert tty.restored
        assert "UNKNOWN - this is a bug in ringcheck: ZeroDivisionError: division by zero" in tty.sentence


@pytest.mark.slow
def test_changes_and_errors_are_shown(tmp_path: Path) -> None:
    """A node goes down, the file disappears, and it comes back."""
    path = tmp_path / "s.json"
    with terminal(["--from", record(path)]) as tty:
        tty.until("OK  blogs")
        record(path, [figures.A, figures.C])
        tty.until("node 10.0.0.3 is down (was up)")
        path.unlink()
        tty.until("can't be read")
        record(path)
        tty.until("node 10.0.0.3 is up (was down)")
        path.unlink()
        tty.until("can't be read")
        tty.press("q")
        assert tty.end() == 3
        assert "UNKNOWN - " in tty.plain
        assert "; was OK blogs" in tty.sentence


@pytest.mark.slow
def test_keys(tmp_path: Path) -> None:
    """Space pauses the polls, and r polls once; unknown keys do nothing."""
    path = tmp_path / "s.json"
    with terminal(["--from", record(path)]) as tty:
        tty.until("OK  blogs")
        tty.press("x\x1b[B\x1b[5~ ")
        tty.until("PAUSED")
        record(path, [figures.A, figures.C])
        tty.press("r")
        tty.until("node 10.0.0.3 is down")
        tty.press(" ")
        tty.until("every 0.2 s")
        tty.press("q")
        assert tty.end() == 1


class Waits(threading.Event):
    """The event of a poller; `resting` is set while it waits without a time limit."""

    def __init__(self) -> None:
        super().__init__()
        self.resting = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            return super().wait(timeout)
        self.resting.set()
        answer = super().wait(PATIENCE)
        self.resting.clear()
        return answer


class Endless:
    """A cluster whose polls are counted."""

    polled = 0

    @contextmanager
    def polls(self) -> Iterator[None]:
        yield None

    def judge(self, *_: object) -> int:
        self.polled += 1
        return self.polled


def test_a_pause_ends_the_polls_until_one_is_asked_for() -> None:
    """This holds however short the interval is."""
    poller = watch._Poller(Endless(), Question(), 0.0)  # type: ignore[arg-type]
    poller._now = waits = Waits()
    poller.paused = True
    poller.start()
    for polls in (1, 2, 3):
        assert waits.resting.wait(PATIENCE)
        assert [poller.results.get(timeout=PATIENCE), poller.results.empty()] == [polls, True]
        waits.resting.clear()
        poller.poll_now()
    poller.end()
    poller.join(PATIENCE)
    assert not poller.is_alive()


@pytest.mark.slow
def test_control_z_restores_the_terminal_until_watch_continues(tmp_path: Path) -> None:
    """While watch is stopped the shell has its own screen; afterwards watch shows its screen again."""
    with terminal(["--from", record(tmp_path / "s.json")]) as tty:
        tty.until("OK  blogs")
        tty.press("\x1a")
        _, status = os.waitpid(tty.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        tty.until_restored()
        tty.text = ""
        tty.process.send_signal(signal.SIGCONT)
        tty.until("OK  blogs")
        tty.press("q")
        assert tty.end() == 0


@pytest.mark.slow
def test_a_count_ends_it(tmp_path: Path) -> None:
    """The exit code is that of the last verdict."""
    with terminal(["--from", record(tmp_path / "s.json", [figures.A, figures.C]), "--count", "2"]) as tty:
        assert tty.end() == 1
        assert ENTER in tty.text


@pytest.mark.slow
def test_a_dumb_terminal_gets_reports(tmp_path: Path) -> None:
    """They contain no escape sequences."""
    with terminal(["--from", record(tmp_path / "s.json"), "--count", "2"], term="dumb") as tty:
        assert tty.end() == 0
        assert tty.text.count("OK blogs: ") == 2
        assert "\x1b" not in tty.text


def test_a_pipe_gets_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each report is what health prints, with an empty line between two of them."""
    source = record(tmp_path / "s.json", [figures.A, figures.C])
    assert run(["watch", "--from", source, "--count", "2", "--interval", "10ms"]) == 1
    reports = capsys.readouterr().out
    assert run(["health", "--from", source]) == 1
    health = capsys.readouterr().out
    assert reports == f"{health}\n{health}"


def test_reports_survive_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error is one line with the time of the last good report, and polls go on."""
    path = tmp_path / "s.json"
    source = record(path)
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("{"))
    assert run(["watch", "blog", "--from", source, "--count", "2"]) == 3
    text = capsys.readouterr().out
    assert text.startswith("OK blogs: ")
    last = text.rstrip().splitlines()[-1]
    assert last.startswith(f"UNKNOWN - {source} is not a JSON document: ")
    assert last.endswith(" (last seen: 2026-01-01T00:00:00Z)")


def test_a_directory_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Snapshots are shown in the order of their times, at the --speed that is given; the last one stays."""
    for name, seconds, down in (("b", 0, []), ("a", 3600, [figures.A, figures.C])):
        seen = replace(figures.snapshot(down), taken_at=f"2026-01-01T0{seconds // 3600}:00:00Z")
        (tmp_path / f"{name}.json").write_text(json.dumps(snapshot_document(seen)))
    arguments = ["watch", "--from", str(tmp_path), "--speed", "36000", "--count", "3", "--interval", "200ms"]
    assert run(arguments) == 1
    text = capsys.readouterr().out
    assert [text.count(time) for time in ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")] == [1, 2]
    assert text.index("OK blogs: ") < text.index("WARNING blogs: ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--from", "tests/snapshots/article-healthy.json", "--speed", "2"],
            "--speed is for a replay: name a directory of snapshots with --from",
        ),
        (["--from", "-"], "watch reads the snapshot again and again, but standard input can be read only once"),
        (["--from", "/nowhere/s.json", "--count", "1"], "/nowhere/s.json can't be read: No such file or directory"),
        (
            ["--from", "/nowhere/s.json", "--level", "QUORM"],
            "there is no consistency level 'QUORM' (did you mean QUORUM?)",
        ),
    ],
)
def test_a_wrong_option_ends_it(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with one line and exit code 3, instead of a screen that repeats the error."""
    assert run(["watch", *arguments]) == 3
    assert capsys.readouterr().err == f"UNKNOWN - {line}\n"


@pytest.mark.slow
def test_a_file_that_never_existed_ends_the_screen(tmp_path: Path) -> None:
    """A wrong name is reported at once, and the terminal works."""
    with terminal(["--from", str(tmp_path / "none.json")]) as tty:
        assert tty.end() == 3
        assert tty.restored
        assert "UNKNOWN - " in tty.plain
        assert tty.sentence.endswith("none.json can't be read: No such file or directory")
