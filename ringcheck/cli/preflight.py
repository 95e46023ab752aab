"""`ringcheck preflight`: the gate for people and for scripts that restart nodes."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from ringcheck.cli.gate import gate_options, members
from ringcheck.cli.target import Seconds, Settled, Target, columns, target_options
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from ringcheck.core.gate import Action, Decision, Gate
    from ringcheck.core.maintenance import Holder
    from ringcheck.core.ring import Snapshot

EXIT = {"safe": 0, "unsafe": 2, "unknown": 3}
BETWEEN = 2.0  # seconds between readings


@click.command
@target_options
@gate_options
@click.argument("nodes", metavar="[NODE]...", nargs=-1)
@click.option("--rack", metavar="RACK", help="All nodes of this rack; with --dc where several datacenters have it.")
@click.option("--action", type=click.Choice(["restart", "decommission"]), default="restart", show_default=True)
@click.option(
    "--stable", type=click.IntRange(1), metavar="N", help="Safe readings in a row. [default: the config's, or 1]"
)
@click.option("--wait", type=Seconds(), metavar="DURATION", help="Read again for so long until it is safe.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def preflight(  # noqa: PLR0913, PLR0917 - one argument an option
    target: Target,
    gate: Gate,
    nodes: tuple[str, ...],
    rack: str | None,
    action: Action,
    stable: int | None,
    wait: float | None,
    format_: str,
) -> int:
    """May these nodes stop now, with every range of every keyspace staying available?

    A NODE is an address, a host name, a host id, or the beginning of one; what can mean several is refused. Exit
    codes: 0 safe, 2 unsafe, 3 unknown; only 0 is a yes.
    """
    from ringcheck.documents.decision import decision_document
    from ringcheck.report import gate as report

    if bool(nodes) == bool(rack):
        raise UsageError("name the nodes that are to stop, or a --rack")
    settled = target.settled()
    choose = partial(members, names=nodes, rack=rack, datacenters=target.dc)
    decision = until_safe(settled, gate, choose, action, stable or settled.stable_readings(), wait or 0.0)
    shown = report.render(decision, width=columns())
    click.echo(json.dumps(decision_document(decision), indent=2) if format_ == "json" else shown)
    return EXIT[decision.decision]


def until_safe(  # noqa: PLR0913, PLR0917 - what the command line says
    settled: Settled,
    gate: Gate,
    choose: Callable[[Snapshot], list[str]],
    action: Action,
    stable: int,
    wait: float,
    leased: Callable[[Snapshot], Collection[Holder]] | None = None,
) -> Decision:
    """The last of the readings: of as many safe ones in a row as are asked for, or of the time there is.

    `leased` says which nodes are under a restart lease, and count as down unless they are chosen.
    """
    from ringcheck.core.gate import Gatekeeper

    ends = time.monotonic() + wait
    safe = 0
    recorded = bool(settled.target.from_)
    with settled.polls(streams=True) as poll:
        while True:
            seen = poll()
            chosen = choose(seen)
            # A lease of a candidate itself may be one that is still being decided on: it takes nothing off the loss.
            held = [one for one in (leased or settled.leased)(seen) if one.node not in chosen]
            decision = Gatekeeper(seen, settled.policy(), gate, held, recorded=recorded).decide(chosen, action)
            safe = safe + 1 if decision.decision == "safe" else 0
            if safe >= stable or settled.target.from_ or (not safe and time.monotonic() + BETWEEN > ends):
                return decision
            time.sleep(BETWEEN)
