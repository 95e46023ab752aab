"""Where a cluster's Jolokia agents are and how to ask them, by the configuration or by `-H` and `-u`.

Loads no HTTP library, so that reading a configuration stays cheap.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ringcheck.core.endpoint import host_and_port
from ringcheck.errors import ConfigError
from ringcheck.http.credentials import PASSWORD_VARIABLE, secret
from ringcheck.http.urls import without_login

if TYPE_CHECKING:
    from ringcheck.http.tls import Tls

DEFAULT_URL = "http://{address}:8778/jolokia"
DEFAULT_TLS_URL = "https://{address}:8778/jolokia"
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class JolokiaSettings:
    """Where a cluster's Jolokia agents are and how to ask them.

    Attributes:
        contact_points: HOST, HOST:PORT, [IPV6]:PORT or URL of any nodes of the cluster.
        url: of a node's agent; `{address}` stands for the node's address, in brackets if it is IPv6. The default is
            `http://{address}:8778/jolokia`, or the same with https if there is `tls`.
        username: for HTTP basic authentication.
        password_file: file with the password; without it the environment variable RINGCHECK_PASSWORD has it.
        password: the password itself, instead of either.
        tls: None for the system's authorities and no client certificate.
        timeout: seconds that one request may take.
        views: `all` asks every node for its view, `contact_points` only the contact points.
        max_bytes: decoded bytes of one reply, at most.
    """

    contact_points: tuple[str, ...]
    url: str = ""
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

    def url_of(self, address: str) -> str:
        """The URL of the agent of the node at an address."""
        template = self.url or (DEFAULT_TLS_URL if self.tls else DEFAULT_URL)
        return template.replace("{address}", _bracketed(address.partition("%")[0]))

    def url_of_contact(self, contact: str) -> str:
        """The URL of the agent at a contact point.

        Raises:
            ConfigError: if it has none of the forms.
        """
        if "://" in contact:
            return contact
        host, port = _host_and_port(contact)
        url = self.url_of(host)
        if port is None:
            return url
        parts = urlsplit(url)
        return parts._replace(netloc=f"{_bracketed(parts.hostname or host)}:{port}").geturl()


def host_of(contact: str) -> str:
    """The host of a contact point, an IP address in its canonical form.

    Raises:
        ConfigError: if it has none of the forms.
    """
    if "://" in contact:
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


def _host_and_port(contact: str) -> tuple[str, int | None]:
    """Split `host`, `host:port`, `[ipv6]:port` or a bare IPv6 address."""
    with suppress(ValueError):
        return str(ip_address(contact)), None
    try:
        return host_and_port(contact)
    except ValueError:
        text = f"contact point {without_login(contact)!r} is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL"
        raise ConfigError(text) from None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
