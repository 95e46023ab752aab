"""`ringcheck watch`: `health`, live in the terminal.

A thread of its own polls, so that the screen's clock and keys never wait for a slow node. The terminal is restored
however the command ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import select
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count as numbers
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import click

from ringcheck.cli.failure import problem_of
from ringcheck.cli.options import ClusterCommand, Seconds, Whole, level, target_options
from ringcheck.cli.terminal import colours, columns, say, shows
from ringcheck.errors import RingcheckError, UsageError, one_line, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from rich.console import Console
    from rich.text import Text

    from ringcheck.cli.target import ChosenCluster, Target
    from ringcheck.core.assess import Question
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.changes import Session
    from ringcheck.report.screen import Frame
    from ringcheck.report.terminal import Line

TICK = 0.25  # seconds until a key, a resize or a poll shows, at most
UNKNOWN = 3
PAGE = 10  # rows that a page key moves

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|.")
_MOVES = {
    "j": 1, "\x1b[B": 1, "k": -1, "\x1b[A": -1, "n": PAGE, "\x1b[6~": PAGE, "p": -PAGE, "\x1b[5~": -PAGE,
}  # fmt: skip
_STYLES = {
    "OK": "green", "WARNING": "yellow", "UNKNOWN": "magenta", "CRITICAL": "bold red", "dim": "dim", "bold": "bold",
    "OK!": "bold reverse green", "WARNING!": "bold reverse yellow", "UNKNOWN!": "bold reverse magenta",
    "CRITICAL!": "bold reverse red", "...!": "reverse",
}  # fmt: skip
"""The style of rich for each style of a span; `!` marks those of banners."""

Result: TypeAlias = "Verdict | Exception"


@click.command(cls=ClusterCommand)
@target_options()
@click.argument("keyspaces", metavar="[KEYSPACE]...", nargs=-1)
@click.option("--level", "levels", metavar="LEVEL", multiple=True, help="Show this level too. Repeatable.")
@click.option("--interval", type=Seconds(), default=5.0, help="Time from one poll to the next. [default: 5s]")
@click.option("--count", type=Whole(1), metavar="N", help="End after N polls. [default: no end]")
@click.option(
    "--speed",
    type=Whole(1, 86_400),
    metavar="N",
    help="With --from DIRECTORY: recorded seconds that pass in one second. [default: 1]",
)
@click.option(
    "--plain", is_flag=True, help="Print one report after another. [default: only if the output is not a terminal]"
)
def watch(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    keyspaces: tuple[str, ...],
    levels: tuple[str, ...],
    interval: float,
    count: int | None,
    speed: int | None,
    plain: bool,  # noqa: FBT001 - a flag
) -> int:
    """Health, live: what is lost, what changed since the last poll, and the age of the data.

    --from may also name a directory of snapshots: they are replayed in the order of their times.

    Keys: q quits, space pauses, r polls now; arrows (or j and k) and page keys scroll.

    Exit codes: as `health`, for the last verdict; 3 if the last poll failed.
    """
    from ringcheck.core.assess import Question

    if target.from_ == "-":
        raise UsageError("watch reads the snapshot again and again, but standard input can be read only once")
    cluster = replace(target, keyspace=(*target.keyspace, *keyspaces)).choose()
    if target.from_ and os.path.isdir(target.from_):  # noqa: PTH112 - false for a name that no file can have
        cluster = cluster.replayed(speed or 1)
    elif speed:
        raise UsageError("--speed is for a replay: name a directory of snapshots with --from")
    question = Question(keyspaces=cluster.target.keyspace, levels=tuple(level(name) for name in levels))
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return _reports(cluster, question, interval, count)
    return _Screen(cluster, question, interval, count).run()


def _reports(cluster: ChosenCluster, question: Question, interval: float, count: int | None) -> int:
    """Print health again and again, for logs and dumb terminals; the exit code."""
    code, seen = UNKNOWN, ""
    with cluster.polls() as poll:
        for number in numbers(1):
            started = time.monotonic()
            if number > 1:
                click.echo()
            code, seen = _report(cluster, poll, question, seen)
            if number == count:
                break
            time.sleep(max(0.0, interval - (time.monotonic() - started)))
    return code


def _report(cluster: ChosenCluster, poll: Callable[[], Snapshot], question: Question, seen: str) -> tuple[int, str]:
    """Print health once; the exit code, and the time of the newest snapshot, which was `seen` before."""
    from ringcheck.report import text

    try:
        verdict = cluster.judge(poll, question)
    except UsageError:
        raise
    except RingcheckError as error:
        say(f"UNKNOWN - {one_line(problem_of(error).line)}{f' (last seen: {seen})' if seen else ''}")
        return UNKNOWN, seen
    click.echo(text.render(verdict, colour=colours(), width=columns()))
    return verdict.severity.exit_code, verdict.snapshot.taken_at


class _Poller(threading.Thread):
    """Polls at an interval, or at once on request; only this thread uses the connections."""

    def __init__(self, cluster: ChosenCluster, question: Question, interval: float) -> None:
        super().__init__(name="poller", daemon=True)  # a poll in flight must not delay the end
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.paused = False
        self._cluster = cluster
        self._question = question
        self._interval = interval
        self._now = threading.Event()
        self._ended = False

    def run(self) -> None:
        """Put a verdict or an error for each poll, until the end."""
        try:
            with self._cluster.polls() as poll:
                while not self._ended:
                    started = time.monotonic()
                    self.results.put(self._poll(poll))
                    self._rest(started + self._interval - time.monotonic())
        except Exception as error:  # noqa: BLE001 - raised again by the thread that restores the terminal
            self.results.put(error)

    def _poll(self, poll: Callable[[], Snapshot]) -> Result:
        try:
            return self._cluster.judge(poll, self._question)
        except Exception as error:  # noqa: BLE001 - as above
            return error

    def _rest(self, seconds: float) -> None:
        self._now.wait(max(0.0, seconds))
        while self.paused and not self._now.is_set():
            self._now.wait()
        self._now.clear()

    def poll_now(self) -> None:
        """Poll now, even if the interval has not ended."""
        self._now.set()

    def end(self) -> None:
        """Stop after the poll in flight."""
        self._ended = True
        self._now.set()


class _Keys:
    """Keys as they are pressed; the terminal's mode is restored at the end."""

    def __init__(self) -> None:
        self.listening = sys.stdin.isatty()
        self._before: list[Any] | None = None  # the seven attributes of termios

    def __enter__(self) -> Self:
        import termios
        import tty

        try:
            if self.listening:
                self._before = termios.tcgetattr(sys.stdin)
                tty.setcbreak(sys.stdin)
        except termios.error:  # continued in the background, where the terminal belongs to another process
            self.listening = False
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, self._before)

    def read(self, seconds: float) -> str:
        """The keys that were pressed; empty if none is within some seconds."""
        if not self.listening:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(sys.stdin.fileno(), 64)
        self.listening = bool(pressed)  # empty at the end of input
        return pressed.decode(errors="ignore")


class _Screen:
    """The live screen: shows polls and acts on keys."""

    def __init__(self, cluster: ChosenCluster, question: Question, interval: float, count: int | None) -> None:
        from rich.console import Console

        from ringcheck.report.changes import Session
        from ringcheck.report.screen import ASCII, UNICODE, Frame

        target = cluster.target
        limit = None if target.from_ else max(2 * interval, interval + target.timeout) + 1
        self.session: Session = Session()
        self._poller = _Poller(cluster, question, interval)
        self._count = count
        self._console: Console = Console(highlight=False)
        signs = UNICODE if shows(UNICODE.all) else ASCII
        self._frame: Frame = Frame(
            columns=0, lines=0, now=datetime.now(UTC), limit=limit, interval=interval, signs=signs
        )
        self._quit = self._suspend = False

    def run(self) -> int:
        """Show the screen until it is quit; the exit code."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        self._poller.start()
        try:
            while self._shown():
                os.kill(os.getpid(), signal.SIGSTOP)  # for Ctrl-Z; `fg` continues here
        finally:
            self._poller.end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._last_word()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Only note the signal: the loop that shows the screen restores the terminal."""
        if number == signal.SIGTSTP:
            self._suspend = True
        else:
            self._quit = True

    def _shown(self) -> bool:
        """Show the screen until it is quit (False) or suspended by Ctrl-Z (True)."""
        from rich.live import Live

        from ringcheck.report.screen import compose

        self._suspend = False
        shown: tuple[object, ...] = ()
        with _Keys() as keys, Live(console=self._console, screen=True, auto_refresh=False) as live:
            while not (self._quit or self._suspend):
                self._take()
                frame = self._framed(keys)
                lines = compose(self.session, frame)
                if (frame.columns, lines) != shown:
                    live.update(_text(lines), refresh=True)
                    shown = frame.columns, lines
                self._press(keys.read(TICK))
        return not self._quit

    def _framed(self, keys: _Keys) -> Frame:
        width, height = self._console.size
        self._frame = replace(
            self._frame, columns=width, lines=height, now=datetime.now(UTC), keys=keys.listening,
            paused=self._poller.paused,
        )  # fmt: skip
        return self._frame

    def _take(self) -> None:
        """Add the results of the poller to the session."""
        with contextlib.suppress(queue.Empty):
            while not self._quit:
                self._note(self._poller.results.get_nowait())
                self._quit = self._quit or self.session.polls == self._count

    def _note(self, result: Result) -> None:
        if not isinstance(result, Exception):
            self.session.add(result)
        elif isinstance(result, RingcheckError) and (self.session.polls or not isinstance(result, UsageError)):
            self.session.fail(" ".join(str(result).split()))
        else:
            raise result  # a wrong option or a bug: no later poll can succeed

    def _press(self, pressed: str) -> None:
        """Act on keys; several may have been pressed."""
        for key in _KEY.findall(pressed):
            if key in "qQ":
                self._quit = True
            elif key == " ":
                self._pause()
            elif key in "rR":
                self._poller.poll_now()
            elif key in _MOVES:
                self._move(_MOVES[key])

    def _move(self, rows: int) -> None:
        verdict = self.session.verdict
        last = sum(len(keyspace.levels) for keyspace in verdict.keyspaces) - 1 if verdict else -1
        self._frame = replace(self._frame, offset=max(0, min(last, self._frame.offset + rows)))

    def _pause(self) -> None:
        self._poller.paused = not self._poller.paused
        if not self._poller.paused:
            self._poller.poll_now()

    def _last_word(self) -> int:
        """Print one line that stays when the screen is gone; the exit code."""
        from ringcheck.report.screen import is_old

        verdict, error = self.session.verdict, self.session.error
        old = is_old(self.session, replace(self._frame, now=datetime.now(UTC)))
        if verdict is None:
            say(f"UNKNOWN - {one_line(error or 'nothing was seen')}")
            return UNKNOWN
        summary = printable(f"{verdict.severity.name} {verdict.snapshot.cluster}: {verdict.summary}")
        why = f"UNKNOWN - {one_line(error or 'old data')}; was " if old else ""
        say(f"{why}{summary}; {verdict.snapshot.taken_at}")
        return UNKNOWN if old else verdict.severity.exit_code


def _text(lines: tuple[Line, ...]) -> Text:
    """A screen as a text of rich."""
    from rich.text import Text

    rows = [Text.assemble(*((text, _STYLES.get(style, "")) for text, style in line)) for line in lines]
    joined = Text("\n").join(rows)
    joined.no_wrap, joined.overflow = True, "crop"
    return joined
