"""What the shell offers at TAB: files, levels, codes, and names from the cluster that the command line names.

What an argument takes follows from its placeholder in the help: FILE, LEVEL, NODE and so on. Loaded only while a shell
asks. Names of a cluster come from the snapshot of --from, or from one poll of at most two seconds, which only reads; a
cluster that can't be asked has no names, and the shell gets no error.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from ringcheck.cli.options import ABSENT, TARGET_OPTIONS
from ringcheck.cli.target import DEFAULT_CONFIG, Target
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ringcheck.core.ring import Snapshot

SECONDS = 2.0  # that a poll may take
_MANY = frozenset({"host", "url", "dc", "keyspace"})  # options that can be repeated


class Completed(click.types.StringParamType):
    """Text for which the shell offers words."""

    def __init__(self, offer: Callable[[click.Context, str], Iterable[CompletionItem]]) -> None:
        """`offer` gets the context and the beginning of a word."""
        self._offer = offer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The words that begin so; of a list with commas, those for its last part."""
        listed = "," in (param.metavar or "")
        done, comma, last = incomplete.rpartition(",") if listed else ("", "", incomplete)
        with suppress(Exception):  # whatever is wrong is reported when the command runs
            items = [item for item in self._offer(ctx, last) if item.value.lower().startswith(last.lower())]
            return [CompletionItem(f"{done},{item.value}") for item in items] if comma else items
        return []


def _words(names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names]


def _files(_: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def _levels(_: click.Context, __: str) -> list[CompletionItem]:
    from ringcheck.core.consistency import Level

    return _words(Level.__members__)


def _levels_and_all(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [*_levels(ctx, incomplete), CompletionItem("all")]


def _codes(_: click.Context, __: str) -> list[CompletionItem]:
    from ringcheck.core.reasons import REASONS

    return [CompletionItem(code, help=kind.meaning) for code, kind in sorted(REASONS.items())]


def _kinds(_: click.Context, __: str) -> list[CompletionItem]:
    from ringcheck.core.fact_kinds import KINDS

    return [CompletionItem(name, help=kind.meaning) for name, kind in KINDS.items()]


# Names of a cluster


def _clusters(ctx: click.Context, _: str) -> list[CompletionItem]:
    from ringcheck.config import load

    path = ctx.params.get("config") or ctx.params.get("path") or str(DEFAULT_CONFIG)
    return _words(sorted(load(path).clusters))


def _snapshot(ctx: click.Context) -> Snapshot:
    """The cluster that the line names so far.

    Raises:
        RingcheckError: if it names none, or it can't be asked.
    """
    if all(param.name != "host" for param in ctx.command.params):
        raise UsageError("the command asks no cluster")  # as those of `simulate`, which drive an embedded one
    fields: dict[str, Any] = {name: ctx.params.get(name) or ABSENT.get(name) for name in TARGET_OPTIONS}
    fields |= {name: fields[name] or () for name in _MANY} | {"timeout": SECONDS}
    return Target(**fields).choose().snapshot()


def _nodes(ctx: click.Context, _: str) -> list[CompletionItem]:
    nodes = _snapshot(ctx).nodes
    return [CompletionItem(node.address, help=f"{node.datacenter or '?'} {node.rack or '?'}") for node in nodes]


def _keyspaces(ctx: click.Context, _: str) -> list[CompletionItem]:
    return _words(sorted(name for ring in _snapshot(ctx).rings for name in ring.keyspaces))


def _datacenters(ctx: click.Context, _: str) -> list[CompletionItem]:
    return _words(_snapshot(ctx).datacenters)


def _racks(ctx: click.Context, _: str) -> list[CompletionItem]:
    return _words(sorted({node.rack for node in _snapshot(ctx).nodes if node.rack}))


OFFERS: dict[str, Callable[[click.Context, str], list[CompletionItem]]] = {
    "FILE": _files, "[FILE]...": _files, "JAR": _files,
    "LEVEL": _levels, "LEVEL|all": _levels_and_all, "CODE": _codes, "KIND": _kinds,
    "NODE": _nodes, "NODE...": _nodes, "[NODE]...": _nodes, "NODE[,NODE...]": _nodes,
    "GLOB": _keyspaces, "KEYSPACE": _keyspaces, "[KEYSPACE]...": _keyspaces, "DC": _datacenters, "RACK": _racks,
}  # fmt: skip
"""By the placeholder of an option or argument."""

NAMED = {"cluster": _clusters, "view": _nodes}
"""By the name of an option whose placeholder says less."""


def complete(command: click.Command) -> None:
    """Let the shell offer words for the options and arguments of a command, and of those below it."""
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        complete(inner)
    for param in command.params:
        offer = NAMED.get(param.name or "") or OFFERS.get(param.metavar or param.human_readable_name.upper())
        if offer and type(param.type) is click.types.StringParamType:
            param.type = Completed(offer)
