"""Formats of text in the configuration: addresses, URLs, patterns and thresholds.

A function per format checks a text and returns its value; the constants at the end pair it with a pattern for editors.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from ringcheck.config.types import Text
from ringcheck.core.endpoint import canonical
from ringcheck.core.policy import NagiosRange
from ringcheck.errors import UsageError
from ringcheck.http.urls import without_login
from ringcheck.jolokia.settings import DEFAULT_JMX, is_jmx, jmx_end

_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
_CREDENTIALS = "a URL must not hold credentials: use username and password_file"
_HOST_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GROUP = "[A-Za-z0-9.-]+"  # the pattern of the FleetLock protocol
_RANGE = "@?[0-9.:~-]+"


def contact(value: str) -> str:
    """A contact point: HOST, HOST:PORT, an IP address, [IPV6]:PORT, a URL or a JMX service URL.

    Raises:
        ValueError: if it is none of these.
    """
    if is_jmx(value):
        return jmx(value)
    if "://" in value:
        if "{" in value:
            raise ValueError(f"{without_login(value)!r} must name one node: use {{address}} in url only")
        return url(value)
    if _is_ip(value) or _host_and_port(value):
        return value
    raise ValueError(f"{without_login(value)!r} is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL")


def _is_ip(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def _host_and_port(value: str) -> bool:
    """Whether it is HOST, HOST:PORT or [IPV6]:PORT; a wrong IPv4 address such as 10.0.0.256 is not a host name."""
    match = re.fullmatch(r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?", value)
    if not match or (match["port"] and not 0 < int(match["port"]) < 2**16):
        return False
    if match["v6"]:
        return ":" in match["v6"] and _is_ip(match["v6"])
    numeric = re.fullmatch(r"[0-9.]+", match["host"])
    return _is_ip(match["host"]) if numeric else bool(re.fullmatch(_HOST, match["host"]))


def url(value: str) -> str:
    """An http or https URL without credentials.

    Raises:
        ValueError: if it is not.
    """
    parts = _split(value)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"{without_login(value)!r} is not an http or https URL")
    if "@" in parts.netloc:
        raise ValueError(_CREDENTIALS)
    if not _host_and_port(parts.netloc) or re.search(r"[\s#?{}\\]", value):
        raise ValueError(f"{without_login(value)!r} is not a URL such as http://HOST:PORT/PATH")
    return value


def _split(value: str) -> SplitResult:
    try:
        return urlsplit(value)
    except ValueError:
        raise ValueError(f"{without_login(value)!r} is not an http or https URL") from None


def template(value: str) -> str:
    """An http or https URL with `{address}` in it, which stands for the address of a node.

    Raises:
        ValueError: if it is not.
    """
    if value.count("{address}") != 1:
        raise ValueError(f"{without_login(value)!r} must contain {{address}} once, in place of a node's address")
    if "@" in value:
        raise ValueError(_CREDENTIALS)
    try:
        url(value.replace("{address}", "address"))
    except ValueError:
        raise ValueError(
            f"{without_login(value)!r} is not an http or https URL such as http://{{address}}:8778/jolokia"
        ) from None
    return value


def _linked(value: str, name: str) -> str:
    """An http or https URL for people to open, with the placeholder `name` in it.

    Raises:
        ValueError: if it is not.
    """
    if name not in value:
        raise ValueError(f"{without_login(value)!r} must contain {name}")
    if "@" in value.partition("?")[0]:
        raise ValueError(_CREDENTIALS)
    if not re.fullmatch(r"(?i:https?)://[^\s/?#]+[^\s]*", value):
        raise ValueError(f"{value!r} is not an http or https URL")
    return value


def of_cluster(value: str) -> str:
    """An http or https URL with `{cluster}` in it, which stands for the name of a cluster.

    Raises:
        ValueError: if it is not.
    """
    return _linked(value, "{cluster}")


def of_code(value: str) -> str:
    """An http or https URL with `{code}` in it, which stands for the code of a finding.

    Raises:
        ValueError: if it is not.
    """
    return _linked(value, "{code}")


def jmx(value: str) -> str:
    """A JMX service URL of a node.

    Raises:
        ValueError: if it has another form than `service:jmx:rmi:///jndi/rmi://HOST:PORT/jmxrmi`.
    """
    try:
        host, port = jmx_end(value)
    except UsageError:
        host, port = "", 0
    if "@" in value or not _host_and_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"):
        example = DEFAULT_JMX.replace("{address}", "HOST")
        raise ValueError(f"{without_login(value)!r} is not a JMX URL such as {example}")
    return value


def jmx_template(value: str) -> str:
    """A JMX service URL with `{address}` in it, which stands for the address of a node.

    Raises:
        ValueError: if it is not.
    """
    if "{address}" not in value:
        raise ValueError(f"{without_login(value)!r} must contain {{address}}, in place of a node's address")
    try:
        jmx(value.replace("{address}", "address"))
    except ValueError:
        raise ValueError(f"{without_login(value)!r} is not a JMX URL such as {DEFAULT_JMX}") from None
    return value


def location(value: str) -> str:
    """Where one node is asked: the URL of its Jolokia, or its JMX service URL.

    Raises:
        ValueError: if it is neither.
    """
    return jmx(value) if is_jmx(value) else url(value)


def node(value: str) -> str:
    """A host id, an address with or without a port, or a host name; as `JolokiaSettings.nodes` has it.

    Raises:
        ValueError: if it is none of these.
    """
    lower = value.lower()
    if re.fullmatch(_HOST_ID, lower):
        return lower
    with suppress(ValueError):
        return canonical(value)
    if ":" in value or not _host_and_port(value):
        raise ValueError(f"{value!r} is neither a host id, ADDRESS, ADDRESS:PORT, [IPV6]:PORT nor a host name")
    return lower


def member(value: str) -> str:
    """The address or the host id of a node, in canonical form.

    Raises:
        ValueError: if it is neither.
    """
    if _is_ip(value):
        return str(ip_address(value))
    if not re.fullmatch(_HOST_ID, value.lower()):
        raise ValueError(f"{value!r} is neither a node's address nor its host id")
    return value.lower()


def group(value: str) -> str:
    """A group of the FleetLock protocol.

    Raises:
        ValueError: if it is not.
    """
    if not re.fullmatch(_GROUP, value):
        raise ValueError(f"{value!r} is not a FleetLock group: use letters, digits, . and -")
    return value


def listen(value: str) -> str:
    """HOST:PORT to listen on; port 0 is any free port.

    Raises:
        ValueError: if it is not.
    """
    match = re.fullmatch(r"(.+):([0-9]{1,5})", value)
    if not match or int(match[2]) >= 2**16 or not _host_and_port(match[1]):
        raise ValueError(f"{value!r} is not HOST:PORT")
    return value


def count(value: str) -> NagiosRange:
    """A Nagios range for a number of token ranges.

    Raises:
        ValueError: if it can never alert.
        UsageError: if it is not a Nagios range.
    """
    return _alerting(NagiosRange.parse(value), value, 1, float("inf"))


def share(value: str) -> NagiosRange:
    """A Nagios range of percentages.

    Raises:
        ValueError: if it has no percent sign, or can never alert.
        UsageError: if it is not a Nagios range.
    """
    if not value.endswith("%"):
        raise ValueError(f"{value!r} is not a share such as '1%'")
    return _alerting(NagiosRange.parse(value.replace("%", "")), value, 1e-9, 100)


def _alerting(limits: NagiosRange, value: str, least: float, most: float) -> NagiosRange:
    """The Nagios range, if it alerts for some loss from `least` to `most`."""
    start, end = limits.start or 0, float("inf") if limits.end is None else limits.end
    silent = (end < least or start > most) if limits.inside else (start <= least and end >= most)
    if silent:
        raise ValueError(f"{value!r} never alerts")
    return limits


def pattern(value: str) -> str:
    """A shell pattern for keyspaces.

    Raises:
        ValueError: if it can match no keyspace, such as a regular expression or a name with a dot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_*?\[\]!-]+", value):
        raise ValueError(f"{value!r} matches no keyspace: names have letters, digits and _, patterns also * ? [...]")
    return value


CONTACT = Text("HOST, HOST:PORT, [IPV6]:PORT or a URL", contact, r"^[A-Za-z0-9_\[:][^\s@{}]*$")
URL = Text("a URL", url, r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s@{}?#]+$")
TEMPLATE = Text("a URL with {address} in it", template, r"^[Hh][Tt][Tt][Pp][Ss]?://[^\s@{}?#]*\{address\}[^\s@{}?#]*$")
OF_CLUSTER = Text("a URL with {cluster} in it", of_cluster, r"^[Hh][Tt][Tt][Pp][Ss]?://\S*\{cluster\}\S*$")
OF_CODE = Text("a URL with {code} in it", of_code, r"^[Hh][Tt][Tt][Pp][Ss]?://\S*\{code\}\S*$")
JMX = Text(
    "a JMX URL with {address} in it",
    jmx_template,
    r"^service:jmx:rmi://[^\s/@]*/jndi/rmi://[^\s/@]*\{address\}[^\s@?#]*$",
)
LOCATION = Text("a URL", location, r"^([Hh][Tt][Tt][Pp][Ss]?|service:jmx:rmi)://[^\s@{}?#]+$")
LISTEN = Text("HOST:PORT", listen, r"^\S+:[0-9]{1,5}$")
COUNT = Text("a Nagios range in quotes", count, f"^\\s*{_RANGE}\\s*$")
SHARE = Text("a share in quotes, such as '1%'", share, r"^\s*@?[0-9.:~%\s-]+%$")
PATTERN = Text("a pattern", pattern, r"^[A-Za-z0-9_*?\[\]!-]+$")
MEMBER = Text("a node's address or host id", member, r"^[0-9A-Fa-f:.%-]+$")
CLUSTER_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
GROUP = Text("a group", group, f"^{_GROUP}$")
