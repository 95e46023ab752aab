"""Run many bent worlds and report every false OK and false SAFE of ringcheck.

python -m tests.worlds --count 100000 --jobs 2
python -m tests.worlds --replay 4711 -v
python -m tests.worlds --replay 4711 --lies ghost,node_down -v
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from tests.worlds.asking import Judgement, Order, gate_of, judge, name_of
from tests.worlds.check import ADVISORY, KINDS, checked, made
from tests.worlds.jolokia import all_answers
from tests.worlds.lies import BENDS
from tests.worlds.oracle import Oracle
from tests.worlds.soak import Report, orders_of, soak

if TYPE_CHECKING:
    from tests.worlds.cluster import Node
    from tests.worlds.soak import Example
    from tests.worlds.world import World


SHOWN = 25  # combinations of lies, and examples, that are printed for each sort of failure


def main() -> int:
    """Run what the command line asks for; return 1 if a property does not hold."""
    options = _options()
    if options.replay is not None:
        return _replay(options.replay, options.lies, verbose=options.verbose)
    started = time.monotonic()
    total = Report()
    for report in soak(options.seed, options.count, options.jobs):
        total.add(report)
        if options.verbose:
            print(f"{total.worlds} worlds, {sum(total.failures.values())} failures", file=sys.stderr, flush=True)
            for example in report.examples:
                print(f"  {_shown(example)}", file=sys.stderr, flush=True)
    _print(total, time.monotonic() - started)
    demanded = {sort for sort in total.failures if options.strict or sort.partition(" ")[0] not in ADVISORY}
    return int(bool(demanded))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.worlds", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="how many worlds")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--strict", action="store_true", help=f"fail for {', '.join(sorted(ADVISORY))} too")
    parser.add_argument("--replay", type=int, metavar="SEED", help="show the world of a seed")
    parser.add_argument("--lies", type=_names, help="bend the replayed world by these, separated by commas")
    parser.add_argument("-v", "--verbose", action="store_true", help="show all of a replayed world, or the progress")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := set(names) - set(BENDS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(BENDS)}")
    return names


# A soak


def _print(report: Report, seconds: float) -> None:
    print(f"{report.worlds} worlds in {seconds:.0f} s ({report.worlds / max(seconds, 0.01):.0f} a second)")
    print("\nhow often each lie or happening occurred: worlds, of these OK, and nodes that were SAFE")
    for name, count in sorted(report.lies.items(), key=lambda item: -item[1]):
        print(f"  {count:7} {report.fine[name]:7} {report.safe[name]:7}  {name}")
    for title, counts in (
        ("verdicts", report.severities),
        ("decisions on single nodes", report.decisions),
        ("severities where a range was lost at the critical level", report.quiet),
        ("failures (worlds)", report.failures),
    ):
        print(f"\n{title}: {', '.join(f'{name} {count}' for name, count in sorted(counts.items())) or 'none'}")
    _print_failures(report)


def _print_failures(report: Report) -> None:
    for sort, count in sorted(report.failures.items()):
        print(f"\n{sort}, {count} worlds: {KINDS[sort.removesuffix(' (login)')]}")
        print("  the fewest lies that it takes, of a sample")
        blamed = {lies: number for (of_sort, lies), number in report.blamed.items() if of_sort == sort}
        for lies, number in sorted(blamed.items(), key=lambda item: -item[1])[:SHOWN]:
            print(f"  {number:7}  {lies}")
        examples = [example for example in report.examples if example.sort == sort]
        for example in sorted(examples, key=lambda example: len(example.lies))[:SHOWN]:
            print(f"  {_shown(example)}")


def _shown(example: Example) -> str:
    return f"--replay {example.seed} --lies {','.join(example.lies) or ','} -v: {example.text[:300]}"


# A replay


def _replay(seed: int, lies: list[str] | None, *, verbose: bool) -> int:
    world = made(seed, lies)
    outcome = checked(world, (*orders_of(seed), Order(1), Order(2)))
    if verbose:
        if world.before:
            print(f"== before the change ({world.change} polls; requests answered from it: {world.patience})")
            _print_world(world.before)
            print("== after it")
        _print_world(world)
        _print_judgement(world, judge(world))
    for failure in outcome.failures:
        print(f"{failure.kind}: {failure.text}")
    print(f"seed {seed}, lies: {', '.join(world.lies) or 'none'}: {len(outcome.failures)} failures")
    return int(bool(outcome.failures))


def _print_world(world: World) -> None:
    print(f"keyspaces: {'; '.join(f'{keyspace.name} {keyspace}' for keyspace in world.keyspaces)}")
    print(f"wishes: {world.wishes}; login {world.auth_level if world.authenticates else 'not needed'}")
    print(f"contact points: {', '.join(world.contacts)}")
    if world.routes:
        print(f"agents elsewhere: {', '.join(f'{host}:{port} is {who}' for (host, port), who in world.routes.items())}")
    if world.holders:
        print(f"leases: {', '.join(name_of(world, number) for number in world.holders)}")
    truth = Oracle(world)
    for node in world.nodes:
        print(f"node {node.number}: {_described(world, node, truth)}")
    for answers in all_answers(world):
        print(f"node {answers.node.number} answers")
        for name in ("live", "unreachable"):
            print(f"  {name}: {', '.join(endpoint.with_port for endpoint in answers.listing(name)) or '-'}")
        ids = [f"{endpoint.with_port} {host_id[:8]}" for endpoint, host_id in answers.host_ids().items()]
        owners = dict.fromkeys(
            answers.endpoint(node.number).with_port for node in (*answers.ring.owners, *answers.ring.gainers)
        )
        movers = [answers.attribute("JoiningNodes"), answers.attribute("LeavingNodes")]
        print(f"  host ids: {', '.join(ids) or '-'}\n  owners: {', '.join(owners)}; joining, leaving: {movers}")


def _described(world: World, node: Node, truth: Oracle) -> str:
    what = [node.endpoint.with_port, node.host_id[:8], node.datacenter, node.rack, node.release, node.role, node.mode]
    what += [word for word, given in (("gossip off", not node.gossip), ("CQL off", not node.native)) if given]
    what += [word for word, given in (("dead", not node.running), ("asked", node.number in truth.answering)) if given]
    what += [f"agent {node.agent}", *(f"forbids {word}" for word in node.forbids)]
    return f"{', '.join(what)}; reaches {sorted(world.reached(node.number))}"


def _print_judgement(world: World, judged: Judgement) -> None:
    if judged.verdict is None or judged.keeper is None:
        print(f"== no verdict: {judged.error}")
        return
    print(f"== {judged.verdict.severity.name}: {judged.verdict.summary}")
    for finding in judged.verdict.findings:
        print(f"  {finding.severity.name} {finding.code}: {finding.summary}")
    print(f"== gate {gate_of(world)}")
    for name in judged.decisions:
        decision = judged.keeper.decide([name])
        print(f"  {name}: {decision.decision}{' (listed)' if name in judged.safe else ''}")
        for reason in decision.reasons:
            print(f"    {'' if reason.blocks else 'note '}{reason.code}: {reason.summary}")


if __name__ == "__main__":
    sys.exit(main())
