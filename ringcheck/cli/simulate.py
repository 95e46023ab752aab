"""`ringcheck simulate`: an embedded cluster over HTTP, and commands that drive a running one."""

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

from ringcheck.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.simulator.cluster import EmbeddedCluster
    from ringcheck.simulator.server import Server

DEFAULT_PORT = 18778


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--nodes", type=click.IntRange(1), default=4, show_default=True, help="Nodes in all.")
@click.option("--racks", type=click.IntRange(1), default=1, show_default=True, help="Racks in each datacenter.")
@click.option("--dcs", type=click.IntRange(1), default=1, show_default=True, help="Datacenters: dc1, dc2, ...")
@click.option("--vnodes", type=click.IntRange(1), default=16, show_default=True, help="Tokens a node.")
@click.option(
    "--tokens",
    type=click.Choice(["random", "even"]),
    default="random",
    show_default=True,
    help="Drawn at random, or spread as Cassandra's allocation aims at.",
)
@click.option("--rf", type=click.IntRange(1), default=3, show_default=True, help="Replicas in each datacenter.")
@click.option("--keyspaces", type=click.IntRange(0), default=0, help="This many keyspaces more: ks_001, ...")
@click.option("--release", "releases", multiple=True, help="Cassandra's, 2.2 to 5.0; more than one mixes them.")
@click.option("--jolokia", type=click.Choice(["1", "2"]), default="2", show_default=True, help="Line of the agents.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of tokens, host ids and delays.")
@click.option("--name", default="embedded", show_default=True, help="ClusterName, and its name in the config.")
@click.option("--time-factor", type=click.FloatRange(0), default=1.0, help="Length of startups and convictions.")
@click.option("--authenticates", is_flag=True, help="As with PasswordAuthenticator.")
@click.option("--serve", is_flag=True, help="Serve it over HTTP on loopback until interrupted.")
@click.option("--port", type=int, default=None, help=f"0 picks a free one. [default: {DEFAULT_PORT} or a free one]")
@click.option("--per-address", is_flag=True, help="Each node on its own address, 127.0.1.1 and on, as a real one.")
@click.option("--address-port", type=int, default=8778, show_default=True, help="The port with --per-address.")
@click.option("--config-out", type=click.Path(path_type=Path, dir_okay=False), help="Write a configuration for it.")
@click.pass_context
def simulate(ctx: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - one an option
    """An embedded cluster that speaks Jolokia, for trying ringcheck without Cassandra.

    With --serve it prints one line, `serving URL`, and answers until it is interrupted. The commands below drive a
    running one: they take --url URL as printed.
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

    releases = options["releases"] or ("5.0.8",)
    specs = model.uniform(
        options["nodes"],
        datacenters=options["dcs"],
        racks=options["racks"],
        vnodes=options["vnodes"],
        jolokia=options["jolokia"],
        seed=options["seed"],
        tokens=options["tokens"],
    )
    specs = [replace(spec, release=releases[number % len(releases)]) for number, spec in enumerate(specs)]
    return model.EmbeddedCluster(
        specs,
        model.default_keyspaces(specs, options["rf"], options["keyspaces"]),
        name=options["name"],
        seed=options["seed"],
        time_factor=options["time_factor"],
        authenticates=options["authenticates"],
    )


def describe(cluster: EmbeddedCluster) -> None:
    """What --serve would serve."""
    state = cluster.state()
    for node in state["nodes"]:
        click.echo(f"{node['address']:<15} {node['datacenter']} {node['rack']} {node['release']} {node['host_id']}")
    for name, replication in state["keyspaces"].items():
        click.echo(f"{name:<18} {replication}")
    click.echo(f"{len(cluster.topology.ring.tokens)} ranges; --serve serves it")


def run(cluster: EmbeddedCluster, options: dict[str, Any]) -> None:
    """Serve until interrupted or terminated."""
    server = start(cluster, options)
    try:
        if options["config_out"]:
            options["config_out"].write_text(server.config(), encoding="utf-8")
        click.echo(f"serving {server.url}")
        signal.signal(signal.SIGTERM, _interrupt)
        with suppress(KeyboardInterrupt):
            server.wait()
    finally:
        server.close()


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


# --- driving a running one


def _url_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--url", default=f"http://127.0.0.1:{DEFAULT_PORT}", show_default=True, help="As `serving URL` says."
    )(command)


def ask(url: str, action: str, document: dict[str, Any]) -> dict[str, Any]:
    """Call the control API; its answer.

    Raises:
        SourceError: if nothing answers there.
        UsageError: if it refuses.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT, timeout=30)
    try:
        connection.request("POST", f"/control/{action}", json.dumps(document))
        reply = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"no embedded cluster answers at {url}: {error}", "unreachable") from None
    finally:
        connection.close()
    if "error" in reply:
        raise UsageError(f"simulate {action}: {reply['error']}")
    answer: dict[str, Any] = reply
    return answer


def _tell(state: dict[str, Any], node: str | None = None) -> None:
    """The nodes' states, one a line."""
    for one in state["nodes"]:
        if node is None or node.lower() in {one["address"], one["host_id"]}:
            fault = f" fault {one['fault']}" if one["fault"] else ""
            where = f"{one['datacenter']} {one['rack']} {one['release']}"
            click.echo(f"{one['address']:<15} {where} {_mode(one)}{fault}")
    for one, other in state["cuts"]:
        click.echo(f"cut: {', '.join(one)} | {', '.join(other)}")


def _mode(node: dict[str, Any]) -> str:
    if node["process"] != "running":
        return str(node["process"])
    return f"{node['mode']}{'' if node['gossip'] else ' no gossip'}{'' if node['native'] else ' no CQL'}"


def _simple(action: str, summary: str, *, instant: bool) -> None:
    """Add a command that does one thing to one or more nodes."""

    def command(nodes: tuple[str, ...], url: str, *, instant: bool = False) -> None:
        for node in nodes:
            _tell(ask(url, action, {"node": node} | ({"instant": True} if instant else {})), node)

    command.__doc__ = summary
    decorated = click.argument("nodes", metavar="NODE...", nargs=-1, required=True)(_url_option(command))
    if instant:
        decorated = click.option("--instant", is_flag=True, help="Known to all at once.")(decorated)
    simulate.command(action)(decorated)


for _action, _summary, _instant in (
    ("down", "Kill nodes: kill -9.", True),
    ("stop", "Stop nodes cleanly: SIGTERM.", False),
    ("up", "Start nodes on their data.", True),
    ("proceed", "Let a held startup go on.", False),
    ("pause", "Pause nodes: SIGSTOP.", True),
    ("resume", "Let paused nodes go on: SIGCONT.", True),
    ("drain", "Drain nodes.", True),
    ("gossip-off", "Stop gossip on nodes: nodetool disablegossip.", True),
    ("gossip-on", "Start it again.", True),
    ("binary-off", "Stop CQL on nodes: nodetool disablebinary.", False),
    ("binary-on", "Start it again.", False),
    ("leave", "Begin to decommission nodes; `finish` ends it.", False),
    ("decommission", "Decommission nodes, from begin to end.", False),
    ("finish", "End a node's join, leave or move.", False),
):
    _simple(_action, _summary, instant=_instant)


@simulate.command()
@click.argument("node")
@click.argument("phase")
@_url_option
def hold(node: str, phase: str, url: str) -> None:
    """Start a node and hold it at a phase of its startup: starting, alone, normal-alone, normal, ..."""
    _tell(ask(url, "up", {"node": node, "hold": phase}), node)


@simulate.command()
@click.option("--address", help="Its address. [default: the next one]")
@click.option("--dc", "datacenter", default="dc1", show_default=True, help="With --address.")
@click.option("--rack", default="r1", show_default=True, help="With --address.")
@_url_option
def join(address: str | None, datacenter: str, rack: str, url: str) -> None:
    """Begin to bootstrap a new node; `finish` ends it."""
    spec = {"address": address, "datacenter": datacenter, "rack": rack} if address else {}
    _tell(ask(url, "join", spec))


@simulate.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option("--from", "others", multiple=True, metavar="NODE", help="Only from these; else from all others.")
@click.option("--instant", is_flag=True, help="Known to all at once.")
@_url_option
def partition(nodes: tuple[str, ...], others: tuple[str, ...], url: str, *, instant: bool) -> None:
    """Cut nodes off from the others: neither side hears the other's gossip."""
    _tell(ask(url, "partition", {"one": nodes, "other": others or None, "instant": instant}))


@simulate.command()
@_url_option
def heal(url: str) -> None:
    """End all partitions."""
    _tell(ask(url, "heal", {}))


@simulate.command()
@click.argument("node")
@click.argument("kind", required=False)
@click.option("--seconds", type=float, help="Of delay, or between drips.")
@click.option("--size", type=int, help="Bytes a drip, of a cut body or of an oversize one.")
@click.option("--status", type=int, help="HTTP status.")
@click.option("--times", type=int, help="Requests until it is over.")
@_url_option
def fault(node: str, kind: str | None, url: str, **fields: Any) -> None:  # noqa: ANN401 - one an option
    """Make a node's HTTP misbehave: delay, drip-body, reset, truncate, garbage, html, status, hang, refuse, ...

    Without a kind: end that.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    _tell(ask(url, "fault", {"node": node, "fault": {"kind": kind, **given} if kind else None}), node)


@simulate.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@_url_option
def state(form: str, url: str) -> None:
    """What the cluster is like now."""
    found = ask(url, "state", {})
    click.echo(json.dumps(found, indent=2)) if form == "json" else _tell(found)


@simulate.command()
@click.argument("nodes", metavar="NODE...", nargs=-1, required=True)
@click.option("--seconds", type=float, default=60.0, show_default=True, help="How long at most.")
@_url_option
def wait(nodes: tuple[str, ...], seconds: float, url: str) -> None:
    """Wait until nodes are up again: NORMAL and with CQL."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {one["address"]: one for one in ask(url, "state", {})["nodes"]}
        if all(found.get(node, {}).get("native") and found[node]["mode"] == "NORMAL" for node in nodes):
            return
        time.sleep(0.1)
    raise SourceError(f"not up after {seconds:g} s: {', '.join(nodes)}")
