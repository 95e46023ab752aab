"""What a configuration is, once it is read: values that nothing can change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ringcheck.core.gate import Gate
from ringcheck.core.policy import Policy
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import Replication
    from ringcheck.http.tls import Tls
    from ringcheck.jolokia.settings import JolokiaSettings


@dataclass(frozen=True, slots=True)
class Lease:
    """Where restart leases are kept; `deadline` in seconds after which a holder is reported."""

    etcd: tuple[str, ...] = ()
    file: str | None = None
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None
    deadline: float = 3600.0


@dataclass(frozen=True, slots=True)
class Sensu:
    """Where events go and whom they name; `ttl`, `after` and `repeat` in seconds."""

    transport: str = "socket"
    team: str | None = None
    runbook: str | None = None
    page: Literal["critical", "warning", "never"] = "critical"
    ticket: Literal["critical", "warning", "never"] = "warning"
    host: str = "127.0.0.1"
    port: int = 3030
    url: str = "http://127.0.0.1:3031"
    ttl: float | None = None
    after: float = 0.0
    repeat: float | None = None


@dataclass(frozen=True, slots=True)
class Fleetlock:
    """Who may take restart leases by the FleetLock protocol.

    Attributes:
        nodes: by the id of a client the address or host id of its node.
        group: what clients name the cluster; None for its name here.
    """

    nodes: Mapping[str, str]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster; `stable_readings` is how many safe answers in a row its gate asks for."""

    name: str
    source: JolokiaSettings
    replication: Mapping[str, Replication] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    gate: Gate = field(default_factory=Gate)
    stable_readings: int = 1
    lease: Lease | None = None
    sensu: Sensu | None = None
    fleetlock: Fleetlock | None = None


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The long-running service; `interval` in seconds, `log` the form of its lines."""

    listen: str = "127.0.0.1:9742"
    interval: float = 15.0
    web_config: str | None = None
    log: Literal["logfmt", "json"] = "logfmt"


@dataclass(frozen=True, slots=True)
class Config:
    """All of it.

    Attributes:
        clusters: by name.
        agent: the service's own settings.
        shown: for each effective value its path, its text and where it comes from.
        warnings: what is allowed but should be known.
    """

    clusters: Mapping[str, Cluster]
    agent: AgentSettings
    shown: tuple[tuple[tuple[str, ...], str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class ConfigErrors(ConfigError):  # noqa: N818 - several of them
    """All that is wrong with a configuration; `errors` has a line each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        super().__init__(f"{self.errors[0]}{more}")
