"""What a configuration is, once it is read: values that nothing can change."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ringcheck.core.gate import Gate
from ringcheck.core.policy import Policy
from ringcheck.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ringcheck.core.ring import Replication
    from ringcheck.jolokia.client import Settings


PASSWORD = "RINGCHECK_PASSWORD"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust and who to be; paths."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Jolokia:
    """Where the agents are and how to ask them; `timeout` in seconds for one request."""

    contact_points: tuple[str, ...]
    url: str | None = None
    views: str = "all"
    username: str | None = None
    password_file: str | None = None
    tls: Tls | None = None
    timeout: float = 10.0

    def settings(self) -> Settings:
        """The same as the collector wants it, the password read.

        Raises:
            UsageError: if the password can't be read.
        """
        from ringcheck.jolokia import client  # noqa: PLC0415 - brings requests, which reading a file does not need

        tls = self.tls
        return client.Settings(
            contact_points=self.contact_points,
            url=self.url or "",
            username=self.username,
            password=secret(self.password_file) if self.password_file else os.environ.get(PASSWORD),
            tls=client.Tls(tls.ca_file, tls.cert_file, tls.key_file, tls.insecure_skip_verify) if tls else None,
            timeout=self.timeout,
            views=self.views,
        )


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
    jolokia: Jolokia
    replication: Mapping[str, Replication] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    gate: Gate = field(default_factory=Gate)
    stable_readings: int = 1
    lease: Lease | None = None
    sensu: Sensu | None = None
    fleetlock: Fleetlock | None = None


@dataclass(frozen=True, slots=True)
class Agent:
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
    agent: Agent
    shown: tuple[tuple[tuple[str, ...], str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class ConfigErrors(ConfigError):  # noqa: N818 - several of them
    """All that is wrong with a configuration; `errors` has a line each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        more = f" (and {len(self.errors) - 1} more)" if len(self.errors) > 1 else ""
        super().__init__(f"{self.errors[0]}{more}")


def secret(path: str) -> str:
    """A password from its file; a bare name is looked up in $CREDENTIALS_DIRECTORY first.

    Raises:
        UsageError: if it can't be read, everybody can read it, or there is none in it.
    """
    file = Path(path)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if credentials and len(file.parts) == 1:
        file = Path(credentials) / path
    try:
        if file.stat().st_mode & 0o004:
            raise UsageError(f"{file} holds a password and can be read by everybody: chmod o-r it")
        password = file.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} holds no password: it is not UTF-8") from None
    if not password:
        raise UsageError(f"{file} is empty: it should hold a password")
    return password
