"""`ringcheck agent`: the service that polls every configured cluster and tells what it saw."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from ringcheck.cli.target import DEFAULT_CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.agent.log import Changes, Log
    from ringcheck.agent.loop import Agent
    from ringcheck.config import Config
    from ringcheck.report.reading import Reading

TICK = 1.0  # seconds between two looks at the watches


@click.command
@click.option(
    "-C", "--config", envvar="RINGCHECK_CONFIG", metavar="FILE", default=str(DEFAULT_CONFIG), show_default=True,
    help="Configuration file.",
)  # fmt: skip
@click.option("--listen", metavar="ADDRESS:PORT", help="Instead of the configuration's.")
@click.option("--log", "form", type=click.Choice(["logfmt", "json"]), default="logfmt", show_default=True)
def agent(config: str, listen: str | None, form: str) -> int:
    """Poll every configured cluster, and serve pages, metrics and the API, until SIGTERM or SIGINT.

    SIGHUP reads the configuration again; a file that can't be used leaves the old one in force. The log goes to
    stderr, a line a change.
    """
    from ringcheck.agent.log import Changes, Log
    from ringcheck.config import load

    log = Log("json" if form == "json" else "logfmt")
    return _Service(config, load(config), listen, log, Changes(log)).run()


class _Service:
    """The agent, its listeners and its signals."""

    def __init__(self, path: str, config: Config, listen: str | None, log: Log, changes: Changes) -> None:
        from ringcheck.agent.loop import Agent
        from ringcheck.agent.sensu import Courier, senders

        self.path = path
        self.listen = listen
        self.log = log
        self.changes = changes
        self.courier = Courier(senders(config), self._of_sensu)
        self.agent: Agent = Agent(config, [self._hand_on])
        self.wake = threading.Event()
        self.ending = False
        self.again = False

    def _hand_on(self, reading: Reading) -> None:
        self.changes(reading)
        self.courier(reading)

    def _of_sensu(self, cluster: str, problem: str | None) -> None:
        if problem:
            self.log("sensu_failed", "warning", cluster=cluster, error=problem)
        else:
            self.log("sensu_works_again", cluster=cluster)

    def run(self) -> int:
        """Until a signal ends it."""
        from ringcheck.agent.notify import notify

        with ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.callback(lambda: self.courier.close())  # noqa: PLW0108 - the one at the end: a reload makes another
            url = self._serve(stack)
            self.agent.start()
            stack.callback(self._stopped)
            self.log("started", clusters=len(self.agent.config.clusters), url=url)
            self._watch()
            notify("STOPPING=1", "STATUS=stopping")
        return 0

    def _serve(self, stack: ExitStack) -> str:
        from ringcheck.agent.web import serve

        settings = self.agent.config.agent
        return stack.enter_context(serve(self.agent, self.listen or settings.listen, settings.web_config)).url

    def _stopped(self) -> None:
        self.log("stopped", clean=self.agent.stop())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def end(*_: object) -> None:
            self.ending = True
            self.wake.set()

        def reload(*_: object) -> None:
            self.again = True
            self.wake.set()

        wanted = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}
        before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # The main thread

    def _watch(self) -> None:
        """Tell systemd, once a tick, that every watch makes progress; a watch that does not ends the telling."""
        from ringcheck.agent.notify import notify, watchdog

        ready, told, stuck = False, "", False
        tick = min(TICK, (watchdog() or 4 * TICK) / 4)
        while not self.ending:
            self.wake.wait(tick)
            self.wake.clear()
            if self.again:
                self.again = False
                self._reload()
            lively = self.agent.lively()
            if lively:
                notify("WATCHDOG=1")
            elif not stuck:
                self.log("stuck", "error", why="the polls of a cluster do not go on")
            stuck = not lively
            if not ready and self.agent.tried():
                ready = notify("READY=1") or True
            if (status := self._status()) != told:
                notify(f"STATUS={status}")
                told = status

    def _status(self) -> str:
        readings = self.agent.readings()
        worst = max((one.verdict.severity for one in readings if one.verdict and one.fresh), default=None)
        blind = sum(1 for one in readings if not one.fresh)
        clusters = f"{len(readings)} {'cluster' if len(readings) == 1 else 'clusters'}"
        return f"{clusters}, worst {worst.name if worst else 'not known'}" + (f", {blind} blind" if blind else "")

    def _reload(self) -> None:
        from ringcheck.agent.notify import notify, reloading

        notify(*reloading())
        try:
            self._use()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the old one stays in force
            self.agent.refuse()
            self.log("reload_failed", "error", error=str(error))
        else:
            self.log("reloaded", clusters=len(self.agent.config.clusters))
        notify("READY=1")

    def _use(self) -> None:
        from ringcheck.agent.sensu import Courier, senders
        from ringcheck.config import load

        config = load(self.path)
        made = senders(config)
        gone = set(self.agent.config.clusters) - set(config.clusters)
        old, self.courier = self.courier, Courier(made, self._of_sensu)
        old.close()
        self.agent.reload(config)
        for cluster in gone:
            self.changes.forget(cluster)
