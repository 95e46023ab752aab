"""The URLs of all nodes' agents or JMX ports, made from what -H, -u and --jmx name for one node."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from urllib.parse import urlsplit

from ringcheck.errors import UsageError

_FIELD = re.compile(r"\{(?!address\})[^{}/]*\}")


def require_usable(url: str) -> None:
    """Refuse what -u does not take: other schemes, and fields other than {address}.

    Raises:
        UsageError: as above.
    """
    if field := _FIELD.search(url):
        raise UsageError(f"-u has the unknown field {field[0]} (did you mean {{address}}?)")
    if not url.startswith(("http://", "https://")):
        from ringcheck.http.urls import shown

        raise UsageError(f"-u takes an http or https URL, not {shown(url)!r}: name HOST or HOST:PORT with -H")


def template_of(url: str) -> str:
    """The URL of any node's Jolokia, if that of one node is known."""
    if "{address}" in url:
        return url
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=f"{{address}}{f':{parts.port}' if parts.port else ''}").geturl()
    except ValueError:
        from ringcheck.http.urls import shown

        raise UsageError(f"{shown(url)!r} is not a usable URL") from None


def same_port(host: str, scheme: str) -> str:
    """The URL of any node's Jolokia at the port of this host; empty for the default port."""
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return ""  # an IPv6 address has colons, but no port
    try:
        port = urlsplit(f"//{host}").port
    except ValueError:
        return ""  # it is refused when it is used
    return f"{scheme}://{{address}}:{port}/jolokia" if port else ""


def same_jmx_port(host: str, template: str) -> str:
    """The JMX URL of any node at the port of this host; the template as it is for the default port."""
    port = same_port(host, "http").removeprefix("http://{address}:").partition("/")[0]
    return template.replace(":7199/", f":{port}/") if port else template
