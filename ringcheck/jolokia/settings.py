"""The locations of a cluster's Jolokia agents or JMX ports, and how to ask them: from configuration or options.

Loads no HTTP library, so that reading a configuration stays cheap.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ringcheck.core.endpoint import host_and_port, ip_of
from ringcheck.errors import ConfigError
from ringcheck.http.credentials import JMX_PASSWORD_VARIABLE, PASSWORD_VARIABLE, secret
from ringcheck.http.urls import without_login

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.ring import Replication
    from ringcheck.http.tls import Tls

DEFAULT_URL = "http://{address}:8778/jolokia"
DEFAULT_TLS_URL = "https://{address}:8778/jolokia"
DEFAULT_JMX = "service:jmx:rmi:///jndi/rmi://{address}:7199/jmxrmi"
MEBIBYTE = 2**20
_JMX = "service:jmx:"
_HOST_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A look-up by another protocol than RMI would let the proxy load code that the other side names.
_JMX_URL = re.compile(r"service:jmx:rmi://[^\s/]*/jndi/rmi://(?P<end>[^\s/]+)/[^\s?#]+")


@dataclass(frozen=True, slots=True)
class ConfiguredCluster:
    """What the configuration states about a cluster because its nodes may not report it.

    Attributes:
        name: in the configuration; shown if no node reports its ClusterName. None without one.
        replication: by keyspace, for releases that do not report it (before 3.11.11).
        authenticates: whether clients must log in; None to find out.
    """

    name: str | None = None
    replication: Mapping[str, Replication] = field(default_factory=dict)
    authenticates: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JolokiaSettings:
    """Where a cluster's Jolokia agents are and how to ask them.

    Attributes:
        contact_points: HOST, HOST:PORT, [IPV6]:PORT or URL of any nodes of the cluster.
        url: of a node's agent; `{address}` stands for the node's address, in brackets if it is IPv6. The default is
            `http://{address}:8778/jolokia`, or the same with https if there is `tls`.
        nodes: locations of single nodes, in place of `url` or `jmx`; by host id, endpoint, address or host name.
        proxy: URL of a Jolokia that asks the nodes' JMX ports; None if the nodes have agents.
        jmx: JMX service URL of a node, with `{address}`; used with `proxy` only.
        jmx_username: for JMX.
        jmx_password_file: file with its password; without it the variable RINGCHECK_JMX_PASSWORD has it.
        username: for HTTP basic authentication, also by the proxy.
        password_file: file with the password; without it the environment variable RINGCHECK_PASSWORD has it.
        password: the password itself, instead of either.
        tls: None for the system's authorities and no client certificate.
        timeout: seconds that one request may take.
        views: `all` asks every node for its view, `contact_points` only the contact points.
        max_bytes: decoded bytes of one reply, at most.
    """

    contact_points: tuple[str, ...]
    url: str = ""
    nodes: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None
    jmx: str = DEFAULT_JMX
    jmx_username: str | None = field(default=None, repr=False)
    jmx_password_file: str | None = None
    username: str | None = field(default=None, repr=False)
    password_file: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    timeout: float = 10.0
    views: str = "all"
    max_bytes: int = 64 * MEBIBYTE

    def basic_auth(self) -> tuple[str, str] | None:
        """User name and password for HTTP basic authentication; None without a user name.

        Raises:
            UsageError: if the password file can't be read.
        """
        if self.username is None:
            return None
        if self.password is not None:
            return self.username, self.password
        stored = secret(self.password_file) if self.password_file else os.environ.get(PASSWORD_VARIABLE)
        return self.username, stored or ""

    def jmx_login(self) -> tuple[str, str] | None:
        """User name and password for JMX; None without a user name.

        Raises:
            UsageError: if the password file can't be read.
        """
        if self.jmx_username is None:
            return None
        file = self.jmx_password_file
        return self.jmx_username, (secret(file) if file else os.environ.get(JMX_PASSWORD_VARIABLE)) or ""

    @property
    def asked_first(self) -> tuple[str, ...]:
        """The locations of the contact points, for people to read."""
        return tuple(map(self.url_of_contact, self.contact_points))

    def url_of(self, address: str) -> str:
        """The location of the agent of the node at an address, by the template."""
        template = self.jmx if self.proxy else self.url or (DEFAULT_TLS_URL if self.tls else DEFAULT_URL)
        return template.replace("{address}", _bracketed(address.partition("%")[0]))

    def listed(self, endpoint: str, host_id: str | None) -> str | None:
        """The location that `nodes` has for a node, by its host id, endpoint or address; None if it has none."""
        names = (host_id or "", endpoint, ip_of(endpoint))
        return next((self.nodes[name] for name in names if name in self.nodes), None)

    def host_names(self) -> dict[str, str]:
        """The locations that `nodes` has for host names, which must be resolved."""
        return {name: location for name, location in self.nodes.items() if not _is_node(name)}

    def url_of_contact(self, contact: str) -> str:
        """The location of the agent at a contact point.

        Raises:
            ConfigError: if it has none of the forms.
        """
        if "://" in contact:
            return contact
        host, port = _host_and_port(contact)
        if port is None:
            return self.nodes.get(host) or self.url_of(host)
        if self.proxy:
            return re.sub(r"\{address\}(:[0-9]+)?", lambda _: f"{_bracketed(host)}:{port}", self.jmx)
        parts = urlsplit(self.url_of(host))
        return parts._replace(netloc=f"{_bracketed(parts.hostname or host)}:{port}").geturl()


def is_jmx(location: str) -> bool:
    """Whether a location is a JMX service URL."""
    return location.startswith(_JMX)


def jmx_end(location: str) -> tuple[str, int]:
    """Host and port of a JMX service URL of the form `service:jmx:rmi:///jndi/rmi://HOST:PORT/jmxrmi`.

    Raises:
        ConfigError: if it has another form.
    """
    parts = _JMX_URL.fullmatch(location)
    with suppress(ValueError):
        host, port = host_and_port(parts["end"] if parts else "")
        return host, 1099 if port is None else port  # the port of RMI's registry
    raise ConfigError(
        f"{without_login(location)!r} is not a JMX URL such as {DEFAULT_JMX.replace('{address}', 'HOST')}"
    )


def host_of(contact: str) -> str:
    """The host of a contact point or location, an IP address in its canonical form.

    Raises:
        ConfigError: if it has none of the forms.
    """
    if is_jmx(contact):
        host = jmx_end(contact)[0]
    elif "://" in contact:
        try:
            host = urlsplit(contact).hostname or contact
        except ValueError:
            raise ConfigError(f"contact point {without_login(contact)!r} is not a usable URL") from None
    else:
        host = _host_and_port(contact)[0]
    try:
        return str(ip_address(host))
    except ValueError:
        return host


def _is_node(name: str) -> bool:
    """Whether a name of `nodes` is a host id, an endpoint or an address, and so not a host name."""
    with suppress(ValueError):
        return bool(ip_address(ip_of(name)))
    return _HOST_ID.fullmatch(name) is not None


def _host_and_port(contact: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[ipv6]:port` or a bare IPv6 address."""
    with suppress(ValueError):
        return str(ip_address(contact)), None
    if "," in contact:
        raise ConfigError(f"contact point {without_login(contact)!r} has a comma: name each host by itself")
    try:
        return host_and_port(contact)
    except ValueError:
        text = f"contact point {without_login(contact)!r} is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL"
        raise ConfigError(text) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
