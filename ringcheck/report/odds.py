"""The odds of an outage and of lost data, as text and as a part of `ringcheck/risk/1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringcheck.core.words import counted, listed
from ringcheck.report.terminal import Sentence, blocks, said

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.core.failureshares import Bounds
    from ringcheck.core.odds import ClusterOdds, DataOdds, LevelOdds, Odds, Rates

_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
_NEARLY_1 = 0.995  # a probability that shows as 1
_EXACT = 1e-6  # bounds that are nearer to each other show as one number


@dataclass(frozen=True, slots=True, kw_only=True)
class SupposedOdds:
    """The odds of the cluster as it would be.

    Attributes:
        text: what is assumed, as the beginning of a line.
        document: the same as fields of the document.
        odds: the odds then.
    """

    text: str
    document: dict[str, Any]
    odds: ClusterOdds


def render(rates: Rates, odds: ClusterOdds, supposed: Sequence[SupposedOdds] = (), *, width: int | None = None) -> str:
    """The odds overall, by keyspace, level and datacenter, and of data, each with those of the cluster as it would be.

    Args:
        rates: that are assumed.
        odds: of the cluster as it is.
        supposed: of the cluster as it would be.
        width: columns of the terminal; None for a file or a pipe, whose lines are not broken.
    """
    parts = [_head(rates, odds), _tiers(odds, supposed)]
    parts += [_level(level, supposed) for level in odds.levels]
    parts += [_data(data, supposed) for data in odds.data]
    return blocks([*parts, _metadata(odds), _hanging(odds)], width=width)


def _head(rates: Rates, odds: ClusterOdds) -> Iterator[Sentence]:
    racks = f"a rack after {_span(rates.rack_mtbf)}" if rates.rack_mtbf else "racks never"
    yield said("Odds at any moment in the long run, whatever is down now")
    yield said(f"assumed: on average a node fails after {_span(rates.node_mtbf)} up, {racks}", 2)
    yield said(f"  assumed: on average they are up again after {_span(rates.repair)}")
    yield said("  assumed: failures are independent of each other (exponential times)")
    for unit, mtbf in (("node", rates.node_mtbf), ("rack", rates.rack_mtbf)):
        if mtbf and rates.repair > mtbf:
            yield said(f"note: a repair takes longer than a {unit} stays up, so more {unit}s are down than up", 2)
    if not odds.levels:
        yield said("  not known: no level could be evaluated")


def _tiers(odds: ClusterOdds, supposed: Sequence[SupposedOdds]) -> Iterator[Sentence]:
    for tier, known in odds.tiers:
        yield said(f"any {tier.name} outage: {_words(known, 'outage')}")
        for other in supposed:
            then = dict(other.odds.tiers).get(tier)
            yield said(f"{other.text}: {_words(then, 'outage')}", 2, 4)


def _level(level: LevelOdds, supposed: Sequence[SupposedOdds]) -> Iterator[Sentence]:
    about = level.level
    where = f" in {about.datacenter}" if about.datacenter else ""
    yield said(f"{listed(about.keyspaces)} at {about.level}{where}", 0, 2)
    if level.problem:
        yield said(f"not known: {level.problem}", 2)
        return
    yield said(f"a range is unavailable: {_words(level.odds, 'outage')}", 2, 4)
    for other in supposed:
        yield said(f"{other.text}: {_words(_same_level(level, other.odds), 'outage')}", 4, 6)


def _data(data: DataOdds, supposed: Sequence[SupposedOdds]) -> Iterator[Sentence]:
    yield said(f"data of {listed(data.keyspaces)}", 0, 2)
    yield said(f"  different sets of replicas (copysets): {data.copysets}; least possible: {data.least}")
    if data.problem:
        yield said(f"not known: {data.problem}", 2)
        return
    yield said(f"all replicas of a range have failed: {_words(data.odds, 'loss')}", 2, 4)
    for other in supposed:
        then = _same_data(data, other.odds)
        sets = f", {counted(then.copysets, 'copyset')}" if then else ""
        yield said(f"{other.text}: {_words(then.odds if then else None, 'loss')}{sets}", 4, 6)


def _metadata(odds: ClusterOdds) -> Iterator[Sentence]:
    """The odds of the metadata service. Assumed tokens or racks do not change them: members are nodes, not ranges."""
    if odds.metadata:
        yield said("cluster metadata service")
        yield said(f"it has no quorum: {_words(odds.metadata, 'outage')}", 2, 4)


def _hanging(odds: ClusterOdds) -> Iterator[Sentence]:
    """The keyspaces for which the loss of one rack is an outage, or the loss of all replicas of some range."""
    for level in odds.levels:
        if level.racks:
            where = f" in {level.level.datacenter}" if level.level.datacenter else ""
            what = f"{listed(level.level.keyspaces)} at {level.level.level}{where}"
            yield said(f"{what} hangs on one rack: the loss of {_any_of(level.racks)} is an outage", 0, 2)
    for data in odds.data:
        if data.racks:
            what = f"data of {listed(data.keyspaces)} hangs on one rack"
            yield said(f"{what}: {_any_of(data.racks)} has all replicas of some range", 0, 2)
    if odds.data:
        yield said("Data whose replicas have all failed is lost for good if the failures destroyed it.", 0, 2)


def _any_of(racks: Sequence[tuple[str, str]]) -> str:
    names = ["/".join(rack) for rack in racks]
    return f"any of {listed(names)}" if len(names) > 1 else names[0]


def _same_level(level: LevelOdds, odds: ClusterOdds) -> Odds | None:
    name, about = level.level.keyspaces[0], level.level
    same = (
        other.odds
        for other in odds.levels
        if name in other.level.keyspaces
        and (other.level.level, other.level.datacenter) == (about.level, about.datacenter)
    )
    return next(same, None)


def _same_data(data: DataOdds, odds: ClusterOdds) -> DataOdds | None:
    return next((other for other in odds.data if data.keyspaces[0] in other.keyspaces), None)


def _words(odds: Odds | None, event: str) -> str:
    """`probability 0.00012, 1.3 outages a year`; both bounds, and why there are two, if they differ."""
    if odds is None:
        return "not known"
    if odds.probability.at_most == 0:
        return "no failures cause it"
    if odds.probability.at_least >= _NEARLY_1:  # outages begin rarely then, because they do not end
        return f"probability {_number(odds.probability.at_least)}, the {event} is permanent"
    exact = _is_exact(odds.probability) and _is_exact(odds.outages)
    why = "" if exact else f" (sets of up to {counted(odds.counted, 'node')} are counted, larger ones bounded)"
    return f"probability {_between(odds.probability)}, {_a_year(odds.outages, event)}{why}"


def _is_exact(bounds: Bounds) -> bool:
    return bounds.at_most - bounds.at_least <= _EXACT * bounds.at_most


def _between(bounds: Bounds) -> str:
    if _is_exact(bounds):
        return _number(bounds.at_most)
    low, high = _number(bounds.at_least), _number(bounds.at_most)
    return f"about {high}" if low == high else f"{low} to {high}"


def _number(number: float) -> str:
    return f"{number:.2g}"


def _a_year(bounds: Bounds, event: str) -> str:
    if bounds.at_most == 0:
        return f"no {event} begins"
    plural = "losses" if event == "loss" else f"{event}s"
    if bounds.at_most >= 1 or bounds.at_least == 0:
        return f"{_between(bounds)} {plural} a year"
    early, late = (f"{_years(1 / rate)}" for rate in (bounds.at_most, bounds.at_least))
    return f"one {event} in {early if early == late else f'{early} to {late}'} years"


def _years(number: float) -> str:
    """Two digits: `7.3`, `66`, `120,000`, `3.1e+09`."""
    if number < 10:  # noqa: PLR2004 - below, a decimal is the second digit
        return f"{number:.1f}"
    return f"{float(_number(number)):,.0f}" if number < 1e7 else _number(number)  # noqa: PLR2004 - a readable length


def _span(seconds: float) -> str:
    """`180 d`, `4 h`, `90 s`."""
    unit, size = next((unit for unit in _UNITS if seconds >= unit[1]), ("s", 1.0))
    return f"{round(seconds / size, 2):g} {unit}"


# The document


def document(rates: Rates, odds: ClusterOdds, supposed: Sequence[SupposedOdds] = ()) -> dict[str, Any]:
    """The field `odds` of `ringcheck/risk/1`."""
    return {
        "node_mtbf_seconds": rates.node_mtbf,
        "repair_seconds": rates.repair,
        "rack_mtbf_seconds": rates.rack_mtbf,
        **_cluster_document(odds),
        "supposed": [{**other.document, **_cluster_document(other.odds)} for other in supposed],
    }


def _cluster_document(odds: ClusterOdds) -> dict[str, Any]:
    return {
        "overall": [{"tier": tier.name, **_odds_document(known)} for tier, known in odds.tiers],
        "levels": [
            {
                "keyspaces": list(level.level.keyspaces),
                "level": level.level.level.value,
                "datacenter": level.level.datacenter,
                "tier": level.level.tier.name if level.level.tier else None,
                "problem": level.problem,
                **_odds_document(level.odds),
                "racks_alone": _racks_document(level.racks),
            }
            for level in odds.levels
        ],
        "data": [
            {
                "keyspaces": list(data.keyspaces),
                "copysets": data.copysets,
                "copysets_least": data.least,
                "problem": data.problem,
                **_odds_document(data.odds),
                "racks_alone": _racks_document(data.racks),
            }
            for data in odds.data
        ],
        "metadata_service": odds.metadata and _odds_document(odds.metadata),
    }


def _odds_document(odds: Odds | None) -> dict[str, Any]:
    return {
        "probability": odds and _bounds_document(odds.probability),
        "per_year": odds and _bounds_document(odds.outages),
        "counted_to": odds and odds.counted,
    }


def _bounds_document(bounds: Bounds) -> dict[str, float]:
    return {"at_least": bounds.at_least, "at_most": bounds.at_most}


def _racks_document(racks: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"datacenter": datacenter, "rack": rack} for datacenter, rack in racks]
