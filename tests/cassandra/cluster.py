"""Real Cassandra clusters: any datacenters and racks, any supported release, a loopback address for each node.

    with RealCluster("5.0.8", "dc1:r1,dc1:r2,dc1:r3") as cluster:
        cluster.node(2).kill()
        cluster.wait_down(cluster.node(2))

`node.url` is its Jolokia agent, configured by `jolokia_options`. The harness uses the same agent through its own
helper, with the agent's credentials and without its limits. Processes are signalled only by their stored pid and start
time.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.cassandra import artifacts, launch, process, state
from tests.cassandra.oracle import Oracle, OracleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

START_SECONDS = 240.0
CONVICTION_SECONDS = 90.0
JOINING_RING_DELAY_MS = 15_000
_METADATA_MEMBERS = 3
_LOG_LINES = 25
_LOG_WIDTH = 240
_FORBIDDEN = 403
_DEAD_ENDS = ("DRAINING", "DRAINED", "LEAVING")  # modes that only a restart ends
_REPOSITORY = Path(__file__).resolve().parents[2]
_JMX_STRIDE = 20
_TCP_LISTEN = "0A"


class ClusterError(Exception):
    """A cluster did not do what was asked; the text ends with the last lines of the nodes' logs."""


class RealCluster:
    """A cluster in a directory of its own; `start` starts it, `close` ends it and removes the directory."""

    def __init__(
        self,
        release: str,
        layout: str | Iterable[tuple[str, str]] = "dc1:r1,dc1:r2,dc1:r3",
        *,
        releases: Mapping[int, str] | None = None,
        jolokia: str | None = None,
        num_tokens: int = 4,
        ring_delay_ms: int = 3000,
        authenticator: str = "AllowAllAuthenticator",
        yaml: Mapping[str, Any] | None = None,
        node_yaml: Mapping[int, Mapping[str, Any]] | None = None,
        jolokia_options: Mapping[str, str] | None = None,
        jvm_options: Sequence[str] = (),
        directory: Path | None = None,
        subnet: str | None = None,
        jmx_base: int | None = None,
        name: str = "lab",
    ) -> None:
        """Lay the cluster out; nothing is started.

        `layout` names datacenter and rack of nodes 1, 2, ...; `releases` and `node_yaml` override by node number.
        `jolokia` is a line of `JOLOKIA_RELEASES` (default: 2 from Cassandra 4.1 on), or "none" for nodes without it:
        their JMX listens at their addresses, and the harness asks it through a proxy. `subnet` is the first three
        octets of the addresses, a free one by default; node N listens on SUBNET.N, its JMX on 127.0.0.1 at `jmx_base` +
        N.
        """
        subnet = subnet or free_subnet()
        nodes = [
            state.NodeRecord(
                number=number,
                datacenter=datacenter,
                rack=rack,
                release=(releases or {}).get(number, release),
                ring_delay_ms=ring_delay_ms,
                yaml=dict((node_yaml or {}).get(number, {})),
            )
            for number, (datacenter, rack) in enumerate(parse_layout(layout), start=1)
        ]
        record = state.ClusterRecord(
            name=name,
            subnet=subnet,
            jmx_base=jmx_base or _jmx_base(subnet),
            jolokia=jolokia,
            num_tokens=num_tokens,
            authenticator=authenticator,
            yaml=dict(yaml or {}),
            jolokia_options=dict(jolokia_options or {}),
            jvm_options=list(jvm_options),
            nodes=nodes,
        )
        self.directory = _new_directory(directory)
        self._reaper: subprocess.Popen[bytes] | None = None
        state.save(self.directory, record)

    @classmethod
    def attach(cls, directory: Path) -> Self:
        """The cluster that another process has laid out in `directory`."""
        if not state.exists(directory):
            raise ClusterError(f"no cluster in {directory}")
        cluster = cls.__new__(cls)
        cluster.directory = directory.resolve()
        cluster._reaper = None
        return cluster

    def __enter__(self) -> Self:
        """Start the cluster."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the cluster."""
        self.close()

    # -- The whole cluster

    @property
    def record(self) -> state.ClusterRecord:
        """The cluster's record as it is now."""
        return state.load(self.directory)

    @property
    def nodes(self) -> list[RealNode]:
        """All nodes ever laid out, in the order of their numbers; `members` leaves out decommissioned ones."""
        return [RealNode(self, node.number) for node in self.record.nodes]

    @property
    def members(self) -> list[RealNode]:
        """Nodes that have not left the ring, running or not."""
        return [RealNode(self, node.number) for node in self.record.nodes if not node.left]

    def node(self, number: int) -> RealNode:
        """Node by its number, from 1 on."""
        node = RealNode(self, number)
        _ = node.record
        return node

    def start(self, *, detached: bool = False, timeout: float = START_SECONDS) -> None:
        """Start all nodes and wait until each serves CQL and sees all others.

        Unless `detached`, the nodes end with this process, however it ends.
        """
        if not detached:
            self._reaper = _start_reaper(self.directory)
        self._refuse_company()
        if self.record.jolokia == "none":
            self.start_proxies()
        first, *others = self.members
        first.start()
        first.wait_ready(timeout)
        for node in others:
            node.start()
        self.wait_all_up(timeout=timeout)
        self._found_metadata_service()

    def _found_metadata_service(self) -> None:
        """Give a cluster of 6.0 with three nodes or more three members of its metadata service, as operators should.

        A new cluster has one, and no change of its schema is possible while that node is down.
        """
        founders = self.members
        if len(founders) >= _METADATA_MEMBERS and all(launch.release_key(n.release) >= (6, 0) for n in founders):
            founders[0].nodetool("cms", "reconfigure", str(_METADATA_MEMBERS))

    @property
    def proxy_url(self) -> str:
        """The proxy of `ringcheck jmx-proxy`, for nodes without Jolokia."""
        return f"http://{self.record.subnet}.250:{launch.PROXY_PORT}/jolokia"

    @property
    def harness_proxy_url(self) -> str:
        """The harness's own proxy, which nothing restricts."""
        return f"http://{self.record.subnet}.250:{launch.PROXY_PORT + 1}/jolokia"

    def asked_at(self, *nodes: RealNode) -> dict[str, Any]:
        """The section `jolokia` of ringcheck's configuration, with some nodes as contact points."""
        through = {"proxy": self.proxy_url} if self.record.jolokia == "none" else {}
        return {"contact_points": [node.address for node in nodes], **through}

    def start_proxies(self) -> None:
        """Start both proxies; returns when they listen."""
        host, jar = f"{self.record.subnet}.250", artifacts.jolokia_agent("2.6")
        own = [sys.executable, "-m", "ringcheck", "jmx-proxy", "--jar", str(jar), "--drain"]
        commands = {
            launch.PROXY_PORT: [*own, "--allow", f"{self.record.subnet}.*", "--listen", f"{host}:{launch.PROXY_PORT}"],
            launch.PROXY_PORT + 1: launch.proxy_command(jar, host, launch.PROXY_PORT + 1),
        }
        for port, command in commands.items():
            with state.edit(self.directory) as cluster:
                child = process.launch(command, _REPOSITORY, self.directory / f"proxy-{port}.log")
                cluster.proxies.append((child.pid, child.started))
        wanted = {(host, port) for port in commands}
        wait_until(lambda: str(wanted - _listening() or ""), START_SECONDS, "the proxies do not listen:", self)

    def stop_proxies(self) -> None:
        """Kill both proxies."""
        with state.edit(self.directory) as cluster:
            for pid, started in cluster.proxies:
                proxy = process.Process(pid, started)
                proxy.signal(signal.SIGKILL)
                proxy.wait_gone(30)
            cluster.proxies = []

    def _refuse_company(self) -> None:
        taken = _listening()
        for node in self.members:
            if clash := {(node.address, node.port(launch.STORAGE_PORT)), (node.jmx_host, node.jmx_port)} & taken:
                raise ClusterError(f"in use by another process: {' '.join('{}:{}'.format(*end) for end in clash)}")

    def close(self, *, keep: bool = False) -> None:
        """Kill all nodes and remove the directory, unless `keep`."""
        if state.exists(self.directory):
            for node in self.nodes:
                node.kill()
            self.stop_proxies()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        if self._reaper:
            self._reaper.communicate()
            self._reaper = None

    def bootstrap(
        self,
        datacenter: str,
        rack: str,
        *,
        release: str | None = None,
        ring_delay_ms: int = JOINING_RING_DELAY_MS,
        yaml: Mapping[str, Any] | None = None,
        jvm_options: Sequence[str] = (),
        wait_joining: bool = True,
    ) -> RealNode:
        """Start one more node that joins by streaming; return when all running members list it as joining.

        It stays JOINING for at least `ring_delay_ms`; `wait_ready` on it waits until it has joined.
        """
        release = release or self.record.nodes[0].release
        options: dict[str, Any] = {"release": release, "ring_delay_ms": ring_delay_ms, "yaml": dict(yaml or {})}
        options["jvm_options"] = list(jvm_options)
        node = self.add(datacenter, rack, auto_bootstrap=True, **options)
        observers = [other for other in self.members if other.running and other.number != node.number]
        node.start()
        if wait_joining:
            self.wait_joining(node, observers)
        return node

    def add(self, datacenter: str, rack: str, **fields: Any) -> RealNode:
        """Lay out one more node without starting it; the fields are those of `state.NodeRecord`."""
        with state.edit(self.directory) as record:
            first, number = record.nodes[0], max(node.number for node in record.nodes) + 1
            like_first: dict[str, Any] = {"release": first.release, "ring_delay_ms": first.ring_delay_ms}
            named: dict[str, Any] = {"number": number, "datacenter": datacenter, "rack": rack}
            record.nodes.append(state.NodeRecord(**named | like_first | fields))
        return self.node(number)

    def wait_joining(self, node: RealNode, observers: Iterable[RealNode] | None = None) -> None:
        """Wait until all observers (default: all other running members) list the node as joining."""
        watching = list(observers) if observers is not None else self._others(node)

        def lacking() -> str:
            node.check_running()
            return _names(o for o in watching if node.endpoint not in o.endpoints("JoiningNodes"))

        wait_until(lacking, START_SECONDS, f"{node} not listed as joining by", self)

    def wait_down(
        self,
        node: RealNode,
        observers: Iterable[RealNode] | None = None,
        *,
        timeout: float = CONVICTION_SECONDS,
        stable: float = 0,
    ) -> None:
        """Wait until no observer (default: all other running members) lists the node as live, for `stable` seconds.

        Since 4.0 a node that stopped gossiping may be seen down, up and down again within 21 s.
        """
        watching = list(observers) if observers is not None else self._others(node)

        def lacking() -> str:
            return _names(o for o in watching if node.endpoint in o.endpoints("LiveNodes"))

        wait_until(lacking, timeout, f"{node} still live for", self, stable=stable)

    def wait_up(
        self, node: RealNode, observers: Iterable[RealNode] | None = None, *, timeout: float = START_SECONDS
    ) -> None:
        """Wait until all observers (default: all other running members) list the node as live."""
        watching = list(observers) if observers is not None else self._others(node)

        def lacking() -> str:
            return _names(o for o in watching if node.endpoint not in o.endpoints("LiveNodes"))

        wait_until(lacking, timeout, f"{node} not live for", self)

    def wait_all_up(self, among: Iterable[RealNode] | None = None, *, timeout: float = START_SECONDS) -> None:
        """Wait until each of the nodes (default: all members) serves CQL and lists all of them as live."""
        nodes = list(among) if among is not None else self.members
        deadline = time.monotonic() + timeout
        for node in nodes:
            node.wait_ready(max(1.0, deadline - time.monotonic()))
        expected = {node.endpoint for node in nodes}

        def lacking() -> str:
            return _names(node for node in nodes if not expected <= node.endpoints("LiveNodes"))

        wait_until(lacking, max(1.0, deadline - time.monotonic()), "not all nodes live for", self)

    def restore(self) -> None:
        """Undo what tests do to running nodes: kill, pause, drain, gossip off, CQL off; wait until all nodes are up."""
        for node in self.members:
            node.restore()
        self.wait_all_up()

    def session(self, node: RealNode | int = 1, **options: Any) -> AbstractContextManager[Any]:
        """A driver session with one coordinator; the options are those of `cql.one_coordinator`."""
        from tests.cassandra import cql  # noqa: PLC0415 - all but CQL works without the driver

        coordinator = self.node(node) if isinstance(node, int) else node
        version = 5 if launch.release_key(coordinator.release) >= (4, 0) else 4
        defaults = {"protocol_version": version, "port": coordinator.port(launch.CQL_PORT)}
        return cql.one_coordinator(coordinator.address, **defaults | options)

    def log_tails(self, lines: int = _LOG_LINES) -> str:
        """The last lines of all nodes' logs."""
        return "\n".join(node.log_tail(lines) for node in self.nodes)

    def _others(self, node: RealNode) -> list[RealNode]:
        return [other for other in self.members if other.running and other.number != node.number]


@dataclass(frozen=True, slots=True)
class RealNode:
    """A node of a cluster by its number; everything else is read from the record when it is needed."""

    cluster: RealCluster
    number: int

    def __str__(self) -> str:
        """Number and address."""
        return f"node {self.number} ({self.address})"

    # -- What the record has

    @property
    def record(self) -> state.NodeRecord:
        """The node's record as it is now."""
        return _record_of(self.cluster.record, self.number)

    @property
    def directory(self) -> Path:
        """Its data, configuration and logs."""
        return self.cluster.directory / f"node{self.number}"

    @property
    def address(self) -> str:
        """Its address for everything but JMX."""
        return f"{self.cluster.record.subnet}.{self.record.host or self.number}"

    def port(self, first: int) -> int:
        """One of its ports, given as the port of the first instance on its address."""
        return first + launch.PORT_STRIDE * self.record.instance

    @property
    def endpoint(self) -> str:
        """Its address and storage port, as in the lists of 4.0 and later."""
        return f"{self.address}:{self.port(launch.STORAGE_PORT)}"

    @property
    def datacenter(self) -> str:
        """Name of its datacenter."""
        return self.record.datacenter

    @property
    def rack(self) -> str:
        """Name of its rack."""
        return self.record.rack

    @property
    def release(self) -> str:
        """Cassandra release it was, or will be, started with."""
        return self.record.release

    @property
    def jmx_port(self) -> int:
        """Its JMX port: on 127.0.0.1 or, without Jolokia, at its address."""
        bare = self.cluster.record.jolokia == "none"
        return self.port(launch.JMX_PORT) if bare else self.cluster.record.jmx_base + self.number

    @property
    def jmx_host(self) -> str:
        """The address at which its JMX listens."""
        return self.address if self.cluster.record.jolokia == "none" else launch.LOCAL_JMX

    @property
    def jmx_url(self) -> str:
        """Its JMX service URL."""
        return f"service:jmx:rmi:///jndi/rmi://{self.jmx_host}:{self.jmx_port}/jmxrmi"

    @property
    def url(self) -> str:
        """Its Jolokia agent."""
        scheme = self.agent_options.get("protocol", "http")
        return f"{scheme}://{self.address}:{self.port(launch.JOLOKIA_PORT)}/jolokia"

    @property
    def agent_options(self) -> dict[str, str]:
        """Options of its Jolokia agent: the cluster's and its own."""
        return self.cluster.record.jolokia_options | self.record.jolokia_options

    @property
    def oracle(self) -> Oracle:
        """Its Jolokia agent as the harness uses it."""
        options = self.agent_options
        credentials = (options["user"], options.get("password", "")) if "user" in options else None
        if self.cluster.record.jolokia == "none":
            return Oracle(self.cluster.harness_proxy_url, target=self.jmx_url)
        return Oracle(self.url, credentials)

    @property
    def process(self) -> process.Process:
        """Its process, the last one if it has ended."""
        record = self.record
        return process.Process(record.pid, record.started)

    @property
    def status(self) -> str:
        """Its process: "running", "paused" or "stopped"."""
        letter = self.process.state
        return {"": "stopped", "T": "paused", "t": "paused"}.get(letter, "running")

    @property
    def running(self) -> bool:
        """Whether its process exists and is not paused."""
        return self.status == "running"

    # -- What the node reports

    def read(self, attribute: str, **options: Any) -> Any:
        """An attribute, of StorageService unless `mbean` says otherwise."""
        return self.oracle.read(attribute, **options)

    def exec(self, operation: str, *arguments: object, **options: Any) -> Any:
        """Result of an operation, of StorageService unless `mbean` says otherwise."""
        return self.oracle.exec(operation, *arguments, **options)

    def addresses(self, attribute: str) -> set[str]:
        """A list of addresses; a missing answer is an `OracleError`, never an empty list."""
        return set(self.read(attribute, timeout=5))

    def endpoints(self, attribute: str) -> set[str]:
        """The same with storage ports; before 4.0 it is always the port of the first instance."""
        if launch.release_key(self.release) >= (4, 0):
            return self.addresses(f"{attribute}WithPort")
        return {f"{address}:{launch.STORAGE_PORT}" for address in self.addresses(attribute)}

    @property
    def ready(self) -> bool:
        """NORMAL, and serving CQL."""
        # One attribute at a time: reading more from a starting node can make it cache wrong values.
        try:
            return self.read("OperationMode") == "NORMAL" and self.read("NativeTransportRunning") is True
        except OracleError as error:
            if error.status != _FORBIDDEN:
                raise
            # If a policy denies both, the open port has to suffice: CQL starts after NORMAL.
            return self._serves_cql()

    # -- Its process

    def start(self) -> None:
        """Start its process on the data that it has; returns at once."""
        if self.status != "stopped":
            raise ClusterError(f"{self} is {self.status} already")
        settings = self.settings()
        launch.write_configuration(settings)
        command = launch.jvm_command(settings, artifacts.library(self.release), self._jolokia_jar())
        with state.edit(self.cluster.directory) as cluster:
            child = process.launch(command, self.directory, self.directory / "logs" / "stdout.log")
            record = _record_of(cluster, self.number)
            record.pid, record.started, record.started_before = child.pid, child.started, True

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until it is NORMAL and serves CQL."""

        def lacking() -> str:
            self.check_running()
            return "" if self.ready else f"mode {self.read('OperationMode')}, no CQL"

        wait_until(lacking, timeout, f"{self} not ready:", self.cluster)

    def wait_mode(self, mode: str, timeout: float = START_SECONDS) -> None:
        """Wait until its OperationMode is `mode`."""

        def lacking() -> str:
            self.check_running()
            seen = self.read("OperationMode")
            return "" if seen == mode else f"mode {seen}"

        wait_until(lacking, timeout, f"{self} not {mode}:", self.cluster)

    def check_running(self) -> None:
        """Raise `ClusterError` with the end of its logs if its process has ended."""
        if not self.process.alive:
            raise ClusterError(f"{self} is not running\n{self.log_tail()}")

    def kill(self) -> None:
        """SIGKILL, and wait for the end of the process; nothing happens if there is none."""
        self._end(signal.SIGKILL, 30)

    def terminate(self, timeout: float = 60) -> None:
        """SIGTERM, a clean stop that announces itself to the peers, and wait for the end of the process."""
        self._end(signal.SIGTERM, timeout)

    def pause(self) -> None:
        """SIGSTOP: its ports still accept connections, and nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self.process.signal(signal.SIGCONT)

    def restart(self, *, hard: bool = False) -> None:
        """Stop it (by SIGTERM, or SIGKILL if `hard`) and start it again on its data; `wait_ready` waits for it."""
        self.kill() if hard else self.terminate()
        self.start()

    def restart_agent(self, **options: str) -> None:
        """Restart it with additional options for its Jolokia agent; `wait_ready` waits for it."""
        self.terminate()
        self.change(jolokia_options=options)
        self.start()

    def change(self, **fields: Any) -> None:
        """Change the settings of its next start; the fields are those of `state.NodeRecord`."""
        with state.edit(self.cluster.directory) as cluster:
            for name, value in fields.items():
                setattr(_record_of(cluster, self.number), name, value)

    def upgrade(self, release: str) -> None:
        """Drain and stop it, and start it on its data with another release; `wait_ready` waits for it."""
        artifacts.library(release)
        self.drain()
        self.kill()
        self.change(release=release)
        self.start()

    # -- Its state in the ring

    def drain(self) -> None:
        """Drain it; the process stays, answering Jolokia."""
        self.exec("drain", timeout=120)
        self.wait_mode("DRAINED", 60)

    def stop_gossip(self) -> None:
        """`disablegossip`."""
        self.exec("stopGossiping", timeout=60)
        self._wait_flag("GossipRunning", wanted=False)

    def start_gossip(self) -> None:
        """`enablegossip`."""
        self.exec("startGossiping", timeout=60)
        self._wait_flag("GossipRunning", wanted=True)

    def stop_binary(self) -> None:
        """`disablebinary`."""
        self.exec(self._binary("stopNativeTransport"), timeout=60)
        self._wait_flag("NativeTransportRunning", wanted=False)

    def start_binary(self) -> None:
        """`enablebinary`."""
        self.exec("startNativeTransport", timeout=60)
        self._wait_flag("NativeTransportRunning", wanted=True)

    def restore(self) -> None:
        """Undo what a test did to it, except leaving the ring; does not wait."""
        self.resume()
        if not self.process.alive:
            self.start()
        elif self.read("OperationMode") in _DEAD_ENDS:
            self.restart(hard=True)
        else:
            self.start_gossip()
            try:
                self.start_binary()
            except OracleError as error:
                if "setup() must be called first" not in str(error):
                    raise
                # It has only begun to start, and will start its native transport by itself.

    def decommission(self, *, force: bool = False, timeout: float = 300) -> Future[None]:
        """Start to decommission it; the future ends with the decommission, or with its `ClusterError`.

        Uses nodetool, as operators do: an exec through Jolokia would block its agent until the end.
        `force` (4.0+) leaves the ring even if fewer nodes than a replication factor stay.
        """
        future: Future[None] = Future()

        def run() -> None:
            try:
                self._decommission(force=force, timeout=timeout)
            except BaseException as error:  # noqa: BLE001 - the one who waits raises it
                future.set_exception(error)
            else:
                future.set_result(None)

        threading.Thread(target=run, name=f"decommission {self}", daemon=True).start()
        return future

    def nodetool(self, *arguments: str, timeout: float = 120) -> str:
        """Standard output of `nodetool ARGUMENTS`; `ClusterError` with its output unless it exits with 0."""
        command = launch.nodetool_command(self.settings(), artifacts.library(self.release), arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            output = f"{done.stdout}{done.stderr}"
            raise ClusterError(f"nodetool {' '.join(arguments)} exited with {done.returncode}\n{output}")
        return done.stdout

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines of its logs, each file under a heading."""
        return "\n".join(_tail(self.directory / "logs" / name, lines) for name in ("stdout.log", "system.log"))

    def settings(self) -> launch.NodeSettings:
        """The settings of its next start."""
        cluster, record = self.cluster.record, self.record
        return launch.NodeSettings(
            cluster_name=cluster.name,
            directory=self.directory,
            release=record.release,
            address=self.address,
            datacenter=record.datacenter,
            rack=record.rack,
            seeds=self._seeds(),
            auto_bootstrap=record.auto_bootstrap,
            num_tokens=cluster.num_tokens,
            jmx_host=self.jmx_host,
            jmx_port=self.jmx_port,
            ring_delay_ms=record.ring_delay_ms,
            authenticator=cluster.authenticator,
            yaml=cluster.yaml | record.yaml,
            jolokia_options=self.agent_options,
            jvm_options=(*cluster.jvm_options, *record.jvm_options),
            instance=record.instance,
        )

    def _seeds(self) -> tuple[str, ...]:
        # A first start names node 1 alone, so that no node waits for a seed that is not running. A restart names all
        # members, since 3.11 and older refuse to start if none of their seeds answers.
        if self.record.seeds:
            return tuple(self.record.seeds)
        if not self.record.started_before and not self.record.auto_bootstrap:
            return (self.cluster.node(1)._seed_name(self.release),)
        members = self.cluster.members
        if self.record.auto_bootstrap and not self.record.started_before:
            members = [node for node in members if node.number != self.number]
        return tuple(node._seed_name(self.release) for node in members)

    def _seed_name(self, reader: str) -> str:
        """Its name as a seed for a node of the release `reader`: since 4.0 with the node's port."""
        return self.endpoint if launch.release_key(reader) >= (4, 0) else self.address

    def _jolokia_jar(self) -> Path | None:
        if self.cluster.record.jolokia == "none":
            return None
        default = "2" if launch.release_key(self.release) >= (4, 1) else "1"
        return artifacts.jolokia_agent(self.cluster.record.jolokia or default)

    def _binary(self, operation: str) -> str:
        # Overloaded in 5.0: without a signature Jolokia answers 400 and does nothing.
        return f"{operation}()" if launch.release_key(self.release) >= (5, 0) else operation

    def _decommission(self, *, force: bool, timeout: float) -> None:
        self.nodetool("decommission", *(["--force"] if force else []), timeout=timeout)
        self.change(left=True)

    def _serves_cql(self) -> bool:
        try:
            socket.create_connection((self.address, self.port(launch.CQL_PORT)), timeout=2).close()
        except OSError:
            return False
        return True

    def _wait_flag(self, attribute: str, *, wanted: bool) -> None:
        def lacking() -> str:
            return "" if self.read(attribute) is wanted else attribute

        wait_until(lacking, 30, f"{self} does not reach {attribute} = {wanted}:", self.cluster)

    def _end(self, number: signal.Signals, timeout: float) -> None:
        running = self.process
        running.signal(number)
        running.signal(signal.SIGCONT)
        if not running.wait_gone(timeout):
            raise ClusterError(f"{self} still runs {timeout} s after {number.name}\n{self.log_tail()}")


def parse_layout(layout: str | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Datacenter and rack of each node, from pairs or from `dc1:r1,dc1:r2`."""
    if not isinstance(layout, str):
        return list(layout)
    pairs = [part.strip().partition(":") for part in layout.split(",")]
    if not all(datacenter and rack for datacenter, _, rack in pairs):
        raise ValueError(f"not a layout such as dc1:r1,dc1:r2: {layout!r}")
    return [(datacenter, rack) for datacenter, _, rack in pairs]


def free_subnet() -> str:
    """A 127.0.N on which nothing listens; the search starts at an N from the pid, so that processes rarely collide.

    `RINGCHECK_CASSANDRA_SUBNET` sets it, for machines on which each user has a range.
    """
    if settled := os.environ.get("RINGCHECK_CASSANDRA_SUBNET"):
        return settled
    taken = {address.rpartition(".")[0] for address, _ in _listening()}
    candidates = (f"127.0.{32 + (os.getpid() + step) % 200}" for step in range(200))
    return next(subnet for subnet in candidates if subnet not in taken)


def wait_until(
    lacking: Callable[[], str], timeout: float, problem: str, cluster: RealCluster, *, stable: float = 0
) -> None:
    """Poll until `lacking` returns "" for `stable` seconds; on a timeout the `ClusterError` has its last text."""
    deadline = time.monotonic() + timeout
    good_since: float | None = None
    while True:
        what = _tolerant(lacking)
        now = time.monotonic()
        good_since = None if what else good_since if good_since is not None else now
        if good_since is not None and now - good_since >= stable:
            return
        if now > deadline:
            raise ClusterError(f"{problem} {what} (waited {timeout:.0f} s)\n{cluster.log_tails()}")
        time.sleep(0.3)


def _tolerant(lacking: Callable[[], str]) -> str:
    try:
        return lacking()
    except OracleError as error:
        return str(error)


def _record_of(cluster: state.ClusterRecord, number: int) -> state.NodeRecord:
    for node in cluster.nodes:
        if node.number == number:
            return node
    raise ClusterError(f"no node {number}; there are {', '.join(str(node.number) for node in cluster.nodes)}")


def _new_directory(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="ringcheck-cassandra-"))
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ClusterError(f"{directory} is not empty; a new cluster needs an empty directory")
    return directory.resolve()


def _jmx_base(subnet: str) -> int:
    """First JMX port of a subnet: JMX listens on 127.0.0.1 whatever the node's address is."""
    return 17_000 + _JMX_STRIDE * int(subnet.rpartition(".")[2])


def _listening() -> set[tuple[str, int]]:
    """IPv4 addresses and ports on which a process of this host listens."""
    files = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    rows = [line.split() for file in files for line in file.read_text().splitlines()[1:]]
    ends = (row[1].split(":") for row in rows if row[3] == _TCP_LISTEN)
    return {(_dotted(address), int(port, 16)) for address, port in ends}


def _dotted(address: str) -> str:
    # IPv4 is the last of the four words of an IPv6 address, its bytes in the machine's (little-endian) order.
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(address[-8:])))


def _start_reaper(directory: Path) -> subprocess.Popen[bytes]:
    """Start a process that closes the cluster when its standard input ends, for whatever reason this process ended.

    The kernel's parent-death signal is not suitable: it is sent when the starting thread ends.
    """
    command = [sys.executable, "-m", "tests.cassandra", "reap", "--dir", str(directory)]
    return subprocess.Popen(command, cwd=_REPOSITORY, stdin=subprocess.PIPE, start_new_session=True)


def _names(nodes: Iterable[RealNode]) -> str:
    return ", ".join(str(node) for node in nodes)


def _tail(file: Path, lines: int) -> str:
    try:
        content = [line[:_LOG_WIDTH] for line in file.read_text(errors="replace").splitlines()[-lines:]]
    except FileNotFoundError:
        content = ["(none)"]
    return "\n".join([f"---- {file.parent.parent.name} {file.name}", *content])
