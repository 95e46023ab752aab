"""`ringcheck risk`: the smallest sets of nodes or racks whose loss is an outage, and how probable one is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import (
    ClusterCommand,
    Seconds,
    Whole,
    asked_levels,
    format_option,
    levels_option,
    target_options,
    tokens_choice_option,
)
from ringcheck.cli.terminal import colours, columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.cli.target import Target
    from ringcheck.core.assess import Question
    from ringcheck.core.odds import ClusterOdds, Rates
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.odds import SupposedOdds


@click.command(cls=ClusterCommand)
@target_options()
@levels_option
@click.option("--limit", type=Whole(1), default=5, show_default=True, metavar="N", help="Sets to list for each level.")
@click.option("--node-mtbf", type=Seconds(), help="Show the odds too: mean time until a node fails, such as 180d.")
@click.option("--repair", type=Seconds(), help="Mean time until a failed node or rack is up again, such as 4h.")
@click.option("--rack-mtbf", type=Seconds(), help="Mean time until a whole rack fails. [default: never]")
@click.option(
    "--tokens",
    type=Whole(1, 1024),
    multiple=True,
    metavar="N",
    help="Also show the odds if every node had N new tokens. Repeatable.",
)
@tokens_choice_option
@click.option(
    "--rack-aware", is_flag=True, help="Also show the odds if all replicas of a range were in different racks."
)
@format_option("text", "json")
def risk(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    levels: tuple[str, ...],
    limit: int,
    node_mtbf: float | None,
    repair: float | None,
    rack_mtbf: float | None,
    tokens: tuple[int, ...],
    allocated: bool,  # noqa: FBT001 - a flag
    rack_aware: bool,  # noqa: FBT001 - a flag
    format_: str,
) -> int:
    """The smallest sets of nodes, and of racks, whose loss is an outage, given the nodes that are down now.

    For each monitored level: how many such sets there are, and which of them lose most. With --node-mtbf and --repair
    also how likely an outage and a loss of data are, and how often one begins.

    Exit codes: 0 risks known, however near an outage is (`check` raises the alarm); 3 something is not known, so that
    smaller sets may be an outage.
    """
    from ringcheck.core import risk as core
    from ringcheck.core.assess import Question
    from ringcheck.report import odds as odds_report
    from ringcheck.report import whatif as report

    rates = _rates(node_mtbf, repair, rack_mtbf, asked=bool(tokens or allocated or rack_aware))
    if allocated and not tokens:
        raise UsageError("--allocated says how the tokens of --tokens are chosen", "add --tokens N")
    cluster = target.choose()
    question = Question(keyspaces=target.keyspace, levels=asked_levels(levels))
    seen = cluster.snapshot()
    policy = cluster.policy(seen)
    risks = core.risk(seen, policy, question, limit)
    text, document = report.render_risk(risks, colour=colours(), width=columns()), report.risk_document(risks)
    if rates:
        finder = _Finder(seen, policy, rates, question)
        odds, supposed = finder.odds(seen), list(finder.supposed(tokens, allocated=allocated, rack_aware=rack_aware))
        text = f"{text}\n\n{odds_report.render(rates, odds, supposed, width=columns())}"
        document["odds"] = odds_report.document(rates, odds, supposed)
    click.echo(json.dumps(document, indent=2) if format_ == "json" else text)
    return 3 if risks.gaps else 0


def _rates(node_mtbf: float | None, repair: float | None, rack_mtbf: float | None, *, asked: bool) -> Rates | None:
    from ringcheck.core.odds import Rates

    if node_mtbf is not None and repair is not None:
        return Rates(node_mtbf=node_mtbf, repair=repair, rack_mtbf=rack_mtbf)
    if asked or any(time is not None for time in (node_mtbf, repair, rack_mtbf)):
        raise UsageError("the odds need both --node-mtbf and --repair")
    return None


class _Finder:
    """The odds of one cluster, as it is and as it would be."""

    def __init__(self, seen: Snapshot, policy: Policy, rates: Rates, question: Question) -> None:
        self._seen = seen
        self._policy = policy
        self._rates = rates
        self._question = question

    def odds(self, snapshot: Snapshot) -> ClusterOdds:
        from ringcheck.core.odds import odds

        return odds(snapshot, self._policy, self._rates, self._question)

    def supposed(self, tokens: tuple[int, ...], *, allocated: bool, rack_aware: bool) -> Iterator[SupposedOdds]:
        from ringcheck.core.topology import Topology, with_topology
        from ringcheck.core.topology import rack_aware as with_racks
        from ringcheck.report.odds import SupposedOdds

        for number in dict.fromkeys(tokens):
            topology = Topology(tokens=number, choice="allocated" if allocated else "random")
            odds = self.odds(with_topology(self._seen, topology))
            text = f"with {number} {topology.choice} {'token' if number == 1 else 'tokens'}"
            yield SupposedOdds(text=text, document={"tokens": number, "token_choice": topology.choice}, odds=odds)
        if rack_aware:
            odds = self.odds(with_racks(self._seen))
            yield SupposedOdds(text="with rack awareness", document={"rack_aware": True}, odds=odds)
