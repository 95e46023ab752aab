"""The deadline of `check`, held from outside the interpreter that does the work.

A thread can't end a call into C that keeps the interpreter's lock, nor can it print on a machine that gives the process
a twentieth of a core. So the process forks before it imports anything large. The child does the work, with its standard
output in a pipe. The parent only waits: it passes on output and exit code when the child ends, or stops the child at
the deadline and prints the one line itself. What the parent runs is small and needs no library.

Owns the processes and the time; imports no other room. Without `fork`, or if it fails, the work continues without a
deadline.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import time
from contextlib import suppress

TIMEOUT = 9.0  # seconds; check_nrpe gives up after 10
GRACE = 0.2  # seconds after the deadline in which a verdict that is almost ready may still come
REAPING = 0.1  # seconds to wait for a child that was killed; one that hangs in the kernel is left to init
LONGEST_WAIT = 86400.0  # seconds; the system call takes no more than 24 days
UNKNOWN = 3
_DIGITS = 9  # before and after the point of a duration

# What the command line of `check` has besides options with a value; a test compares it with the command.
FLAGS = frozenset({"-v", "--verbose", "--sensu"})
PRINT_ONLY = frozenset({"-h", "--help", "-V", "--version"})

_ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)  # fmt: skip
_ends: float | None = None  # time.monotonic() of the deadline, in a process that is watched
_columns: int | None = None  # width of the terminal that the parent prints to
_results: int | None = None  # descriptor by which the child states its exit code before it ends


class _SignalledError(Exception):
    """The parent got a signal that ends it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def duration(text: str) -> float:
    """Seconds from `9`, `9s`, `1.5s`, `500ms`, `2m`, `4h`, `180d` or `2w`.

    The grammar of `core.durations`; a number without a unit counts seconds.

    Raises:
        ValueError: if the text is none of these, or not more than 0.
    """
    factors = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "": 1.0}
    unit = next(unit for unit in factors if text.endswith(unit))
    number = text.removesuffix(unit)
    digits = number.split(".")
    well_formed = all(part.isdecimal() and part.isascii() and len(part) <= _DIGITS for part in digits)
    if number.count(".") > 1 or not well_formed or not float(number):
        raise ValueError(text)
    return float(number) * factors[unit]


def limit(words: list[str], variable: str | None) -> float | None:
    """The seconds that a command line of `check` allows; None if it only prints help or the version.

    A value that can't be used counts as the default: the command itself reports it.

    Args:
        words: the arguments after `check`.
        variable: value of RINGCHECK_TIMEOUT.
    """
    text, rest = variable or "", iter(words)
    for word in rest:
        if word == "--":
            break
        for option, attached in _options(word):
            if option in PRINT_ONLY:
                return None
            if option not in FLAGS:
                value = next(rest, "") if attached is None else attached
                text = value if option in {"-t", "--timeout"} else text
    try:
        return duration(text)
    except ValueError:
        return TIMEOUT


def _options(word: str) -> list[tuple[str, str | None]]:
    """The options of a word, each with the value that is attached to it: `--timeout=9`, `-t9`, `-vt`."""
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        return [(name, value if equals else None)]
    options: list[tuple[str, str | None]] = []
    if word.startswith("-"):
        for index, letter in enumerate(word[1:], 2):
            options.append((f"-{letter}", None))
            if f"-{letter}" not in FLAGS | PRINT_ONLY:
                options[-1] = f"-{letter}", word[index:] or None
                break
    return options


def left() -> float | None:
    """Seconds until the deadline, 0 after it; None in a process that is not watched."""
    return None if _ends is None else max(0.0, _ends - time.monotonic())


def columns() -> int | None:
    """The width of the terminal that a watched process prints to; None without a terminal, or if it is not watched."""
    return _columns


def settle(code: int) -> None:
    """State the exit code as soon as the output is complete, so that what remains to be done can't change it.

    The parent passes on both if the rest, such as a notification, does not end before the deadline.
    """
    if _results is not None:
        sys.stdout.flush()
        os.write(_results, bytes([code]))


def leave(code: object) -> None:
    """End a watched process at once, its output written: to take the interpreter down costs more than the watch."""
    if _results is not None and isinstance(code, int):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.flush()
        os._exit(code)


def watch() -> None:
    """Watch this process if it is a `check`: return in the child, and end with the child's result in the parent."""
    if sys.stdout is None or not hasattr(os, "fork") or sys.argv[1:2] != ["check"]:
        return
    seconds = limit(sys.argv[2:], os.environ.get("RINGCHECK_TIMEOUT"))
    if seconds is None or "_RINGCHECK_COMPLETE" in os.environ:
        return
    used = _age()
    # A shell may work for long before it becomes this process (`exec`); that does not count as a slow start.
    ends = time.monotonic() + seconds - (used if used < seconds else 0.0)
    _split(ends, seconds)


def _age() -> float:
    """Seconds since the start of this process; 0 if the system does not report it."""
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - pathlib is one more import
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _split(ends: float, seconds: float) -> None:
    parent = os.getpid()
    pipes: list[int] = []
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # until each process is ready for them
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as a caller may leave it, it loses the child's exit code
    try:
        pipes.extend(os.pipe())
        pipes.extend(os.pipe())
        child = os.fork()
    except OSError:  # no processes or descriptors are left
        for descriptor in pipes:
            os.close(descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        return
    output, writer, results, stater = pipes
    if child:
        os.close(writer)
        os.close(stater)
        _Parent(child, output, results, ends, seconds).run(held)
    os.close(output)
    os.close(results)
    _become_worker(writer, stater, ends, parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _become_worker(output: int, results: int, ends: float, parent: int) -> None:
    """Write to the pipe from now on, and end with the parent, however it ends."""
    import fcntl  # noqa: PLC0415 - does not exist where fork does not

    global _ends, _results, _columns  # noqa: PLW0603 - of this process, as what it says of itself
    _columns = os.get_terminal_size(1).columns if os.isatty(1) else None
    os.dup2(output, 1)
    os.close(output)
    # The old object would believe that it is still a terminal, or a file at some position.
    sys.stdout = io.TextIOWrapper(
        io.FileIO(1, "w", closefd=False), sys.stdout.encoding, sys.stdout.errors, write_through=True
    )
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the parent handles it
    # SIGIO comes when the other end of the pipe is closed; its default action ends even a process that runs C code.
    fcntl.fcntl(results, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(results, fcntl.F_SETFL, fcntl.fcntl(results, fcntl.F_GETFL) | getattr(os, "O_ASYNC", 0))
    if os.getppid() != parent:
        os._exit(UNKNOWN)
    _ends, _results = ends, results


class _Parent:
    """The process that waits."""

    def __init__(self, child: int, output: int, results: int, ends: float, seconds: float) -> None:
        self._child = child
        self._output = output
        self._results = results
        self._ends = ends + GRACE
        self._seconds = seconds
        self._text = bytearray()

    def run(self, held: set[int | signal.Signals]) -> None:
        """Wait, print and exit; does not return."""
        try:
            code = self._run(held)
        except BaseException as error:  # noqa: BLE001 - whatever happens, the work must not begin a second time
            self._kill()
            code = _end_with(f"this is a bug in ringcheck: {type(error).__name__}: {error}")
        os._exit(code)  # without the interpreter's own end, which takes long on a starved machine

    def _run(self, held: set[int | signal.Signals]) -> int:
        try:
            for number in _ENDING:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, _raise)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            status = self._wait()
            _reset_signals(signal.SIG_DFL)
        except _SignalledError as stopped:
            self._kill()
            self._reap(REAPING)
            return _stopped(stopped.number)
        if status is None:
            self._kill()
        code = self._code(status)
        if status is None:
            self._reap(REAPING)
        return code

    def _wait(self) -> int | None:
        """The child's wait status, when it has ended; None at the deadline."""
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while (wait := self._ends - time.monotonic()) > 0:
            if poll.poll(min(wait, LONGEST_WAIT) * 1000) and not self._read():
                return self._reap(self._ends - time.monotonic())
        return None

    def _read(self) -> bool:
        """Read a part of the child's output; False if the child has closed it."""
        part = os.read(self._output, 65536)
        self._text += part
        return bool(part)

    def _reap(self, seconds: float) -> int | None:
        """The child's wait status; None if it has not ended after so many seconds."""
        ends = time.monotonic() + seconds
        while True:
            ended, status = os.waitpid(self._child, os.WNOHANG)
            if ended:
                return status
            if time.monotonic() >= ends:
                return None
            time.sleep(0.001)

    def _kill(self) -> None:
        try:
            os.kill(self._child, signal.SIGKILL)
        except OSError:  # it has ended and was waited for
            return

    def _code(self, status: int | None) -> int:
        """Print the result; its exit code."""
        code = None if status is None else os.waitstatus_to_exitcode(status)
        if code is not None and code >= 0:
            return _written(bytes(self._text), code, self._ends)
        why = f"the check took longer than {self._seconds:g} s and was stopped"
        if code is not None:
            why = f"the check was ended by signal {-code} ({_name(-code)})"
        settled = self._settled()
        if settled is None:
            return _end_with(why)
        code = _written(bytes(self._text), settled, self._ends)
        _warn(f"{why} after its result was complete\n")
        return code

    def _settled(self) -> int | None:
        """The exit code that the child stated, if it did; all of its output is read then."""
        os.set_blocking(self._results, False)
        os.set_blocking(self._output, False)
        try:
            stated = os.read(self._results, 1)
        except BlockingIOError:  # not killed yet
            return None
        try:
            while stated and self._read():
                pass
        except BlockingIOError:  # likewise
            pass
        return stated[0] if stated else None


def _raise(number: int, _: object) -> None:
    _reset_signals(None)
    raise _SignalledError(number)


def _ignore(*_: object) -> None:
    """Do nothing. With SIG_IGN the interpreter would print an error about a second signal that has come already."""


def _reset_signals(action: signal.Handlers | None) -> None:
    """Leave the signals that end the parent to the system's action; None: to nothing."""
    for number in _ENDING:
        if signal.getsignal(number) is _raise:
            signal.signal(number, _ignore if action is None else action)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _stopped(number: int) -> int:
    """End as the process would have ended alone: by the signal, or at Ctrl-C with a line."""
    if number == signal.SIGINT:
        return _end_with("interrupted")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return UNKNOWN


def _end_with(why: str) -> int:
    return _written(f"UNKNOWN - {why}\n".encode("ascii", "backslashreplace"), UNKNOWN)


def _written(text: bytes, code: int, ends: float = 0.0) -> int:
    """Write to standard output; the exit code, or 3 if it can't be written.

    A pipe that is still full at `ends` has no reader. One that reads slowly, such as a pager, gets all the text.
    """
    if not _takes(1, max(REAPING, ends - time.monotonic())):
        _warn("UNKNOWN - stdout can't be written: nobody reads it\n")
        return UNKNOWN
    try:
        while text:
            text = text[os.write(1, text) :]
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # the reader is gone (`| head`) and expects no message
            _warn(f"UNKNOWN - stdout can't be written: {error.strerror}\n")
        return UNKNOWN
    return code


def _takes(descriptor: int, seconds: float) -> bool:
    """Whether text can be written to a descriptor, or an error is certain, within some seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(min(seconds, LONGEST_WAIT) * 1000))


def _warn(text: str) -> None:
    if not _takes(2, 0.0):
        return
    try:
        os.write(2, text.encode("ascii", "backslashreplace"))
    except OSError:
        return
