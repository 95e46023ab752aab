"""The operator's commands: how an address gets into one, how it is run, and what is kept of it.

No shell is involved. A command is split into words first and the node is filled in afterwards, so that nothing that a
node says of itself can become more than a part of one word.
"""

from __future__ import annotations

import os
import re
import shlex
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

KEPT = 8192  # bytes of a command's output, the last ones
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_FIELD = re.compile(r"\{([a-z_]+)\}")
_FIELDS = ("address", "host_id", "datacenter", "rack")


@dataclass(frozen=True, slots=True)
class Command:
    """A command with places for what differs from node to node."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        """A command from one line, quoted as for a shell.

        Raises:
            UsageError: if it is empty, its quotes are not closed, or it does not say which node it is about.
        """
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise UsageError(f"the command {text!r} can't be split: {error}") from None
        if not words:
            raise UsageError("the command is empty")
        named = {name for word in words for name in _FIELD.findall(word)}
        for name in sorted(named - set(_FIELDS)):
            near = get_close_matches(name, _FIELDS, 1)
            hint = f"did you mean {{{near[0]}}}?" if near else f"known: {', '.join(f'{{{one}}}' for one in _FIELDS)}"
            raise UsageError(f"the command {text!r} has {{{name}}}, which is nothing of a node ({hint})")
        if not named & {"address", "host_id"}:
            raise UsageError(f"the command {text!r} does not say which node: it needs {{address}} or {{host_id}}")
        return cls(words)

    def of(self, node: Node) -> tuple[str, ...]:
        """The words for one node.

        Raises:
            UsageError: if the node does not have what is asked for.
        """
        values = {name: getattr(node, name) for name in _FIELDS}
        return tuple(_filled(word, values, node.address) for word in self.words)


def _filled(word: str, values: Mapping[str, str | None], address: str) -> str:
    def value(found: re.Match[str]) -> str:
        text = values[found[1]]
        if not text:
            raise UsageError(f"the {found[1]} of {address} is not known")
        return text

    return _FIELD.sub(value, word)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    Attributes:
        status: exit status, negative for a signal, None where it was ended by the deadline or could not be started.
        output: the end of stdout and stderr, mixed as they came.
        problem: why there is no status.
    """

    status: int | None
    output: str
    problem: str = ""


def run(words: tuple[str, ...], seconds: float, started: Callable[[int], None] = lambda _: None) -> Ended:
    """Run a command to its end.

    It gets a session of its own: an interrupt at the terminal is for ringcheck, and half a restart is worse than one.

    Args:
        words: program and arguments.
        seconds: after which its process group is ended.
        started: told its process id.
    """
    with tempfile.TemporaryFile() as output:  # a pipe would end the command together with a ringcheck that is killed
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, and no shell
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            return Ended(None, "", f"{words[0]} can't be run: {error.strerror or error}")
        started(process.pid)
        try:
            status: int | None = process.wait(seconds)
            problem = ""
        except subprocess.TimeoutExpired:
            _end(process)
            status, problem = None, f"it took longer than {seconds:g} s"
        return Ended(status, _tail(output), problem)


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
    """When a process was started, in clock ticks since boot; None if there is none (proc_pid_stat(5), field 22).

    With the process id it names one process, though ids are used again.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a line of /proc
            return int(file.read().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
