"""`ringcheck simulate`: an embedded cluster that is served over HTTP, and the commands that drive it."""

from __future__ import annotations

import http.client
import json
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import click

from ringcheck.cli.options import Seconds, Whole
from ringcheck.core.consistency import PAXOS_VARIANTS
from ringcheck.core.release import parse_release
from ringcheck.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.simulator.cluster import EmbeddedCluster, NodeSpec
    from ringcheck.simulator.server import Server

DEFAULT_PORT = 18778
MOST_NODES, MOST_TOKENS, MOST_KEYSPACES = 4096, 1024, 10_000
OLDEST, NEWEST = (2, 2), (6, 0)  # releases whose nodes can be embedded


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--nodes", type=Whole(1, MOST_NODES), default=4, metavar="N", show_default=True, help="Number of nodes.")
@click.option("--racks", type=Whole(1), default=1, metavar="N", show_default=True, help="Racks in each datacenter.")
@click.option(
    "--dcs",
    type=Whole(1),
    default=1,
    metavar="N",
    show_default=True,
    help="Number of datacenters: dc1, dc2, ...",
)
@click.option(
    "--vnodes", type=Whole(1, MOST_TOKENS), default=16, metavar="N", show_default=True, help="Tokens of each node."
)
@click.option(
    "--tokens",
    type=click.Choice(["random", "even"]),
    default="random",
    show_default=True,
    help="How tokens are chosen: at random, or evenly as Cassandra's allocation does.",
)
@click.option("--rf", type=Whole(1), metavar="N", default=3, show_default=True, help="Replicas in each datacenter.")
@click.option("--keyspaces", type=Whole(0, MOST_KEYSPACES), metavar="N", default=0, help="Add N keyspaces: ks_001, ...")
@click.option(
    "--release",
    "releases",
    multiple=True,
    metavar="VERSION",
    help="Cassandra release, 2.2 to 6.0; several make a mixed cluster. Repeatable.",
)
@click.option(
    "--paxos-variant",
    "paxos_variants",
    type=click.Choice(list(PAXOS_VARIANTS)),
    multiple=True,
    metavar="VARIANT",
    help="Variant of Paxos on 4.1 and newer, such as v2; several are given to the nodes in turn. Repeatable.",
)
@click.option(
    "--jolokia", type=click.Choice(["1", "2"]), default="2", show_default=True, help="Major version of Jolokia."
)
@click.option(
    "--seed", type=int, default=1, metavar="N", show_default=True, help="Seed of tokens, host ids and delays."
)
@click.option("--name", default="embedded", metavar="NAME", show_default=True, help="Name of the cluster.")
@click.option(
    "--time-factor",
    type=click.FloatRange(0),
    metavar="FACTOR",
    default=1.0,
    help="Factor on the time that startups and gossip take.",
)
@click.option("--authenticates", is_flag=True, help="Clients must log in, as with PasswordAuthenticator.")
@click.option("--serve", is_flag=True, help="Serve the cluster over HTTP on loopback until interrupted.")
@click.option(
    "--port",
    type=Whole(0, 65535),
    metavar="PORT",
    default=None,
    help=f"Port of --serve; 0 is a free one. [default: {DEFAULT_PORT}, or a free one]",
)
@click.option("--per-address", is_flag=True, help="Serve each node on an address of its own: 127.0.1.1, ...")
@click.option(
    "--address-port",
    type=Whole(1, 65535),
    metavar="PORT",
    default=8778,
    show_default=True,
    help="Port of --per-address.",
)
@click.option(
    "--config-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a configuration for the served cluster to this file.",
)
@click.pass_context
def simulate(ctx: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - one an option
    """An embedded cluster that speaks Jolokia, for trying ringcheck without Cassandra.

    With --serve, it prints the line `serving URL` and serves until interrupted. The commands below drive a cluster
    that is being served; give them its URL with --url.
    """
    if ctx.invoked_subcommand is not None:
        return
    cluster = build(options)
    if options["serve"]:
        run(cluster, options)
    elif options["config_out"]:
        raise UsageError("--config-out needs --serve: the configuration holds its URL")
    else:
        describe(cluster)


def build(options: dict[str, Any]) -> EmbeddedCluster:
    """The cluster that the options ask for."""
    from ringcheck.simulator import cluster as model

    specs = _specs(options)
    cluster = model.EmbeddedCluster(
        specs,
        model.default_keyspaces(specs, options["rf"], options["keyspaces"]),
        **{name: options[name] for name in ("name", "seed", "time_factor")},
    )
    cluster.authenticates = options["authenticates"]
    return cluster


def _specs(options: dict[str, Any]) -> list[NodeSpec]:
    from ringcheck.simulator.cluster import Layout

    same = {name: options[name] for name in ("racks", "vnodes", "jolokia", "seed", "tokens")}
    specs = Layout(options["nodes"], datacenters=options["dcs"], **same).specs()
    releases, variants = options["releases"] or ("5.0.8",), options["paxos_variants"] or ("v1",)
    for release in releases:
        numbers = parse_release(release)
        if not numbers or not OLDEST <= numbers[:2] <= NEWEST:
            raise UsageError(f"--release: {release!r} is not a release from 2.2 to 6.0, such as 5.0.8")
    return [
        replace(spec, release=releases[number % len(releases)], paxos_variant=variants[number % len(variants)])
        for number, spec in enumerate(specs)
    ]


def describe(cluster: EmbeddedCluster) -> None:
    """Print the nodes and keyspaces that --serve would serve."""
    state = cluster.state()
    for node in state["nodes"]:
        click.echo(f"{node['address']:<15} {node['datacenter']} {node['rack']} {node['release']} {node['host_id']}")
    for name, replication in state["keyspaces"].items():
        click.echo(f"{name:<18} {replication}")
    click.echo(f"{len(cluster.topology.ring.tokens)} ranges; serve this cluster with --serve")


def run(cluster: EmbeddedCluster, options: dict[str, Any]) -> None:
    """Serve until interrupted or terminated."""
    server = start(cluster, options)
    try:
        if options["config_out"]:
            _write(options["config_out"], server.config())
        signal.signal(signal.SIGTERM, _interrupt)
        with suppress(KeyboardInterrupt):
            click.echo(f"serving {server.url}")
            server.wait()
    finally:
        server.close()


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def start(cluster: EmbeddedCluster, options: dict[str, Any]) -> Server:
    """A started server, on the port asked for, the usual one or a free one.

    Raises:
        UsageError: if it can't listen there.
    """
    from ringcheck.simulator.server import serve

    address_port = options["address_port"] if options["per_address"] else None
    ports = [DEFAULT_PORT, 0] if options["port"] is None else [options["port"]]
    for port in ports:
        server = serve(cluster, port=port, address_port=address_port)
        try:
            server.start()
        except OSError as error:
            problem = error
        else:
            return server
    raise UsageError(f"can't listen: {problem}")


# Commands that drive a served cluster


def _url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--url",
        default=f"http://127.0.0.1:{DEFAULT_PORT}",
        metavar="URL",
        show_default=True,
        help="URL of the served cluster.",
    )(command)


def ask(url: str, action: str, document: dict[str, Any]) -> dict[str, Any]:
    """Call the control API; the document that it answers.

    Raises:
        UsageError: if there is no answer, or the request is refused.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
        if parts.scheme != "http" or not host:
            raise ValueError(url)  # noqa: TRY301 - as a port that is none
    except ValueError:
        raise UsageError(f"--url: {url!r} is not a URL such as http://127.0.0.1:{DEFAULT_PORT}") from None
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request("POST", f"/control/{action}", json.dumps(document))
        reply: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = (getattr(error, "strerror", None) or "the answer does not come from an embedded cluster").lower()
        text = f"no embedded cluster answers at {url}: {why}; start one with `ringcheck simulate --serve`"
        raise UsageError(text) from None
    finally:
        connection.close()
    if "error" in reply:
        raise UsageError(f"simulate {action}: {reply['error']}")
    return reply


def _print(state: dict[str, Any], name: str | None = None) -> None:
    """Print the state of a node, or of all nodes, and the partitions; one line each."""
    for node in state["nodes"]:
        if name is None or name.lower() in {node["address"], node["host_id"]}:
            fault = f" fault {node['fault']}" if node["fault"] else ""
            rack = f"{node['datacenter']} {node['rack']} {node['release']}"
            click.echo(f"{node['address']:<15} {rack} {_mode(node)}{fault}")
    for side, other in state["cuts"]:
        click.echo(f"cut: {', '.join(side)} | {', '.join(other)}")


def _mode(node: dict[str, Any]) -> str:
    if node["process"] != "running":
        return str(node["process"])
    return f"{node['mode']}{'' if node['gossip'] else ' no gossip'}{'' if node['native'] else ' no CQL'}"


def _simple(action: str, summary: str, *, instant: bool) -> None:
    """Add a command that does one thing to each of its nodes."""

    def command(nodes: tuple[str, ...], url: str, *, instant: bool = False) -> None:
        for node in nodes:
            _print(ask(url, action, {"node": node} | ({"instant": True} if instant else {})), node)

    command.__doc__ = summary
    decorated = click.argument("nodes", metavar="NODE...", nargs=-1, required=True)(_url_option(command))
    if instant:
        decorated = click.option(
            "--instant", is_flag=True, help="All nodes see it at once, without waiting for gossip."
        )(decorated)
    simulate.command(action)(decorated)


for _action, _summary, _instant in (
    ("down", "Kill nodes: kill -9.", True),
    ("stop", "Stop nodes cleanly: SIGTERM.", False),
    ("up", "Start nodes with the data that they had.", True),
    ("proceed", "Continue startups that `hold` stopped.", False),
    ("pause", "Pause nodes: SIGSTOP.", True),
    ("resume", "Resume paused nodes: SIGCONT.", True),
    ("drain", "Drain nodes.", True),
    ("gossip-off", "Stop gossip on nodes: nodetool disablegossip.", True),
    ("gossip-on", "Start gossip on nodes again: nodetool enablegossip.", True),
    ("binary-off", "Stop CQL on nodes: nodetool disablebinary.", False),
    ("binary-on", "Start CQL on nodes again: nodetool enablebinary.", False),
    ("leave", "Begin to decommission nodes; end with `finish`.", False),
    ("decommission", "Decommission nodes, from beginning to end.", False),
    ("finish", "Complete joins, leaves or moves of nodes.", False),
):
    _simple(_action, _summary, instant=_instant)


@simulate.command()
@click.argument("node")
@click.argument("phase")
@_url_option
def hold(node: str, phase: str, url: str) -> None:
    """Start a node, and hold it at a phase of its startup.

    A PHASE is refused, unregistered, snitch, starting, own, ring, alone, newborn, normal-alone or normal; not every
    release has all of them. `proceed` lets the startup go on.
    """
    _print(ask(url, "up", {"node": node, "hold": phase}), node)


@simulate.command()
@click.option("--address", metavar="ADDRESS", help="Address of the new node. [default: the next free one]")
@click.option(
    "--dc", "datacenter", metavar="DC", default="dc1", show_default=True, help="With --address: its datacenter."
)
@click.option("--rack", metavar="RACK", default="r1", show_default=True, help="With --address: its rack.")
@_url_option
def join(address: str | None, datacenter: str, rack: str, url: str) -> None:
    """Begin to bootstrap a new node; end with `finish`."""
    spec = {"address": address, "datacenter": datacenter, "rack": rack} if address else {}
    _print(ask(url, "join", spec))


@simulate.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option(
    "--from",
    "others",
    multiple=True,
    metavar="NODE",
    help="Cut off from this node. Repeatable. [default: all other nodes]",
)
@click.option("--instant", is_flag=True, help="All nodes see it at once, without waiting for gossip.")
@_url_option
def partition(nodes: tuple[str, ...], others: tuple[str, ...], url: str, *, instant: bool) -> None:
    """Cut nodes off from others.

    Neither side receives the gossip of the other one, until `heal`.
    """
    _print(ask(url, "partition", {"one": nodes, "other": others or None, "instant": instant}))


@simulate.command()
@_url_option
def heal(url: str) -> None:
    """End all partitions."""
    _print(ask(url, "heal", {}))


@simulate.command()
@click.argument("node")
@click.argument("kind", required=False)
@click.option("--seconds", type=Seconds(), metavar="DURATION", help="Length of the delay, or time between drips.")
@click.option("--size", type=int, metavar="BYTES", help="Size of a drip, of a truncated body, or of an oversized one.")
@click.option("--status", type=int, metavar="STATUS", help="HTTP status to answer.")
@click.option("--times", type=int, metavar="N", help="Number of requests that fail. [default: all]")
@_url_option
def fault(node: str, kind: str | None, url: str, **fields: Any) -> None:  # noqa: ANN401 - one an option
    """Make the HTTP server of a node misbehave.

    A KIND is delay, drip-headers, drip-body, reset, truncate, garbage, html, status, hang, refuse or oversize. Without
    a KIND, the fault ends.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    _print(ask(url, "fault", {"node": node, "fault": {"kind": kind, **given} if kind else None}), node)


@simulate.command()
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@_url_option
def state(form: str, url: str) -> None:
    """Show the state of the cluster."""
    answer = ask(url, "state", {})
    click.echo(json.dumps(answer, indent=2)) if form == "json" else _print(answer)


@simulate.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option(
    "--seconds", type=Seconds(), metavar="DURATION", default=60.0, help="How long to wait at most. [default: 60s]"
)
@_url_option
def wait(nodes: tuple[str, ...], seconds: float, url: str) -> None:
    """Wait until nodes are up: NORMAL, and serving CQL."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = {state["address"]: state for state in ask(url, "state", {})["nodes"]}
        if all(states.get(node, {}).get("native") and states[node]["mode"] == "NORMAL" for node in nodes):
            return
        time.sleep(0.1)
    raise SourceError(f"not up after {seconds:g} s: {', '.join(nodes)}")
