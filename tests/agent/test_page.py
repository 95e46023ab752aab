"""The pages as text: what they show of readings, in which order, and that hostile or huge clusters are contained."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import page
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.findings import Finding
from ringcheck.core.held_back import HeldBack
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.reasons import reason
from ringcheck.core.transitions import Entry, Transition
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

NOW = datetime(2026, 1, 1, 0, 0, 42, tzinfo=UTC)
EVIL = '"><script>alert(1)</script>\u202e\x1b[31m'
VOID = {"meta", "link", "img", "br", "path", "circle", "rect", "use", "input"}


class Strict(HTMLParser):
    """Parses a page; its elements must close in order, and its ids must be unique."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def reading(*down: str, **changes: Any) -> Reading:
    verdict = assess(article.snapshot(down), Policy())
    safe = frozenset(article.ADDRESSES) - set(down)
    known = Reading(
        cluster="blogs", verdict=verdict, restart_safe=safe, restart_cures=frozenset(down), fresh=True, last_success=1.0
    )
    return replace(known, **changes)


def held(node: str, owner: str, purpose: str, since: str) -> Holder:
    return Holder(node=node, owner=owner, purpose=purpose, since=since)


def rendered(known: Reading, **more: Any) -> str:
    return page.cluster(known, page.Shown(**more), NOW)


def shown(known: Reading, **more: Any) -> str:
    return Strict(rendered(known, **more)).text


def test_the_page_shows_the_verdict() -> None:
    """Severity, summary, age, nodes to bring back first, findings, counts with their totals, nodes."""
    text = shown(reading("10.0.0.1"))
    assert "CRITICAL blogs" in text
    assert "256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE" in text
    assert "Seen 00:00:00 UTC ( 42 s ago); 2 of 3 views usable" in text
    assert "10.0.0.1 dc1 r0 : restores 31.5 % of the tokens" in text
    assert "10.0.0.1 down 2 of 2 views" in text
    assert "256 of 768" in text


def test_the_card_of_a_cluster_is_rendered_anew_only_if_it_changed() -> None:
    """A later poll with the same result, and the passing of time, change nothing but the age."""
    known = reading("10.0.0.1", cluster="kept")
    assert known.verdict
    first = page.overview([known], NOW)
    rendered_before = page.Card.around_the_ages.cache_info().misses
    later = replace(known.verdict, snapshot=replace(known.verdict.snapshot, taken_at="2026-01-01T00:01:00Z"))
    second = page.overview([replace(known, verdict=later, last_success=2.0)], NOW + timedelta(minutes=9))
    assert page.Card.around_the_ages.cache_info().misses == rendered_before
    assert "00:00:00 UTC</time> (<span data-since=" in first
    assert "00:01:00 UTC</time> (<span data-since=" in second
    changed = page.overview([replace(known, suspects=frozenset({"10.0.0.2"}))], NOW)
    assert "10.0.0.2 stopped answering" in changed


def test_an_old_verdict_is_unknown() -> None:
    """Its severity is only in the closed section, with its time."""
    old = reading(fresh=False, error="nobody answered")
    text = rendered(old)
    Strict(text)
    assert "<title>UNKNOWN blogs" in text
    before, _, after = text.partition("<details")
    assert "OK" not in before.replace("UNKNOWN", "")
    assert "Blind." in before
    assert "Last known state: OK" in after
    assert "yes, alone" not in text
    assert page.current_severity(old) is Severity.UNKNOWN
    assert page.summary(old) == "no current verdict: nobody answered"
    assert page.summary(replace(old, error=None)) == "no current verdict: polls hang"
    assert page.summary(Reading(cluster="blogs")) == "the first poll is under way"


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (
            reading(error="connection refused"),
            "The last poll failed: connection refused. This page shows the",
        ),
        (reading(error="connection refused", restart_safe=None), "Not known: the last poll failed."),
        (reading(suspects=frozenset({"10.0.0.2"})), "Suspect: 10.0.0.2 stopped answering"),
        (reading(suspects=frozenset({"10.0.0.2"})), "10.0.0.2 suspect no view"),
        (
            reading(holders=None, restart_safe=None),
            "The restart leases are not known: the lease store does not",
        ),
        (reading(holders=None, restart_safe=None), "Not known: the restart leases could not be read."),
        (reading(), "3 of 3 nodes that are up , one at a time."),
        (reading(), "dc1 r0 10.0.0.1"),
        (reading(restart_safe=frozenset()), "No node."),
        (reading("10.0.0.1", restart_safe=frozenset()), "No node that is up."),
        (
            reading(holders=(held("10.0.0.2", "anna@bastion", "kernel", "2025-12-31T23:30:42Z"),)),
            "10.0.0.2 by anna@bastion: kernel since 2025-12-31 23:30:42 UTC ( 30 min ago)",
        ),
        (reading(holders=(held("10.0.0.2", "anna", "", "yesterday"),)), "10.0.0.2 by anna since yesterday"),
    ],
)
def test_doubts_and_leases_are_shown(known: Reading, text: str) -> None:
    """In words, not only in colours."""
    assert text in shown(known)


@pytest.mark.parametrize("changes", [{"error": "connection refused"}, {"suspects": frozenset({"10.0.0.2"})}])
def test_a_doubtful_ok_is_not_green(changes: dict[str, Any]) -> None:
    """The verdict before a failed poll, or with a node that stopped answering."""
    sound, doubtful = rendered(reading()), rendered(reading(**changes))
    assert 'class="hero ok"' in sound
    assert 'class="hero warning"' in doubtful
    assert "As of the last successful poll" not in sound
    assert ("As of the last successful poll" in doubtful) is ("error" in changes)


def test_a_refusal_states_what_lifts_it() -> None:
    """The reasons why no node may restart, each with what would lift it."""
    why = reason("schema_disagreement", "blogs", "two schema versions", lifts_when="the nodes agree")
    held = HeldBack(reason=why, nodes=frozenset({0, 1, 2}))
    text = shown(reading(restart_safe=frozenset()), held=(held,))
    assert "Why All 3 nodes that are up: two schema versions schema_disagreement Until the nodes agree." in text
    some = HeldBack(reason=why, nodes=frozenset({1, 2}), example=1)
    text = shown(reading(restart_safe=frozenset({"10.0.0.1"})), held=(some,))
    assert "Why the others may not 2 nodes: for example 10.0.0.2: two schema versions" in text
    assert "Which dc1 r1 10.0.0.2 dc1 r2 10.0.0.3" in text


def test_down_nodes_are_listed_apart_from_nodes_that_may_stop() -> None:
    """A dead node that may be started has its own count, list and wording: it is no node that can be spared."""
    known = reading("10.0.0.1", restart_safe=frozenset({"10.0.0.2"}))
    text = shown(known)
    assert "May restart now 1 of 2 nodes that are up , one at a time." in text
    assert "ringcheck preflight --cluster blogs 10.0.0.2 dc1 r1 10.0.0.2 Down, and may be started" in text
    assert "Down, and may be started 1 of 3 nodes : already down: a restart makes no more ranges unavailable." in text
    assert "no more ranges unavailable. dc1 r0 10.0.0.1" in text
    assert "10.0.0.1 down 2 of 2 views dc1 r0 5.0.8 unreachable yes, it is down" in text
    assert "10.0.0.2 up no view dc1 r1 5.0.8 ok yes, alone" in text
    assert "10.0.0.3 up no view dc1 r2 5.0.8 ok no" in text
    line = Strict(page.overview([known], NOW)).text
    assert "May restart now, one at a time 1 of 2 up Down, may be started 1 Seen" in line


def test_only_nodes_known_to_be_down_may_be_started() -> None:
    """With all nodes up, after a failed poll, or with an old verdict that headline is absent."""
    unknown = {"error": "connection refused", "restart_safe": None, "restart_cures": None}
    for known in (reading(), reading("10.0.0.1", **unknown), reading("10.0.0.1", fresh=False)):
        assert "may be started" not in shown(known)
        assert "may be started" not in Strict(page.overview([known], NOW)).text


def test_the_worst_cluster_is_first() -> None:
    """In any order of the configuration; UNKNOWN is worse than WARNING."""
    readings = [
        reading(cluster="well"),
        reading(cluster="blind", fresh=False),
        replace(reading("10.0.0.1"), cluster="bad"),
    ]
    parsed = Strict(page.overview(readings, NOW))
    positions = [parsed.words.index(name) for name in ("bad", "blind", "well")]
    assert positions == sorted(positions)
    assert "3 clusters 1 CRITICAL 1 UNKNOWN 1 OK" in parsed.text
    assert "<title>CRITICAL" in page.overview(readings, NOW)
    assert "<title>UNKNOWN" in page.overview([], NOW)


def hostile(seen: Snapshot) -> Snapshot:
    nodes = tuple(replace(node, datacenter="dc1", rack=EVIL, release_version=EVIL) for node in seen.nodes)
    rings = tuple(replace(ring, keyspaces=(f"{EVIL}{index}",)) for index, ring in enumerate(seen.rings))
    return replace(seen, nodes=nodes, rings=rings)


def test_text_from_nodes_is_escaped() -> None:
    """Names with markup, control characters or a change of direction are shown as plain text."""
    verdict = assess(hostile(article.snapshot(["10.0.0.1"])), Policy())
    finding = Finding(code="x", severity=Severity.WARNING, subject=EVIL, summary=EVIL, detail=EVIL)
    known = reading(
        verdict=replace(verdict, findings=(*verdict.findings, finding), summary=EVIL),
        error=EVIL,
        suspects=frozenset({EVIL}),
        holders=(held(EVIL, EVIL, EVIL, EVIL),),
    )
    picture = page.PagePicture(keyspace=EVIL, url="/x", title=EVIL, description=EVIL)
    text = page.cluster(known, page.Shown(picture=picture, chosen=Level.ONE), NOW)
    pages = text + page.overview([known], NOW) + page.problem(404, EVIL, NOW)
    assert "<script>alert" not in pages
    assert "\u202e" not in pages
    assert "\x1b" not in pages
    assert Strict(text).tags.count("script") == 1


def changed(number: int, at: int, text: str = "x") -> Entry:
    change = Transition(kind="severity", subject="blogs", was="OK", now="CRITICAL", text=text)
    return Entry(id=number, cluster="blogs", at=at, change=change)


def test_the_timeline_is_bounded_and_escaped() -> None:
    """The last times, and of one time the first changes and how many more there are; texts are shown as plain text."""
    past = [changed(number, number * 1000) for number in range(200, 100, -1)]
    past += [changed(number, 1000, EVIL) for number in range(50, 0, -1)]
    text = page.cluster(reading(), page.Shown(past=past), NOW)
    assert text.count('<li class="edge-critical">') == page.MOMENTS
    flood = page.cluster(reading(), page.Shown(past=past[100:]), NOW)
    assert f"and {50 - page.CHANGES} more" in Strict(flood).text
    assert "CRITICAL was OK: &#34;" in flood.replace("</span> ", " ")
    assert "<script>alert" not in flood
    assert "\u202e" not in flood


@pytest.mark.parametrize(
    ("past", "text"),
    [((), "No change has been seen yet."), ("the disk hangs", "Not known: the disk hangs"), (None, "")],
    ids=["empty", "unreadable", "none"],
)
def test_the_timeline_of_a_cluster_without_a_past(past: tuple[Entry, ...] | str | None, text: str) -> None:
    """It says so; without a state file there is no timeline."""
    shown_text = Strict(page.cluster(reading(), page.Shown(past=past), NOW)).text
    assert text in shown_text
    assert ("History" in shown_text) is (past is not None)


def test_the_page_of_a_huge_cluster_is_bounded() -> None:
    """A thousand nodes, half of them down, and a thousand keyspaces: the worst, and how many more there are."""
    seen = article.snapshot()
    many = tuple(
        replace(seen.nodes[0], address=f"10.1.{index // 250}.{index % 250}", host_id=str(index), rack=f"r{index % 4}")
        for index in range(1000)
    )
    verdict = reading().verdict
    assert verdict
    keyspaces = tuple(replace(verdict.keyspaces[0], name=f"k{number}") for number in range(1000))
    big = replace(
        verdict,
        snapshot=replace(verdict.snapshot, nodes=many),
        states=("down",) * 500 + ("up",) * 500,
        keyspaces=keyspaces,
        seen_down_by={},
        recover_first=(),
    )
    html = rendered(reading(verdict=big, restart_safe=frozenset(node.address for node in many)))
    assert len(html) < 400_000
    text = Strict(html).text
    assert "and 400 more" in text
    assert "192 more keyspaces, none worse" in text
    assert "and 800 more, none of them worse" in text
    assert "dc1 r0 250 nodes" in text
    assert "dc1 r0 125 125 0" in text


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h")])
def test_ages_are_short(seconds: float, text: str) -> None:
    """The same as in the script."""
    assert page.age(seconds) == text


def test_each_severity_has_its_own_shape() -> None:
    """Some people can't distinguish the colours."""
    shapes = {page.ICONS[severity][1] for severity in Severity}
    assert len(shapes) == len(Severity)
    assert all(page.icon(severity).startswith("<svg ") for severity in Severity)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "long ago"])
def test_a_time_that_can_t_be_read_is_shown_as_it_is(since: str) -> None:
    """The time of a lease comes from the store; its year may not exist in UTC."""
    assert since in shown(reading(holders=(held("10.0.0.1", "me@here", "kernel", since),)))
