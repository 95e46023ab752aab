"""`ringcheck watch`: `health`, live in the terminal.

Polls in a thread of its own, so that the screen's clock and keys never wait for a slow node. The terminal is given back
as it was on every way out.
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

from ringcheck.cli.target import Seconds, Target, colours, level, target_options
from ringcheck.cli.terminal import shows
from ringcheck.errors import RingcheckError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from rich.console import Console
    from rich.text import Text

    from ringcheck.cli.target import Settled
    from ringcheck.core.assess import Question
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.changes import Session
    from ringcheck.report.screen import Frame
    from ringcheck.report.terminal import Line

TICK = 0.25  # seconds within which a key, a resize or a poll shows
UNKNOWN = 3
PAGE = 10  # rows

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
"""Style of a span to rich's; `!` is a banner's."""

Result: TypeAlias = "Verdict | Exception"


@click.command
@target_options
@click.argument("keyspaces", metavar="[KEYSPACE]...", nargs=-1)
@click.option("--level", "levels", metavar="LEVEL", multiple=True, help="Show this level, watched or not. Repeatable.")
@click.option("--interval", type=Seconds(), default=5.0, show_default="5s", help="From one poll to the next.")
@click.option("--count", type=click.IntRange(1), help="End after so many polls.")
@click.option("--plain", is_flag=True, help="One report after the other. [default: where the terminal is none]")
def watch(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    keyspaces: tuple[str, ...],
    levels: tuple[str, ...],
    interval: float,
    count: int | None,
    plain: bool,  # noqa: FBT001 - a flag
) -> int:
    """Health, live: what is lost, what changed since the last poll, how old that is.

    Keys: q quits, space pauses, r polls now, arrows (or j and k) and page keys show more rows. Exit code: of the last
    verdict, as `health`; 3 if the last poll failed.
    """
    from ringcheck.core.assess import Question

    if target.from_ == "-":
        raise UsageError("watch reads its file again and again; standard input can be read once")
    settled = replace(target, keyspace=(*target.keyspace, *keyspaces)).settled()
    question = Question(keyspaces=settled.target.keyspace, levels=tuple(level(name) for name in levels))
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return _reports(settled, question, interval, count)
    return _Screen(settled, question, interval, count).run()


def _reports(settled: Settled, question: Question, interval: float, count: int | None) -> int:
    """Print health again and again, for logs and terminals that can do no more."""
    from ringcheck.report import text

    code, last = UNKNOWN, ""
    with settled.polls() as poll:
        for number in numbers(1):
            started = time.monotonic()
            try:
                verdict = settled.judged(poll, question)
                code, last = verdict.severity.exit_code, f" (last seen: {verdict.snapshot.taken_at})"
                click.echo(f"{text.render(verdict, colour=colours())}\n")
            except UsageError:
                raise
            except RingcheckError as error:
                code = UNKNOWN
                click.echo(f"UNKNOWN - {' '.join(str(error).split())}{last}\n")
            if number == count:
                return code
            time.sleep(max(0.0, interval - (time.monotonic() - started)))
    return code


class _Poller(threading.Thread):
    """Polls at an interval, or at once when asked; only this thread touches the connections."""

    def __init__(self, settled: Settled, question: Question, interval: float) -> None:
        super().__init__(name="poller", daemon=True)  # a poll in flight does not hold up the way out
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self.paused = False
        self._settled = settled
        self._question = question
        self._interval = interval
        self._now = threading.Event()
        self._ended = False

    def run(self) -> None:
        """Put a verdict or an error for each poll, until the end."""
        try:
            with self._settled.polls() as poll:
                while not self._ended:
                    started = time.monotonic()
                    self.results.put(self._poll(poll))
                    self._rest(started + self._interval - time.monotonic())
        except Exception as error:  # noqa: BLE001 - raised again where the terminal can be given back first
            self.results.put(error)

    def _poll(self, poll: Callable[[], Snapshot]) -> Result:
        try:
            return self._settled.judged(poll, self._question)
        except Exception as error:  # noqa: BLE001 - as above
            return error

    def _rest(self, seconds: float) -> None:
        self._now.wait(max(0.0, seconds))
        while self.paused and not self._now.is_set():
            self._now.wait()
        self._now.clear()

    def poll_now(self) -> None:
        """Don't wait for the interval to end."""
        self._now.set()

    def end(self) -> None:
        """Stop after the poll in flight."""
        self._ended = True
        self._now.set()


class _Keys:
    """Keys as they are pressed; the terminal's mode is put back at the end."""

    def __init__(self) -> None:
        self.listening = sys.stdin.isatty()
        self._before: list[Any] | None = None  # termios' seven

    def __enter__(self) -> Self:
        import termios
        import tty

        try:
            if self.listening:
                self._before = termios.tcgetattr(sys.stdin)
                tty.setcbreak(sys.stdin)
        except termios.error:  # continued in the background: the terminal is somebody else's
            self.listening = False
        return self

    def __exit__(self, *_: object) -> None:
        import termios

        if self._before is not None:
            with contextlib.suppress(termios.error):  # the terminal has gone, with its mode
                termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, self._before)

    def read(self, seconds: float) -> str:
        """What was pressed, or nothing after so long."""
        if not self.listening:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(sys.stdin.fileno(), 64)
        self.listening = bool(pressed)  # nothing to read is the end of input
        return pressed.decode(errors="ignore")


class _Screen:
    """The live screen: polls, keys, and what they make of it."""

    def __init__(self, settled: Settled, question: Question, interval: float, count: int | None) -> None:
        from rich.console import Console

        from ringcheck.report.changes import Session
        from ringcheck.report.screen import ASCII, UNICODE, Frame

        target = settled.target
        limit = None if target.from_ else max(2 * interval, interval + target.timeout) + 1
        self.session: Session = Session()
        self._poller = _Poller(settled, question, interval)
        self._count = count
        self._console: Console = Console(highlight=False)
        signs = UNICODE if shows(UNICODE.all) else ASCII
        self._frame: Frame = Frame(
            columns=0, lines=0, now=datetime.now(UTC), limit=limit, interval=interval, signs=signs
        )
        self._quit = self._suspend = False

    def run(self) -> int:
        """Show until somebody quits; the exit code."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        self._poller.start()
        try:
            while self._shown():
                os.kill(os.getpid(), signal.SIGSTOP)  # as Ctrl-Z asks; fg goes on here
        finally:
            self._poller.end()
            for number, handler in before.items():
                signal.signal(number, handler)
        return self._last_word()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        """Only note it: the terminal is given back by whoever has it."""
        if number == signal.SIGTSTP:
            self._suspend = True
        else:
            self._quit = True

    def _shown(self) -> bool:
        """Show until the end (False) or Ctrl-Z (True)."""
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
        """What the poller found."""
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
            raise result  # a mistake in the question, or ours: no later poll mends it

    def _press(self, pressed: str) -> None:
        """Act on keys; several may come at once."""
        for key in _KEY.findall(pressed):
            if key in "qQ":
                self._quit = True
            elif key == " ":
                self._pause()
            elif key in "rR":
                self._poller.poll_now()
            elif key in _MOVES:
                rows = sum(len(each.levels) for each in self.session.verdict.keyspaces) if self.session.verdict else 0
                offset = max(0, min(rows - 1, self._frame.offset + _MOVES[key]))
                self._frame = replace(self._frame, offset=offset)

    def _pause(self) -> None:
        self._poller.paused = not self._poller.paused
        if not self._poller.paused:
            self._poller.poll_now()

    def _last_word(self) -> int:
        """One line that stays when the screen has gone, and the exit code."""
        from ringcheck.report.screen import is_old
        from ringcheck.report.terminal import printable

        verdict, error = self.session.verdict, self.session.error
        old = is_old(self.session, replace(self._frame, now=datetime.now(UTC)))
        if verdict is None:
            click.echo(f"UNKNOWN - {printable(error or 'nothing was seen')}")
            return UNKNOWN
        told = printable(f"{verdict.severity.name} {verdict.snapshot.cluster}: {verdict.summary}")
        why = printable(f"UNKNOWN - {error or 'old data'}; was ") if old else ""
        click.echo(f"{why}{told}; {verdict.snapshot.taken_at}")
        return UNKNOWN if old else verdict.severity.exit_code


def _text(lines: tuple[Line, ...]) -> Text:
    """A screen as rich takes it."""
    from rich.text import Text

    rows = [Text.assemble(*((text, _STYLES.get(style, "")) for text, style in line)) for line in lines]
    joined = Text("\n").join(rows)
    joined.no_wrap, joined.overflow = True, "crop"
    return joined
