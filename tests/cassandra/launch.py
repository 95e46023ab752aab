"""Starting a node: its configuration files and its JVM's arguments, for each release.

Pure, except for `write_configuration`. Knows no process and no cluster: all input is in a `NodeSettings`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CQL_PORT = 9042
STORAGE_PORT = 7000
JOLOKIA_PORT = 8778
JMX_PORT = 7199  # of nodes without Jolokia, at their addresses
LOCAL_JMX = "127.0.0.1"
PROXY_PORT = 8779
PROXY_MAIN = Path(__file__).resolve().parents[2] / "ringcheck" / "jolokia" / "jmxproxy"
PORT_STRIDE = 100  # between the ports of two instances on one address

_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
)
_BASE_OPENS = (
    "java.lang",
    "java.lang.module",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "sun.nio.ch",
    "jdk.internal.loader",
    "jdk.internal.ref",
    "jdk.internal.reflect",
    "jdk.internal.math",
    "jdk.internal.module",
    "jdk.internal.util.jar",
)
_OPENS = (*(f"java.base/{package}" for package in _BASE_OPENS), "jdk.management/com.sun.management.internal")

# No `SSS` after a comma: logback 1.5 takes that for a time zone, and the node runs without any log.
_LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>{log}</file>
    <encoder><pattern>%-5level [%thread] %date{{HH:mm:ss.SSS}} %logger{{0}} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
"""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """All settings of a start of a node."""

    cluster_name: str
    directory: Path
    release: str
    address: str
    datacenter: str
    rack: str
    seeds: tuple[str, ...]
    auto_bootstrap: bool
    num_tokens: int
    jmx_host: str
    jmx_port: int
    ring_delay_ms: int
    authenticator: str
    yaml: Mapping[str, object] = field(default_factory=dict)
    jolokia_options: Mapping[str, str] = field(default_factory=dict)
    jvm_options: tuple[str, ...] = ()
    instance: int = 0

    def port(self, first: int) -> int:
        """A port of this instance, given as the port of the first instance on its address."""
        return first + PORT_STRIDE * self.instance


def release_key(release: str) -> tuple[int, int]:
    """Major and minor of a release, for comparisons."""
    major, minor = release.partition("-")[0].split(".")[:2]
    return int(major), int(minor)


def write_configuration(settings: NodeSettings) -> None:
    """Write the files that the node reads at its start to its directory."""
    directory = settings.directory
    for name in ("logs", "tmp"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    # JSON is YAML, so that no YAML writer and no quoting rules are needed.
    (directory / "cassandra.yaml").write_text(json.dumps(cassandra_yaml(settings), indent=1) + "\n")
    properties = f"dc={settings.datacenter}\nrack={settings.rack}\n"
    (directory / "cassandra-rackdc.properties").write_text(properties)
    (directory / "logback.xml").write_text(_LOGBACK.format(log=directory / "logs" / "system.log"))
    (directory / "logback-tools.xml").write_text(_LOGBACK.format(log=directory / "logs" / "tools.log"))


def cassandra_yaml(settings: NodeSettings) -> dict[str, object]:
    """The complete cassandra.yaml; Cassandra refuses unknown keys, so each release gets its own."""
    directory = settings.directory
    return {
        "cluster_name": settings.cluster_name,
        "num_tokens": settings.num_tokens,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "data_file_directories": [str(directory / "data")],
        "commitlog_directory": str(directory / "commitlog"),
        "saved_caches_directory": str(directory / "saved_caches"),
        "commitlog_sync": "periodic",
        "seed_provider": [_seed_provider(settings.seeds)],
        "listen_address": settings.address,
        "rpc_address": settings.address,
        "storage_port": settings.port(STORAGE_PORT),
        "native_transport_port": settings.port(CQL_PORT),
        "start_native_transport": True,
        "endpoint_snitch": "GossipingPropertyFileSnitch",
        "authenticator": settings.authenticator,
        "auto_bootstrap": settings.auto_bootstrap,
        "auto_snapshot": False,
        **_release_yaml(settings),
        **settings.yaml,
    }


def _seed_provider(seeds: Sequence[str]) -> dict[str, object]:
    name = "org.apache.cassandra.locator.SimpleSeedProvider"
    return {"class_name": name, "parameters": [{"seeds": ",".join(seeds)}]}


def _release_yaml(settings: NodeSettings) -> dict[str, object]:
    release = release_key(settings.release)
    keys: dict[str, object] = {}
    if release < (4, 0):
        keys["start_rpc"] = False
    if release >= (3, 0):
        keys["hints_directory"] = str(settings.directory / "hints")
    if release >= (3, 11):
        keys["cdc_raw_directory"] = str(settings.directory / "cdc")
    if release >= (4, 1):
        keys["commitlog_sync_period"] = "10000ms"
    else:
        keys["commitlog_sync_period_in_ms"] = 10000
    return keys


def jvm_command(settings: NodeSettings, library: Path, jolokia: Path | None) -> list[str]:
    """The argument list of the node's JVM; without a Jolokia agent its JMX listens at its address."""
    return [
        "java",
        *_memory_flags(settings),
        *_access_flags(),
        f"-javaagent:{next(library.glob('jamm-*.jar'))}",
        *([f"-javaagent:{jolokia}={_agent_options(settings)}"] if jolokia else []),
        *(f"-D{key}={value}" for key, value in (_properties(settings) | _jmx(settings)).items()),
        *settings.jvm_options,
        "-cp",
        f"{settings.directory}:{library}/*",
        "org.apache.cassandra.service.CassandraDaemon",
    ]


def nodetool_command(settings: NodeSettings, library: Path, arguments: Sequence[str]) -> list[str]:
    """The argument list of `nodetool ARGUMENTS` against the node, with its release's own jars."""
    return [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        *_access_flags(),
        # Before 4.1 nodetool writes `rmi://[127.0.0.1]:PORT`, which Java 17.0.4 and later refuse to parse.
        "-Dcom.sun.jndi.rmiURLParsing=legacy",
        f"-Dcassandra.config=file://{settings.directory}/cassandra.yaml",
        # On Java 17 the nodetool of 2.2 reads the whole configuration, including the snitch's.
        f"-Dcassandra-rackdc.properties=file://{settings.directory}/cassandra-rackdc.properties",
        f"-Dlogback.configurationFile={settings.directory}/logback-tools.xml",
        f"-Duser.home={settings.directory}",
        "-cp",
        f"{library}/*",
        _nodetool_class(settings.release),
        "-h",
        settings.jmx_host,
        "-p",
        str(settings.jmx_port),
        *arguments,
    ]


def _nodetool_class(release: str) -> str:
    if release_key(release) == (3, 11):
        return str(Path(__file__).with_name("InitializedNodeTool.java"))
    return "org.apache.cassandra.tools.NodeTool"


def _memory_flags(settings: NodeSettings) -> list[str]:
    # Performance data and native libraries would remain in /tmp when the node is killed.
    return [
        "-ea",
        "-Xms384m",
        "-Xmx384m",
        "-XX:MaxDirectMemorySize=128m",
        "-XX:+UseSerialGC",
        "-Xss512k",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-XX:+ExitOnOutOfMemoryError",
        f"-XX:ErrorFile={settings.directory}/logs/hs_err.log",
    ]


def _access_flags() -> list[str]:
    exports = [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS]
    opens = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS]
    return [*exports, *opens]


def _agent_options(settings: NodeSettings) -> str:
    # The harness can't have an agent of its own: two agents in one JVM overwrite each other's static server.
    options = {"host": settings.address, "port": str(settings.port(JOLOKIA_PORT)), "discoveryEnabled": "false"}
    return ",".join(f"{key}={value}" for key, value in (options | dict(settings.jolokia_options)).items())


def _jmx(settings: NodeSettings) -> dict[str, object]:
    if settings.jmx_host == LOCAL_JMX:
        return {"cassandra.jmx.local.port": settings.jmx_port}
    # Cassandra's own server would listen on all addresses, so that only one node would find its port free.
    remote = "com.sun.management.jmxremote"
    return {
        f"{remote}.port": settings.jmx_port,
        f"{remote}.rmi.port": settings.jmx_port,
        f"{remote}.host": settings.jmx_host,
        f"{remote}.ssl": "false",
        f"{remote}.authenticate": "false",
        "java.rmi.server.hostname": settings.jmx_host,
    }


def proxy_command(agent: Path, host: str, port: int) -> list[str]:
    """The argument list of a Jolokia that asks the JMX ports of all nodes, without any restriction."""
    options = f"host={host},port={port},discoveryEnabled=false,executor=cached,backlog=256"
    flags = ["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
    return ["java", *flags, f"-javaagent:{agent}={options}", "-cp", str(PROXY_MAIN), "JmxProxy"]


def _properties(settings: NodeSettings) -> dict[str, object]:
    directory = settings.directory
    return {
        "java.security.manager": "allow",
        "java.io.tmpdir": directory / "tmp",
        "jdk.attach.allowAttachSelf": "true",
        "cassandra.config": f"file://{directory}/cassandra.yaml",
        "cassandra-rackdc.properties": f"file://{directory}/cassandra-rackdc.properties",
        "logback.configurationFile": directory / "logback.xml",
        "cassandra.storagedir": directory,
        "cassandra.logdir": directory / "logs",
        "cassandra-foreground": "yes",
        "cassandra.ring_delay_ms": settings.ring_delay_ms,
        # 10 s by default. Without a delay, a node of 3.11 whose role manager sees no peer yet asks for its roles again
        # and again, and counts an Unavailable at ONE each time. Only clients that log in need the first role soon.
        **({} if settings.authenticator == "AllowAllAuthenticator" else {"cassandra.superuser_setup_delay_ms": 0}),
        "chronicle.analytics.disable": "true",
        "jna.nosys": "true",
        "io.netty.tryReflectionSetAccessible": "true",
    }
