"""The service's log: its two forms, and that each change is logged once."""

from __future__ import annotations

import io
import json
import re
import shlex
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent.log import Changes, Log
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.core.verdict import Verdict

ONE, TWO, THREE = article.ADDRESSES
HOSTILE = 'a "b"\nlevel=error event=forged \x1b[2J\x9b \u2028 = ü'


def verdict(*down: str, policy: Policy | None = None) -> Verdict:
    return assess(article.snapshot(down), policy or Policy())


def reading(*down: str, **more: Any) -> Reading:
    return Reading(cluster="blogs", **{"verdict": verdict(*down), "fresh": True, **more})


def logged(*readings: Reading) -> list[dict[str, Any]]:
    """The lines for the last of some readings, without time and cluster."""
    stream = io.StringIO()
    changes = Changes(Log("json", stream))
    for current in readings:
        stream.truncate(0)
        stream.seek(0)
        changes(current)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line.pop("cluster") for line in lines} <= {"blogs"}
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


def events(lines: Iterable[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_a_line_in_both_forms() -> None:
    """Both have the same fields in the same order, the UTC time first; logfmt quotes values with spaces."""
    lines = {}
    for form in ("logfmt", "json"):
        stream = io.StringIO()
        Log(form, stream)("finding", "warning", cluster="a", summary="2 of 3", share=0.5, empty="")
        lines[form] = stream.getvalue()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        rf'time={time} level=warning event=finding cluster=a summary="2 of 3" share=0\.5 empty=""\n', lines["logfmt"]
    )
    document = json.loads(lines["json"])
    assert re.fullmatch(time, document.pop("time"))
    assert list(document) == ["level", "event", "cluster", "summary", "share", "empty"]
    assert list(document.values()) == ["warning", "finding", "a", "2 of 3", 0.5, ""]


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_text_from_a_node_can_t_forge_a_line(form: Any) -> None:
    """Any value is written as one line of plain text, and can be parsed back."""
    stream = io.StringIO()
    Log(form, stream)("poll_failed", error=HOSTILE)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.isascii()
    assert text.rstrip("\n").isprintable()
    assert " event=forged" not in text.replace("\\nlevel=error event=forged", "")
    if form == "json":
        assert json.loads(text)["error"] == HOSTILE
    else:
        (value,) = re.findall(r'error=(".*")$', text.rstrip())
        assert json.loads(value) == HOSTILE


def test_a_log_that_can_t_be_written_raises_nothing() -> None:
    """Neither a full disk, nor a broken pipe, nor a closed file raises an error."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed):
        Log("logfmt", stream)("started")
    assert closed.closed


def test_lines_of_many_threads_do_not_mix() -> None:
    """Each line is complete."""
    stream = io.StringIO()
    log = Log("json", stream)

    def chatter() -> None:
        for _ in range(50):
            log("x", value="v" * 900)

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 200
    assert {json.loads(line)["value"] for line in lines} == {"v" * 900}


def test_the_first_reading_is_logged_in_full() -> None:
    """Severity, nodes that are not up, and findings; nodes that are up are not logged."""
    assert logged(reading()) == [
        {"level": "info", "event": "severity", "severity": "OK", "was": "none", "summary": verdict().summary}
    ]
    lines = logged(reading(ONE))
    assert lines[0]["event"] == "severity"
    assert (lines[0]["level"], lines[0]["severity"], lines[0]["was"]) == ("error", "CRITICAL", "none")
    assert {"level": "warning", "event": "node_state", "node": ONE, "state": "down"} in lines
    assert "unavailable" in {line.get("code") for line in lines}


@pytest.mark.parametrize(
    "same",
    [
        reading(),
        reading(ONE, TWO),
        reading(ONE, suspects=frozenset({TWO})),
        reading(error="no node answered", suspects=frozenset({ONE})),
        reading(holders=None),
        reading(holders=(Holder(node=ONE, owner="me", purpose="test", since="2026-01-01T00:00:00Z"),)),
        Reading(cluster="blogs", error="no node answered"),
    ],
)
def test_a_lasting_condition_is_logged_once(same: Reading) -> None:
    """For every kind of reading, an identical second reading adds no line."""
    assert logged(same, replace(same, last_success=2.0)) == []


@pytest.mark.slow
def test_a_node_that_dies_and_returns() -> None:
    """Severity, node and findings are logged at the death and at the return."""
    down = logged(reading(), reading(ONE))
    assert events(down)[:2] == ["severity", "node_state"]
    assert (down[0]["severity"], down[0]["was"], down[1]["state"]) == ("CRITICAL", "OK", "down")
    back = logged(reading(), reading(ONE), reading())
    assert events(back)[:2] == ["severity", "node_state"]
    assert back[1] == {"level": "info", "event": "node_state", "node": ONE, "state": "up"}
    gone = {(line["code"], line["subject"]) for line in back if line["event"] == "finding_cleared"}
    assert gone == {(line["code"], line["subject"]) for line in down if line["event"] == "finding"}
    assert gone


def test_a_second_death_is_logged_at_the_same_severity() -> None:
    """Only the line about the severity is not repeated."""
    lines = logged(reading(ONE), reading(ONE, TWO))
    assert "severity" not in events(lines)
    assert {"level": "warning", "event": "node_state", "node": TWO, "state": "down"} in lines


def test_a_finding_that_becomes_worse_is_logged_again() -> None:
    """The finding keeps its code and keyspace but changes from a ticket to a page."""

    def judged(tier: str) -> Reading:
        threshold = Threshold(Level.ONE)
        rule = Rule(keyspaces=("blog_1",), **{tier: threshold})  # type: ignore[arg-type]  # one of its two thresholds
        return reading(verdict=verdict(ONE, policy=Policy((rule,))))

    first, second = (
        [(line["level"], line["code"]) for line in logged(*some) if line["event"] == "finding"]
        for some in ([judged("warning")], [judged("warning"), judged("critical")])
    )
    assert first == [("warning", "unavailable")]
    assert second == [("error", "unavailable")]


@pytest.mark.slow
def test_failed_polls_are_logged_at_begin_and_end() -> None:
    """Each reason is logged once; in between nothing of the old verdict is logged, and afterwards only what changed."""
    failed = reading(error="no node answered")
    assert logged(reading(), failed) == [{"level": "error", "event": "poll_failed", "error": "no node answered"}]
    assert events(logged(reading(), failed, replace(failed, error="denied"))) == ["poll_failed"]
    assert events(logged(reading(), failed, reading())) == ["poll_works_again"]
    assert events(logged(reading(), failed, reading(ONE)))[:2] == ["poll_works_again", "severity"]


@pytest.mark.slow
def test_suspects() -> None:
    """Each is logged once, and once more when it answers again; if no node answers, the cluster gets one line."""
    first, both = (reading(suspects=frozenset(some)) for some in ({ONE}, {ONE, TWO}))
    assert logged(reading(), first)[0]["node"] == ONE
    assert [(line["event"], line["node"]) for line in logged(reading(), first, both)] == [("node_suspect", TWO)]
    assert [(line["event"], line["node"]) for line in logged(both, first)] == [("node_answers_again", TWO)]
    silent = reading(suspects=frozenset({ONE, TWO, THREE}), error="no node answered")
    assert events(logged(reading(), silent)) == ["poll_failed"]
    assert events(logged(reading(), silent, reading())) == ["poll_works_again"]
    assert events(logged(reading(), silent, first)) == ["poll_works_again", "node_suspect"]


def test_a_suspect_seen_down_has_not_answered_again() -> None:
    """Its line says that it is down."""
    lines = logged(reading(suspects=frozenset({ONE})), reading(ONE))
    assert "node_answers_again" not in events(lines)
    assert {"level": "warning", "event": "node_state", "node": ONE, "state": "down"} in lines


def test_a_node_that_left() -> None:
    """It is logged as gone, not as down."""
    whole = verdict()
    seen = replace(whole.snapshot, nodes=whole.snapshot.nodes[:2])
    without = replace(whole, snapshot=seen, states=whole.states[:2])
    assert logged(reading(), reading(verdict=without)) == [{"level": "info", "event": "node_gone", "node": THREE}]


def test_leases() -> None:
    """All changes are logged: held, released, another owner, unknown, and known again."""
    mine = Holder(node=ONE, owner="me", purpose="test", since="2026-01-01T00:00:00Z")
    held, unknown = reading(holders=(mine,)), reading(holders=None)
    assert logged(reading(), held) == [{"level": "info", "event": "lease_held", "node": ONE, "owner": "me"}]
    assert logged(held, reading()) == [{"level": "info", "event": "lease_released", "node": ONE, "owner": "me"}]
    other = reading(holders=(replace(mine, owner="you"),))
    assert [(line["event"], line["owner"]) for line in logged(held, other)] == [
        ("lease_held", "you"), ("lease_released", "me"),
    ]  # fmt: skip
    assert events(logged(held, unknown)) == ["leases_unknown"]
    assert events(logged(held, unknown, held))[0] == "leases_known_again"


@pytest.mark.slow
def test_leases_while_polls_fail() -> None:
    """The lease store answers independently of the nodes; if a poll did not ask the store, nothing is logged."""
    mine = Holder(node=ONE, owner="me", purpose="test", since="2026-01-01T00:00:00Z")
    silent = reading(error="no node answered")
    assert events(logged(reading(), silent, replace(silent, holders=(mine,)))) == ["lease_held"]
    assert events(logged(reading(), replace(silent, holders=(mine,)), reading())) == [
        "poll_works_again",
        "lease_released",
    ]
    assert events(logged(reading(), silent, replace(silent, holders=None))) == ["leases_unknown"]
    asleep = reading(holders=None, store_asked=False, error="no node answered")
    assert events(logged(asleep)) == ["poll_failed"]
    assert events(logged(asleep, reading())) == ["poll_works_again"]


def test_clusters_are_independent() -> None:
    """A cluster that was removed and added again is logged in full."""
    stream = io.StringIO()
    changes = Changes(Log("json", stream))
    other = replace(reading(), cluster="other")
    for current in (reading(), other, reading(), other):
        changes(current)
    changes.forget("other")
    changes.forget("nobody")
    changes(other)
    assert [json.loads(line)["cluster"] for line in stream.getvalue().splitlines()] == ["blogs", "other", "other"]


def test_the_log_of_a_poll_is_bounded() -> None:
    """Findings are bounded, and nodes are logged one by one only when their state changes."""
    lines = [json.dumps(line) for line in logged(reading(ONE, TWO))]
    assert len(lines) < 10
    assert all(len(line) < 500 for line in lines)


def test_shell_tools_can_split_a_line() -> None:
    """Lines of logfmt are quoted like words of a shell."""
    stream = io.StringIO()
    Log("logfmt", stream)("severity", "info", summary="it's 2 of 3 ($HOME)")
    fields = dict(word.partition("=")[::2] for word in shlex.split(stream.getvalue()))
    assert fields["summary"] == "it's 2 of 3 ($HOME)"


def test_the_worst_of_several_findings_on_a_keyspace_is_logged() -> None:
    """A page and a ticket on the same ranges make one line, at the severity of the page."""
    rule = Rule(keyspaces=("blog_1",), critical=Threshold(Level.ONE), warning=Threshold(Level.LOCAL_ALL))
    judged = verdict(ONE, policy=Policy((rule,)))
    assert [finding.code for finding in judged.findings].count("unavailable") == 2
    lines = logged(reading(verdict=judged))
    assert [line["level"] for line in lines if line.get("code") == "unavailable"] == ["error"]
