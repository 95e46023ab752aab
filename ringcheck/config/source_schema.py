"""The keys of the sources of a cluster, `jolokia` and `replay`, and of `tls`, which other sections have too."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_IROTH
from typing import TYPE_CHECKING, Any

from ringcheck.config.files import ExistingDirectory, File
from ringcheck.config.formats import CONTACT, JMX, LOCATION, TEMPLATE, URL
from ringcheck.config.formats import node as node_name
from ringcheck.config.reader import Wrong
from ringcheck.config.sections import ConfigKey, Many, Named, Section
from ringcheck.config.types import Choice, Duration, Flag, Number, Text
from ringcheck.http.credentials import JMX_PASSWORD_VARIABLE, PASSWORD_VARIABLE
from ringcheck.http.tls import Tls
from ringcheck.jolokia.settings import JolokiaSettings, is_jmx
from ringcheck.replay.settings import ReplaySettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import yaml

    from ringcheck.config.reader import ConfigReader


def _tls(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Tls:
    tls = Tls(**values)
    combined = tls.cert_file if not tls.key_file else None
    if combined and Path(combined).stat().st_mode & S_IROTH:
        raise Wrong(node, "cert_file holds the private key too, and can be read by everybody: chmod o-r it")
    if tls.insecure_skip_verify:
        reader.warn(node, "insecure_skip_verify: server certificates are not verified")
    return tls


def refuse_plain(node: yaml.Node, tls: Tls | None, urls: Iterable[str]) -> None:
    """Refuse `tls` with an http URL, since it would be ignored silently."""
    plain = next((url for url in urls if tls and url.lower().startswith("http:")), None)
    if plain:
        raise Wrong(node, f"tls has no effect on {plain}: use https")


TLS = Section(
    what="tls",
    keys={
        "ca_file": ConfigKey(File(), "PEM file with the certificate authorities to trust instead of the system's."),
        "cert_file": ConfigKey(File(), "PEM file with the client certificate and, without `key_file`, its key."),
        "key_file": ConfigKey(File(secret=True), "PEM file with the private key of the client certificate."),
        "insecure_skip_verify": ConfigKey(
            Flag(), "Do not verify the server's certificate; `config check` warns about it.", default="false"
        ),
    },
    build=_tls,
    conflicts=lambda present: (
        ["key_file needs cert_file"] if {"key_file", "cert_file"} & present == {"key_file"} else []
    ),
    also={"dependentRequired": {"key_file": ["cert_file"]}},
)


def _jolokia(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> JolokiaSettings:
    jolokia = JolokiaSettings(**values)
    for prefix, variable in (("", PASSWORD_VARIABLE), ("jmx_", JMX_PASSWORD_VARIABLE)):
        username, file = values.get(f"{prefix}username"), values.get(f"{prefix}password_file")
        if username and not file and not os.environ.get(variable):
            raise Wrong(node, f"{prefix}username needs {prefix}password_file, or {variable} in the environment")
    _check_locations(node, jolokia)
    urls = (jolokia.proxy or "", jolokia.url, *jolokia.contact_points, *jolokia.nodes.values())
    refuse_plain(node, jolokia.tls, urls)
    return jolokia


def _conflicts(present: frozenset[str]) -> Iterator[str]:
    """Passwords without a user, keys of JMX without a proxy, or `url` with one."""
    for prefix in ("", "jmx_"):
        if f"{prefix}password_file" in present and f"{prefix}username" not in present:
            yield f"{prefix}password_file needs {prefix}username"
    if {"proxy", "url"} <= present:
        yield "url is not used with proxy: use jmx, and nodes for the nodes that have a Jolokia"
    wrong = next((name for name in ("jmx", "jmx_username", "jmx_password_file") if name in present), None)
    if wrong and "proxy" not in present:
        yield f"{wrong} needs proxy"


def _check_locations(node: yaml.Node, jolokia: JolokiaSettings) -> None:
    """Refuse locations of JMX without a proxy, and one location for two nodes."""
    if not jolokia.proxy:
        location = next(filter(is_jmx, (*jolokia.contact_points, *jolokia.nodes.values())), None)
        if location:
            raise Wrong(node, f"{location} needs proxy")
    names: dict[str, str] = {}
    for name, location in jolokia.nodes.items():
        if location in names:
            raise Wrong(node, f"nodes: {names[location]} and {name} have the same URL")
        names[location] = name


REPLAY = Section(
    what="replay",
    keys={
        "directory": ConfigKey(
            ExistingDirectory(),
            "Directory of recordings: files `*.json`, each written by `ringcheck snapshot -o`.",
            required=True,
        ),
        "speed": ConfigKey(Number(1, 86_400), "Recorded seconds that pass in one second.", default="1"),
    },
    build=lambda _reader, _node, values: ReplaySettings(**values),
)


LOOKED_UP = (
    "File with the password. A bare name, or `$CREDENTIALS_DIRECTORY/NAME`, is looked up among systemd's credentials."
)
JOLOKIA = Section(
    what="jolokia",
    keys={
        "contact_points": ConfigKey(
            Many(CONTACT),
            "Some nodes of the cluster; the others are discovered.",
            required=True,
        ),
        "url": ConfigKey(
            TEMPLATE,
            "URL of a node's Jolokia; https by default if there is `tls`.",
            default='"http://{address}:8778/jolokia"',
            default_with=("tls", '"https://{address}:8778/jolokia"'),
        ),
        "nodes": ConfigKey(
            Named(
                what="nodes",
                of=LOCATION,
                pattern=r"[0-9A-Za-z_\[][0-9A-Za-z_.:\[\]-]{0,254}",
                names="a host id, ADDRESS, ADDRESS:PORT, [IPV6]:PORT or a host name",
                check=node_name,
            ),
            "Exceptions for single nodes, by host id, address (`ADDRESS:PORT` with the storage port, if nodes share an "
            "address) or host name: the URL of the node's Jolokia instead of `url`, or with `proxy` its JMX URL "
            "instead of `jmx`.",
        ),
        "proxy": ConfigKey(
            URL,
            "URL of a Jolokia 2.x that asks the nodes' JMX ports, for nodes without Jolokia (`ringcheck jmx-proxy`).",
        ),
        "jmx": ConfigKey(
            JMX, "JMX URL of a node, for the proxy; by default `service:jmx:rmi:///jndi/rmi://{address}:7199/jmxrmi`."
        ),
        "jmx_username": ConfigKey(Text(), "User name for JMX."),
        "jmx_password_file": ConfigKey(
            File(secret=True), f"{LOOKED_UP} `{JMX_PASSWORD_VARIABLE}` can hold the password instead."
        ),
        "views": ConfigKey(
            Choice(("all", "contact_points")),
            "Nodes whose views are read; use `contact_points` if Jolokia can be reached only on those.",
            default="all",
        ),
        "username": ConfigKey(Text(), "User name for HTTP basic authentication."),
        "password_file": ConfigKey(
            File(secret=True),
            f"{LOOKED_UP} `{PASSWORD_VARIABLE}` can hold the password instead.",
        ),
        "tls": ConfigKey(TLS, "Certificates for https."),
        "timeout": ConfigKey(Duration(), "Timeout of a request.", default="10s"),
    },
    build=_jolokia,
    conflicts=_conflicts,
    also={
        "dependentRequired": {
            "password_file": ["username"],
            "jmx": ["proxy"],
            "jmx_username": ["proxy"],
            "jmx_password_file": ["proxy", "jmx_username"],
        },
        "not": {"required": ["proxy", "url"]},
    },
)
