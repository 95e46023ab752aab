"""`ringcheck agent`: the service that polls every configured cluster and reports on it.

Owns the process: signals, systemd's notifications, the log, and reloads of the configuration. The main thread acts on
signals; all other work is done by the threads of the agent and its web server.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING

import click

from ringcheck.cli.target import DEFAULT_CONFIG

if TYPE_CHECKING:
    from ringcheck.agent.log import Form
    from ringcheck.agent.recorder import Recorder
    from ringcheck.agent.server import Served
    from ringcheck.config import Config
    from ringcheck.history.writer import State
    from ringcheck.report.reading import Reading

TICK = 1.0  # seconds from one check of the polls to the next
_UNGUARDED = (
    "web_config has no users: anyone who can connect may read the state, nodes, snapshots and history of all clusters; "
    "requests that change something are refused from other hosts"
)
# Of mallopt(3). Replies, pages and metrics of some hundred KiB are made and freed all the time, in many threads. By
# default glibc soon keeps memory of this size for later, and small objects between two large ones hold all of it: the
# resident size grows for days.
_MALLOPT = {
    -8: 2,  # M_ARENA_MAX: heaps at most
    -3: 64 * 1024,  # M_MMAP_THRESHOLD: bytes from which on memory is the system's own, and not part of a heap
    -1: 128 * 1024,  # M_TRIM_THRESHOLD: free bytes at the end of a heap
}
GC_THRESHOLD = 20_000  # new objects after which Python searches the youngest ones for cycles; 700 by default
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@click.command
@click.option(
    "-C", "--config", envvar="RINGCHECK_CONFIG", metavar="FILE", default=str(DEFAULT_CONFIG), show_default=True,
    help="Configuration file.",
)  # fmt: skip
@click.option("--listen", metavar="ADDRESS:PORT", help="Where to listen. [default: that of the configuration]")
@click.option(
    "--log",
    "form",
    type=click.Choice(["logfmt", "json"]),
    help="Format of the log. [default: that of the configuration]",
)
@click.option("--debug", is_flag=True, help="Log where the time of polls goes: a line for each request and each step.")
def agent(config: str, listen: str | None, form: Form | None, *, debug: bool) -> int:
    """Poll every configured cluster, and serve pages, metrics and the API, until SIGTERM or SIGINT.

    SIGHUP reloads the configuration; if the file has a mistake, the old configuration stays in force. The log goes to
    standard error, one line for each change.
    """
    from ringcheck.cli.target import require_config
    from ringcheck.config import load

    require_config(config)
    loaded = load(config)
    return_freed_memory()
    _block()
    _allow_descriptors()
    return _Service(config, loaded, listen, form, debug=debug).run()


class _Service:
    """The agent with its log, its web server and its signals."""

    def __init__(self, path: str, config: Config, listen: str | None, form: Form | None, *, debug: bool) -> None:
        from ringcheck.agent.clock import ClockWatch
        from ringcheck.agent.evictions import Evictions
        from ringcheck.agent.fleetlock import FleetLock
        from ringcheck.agent.log import Changes, LibraryLogs, Log, StandardError, Troubles
        from ringcheck.agent.sensu import Courier, senders
        from ringcheck.agent.service import Agent
        from ringcheck.agent.webhooks import Webhooks
        from ringcheck.http import debuglog

        self.path = path
        self.listen = listen
        self.form = form
        self.log = Log(form or config.agent.log, StandardError())
        self.troubles = Troubles(self.log)
        LibraryLogs(self.log, self.troubles).install(debug=debug)
        if debug:
            debuglog.install()
        self.clock = ClockWatch()
        self.changes = Changes(self.log)
        self.courier = Courier(senders(config), self._of_sensu)
        recorder = self._recorder(config)
        self.agent = Agent(
            config,
            [self.changes, self._post, self._release],
            complain=self.troubles,
            recorder=recorder,
            webhooks=Webhooks(recorder.writer, self._of_webhook),
        )
        self.agent.config_file = None if path == str(DEFAULT_CONFIG) else str(Path(path).absolute())
        self.lock = FleetLock(self.agent, self.log)
        self.evictions = Evictions(self.agent, self.lock)
        self.fixed = self._fixed(config)
        self.ready = self.stuck = False
        self.status = ""

    def _fixed(self, config: Config) -> tuple[object, ...]:
        """The settings that are read at the start only."""
        agent = config.agent
        return self.listen or agent.listen, agent.web_config, agent.state, agent.state_keep, agent.state_size

    def _recorder(self, config: Config) -> Recorder:

        from ringcheck.agent.recorder import Recorder
        from ringcheck.history.writer import Limits, Writer

        agent = config.agent
        if agent.state is None:
            return Recorder(complain=self.troubles)
        limits = Limits(keep=agent.state_keep, size=agent.state_size * 2**20)
        return Recorder(Writer(Path(agent.state), limits, self._of_history), complain=self.troubles)

    def _of_history(self, state: State, why: str) -> None:
        if state == "works":
            self.log("history_works_again")
        elif state == "failed":
            self.log("history_failed", "error", error=why)
        elif state == "broken":
            self.log("history_broken", "error", error=why)
        else:
            self.log("history_lost", "warning", why=why)

    def _post(self, reading: Reading) -> None:
        self.courier(reading)  # not the bound method: a reload replaces the courier

    def _release(self, reading: Reading) -> None:
        self.evictions.release(reading)  # made after the agent, which it needs

    def _of_sensu(self, cluster: str, problem: str | None) -> None:
        if problem:
            self.log("sensu_failed", "warning", cluster=cluster, error=problem)
        else:
            self.log("sensu_works_again", cluster=cluster)

    def _of_webhook(self, webhook: str, what: str, why: str | None) -> None:
        if what == "works":
            self.log("webhook_works_again", webhook=webhook)
        elif what == "dropped":
            self.log("webhook_dropped", "error", webhook=webhook, why=why or "")
        else:
            self.log("webhook_failed", "warning", webhook=webhook, error=why or "")

    def run(self) -> int:
        """Serve until a signal ends it; the exit code."""
        from ringcheck.agent.notify import notify

        with ExitStack() as stack:
            stack.callback(lambda: self.courier.close())  # noqa: PLW0108 - the courier of the last reload
            self._trace(stack)
            served = self._serve(stack)
            self._warn(self.agent.config)
            if served.unguarded:
                self.log("unguarded", "warning", listen=served.address, why=_UNGUARDED)
            # A poll makes many objects and few cycles: by default, the search for them takes an eighth of its CPU.
            gc.freeze()
            gc.set_threshold(GC_THRESHOLD)
            self.agent.start()
            stack.callback(self._stopped)
            self.log("started", clusters=len(self.agent.config.clusters), url=served.url, listen=served.address)
            self._watch()
            notify("STOPPING=1", "STATUS=stopping")
        gc.freeze()  # the interpreter would look for cycles among what it knows of all clusters before it ends
        return 0

    def _trace(self, stack: ExitStack) -> None:
        """Make traces of the polls, if the environment asks for them."""
        from ringcheck.agent import traces

        if not traces.wanted():
            return
        try:
            stack.callback(traces.start())
        except traces.TracesError as error:
            self.log("traces_off", "warning", why=str(error))

    def _serve(self, stack: ExitStack) -> Served:
        from ringcheck.agent import evictions, fleetlock
        from ringcheck.agent.web import serve

        listen, web_config = self.listen or self.agent.config.agent.listen, self.agent.config.agent.web_config
        more = [
            *fleetlock.routes(self.agent, self.log, self.lock),
            *evictions.routes(self.evictions, self.agent, self.log),
        ]
        served = serve(self.agent, listen, web_config, more, self._of_web_config, self.troubles)
        return stack.enter_context(served)

    def _of_web_config(self, problem: str | None) -> None:
        if problem:
            self.log("web_config_failed", "error", error=problem)
        else:
            self.log("web_config_works_again")

    def _warn(self, config: Config) -> None:
        for text in config.warnings:
            self.log("config_warning", "warning", warning=text)

    def _stopped(self) -> None:
        self.log("stopped", clean=self.agent.stop())

    # The main thread

    def _watch(self) -> None:
        """Act on signals and report progress to systemd, until a signal ends the service."""
        from ringcheck.agent.notify import watchdog

        tick = min(TICK, (watchdog() or 4 * TICK) / 4)
        signals = _signals()
        while True:
            received = None
            with suppress(Empty):
                received = signals.get(timeout=tick)
            if received and received != signal.SIGHUP:
                return
            try:
                self._step(reload=received is not None)
            except Exception as error:  # noqa: BLE001 - the service goes on
                self.troubles(error)

    def _step(self, *, reload: bool) -> None:
        if reload:
            self._reload()
        if jump := self.clock.jump():
            self.log("clock_jumped", "warning", seconds=round(jump, 1))
        self._notify()

    def _notify(self) -> None:
        """Notify systemd of what has changed."""
        from ringcheck.agent.notify import notify

        self._feed_watchdog()
        if not self.ready and self.agent.tried():
            self.ready = notify("READY=1") or True
        if (status := self._status()) != self.status:
            notify(f"STATUS={status}")
            self.status = status

    def _feed_watchdog(self) -> None:
        """Notify systemd's watchdog, which restarts the agent if the polls of a cluster stay stuck."""
        from ringcheck.agent.notify import notify

        stuck = not self.agent.makes_progress()
        if not stuck:
            notify("WATCHDOG=1")
        elif not self.stuck:
            self.log("stuck", "error", why="the polls of a cluster make no progress")
        self.stuck = stuck

    def _status(self) -> str:
        readings = self.agent.readings()
        severities = [reading.verdict.severity for reading in readings if reading.verdict and reading.fresh]
        worst = max(severities, default=None)
        blind = sum(1 for reading in readings if not reading.fresh)
        clusters = f"{len(readings)} {'cluster' if len(readings) == 1 else 'clusters'}"
        return f"{clusters}, worst {worst.name if worst else 'not known'}" + (
            f", {blind} without a current verdict" if blind else ""
        )

    def _reload(self) -> None:
        from ringcheck.agent.notify import notify, reloading

        notify(*reloading())
        try:
            self._use()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, the old configuration stays in force
            self.agent.refuse()
            self.log("reload_failed", "error", error=str(error))
        else:
            self.log("reloaded", clusters=len(self.agent.config.clusters))
        if self.ready:
            notify("READY=1")

    def _use(self) -> None:
        from ringcheck.agent.sensu import Courier, senders
        from ringcheck.config import load

        config = load(self.path)
        courier = Courier(senders(config), self._of_sensu)
        before = self.agent.config
        replaced, self.courier = self.courier, courier
        self.agent.reload(config)
        replaced.close()
        self.log.form = self.form or config.agent.log
        for cluster in set(before.clusters) - set(config.clusters):
            self.changes.forget(cluster)
        self._warn(config)
        if self._fixed(config) != self.fixed:
            why = "listen, web_config and state are read at the start only"
            self.log("restart_needed", "warning", why=why)


def _signals() -> Queue[int]:
    """The signals that the process gets from now on, by number.

    A thread waits for them, since `signal.sigtimedwait` returns an invented signal after the process was stopped for
    longer than the timeout, as by a debugger, by SIGSTOP or together with its container.
    """
    signals: Queue[int] = Queue()

    def wait() -> None:
        while True:
            signals.put(signal.sigwait(SIGNALS))

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return signals


def _block() -> None:
    """Block the signals in all threads that start from now on, so that only the thread that waits for them takes them.

    They stay blocked until the process ends: a second Ctrl-C must not turn an orderly end into a failure.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _allow_descriptors() -> None:
    """Raise the soft limit of open files to the hard one: each node that answers keeps a connection."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems refuse "unlimited" there
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def return_freed_memory() -> None:
    """Let the C library return memory early, unless the environment sets its options; for use before threads start.

    Other C libraries than glibc have no such options.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    with suppress(ImportError, AttributeError, OSError):
        import ctypes  # some builds of Python lack it

        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOPT.items():
            mallopt(option, value)
