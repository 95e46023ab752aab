"""Starting a Jolokia proxy for JMX ports: one JVM with Jolokia's agent and a main class that only waits.

The JVM gets its options, access policy, allowed targets and passwords in anonymous files that only this process and its
JVM can read: none of them appears in the list of processes or on disk. Linux only.
"""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

from ringcheck.core.release import Release, parse_release
from ringcheck.errors import UsageError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.proxy import OLDEST
from ringcheck.jolokia.settings import DEFAULT_JMX

_MAIN = Path(__file__).with_name("jmxproxy")
_POM = "META-INF/maven/org.jolokia/jolokia-agent-jvm/pom.properties"
_HANDLER = "org/jolokia/service/jsr160/Jsr160RequestHandler.class"
_JAVA_17: Release = (2, 4, 0)  # the first release of Jolokia that needs Java 17; earlier releases need Java 11
_JVM = (
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Xss512k",
    # A node that hangs occupies a thread for this long; a drain, or the map of a large ring, takes minutes.
    "-Dsun.rmi.transport.tcp.handshakeTimeout=5000",
    "-Dsun.rmi.transport.tcp.responseTimeout=300000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Key stores of Java, for JMX over TLS.

    Attributes:
        trust: file with the certificates to trust; empty for those of the JVM.
        key: file with the client certificate and its key; empty for none.
        password: of both; empty for none.
        registry: whether the RMI registry speaks TLS too, as Cassandra's does.
    """

    trust: str = ""
    key: str = ""
    password: str = ""
    registry: bool = False

    def options(self) -> list[str]:
        """Options of the JVM."""
        options = [f"-Dringcheck.tls={str(self.registry).lower()}"]
        for name, file in (("trustStore", self.trust), ("keyStore", self.key)):
            if file:
                options.append(f"-Djavax.net.ssl.{name}={file}")
                options += [f"-Djavax.net.ssl.{name}Password={self.password}"] if self.password else []
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyProcess:
    """The settings of a proxy to be started.

    Attributes:
        jar: of Jolokia's JVM agent, 2.2 or newer.
        host: loopback address to listen on.
        port: port to listen on.
        heap: size of the JVM's heap, such as `256m`.
        allowed: regular expressions of the JMX service URLs that may be asked.
        drain: whether `drain` is allowed, in addition to the calls that only read.
        login: user name and password that the proxy asks for; None for none.
        stores: for JMX over TLS.
    """

    jar: str
    host: str
    port: int
    heap: str
    allowed: tuple[str, ...]
    drain: bool
    login: tuple[str, str] | None
    stores: Stores

    def command(self, java: str) -> list[str]:
        """The argument list of the JVM, which this process must become: its anonymous files end with it."""
        arguments = [
            f"-Xmx{self.heap}",
            *_JVM,
            *self.stores.options(),
            f"-javaagent:{self.jar}=config={_anonymous('agent', self._agent_options())}",
            "-cp",
            str(_MAIN),
            "JmxProxy",
        ]
        file = _anonymous("arguments", "\n".join(map(_quoted, arguments)))
        return [java, f"@{file}"]

    def _agent_options(self) -> str:
        user, password = self.login or ("", "")
        options = {
            "host": self.host,
            "port": str(self.port),
            "discoveryEnabled": "false",
            "executor": "cached",  # one thread for each request: a node that hangs does not delay the others
            "backlog": "1024",
            "policyLocation": f"file://{_anonymous('policy', policy(drain=self.drain))}",
            "jsr160ProxyAllowedTargets": _anonymous("targets", "".join(f"{target}\n" for target in self.allowed)),
        } | ({"user": user, "password": password} if self.login else {})
        return "".join(f"{name}={_property(value)}\n" for name, value in options.items())


def policy(*, drain: bool) -> str:
    """The access policy, in XML: only the calls that ringcheck makes; `drain` only if it is allowed."""
    every = (*mbeans.CALLS, *mbeans.COUNTED)
    calls = sorted((call for call in every if drain or not call.writes), key=lambda call: call.mbean)
    parts = []
    for name, group in groupby(calls, key=lambda call: call.mbean):
        allowed = [
            f'<attribute mode="read">{escape(call.name)}</attribute>'
            if call.kind == "read"
            else f"<operation>{escape(call.name)}</operation>"
            for call in group
        ]
        parts.append(f"<mbean><name>{escape(name)}</name>{''.join(allowed)}</mbean>")
    commands = "<http><method>post</method></http><commands><command>version</command></commands>"
    return f'<?xml version="1.0" encoding="utf-8"?><restrict>{commands}<allow>{"".join(parts)}</allow></restrict>'


def target(pattern: str, template: str = DEFAULT_JMX) -> str:
    """The regular expression of the JMX service URLs that a pattern allows.

    Args:
        pattern: HOST, HOST:PORT, an IPv6 address, [IPV6]:PORT or a whole JMX service URL; `*` and `?` match any
            characters of a host.
        template: JMX service URL of a node, with `{address}`.

    Raises:
        UsageError: if it has none of these forms.
    """
    if pattern.startswith("service:jmx:"):
        return _regular(pattern)
    bare = pattern if pattern.count(":") > 1 and not pattern.startswith("[") else None
    parts = re.fullmatch(r"(\[[0-9A-Fa-f:.*?]+\]|[0-9A-Za-z_.*?-]+)(:[0-9*?]{1,5})?", f"[{bare}]" if bare else pattern)
    if parts is None:
        raise UsageError(
            f"--allow {pattern!r} is neither HOST, HOST:PORT, [IPV6]:PORT nor a JMX URL; it may contain `*`"
        )
    host, port = parts[1], parts[2]
    filled = re.sub(r"\{address\}(:[0-9]+)?", lambda found: host + (port or found[1] or ""), template)
    return _regular(filled)


def _regular(pattern: str) -> str:
    signs = {"*": "[0-9A-Za-z_.:-]*", "?": "[0-9A-Za-z_.:-]"}
    return "".join(signs.get(char) or re.sub(r"([^0-9A-Za-z])", r"\\\1", char) for char in pattern)


def release_of(jar: str) -> Release:
    """The release of a jar of Jolokia's JVM agent that can ask other JVMs.

    Raises:
        UsageError: if the file is not such a jar.
    """
    try:
        with zipfile.ZipFile(jar) as content:
            names = set(content.namelist())
            properties = content.read(_POM).decode("utf-8", "replace") if _POM in names else ""
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{jar} can't be read: {getattr(error, 'strerror', None) or error}") from None
    version = re.search(r"(?m)^version=(.+)$", properties)
    release = parse_release(version[1]) if version else None
    if release is None or _HANDLER not in names or release < OLDEST:
        what = f"Jolokia {version[1].strip()}" if version else "not a JVM agent of Jolokia 2.x"
        raise UsageError(f"{jar} is {what}: take jolokia-agent-jvm-VERSION-javaagent.jar of Jolokia 2.2 or newer")
    return release


def needed_java(release: Release) -> int:
    """The oldest Java that a release of Jolokia runs on."""
    return 17 if release >= _JAVA_17 else 11


def _anonymous(name: str, content: str) -> str:
    """The path of an unnamed file, valid for this process and the JVM that replaces it."""
    number = os.memfd_create(name, 0)
    with os.fdopen(os.dup(number), "w", encoding="utf-8") as file:
        file.write(content)
    return f"/proc/self/fd/{number}"


def _quoted(argument: str) -> str:
    """An argument as a line of a Java argument file."""
    return '"{}"'.format(argument.replace("\\", "\\\\").replace('"', '\\"'))


def _property(value: str) -> str:
    """A value as java.util.Properties reads it."""
    return "".join(
        f"\\u{unit:04x}" if unit > 126 or unit < 33 else f"\\{chr(unit)}" if unit == ord("\\") else chr(unit)  # noqa: PLR2004 - printable ASCII
        for unit in memoryview(value.encode("utf-16-le")).cast("H")
    )
