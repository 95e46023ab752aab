"""Real programs for tests: start them on loopback, wait until they are ready, end them by their process ids."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


ELSEWHERE = "/usr/sbin:/usr/local/sbin:/sbin:/usr/lib/nagios/plugins"  # mostly in the PATH of root or Nagios only


def required(program: str) -> str:
    """The path of a program; if it is missing the test is skipped, and fails in CI."""
    path = shutil.which(program) or shutil.which(program, path=ELSEWHERE)
    if path:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed: .ci/run should have done that")
    pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def daemon(
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    seconds: float = 30.0,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; `ready` is called until it returns true, and may raise errors before that.

    Raises:
        RuntimeError: if the program ends or is not ready in time; the text has the end of its log.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    try:
        await_(lambda: _alive(process, command, log) and ready(), seconds, lambda: f"{command[0]}: {_tail(log)}")
        yield process
    finally:
        end(process)


def await_(condition: Callable[[], bool], seconds: float, what: Callable[[], str] | str) -> None:
    """Return when a condition holds; as long as it raises OSError or ValueError it does not hold.

    Raises:
        RuntimeError: if it does not in time.
    """
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with suppress(OSError, ValueError):
            if condition():
                return
        time.sleep(0.05)
    raise RuntimeError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM, and after five seconds SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _alive(process: subprocess.Popen[bytes], command: Sequence[str], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {_tail(log)}")
    return True


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
