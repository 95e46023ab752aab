"""The command line: one file for each command, imported when the command is used.

Owns exit codes and options; may import every other room, and none imports it. Every usage error, crash and interrupt
ends with one line and exit code 3, never with click's 1 or 2, which mean WARNING and CRITICAL to Nagios. failure.py
says on which stream. Start reading at `run`, then target.py (which cluster) and options.py (shared options).
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from ringcheck import __version__
from ringcheck.cli.failure import UNKNOWN, Call, complain, problem_of, unwritable, was_printing

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "check": "Nagios, NRPE and Sensu plugin: one line, perfdata, exit code.",
    "health": "Which ranges of which keyspaces can be served, and how close the next outage is.",
    "nodes": "The table of nodes: location, state, since when, and whether each may stop now.",
    "watch": "Health, live in the terminal.",
    "ring": "The ring of a keyspace as a picture: each range with its live replicas.",
    "preflight": "May these nodes stop now? Only exit code 0 means yes.",
    "plan": "The fewest batches in which all nodes can restart.",
    "lease": "Restart leases: list, acquire, release and break them.",
    "roll": "Rolling restart: gate, lease, drain, your command, and wait until back.",
    "what-if": "The verdict as it would be if nodes were down or up.",
    "risk": "The smallest sets of nodes or racks whose loss is an outage.",
    "levels": "Which consistency levels clients use, and the rules that these suggest.",
    "history": "What changed in a cluster, and when: from the agent or its state file.",
    "agent": "The service: polls all configured clusters; web pages, metrics, API, Sensu.",
    "jmx-proxy": "For nodes without Jolokia: one Jolokia that asks their JMX ports.",
    "doctor": "Why a node's Jolokia can't be asked, step by step, and how to fix it.",
    "snapshot": "Write everything that was read from a cluster to a file, for --from.",
    "init": "Write a first configuration from a live cluster, explained line by line.",
    "config": "Check the configuration, describe its keys, and show its values.",
    "demo": "A worked example from start to end, without Cassandra.",
    "simulate": "An embedded cluster that speaks Jolokia, to try ringcheck with.",
}


COMPLETING = "_RINGCHECK_COMPLETE"  # set by the shell's script, which asks for words
ALIASES = {"status": "nodes"}  # for those who look for `nodetool status`


class Commands(click.Group):
    """The commands by name, with one line of help each; a command is imported when it is used.

    Attributes:
        aliases: other names of commands.
    """

    aliases = tuple(ALIASES)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands, the most used ones first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, imported."""
        name = ALIASES.get(cmd_name, cmd_name).replace("-", "_")
        if name.replace("_", "-") not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"ringcheck.cli.{name}"), name)
        _name_variables(command, f"RINGCHECK_{name}")
        if COMPLETING in os.environ:
            from ringcheck.cli.completion import complete

            complete(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _name_variables(command: click.Command, prefix: str) -> None:
    """Name the environment variable of each option after the option; click would name it after the parameter."""
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        _name_variables(inner, f"{prefix}_{name}")
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            option.envvar = f"{prefix}_{max(option.opts, key=len).lstrip('-')}".upper().replace("-", "_")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, "-V", "--version", prog_name="ringcheck", message="%(prog)s %(version)s")
def ringcheck() -> None:
    """Show which token ranges of a Cassandra cluster can be served, and whether a node may stop now.

    Try `ringcheck demo` first; then `ringcheck health -H HOST`, with a node whose Jolokia you can reach. If it can't be
    asked, `ringcheck doctor -H HOST` shows why.

    Every option can also be set by an environment variable: RINGCHECK_CONFIG, RINGCHECK_HOST and so on for the options
    that name the cluster, RINGCHECK_<COMMAND>_<OPTION> for the others. Every error exits with 3 (unknown).
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit."""
    if sys.stdout is None:  # closed; do nothing, such as taking a lease, that can't be reported
        sys.exit(unwritable("it is closed"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the encoding lacks must not be an error
            with suppress(OSError):  # what can't be written is reported when it is written
                stream.reconfigure(errors="backslashreplace")
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = unwritable(error)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    call = Call.of(words, {*COMMANDS, *ALIASES})
    try:
        code = ringcheck.main(args=words, prog_name="ringcheck", standalone_mode=False)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - a crash is an exit code too
        return _exit_code(error, call)
    return code if isinstance(code, int) else 0


def _exit_code(error: BaseException, call: Call) -> int:
    """The exit code for an exception that ended a command; reports it if it is an error."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):  # raised by click: for shell completion, and when the reader of a pipe is gone
        return error.code if COMPLETING in os.environ and isinstance(error.code, int) else UNKNOWN
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())  # help, but nothing was checked: not OK
        return UNKNOWN
    if os.environ.get("RINGCHECK_DEBUG"):
        raise error
    return (
        unwritable(error)
        if isinstance(error, OSError) and was_printing(error)
        else complain(problem_of(error, call.command), call)
    )
