"""The deadline of `check`: one line and exit code 3 soon after -t, whatever the work does. All else is unaffected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from ringcheck import deadline
from ringcheck.cli import ringcheck
from tests.starved import EFFECTS, twentieth_of_a_core

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DOWN = "tests/snapshots/article-one-down.json"
STOPPED = "UNKNOWN - the check took longer than {} and was stopped\n"
LATE = 20.0  # seconds after which a check counts as endless; these tests run on loaded machines


class Checked:
    """Starts checks in which an import has an effect.

    Attributes:
        pid: file that names the process in which it happens.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "sitecustomize.py").write_text(EFFECTS)
        self.pid = folder / "pid"
        self.environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "EFFECT_PID": str(self.pid)}
        self.environment.pop("RINGCHECK_TIMEOUT", None)

    def start(
        self, *words: str, effect: str = "", at: str = "ringcheck.core.assess", **more: str
    ) -> subprocess.Popen[str]:
        """Start a check."""
        effects = {"EFFECT": effect, "EFFECT_IN": at} if effect else {}
        return subprocess.Popen(
            [sys.executable, "-m", "ringcheck", "check", *words], env={**self.environment, **effects, **more},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip

    def child(self) -> int:
        """The process in which the effect happened, or is happening."""
        ends = time.monotonic() + 60
        while not (self.pid.exists() and self.pid.read_text()):
            assert time.monotonic() < ends, "nothing happened"
            time.sleep(0.01)
        return int(self.pid.read_text())

    def gone(self) -> bool:
        """Whether that process ends within ten seconds."""
        child, ends = self.child(), time.monotonic() + 10
        while time.monotonic() < ends:
            state = Path(f"/proc/{child}/stat")
            with suppress(OSError):
                if state.read_text().rpartition(")")[2].split()[0] != "Z":
                    time.sleep(0.02)
                    continue
            return True
        return False


@pytest.fixture
def checked(tmp_path: Path) -> Iterator[Checked]:
    """Its processes have the default signal actions, some of which tests ignore under `nohup` or in the background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)}
    yield Checked(tmp_path)
    for number, action in before.items():
        signal.signal(number, action)


def outcome(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process."""
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["power", "expression", "sleep", "loop"])
@pytest.mark.parametrize("at", ["click", "ringcheck.core.assess"])
def test_work_that_does_not_end_is_stopped(effect: str, at: str, checked: Checked) -> None:
    """A call into C that holds the interpreter's lock can't be ended from within; afterwards the process is gone."""
    begun = time.monotonic()
    done = outcome(checked.start("--from", DOWN, "-t", "3s", effect=effect, at=at))
    assert done == (3, STOPPED.format("3 s"), "")
    assert time.monotonic() - begun < LATE
    assert checked.gone()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "variable", "text"),
    [
        (["-t1.5"], "", "1.5 s"), (["--timeout=1500ms"], "60", "1.5 s"), ([], "1.5s", "1.5 s"),
        (["-vt", "1.5"], "", "1.5 s"),
    ],
)  # fmt: skip
def test_the_time_comes_from_option_or_variable(words: list[str], variable: str, text: str, checked: Checked) -> None:
    """Every form that the command accepts is understood."""
    process = checked.start("--from", DOWN, *words, effect="power", RINGCHECK_TIMEOUT=variable)
    assert outcome(process) == (3, STOPPED.format(text), "")


@pytest.mark.parametrize(
    ("words", "variable", "seconds"),
    [
        ([], None, 9), ([], "", 9), ([], "2m", 120), (["-t", "4"], "2m", 4), (["-t4", "--timeout", "5"], None, 5),
        (["-k", "-t", "4"], None, 9), (["-k-t", "4"], None, 9), (["-vvt4"], None, 4), (["--", "-t", "4"], None, 9),
        (["--sensu", "-t", "500ms"], None, 0.5), (["--team", "-t", "-t", "3"], None, 3), (["-t"], None, 9),
        (["-t", "soon"], "3", 9), (["-t", "-1"], None, 9), (["--timeout="], None, 9), (["-"], None, 9),
        (["--help"], None, None), (["-vh"], None, None), (["-t4", "-V"], None, None), (["-w", "-V"], None, 9),
    ],
)  # fmt: skip
def test_the_limit_is_read_as_the_command_reads_it(
    words: list[str], variable: str | None, seconds: float | None
) -> None:
    """It must be read before click is imported."""
    assert deadline.limit(words, variable) == seconds


def test_the_flags_are_those_of_the_command() -> None:
    """All other options of `check` take a value."""
    context = click.Context(ringcheck, **ringcheck.context_settings)
    command = ringcheck.get_command(context, "check")
    assert command
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    plain = {name for option in options if option.is_flag or option.count for name in option.opts}
    assert plain == deadline.FLAGS | deadline.PRINT_ONLY
    assert {opt for option in options if option.name == "timeout" for opt in option.opts} == {"-t", "--timeout"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("effect", ["power", "sleep"])
def test_a_signal_ends_both_processes(number: signal.Signals, effect: str, checked: Checked) -> None:
    """The caller sees the signal, as without a second process; the working process does not outlive the waiting one."""
    process = checked.start("--from", DOWN, "-t", "60s", effect=effect)
    checked.child()
    process.send_signal(number)
    assert outcome(process) == (-number, "", "")
    assert checked.gone()


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["power", "sleep"])
@pytest.mark.parametrize("terminal", [True, False])
def test_an_interrupt_ends_both_processes(terminal: bool, effect: str, checked: Checked) -> None:  # noqa: FBT001
    """The line and exit code are those of an interrupt; a terminal sends it to all processes of the group."""
    process = checked.start("--from", DOWN, "-t", "60s", effect=effect, at="click")
    checked.child()
    if terminal:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    assert outcome(process) == (3, "UNKNOWN - interrupted\n", "")
    assert checked.gone()


@pytest.mark.slow
def test_of_two_signals_at_once_one_counts(checked: Checked) -> None:
    """Nothing is printed about the other one."""
    process = checked.start("--from", DOWN, "-t", "60s", effect="sleep", at="click")
    checked.child()
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    assert outcome(process) in {(3, "UNKNOWN - interrupted\n", ""), (-signal.SIGTERM, "", "")}
    assert checked.gone()


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["", "sleep"])
@pytest.mark.parametrize("aside", [False, True])
def test_a_full_pipe_does_not_hold_the_check(aside: bool, effect: str, checked: Checked) -> None:  # noqa: FBT001
    """Nobody reads: the exit code is 3, also if standard error is the same pipe."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while os.write(writing, b"x" * 4096):
            pass
    os.set_blocking(writing, True)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck", "check", "--from", DOWN, "-t", "2s"],
        env={**checked.environment, "EFFECT": effect, "EFFECT_IN": "click"} if effect else checked.environment,
        stdout=writing, stderr=subprocess.STDOUT if aside else subprocess.PIPE, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert time.monotonic() - begun < LATE
    assert done.returncode == 3
    assert done.stderr == (None if aside else b"UNKNOWN - stdout can't be written: nobody reads it\n")
    os.close(reading)
    os.close(writing)


def test_a_caller_may_ignore_the_ends_of_its_children(checked: Checked) -> None:
    """A process inherits that; the exit code of the work arrives nevertheless."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = checked.start("--from", DOWN)
    finally:
        signal.signal(signal.SIGCHLD, before)
    code, out, err = outcome(process)
    assert (code, out[:8], err) == (2, "CRITICAL", "")


def test_a_crash_of_the_interpreter_is_unknown(checked: Checked) -> None:
    """There is one line, without a part of an answer."""
    process = checked.start("--from", DOWN, effect="crash")
    assert outcome(process) == (3, "UNKNOWN - the check was ended by signal 11 (SIGSEGV)\n", "")


@pytest.mark.slow
def test_a_result_that_is_complete_survives_what_follows_it(checked: Checked) -> None:
    """If a notification hangs afterwards, an outage is still reported as such and not as UNKNOWN."""
    program = (
        "import time; from ringcheck import deadline; import ringcheck.cli.check as c; "
        "c._complain = lambda *_, **__: time.sleep(100); "
        "deadline.watch(); from ringcheck.cli import main; main()"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "--from", DOWN, "-t", "3s"],
        env=checked.environment, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.startswith("CRITICAL - blogs: ")
    assert done.stdout.count("\n") == 1
    assert done.stderr == "the check took longer than 3 s and was stopped after its result was complete\n"
    assert time.monotonic() - begun < LATE


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [[], ["--format", "json"], ["-v"], ["-vvv"], ["-k", "nothing"], ["--nonsense"], ["-V"], ["-h"]]
)
def test_output_and_exit_code_are_those_of_an_unwatched_check(words: list[str], checked: Checked) -> None:
    """They are equal byte by byte, except for the seconds that the check took."""

    def answer(program: list[str]) -> tuple[int, list[str], str]:
        done = subprocess.run(
            [sys.executable, *program, "check", "--from", DOWN, *words],
            env=checked.environment, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        return done.returncode, [word for word in done.stdout.split(" ") if not word.startswith("time=")], done.stderr

    assert answer(["-m", "ringcheck"]) == answer(["-c", "from ringcheck.cli import main; main()"])


def test_a_check_reads_standard_input(checked: Checked) -> None:
    """The working process reads it."""
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck", "check", "--from", "-"], input=(ROOT / DOWN).read_bytes(),
        env=checked.environment, capture_output=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert (done.returncode, done.stdout[:8], done.stderr) == (2, b"CRITICAL", b"")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["w", "a"])
def test_a_file_as_standard_output(mode: str, checked: Checked, tmp_path: Path) -> None:
    """The line comes after what the file already contains."""
    path = tmp_path / "output"
    with path.open(mode) as file:
        file.write("before\n")
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "ringcheck", "check", "--from", DOWN],
            env=checked.environment, stdout=file, stderr=subprocess.PIPE, check=False, cwd=ROOT,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, b"")
    before, line = path.read_text().splitlines()
    assert (before, line[:8]) == ("before", "CRITICAL")


@pytest.mark.slow
@pytest.mark.parametrize("closed", [[0], [2], [0, 2]])
def test_closed_descriptors_do_no_harm(closed: list[int], checked: Checked) -> None:
    """The pipes then get the numbers of the closed descriptors."""
    program = f"import os; [os.close(n) for n in {closed}]; os.execv({sys.executable!r}, "
    program += f"{[sys.executable, '-m', 'ringcheck', 'check', '--from', DOWN]!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], env=checked.environment, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout[:8], done.stderr) == (2, "CRITICAL", "")


@pytest.mark.slow
def test_without_a_second_process_the_check_continues(checked: Checked) -> None:
    """The machine allows no further process, or has no fork."""
    for change in ("os.fork = no", "del os.fork", "os.pipe = no"):
        program = (
            "import os\ndef no(): raise BlockingIOError(11, 'none left')\n"
            f"{change}\nfrom ringcheck.__main__ import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, "check", "--from", DOWN],
            env=checked.environment, capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        assert (done.returncode, done.stdout[:8], done.stderr) == (2, "CRITICAL", "")


@pytest.mark.slow
def test_the_time_counts_from_the_start_of_the_process(checked: Checked) -> None:
    """Time before ringcheck's own start counts; but if that alone exceeds the limit, it is not taken for a start."""
    words = ["check", "--from", "-", "-t", "4"]
    for slept, least, most in ((2, 1.0, 3.4), (5, 3.5, LATE)):
        program = f"import time; time.sleep({slept}); from ringcheck.__main__ import main; print(flush=True); main()"
        with subprocess.Popen(
            [sys.executable, "-c", program, *words], env=checked.environment, cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout
            process.stdout.readline()
            begun = time.monotonic()
            assert process.stdout.readline() == STOPPED.format("4 s")
            assert process.wait() == 3
            assert least < time.monotonic() - begun < most


# A starved machine


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["power", "sleep", "loop"])
def test_a_starved_check_ends_too(effect: str, checked: Checked) -> None:
    """The working and the waiting process share a twentieth of a core."""
    with twentieth_of_a_core() as group:
        command = f'echo $$ >"$0" && exec {sys.executable} -m ringcheck check --from {DOWN} -t 3s'
        begun = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-c", command, group], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
            env={**checked.environment, "EFFECT": effect, "EFFECT_IN": "click"},
        )  # fmt: skip
        took = time.monotonic() - begun
    assert (done.returncode, done.stdout, done.stderr) == (3, STOPPED.format("3 s"), "")
    print(f"{effect}: {took:.2f} s")
    assert took < LATE


@pytest.mark.slow
def test_a_check_among_many_busy_processes_ends_too(checked: Checked) -> None:
    """This holds without control groups too; the work itself never ends."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(12)]
    try:
        begun = time.monotonic()
        done = outcome(checked.start("--from", DOWN, "-t", "2s", effect="power"))
        assert done == (3, STOPPED.format("2 s"), "")
        assert time.monotonic() - begun < LATE
    finally:
        for process in busy:
            process.kill()
            process.wait()
