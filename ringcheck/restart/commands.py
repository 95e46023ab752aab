"""The operator's commands: how a node's values are filled in, how a command is run, and what output is kept.

No shell is involved. A command is first split into arguments, and then the node's values are filled in. So a value that
a node reports about itself can never become more than a part of one argument.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO

    from ringcheck.core.ring import Node

KEPT = 8192  # the last bytes of a command's output
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_FIELD = re.compile(r"\{([a-z_]+)\}")
_FIELDS = ("address", "host_id", "datacenter", "rack")


@dataclass(frozen=True, slots=True)
class Command:
    """A command with fields that are filled in for each node: `{address}`, `{rack}` and so on."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """A command from one line, quoted as for a shell.

        Raises:
            UsageError: as `split`; or if a field is unknown, or no field names the node.
        """
        words = split(text)
        fields = {name for word in words for name in _FIELD.findall(word)}
        if unknown := sorted(fields - set(_FIELDS)):
            raise UsageError(f"the command {text!r} has the unknown field {{{unknown[0]}}} ({_hint(unknown[0])})")
        if not fields & {"address", "host_id"}:
            raise UsageError(f"the command {text!r} does not say which node: it needs {{address}} or {{host_id}}")
        return cls(words)

    def of(self, node: Node) -> tuple[str, ...]:
        """The arguments for one node.

        Raises:
            UsageError: if a field is not known for this node, or its value can't be part of a command.
        """
        values = {name: getattr(node, name) for name in _FIELDS}
        return tuple(_filled(word, values, node.address) for word in self.words)


def split(text: str) -> tuple[str, ...]:
    """The arguments of a command that is quoted as for a shell.

    Raises:
        UsageError: if it is empty, or a quote is not closed.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise UsageError(f"the command {text!r} can't be split: a quote is not closed, or it ends in \\") from None
    if not words:
        raise UsageError("the command is empty")
    return words


def _hint(field: str) -> str:
    near = get_close_matches(field, _FIELDS, 1)
    return f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(f'{{{name}}}' for name in _FIELDS)}"


def _filled(word: str, values: Mapping[str, str | None], address: str) -> str:
    def value(field: re.Match[str]) -> str:
        text = values[field[1]]
        if not text:
            raise UsageError(f"the {field[1]} of {address} is not known")
        if not _can_be_passed(text):
            raise UsageError(f"the {field[1]} of {address} can't be part of a command: it is {text!a}")
        return text

    filled = _FIELD.sub(value, word)
    if filled.startswith("-") and not word.startswith("-"):
        raise UsageError(f"the word {word!r} of the command would be the option {filled!r} for {address}")
    return filled


def _can_be_passed(text: str) -> bool:
    """Whether a node's value can be in an argument: no NUL, line break or escape, and encodable for the system."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return text.isprintable()


def require_program(words: tuple[str, ...]) -> None:
    """Check that the program of a command exists.

    Raises:
        UsageError: if there is none, or this user may not execute it.
    """
    if shutil.which(words[0]) is None:
        raise UsageError(f"{words[0]} can't be run: there is no such program, or it is not executable")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended.

    Attributes:
        status: exit status, negative for a signal; None if the command ran out of time or could not be started.
        output: the last 8 KiB of stdout and stderr, in the order in which they were written.
        problem: why there is no status; empty if there is one.
    """

    status: int | None
    output: str
    problem: str = ""


# Becomes the command once a line arrives. If the pipe is closed without one, because ringcheck was killed or can't
# write its journal, nothing is run. The operator's command is passed as arguments: the shell does not parse it.
_AWAIT_LINE = 'read -r line || exit 125; exec "$@" </dev/null'


def run(words: tuple[str, ...], seconds: float, started: Callable[[int], None] = lambda _: None) -> CommandResult:
    """Run a command to its end.

    The command gets its own session, so that Ctrl-C reaches only ringcheck: an interrupted restart is worse than a
    complete one. Its output goes to a file and not to a pipe, so that it continues if ringcheck is killed.

    Args:
        words: the program and its arguments.
        seconds: time limit, after which the command's process group is ended.
        started: called with the process id before the command does anything. If it raises, the command is not run.
    """
    try:
        require_program(words)
        output = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    except UsageError as error:
        return CommandResult(None, "", str(error))
    except OSError as error:
        return CommandResult(None, "", _unable(words, error))
    with output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command
                ("/bin/sh", "-c", _AWAIT_LINE, "sh", *words),
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return CommandResult(None, "", _unable(words, error))
        _let_go(process, started)
        try:
            return CommandResult(process.wait(seconds), _tail(output))
        except subprocess.TimeoutExpired:
            _end(process)
            return CommandResult(None, _tail(output), f"it took longer than {seconds:g} s")


def _unable(words: tuple[str, ...], error: OSError) -> str:
    return f"{words[0]} can't be run: {error.strerror or error}"


def _let_go(process: subprocess.Popen[bytes], started: Callable[[int], None]) -> None:
    """Let a waiting command begin, after it was announced."""
    assert process.stdin is not None  # noqa: S101 - a pipe
    try:
        started(process.pid)
        process.stdin.write(b"\n")
    except BaseException:
        with suppress(OSError):
            process.stdin.close()
        process.wait()
        raise
    with suppress(BrokenPipeError):  # it was killed by somebody else; its status shows that
        process.stdin.close()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - KEPT))
    return output.read().decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return


def birth(pid: int) -> int | None:
    """The start time of a process in clock ticks since boot (proc_pid_stat(5), field 22); None if it does not exist.

    Process ids are reused; together with the start time, an id identifies one process.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a line of /proc
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
