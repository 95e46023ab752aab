"""`ringcheck demo`: the article's worked example, end to end, on the embedded cluster."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import click

from ringcheck.cli.target import colours

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.simulator.cluster import EmbeddedCluster

VNODES = 4  # twelve ranges, as in the article's figures: every one can be shown
DEADLINE = 5.0  # seconds a poll may take


@click.command
@click.option("--pause", type=float, default=0.9, show_default=True, help="Seconds to read each step.")
def demo(pause: float) -> int:
    """Nodes of an embedded cluster fail one after another and come back; ringcheck tells what that means.

    The worked example of "Monitoring Cassandra at Scale" (Yelp, 2016): three nodes, blog_1 with one replica of each
    range and blog_3 with three. Nothing is installed and nothing outside this process is asked.
    """
    from ringcheck.jolokia.client import Settings
    from ringcheck.jolokia.collect import Collector
    from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, simple
    from ringcheck.simulator.server import serve

    keyspaces = {"blog_1": simple(1), "blog_3": simple(3)}
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=VNODES, name="blogs", addresses=loopback_address, keyspaces=keyspaces
    )
    with serve(cluster) as server:
        settings = Settings(tuple(node.address for node in cluster.nodes), url=server.template)
        with closing(Collector(settings)) as collector:
            _Story(cluster, lambda: collector.poll(DEADLINE), pause if sys.stdout.isatty() else 0.0).tell()
    return 0


class _Story:
    """The steps, each told, done and shown."""

    def __init__(self, cluster: EmbeddedCluster, poll: Callable[[], Snapshot], pause: float) -> None:
        self.cluster = cluster
        self.poll = poll
        self.pause = pause
        self.first, self.second, self.third = (node.address for node in cluster.nodes)

    def tell(self) -> None:
        """All of it."""
        self._all_up()
        self._one_down()
        self._two_down()
        self._back()
        self._restart()

    def _all_up(self) -> None:
        self._say(
            f"Three nodes of {VNODES} vnodes each. blog_1 keeps one replica of each range, blog_3 three.",
            "Nagios, NRPE and Sensu run this:",
        )
        self._check()
        self._say("The same for people, with the level that wants every replica beside those that are watched:")
        self._health()

    def _one_down(self) -> None:
        self.cluster.down(self.first, instant=True)
        self._say(
            f"{self.first} is gone. blog_1 has lost the ranges that it held, and that pages;",
            "blog_3 still has a quorum everywhere, but no replica to spare.",
        )
        self._check()
        self._health()
        self._ring("blog_1")
        self._say("May another node be restarted now? blog_1 is given up; blog_3 counts.")
        self._preflight(self.second)

    def _two_down(self) -> None:
        self.cluster.down(self.second, instant=True)
        self._say(f"{self.second} fails too: no range of blog_3 has a quorum left, though each still has a replica.")
        self._check()
        self._health()

    def _back(self) -> None:
        verdict = self._verdict()
        self._say("The nodes come back, in the order that was advised.")
        for one in verdict.recover_first:
            self.cluster.up(verdict.snapshot.nodes[one.node].address, instant=True)
            self._check()

    def _restart(self) -> None:
        self._say("Now one node at a time may be restarted, and never two:")
        self._preflight(self.first)
        self._preflight(self.first, self.second)

    def _say(self, *lines: str) -> None:
        click.echo()
        for line in lines:
            click.echo(click.style(line, bold=True) if colours() else line)
        time.sleep(self.pause)

    def _verdict(self) -> Verdict:
        from ringcheck.core.assess import Question, assess
        from ringcheck.core.consistency import Level
        from ringcheck.core.policy import Policy

        return assess(self.poll(), Policy(), Question(levels=(Level.LOCAL_ALL,)))

    def _check(self) -> None:
        from ringcheck.report import nagios

        self._show("ringcheck check", nagios.render(self._verdict()).partition(" | ")[0])

    def _health(self) -> None:
        from ringcheck.report import text

        verdict = self._verdict()
        blocks = text.render(verdict, colour=colours()).split("\n\n")
        self._show("ringcheck health --level LOCAL_ALL", "\n\n".join(blocks[1:-1] if verdict.findings else blocks[1:]))

    def _ring(self, keyspace: str) -> None:
        from ringcheck.cli.terminal import shows
        from ringcheck.report import picture_text
        from ringcheck.report.picture import draw

        picture = draw(self._verdict(), keyspace)
        signs = picture_text.UNICODE if shows(picture_text.UNICODE.all) else picture_text.ASCII
        if picture:
            self._show(f"ringcheck ring {keyspace}", picture_text.render(picture, colour=colours(), signs=signs))

    def _preflight(self, *candidates: str) -> None:
        from ringcheck.core.gate import Gate, Gatekeeper
        from ringcheck.core.policy import Policy
        from ringcheck.report import gate

        settled = Gate(accept=("blog_1",), settle=0.0)  # nodes of a story have no time to settle
        decision = Gatekeeper(self.poll(), Policy(), settled).decide(candidates)
        self._show(
            f"ringcheck preflight --accept blog_1 {' '.join(candidates)}", gate.render(decision).partition("\n\n")[0]
        )

    def _show(self, command: str, output: str) -> None:
        click.echo(f"\n  $ {command}")
        for line in output.splitlines():
            click.echo(f"  {line}".rstrip())
        time.sleep(self.pause)
