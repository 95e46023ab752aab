"""Exit codes and the single line: what the caller of a command gets if something goes wrong."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ringcheck import __version__
from ringcheck.cli import ringcheck, run
from ringcheck.cli.failure import VERDICTS
from ringcheck.core import assess
from ringcheck.documents.snapshot import snapshot_document
from tests import article

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
BAD_DURATION = (
    "usage: Invalid value for '-t' / '--timeout': '-1' is not a duration such as 9s, 500ms, 2m or 1h "
    "(see ringcheck health --help)"
)
RULED = "levels: those of `monitor` of cluster blogs in the configuration"
DEFAULTS = "critical if LOCAL_ONE is lost, warning if LOCAL_QUORUM is lost"
PLUGIN = ROOT / "plugins" / "check_cassandra_ring"


def recorded(folder: Path, down: Sequence[str] = ()) -> str:
    path = folder / "snapshot.json"
    path.write_text(json.dumps(snapshot_document(article.snapshot(down))))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("down", "code", "word"),
    [((), 0, "OK"), (("10.0.0.1",), 2, "CRITICAL"), (article.ADDRESSES, 3, "UNKNOWN")],
)
@pytest.mark.parametrize("command", ["check", "health"])
def test_the_exit_code_is_the_severity(
    command: str, down: Sequence[str], code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The codes are those of Nagios, and the line begins with the severity."""
    assert run([command, "--from", recorded(tmp_path, down)]) == code
    assert capsys.readouterr().out.startswith(f"{word} ")


def test_the_exit_code_of_a_warning_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At LOCAL_ALL a single node down is a warning, as in the article."""
    arguments = ["check", "--from", recorded(tmp_path, ["10.0.0.1"]), "-w", "LOCAL_ALL", "-c", "LOCAL_QUORUM"]
    assert run([*arguments, "-k", "blog_3"]) == 1
    assert capsys.readouterr().out.startswith(
        "WARNING - blogs: 768 of 768 ranges (100.0 % of the tokens) of blog_3 unavailable at LOCAL_ALL in dc1 "
        "(1 node down: 10.0.0.1) |"
    )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--nonsense"],
            (
                "usage: ringcheck has no option '--nonsense': write options after the command, as in "
                "`ringcheck check --nonsense ...`"
            ),
        ),
        (["check"], "no cluster is named; next: use -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE"),
        (
            ["check", "--cluster", "a"],
            (
                "there is no configuration /nowhere/ringcheck.yaml; next: name another file with -C, or write one with "
                "`ringcheck init`"
            ),
        ),
        (
            ["check", "-H", "a", "--from", "b"],
            "name the cluster in one way only: -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE",
        ),
        (["health", "--from", "f", "-t", "-1"], BAD_DURATION),
        (["check", "--from", "/nowhere/f.json"], "/nowhere/f.json can't be read: No such file or directory"),
        (
            ["health", "--from", "/"],
            "/ is a directory of recordings, which only `watch` replays: name one of its files",
        ),
        (["snapshot", "--from", "/nowhere/f.json"], "/nowhere/f.json can't be read: No such file or directory"),
    ],
)
def test_usage_errors_are_unknown(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, on stdout if the command gives a verdict, and exit code 3; click's own 2 would mean CRITICAL."""
    monkeypatch.setattr("ringcheck.cli.target.DEFAULT_CONFIG", Path("/nowhere/ringcheck.yaml"))
    assert run(arguments) == 3
    out, err = capsys.readouterr()
    expected = f"UNKNOWN - {line}\n"
    assert (out, err) == ((expected, "") if VERDICTS.intersection(arguments) else ("", expected))


@pytest.mark.parametrize(
    "words",
    [
        ["-H", "u:s3cret@127.0.0.1"], ["-H", "u:s3cret@127.0.0.1:1"], ["-H", "u:s3:cret@[::1]:x"],
        ["-H", "u:s3/cret@h"], ["-H", "u:s3cret%40h"], ["-H", "u:s3cret\uff20h"], ["-H", "http://u:s3cret\uff20h/"],
        ["-H", "service:jmx:rmi:///jndi/rmi://u:s3cret@h/jmxrmi"],
        ["-u", "http://u:s3cret@127.0.0.1:1/j"], ["-u", "http://u:s3cret@[x/j"], ["-u", "http://u:s3cret@h:999999/"],
        ["-u", "ftp://u:s3cret@h/"], ["-u", "u:s3cret@h/"], ["-u", "http://u:s3/cret@127.0.0.1:1"],
        ["-u", "http://u:s3?cret@127.0.0.1:1"], ["-u", "http://u:s3#cret@h"], ["-u", "http://u:s3cret@h/{address}"],
        ["-H", "a", "-u", "http://u:s3/cret@{address}"],
        ["--agent", "http://u:s3cret@h", "--cluster", "a"], ["--agent", "http://u:s3cret@[h", "--cluster", "a"],
        ["--sensu", "--team", "t", "--runbook", "r", "-H", "a", "--sensu-url", "ftp://u:s3cret@h"],
    ],
)  # fmt: skip
def test_no_message_repeats_a_password(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """This holds for a usable URL and for text that is no URL; and a wrong URL is not reported as a bug."""
    assert run(["check", "-t", "500ms", *words]) == 3
    out, err = capsys.readouterr()
    assert err == ""
    assert not {"s3", "cret", "bug"} & set(re.split(r"[^a-z0-9]", out) + re.findall("s3|cret", out))


@pytest.mark.parametrize("arguments", [["chekc"], ["check", "-w"], ["check", "extra"], ["health", "--format", "xml"]])
def test_errors_of_click_are_unknown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Click's message is put on one line, with exit code 3."""
    assert run(arguments) == 3
    out, err = capsys.readouterr()
    line, other = (out, err) if VERDICTS.intersection(arguments) else (err, out)
    assert line.startswith("UNKNOWN - usage: ")
    assert (line.count("\n"), other) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-w", "QUORM"], "there is no consistency level 'QUORM' (did you mean QUORUM?)"),
        (["-c", "local_one"], "there is no consistency level 'local_one' (did you mean LOCAL_ONE?)"),
        (["--dc", "dc9"], "datacenter dc9 has no nodes (did you mean dc1?)"),
        (["-k", "blog_l"], "blogs: no keyspace matches blog_l (known: blog_1, blog_3) | keyspaces=0"),
        (["-k", "nothing*"], "blogs: no keyspace matches nothing* (known: blog_1, blog_3) | keyspaces=0"),
    ],
)
def test_questions_that_do_not_fit_are_unknown(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a level, datacenter or keyspace does not exist the result is never OK."""
    assert run(["check", "--from", recorded(tmp_path), *arguments]) == 3
    assert capsys.readouterr().out.startswith(f"UNKNOWN - {line}")


@pytest.mark.slow
@pytest.mark.parametrize(("option", "code", "word"), [("unknown", 3, "UNKNOWN"), ("critical", 2, "CRITICAL")])
def test_unreachable_states_the_result_without_an_answer(
    option: str, code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """UNKNOWN by default, CRITICAL on request; the line has the configured name of the cluster."""
    file = tmp_path / "r.yaml"
    file.write_text("clusters: {orders: {jolokia: {contact_points: ['127.0.0.1:1']}}}\n")
    assert run(["check", "-C", str(file), "--unreachable", option]) == code
    out = capsys.readouterr().out
    assert out == (
        f"{word} - orders: no node answered: http://127.0.0.1:1/jolokia: connection refused; "
        "next: start Jolokia there, or correct the port; "
        "`ringcheck doctor` with the same cluster options shows why (docs/getting-started.md)\n"
    )


def test_check_prints_its_verdict_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict is a document for programs, with the same exit code."""
    assert run(["check", "--from", recorded(tmp_path, ["10.0.0.1"]), "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["severity"] == "CRITICAL"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            [],
            "levels assumed: critical if LOCAL_ONE is lost, warning if LOCAL_QUORUM is lost, in each keyspace ",
        ),
        (["-c", "QUORUM"], "levels assumed: critical if QUORUM is lost, warning if LOCAL_QUORUM is lost"),
        (["-c", "ONE", "-w", "ALL"], "levels: critical if ONE is lost, warning if ALL is lost, in each keyspace "),
        (
            ["-c", "ALL"],
            "levels assumed: critical if ALL is lost, warning if LOCAL_QUORUM is lost; the warning never comes first",
        ),
        (["-C", "{bare}"], "levels assumed: critical if LOCAL_ONE is lost"),
        (["-C", "{ruled}"], f"{RULED}\n"),
        (["-C", "{typo}"], f"{RULED}; without a rule: blog_1, blog_3 ({DEFAULTS})\n"),
        (["-C", "{typo}", "-k", "blog_1"], f"{RULED}; without a rule: blog_1 ({DEFAULTS})\n"),
        (["-C", "{part}"], f"{RULED}; without a rule: blog_1 ({DEFAULTS})\n"),
    ],
)
def test_the_long_output_says_which_levels_were_assumed(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Newcomers learn that the loss of LOCAL_QUORUM is only a warning, and how to change that."""
    patterns = {"bare": None, "ruled": "'*'", "typo": "blogs", "part": "blog_3"}
    for name, pattern in patterns.items():
        rules = f", monitor: [{{keyspaces: {pattern}, critical: LOCAL_QUORUM}}]" if pattern else ""
        (tmp_path / name).write_text(f"clusters: {{blogs: {{jolokia: {{contact_points: [h]}}{rules}}}}}")
    words = [word.format(**{name: tmp_path / name for name in patterns}) for word in words]
    run(["check", "--from", recorded(tmp_path), "-v", *words])
    second = capsys.readouterr().out.splitlines(keepends=True)[1]
    assert second.startswith(line)
    assert ("`ringcheck init`" in second) is ("assumed" in line)


def test_an_unknown_observer_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the --view does not exist, the result is not an empty verdict."""
    assert run(["health", "--from", recorded(tmp_path), "--view", "10.9.9.9"]) == 3
    known = "10.0.0.1, 10.0.0.2, 10.0.0.3"
    assert capsys.readouterr().out == f"UNKNOWN - there is no view of 10.9.9.9 (known: {known})\n"


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "command"), [("stderr", "preflight"), ("stdout", "health")])
def test_at_a_terminal_an_error_is_broken_at_its_width(stream: str, command: str, tmp_path: Path) -> None:
    """A list of thirty reasons is longer than any terminal is wide; in a pipe the error stays one line."""
    long = ["--allow", "foo", "10.0.0.1"] if command == "preflight" else ["--level", "5"]
    line = [sys.executable, "-m", "ringcheck", command, "--from", recorded(tmp_path), *long]
    piped = subprocess.run(line, capture_output=True, text=True, check=False)
    whole = piped.stdout or piped.stderr
    assert (piped.returncode, whole.count("\n")) == (3, 1)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: theirs}
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with os.fdopen(ours, "rb", buffering=0) as screen, os.fdopen(theirs, "wb", buffering=0):
        assert subprocess.run(line, **streams, env=env, check=False).returncode == 3  # type: ignore[call-overload]
        rows = screen.read(65536).decode().splitlines()
    assert (len(rows) > 1, max(map(len, rows)) <= 70) == (True, True)
    assert " ".join(" ".join(rows).split()) == whole.strip()


def test_a_crash_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug prints one line, with exit code 3; Python's own would be a traceback and 1, which means WARNING."""

    def crash(*_: object) -> None:
        raise ZeroDivisionError("a | b\nc")

    monkeypatch.setattr(assess, "assess", crash)
    assert run(["check", "--from", recorded(tmp_path)]) == 3
    out, err = capsys.readouterr()
    assert (out, err) == (
        "UNKNOWN - this is a bug in ringcheck: ZeroDivisionError: a / b c (RINGCHECK_DEBUG=1 shows where)\n",
        "",
    )


def test_an_interrupt_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code of Ctrl-C is 3."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(assess, "assess", interrupt)
    assert run(["check", "--from", recorded(tmp_path)]) == 3
    assert capsys.readouterr().out == "UNKNOWN - interrupted\n"


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["check", "--help"], ["health", "-h"], ["snapshot", "-h"]])
def test_help_is_zero(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, since help is not an alarm."""
    assert run(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: ringcheck")


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["check", "-V"]])
def test_version_is_zero(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, since the version is not an alarm."""
    assert run(arguments) == 0
    assert capsys.readouterr().out.split()[-1] == __version__


@pytest.mark.parametrize(("words", "usage"), [([], "ringcheck "), (["lease"], "ringcheck lease ")])
def test_a_group_without_a_command_prints_its_help(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help fits a terminal; the exit code is 3, since nothing was checked."""
    assert run(words) == 3
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: {usage}[OPTIONS] COMMAND [ARGS]...\n\n")
    assert max(map(len, shown.splitlines())) <= 96


def options(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    """Every option of a command and of its subcommands, with the command names that lead to it."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield path, option
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner
            yield from options(inner, (*path, name))


def test_every_option_has_the_documented_variable() -> None:
    """If a variable were ignored, the gate would be laxer than its user believes."""
    every = [(path, option) for path, option in options(ringcheck, ("RINGCHECK",))]
    named = [(path, option) for path, option in every if option.name not in {"help", "version"}]
    assert len(named) > 150
    for path, option in named:
        name = max(option.opts, key=len).lstrip("-")
        own, shared = ("_".join(words).upper().replace("-", "_") for words in ((*path, name), ("RINGCHECK", name)))
        assert option.envvar in {own, shared}


def test_a_gate_takes_its_level_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is named after the option, not after the parameter."""
    words = ["preflight", "--from", recorded(tmp_path), "--accept", "blog_1", "10.0.0.1"]
    assert run(words) == 0
    monkeypatch.setenv("RINGCHECK_PREFLIGHT_LEVEL", "ALL")
    monkeypatch.setenv("RINGCHECK_PREFLIGHT_FORMAT", "json")
    capsys.readouterr()
    assert run(words) == 2
    assert json.loads(capsys.readouterr().out)["decision"] == "unsafe"


def test_options_come_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options of the cluster have their own names; other options also have the name of their command."""
    monkeypatch.setenv("RINGCHECK_FROM", recorded(tmp_path, ["10.0.0.1"]))
    monkeypatch.setenv("RINGCHECK_KEYSPACE", "blog_3")
    monkeypatch.setenv("RINGCHECK_CHECK_WARNING", "LOCAL_ALL")
    assert run(["check"]) == 1
    assert "blog_3 unavailable at LOCAL_ALL" in capsys.readouterr().out


def test_the_plugin_runs(tmp_path: Path) -> None:
    """Nagios starts the plugin by its own name."""
    environment = {"PATH": "/usr/bin:/bin", "RINGCHECK": str(Path(sys.executable).parent / "ringcheck")}
    done = subprocess.run(
        [PLUGIN, "--from", recorded(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK - blogs: ")


def test_the_plugin_without_ringcheck_is_unknown() -> None:
    """An incompletely installed plugin is never OK."""
    done = subprocess.run(
        [PLUGIN, "-V"],
        env={"PATH": "/usr/bin:/bin", "RINGCHECK": "no-such"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 3}
    assert done.returncode == 3 or __version__ in done.stdout


UNWRITABLE = {
    "closed": ("import os; os.close(1)", "it is closed"),
    "full": ("import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)", "No space left on device"),
    "read only": ("import os; os.dup2(os.open('/dev/null', os.O_RDONLY), 1)", "Bad file descriptor"),
}


def unwritable(stdout: str, *words: str) -> tuple[int, str]:
    """Exit code and stderr of a process whose stdout can't be written."""
    begin = f"{UNWRITABLE[stdout][0]}; os.execv({sys.executable!r}, {[sys.executable, '-m', 'ringcheck', *words]!r})"
    done = subprocess.run(
        [sys.executable, "-c", begin], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        cwd=ROOT, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stdout", UNWRITABLE)
@pytest.mark.parametrize("down", [[], ["10.0.0.1"]])
@pytest.mark.parametrize("command", [["check"], ["health"], ["preflight", "10.0.0.1"], ["check", "--nonsense"]])
def test_an_answer_that_can_not_be_written_is_unknown(
    stdout: str, down: list[str], command: list[str], tmp_path: Path
) -> None:
    """Exit code 3 and a line on stderr; Python itself would exit with 1, which would hide a CRITICAL, or with 120."""
    done = unwritable(stdout, *command, "--from", recorded(tmp_path, down))
    assert done == (3, f"UNKNOWN - stdout can't be written: {UNWRITABLE[stdout][1]}\n")


def test_without_a_writable_stderr_the_exit_code_is_still_unknown(tmp_path: Path) -> None:
    """In this case nothing can be printed."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ringcheck", "check", "--from", recorded(tmp_path)],
            stdout=full, stderr=full, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 3


@pytest.mark.slow
@pytest.mark.parametrize("words", [["health", "--from", "{}"], ["check", "--nonsense"], ["--help"]])
def test_a_reader_that_goes_away_causes_no_traceback(words: list[str], tmp_path: Path) -> None:
    """`ringcheck health | head -1` ends without a traceback, and so does a command with an error."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck", *(word.format(recorded(tmp_path)) for word in words)],
        stdout=write, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (3, "")


def test_a_snapshot_of_a_snapshot_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--from reads what -o wrote."""
    source, copy = recorded(tmp_path), tmp_path / "copy.json"
    assert run(["snapshot", "--from", source, "-o", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy}: 3 nodes, 3 views, 2 rings\n"
    assert json.loads(copy.read_text()) == json.loads(Path(source).read_text())


def test_a_snapshot_goes_into_a_pipe_and_through_a_link(tmp_path: Path) -> None:
    """A device, such as /dev/null, and a link are not replaced by a file."""
    source, pipe, link, copy = recorded(tmp_path), tmp_path / "pipe", tmp_path / "link", tmp_path / "copy.json"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        try:
            assert run(["snapshot", "--from", source, "-o", str(pipe)]) == 0
            assert pipe.is_fifo()
            assert json.loads(reader.communicate(timeout=10)[0]) == json.loads(Path(source).read_text())
        finally:
            reader.kill()
    link.symlink_to(copy)
    assert run(["snapshot", "--from", source, "-o", str(link)]) == 0
    assert link.is_symlink()
    assert json.loads(copy.read_text()) == json.loads(Path(source).read_text())


def test_a_snapshot_that_can_t_be_written_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with one line, and leaves no half-written file."""
    target = tmp_path / "none" / "copy.json"
    assert run(["snapshot", "--from", recorded(tmp_path), "-o", str(target)]) == 3
    assert capsys.readouterr().err == f"UNKNOWN - {target} can't be written: No such file or directory\n"


def test_shell_completion_is_no_error() -> None:
    """The script for the shell is printed with exit code 0."""
    shell = {**os.environ, "_RINGCHECK_COMPLETE": "bash_source"}
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck"], env=shell, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete" in done.stdout
