"""The page of all clusters: cards for a few, rows for many; the URL says how to filter, sort and group them.

The problems come first. Clusters that are OK are in a closed section once there are many of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from urllib.parse import urlencode

from markupsafe import Markup

from ringcheck.agent.page.rendering import ago, environment, render, since, time_of
from ringcheck.core.endpoint import order
from ringcheck.core.policy import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ringcheck.core.verdict import Verdict
    from ringcheck.report.reading import Reading

NOTICES = 37  # seconds that Cassandra needs at most to notice a dead node
CARDS = 12  # clusters that are shown as cards; more are rows
OPEN = 12  # if there are problems, more clusters than this that are OK are in a closed section
ROWS = 1000  # rows of one page

Sort: TypeAlias = Literal["state", "name", "since"]
SORTS: tuple[Sort, ...] = get_args(Sort)
Labels: TypeAlias = "Mapping[str, Mapping[str, str]]"
"""The labels of each cluster, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The choices in the URL.

    Attributes:
        filter: words that a cluster's name, labels, state or summary must all contain; empty for all clusters.
        state: only clusters of this severity.
        sort: `state`: the worst first; `name`; `since`: the latest change first.
        group: name of the label by whose values clusters are grouped; None for one list.
    """

    filter: str = ""
    state: Severity | None = None
    sort: Sort = "state"
    group: str | None = None

    def url(self, **changes: Any) -> str:  # noqa: ANN401 - values of these attributes
        """The page with other choices."""
        other = replace(self, **changes)
        chosen = {
            "filter": other.filter,
            "state": other.state.name if other.state is not None else "",
            "sort": other.sort if other.sort != "state" else "",
            "group": other.group or "",
        }
        query = urlencode({key: value for key, value in chosen.items() if value})
        return f"/?{query}" if query else "/"


@dataclass(frozen=True, slots=True)
class _Group:
    """Clusters under one heading; the heading is empty if there is only one group."""

    heading: str
    counts: list[tuple[Severity, int]]
    problems: list[Markup]
    sound: list[Markup]

    @property
    def folded(self) -> bool:
        """Whether the clusters that are OK are in a closed section."""
        return (
            bool(self.sound) and (len(self.sound) > OPEN or bool(self.heading)) and bool(self.problems or self.heading)
        )


def current_severity(reading: Reading) -> Severity:
    """The severity of a cluster now; UNKNOWN if its verdict is too old."""
    return reading.verdict.severity if reading.verdict and reading.fresh else Severity.UNKNOWN


def summary(reading: Reading) -> str:
    """One line on a cluster."""
    if reading.verdict is None:
        return reading.error or "the first poll is under way"
    if not reading.fresh:
        return f"no current verdict: {reading.error or 'polls hang'}"
    return reading.verdict.summary


def suspected(reading: Reading, now: datetime) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The suspects of a cluster, by address.

    Returns:
        Those that may be dead, and those that Cassandra would have noticed to be dead by now, each with the time since
        when it does not answer. After a failed poll nothing is known of what the others see now, so all may be dead.
    """
    since = unanswered(reading.verdict) if reading.verdict and not reading.error else {}
    suspects = sorted(reading.suspects, key=order)
    silent = tuple([(node, at) for node in suspects if (at := since.get(node)) and _is_over(at, now)])
    known = {node for node, _ in silent}
    return tuple([node for node in suspects if node not in known]), silent


def unanswered(verdict: Verdict) -> dict[str, str | None]:
    """Since when nodes do not answer that others see up."""
    return {finding.subject: finding.since for finding in verdict.findings if finding.code == "view_missing"}


def _is_over(since: str, now: datetime) -> bool:
    at = time_of(since)
    return at is not None and (now - at).total_seconds() > NOTICES


def overview(
    readings: Sequence[Reading], now: datetime, labels: Labels | None = None, asked: Asked | None = None
) -> str:
    """The page of all clusters, the worst first unless another order is asked for."""
    asked, labels = asked or Asked(), labels or {}
    chosen = _ordered([known for known in readings if _matches(known, labels, asked)], asked.sort)
    cards = len(readings) <= CARDS and not asked.group
    grouped = _grouped(chosen, labels, asked)
    TEXTS.keep(reading.cluster for reading in readings)
    return render(
        "clusters.html",
        now,
        groups=[_group(heading, members, now, cards=cards, asked=asked) for heading, members in grouped],
        counts=_counts(readings),
        worst=max(map(current_severity, readings), default=Severity.UNKNOWN),
        total=len(readings),
        shown=len(chosen),
        left_out=max(0, len(chosen) - ROWS),
        asked=asked,
        sorts=SORTS,
        names=sorted({name for own in labels.values() for name in own}),
        cards=cards,
    )


def _counts(readings: Iterable[Reading]) -> list[tuple[Severity, int]]:
    numbers = Counter(map(current_severity, readings))
    return [(severity, numbers[severity]) for severity in sorted(Severity, reverse=True) if numbers[severity]]


def _matches(reading: Reading, labels: Labels, asked: Asked) -> bool:
    severity = current_severity(reading)
    if asked.state is not None and severity is not asked.state:
        return False
    if not asked.filter:
        return True
    own = " ".join(f"{name}={value}" for name, value in labels.get(reading.cluster, {}).items())
    text = f"{reading.cluster} {own} {severity.name} {summary(reading)}".casefold()
    return all(word in text for word in asked.filter.casefold().split())


def _ordered(readings: Iterable[Reading], sort: Sort) -> list[Reading]:
    """Clusters in the order that is asked for; those that are equal in it are sorted by name."""
    by_name = sorted(readings, key=lambda reading: reading.cluster)
    if sort == "state":
        return sorted(by_name, key=current_severity, reverse=True)
    return sorted(by_name, key=_since, reverse=True) if sort == "since" else by_name


def _since(reading: Reading) -> str:
    """Since when a cluster has its severity, or its polls fail; empty, which sorts last, if that is not known."""
    return (reading.verdict.since if reading.verdict and reading.fresh else reading.failing_since) or ""


def _grouped(chosen: Sequence[Reading], labels: Labels, asked: Asked) -> list[tuple[str, list[Reading]]]:
    """Clusters under their headings; the group with the worst cluster first, then by name."""
    if asked.group is None:
        return [("", list(chosen[:ROWS]))]
    groups: dict[str, list[Reading]] = defaultdict(list)
    for reading in chosen[:ROWS]:
        groups[labels.get(reading.cluster, {}).get(asked.group) or "no value"].append(reading)
    by_name = sorted(groups.items())
    return sorted(by_name, key=lambda item: max(map(current_severity, item[1])), reverse=True)


def _group(heading: str, members: Sequence[Reading], now: datetime, *, cards: bool, asked: Asked) -> _Group:
    form = "card.html" if cards else "row.html"
    problems: list[Markup] = []
    sound: list[Markup] = []
    for reading in members:
        fine = asked.sort == "state" and current_severity(reading) is Severity.OK and not cards
        (sound if fine else problems).append(_rendered(reading, now, form))
    return _Group(heading, _counts(members), problems, sound)


# The text of one cluster


def _rendered(reading: Reading, now: datetime, form: str) -> Markup:
    """A cluster on the page of all clusters."""
    card = Card.of(reading, now, form)
    blind_until = reading.verdict.blind_until if reading.verdict and reading.fresh else ()
    ages = [since(_since(reading), now, blind_until)] if card.dated else []
    ages.append(ago(reading.verdict.snapshot.taken_at, now) if reading.verdict else Markup("never"))
    first, *others = TEXTS.of(card)
    return first + Markup("").join(age + text for age, text in zip(ages, others, strict=True))


_AGE = Markup("\0")  # stands for the age in a kept text; rendering removes it from all other text


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The card or row of a cluster without its ages: those of its severity, if known, and of its data.

    Attributes:
        suspects: nodes that stopped answering and may be dead.
        silent: those whose death Cassandra would have noticed by now.
        dated: whether it is known since when it has its severity, or since when its polls fail.
        failing: whether it is the latter.
    """

    form: str
    cluster: str
    severity: Severity
    summary: str
    error: str | None
    suspects: tuple[str, ...]
    silent: tuple[str, ...]
    nodes: str
    restart: str
    cures: int
    leases: int
    dated: bool
    failing: bool

    @classmethod
    def of(cls, reading: Reading, now: datetime, form: str = "card.html") -> Card:
        """The card of a cluster; `form` is the template."""
        verdict = reading.verdict if reading.fresh else None
        suspects, silent = suspected(reading, now)
        return cls(
            form=form,
            cluster=reading.cluster,
            severity=current_severity(reading),
            summary=summary(reading),
            error=reading.error if reading.fresh else None,
            suspects=suspects,
            silent=tuple([node for node, _ in silent]),
            nodes=_nodes(verdict),
            restart=_restart(reading),
            cures=len(reading.restart_cures or ()) if verdict else 0,
            leases=len(reading.holders or ()),
            dated=bool(_since(reading)),
            failing=verdict is None and reading.failing_since is not None,
        )

    def around_the_ages(self) -> tuple[Markup, ...]:
        """The text of the card before, between and after the ages."""
        text = environment().get_template(self.form).render(card=self, age=_AGE)
        return tuple(map(Markup, text.split(_AGE)))


class _Texts:
    """The last text of each cluster as a card and as a row, so that it is rendered anew only if it has changed."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], tuple[Card, tuple[Markup, ...]]] = {}

    def of(self, card: Card) -> tuple[Markup, ...]:
        """The result of `Card.around_the_ages`."""
        key = card.cluster, card.form
        before, text = self._last.get(key, (None, ()))
        if before != card:
            text = card.around_the_ages()
            self._last[key] = card, text
        return text

    def keep(self, clusters: Iterable[str]) -> None:
        """Forget the texts of all clusters but these."""
        known = set(clusters)
        for key in [key for key in tuple(self._last) if key[0] not in known]:
            self._last.pop(key, None)  # another request may have removed it


TEXTS = _Texts()


def _nodes(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not known"
    states = verdict.states
    parts = [f"{states.count(state)} {state}" for state in ("up", "down", "unknown") if state in states]
    return ", ".join(parts) or "none"


def _restart(reading: Reading) -> str:
    """How many of the nodes that are up may restart; a dead node does not count, since it can't be spared."""
    if not reading.fresh or reading.verdict is None or reading.restart_safe is None:
        return "not known"
    return f"{len(reading.restart_safe) or 'none'} of {reading.verdict.states.count('up')} up"
