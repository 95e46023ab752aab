"""Options that several commands share, and their types.

A command offers the options that have an effect on it, and no others. `target_options` adds those that name the
cluster: all of them, except the ones that the command leaves out or refuses.
"""

from __future__ import annotations

from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ringcheck.cli.target import Target
from ringcheck.deadline import TIMEOUT, duration
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ringcheck.core.consistency import Level

R = TypeVar("R")

NO_RECORDING = "a recorded snapshot has no restart leases, and none of its nodes can be restarted"
EVERY_KEYSPACE = "a node that stops takes a replica from every keyspace; --accept names those that may lose ranges"


class Seconds(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter there
    """A duration in seconds: `9`, `9s`, `1.5s`, `500ms`, `2m`, `4h`, `180d`."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        """`zero`: whether 0 is a duration too."""
        self._zero = zero

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The duration in seconds; more than 0, unless 0 is allowed."""
        if isinstance(value, float | int):
            return float(value)
        if self._zero and str(value) in {"0", "0s"}:
            return 0.0
        try:
            return duration(str(value))
        except ValueError:
            self.fail(f"{str(value)!r} is not a duration such as 9s, 500ms, 2m or 1h", param, ctx)


class Whole(click.IntRange):
    """A whole number, from a smallest to a largest one if there is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - as in click
        """The number; click's own errors are about types and inequalities."""
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            bounds = f"from {self.min} on" if self.max is None else f"from {self.min} to {self.max}"
            self.fail(f"{str(value)!r} is not a whole number {bounds}", param, ctx)
        return number


def file_name(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """The value of an option for a file.

    Raises:
        click.BadParameter: if it is empty, mostly because a variable of the shell was never set.
    """
    if value == "":
        raise click.BadParameter("the name of the file is empty", context, option)
    return value


TARGET_OPTIONS: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "config": (
        ("-C", "--config"),
        {"metavar": "FILE", "help": "Configuration file. [default: /etc/ringcheck/ringcheck.yaml, if it exists]"},
    ),
    "cluster": (
        ("--cluster",),
        {"metavar": "NAME", "help": "Name of the cluster, if the configuration has several."},
    ),
    "host": (
        ("-H", "--host"),
        {
            "multiple": True,
            "metavar": "HOST[:PORT]",
            "help": "Without a configuration: ask Jolokia on this node. The other nodes are discovered. Repeatable.",
        },
    ),
    "url": (
        ("-u", "--url"),
        {
            "multiple": True,
            "metavar": "URL",
            "help": "Like --host, with the whole URL. The other nodes are asked at the same port and path. Repeatable.",
        },
    ),
    "proxy": (
        ("--proxy",),
        {
            "metavar": "URL",
            "help": "Nodes without Jolokia: a Jolokia that asks their JMX ports (`ringcheck jmx-proxy`). With -H.",
        },
    ),
    "jmx": (
        ("--jmx",),
        {
            "metavar": "JMX-URL",
            "help": "JMX of a node, with --proxy. [default: service:jmx:rmi:///jndi/rmi://{address}:7199/jmxrmi]",
        },
    ),
    "jmx_username": (("--jmx-username",), {"metavar": "NAME", "help": "User name for JMX, with --proxy."}),
    "jmx_password_file": (
        ("--jmx-password-file",),
        {"metavar": "FILE", "help": "File that holds the JMX user's password."},
    ),
    "from_": (
        ("--from",),
        {"metavar": "FILE", "help": "Read a snapshot file instead of asking nodes; - is standard input."},
    ),
    "dc": (
        ("--dc",),
        {
            "multiple": True,
            "metavar": "DC",
            "help": "Datacenter with clients. Repeatable. [default: each that holds replicas of the keyspace]",
        },
    ),
    "keyspace": (
        ("-k", "--keyspace"),
        {"multiple": True, "metavar": "GLOB", "help": "Only keyspaces that match this pattern. Repeatable."},
    ),
    "timeout": (
        ("-t", "--timeout"),
        {"type": Seconds(), "default": TIMEOUT, "help": "Total time for all requests together. [default: 9s]"},
    ),
    "username": (("--username",), {"metavar": "NAME", "help": "User name for Jolokia, with -H or -u."}),
    "password_file": (("--password-file",), {"metavar": "FILE", "help": "File that holds the user's password."}),
    "ca_file": (("--ca-file",), {"metavar": "FILE", "help": "CA certificates to verify Jolokia's certificate with."}),
    "cert_file": (("--cert-file",), {"metavar": "FILE", "help": "Client certificate, if Jolokia asks for one."}),
    "key_file": (("--key-file",), {"metavar": "FILE", "help": "Private key of the client certificate."}),
}
"""For each field of `Target` its option: flags, and arguments of `click.option`."""

# The help of these options where they are for the agent of --agent, and no node is asked.
FOR_AGENT: Mapping[str, str] = {
    "username": "User name for the agent.",
    "ca_file": "CA certificates to verify the agent's certificate with.",
    "cert_file": "Client certificate, if the agent asks for one.",
}

# Values of the fields of `Target` whose options a command lacks.
ABSENT: Mapping[str, Any] = {
    "from_": None,
    "dc": (),
    "keyspace": (),
    "host": (),
    "url": (),
    "proxy": None,
    "jmx": None,
    "jmx_username": None,
    "jmx_password_file": None,
    "config": None,
    "cluster": None,
}


class ClusterCommand(click.Command):
    """A command with `target_options`: its help lists the command's own options first, then those."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two sections."""
        self.format_own_options(ctx, formatter)
        self.format_cluster_options(ctx, formatter)

    def format_own_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of the command's own options."""
        with formatter.section("Options"):
            formatter.write_dl(self._records(ctx, shared=False))

    def format_cluster_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section of the options that name the cluster."""
        with formatter.section("Cluster options"):
            formatter.write_dl(self._records(ctx, shared=True))

    def _records(self, ctx: click.Context, *, shared: bool) -> list[tuple[str, str]]:
        options = [option for option in self.get_params(ctx) if isinstance(option, click.Option)]
        records = [option.get_help_record(ctx) for option in options if (option.name in TARGET_OPTIONS) is shared]
        return [record for record in records if record]


def target_options(
    *, without: Collection[str] = (), refused: Mapping[str, str] | None = None, texts: Mapping[str, str] | None = None
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a `ClusterCommand` the options that name a cluster, as one argument `target`.

    Args:
        without: fields of `Target` without a meaning for the command. click does not know their options there, and
            their environment variables are ignored.
        refused: fields of `Target` that the command must not ignore, each with the reason why it can't use them.
            Their options are hidden; an option or environment variable that is set is an error.
        texts: fields of `Target` whose options have another help text than that in `TARGET_OPTIONS`.
    """
    refused, texts = refused or {}, texts or {}
    declared = [_declared(name, refused.get(name), texts.get(name)) for name in TARGET_OPTIONS if name not in without]

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @wraps(command)  # click keeps the parameters of the other decorators on the function
        def with_target(**values: Any) -> R:  # noqa: ANN401 - click passes the options' values
            fields = {name: values.pop(name) if name in values else ABSENT[name] for name in TARGET_OPTIONS}
            target = Target(
                **_overruled(fields),
                recordings="from_" not in refused,
                configurable="config" not in refused,
                addressable="host" not in refused,
            )
            return command(target=target, **values)

        decorated: Callable[..., R] = reduce(lambda inner, option: option(inner), reversed(declared), with_target)
        return decorated

    return decorate


_BY_ADDRESS, _BY_NAME = ("host", "url", "proxy"), ("config", "cluster", "from_")
"""Fields of `Target` that name a cluster, in two ways that exclude each other."""


def _overruled(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Target`, without variables that name the cluster in another way than the command line does."""
    context = click.get_current_context()
    sources = {name: context.get_parameter_source(name) for name in (*_BY_ADDRESS, *_BY_NAME) if fields[name]}
    typed = {name for name, source in sources.items() if source is ParameterSource.COMMANDLINE}
    variables = [name for name, source in sources.items() if source is ParameterSource.ENVIRONMENT]
    for way, other in ((_BY_ADDRESS, _BY_NAME), (_BY_NAME, _BY_ADDRESS)):
        if typed and typed.issubset(way):
            fields |= {name: ABSENT[name] for name in variables if name in other}
            variables = [name for name in variables if name in way]
    return {**fields, "variables": tuple(map(_variable, variables))}


def _variable(name: str) -> str:
    """The environment variable of a field of `Target`."""
    return f"RINGCHECK_{max(TARGET_OPTIONS[name][0], key=len).lstrip('-')}".upper().replace("-", "_")


def _declared(name: str, refusal: str | None, text: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    flags, arguments = TARGET_OPTIONS[name]
    arguments = {**arguments, "help": text or arguments["help"]}
    variable = _variable(name)
    hidden: dict[str, Any] = {}
    if refusal:
        refuse = _refuse(max(flags, key=len), variable, refusal)
        hidden = {"hidden": True, "expose_value": False, "is_eager": True, "callback": refuse}
    return click.option(*flags, name, envvar=variable, **arguments, **hidden)


def _refuse(flag: str, variable: str, reason: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def refuse(context: click.Context, parameter: click.Parameter, value: object) -> None:
        if value:
            source = context.get_parameter_source(parameter.name or "")
            name = f"{flag} ({variable})" if source is ParameterSource.ENVIRONMENT else flag
            raise click.UsageError(f"{context.command_path} does not take {name}: {reason}", context)

    return refuse


def format_option(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--format`, as the argument `format_`; the first format is the default."""
    return click.option(
        "--format", "format_", type=click.Choice(formats), default=formats[0], show_default=True, help="Output format."
    )


tokens_choice_option = click.option(
    "--allocated", is_flag=True, help="Assume tokens like those of Cassandra's allocation, not random ones."
)

levels_option = click.option(
    "--level", "levels", metavar="LEVEL|all", multiple=True, help="Show this level too. Repeatable; `all` shows all."
)


def level(name: str) -> Level:
    """A consistency level by its name.

    Raises:
        UsageError: if no level has that name.
    """
    from ringcheck.core.consistency import Level
    from ringcheck.core.words import suggestion

    if name in Level.__members__:
        return Level[name]
    raise UsageError(f"there is no consistency level {name!r} ({suggestion(name, Level.__members__)})")


def asked_levels(names: tuple[str, ...]) -> tuple[Level, ...]:
    """The levels that `levels_option` names, all of them for `all`.

    Raises:
        UsageError: if no level has one of the names.
    """
    from ringcheck.core.consistency import Level

    named = tuple(level(name) for name in names if name != "all")
    return tuple(Level) if "all" in names else named
