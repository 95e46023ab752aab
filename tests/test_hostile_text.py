"""The last line of defence: text from a node, a file or a user is safe to print on every output."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from ringcheck.agent import page
from ringcheck.agent.bugs import located_bug
from ringcheck.agent.log import Form, Log
from ringcheck.cli import run
from ringcheck.cli.failure import VERDICTS
from ringcheck.core import assess
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.ring import Problem, Snapshot
from ringcheck.documents.snapshot import snapshot_document
from ringcheck.errors import LINE_BYTES, DataError, one_line
from ringcheck.report import nagios, picture_svg, roll
from ringcheck.report.picture import draw
from ringcheck.report.reading import Reading
from ringcheck.restart.journal import Journal
from tests import article

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEXTS = {
    "surrogate": "a\udc80b",
    "title": "a\x1b]0;owned\x07b",
    "clear": "a\x1b[2J\x1b[Hb\x9b2J",
    "bidi": "a\u202eb\u2066c",
    "nul": "a\x00b",
    "lines": "a\r\nb\u2028c\x85d",
    "long": "a" * 100_000,
    "wide": "\N{HIRAGANA LETTER A}" * 50_000,
}
hostile = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


def safe(output: str, most: int = LINE_BYTES) -> None:
    """Assert that each line can be printed and encoded, and has a bounded length."""
    for line in output.splitlines():
        assert line.isprintable()
        assert len(line.encode()) <= most
    assert output.count("\n") == len(output.splitlines())


def snapshot(text: str) -> Snapshot:
    """The article's cluster, with this text in its name and in a problem."""
    return replace(article.snapshot(cluster=text), problems=(Problem("unreadable", text, text),))


@hostile
def test_one_line_is_printable_bounded_and_encodable(text: str) -> None:
    """One function does this for all outputs; harmless text is unchanged."""
    safe(one_line(text) + "\n")
    safe(one_line(text, 100) + "\n", 100)
    assert one_line(" two  w\u00f6rds\n") == "two w\u00f6rds"


@pytest.mark.slow
@hostile
@pytest.mark.parametrize(
    "error", [DataError, ZeroDivisionError, OSError, UnicodeError], ids=lambda error: str(error.__name__)
)
@pytest.mark.parametrize("command", ["check", "health"])
def test_an_error_in_one_line(
    command: str,
    error: Callable[[str], Exception],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Expected errors and bugs become one line, with exit code 3."""

    def fail(*_: object) -> None:
        raise error(text)

    monkeypatch.setattr(assess, "assess", fail)
    assert run([command, "--from", str(ROOT / "tests/snapshots/article-healthy.json")]) == 3
    out, err = capsys.readouterr()
    line, other = (out, err) if command in VERDICTS else (err, out)
    safe(line)
    assert (line.count("\n"), other, line[:10]) == (1, "", "UNKNOWN - ")


@pytest.mark.slow
@hostile
@pytest.mark.parametrize("command", ["check", "health", "ring", "snapshot", "watch"])
def test_an_argument_that_is_wrong(command: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message repeats the argument safely."""
    count = ["--count", "1"] if command == "watch" else []
    for words in ([f"--from={text}x", *count], [f"--{text}"]):
        assert run([command, *words]) == 3
        out, err = capsys.readouterr()
        safe(out + err)
        assert bool(out) is (command in VERDICTS)


@pytest.mark.parametrize("name", ["a\u202eb.yaml", "a\x1b[2Jb.yaml", "a\udcffb.yaml"])
def test_a_file_with_such_a_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that succeed name their files safely too."""
    config, output = tmp_path / name, tmp_path / f"{name}.json"
    config.write_text("clusters: {a: {jolokia: {contact_points: [127.0.0.1]}}}\n")
    assert run(["config", "check", str(config)]) == 0
    assert run(["snapshot", "--from", str(ROOT / "tests/snapshots/article-healthy.json"), "-o", str(output)]) == 0
    safe(capsys.readouterr().out)
    assert run(["config", "check", name * 10_000]) == 3
    safe(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("argument", [b"a\xff\x1b]0;x\x07", "\N{HIRAGANA LETTER A}".encode()])
def test_a_terminal_of_any_encoding(encoding: str, argument: bytes) -> None:
    """This process has arguments that are not UTF-8, and a terminal with few characters."""
    for command in ("check", "health"):
        done = subprocess.run(
            [sys.executable.encode(), b"-m", b"ringcheck", command.encode(), b"--from", argument],
            env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False, cwd=ROOT,
        )  # fmt: skip
        line, other = (done.stdout, done.stderr) if command in VERDICTS else (done.stderr, done.stdout)
        assert (done.returncode, other) == (3, b"")
        safe(line.decode("utf-8" if encoding == "ascii" else encoding))  # click takes ASCII for UTF-8


@pytest.mark.slow
@hostile
@pytest.mark.parametrize("words", [["check"], ["check", "-vv"], ["health"], ["watch", "--plain", "--count", "1"]])
def test_a_verdict_on_stdout(words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names and problems come from a snapshot; `health` shows a long name in full."""
    path = tmp_path / "s.json"
    path.write_text(json.dumps(snapshot_document(snapshot(text))))
    run([words[0], "--from", str(path), *words[1:]])
    out, err = capsys.readouterr()
    assert out
    assert err == ""
    safe(out, LINE_BYTES if words[0] == "check" else 10**6)


@hostile
def test_a_line_of_a_plugin(text: str) -> None:
    """The line is safe with and without perfdata."""
    for line in (nagios.line(Severity.UNKNOWN, text), nagios.line(Severity.OK, text, ["a=1"]), nagios.plain(text)):
        safe(f"{line}\n")


@hostile
@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_a_line_of_the_log(form: Form, text: str) -> None:
    """Each value is bounded and the line is ASCII; a bug still has its location."""
    stream = io.StringIO()
    try:
        raise ZeroDivisionError(text)  # noqa: TRY301 - the location is this line
    except ZeroDivisionError as error:
        Log(form, stream)("bug", "error", error=text, bug=located_bug(error))
    safe(stream.getvalue(), 2 * LINE_BYTES + 200)
    assert stream.getvalue().isascii()
    assert "(test_hostile_text.py:" in stream.getvalue()


@pytest.mark.slow
@hostile
def test_a_page(text: str) -> None:
    """This includes cluster, problem and error of a reading, and the page for an error."""
    reading = Reading(cluster="blogs", verdict=assess.assess(snapshot(text), Policy()), error=text, fresh=True)
    pages = page.cluster(reading, page.Shown(), NOW), page.overview([reading], NOW), page.problem(404, text, NOW)
    for shown in pages:
        shown.encode()
        assert re.sub(r"\n", "", shown).isprintable()
        assert len(shown) < 100_000


@pytest.mark.slow
@hostile
def test_a_picture(text: str) -> None:
    """It is well-formed, which a NUL or a surrogate would prevent."""
    picture = draw(assess.assess(snapshot(text), Policy()), "blog_1")
    assert picture
    drawing = picture_svg.drawing(picture)
    ET.fromstring(drawing.svg.encode())  # noqa: S314 - our own output
    assert drawing.svg.replace("\n", "").isprintable()
    safe(f"{drawing.title}\n{drawing.description}\n")
    assert len(drawing.svg) < 300_000


@hostile
def test_a_report_of_a_roll(text: str) -> None:
    """Each event and the end of the run are safe; they contain errors of nodes, commands and stores."""
    time = "2026-01-01T00:00:00Z"
    nodes, words = [text] * 3, ["ssh", text]
    shown = [
        roll.line({"time": time, "event": kind, "node": text, "nodes": nodes, "why": text, "what": text, "seconds": 1,
                   "candidates": nodes, "decision": "safe", "batches": [nodes], "next": nodes, "store": text,
                   "words": words, "problem": "", "status": 1, "output": text, "errors": {text: 1}})
        for kind in roll._WORDS
    ]  # fmt: skip
    assert None not in shown
    report = roll.Report(outcome="failed", why=text, failed={text: text}, in_hand=nodes, left=nodes)
    final = roll.final(text, report, text)
    for output in (*filter(None, shown), final):
        safe(f"{output}\n")
    assert len(final.splitlines()) == 7


@hostile
def test_a_line_of_the_journal(text: str, tmp_path: Path) -> None:
    """The journal keeps the complete text, as ASCII: it is data, and is read again."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.write("begin", run="r", owner=text, cluster=text, nodes=[text])
    journal.close()
    assert path.read_bytes().isascii()
    assert path.read_text().count("\n") == 1
    again = Journal(path)
    assert (again.past.owner, again.past.nodes) == (text, (text,))
    again.close()
