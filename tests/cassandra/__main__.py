"""Drive a real cluster by hand: `python -m tests.cassandra --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.cassandra import artifacts, state
from tests.cassandra.cluster import ClusterError, RealCluster, RealNode
from tests.cassandra.oracle import OracleError

DEFAULT_DIRECTORY = Path(tempfile.gettempdir()) / f"ringcheck-cassandra-{os.getuid()}"
DEFAULT_SUBNET = "127.0.7"
_NODE_ACTIONS = {
    "kill": "SIGKILL a node",
    "terminate": "SIGTERM a node",
    "pause": "SIGSTOP a node",
    "resume": "SIGCONT a node",
    "start": "start a stopped node on its data and wait until it serves CQL",
    "restart": "SIGTERM a node and start it again; returns at once, as `systemctl restart` does",
    "drain": "drain a node",
    "gossip-off": "nodetool disablegossip",
    "gossip-on": "nodetool enablegossip",
    "binary-off": "nodetool disablebinary",
    "binary-on": "nodetool enablebinary",
    "decommission": "decommission a node and wait for the end of it",
    "log": "show the end of a node's logs",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 1 with the reason on standard error if it fails."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ClusterError, OracleError, artifacts.ArtifactError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.cassandra", description="A real Cassandra cluster by hand.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="the cluster's directory (%(default)s)")
    _add_up(commands.add_parser("up", parents=[shared], help="start a cluster and leave it running"))
    for name, run, help_text in (
        ("down", _down, "kill the cluster and remove its directory"),
        ("status", _status, "the state that each node reports"),
        ("reap", _reap, argparse.SUPPRESS),
    ):
        commands.add_parser(name, parents=[shared], help=help_text).set_defaults(run=run)
    for name, help_text in _NODE_ACTIONS.items():
        action = commands.add_parser(name, parents=[shared], help=help_text)
        action.add_argument("node", metavar="NODE", help="its number or address")
        action.add_argument("--no-wait", action="store_true", help="start: return at once")
        action.add_argument("--hard", action="store_true", help="restart: by SIGKILL")
        action.add_argument("--force", action="store_true", help="decommission: even below a replication factor")
        action.set_defaults(run=_act, action=name)
    _add_others(commands, shared)
    return parser


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--version", default="5.0.8", help="Cassandra release (%(default)s)")
    up.add_argument("--layout", default="dc1:r1,dc1:r2,dc1:r3", help="DC:RACK of each node (%(default)s)")
    up.add_argument("--num-tokens", type=int, default=4)
    up.add_argument("--subnet", default=DEFAULT_SUBNET, help="first three octets of the addresses (%(default)s)")
    up.add_argument("--jmx-base", type=int, help="node N's JMX port is this + N")
    up.add_argument(
        "--jolokia",
        choices=(*artifacts.JOLOKIA_RELEASES, "none"),
        help="default: 1 before Cassandra 4.1, 2 from there on",
    )
    up.add_argument("--jolokia-option", action="append", default=[], metavar="KEY=VALUE")
    up.add_argument("--yaml", action="append", default=[], metavar="KEY=VALUE", help="another cassandra.yaml key")
    up.add_argument("--ring-delay-ms", type=int, default=3000)
    up.add_argument("--authenticator", default="AllowAllAuthenticator")
    up.set_defaults(run=_up)


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser) -> None:
    bootstrap = commands.add_parser("bootstrap", parents=[shared], help="let one more node join; returns while it does")
    bootstrap.add_argument("--dc", required=True)
    bootstrap.add_argument("--rack", required=True)
    bootstrap.add_argument("--ring-delay-ms", type=int, default=15_000)
    bootstrap.add_argument("--wait", action="store_true", help="return when it serves CQL")
    bootstrap.set_defaults(run=_bootstrap)
    upgrade = commands.add_parser("upgrade", parents=[shared], help="drain, stop and start a node with another release")
    upgrade.add_argument("node", type=int, metavar="N")
    upgrade.add_argument("version")
    upgrade.set_defaults(run=_upgrade)
    nodetool = commands.add_parser("nodetool", parents=[shared], help="run nodetool on a node")
    nodetool.add_argument("--node", type=int, default=1)
    nodetool.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARGS")
    nodetool.set_defaults(run=_nodetool)
    cql = commands.add_parser("cql", parents=[shared], help="run a CQL statement, at ONE, through one coordinator")
    cql.add_argument("--node", type=int, default=1)
    cql.add_argument("--user", metavar="NAME:PASSWORD")
    cql.add_argument("statement")
    cql.set_defaults(run=_cql)
    fetch = commands.add_parser("fetch", help="fetch the jars")
    fetch.add_argument("versions", nargs="*", default=["all"], metavar="VERSION")
    fetch.set_defaults(run=_fetch)


def _up(options: argparse.Namespace) -> None:
    cluster = RealCluster(
        options.version,
        options.layout,
        num_tokens=options.num_tokens,
        subnet=options.subnet,
        jmx_base=options.jmx_base,
        jolokia=options.jolokia,
        jolokia_options=dict(_pair(text) for text in options.jolokia_option),
        yaml=dict(_pair(text) for text in options.yaml),
        ring_delay_ms=options.ring_delay_ms,
        authenticator=options.authenticator,
        directory=options.dir,
    )
    try:
        cluster.start(detached=True)
    except BaseException:
        cluster.close(keep=True)
        raise
    bare = options.jolokia == "none"
    for node in cluster.nodes:
        print(node.jmx_url if bare else node.url)
    if bare:
        print(f"proxy: {cluster.proxy_url}")


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"not KEY=VALUE: {text!r}")
    return key, value


def _down(options: argparse.Namespace) -> None:
    RealCluster.attach(options.dir).close()


def _reap(options: argparse.Namespace) -> None:
    """Wait until standard input ends, as it does with the process that started this one, then end its cluster."""
    sys.stdin.buffer.read()
    if state.exists(options.dir):
        RealCluster.attach(options.dir).close()


def _status(options: argparse.Namespace) -> None:
    for node in RealCluster.attach(options.dir).nodes:
        print(_status_line(node))


def _status_line(node: RealNode) -> str:
    place = f"{node.number} {node.address} {node.datacenter}/{node.rack} {node.release}"
    if not node.running:
        return f"{place} {node.status}"
    return f"{place} pid {node.process.pid} {_own_words(node)}, {node.url}"


def _own_words(node: RealNode) -> str:
    try:
        live = " ".join(sorted(node.addresses("LiveNodes")))
        cql = "CQL" if node.ready else "no CQL"
        return f"{node.read('OperationMode')}, {cql}, live: {live}"
    except OracleError as error:
        return f"no answer ({error})"


def _act(options: argparse.Namespace) -> None:
    node = _node(options)
    if options.action == "start":
        node.start()
        if not options.no_wait:
            node.wait_ready()
    elif options.action == "restart":
        node.restart(hard=options.hard)
    elif options.action == "decommission":
        node.decommission(force=options.force).result()
    elif options.action == "log":
        print(node.log_tail())
    else:
        _simple_action(node, options.action)


def _node(options: argparse.Namespace) -> RealNode:
    cluster = RealCluster.attach(options.dir)
    if options.node.isdecimal():
        return cluster.node(int(options.node))
    for node in cluster.nodes:
        if node.address == options.node:
            return node
    raise ClusterError(f"no node {options.node}; there are {', '.join(node.address for node in cluster.nodes)}")


def _simple_action(node: RealNode, action: str) -> None:
    actions = {
        "kill": node.kill,
        "terminate": node.terminate,
        "pause": node.pause,
        "resume": node.resume,
        "drain": node.drain,
        "gossip-off": node.stop_gossip,
        "gossip-on": node.start_gossip,
        "binary-off": node.stop_binary,
        "binary-on": node.start_binary,
    }
    actions[action]()


def _bootstrap(options: argparse.Namespace) -> None:
    cluster = RealCluster.attach(options.dir)
    node = cluster.bootstrap(options.dc, options.rack, ring_delay_ms=options.ring_delay_ms)
    if options.wait:
        node.wait_ready()
    print(node.number, node.url)


def _upgrade(options: argparse.Namespace) -> None:
    node = RealCluster.attach(options.dir).node(options.node)
    node.upgrade(options.version)
    node.wait_ready()


def _nodetool(options: argparse.Namespace) -> None:
    node = RealCluster.attach(options.dir).node(options.node)
    print(node.nodetool(*options.arguments), end="")


def _cql(options: argparse.Namespace) -> None:
    credentials = tuple(options.user.split(":", 1)) if options.user else None
    with RealCluster.attach(options.dir).session(options.node, credentials=credentials) as session:
        for row in session.execute(options.statement):
            print(*row, sep="\t")


def _fetch(options: argparse.Namespace) -> None:
    versions = artifacts.RELEASES if options.versions == ["all"] else options.versions
    for line in artifacts.JOLOKIA_RELEASES:
        print(artifacts.jolokia_agent(line))
    for version in versions:
        print(artifacts.library(version))


if __name__ == "__main__":
    sys.exit(main())
