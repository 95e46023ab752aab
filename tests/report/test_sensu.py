"""Events for the two tiers of Sensu: pages and tickets."""

from __future__ import annotations

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.ring import Snapshot, View
from ringcheck.report.sensu import LowestSeverity, Tiers, blind, events, safe_name
from tests import article

WATCH = Policy(
    (
        Rule(keyspaces=("blog_3",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.LOCAL_ALL)),
        Rule(keyspaces=("*",), ignore=True),
    )
)
ALL = article.ADDRESSES


def replaced(seen: Snapshot, view: View) -> Snapshot:
    views = (view, *(other for other in seen.views if other.observer != view.observer))
    return Snapshot(
        cluster=seen.cluster,
        taken_at=seen.taken_at,
        partitioner=seen.partitioner,
        nodes=seen.nodes,
        views=views,
        rings=seen.rings,
        authenticates=False,
    )


@pytest.mark.parametrize(
    ("seen", "page", "ticket"),
    [
        (article.snapshot(), Severity.OK, Severity.OK),
        (article.snapshot(["10.0.0.1"]), Severity.OK, Severity.WARNING),
        (article.snapshot(ALL), Severity.UNKNOWN, Severity.UNKNOWN),
        (
            replaced(article.snapshot(), View(ALL[0], outcome="unreachable", reason="timeout")),
            Severity.OK,
            Severity.UNKNOWN,
        ),
    ],
)
def test_each_tier_has_its_own_severity(seen: Snapshot, page: Severity, ticket: Severity) -> None:
    """Outages page, warnings are tickets, and gaps never resolve a page."""
    sent = events(assess(seen, WATCH))
    assert [(event.name, event.status, event.page) for event in sent] == [
        ("ringcheck.blogs.page", page.exit_code, True),
        ("ringcheck.blogs.ticket", ticket.exit_code, False),
    ]
    assert [event.output.split(" - ")[0] for event in sent] == [page.name, ticket.name]


def test_an_outage_pages_and_is_no_ticket() -> None:
    """An outage that pages makes no ticket."""
    policy = Policy(
        (
            Rule(keyspaces=("blog_3",), critical=Threshold(Level.LOCAL_ALL), warning=None),
            Rule(keyspaces=("*",), ignore=True),
        )
    )
    page, ticket = events(assess(article.snapshot(["10.0.0.1"]), policy))
    assert (page.status, ticket.status) == (2, 0)
    assert ticket.output.startswith("OK - blogs: nothing for this tier; 768 of 768 ranges")


BOTH = Policy(
    (Rule(keyspaces=("blog_1",), critical=Threshold(Level.LOCAL_ONE), warning=Threshold(Level.LOCAL_ONE)), *WATCH.rules)
)
SILENT = View(ALL[1], outcome="unreachable", reason="timeout")


@pytest.mark.parametrize(
    ("seen", "policy", "page", "ticket"),
    [
        (
            article.snapshot(ALL[:1]),
            Policy(),
            "CRITICAL - blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1 (1",
            "WARNING - blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_QUORUM in dc1",
        ),
        (
            replaced(article.snapshot(ALL[:1]), SILENT),
            BOTH,
            "CRITICAL - blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE in dc1 (1",
            "UNKNOWN - blogs: 10.0.0.2 did not answer (timeout), though others s",
        ),
    ],
)
def test_a_ticket_beside_a_page_says_what_it_is_for(seen: Snapshot, policy: Policy, page: str, ticket: str) -> None:
    """A tier that fails reports the worst finding of its own."""
    texts = [event.output.partition(" | ")[0] for event in events(assess(seen, policy))]
    assert [text[: len(wanted)] for text, wanted in zip(texts, (page, ticket), strict=True)] == [page, ticket]


@pytest.mark.parametrize(
    ("text", "name"), [("a b/c", "a-b-c"), ("ringü", "ring"), ("|", "cluster"), ("x.y_z-1", "x.y_z-1")]
)
def test_names_are_valid_for_sensu(text: str, name: str) -> None:
    """Sensu silently drops events with other names."""
    assert safe_name(text) == name


OUTAGE = assess(article.snapshot(["10.0.0.1", "10.0.0.2"]), WATCH)  # LOCAL_ONE is available, LOCAL_ALL is lost
LOST = assess(
    article.snapshot(ALL[:2]),
    Policy((Rule(keyspaces=("blog_1",), critical=Threshold(Level.LOCAL_ONE)), Rule(keyspaces=("*",), ignore=True))),
)


@pytest.mark.parametrize(
    ("page", "ticket", "warned", "lost"),
    [
        ("critical", "warning", {"page": 0, "ticket": 1}, {"page": 2, "ticket": 0}),
        ("warning", "warning", {"page": 1, "ticket": 0}, {"page": 2, "ticket": 0}),
        ("critical", "critical", {"page": 0, "ticket": 0}, {"page": 2, "ticket": 0}),
        ("critical", "never", {"page": 0}, {"page": 2}),
        ("never", "warning", {"ticket": 1}, {"ticket": 2}),
        ("never", "critical", {"ticket": 0}, {"ticket": 2}),
    ],
)
def test_an_outage_always_reaches_somebody(
    page: LowestSeverity, ticket: LowestSeverity, warned: dict[str, int], lost: dict[str, int]
) -> None:
    """A tier begins at its severity; if no tier pages an outage is a ticket; a tier that is `never` sends no event."""
    for verdict, expected in ((OUTAGE, warned), (LOST, lost)):
        assert {
            event.name.rpartition(".")[2]: event.status for event in events(verdict, Tiers(page, ticket))
        } == expected


def test_without_a_verdict_both_tiers_have_an_event() -> None:
    """Both have the reason, written as the plugin's line."""
    sent = [(event.name, event.status, event.output) for event in blind("a b", "nobody | answered", Severity.UNKNOWN)]
    assert sent == [(f"ringcheck.a-b.{tier}", 3, "UNKNOWN - a b: nobody / answered") for tier in ("page", "ticket")]
