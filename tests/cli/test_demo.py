"""The demo shows the article's example with numbers that it computes."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
import requests

from ringcheck.cli import run


@pytest.mark.slow
def test_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    """For all up, one node down, two down and all back it shows check, health and preflight, in that order."""
    assert run(["demo"]) == 0
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines()]
    states = [line.split(" - ")[0] for line in lines if " - blogs: " in line]
    assert states == ["OK", "CRITICAL", "CRITICAL", "CRITICAL", "OK"]
    decisions = [line.split(" blogs: ") for line in lines if " may stop now" in line or " must not stop now" in line]
    assert decisions == [
        ["UNSAFE", "127.0.1.2 must not stop now"],
        ["SAFE", "127.0.1.1 may stop now"],
        ["UNSAFE", "127.0.1.1, 127.0.1.2 must not stop now"],
    ]
    assert "CRITICAL - blogs: 4 of 12 ranges (24.9 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1" in out
    assert "Bring back first: 127.0.1.2 (restores 32.0 % of the tokens)" in out
    assert "$ ringcheck ring blog_1" in out
    assert all(len(line) <= 160 for line in lines)


@pytest.mark.slow
def test_the_page_stays_open() -> None:
    """After the steps the agent serves the same cluster, in which nodes fail; a signal ends it with exit code 0."""
    command = [sys.executable, "-m", "ringcheck", "demo", "--page", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(line for line in process.stdout if "page is open at " in line).split()[6]
        try:
            assert "blogs" in requests.get(url, timeout=30).text
            assert any(line.strip().endswith("killed") for line in process.stdout)
        finally:
            process.send_signal(signal.SIGTERM)  # SIGINT may be ignored where tests run in the background
        assert process.wait(30) == 0
