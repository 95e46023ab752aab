"""The pages as text: what they say of readings, in which order, and how little a hostile or a huge cluster can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.agent import page
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.findings import Finding
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.reasons import reason
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.reasons import Reason
    from ringcheck.core.ring import Snapshot

NOW = datetime(2026, 1, 1, 0, 0, 42, tzinfo=UTC)
EVIL = '"><script>alert(1)</script>\u202e\x1b[31m'
VOID = {"meta", "link", "img", "br", "path", "circle"}


class Strict(HTMLParser):
    """Takes a page apart; its elements must close in order, and its ids stand once."""

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


def shown(one: Reading, picture: page.PagePicture | None = None, reasons: tuple[Reason, ...] = ()) -> Strict:
    return Strict(page.cluster(one, page.Shown(picture, "/ring.svg", None, reasons), NOW))


def test_the_page_says_what_the_verdict_says() -> None:
    """Severity, summary, age, whom to bring back, findings, numbers with their denominators, nodes."""
    found = shown(reading("10.0.0.1")).text
    assert "CRITICAL blogs" in found
    assert "256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE" in found
    assert "Seen 00:00:00 UTC ( 42 s ago); 2 of 3 views usable" in found
    assert "10.0.0.1 dc1 r0 : restores 31.5 % of the tokens" in found
    assert "10.0.0.1 down 2 of 2 views" in found
    assert "256 of 768" in found


def test_what_is_old_is_unknown() -> None:
    """Its severity is nowhere but in what is closed, with its time."""
    old = reading(fresh=False, error="nobody answered")
    text = page.cluster(old, page.Shown(None, "", None, ()), NOW)
    Strict(text)
    assert "<title>UNKNOWN blogs" in text
    before, _, after = text.partition("<details")
    assert "OK" not in before.replace("UNKNOWN", "")
    assert "Blind." in before
    assert "What was known then: OK" in after
    assert "yes, alone" not in text
    assert page.told(old) is Severity.UNKNOWN
    assert page.summary(old) == "no verdict of the present: nobody answered"
    assert page.summary(replace(old, error=None)) == "no verdict of the present: polls hang"
    assert page.summary(Reading(cluster="blogs")) == "the first poll is under way"


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (reading(error="connection refused"), "The last poll failed: connection refused. What is shown is of the one"),
        (reading(error="connection refused", restart_safe=None), "Not known: the last poll failed."),
        (reading(suspects=frozenset({"10.0.0.2"})), "Suspect: 10.0.0.2 stopped answering"),
        (reading(suspects=frozenset({"10.0.0.2"})), "10.0.0.2 suspect no view"),
        (reading(holders=None, restart_safe=None), "Restart leases are not known: their store does not answer."),
        (reading(holders=None, restart_safe=None), "Not known: who holds restart leases could not be learned."),
        (reading(), "3 of 3 nodes , each alone."),
        (reading(), "dc1 r0 10.0.0.1"),
        (reading(restart_safe=frozenset()), "No node."),
        (reading("10.0.0.1", restart_safe=frozenset()), "No node that is up."),
        (
            reading(
                holders=(Holder(node="10.0.0.2", owner="anna@bastion", purpose="kernel", since="2025-12-31T23:30:42Z"),)
            ),
            "10.0.0.2 by anna@bastion: kernel since 2025-12-31 23:30:42 UTC ( 30 min ago)",
        ),
        (
            reading(holders=(Holder(node="10.0.0.2", owner="anna", purpose="", since="yesterday"),)),
            "10.0.0.2 by anna since yesterday",
        ),
    ],
)
def test_what_an_operator_must_know_is_said(one: Reading, text: str) -> None:
    """In words, whatever the colours."""
    assert text in shown(one).text


@pytest.mark.parametrize("changes", [{"error": "connection refused"}, {"suspects": frozenset({"10.0.0.2"})}])
def test_good_news_that_is_in_doubt_is_not_green(changes: dict[str, Any]) -> None:
    """The verdict of before a poll that failed, or with a node that stopped answering."""
    sound, doubtful = (
        page.cluster(one, page.Shown(None, "", None, ()), NOW) for one in (reading(), reading(**changes))
    )
    assert 'class="hero ok"' in sound
    assert 'class="hero warning"' in doubtful
    assert "As of the last poll that worked" not in sound
    assert ("As of the last poll that worked" in doubtful) is ("error" in changes)


def test_a_refusal_says_until_when() -> None:
    """Why no node may restart, and what would lift it."""
    why = reason("schema_disagreement", "blogs", "two schema versions", lifts_when="the nodes agree")
    found = shown(reading(restart_safe=frozenset()), reasons=(why,)).text
    assert "two schema versions schema_disagreement Until the nodes agree." in found


def test_nodes_that_are_down_are_told_apart_from_those_that_may_stop() -> None:
    """A dead node that may be started is none that can be spared: it has a count, a list and a word of its own."""
    one = reading("10.0.0.1", restart_safe=frozenset({"10.0.0.2"}))
    found = shown(one).text
    assert "May restart now 1 of 3 nodes , each alone." in found
    assert "before the stop: it looks again. dc1 r1 10.0.0.2 Down, and may be started" in found
    assert "Down, and may be started 1 of 3 nodes : down already, so that a restart takes no range away." in found
    assert "takes no range away. dc1 r0 10.0.0.1" in found
    assert "10.0.0.1 down 2 of 2 views dc1 r0 5.0.8 unreachable yes, it is down" in found
    assert "10.0.0.2 up no view dc1 r1 5.0.8 ok yes, alone" in found
    assert "10.0.0.3 up no view dc1 r2 5.0.8 ok no" in found
    line = Strict(page.overview([one], NOW)).text
    assert "May restart now, each alone 1 of 3 Down, may be started 1 Seen" in line


def test_what_is_not_known_to_be_down_is_not_offered_for_a_start() -> None:
    """With all nodes up, after a failed poll and on old news there is nothing below that headline."""
    unknown = {"error": "connection refused", "restart_safe": None, "restart_cures": None}
    for one in (reading(), reading("10.0.0.1", **unknown), reading("10.0.0.1", fresh=False)):
        assert "may be started" not in shown(one).text
        assert "may be started" not in Strict(page.overview([one], NOW)).text


def test_the_worst_cluster_stands_first() -> None:
    """Whatever the order of the configuration; not known is worse than a warning."""
    readings = [
        reading(cluster="well"),
        reading(cluster="blind", fresh=False),
        replace(reading("10.0.0.1"), cluster="bad"),
    ]
    found = Strict(page.overview(readings, NOW))
    places = [found.words.index(name) for name in ("bad", "blind", "well")]
    assert places == sorted(places)
    assert "3 clusters 1 CRITICAL 1 UNKNOWN 1 OK" in found.text
    assert "<title>CRITICAL" in page.overview(readings, NOW)
    assert "<title>UNKNOWN" in page.overview([], NOW)


def hostile(seen: Snapshot) -> Snapshot:
    nodes = tuple(replace(one, datacenter="dc1", rack=EVIL, release_version=EVIL) for one in seen.nodes)
    rings = tuple(replace(one, keyspaces=(f"{EVIL}{place}",)) for place, one in enumerate(seen.rings))
    return replace(seen, nodes=nodes, rings=rings)


def test_what_nodes_say_is_text() -> None:
    """Names that would be markup, or turn the line around, are shown and do nothing."""
    verdict = assess(hostile(article.snapshot(["10.0.0.1"])), Policy())
    finding = Finding(code="x", severity=Severity.WARNING, subject=EVIL, summary=EVIL, detail=EVIL)
    one = reading(
        verdict=replace(verdict, findings=(*verdict.findings, finding), summary=EVIL),
        error=EVIL,
        suspects=frozenset({EVIL}),
        holders=(Holder(node=EVIL, owner=EVIL, purpose=EVIL, since=EVIL),),
    )
    text = page.cluster(one, page.Shown(page.PagePicture(EVIL, EVIL, EVIL), "/x", Level.ONE, ()), NOW)
    both = text + page.overview([one], NOW) + page.problem(404, EVIL, NOW)
    assert "<script>alert" not in both
    assert "\u202e" not in both
    assert "\x1b" not in both
    assert Strict(text).tags.count("script") == 1


def test_a_huge_cluster_s_page_is_bounded() -> None:
    """A thousand nodes, half of them down, and a thousand keyspaces: what is worst, and how many more there are."""
    seen = article.snapshot()
    many = tuple(
        replace(seen.nodes[0], address=f"10.1.{place // 250}.{place % 250}", host_id=str(place), rack=f"r{place % 4}")
        for place in range(1000)
    )
    verdict = reading().verdict
    assert verdict
    keyspaces = tuple(replace(verdict.keyspaces[0], name=f"k{place}") for place in range(1000))
    big = replace(
        verdict,
        snapshot=replace(verdict.snapshot, nodes=many),
        states=("down",) * 500 + ("up",) * 500,
        keyspaces=keyspaces,
        seen_down_by={},
        recover_first=(),
    )
    one = reading(verdict=big, restart_safe=frozenset(node.address for node in many))
    text = page.cluster(one, page.Shown(None, "", None, ()), NOW)
    found = Strict(text)
    assert len(text) < 400_000
    assert "and 400 more" in found.text
    assert "and 800 more, none of them worse" in found.text
    assert "744 of them" in found.text
    assert "dc1 r0 125 125 0" in found.text


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h")])
def test_ages_are_short(seconds: float, text: str) -> None:
    """As the script counts them on."""
    assert page._age(seconds) == text


def test_each_severity_has_a_shape() -> None:
    """Colours alone tell some nothing."""
    shapes = {page._ICONS[one][1] for one in Severity}
    assert len(shapes) == len(Severity)
    assert all(page.icon(one).startswith("<svg ") for one in Severity)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "long ago"])
def test_a_time_that_is_none_stands_as_it_is(since: str) -> None:
    """A lease's, which anybody who may write to their store has written: in UTC there is no such year."""
    held = reading(holders=(Holder(node="10.0.0.1", owner="me@here", purpose="kernel", since=since),))
    assert since in shown(held).text
