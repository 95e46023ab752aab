"""The pages as text: what they show of readings and in which order; hostile text and huge clusters do no harm."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import click
import pytest

from ringcheck.agent import page
from ringcheck.cli import ringcheck
from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.findings import SECTIONS, Finding
from ringcheck.core.held_back import HeldBack
from ringcheck.core.maintenance import Holder
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.reasons import REASONS, reason
from ringcheck.core.transitions import Entry, Transition
from ringcheck.report.picture_svg import STYLES
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.evidence import State
    from ringcheck.core.ring import Snapshot

NOW = datetime(2026, 1, 1, 0, 0, 42, tzinfo=UTC)
EVIL = '"><script>alert(1)</script>\u202e\x1b[31m'
HELP = ["-h", "--help"]  # a command keeps the names from its first context
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
    """It has severity, summary, age, nodes to bring back first, findings, counts with totals, and nodes."""
    text = shown(reading("10.0.0.1"))
    assert "CRITICAL blogs" in text
    assert "256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE" in text
    assert "Seen 00:00:00 UTC ( 42 s ago); 2 of 3 views usable" in text
    assert "10.0.0.1 dc1 r0 : restores 31.5 % of the tokens" in text
    assert "10.0.0.1 down 2 of 2 views" in text
    assert "256 of 768" in text


def test_the_card_of_a_cluster_is_rendered_anew_only_if_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later poll with the same result, or the passing of time, changes only the age."""
    numbers = count_renderings(monkeypatch)
    known = reading("10.0.0.1", cluster="kept")
    assert known.verdict
    first = page.overview([known], NOW)
    later = replace(known.verdict, snapshot=replace(known.verdict.snapshot, taken_at="2026-01-01T00:01:00Z"))
    second = page.overview([replace(known, verdict=later, last_success=2.0)], NOW + timedelta(minutes=9))
    assert numbers == {"kept": 1}
    assert "00:00:00 UTC</time> (<span data-since=" in first
    assert "00:01:00 UTC</time> (<span data-since=" in second
    changed = page.overview([replace(known, suspects=frozenset({"10.0.0.2"}))], NOW)
    assert "10.0.0.2 stopped answering" in changed
    assert numbers == {"kept": 2}


def test_the_card_of_a_cluster_that_was_removed_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent keeps texts only of the clusters that it watches, also if the page shows only some of these."""
    numbers = count_renderings(monkeypatch)
    first, second = reading(cluster="first"), reading(cluster="second")
    page.overview([first, second], NOW)
    page.overview([first, second], NOW, asked=page.Asked(filter="second"))
    page.overview([first, second], NOW)
    assert numbers == {"first": 1, "second": 1}
    page.overview([second], NOW)
    page.overview([first, second], NOW)
    assert numbers == {"first": 2, "second": 1}


def count_renderings(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the card of each cluster is rendered from now on."""
    numbers: Counter[str] = Counter()
    rendering = page.Card.around_the_ages

    def counted(card: page.Card) -> Any:
        numbers[card.cluster] += 1
        return rendering(card)

    monkeypatch.setattr(page.Card, "around_the_ages", counted)
    return numbers


def test_an_old_verdict_is_unknown() -> None:
    """The old severity is shown only in the closed section, together with its time."""
    old = reading(fresh=False, error="no node answered")
    text = rendered(old)
    Strict(text)
    assert "<title>UNKNOWN blogs" in text
    before, _, after = text.partition("<details")
    assert "OK" not in before.replace("UNKNOWN", "")
    assert "No current verdict." in before
    assert "Last known state: OK" in after
    assert "yes, alone" not in text
    assert page.current_severity(old) is Severity.UNKNOWN
    assert page.summary(old) == "no current verdict: no node answered"
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
        (reading(suspects=frozenset({"10.0.0.2"})), "10.0.0.2 suspect none"),
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
    """They are shown in words, not only in colours."""
    assert text in shown(known)


@pytest.mark.parametrize("changes", [{"error": "connection refused"}, {"suspects": frozenset({"10.0.0.2"})}])
def test_a_doubtful_ok_is_not_green(changes: dict[str, Any]) -> None:
    """The verdict from before a failed poll, or with a node that stopped answering, is not shown in green."""
    sound, doubtful = rendered(reading()), rendered(reading(**changes))
    assert 'class="hero ok"' in sound
    assert 'class="hero warning"' in doubtful
    assert "As of the last successful poll" not in sound
    assert ("As of the last successful poll" in doubtful) is ("error" in changes)


def test_a_refusal_states_what_lifts_it() -> None:
    """The reasons why no node may restart are shown, each with what would remove it."""
    why = reason("schema_disagreement", "blogs", "two schema versions", lifts_when="the nodes agree")
    held = HeldBack(reason=why, nodes=frozenset({0, 1, 2}))
    text = shown(reading(restart_safe=frozenset()), held=(held,))
    assert "Why All 3 nodes that are up: two schema versions schema_disagreement Until the nodes agree." in text
    some = HeldBack(reason=why, nodes=frozenset({1, 2}), example=1)
    text = shown(reading(restart_safe=frozenset({"10.0.0.1"})), held=(some,))
    assert "Why the others may not 2 nodes: for example 10.0.0.2: two schema versions" in text
    assert "Which dc1 r1 10.0.0.2 dc1 r2 10.0.0.3" in text


def test_down_nodes_are_listed_apart_from_nodes_that_may_stop() -> None:
    """A dead node that may be started has a separate count, list and wording, since it can't be spared."""
    known = reading("10.0.0.1", restart_safe=frozenset({"10.0.0.2"}))
    text = shown(known)
    assert "May restart now 1 of 2 nodes that are up , one at a time." in text
    assert "ringcheck preflight --cluster blogs 10.0.0.2 dc1 r1 10.0.0.2 Down, and may be started" in text
    assert (
        "Down, and may be started 1 of 3 nodes . They are down already, so a restart makes no more ranges unavailable."
        in text
    )
    assert "no more ranges unavailable. dc1 r0 10.0.0.1" in text
    assert "10.0.0.1 down 2 of 2 views dc1 r0 5.0.8 unreachable yes, it is down" in text
    assert "10.0.0.2 up none dc1 r1 5.0.8 ok yes, alone" in text
    assert "10.0.0.3 up none dc1 r2 5.0.8 ok no" in text
    line = Strict(page.overview([known], NOW)).text
    assert "May restart now, one at a time 1 of 2 up Down, may be started 1 Seen" in line


def test_only_nodes_known_to_be_down_may_be_started() -> None:
    """If all nodes are up, the poll failed, or the verdict is old, that headline is missing."""
    unknown = {"error": "connection refused", "restart_safe": None, "restart_cures": None}
    for known in (reading(), reading("10.0.0.1", **unknown), reading("10.0.0.1", fresh=False)):
        assert "may be started" not in shown(known)
        assert "may be started" not in Strict(page.overview([known], NOW)).text


def test_the_worst_cluster_is_first() -> None:
    """The configured order does not matter; UNKNOWN is worse than WARNING."""
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
    """Names with markup, control characters or a change of text direction are shown as plain text."""
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
    """Only the latest times are shown, each with its first changes and the number of the others, as plain text."""
    past = [changed(number, number * 1000) for number in range(200, 100, -1)]
    past += [changed(number, 1000, EVIL) for number in range(50, 0, -1)]
    text = page.cluster(reading(), page.Shown(past=past), NOW)
    assert text.count('<li class="edge-critical">') == page.MOMENTS
    flood = page.cluster(reading(), page.Shown(past=past[100:]), NOW)
    assert f"and {50 - page.CHANGES} more" in Strict(flood).text
    assert "CRITICAL was OK: &#34;" in flood.replace("</span> ", " ")
    assert "<script>alert" not in flood
    assert "\u202e" not in flood


def begun(number: int, severity: str | None, was: str | None = None) -> Entry:
    """A finding that begins, or is over, in a poll at 12:00."""
    where = {"subject": f"k{number}", "code": "unavailable", "level": "LOCAL_QUORUM", "datacenter": "dc1"}
    return Entry(
        id=number, cluster="blogs", at=43_200_000, change=Transition(kind="finding", was=was, now=severity, **where)
    )


def test_an_entry_about_a_finding_has_its_severity() -> None:
    """An outage that begins while the cluster is CRITICAL already has a badge and the colour of its severity."""
    html = rendered(reading("10.0.0.1"), past=(begun(1, "WARNING"), begun(2, "CRITICAL"), begun(3, None, "CRITICAL")))
    assert html.count('<li class="edge-critical">') == 1
    text = Strict(html).text
    assert "WARNING unavailable of k1 at LOCAL_QUORUM in dc1 CRITICAL unavailable of k2 at" in text
    assert "unavailable of k3 at LOCAL_QUORUM in dc1 is over (was CRITICAL)" in text
    over = rendered(reading("10.0.0.1"), past=(begun(3, None, "CRITICAL"),))
    assert '<li class="plain">' in over


def test_entries_that_are_left_out_do_not_hide_the_worst() -> None:
    """The number of the entries that are not shown has the badge of the worst of them."""
    past = [begun(number, "WARNING") for number in range(page.CHANGES)] + [begun(99, "CRITICAL")]
    html = rendered(reading("10.0.0.1"), past=past)
    assert "CRITICAL and 1 more" in Strict(html).text
    assert html.count('<li class="edge-critical">') == 1


def test_a_later_outage_is_in_the_headline() -> None:
    """The severity is older than the latest of its findings: both times are shown."""
    verdict = reading("10.0.0.1").verdict
    assert verdict
    since = ("2025-12-31T23:50:00Z", "2025-12-31T23:58:00Z")
    losses = tuple(replace(verdict.findings[0], subject=f"k{number}", since=at) for number, at in enumerate(since))
    warning = replace(verdict.findings[0], severity=Severity.WARNING, since="2025-12-31T23:59:00Z")
    dated = replace(verdict, since=since[0], findings=(*losses, warning))
    first = "CRITICAL since 2025-12-31 23:50:00 UTC ( 10 min ago)"
    later = "; the latest CRITICAL finding since 2025-12-31 23:58:00 UTC ( 2 min ago)"
    assert first + later in shown(reading(verdict=dated))
    alone = shown(reading(verdict=replace(dated, findings=losses[:1])))
    assert first in alone
    assert "the latest CRITICAL finding" not in alone


@pytest.mark.parametrize(
    ("past", "text"),
    [((), "No change has been seen yet."), ("the disk hangs", "Not known: the disk hangs"), (None, "")],
    ids=["empty", "unreadable", "none"],
)
def test_the_timeline_of_a_cluster_without_a_past(past: tuple[Entry, ...] | str | None, text: str) -> None:
    """The page says that there are no changes; without a state file it has no timeline."""
    shown_text = Strict(page.cluster(reading(), page.Shown(past=past), NOW)).text
    assert text in shown_text
    assert ("History" in shown_text) is (past is not None)


@pytest.mark.parametrize("calm", [True, False])
def test_the_timeline_is_in_the_column_that_is_short(*, calm: bool) -> None:
    """If there is hardly a finding or a refusal, the text beside the picture is short; otherwise the picture is."""
    columns = rendered(reading() if calm else reading("10.0.0.1"), past=()).split('<div class="stack">')
    assert ['id="h-history"' in column for column in columns] == [False, calm, not calm]


def test_the_page_of_a_huge_cluster_is_bounded() -> None:
    """With a thousand nodes, half of them down, and a thousand keyspaces, it shows the worst and counts the rest."""
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


def test_findings_that_are_left_out_are_counted() -> None:
    """The last finding of a kind stands for those left out: the closed section counts them as the headline does."""
    verdict = reading("10.0.0.1").verdict
    assert verdict
    [loss] = [finding for finding in verdict.findings if finding.code == "unavailable"][:1]
    alike = (*[replace(loss, subject=f"k{number}") for number in range(20)], replace(loss, more=60))
    note = next(finding for finding in verdict.findings if finding.severity is Severity.OK)
    notes = (*[note] * 20, replace(note, more=7))
    text = shown(reading(verdict=replace(verdict, findings=alike + notes)))
    assert "72 more findings" in text
    assert "27 notes" in text


def test_no_note_is_above_a_finding_that_is_folded_away() -> None:
    """With more findings than are shown at once, the closed section of notes is below that of findings."""
    verdict = reading("10.0.0.1").verdict
    assert verdict
    loss = verdict.findings[0]
    worse = [replace(loss, severity=Severity.WARNING, summary=f"loss {number}") for number in range(10)]
    notes = [replace(loss, severity=Severity.OK, summary=f"remark {number}") for number in range(3)]
    html = rendered(reading(verdict=replace(verdict, findings=(*worse, *notes))))
    text = Strict(html).text
    assert "2 more findings, WARNING at worst" in text
    assert text.index("loss 9") < text.index("3 notes") < text.index("remark 0")


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h")])
def test_ages_are_short(seconds: float, text: str) -> None:
    """The script formats ages in the same way."""
    assert page.age(seconds) == text


def test_each_severity_has_its_own_shape() -> None:
    """The shapes are for people who can't distinguish the colours."""
    shapes = {page.ICONS[severity][1] for severity in Severity}
    assert len(shapes) == len(Severity)
    assert all(page.icon(severity).startswith("<svg ") for severity in Severity)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "long ago"])
def test_a_time_that_can_t_be_read_is_shown_as_it_is(since: str) -> None:
    """The time of a lease comes from the store; its year may be one that UTC can't express."""
    assert since in shown(reading(holders=(held("10.0.0.1", "me@here", "kernel", since),)))


# Many clusters


def fleet(number: int, **changes: Any) -> list[Reading]:
    return [reading(cluster=f"c{index:03}", **changes) for index in range(number)]


def test_few_clusters_are_cards_and_many_are_rows() -> None:
    """If there are many clusters and some have problems, the rows of clusters that are OK are folded."""
    few = page.overview(fleet(12), NOW)
    assert few.count('<li class="card') == 12
    assert "<table" not in few
    many = page.overview([*fleet(40), replace(reading("10.0.0.1"), cluster="bad")], NOW)
    assert "<li class" not in many
    before, _, folded = many.partition('<details id="ok-"')
    assert 'data-key="bad"' in before
    assert "40 clusters OK" in folded
    assert folded.count("<tr data-key=") == 40
    assert "<details" not in page.overview(fleet(40), NOW)


def test_clusters_are_filtered_by_name_label_state_and_summary() -> None:
    """A cluster must match every word; the page says how many clusters it shows, and how to show all."""
    readings = [*fleet(20), replace(reading("10.0.0.1"), cluster="orders")]
    labels = {"orders": {"team": "payments"}, "c003": {"team": "search"}}
    for words in ("orders", "team=payments", "critical 10.0.0.1", "UNAVAILABLE"):
        text = Strict(page.overview(readings, NOW, labels, page.Asked(filter=words))).text
        assert f"1 of 21 clusters with {words} . Show all" in text
        assert "orders" in text
        assert "c003" not in text
    parsed = Strict(page.overview(readings, NOW, labels, page.Asked(state=Severity.CRITICAL)))
    assert "1 of 21 clusters in state CRITICAL" in parsed.text
    assert (
        "0 of 21 clusters with team=payments c003"
        in Strict(page.overview(readings, NOW, labels, page.Asked(filter="team=payments c003"))).text
    )


def test_clusters_are_grouped_by_a_label() -> None:
    """Each value of the label is a section with its counts; the group with the worst cluster comes first."""
    readings = [*fleet(20), replace(reading("10.0.0.1"), cluster="orders")]
    labels = {"orders": {"team": "payments"}, **{f"c{number:03}": {"team": "ads"} for number in range(15)}}
    text = Strict(page.overview(readings, NOW, labels, page.Asked(group="team"))).text
    headings = ("team: payments 1 CRITICAL", "team: ads 15 OK", "team: no value 5 OK")
    positions = [text.index(heading) for heading in headings]
    assert positions == sorted(positions)


def test_clusters_are_sorted_as_asked() -> None:
    """Clusters are sorted by name, or by their last change: newest first, unknown times last."""
    late, early = reading(cluster="b"), reading("10.0.0.1", cluster="c")
    assert late.verdict
    assert early.verdict
    late = replace(late, verdict=replace(late.verdict, since="2026-01-01T00:00:30Z"))
    early = replace(early, verdict=replace(early.verdict, since="2025-01-01T00:00:30Z"))
    readings = [early, late, reading(cluster="a")]
    orders = {"state": ["c", "a", "b"], "name": ["a", "b", "c"], "since": ["b", "c", "a"]}
    for sort in page.SORTS:
        parsed = Strict(page.overview(readings, NOW, {}, page.Asked(sort=sort)))
        assert [word for word in parsed.words if word in {"a", "b", "c"}] == orders[sort]


def test_choices_are_kept_in_the_links() -> None:
    """A link changes one choice, and leaves the others."""
    asked = page.Asked(filter="a b&c", state=Severity.OK, sort="name", group="team")
    assert asked.url() == "/?filter=a+b%26c&state=OK&sort=name&group=team"
    assert asked.url(state=None, filter="") == "/?sort=name&group=team"
    assert page.Asked().url() == "/"


# Many nodes and keyspaces


def wide(addresses: list[str], down: int = 0) -> Reading:
    known = reading()
    assert known.verdict
    nodes = tuple(
        replace(known.verdict.snapshot.nodes[0], address=address, host_id=f"h{index}", rack=f"r{index % 12}")
        for index, address in enumerate(addresses)
    )
    states: tuple[State, ...] = tuple("down" if index < down else "up" for index in range(len(nodes)))
    verdict = replace(
        known.verdict, snapshot=replace(known.verdict.snapshot, nodes=nodes), states=states, seen_down_by={},
        recover_first=(),
    )  # fmt: skip
    return replace(known, verdict=verdict, restart_safe=frozenset(addresses[down:]), restart_cures=frozenset())


def test_addresses_and_racks_are_in_numeric_order() -> None:
    """10.0.0.9 comes before 10.0.0.10, r2 before r10, and IPv4 before IPv6."""
    addresses = ["2001:db8::10", "10.0.0.10", "2001:db8::9", "10.0.0.9"]
    html = rendered(wide(addresses))
    positions = [html.index(f'data-key="{addresses[number]}"') for number in (3, 1, 2, 0)]
    assert positions == sorted(positions)
    many = rendered(wide([f"10.0.0.{number}" for number in range(24)]))
    assert many.index('data-key="dc1/r2"') < many.index('data-key="dc1/r10"')
    known = wide([f"10.0.0.{number}" for number in range(24)])
    assert known.verdict
    nodes = tuple(replace(node, rack="9" * 5000) for node in known.verdict.snapshot.nodes[:12])  # too long for int()
    snapshot = replace(known.verdict.snapshot, nodes=(*nodes, *known.verdict.snapshot.nodes[12:]))
    assert "r11" in rendered(replace(known, verdict=replace(known.verdict, snapshot=snapshot)))


def test_nodes_with_problems_are_first_and_others_folded() -> None:
    """This applies to clusters with more than a dozen nodes."""
    html = rendered(wide([f"10.0.0.{number}" for number in range(40)], down=2))
    before, _, folded = html.partition('<details id="other-nodes"')
    assert before.count('<tr data-key="10.0.0.') == 2
    assert "38 nodes up" in folded
    assert folded.count('<tr data-key="10.0.0.') == 38


def test_a_filter_finds_a_node_of_a_large_cluster_and_its_commands() -> None:
    """The filter is an address, a rack or a state; if only one node is left, its commands are shown."""
    known = wide([f"10.0.{number // 250}.{number % 250}" for number in range(1000)], down=2)
    alone = shown(known, filter="10.0.3.249")
    assert "1 node of 1000" in alone
    assert "ringcheck preflight --cluster blogs 10.0.3.249" in alone
    assert "ringcheck what-if --cluster blogs --down 10.0.3.249" in alone
    rack = shown(known, filter="dc1/r1")
    assert "84 nodes of 1000" in rack  # only r1, not r10 or r11
    assert "what-if" not in rack
    assert "2 nodes of 1000" in shown(known, filter="down")
    assert "No node has nowhere in its address" in shown(known, filter="nowhere")
    assert "1 keyspace of 2 with blog_3" in shown(reading(), filter="blog_3")


def test_the_page_of_1024_nodes_is_small() -> None:
    """With 1,024 nodes and 40 keyspaces with problems the page has at most 100 kB of HTML."""
    known = wide([f"10.0.{number // 250}.{number % 250}" for number in range(1024)], down=8)
    verdict = reading("10.0.0.1").verdict
    assert verdict
    assert known.verdict
    many = tuple(replace(verdict.keyspaces[0], name=f"tenant_{number:02}") for number in range(40))
    held = HeldBack(reason=reason("no_data", "x", "x"), nodes=frozenset(range(8, 200)))
    big = replace(known, verdict=replace(known.verdict, keyspaces=many, findings=verdict.findings))
    assert len(rendered(big, held=(held,)).encode()) <= 100_000


# What helps


def test_the_page_of_a_cluster_that_is_not_reached_says_what_to_do() -> None:
    """It shows what happened, what was tried, when the next poll begins, and what to check."""
    silent = Reading(cluster="blogs", error="no node answered")
    text = shown(silent, asked=("http://10.0.0.1:8778/jolokia",), next_poll=NOW + timedelta(seconds=7))
    for part in (
        "What happened no node answered",
        "What was tried http://10.0.0.1:8778/jolokia",
        "Next poll begins at 00:00:49 UTC",
        "ringcheck doctor --cluster blogs",
    ):
        assert part in text
    assert "Next poll is under way" in shown(silent)
    assert "doctor" not in shown(reading(error="no node answered"))


def test_codes_link_to_their_explanation() -> None:
    """Findings link to the operator's page if there is one, otherwise to the page that lists all codes."""
    html, reference = rendered(reading("10.0.0.1")), page.reference(NOW)
    assert 'href="/reference#unavailable"' in html
    parsed = Strict(reference)
    assert {kind.code for kinds in SECTIONS.values() for kind in kinds} <= set(parsed.ids)
    assert {f"reason-{code}" for code in REASONS} <= set(parsed.ids)
    assert "`" not in parsed.text
    own = rendered(reading("10.0.0.1"), runbook_url="https://wiki.example.org/{code}?x")
    assert 'href="https://wiki.example.org/unavailable?x"' in own


def test_links_and_labels_are_shown() -> None:
    """There are links to Grafana and the runbook; a label links to the clusters grouped by it."""
    html = rendered(reading(), labels={"team": "payments"}, links=[("Grafana", "https://g/d/x?var-cluster=blogs")])
    assert '<a class="tag" href="/?group=team">team: payments</a>' in html
    assert '<a class="out" href="https://g/d/x?var-cluster=blogs" rel="noopener">Grafana</a>' in html


def test_losses_have_a_shape_and_numbers_that_are_fine_have_none() -> None:
    """Unavailable and at minimum have different icons, not only different colours."""
    html, fine = rendered(reading("10.0.0.1")), rendered(reading())
    assert '<td class="number unavailable">256 of 768</td>' in html
    assert 'class="number minimum"' in html
    assert "number unavailable" not in fine
    assert "number minimum" not in fine  # always the case at RF 1


def test_unknown_does_not_look_like_a_broken_character() -> None:
    """Its mark is not a question mark on a diamond, which is U+FFFD, the broken character, in most fonts."""
    assert "<rect" in page.ICONS[Severity.UNKNOWN][1]


def test_the_picture_has_the_background_of_its_panel() -> None:
    """In both colour schemes: it would lie on the panel as a square of another colour."""
    panels = re.findall(r"--panel: (#\w+)", page.static("page.css").decode())
    papers = re.findall(r"\.paper[^{]*\{fill:(#\w+)", "".join(STYLES))
    assert papers == panels[: len(papers)]
    assert len(papers) == len({"light", "dark"})


def test_an_error_page_names_what_was_meant() -> None:
    """It suggests a cluster with a similar name."""
    assert 'href="/clusters/orders-prod"' in page.problem(404, "no cluster", NOW, "orders-prod")
    assert ">Open " not in page.problem(404, "no cluster", NOW)


def commands(html: str) -> list[str]:
    """The commands that a page offers to copy."""
    found = re.findall(r'<code class="command">(.*?)</code>', html)
    return [unescape(re.sub(r"<[^>]*>", "", text)) for text in found]


def test_commands_name_the_configuration_of_the_agent() -> None:
    """Without it they would read another file; the one at the usual place is read without being named."""
    usual, other = (commands(rendered(reading(), filter="10.0.0.2", past=(), config=file)) for file in (None, "a.yaml"))
    assert "ringcheck preflight --cluster blogs 10.0.0.2" in usual
    assert [text.replace(" -C a.yaml", "") for text in other] == usual
    assert all(" -C a.yaml --cluster blogs" in text for text in other)


def test_no_command_breaks_within_an_option() -> None:
    """A browser would break a line after the two hyphens."""
    html = rendered(reading(), filter="10.0.0.2")
    assert '<span class="option">--down</span> 10.0.0.2</code>' in html


def silent(since: str | None, **changes: Any) -> Reading:
    """10.0.0.2 does not answer, and the others see it up."""
    known = reading()
    assert known.verdict
    finding = Finding(code="view_missing", severity=Severity.UNKNOWN, subject="10.0.0.2", summary="x", since=since)
    verdict = replace(known.verdict, findings=(finding,))
    return replace(known, verdict=verdict, suspects=frozenset({"10.0.0.2"}), **changes)


@pytest.mark.parametrize(
    ("known", "alive"),
    [
        (silent(None), False),
        (silent("2026-01-01T00:00:10Z"), False),
        (silent("2026-01-01T00:00:04Z"), True),
        (silent("2025-12-31T23:53:00Z", error="no node answered"), False),
    ],
    ids=["unknown", "recent", "long", "long, but the views are old"],
)
def test_a_suspect_that_cassandra_would_have_noticed_is_probably_alive(known: Reading, *, alive: bool) -> None:
    """Once Cassandra must have noticed a dead node, the page names Jolokia as the likely cause and the next command."""
    text, card = shown(known), Strict(page.overview([known], NOW)).text
    row = Strict(page.overview([known, *fleet(page.CARDS)], NOW)).text
    assert ("10.0.0.2 has not answered since" in text) is alive
    assert ("ringcheck doctor --cluster blogs 10.0.0.2" in text) is alive
    assert ("up to 37 s to notice" in text) is not alive
    assert ("10.0.0.2 does not answer, but no view sees it down: Cassandra is probably alive" in card) is alive
    assert ("10.0.0.2 stopped answering" in card) is not alive
    assert f"{page.summary(known)}. " in row.partition("Suspect: 10.0.0.2")[0]


def test_since_when_a_suspect_is_one_is_shown() -> None:
    """Its row has the time since when it does not answer, not since when it is up."""
    known = silent("2025-12-31T23:30:42Z")
    assert known.verdict
    dated = replace(known, verdict=replace(known.verdict, states_since=("2025-12-31T20:00:00Z",) * 3))
    assert "10.0.0.2 suspect 2025-12-31 23:30:42 UTC ( 30 min ago) none" in shown(dated)
    assert "10.0.0.2 up 2025-12-31 20:00:00 UTC" in shown(replace(dated, suspects=frozenset()))


def test_what_was_not_seen_to_begin_is_older_than_its_time() -> None:
    """A page of an agent that has just been started does not look as if the whole cluster had."""
    start, later = "2026-01-01T00:00:00Z", "2026-01-01T00:00:30Z"
    known = reading("10.0.0.1")
    assert known.verdict
    losses = [replace(known.verdict.findings[0], since=at) for at in (start, later)]
    dated = replace(
        known.verdict,
        since=start,
        findings=(*losses,),
        states_since=(later, start, start),
        blind_until=frozenset({start}),
    )
    fresh = replace(known, verdict=dated)
    text = shown(fresh)
    assert "CRITICAL since before 00:00:00 UTC ( 42 s ago)" in text
    assert text.count("; since before 00:00:00 UTC") == text.count("; since 00:00:30 UTC ( 12 s ago)") == 1
    assert "10.0.0.1 down 00:00:30 UTC" in text
    assert "10.0.0.2 up before 00:00:00 UTC" in text
    for html in (page.overview([fresh], NOW), page.overview([fresh, *fleet(page.CARDS)], NOW)):
        assert "CRITICAL since before 00:00:00 UTC" in Strict(html).text


def test_since_when_polls_fail_is_shown_of_an_unreachable_cluster() -> None:
    """On its page, its card and its row; a cluster whose verdict is current has the time of its state instead."""
    lost = Reading(cluster="lost", error="no node answered", failing_since="2025-12-31T23:30:42Z")
    for html in (rendered(lost), page.overview([lost], NOW), page.overview([lost, *fleet(page.CARDS)], NOW)):
        assert "olls fail since 2025-12-31 23:30:42 UTC ( 30 min ago)" in Strict(html).text
    assert "olls fail since" not in shown(reading(error="no node answered", failing_since="2025-12-31T23:30:42Z"))


def test_only_an_error_that_may_pass_reloads_its_page() -> None:
    """What is wrong with a URL stays wrong; codes don't change. A page of clusters hears of news."""
    assert "data-news" not in page.problem(404, "no cluster", NOW) + page.reference(NOW)
    assert "http-equiv" not in page.problem(404, "no cluster", NOW) + page.problem(400, "x", NOW) + page.reference(NOW)
    assert all('<meta http-equiv="refresh"' in page.problem(status, "x", NOW) for status in (429, 500, 503))
    assert '<body data-news="/events">' in page.overview([reading()], NOW)
    assert '<body data-news="/events?cluster=a%26b">' in rendered(reading(cluster="a&b"))


def test_the_commands_on_pages_are_commands() -> None:
    """The command line accepts each command that a page offers to copy, also when it is pasted into a shell."""
    address = "[2001:db8::7]:7000"
    known = wide([address, *(f"10.0.0.{number}" for number in range(20))])
    pages = [
        rendered(known, filter="2001:db8::7", past=()),
        rendered(Reading(cluster="blogs", error="no node answered")),
        rendered(known, filter="2001:db8::7", past=(), config="/srv/my agent.yaml"),
        rendered(Reading(cluster="blogs", error="no node answered"), config="/srv/my agent.yaml"),
    ]
    found = {command for html in pages for command in commands(html)}
    assert {text.split()[1] for text in found} == {"preflight", "what-if", "lease", "doctor", "history"}
    for text in found:
        _, *words = shlex.split(text)
        group: click.Command = ringcheck
        while isinstance(group, click.Group):
            chosen = group.get_command(click.Context(group, help_option_names=HELP), words.pop(0))
            assert chosen, text
            group = chosen
        assert group.make_context("x", words, help_option_names=HELP).params, text
    assert any(f"'{address}'" in text for text in found)
