"""The command line: one file a command, imported when it is used.

Owns exit codes. A plugin's caller reads stdout and the exit code: every usage error, crash and interrupt ends as one
line on stdout and exit code 3, never as click's 1 or 2, which mean WARNING and CRITICAL to Nagios. So does an answer
that stdout does not take, with its line on stderr.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from ringcheck import __version__
from ringcheck.errors import RingcheckError

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = 3

COMMANDS = {
    "check": "Nagios, NRPE and Sensu plugin: one line, perfdata, exit code.",
    "health": "Which ranges of which keyspaces can be served, and how near an outage is.",
    "watch": "Health, live in the terminal.",
    "ring": "The ring of a keyspace as a picture: each range with its live replicas.",
    "preflight": "May these nodes stop now? Exit code 0 is the only yes.",
    "plan": "The fewest batches in which all nodes can restart.",
    "lease": "Restart leases: who holds which node; take one, give it back, take it away.",
    "roll": "Rolling restart: gate, lease, drain, your command, and wait until really back.",
    "what-if": "The verdict as it would be if nodes were down, or back.",
    "risk": "The smallest sets of nodes or racks whose loss is an outage.",
    "agent": "The service: polls every configured cluster; page, metrics, API, Sensu.",
    "snapshot": "Write all that was seen to one file, for --from, bug reports and replay.",
    "config": "Validate, describe and show the configuration.",
    "demo": "The worked example, end to end, without Cassandra.",
    "simulate": "An embedded cluster that speaks Jolokia.",
}


class Commands(click.Group):
    """Knows all commands by name and one line of help; imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Commands in the order in which an operator meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"ringcheck.cli.{name}"), name)
        _name_variables(command, f"RINGCHECK_{name}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _name_variables(command: click.Command, prefix: str) -> None:
    """Let each option be set by the variable that carries its name; click would take the parameter's."""
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        _name_variables(inner, f"{prefix}_{name}")
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            option.envvar = f"{prefix}_{max(option.opts, key=len).lstrip('-')}".upper().replace("-", "_")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.version_option(__version__, "-V", "--version", prog_name="ringcheck", message="%(prog)s %(version)s")
def ringcheck() -> None:
    """Which token ranges of a Cassandra cluster can be served, and whether a node may be stopped now.

    Every option can be set by an environment variable: RINGCHECK_CONFIG, RINGCHECK_HOST, ... for those that name the
    target, RINGCHECK_<COMMAND>_<OPTION> for the others. Errors of any kind exit with 3 (unknown).
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line and exit."""
    if sys.stdout is None:  # closed; what is done and then can't be told, such as a lease, had better not be done
        sys.exit(_unheard("it is closed"))
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _unheard(error)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    try:
        code = ringcheck.main(args=arguments, prog_name="ringcheck", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except SystemExit as end:  # click's own, of shell completion and when whoever reads has gone
        return end.code if "_RINGCHECK_COMPLETE" in os.environ and isinstance(end.code, int) else UNKNOWN
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())  # whoever asks for nothing wants to read, but gets no OK for it
        return UNKNOWN
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("RINGCHECK_DEBUG"):
            raise
        return complain(_reason(error))
    return code if isinstance(code, int) else 0


def _reason(error: BaseException) -> str:
    if isinstance(error, RingcheckError):
        return str(error)
    if isinstance(error, click.ClickException):
        return f"usage: {error.format_message()}{_hint(error)}"
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted"
    return f"this is a bug of ringcheck: {type(error).__name__}: {error} (RINGCHECK_DEBUG=1 shows where)"


def complain(text: str) -> int:
    """Say in one line on stdout that nothing can be said; exit code 3."""
    try:
        click.echo(f"UNKNOWN - {' '.join(text.split())}".replace("|", "/"))
    except OSError as error:  # most often the one that it was to tell of
        return _unheard(error)
    return UNKNOWN


def _unheard(why: OSError | str) -> int:
    """Say on stderr, where that is possible, that stdout takes nothing; exit code 3, for no answer was given."""
    if not isinstance(why, str):  # keep the interpreter from finding out once more at exit, with a code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(why, BrokenPipeError):  # whoever read has gone (`| head`), and wants to hear no more
        with suppress(OSError):
            click.echo(f"UNKNOWN - stdout can't be written: {getattr(why, 'strerror', why)}", err=True)
    return UNKNOWN


def _hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see {context.command_path} --help)" if context else ""
