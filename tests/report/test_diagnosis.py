"""The result of `doctor` for people: its first line, and rows that fit a terminal."""

from __future__ import annotations

import re

from ringcheck.core.diagnosis import Diagnosis, Step
from ringcheck.report.diagnosis import render

URL = "http://10.0.0.1:8778/jolokia"
NAME = Step(name="name", status="ok", text="10.0.0.1 is an address")
POLICY = Step(
    name="policy",
    status="ok",
    text="the agent has no access policy: everyone who can connect to it has full control of the node",
    fix="give it config/jolokia/jolokia-access.xml: policyLocation=file:///etc/cassandra/jolokia-access.xml in it",
)
PEERS = Step(name="peers", status="failed", text="1 of 4 peers can't be asked from here (10.0.0.3)", fix="start it")


def test_advice_is_not_hidden_behind_an_ok() -> None:
    """The first line names the steps that succeeded and still have something to do."""
    assert render(Diagnosis(URL, (NAME,))).splitlines()[0] == f"OK {URL}: all steps passed"
    advised = render(Diagnosis(URL, (NAME, POLICY))).splitlines()[0]
    assert advised == f"OK {URL}: no step failed; still to do: policy"
    failed = render(Diagnosis(URL, (NAME, POLICY, PEERS))).splitlines()[0]
    assert failed == f"FAILED {URL}: 1 step failed (peers)"


def test_rows_fit_a_terminal_and_continue_below_their_text() -> None:
    """A text that does not fit continues in its own column, and a fix behind its arrow."""
    rows = render(Diagnosis(URL, (NAME, POLICY, PEERS)), width=60).splitlines()
    assert max(map(len, rows)) <= 60 or all("file://" in row for row in rows if len(row) > 60)
    assert rows[1:6] == [
        "ok       name    10.0.0.1 is an address",
        "ok       policy  the agent has no access policy: everyone",
        "                 who can connect to it has full control of",
        "                 the node",
        "                 -> give it",
    ]
    assert rows[6].startswith("                    config/jolokia/")
    assert rows[-1] == "                 -> start it"


def test_lines_of_a_pipe_stay_whole() -> None:
    """Scripts, and people who copy a fix from a file, get it in one line; no text is lost by wrapping."""
    diagnosis = Diagnosis(URL, (NAME, POLICY, PEERS))
    whole, narrow = (render(diagnosis, width=width) for width in (None, 60))
    assert len(whole.splitlines()) == 6
    assert f"-> {POLICY.fix}" in whole
    assert re.split(r"\s+", whole) == re.split(r"\s+", narrow)
    assert re.sub(r"\x1b\[[0-9;]*m", "", render(diagnosis, colour=True, width=60)).split() == whole.split()
