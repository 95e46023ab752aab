"""`ringcheck demo`: the article's worked example, end to end, on the embedded cluster."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import Seconds
from ringcheck.cli.terminal import colours, columns, shows
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.agent.service import Agent
    from ringcheck.config import Config
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.simulator.cluster import EmbeddedCluster

VNODES = 4  # twelve ranges, as in the figures of the article, so that each can be shown
DEADLINE = 5.0  # seconds for a poll
LISTEN = "127.0.0.1:9742"
BETWEEN_CHANGES = 15.0  # seconds


@click.command
@click.option(
    "--pause",
    type=Seconds(zero=True),
    metavar="DURATION",
    default=0.9,
    help="Time to read each step, at a terminal. [default: 900ms]",
)
@click.option(
    "--page/--no-page",
    default=None,
    help="Afterwards serve the agent's page until Ctrl-C, while nodes fail and return. [default: at a terminal]",
)
@click.option(
    "--listen", metavar="ADDRESS:PORT", help="Where to serve the page. [default: 127.0.0.1:9742, or a free port]"
)
def demo(pause: float, page: bool | None, listen: str | None) -> int:  # noqa: FBT001 - a flag
    """Nodes of an embedded cluster fail one after another and come back; see what ringcheck reports.

    This is the worked example of "Monitoring Cassandra at Scale" (Yelp, 2016): three nodes, a keyspace blog_1 with one
    replica of each range, and blog_3 with three. Nothing is installed, and nothing outside this process is asked.
    """
    from ringcheck.config.values import Cluster
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.simulator.server import serve
    from ringcheck.sources import open_source

    terminal = sys.stdout.isatty()
    if listen and page is not False:
        _require_free(listen)
    cluster = _embedded()
    with serve(cluster) as server:
        contact_points = tuple(node.address for node in cluster.nodes)
        settings = JolokiaSettings(contact_points=contact_points, url=server.template)
        with closing(open_source(Cluster(name="", source=settings))) as source:
            _Story(cluster, lambda: source.poll(DEADLINE), pause if terminal else 0.0).show()
        if terminal if page is None else page:
            _Page(cluster, settings).show(listen)
    return 0


def _require_free(listen: str) -> None:
    """Refuse an address that can't be listened on before the story begins.

    Raises:
        UsageError: as above.
    """
    from ringcheck.agent.server import bound

    bound(listen).close()


def _embedded() -> EmbeddedCluster:
    from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address, simple

    return EmbeddedCluster.uniform(
        3,
        racks=3,
        vnodes=VNODES,
        name="blogs",
        addresses=loopback_address,
        keyspaces={"blog_1": simple(1), "blog_3": simple(3)},
    )


class _Page:
    """The agent's page on the embedded cluster."""

    def __init__(self, cluster: EmbeddedCluster, settings: JolokiaSettings) -> None:
        self.cluster = cluster
        self.settings = settings

    def show(self, listen: str | None) -> None:
        """Serve the page until interrupted, while nodes fail and return."""
        from ringcheck.agent.service import Agent

        agent = Agent(self._config())
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends it like Ctrl-C
        with ExitStack() as stack:
            url = self._serve(stack, agent, listen)
            agent.start()
            stack.callback(agent.stop)
            click.echo(f"\nThe agent's page is open at {url} until Ctrl-C; nodes fail and return.\n")
            with suppress(KeyboardInterrupt):
                for change in cycle(self._changes()):
                    click.echo(f"  {change()}")
                    time.sleep(BETWEEN_CHANGES)

    @staticmethod
    def _serve(stack: ExitStack, agent: Agent, listen: str | None) -> str:
        from ringcheck.agent.web import serve

        for address in [listen] if listen else [LISTEN, "127.0.0.1:0"]:
            try:
                return stack.enter_context(serve(agent, address, None)).url
            except UsageError as error:
                problem = error
        raise problem

    def _config(self) -> Config:
        from ringcheck.config import values
        from ringcheck.core.gate import Gate

        gate = Gate(accept=("blog_1",), settle=BETWEEN_CHANGES / 2)
        watched = values.Cluster(name=self.cluster.name, source=self.settings, gate=gate)
        return values.Config(clusters={watched.name: watched}, agent=values.AgentSettings(interval=2.0))

    def _changes(self) -> Iterator[Callable[[], str]]:
        """What happens, again and again: one node fails and returns, then two."""
        first, second, third = (node.address for node in self.cluster.nodes)
        for change, *nodes in (
            ("down", first),
            ("up", first),
            ("down", second),
            ("down", third),
            ("up", second, third),
        ):
            yield partial(self._change, change, nodes)

    def _change(self, change: str, nodes: list[str]) -> str:
        for node in nodes:
            (self.cluster.down if change == "down" else self.cluster.up)(node)
        return f"{' and '.join(nodes)} {'killed' if change == 'down' else 'started'}"


class _Story:
    """The steps of the example: each is announced, done and shown."""

    def __init__(self, cluster: EmbeddedCluster, poll: Callable[[], Snapshot], pause: float) -> None:
        self.cluster = cluster
        self.poll = poll
        self.pause = pause
        self.first, self.second, self.third = (node.address for node in cluster.nodes)

    def show(self) -> None:
        """Show all steps."""
        self._all_up()
        self._one_down()
        self._two_down()
        self._back()
        self._restart()

    def _all_up(self) -> None:
        self._say(
            f"Three nodes with {VNODES} vnodes each. blog_1 has one replica of each range, blog_3 has three.",
            "Nagios, NRPE and Sensu run this:",
        )
        self._check()
        self._say("The same for people, with one more level, which needs every replica:")
        self._health()

    def _one_down(self) -> None:
        self.cluster.down(self.first, instant=True)
        self._say(
            f"{self.first} is down. blog_1 has lost the ranges of that node, and that pages somebody.",
            "blog_3 still has a quorum everywhere, but no spare replica.",
        )
        self._check()
        self._health()
        self._ring("blog_1")
        self._say("May another node be restarted now? blog_1 may lose ranges, blog_3 must not.")
        self._preflight(self.second)

    def _two_down(self) -> None:
        self.cluster.down(self.second, instant=True)
        self._say(f"{self.second} fails too: no range of blog_3 has a quorum now, but each still has a replica.")
        self._check()
        self._health()

    def _back(self) -> None:
        verdict = self._verdict()
        self._say("The nodes come back in the recommended order.")
        for recovery in verdict.recover_first:
            self.cluster.up(verdict.snapshot.nodes[recovery.node].address, instant=True)
            self._check()

    def _restart(self) -> None:
        self._say("Now one node may be restarted at a time, but not two:")
        self._preflight(self.first)
        self._preflight(self.first, self.second)

    def _say(self, *lines: str) -> None:
        from ringcheck.report.terminal import fitted

        click.echo()
        click.echo(fitted((((line, "bold"),) for line in lines), columns(), colour=colours()))
        time.sleep(self.pause)

    def _verdict(self) -> Verdict:
        from ringcheck.core.assess import Question, assess
        from ringcheck.core.consistency import Level
        from ringcheck.core.policy import Policy

        return assess(self.poll(), Policy(), Question(levels=(Level.LOCAL_ALL,)))

    def _check(self) -> None:
        from ringcheck.report import nagios

        verdict = self._verdict()
        self._show("ringcheck check", nagios.line(verdict.severity, f"{verdict.snapshot.cluster}: {verdict.summary}"))

    def _health(self) -> None:
        from ringcheck.report import text

        self._show("ringcheck health --level LOCAL_ALL", text.overview(self._verdict(), colour=colours()))

    def _ring(self, keyspace: str) -> None:
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

        at_once = Gate(accept=("blog_1",), settle=0.0)  # the nodes of this example have no time to settle
        decision = Gatekeeper(self.poll(), Policy(), at_once).decide(candidates)
        command = f"ringcheck preflight --accept blog_1 {' '.join(candidates)}"
        self._show(command, gate.answer(decision))

    def _show(self, command: str, output: str) -> None:
        from ringcheck.report.terminal import fitted, plain

        click.echo(f"\n  $ {command}")
        for line in output.splitlines():  # those in colour are rows of a table, which fit
            click.echo(f"  {line}".rstrip() if "\x1b" in line else fitted([plain(f"  {line}")], columns()))
        time.sleep(self.pause)
