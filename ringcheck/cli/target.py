"""How every command is told which cluster it is about: a configured one, addresses, or a recorded snapshot."""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial, reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.config import Cluster
    from ringcheck.core.assess import Question
    from ringcheck.core.consistency import Level
    from ringcheck.core.gate import Gate
    from ringcheck.core.maintenance import Holder, Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import Source
    from ringcheck.core.verdict import Verdict
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.leases.store import Store

R = TypeVar("R")

DEFAULT_CONFIG = Path("/etc/ringcheck/ringcheck.yaml")
TIMEOUT = 9.0  # check_nrpe gives up after 10
RESERVE = 0.3  # seconds of the total kept for judging and printing what came in
LEASES = 1.0  # seconds that the store of restart leases gets, while the nodes are asked
NARROWEST = 40  # columns: in fewer, sentences are no more to be read


class Seconds(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter there
    """A duration: `9`, `9s`, `1.5s`, `500ms`, `2m`."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float | int):
            return float(value)
        text = str(value)
        factors = {"ms": 0.001, "m": 60.0, "s": 1.0, "": 1.0}
        unit = next(unit for unit in factors if text.endswith(unit))
        try:
            seconds = float(text.removesuffix(unit)) * factors[unit]
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            self.fail(f"{text!r} is not a duration such as 9s, 500ms or 2m", param, ctx)
        return seconds


@dataclass(frozen=True, slots=True)
class Target:
    """What was said on the command line about the cluster; see the options' help."""

    config: str | None
    cluster: str | None
    host: tuple[str, ...]
    url: tuple[str, ...]
    from_: str | None
    dc: tuple[str, ...]
    keyspace: tuple[str, ...]
    timeout: float
    username: str | None
    password_file: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None

    def settled(self) -> Settled:
        """The cluster that this names.

        Raises:
            UsageError: if it names none, several, or one in two ways.
            ConfigError: if the configuration can't be used.
        """
        ways = [bool(self.host or self.url), bool(self.from_), bool(self.config or self.cluster)]
        if sum(ways) > 1 and not (ways == [False, True, True]):
            raise UsageError("say once which cluster: -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE")
        if self.host or self.url or (self.from_ and not self.config):
            return Settled(self, None)
        return Settled(self, self._configured())

    def _configured(self) -> Cluster:
        path = self.config or (str(DEFAULT_CONFIG) if DEFAULT_CONFIG.exists() else None)
        if path is None:
            raise UsageError("say which cluster: -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE")
        from ringcheck.config import load

        clusters = load(path).clusters
        if self.cluster is None and len(clusters) == 1:
            return next(iter(clusters.values()))
        known = ", ".join(sorted(clusters))
        if self.cluster is None:
            raise UsageError(f"{path} has {len(clusters)} clusters: choose one with --cluster ({known})")
        if self.cluster not in clusters:
            raise UsageError(f"{path} has no cluster {self.cluster!r} ({known})")
        return clusters[self.cluster]

    def settings(self) -> JolokiaSettings:
        """How to ask the agents that -H and -u name; the other nodes' are where the first one is."""
        from ringcheck.http.tls import Tls
        from ringcheck.jolokia.settings import JolokiaSettings

        contacts = (*self.host, *(url for url in self.url if "{address}" not in url))
        if not contacts:
            raise UsageError("-u with {address} says where agents are, but not of which nodes: name one with -H")
        secure = bool(self.ca_file or self.cert_file or self.key_file)
        return JolokiaSettings(
            contact_points=contacts,
            url=_template(self.url[0]) if self.url else _same_port(self.host[0], "https" if secure else "http"),
            username=self.username,
            password_file=self.password_file,
            tls=Tls(ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file) if secure else None,
        )


def _template(url: str) -> str:
    """Where the other nodes' agents are, if one is at this URL."""
    if "{address}" in url:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=f"{{address}}{f':{parts.port}' if parts.port else ''}").geturl()


def _same_port(host: str, scheme: str) -> str:
    """Where they are if one is at this host and port; empty for the port that is usual."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return ""  # an IPv6 address has colons, but no port
    port = urlsplit(f"//{host}").port
    return f"{scheme}://{{address}}:{port}/jolokia" if port else ""


@dataclass(frozen=True, slots=True)
class Settled:
    """A target and, unless a snapshot is all there is, its configuration."""

    target: Target
    configured: Cluster | None

    def policy(self) -> Policy:
        """The cluster's policy, with what the command line overrides."""
        from ringcheck.core.policy import Policy

        policy = self.configured.policy if self.configured else Policy()
        return replace(policy, client_datacenters=self.target.dc) if self.target.dc else policy

    def verdict(self, question: Question, policy: Policy | None = None) -> Verdict:
        """What is to be said of the cluster.

        Raises:
            RingcheckError: if nothing could be seen, or the question does not fit the cluster.
        """
        with self.polls() as poll:
            return self.judged(poll, replace(question, keyspaces=self.target.keyspace), policy)

    def judged(self, poll: Callable[[], Snapshot], question: Question, policy: Policy | None = None) -> Verdict:
        """The verdict on a poll, with who holds restart leases.

        Raises:
            RingcheckError: as `verdict`.
        """
        from ringcheck.core.assess import assess

        maintenance = self.maintenance()
        return assess(poll(), policy or self.policy(), question, maintenance())

    def maintenance(self) -> Callable[[], Maintenance | None]:
        """Begin to ask who holds restart leases; what this returns waits for the answer, for a second at most.

        None where the cluster keeps no leases, and for a recorded snapshot: those of today say nothing of it.
        """
        configured = self.configured
        if configured is None or configured.lease is None or self.target.from_:
            return lambda: None
        deadline = configured.lease.deadline
        found: list[Maintenance] = []
        work = threading.Thread(target=lambda: found.append(_maintenance(configured, deadline)), daemon=True)
        work.start()
        ends = time.monotonic() + min(LEASES, self.target.timeout)

        def wait() -> Maintenance:
            from ringcheck.core.maintenance import Maintenance

            work.join(max(0.0, ends - time.monotonic()))
            late = f"the store of leases took longer than {LEASES:g} s"
            return found[0] if found else Maintenance((), deadline, late)

        return wait

    def leases(self, name: str, seconds: float | None = None) -> Store:
        """Where the cluster's restart leases are kept: as configured, else in a lock file of this host.

        Args:
            name: the cluster's in a snapshot, for one that is not configured.
            seconds: that one step may take.

        Raises:
            UsageError: for a recorded snapshot, which has none; if the store can't be used as it is configured.
        """
        from ringcheck.leases.configured import open_store
        from ringcheck.leases.store import STEP_SECONDS

        if self.target.from_:
            raise UsageError("leases are of a cluster as it is now: --from a recorded snapshot has none")
        return open_store(replace(self.cluster(), name=name), seconds or STEP_SECONDS)

    def leased(self, seen: Snapshot) -> tuple[Holder, ...]:
        """Holders of restart leases, at their present addresses; none for a recorded snapshot.

        Raises:
            LeaseError: if that can't be learned, or a lease is about no node of the cluster.
        """
        from contextlib import closing

        from ringcheck.leases.grant import placed

        if self.target.from_:
            return ()
        with closing(self.leases(seen.cluster, min(self.target.timeout, 5.0))) as store:
            return tuple(placed(one, seen) for one in store.holders())

    def snapshot(self, *, streams: bool = False) -> Snapshot:
        """What is seen of the cluster now, or was recorded.

        Args:
            streams: as `polls`.

        Raises:
            RingcheckError: if nothing could be seen.
        """
        with self.polls(streams=streams) as poll:
            return poll()

    @contextmanager
    def polls(self, *, streams: bool = False) -> Iterator[Callable[[], Snapshot]]:
        """What polls the cluster again and again on kept connections; a recording is read again each time.

        Args:
            streams: ask every node for its streams too: for the gate, and for what is recorded for it.
        """
        if self.target.from_:
            yield partial(_recorded, self.target.from_)
            return
        source = self.source()
        seconds = max(self.target.timeout - RESERVE, self.target.timeout / 2)
        try:
            yield lambda: self._named(source.poll(seconds, streams=streams))
        finally:
            source.close()

    def _named(self, seen: Snapshot) -> Snapshot:
        """A snapshot under the name that the configuration gives the cluster; Cassandra's is often the same for all."""
        return replace(seen, cluster=self.configured.name) if self.configured else seen

    def gate(self) -> Gate:
        """The configured gate."""
        from ringcheck.core.gate import Gate

        return self.configured.gate if self.configured else Gate()

    def stable_readings(self) -> int:
        """How many safe readings in a row the configuration asks for."""
        return self.configured.stable_readings if self.configured else 1

    def cluster(self) -> Cluster:
        """The configured cluster, or one without a name that -H and -u describe.

        Raises:
            UsageError: if they say where agents are, but not of which nodes.
        """
        from ringcheck.config.values import Cluster

        return self.configured or Cluster("", self.target.settings())

    def source(self) -> Source:
        """What polls the cluster.

        Raises:
            ConfigError: if it can't be asked as it is configured.
        """
        from ringcheck.sources import open_source

        return open_source(self.cluster())


def _maintenance(configured: Cluster, deadline: float) -> Maintenance:
    """What the store of leases says, or why it says nothing: a check must not end for want of it."""
    from contextlib import closing

    from ringcheck.core.maintenance import Maintenance

    try:
        from ringcheck.leases.configured import open_store

        with closing(open_store(configured, LEASES)) as store:
            return Maintenance(store.holders(), deadline)
    except Exception as error:  # noqa: BLE001 - as above; a crash here would be lost with its thread
        return Maintenance((), deadline, str(error) or type(error).__name__)


def _recorded(path: str) -> Snapshot:
    from ringcheck.documents.snapshot import read_snapshot

    if path == "-":
        return read_snapshot(sys.stdin.buffer.read(), "standard input")
    try:
        return read_snapshot(Path(path).read_bytes(), path)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None


_SHARED = (
    click.option("-C", "--config", envvar="RINGCHECK_CONFIG", metavar="FILE", help="Configuration file."),
    click.option("--cluster", envvar="RINGCHECK_CLUSTER", metavar="NAME", help="Which of its clusters."),
    click.option(
        "-H", "--host", envvar="RINGCHECK_HOST", multiple=True, metavar="HOST[:PORT]",
        help="A node's Jolokia, without configuration; the other nodes are discovered. Repeatable.",
    ),
    click.option(
        "-u", "--url", envvar="RINGCHECK_URL", multiple=True, metavar="URL",
        help="The same as a whole URL; the other nodes are asked at its port and path. Repeatable.",
    ),
    click.option("--from", "from_", envvar="RINGCHECK_FROM", metavar="FILE", help="A recorded snapshot; - for stdin."),
    click.option(
        "--dc", envvar="RINGCHECK_DC", multiple=True, metavar="DC",
        help="Datacenter that has clients. Repeatable; by default each that holds replicas of the keyspace.",
    ),
    click.option(
        "-k", "--keyspace", envvar="RINGCHECK_KEYSPACE", multiple=True, metavar="GLOB",
        help="Only keyspaces that this pattern matches. Repeatable.",
    ),
    click.option(
        "-t", "--timeout", envvar="RINGCHECK_TIMEOUT", type=Seconds(), default=TIMEOUT, show_default="9s",
        help="Total time, for all nodes together.",
    ),
    click.option("--username", envvar="RINGCHECK_USERNAME", help="User at Jolokia, with -H and -u."),
    click.option("--password-file", envvar="RINGCHECK_PASSWORD_FILE", metavar="FILE", help="The user's password."),
    click.option("--ca-file", envvar="RINGCHECK_CA_FILE", metavar="FILE", help="CA certificates of Jolokia's TLS."),
    click.option("--cert-file", envvar="RINGCHECK_CERT_FILE", metavar="FILE", help="Our certificate, if it wants one."),
    click.option("--key-file", envvar="RINGCHECK_KEY_FILE", metavar="FILE", help="Its key."),
)  # fmt: skip


def target_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that name a cluster, as one argument `target`."""

    @wraps(command)  # click keeps what the other options' decorators said on the function
    def with_target(**options: Any) -> R:  # noqa: ANN401 - click passes what the options hold
        target = Target(**{name: options.pop(name) for name in Target.__slots__})
        return command(target=target, **options)

    decorated: Callable[..., R] = reduce(lambda inner, option: option(inner), reversed(_SHARED), with_target)
    return decorated


def level(text: str) -> Level:
    """A consistency level by its name.

    Raises:
        UsageError: if there is none of that name.
    """
    from difflib import get_close_matches

    from ringcheck.core.consistency import Level

    if text in Level.__members__:
        return Level[text]
    near = get_close_matches(text.upper(), list(Level.__members__), 1)
    known = f"did you mean {near[0]}?" if near else f"known: {', '.join(Level.__members__)}"
    raise UsageError(f"there is no consistency level {text!r} ({known})")


def colours() -> bool:
    """Whether to paint: only a terminal, and not where https://no-color.org asks not to."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """How wide the terminal is that we write to; None where it is none, and lines must stay whole for scripts."""
    import shutil

    return max(NARROWEST, shutil.get_terminal_size().columns) if sys.stdout.isatty() else None
