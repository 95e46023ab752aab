"""The cluster that a command is about: a configured one, addresses of nodes, or a recorded snapshot.

`Target` holds the options that name it (options.py declares them); `Target.choose` makes a `ChosenCluster`, which polls
the cluster, judges what was seen, and opens the store of its restart leases.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ringcheck import deadline
from ringcheck.cli.templates import require_usable, same_jmx_port, same_port, template_of
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.agent.client import RemoteAgent
    from ringcheck.config import Cluster
    from ringcheck.core.assess import Question
    from ringcheck.core.gate import Gate
    from ringcheck.core.maintenance import Holder, Maintenance
    from ringcheck.core.policy import Policy
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import Source
    from ringcheck.core.verdict import Verdict
    from ringcheck.http.tls import Tls
    from ringcheck.jolokia.settings import JolokiaSettings
    from ringcheck.leases.grant import PlacedLeases
    from ringcheck.leases.store import Store

DEFAULT_CONFIG = Path("/etc/ringcheck/ringcheck.yaml")
RESERVE = 0.3  # seconds of the timeout that are kept for judging and printing


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The options that name a cluster, under the names of the options.

    Attributes:
        timeout: in seconds, for all nodes together.
        recordings: whether the command takes `--from`.
        configurable: whether it takes `--config`.
        addressable: whether it takes `--host` and `--url`.
        variables: environment variables that name the cluster, as far as no option on the command line overrules them.
    """

    config: str | None
    cluster: str | None
    host: tuple[str, ...]
    url: tuple[str, ...]
    proxy: str | None
    jmx: str | None
    jmx_username: str | None
    jmx_password_file: str | None
    from_: str | None
    dc: tuple[str, ...]
    keyspace: tuple[str, ...]
    timeout: float
    username: str | None
    password_file: str | None
    ca_file: str | None
    cert_file: str | None
    key_file: str | None
    recordings: bool = True
    configurable: bool = True
    addressable: bool = True
    variables: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether an option, or the configuration at its usual place, names a cluster."""
        return any((self.config, self.cluster, self.host, self.url, self.proxy)) or DEFAULT_CONFIG.exists()

    def choose(self) -> ChosenCluster:
        """The cluster that the options name.

        Raises:
            UsageError: if they name no cluster, several, or one in two ways.
            ConfigError: if the configuration can't be used.
        """
        direct = bool(self.host or self.url or self.proxy)
        if direct and (self.from_ or self.config or self.cluster):
            raise UsageError(f"name the cluster in one way only: {self._ways()}{self._set()}")
        if direct or (self.from_ and not self.config):
            return ChosenCluster(self, None)
        return ChosenCluster(self, *self._configured())

    def _ways(self) -> str:
        if not self.configurable:
            return "-H HOST or -u URL"
        if not self.addressable:
            return "-C FILE [--cluster NAME]"
        return f"-C FILE [--cluster NAME], -H HOST or -u URL{', or --from FILE' if self.recordings else ''}"

    def _set(self) -> str:
        """The environment variables that name the cluster, for an error that no option on the command line explains."""
        verb = "is" if len(self.variables) == 1 else "are"
        return f" ({', '.join(self.variables)} {verb} set)" if self.variables else ""

    def require_name(self, option: str) -> None:
        """Refuse an option for which the cluster must be named, if nothing names it.

        Raises:
            UsageError: as above.
        """
        if not self.named:
            raise UsageError(f"{option} needs --cluster NAME, the cluster's name in the agent's configuration")

    def _configured(self) -> tuple[Cluster, str | None]:
        """The cluster, and the path of the agent's state file if one is configured."""
        path = self.config or str(DEFAULT_CONFIG)
        if not (self.config or (self.configurable and (self.cluster or DEFAULT_CONFIG.exists()))):
            raise UsageError("no cluster is named", f"use {self._ways()}")
        require_config(path)
        from ringcheck.config import load
        from ringcheck.core.words import listed, suggestion

        config = load(path)
        clusters = config.clusters
        known = sorted(clusters)
        if self.cluster is None and len(clusters) > 1:
            raise UsageError(f"{path} has {len(clusters)} clusters", f"choose one with --cluster ({listed(known)})")
        if self.cluster is not None and self.cluster not in clusters:
            raise UsageError(f"{path} has no cluster {self.cluster!r} ({suggestion(self.cluster, known)})")
        chosen = next(iter(clusters.values())) if self.cluster is None else clusters[self.cluster]
        return chosen, config.agent.state

    def jolokia(self) -> JolokiaSettings:
        """How to ask the nodes that -H and -u name, and with the same port and path all others.

        Raises:
            UsageError: if no node is named, or an option lacks the one that it belongs to.
        """
        from ringcheck.jolokia.settings import JolokiaSettings

        self._require_pairs()
        if self.proxy:
            return self._proxied(self.proxy)
        if self.jmx or self.jmx_username or self.jmx_password_file:
            raise UsageError("--jmx, --jmx-username and --jmx-password-file need --proxy")
        for url in self.url:
            require_usable(url)
        contacts = (*self.host, *(url for url in self.url if "{address}" not in url))
        if not contacts:
            raise UsageError("-u with {address} needs a node to start from: add one with -H")
        return JolokiaSettings(
            contact_points=contacts,
            url=template_of(self.url[0]) if self.url else same_port(self.host[0], "https" if self.tls() else "http"),
            username=self.username,
            password_file=self.password_file,
            tls=self.tls(),
        )

    def _require_pairs(self) -> None:
        """Refuse options that would have no effect, as the configuration does with their keys."""
        for option, value, other, needed in (
            ("--password-file", self.password_file, "--username", self.username),
            ("--jmx-password-file", self.jmx_password_file, "--jmx-username", self.jmx_username),
            ("--key-file", self.key_file, "--cert-file", self.cert_file),
        ):
            if value and not needed:
                raise UsageError(f"{option} needs {other}")

    def _proxied(self, proxy: str) -> JolokiaSettings:
        """The same for nodes without Jolokia, whose JMX ports a proxy asks."""
        from ringcheck.config.formats import jmx_template
        from ringcheck.jolokia.settings import DEFAULT_JMX, JolokiaSettings

        if self.url or not self.host:
            raise UsageError("--proxy takes the nodes to start from with -H, not with -u")
        try:
            template = jmx_template(self.jmx or same_jmx_port(self.host[0], DEFAULT_JMX))
        except ValueError as error:
            raise UsageError(f"--jmx {error}") from None
        return JolokiaSettings(
            contact_points=self.host,
            proxy=proxy,
            jmx=template,
            jmx_username=self.jmx_username,
            jmx_password_file=self.jmx_password_file,
            username=self.username,
            password_file=self.password_file,
            tls=self.tls(),
        )

    def tls(self) -> Tls | None:
        """The certificates to use; None if no option names any."""
        if not (self.ca_file or self.cert_file or self.key_file):
            return None
        from ringcheck.http.tls import Tls

        return Tls(ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file)

    def agent(self, url: str, max_age: float = 60.0) -> RemoteAgent:
        """A running agent, with the user and the certificates of the options.

        Args:
            url: its base URL.
            max_age: highest age of its verdicts in seconds.

        Raises:
            UsageError: the URL or the password can't be used, or an option lacks the one that it belongs to.
        """
        self._require_pairs()
        from ringcheck.agent.client import RemoteAgent
        from ringcheck.http.credentials import PASSWORD_VARIABLE, secret

        password = secret(self.password_file) if self.password_file else os.environ.get(PASSWORD_VARIABLE, "")
        auth = (self.username, password) if self.username else None
        return RemoteAgent(url=url, auth=auth, tls=self.tls(), max_age=max_age)

    @property
    def polling_time(self) -> float:
        """Seconds in which the nodes must answer: less if the start of the process took long."""
        left = deadline.left()
        seconds = self.timeout if left is None else min(left, self.timeout)
        return max(seconds - RESERVE, seconds / 2)


@dataclass(frozen=True, slots=True)
class ChosenCluster:
    """The cluster of a command.

    Attributes:
        target: the options that name it.
        configured: its configuration; None for -H and -u, and for a snapshot without -C.
        state: path of the agent's state file; None if none is configured.
    """

    target: Target
    configured: Cluster | None
    state: str | None = None

    # What is configured

    @property
    def name(self) -> str:
        """The cluster's name as far as it is known before a node is asked; empty if it is not."""
        return self.configured.name if self.configured else self.target.cluster or ""

    def definition(self) -> Cluster:
        """The configured cluster, or one without a name that -H and -u describe.

        Raises:
            UsageError: if they name no node.
        """
        from ringcheck.config.values import Cluster

        return self.configured or Cluster(name="", source=self.target.jolokia())

    def policy(self, seen: Snapshot) -> Policy:
        """The policy for judging a snapshot: the configured one, with the levels in use now if it follows these.

        --dc names other client datacenters.
        """
        from ringcheck.core.policy import Policy

        policy = self.configured.policy if self.configured else Policy()
        if self.configured and self.configured.observing:
            from ringcheck.cli.following import observed_policy

            policy = observed_policy(self.configured, self.state, seen, recorded=bool(self.target.from_))
        return replace(policy, client_datacenters=self.target.dc) if self.target.dc else policy

    def gate(self) -> Gate:
        """The configured gate."""
        from ringcheck.core.gate import Gate

        return self.configured.gate if self.configured else Gate()

    def stable_readings(self) -> int:
        """How many safe readings in a row the configuration asks for."""
        return self.configured.stable_readings if self.configured else 1

    # What is seen

    @property
    def recorded(self) -> bool:
        """Whether it is read from a recording, by an option or by the configuration."""
        from ringcheck.sources import is_recorded

        return bool(self.target.from_) or (self.configured is not None and is_recorded(self.configured))

    def source(self) -> Source:
        """A source that polls the cluster.

        Raises:
            ConfigError: if it can't be used as it is configured.
        """
        from ringcheck.sources import open_source

        return open_source(self.definition())

    @contextmanager
    def polls(self, *, streams: bool = False) -> Iterator[Callable[[], Snapshot]]:
        """A function that polls the cluster on connections that are kept; a recorded snapshot is read each time.

        Args:
            streams: ask every node for its streams too, which the gate needs.
        """
        if self.target.from_:
            yield partial(_recorded, self.target.from_)
            return
        with closing(self.source()) as source:
            yield lambda: self._with_configured_name(source.poll(self.target.polling_time, streams=streams))

    def _with_configured_name(self, seen: Snapshot) -> Snapshot:
        """The snapshot with the configured name: Cassandra's own name is often the same for several clusters."""
        return replace(seen, cluster=self.name) if self.configured and self.name else seen

    def snapshot(self, *, streams: bool = False) -> Snapshot:
        """What is seen of the cluster now, or was recorded; `streams` as for `polls`.

        Raises:
            RingcheckError: if nothing could be seen.
        """
        with self.polls(streams=streams) as poll:
            return poll()

    def verdict(self, question: Question, adapted: Callable[[Policy], Policy] = lambda policy: policy) -> Verdict:
        """The verdict on the keyspaces of the target, by the policy that `adapted` makes of the cluster's.

        Raises:
            RingcheckError: if nothing could be seen, or the question does not fit the cluster.
        """
        with self.polls() as poll:
            return self.judge(poll, replace(question, keyspaces=self.target.keyspace), adapted)

    def judge(
        self,
        poll: Callable[[], Snapshot],
        question: Question,
        adapted: Callable[[Policy], Policy] = lambda policy: policy,
    ) -> Verdict:
        """The verdict on one poll, with the holders of restart leases.

        Raises:
            RingcheckError: as `verdict`.
        """
        from ringcheck.core.assess import assess

        maintenance = self.maintenance()
        seen = poll()
        return assess(seen, adapted(self.policy(seen)), question, maintenance())

    def replayed(self, speed: float) -> ChosenCluster:
        """The same cluster with the directory of recordings that --from names as its source.

        Args:
            speed: recorded seconds that pass in one second.
        """
        from ringcheck.config.values import Cluster
        from ringcheck.replay.settings import ReplaySettings

        recordings = ReplaySettings(directory=self.target.from_ or "", speed=speed)
        configured = self.configured or Cluster(name="", source=recordings)
        # The leases of today say nothing of the cluster as it was.
        return ChosenCluster(replace(self.target, from_=None), replace(configured, source=recordings, lease=None))

    # Restart leases

    def maintenance(self) -> Callable[[], Maintenance | None]:
        """Begin to read the restart leases; the function that is returned waits for them, at most a second.

        It returns None if the cluster keeps no leases, and for a recorded snapshot, which those of today do not
        explain.
        """
        from ringcheck.cli.lease_reading import begin

        if self.configured is None or self.configured.lease is None or self.target.from_:
            return lambda: None
        return begin(self.configured, self.configured.lease.deadline, self.target.timeout)

    def lease_store(self, name: str, seconds: float | None = None) -> Store:
        """The store of the cluster's restart leases, for the caller to close.

        Args:
            name: the cluster's.
            seconds: time for each operation; the store's own default if None.

        Raises:
            RingcheckError: if it can't be used as it is configured.
        """
        from ringcheck.leases.configured import open_store
        from ringcheck.leases.store import STEP_SECONDS

        return open_store(replace(self.definition(), name=name), seconds or STEP_SECONDS)

    def holders(self, seen: Snapshot) -> tuple[Holder, ...]:
        """Holders of restart leases, at the present addresses of their nodes; none for a recorded snapshot.

        Raises:
            LeaseError: if they can't be read, or a lease names no node of the cluster.
        """
        leases = self.leases(seen)
        if leases.problem:
            raise leases.problem
        return leases.holders

    def leases(self, seen: Snapshot) -> PlacedLeases:
        """The restart leases as far as they are known; none for a recorded snapshot."""
        from ringcheck.leases.grant import PlacedLeases

        def read() -> tuple[Holder, ...]:
            with closing(self.lease_store(seen.cluster, min(self.target.timeout, 5.0))) as store:
                return store.holders()

        return PlacedLeases() if self.target.from_ else PlacedLeases.read(read, seen)


def require_config(path: str) -> None:
    """Refuse the name of a configuration that does not exist, with what to do.

    Raises:
        UsageError: as above.
    """
    if not os.path.lexists(path):
        step = "name another file with -C, or write one with `ringcheck init`"
        raise UsageError(f"there is no configuration {path}", step)


def _recorded(path: str) -> Snapshot:
    from ringcheck.documents.snapshot import MOST_BYTES, read_file, read_snapshot

    if os.path.isdir(path):  # noqa: PTH112 - false for a name that no file can have, where Path raises
        raise UsageError(f"{path} is a directory of recordings, which only `watch` replays: name one of its files")
    if path == "-":
        return read_snapshot(sys.stdin.buffer.read(MOST_BYTES + 1), "standard input")
    try:
        return read_snapshot(read_file(path), path)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
