"""Runs a command in this process against recorded nodes or a snapshot file that were changed, and judges its result."""

from __future__ import annotations

import io
import json
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest.mock import patch
from urllib.parse import urlsplit

from ringcheck.cli import run
from ringcheck.errors import SourceError
from ringcheck.http.loop import BufferedAnswer
from tests.fake_jolokia import _answered, replay
from tests.fuzz.bending import TEXTS, bomb, mutated, renamed, swapped, written
from tests.recordings import recordings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.fake_jolokia import Answer

FIRST = "127.0.1.1"
STATES = ("healthy", "killed", "drained", "gossip-off", "joining", "leaving", "mixed-n4-4.1.9", "binary-off")
COMMANDS = (
    ("check",),
    ("check", "-vv"),
    ("check", "-c", "LOCAL_QUORUM", "-w", "LOCAL_ALL"),
    ("health",),
    ("health", "--ranges", "--format", "json"),
    ("plan",),
    ("risk",),
    ("preflight", FIRST),
)
SNAPSHOTS = Path(__file__).parent.parent / "snapshots"
# Names of the recorded cluster: its own, of datacenters, racks, keyspaces, strategies and so on.
NAMES = (
    "lab",
    "dc1",
    "r1",
    "blog_1",
    "blog_3",
    "orders",
    "Murmur3Partitioner",
    "NORMAL",
    "SimpleStrategy",
    "system_auth",
)
_SURROGATE = re.compile("[\ud800-\udfff]")
LONGEST = 256 * 1024  # bytes of an output: `health --ranges` lists every range
LONGEST_DOCUMENT = 2 * 1024 * 1024  # a document repeats a changed name as it is: 24 kB for each occurrence
LINE = 1001  # bytes of a plugin's line, with its end
SLOW = 5.0  # seconds of CPU for a case

Bend: TypeAlias = "Callable[[str, int, Any], bytes]"
"""Makes the body from the address of the node, the number of the request to it, and the reply."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    code: int
    output: bytes
    errors: str
    seconds: float


Case: TypeAlias = "tuple[Result, tuple[str, ...], Callable[[], int], str]"
"""The result, the command, its exit code without any bending, and what was bent."""


@dataclass(slots=True)
class Report:
    """How many cases were run, their exit codes, and what was wrong with which case."""

    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    slowest: float = 0.0
    cpu: float = 0.0
    failures: list[str] = field(default_factory=list)


def plain(address: str, number: int, reply: Any) -> bytes:
    """The reply as it was recorded."""
    del address, number
    return json.dumps(reply).encode()


class Nodes:
    """Replaces the connections of the client by recorded nodes, whose replies a function writes."""

    def __init__(self, answers: dict[str, Answer | None], bend: Bend, names: dict[str, str]) -> None:
        self._answers = answers
        self._known = {_SURROGATE.sub("\ufffd", bent): name for name, bent in names.items()}
        self._bend = bend
        self._asked: Counter[str] = Counter()

    @contextmanager
    def request(self, method: str, url: str, seconds: float, headers: Any, body: bytes) -> Iterator[BufferedAnswer]:
        del method, seconds, headers
        address = urlsplit(url).hostname or ""
        answer = self._answers.get(address)
        if answer is None:
            raise SourceError(f"{url}: connection refused", "unreachable")
        self._asked[address] += 1
        sent = self._bend(address, self._asked[address], _answered(answer, renamed(json.loads(body), self._known)))
        yield BufferedAnswer(200, [(b"content-type", b"application/json")], sent)

    def forget(self, urls: Any) -> None:
        """Do nothing: no connection is kept."""

    def close(self) -> None:
        """Do nothing: no connection is open."""


class Inline:
    """Replaces the worker threads: requests are made in the same order, so the case is the same in every run."""

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Do the work at once."""
        future: Future[Any] = Future()
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised to whoever asks for the result
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Do nothing: there is no thread."""


@cache
def clusters() -> tuple[dict[str, Answer | None], ...]:
    """The recorded states: answers by address, None for a node that does not answer."""
    states: dict[tuple[str, str], dict[str, Answer | None]] = defaultdict(dict)
    for recording in recordings():
        if recording.state in STATES:
            failed = "failed" in recording.load()[0]
            states[recording.line, recording.state][recording.address] = None if failed else replay(recording)
    return tuple(state for _, state in sorted(states.items()) if state.get(FIRST))


def ran(arguments: tuple[str, ...]) -> Result:
    """The result of a command; its outputs are encoded as UTF-8, so that text which can't be encoded is an error."""
    raw, errors = io.BytesIO(), io.StringIO()
    stdout = io.TextIOWrapper(raw, encoding="utf-8", errors="strict", write_through=True)
    crashed: list[str] = []
    started = time.process_time()
    with (
        patch.object(sys, "stdout", stdout),
        patch.object(sys, "stderr", errors),
        patch.object(threading, "excepthook", lambda args: crashed.append(repr(args.exc_value))),
    ):
        code = run(list(arguments))
        stdout.flush()
    return Result(code, raw.getvalue(), errors.getvalue() + "".join(crashed), time.process_time() - started)


def asked(
    arguments: tuple[str, ...],
    answers: dict[str, Answer | None],
    bend: Bend,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """The result of a command on nodes whose replies are changed, and which know some names by others."""
    with (
        patch("ringcheck.jolokia.client.Connections", lambda *_: Nodes(answers, bend, dict(names))),
        patch("ringcheck.jolokia.source.WorkerThreads", Inline),
    ):
        return ran((*arguments, "-u", f"http://{FIRST}:8778/jolokia"))


@cache
def sound(index: int, command: tuple[str, ...]) -> int:
    """The exit code of a command on an unchanged recorded state."""
    return asked(command, clusters()[index], plain).code


def wrong(result: Result, command: tuple[str, ...], expected: Callable[[], int]) -> list[str]:
    """What is wrong with a result; `expected` is the exit code without any changes."""
    sound_code = expected() if result.code == 0 else None
    # Commands except `check` report an error in one line on stderr; with --format json stdout has a document too.
    is_error = command[0] != "check" and result.code == 3 and result.errors.startswith("UNKNOWN - ")
    text = result.output.decode("utf-8", "replace") + (result.errors if is_error else "")
    checks = {
        "a bug": "bug in ringcheck" in text or "Traceback" in text,
        "something on stderr": bool(result.errors) and not is_error,
        "an error of several lines": is_error and result.errors.count("\n") != 1,
        "an error in the output": is_error and bool(result.output) and "json" not in command,
        f"exit code {result.code}": result.code not in {0, 1, 2, 3},
        f"exit 0 instead of {sound_code}": sound_code not in {None, 0},
        "a character that can't be printed": not all(char.isprintable() or char == "\n" for char in text),
        f"{len(result.output)} bytes": len(result.output) > (LONGEST_DOCUMENT if "json" in command else LONGEST),
        "a line that is too long": command == ("check",) and len(result.output) > LINE,
        "no output": not text.strip(),
        f"{result.seconds:.1f} s of CPU": result.seconds > SLOW,
    }
    return [name for name, is_so in checks.items() if is_so]


def of_nodes(random: Random) -> Case:
    """A case with changed replies, of one node or of all."""
    index = random.randrange(len(clusters()))
    answers, command = clusters()[index], random.choice(COMMANDS)
    bad = random.choice([address for address, answer in answers.items() if answer])
    everyone = random.random() < 0.3
    share = random.choice((0.15, 0.5, 1.0))
    kind = random.choice(("swap", "swap", "swap", "bytes", "bytes", "bomb", "names", "names"))
    texts = [text for text in TEXTS if text] if kind == "names" else []
    names = {name: name + random.choice(texts) for name in random.sample(NAMES, 2)} if texts else {}
    salt = random.random()

    def bend(address: str, number: int, reply: Any) -> bytes:
        if names and (address == bad or everyone):
            return written(renamed(reply, names))
        own = Random(f"{salt} {address} {number}")  # noqa: S311 - no secret; the same in whatever order nodes are asked
        if (address != bad and not everyone) or own.random() > share:
            return written(reply)
        if kind == "swap":
            return written(swapped(reply, own))
        return mutated(written(reply), own) if kind == "bytes" else bomb(own)

    what = f"{' '.join(command)} on state {index}, {kind} of {'all' if everyone else bad}"
    return asked(command, answers, bend, names), command, lambda: sound(index, command), what


@cache
def documents() -> tuple[tuple[Any, ...], ...]:
    """Snapshots of the article and of recorded states."""
    recorded = [asked(("snapshot",), answers, plain).output for answers in clusters()[::5]]
    return tuple(
        json.loads(text) for text in [*(path.read_bytes() for path in sorted(SNAPSHOTS.glob("*.json"))), *recorded]
    )


def of_snapshots(random: Random, folder: Path) -> Case:
    """A case of a changed snapshot file. The command takes the file as the truth, so no exit code is expected."""
    document, command = random.choice(documents()), random.choice(COMMANDS)
    kind = random.choice(("swap", "swap", "bytes", "bomb"))
    body = {
        "swap": lambda: written(swapped(document, random)),
        "bytes": lambda: mutated(written(document), random),
        "bomb": lambda: bomb(random),
    }[kind]()
    path = folder / "bent.json"
    path.write_bytes(body)
    return ran((*command, "--from", str(path))), command, lambda: 0, f"{' '.join(command)} --from, {kind}"


def case(seed: int, number: int, folder: Path, report: Report) -> None:
    """Run one case and add it to a report."""
    random = Random(f"{seed} {number}")  # noqa: S311 - no secret
    snapshot = random.random() < 0.25
    result, command, expected, what = of_snapshots(random, folder) if snapshot else of_nodes(random)
    report.cases += 1
    report.codes[result.code] += 1
    report.cpu += result.seconds
    report.slowest = max(report.slowest, result.seconds)
    for problem in wrong(result, command, expected):
        said = result.output[:300].decode("utf-8", "backslashreplace")
        report.failures.append(f"case {number}: {problem}: {what}: {said!r} {result.errors[-300:]!r}")


def fuzzed(seed: int, seconds: float, folder: Path, first: int = 0, most: int | None = None) -> Report:
    """The report on as many cases as can be run in some seconds."""
    report = Report()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and (most is None or report.cases < most):
        case(seed, first + report.cases, folder, report)
    return report
