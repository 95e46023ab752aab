"""The Python API: scripts ask a cluster. `docs/python.md` describes it.

Each method does the same as the corresponding command, and returns the value from which all outputs are rendered.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ringcheck.cli.node_names import members
from ringcheck.cli.options import asked_levels, level
from ringcheck.cli.preflight import Readings, question
from ringcheck.cli.target import ChosenCluster, Target
from ringcheck.core import plan as planning
from ringcheck.core.assess import Question
from ringcheck.documents.fields import address
from ringcheck.errors import DataError, UsageError
from ringcheck.http import debuglog

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from ringcheck.core.actions import Action
    from ringcheck.core.consistency import Level
    from ringcheck.core.gate import Decision, Gate
    from ringcheck.core.plan import By, Plan
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.source import RequestCounts, Source
    from ringcheck.core.verdict import Verdict

TIMEOUT = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """Changes to the configured gate, for `Cluster.decide` and `Cluster.plan`.

    Attributes:
        level: consistency level that every range must keep; None for the configured one.
        accept: patterns of keyspaces that may lose ranges.
        allow: codes of reasons that do not block.
        require_spare: block if a range would be left without a spare replica.
        require_all_up: block while any other node is down.
    """

    level: Level | str | None = None
    accept: Sequence[str] = ()
    allow: Sequence[str] = ()
    require_spare: bool = False
    require_all_up: bool = False

    def of(self, gate: Gate) -> Gate:
        """The configured gate with these wishes.

        Raises:
            UsageError: there is no such level or code, or the level is ANY.
        """
        return gate.asked(
            level=None if self.level is None else level(self.level),
            accept=_several(self.accept),
            allow=_several(self.allow),
            require_spare=self.require_spare,
            require_all_up=self.require_all_up,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """User and certificates with which a script asks Jolokia, for `Cluster.at`.

    Attributes:
        username: user name for Jolokia.
        password_file: file with the user's password; without it, RINGCHECK_PASSWORD holds the password.
        ca_file: certificates of the authority that signed Jolokia's certificates.
        cert_file: client certificate to present.
        key_file: key of the client certificate.
    """

    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


NO_WISHES, NO_LOGIN = Wishes(), Login()
_LOGIN = tuple(entry.name for entry in fields(Login))


class Cluster:
    """One cluster. Create it with `configured`, `at` or `recorded`; nothing is asked before the first method is called.

    Polls share connections until `close`, or the end of a `with` block. Do not use one object in two threads at once.
    """

    def __init__(self, target: Target) -> None:
        """Internal: use `configured`, `at` or `recorded`.

        Raises:
            UsageError: the target names no cluster, or several.
            ConfigError: the configuration can't be used.
        """
        debuglog.install()
        chosen = target.choose()
        self._chosen = _KeptCluster(target, chosen.configured, chosen.state)

    @classmethod
    def configured(
        cls,
        config: str | os.PathLike[str] | None = None,
        name: str | None = None,
        *,
        client_datacenters: Sequence[str] = (),
        timeout: float = TIMEOUT,
    ) -> Self:
        """A cluster of a configuration file.

        Args:
            config: the file; None for /etc/ringcheck/ringcheck.yaml.
            name: name of the cluster; None if the file has only one.
            client_datacenters: where the clients of LOCAL levels are; empty for the configured ones.
            timeout: seconds that each poll may take.

        Raises:
            UsageError: there is no such file or cluster.
            ConfigError: the file has a mistake.
        """
        path = str(config) if config is not None else None
        return cls(_target(config=path, cluster=name, dc=_several(client_datacenters), timeout=timeout))

    @classmethod
    def at(
        cls,
        *hosts: str,
        url: str | None = None,
        login: Login = NO_LOGIN,
        client_datacenters: Sequence[str] = (),
        timeout: float = TIMEOUT,
    ) -> Self:
        """A cluster without a configuration, judged by the defaults.

        Args:
            hosts: `HOST` or `HOST:PORT` of nodes to begin with; all others are discovered.
            url: URL of Jolokia, with `{address}` in place of a node's address.
            login: user and certificates for Jolokia.
            client_datacenters: as of `configured`.
            timeout: as of `configured`.

        Raises:
            UsageError: no node is named, or the URL is not usable.
        """
        urls, known = (url,) if url else (), {name: getattr(login, name) for name in _LOGIN}
        target = _target(host=hosts, url=urls, dc=_several(client_datacenters), timeout=timeout, **known)
        target.jolokia()  # refuses to begin with no node
        return cls(target)

    @classmethod
    def recorded(
        cls,
        snapshot: str | os.PathLike[str],
        config: str | os.PathLike[str] | None = None,
        name: str | None = None,
        *,
        client_datacenters: Sequence[str] = (),
    ) -> Self:
        """A cluster as recorded in a file by `ringcheck snapshot -o FILE` or the agent's API.

        Args:
            snapshot: the file.
            config: configuration with the rules to judge by; None for the defaults.
            name: name of the cluster in the configuration.
            client_datacenters: as of `configured`.

        Raises:
            UsageError: as `configured`.
            ConfigError: as `configured`.
        """
        path = str(config) if config is not None else None
        return cls(_target(from_=str(snapshot), config=path, cluster=name, dc=_several(client_datacenters)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later method opens new ones."""
        self._chosen.close()

    # What is asked

    def snapshot(self, *, streams: bool = False) -> Snapshot:
        """What the nodes report now, or what was recorded.

        Args:
            streams: also ask every node for its streams.

        Raises:
            SourceError: no node answers, or none can report the ring.
            DataError: the answers contradict each other, or the file is not a snapshot.
            UsageError: the file can't be read.
        """
        return self._chosen.snapshot(streams=streams)

    def verdict(
        self,
        *,
        keyspaces: str | Iterable[str] = (),
        levels: str | Iterable[Level | str] = (),
        ranges: bool = False,
        view: str | None = None,
    ) -> Verdict:
        """Which ranges can be served, judged on a new poll; what `ringcheck health` shows.

        Args:
            keyspaces: shell patterns; empty for all that are monitored.
            levels: levels to judge in addition to the monitored ones; `all` for all.
            ranges: whether to list the unavailable ranges.
            view: address of the only coordinator whose view is used, for the clients of its datacenter.

        Raises:
            UsageError: there is no such level, keyspace, datacenter or coordinator.
            RingcheckError: as `snapshot`.
        """
        asked = Question(
            keyspaces=_several(keyspaces),
            levels=asked_levels(_several(levels)),
            ranges=ranges,
            view=None if view is None else _observer(view),
        )
        with self._chosen.polls() as poll:
            return self._chosen.judge(poll, asked)

    def decide(
        self,
        nodes: str | Iterable[str] = (),
        *,
        rack: str | None = None,
        action: Action = "restart",
        datacenter: str | None = None,
        wishes: Wishes = NO_WISHES,
        stable: int | None = None,
    ) -> Decision:
        """May these nodes stop now? What `ringcheck preflight` answers. Act only if `decision.decision` is `"safe"`.

        Restart leases of other nodes count as stops. The decision takes no lease: a program that restarts nodes should
        hold one, as `ringcheck lease` and `ringcheck roll` do.

        Args:
            nodes: addresses, host names, host ids, or the beginning of an address or host id.
            rack: all nodes of this rack, instead of `nodes`.
            action: `restart`, `decommission`, `removenode`, `replace` or `bootstrap`.
            datacenter: datacenter of the new node, with `replace` and `bootstrap`; `rack` is then its rack.
            wishes: changes to the configured gate.
            stable: number of safe readings in a row that are needed, 2 s apart; None for the configured number.

        Raises:
            UsageError: no node is named, or a name can mean several.
            LeaseError: restart leases can't be read, or one is of a node that is gone; an unsafe decision is returned
                all the same.
            RingcheckError: as `snapshot`.
        """
        if not nodes and not rack:
            raise UsageError("name the nodes that the decision is about, or a rack")
        choose, newcomer = question(action, _several(nodes), rack, datacenter, self._chosen.target.dc)
        readings = Readings(
            cluster=self._chosen,
            gate=wishes.of(self._chosen.gate()),
            choose=choose,
            stable=stable,
            action=action,
            newcomer=newcomer,
        )
        return readings.decide()

    def plan(
        self,
        nodes: str | Iterable[str] = (),
        *,
        rack: str | None = None,
        max_batch: int | None = None,
        by: By | None = None,
        wishes: Wishes = NO_WISHES,
    ) -> Plan:
        """The fewest batches in which nodes can restart, as `ringcheck plan` prints them.

        Args:
            nodes: as of `decide`; empty for all members, or those of the client datacenters.
            rack: only the nodes of this rack.
            max_batch: maximum number of nodes in a batch.
            by: `rack` keeps each batch within one rack, `node` makes a batch of each node.
            wishes: as of `decide`.

        Raises:
            UsageError: a name can mean several nodes.
            RingcheckError: as `snapshot`.
        """
        chosen = self._chosen
        seen = chosen.snapshot()
        wanted = members(seen, _several(nodes), rack, chosen.target.dc)
        gate = wishes.of(chosen.gate())
        return planning.plan(seen, chosen.policy(seen), gate, nodes=wanted, max_batch=max_batch, by=by)


def _observer(view: str) -> str:
    try:
        return address(view, "view")
    except DataError as error:
        raise UsageError(str(error)) from None


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    """Several names; a single text is one name, not a list of its letters."""
    return (names,) if isinstance(names, str) else tuple(names)


def _target(timeout: float = TIMEOUT, **options: Any) -> Target:  # noqa: ANN401 - as Target has them
    """The same target as from command-line options; fields that are not named count as not given."""
    if not timeout > 0:
        raise UsageError(f"timeout is a number of seconds above 0, not {timeout!r}")
    return Target(**{**_NOT_GIVEN, **options}, timeout=timeout)


_LISTS = ("host", "url", "dc", "keyspace")
_TEXTS = ("config", "cluster", "from_", "proxy", "jmx", "jmx_username", "jmx_password_file", *_LOGIN)
_NOT_GIVEN: dict[str, Any] = dict.fromkeys(_TEXTS) | dict.fromkeys(_LISTS, ())


@dataclass(frozen=True, slots=True)
class _KeptCluster(ChosenCluster):
    """A cluster whose source is opened once, and closed by `close` only."""

    kept: list[Source] = field(default_factory=list)

    def source(self) -> Source:
        """See the base; closing what is returned closes nothing."""
        if not self.kept:
            self.kept.append(ChosenCluster.source(self))
        return _Shared(self.kept[0])

    def close(self) -> None:
        """Close the source."""
        while self.kept:
            self.kept.pop().close()


class _Shared:
    """A source that is shared with other users."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.poll = source.poll

    @property
    def counts(self) -> RequestCounts:
        """See `Source`."""
        return self._source.counts

    def close(self) -> None:
        """Leave it open."""
