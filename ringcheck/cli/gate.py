"""The options that say what the gate must hold, and the exit codes of its decisions."""

from __future__ import annotations

from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringcheck.cli.options import Seconds, Whole, level

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.cli.target import Target
    from ringcheck.core.gate import Gate

R = TypeVar("R")

EXIT = {"safe": 0, "unsafe": 2, "unknown": 3}

GATE_OPTIONS = {
    "gate_level": click.option(
        "--level", "gate_level", metavar="LEVEL",
        help="Consistency level that every range must keep; a keyspace also keeps its own critical level. "
        "[default: that of the configuration, or LOCAL_QUORUM]",
    ),
    "accept": click.option(
        "--accept", metavar="GLOB", multiple=True, help="Keyspaces that may lose ranges. Repeatable."
    ),
    "allow": click.option(
        "--allow", metavar="CODE", multiple=True,
        help="Report this reason as a note instead of blocking on it. Repeatable.",
    ),
    "require_spare": click.option(
        "--require-spare", is_flag=True, help="Block if a range would be left without a spare replica."
    ),
    "require_all_up": click.option("--require-all-up", is_flag=True, help="Block while any other node is down."),
}  # fmt: skip

stable_option = click.option(
    "--stable", type=Whole(1), metavar="N",
    help="Safe readings in a row that are needed. [default: that of the configuration, or 1]",
)  # fmt: skip
wait_option = click.option(
    "--wait", type=Seconds(), metavar="DURATION",
    help="Try again for this long while the answer is not safe. [default: one try]",
)  # fmt: skip


def gate_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command, below its `target_options`, the options of the gate, as one argument `gate`."""

    @wraps(command)  # click keeps the parameters of the other decorators on the function
    def with_gate(target: Target, **values: Any) -> R:  # noqa: ANN401 - click passes the options' values
        wishes = {name: values.pop(name) for name in GATE_OPTIONS}
        return command(target=target, gate=_gate(target, **wishes), **values)

    decorated: Callable[..., R] = reduce(lambda inner, add: add(inner), reversed(GATE_OPTIONS.values()), with_gate)
    return decorated


def _gate(
    target: Target,
    *,
    gate_level: str | None,
    accept: tuple[str, ...],
    allow: tuple[str, ...],
    require_spare: bool,
    require_all_up: bool,
) -> Gate:
    """The configured gate, made stricter or less strict by the options."""
    return (
        target.choose()
        .gate()
        .asked(
            level=None if gate_level is None else level(gate_level),
            accept=accept,
            allow=allow,
            require_spare=require_spare,
            require_all_up=require_all_up,
        )
    )
