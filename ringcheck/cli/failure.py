"""What is printed when a command fails: one line with the next step, or a JSON document, on the right stream.

`check` is a plugin: monitoring systems read its standard output, so its line goes there. So do those of `health` and
`what-if`, which have the exit codes of a plugin. The errors of all other commands go to standard error: what `> file`
or a pipe receives is an answer or nothing. With `--format json` standard output gets a `ringcheck/error/1` document, so
that a program that reads it always finds a document.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import click

from ringcheck.cli.terminal import say
from ringcheck.errors import (
    ConfigError,
    DataError,
    LimitError,
    RingcheckError,
    SourceError,
    UsageError,
    limit_of,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

UNKNOWN = 3
PLUGIN = "check"
VERDICTS = frozenset({PLUGIN, "health", "what-if"})  # their errors are a verdict, UNKNOWN, on standard output
_DOCTOR = "`ringcheck doctor` with the same cluster options shows why"
_START, _JMX, _AGENT = "docs/getting-started.md", "docs/jmx.md", "docs/agent.md"
_TLS, _LOGIN = f"{_START}#tls", "docs/install.md#passwords-and-keys"
_POLICY = "docs/install.md#jolokia-and-its-access-policy"

CERTIFICATE = {
    "untrusted": ("name the authority that signed the certificate with --ca-file", _TLS),
    "wrong_name": ("use a name that is in the certificate, or a certificate for this one", _TLS),
    "expired": ("renew the certificate", _TLS),
    "not_yet": ("correct the clock of this host, or the certificate", _TLS),
}
"""What to do about a refused certificate, and the page about it, by the symptom."""

STEPS = {
    ("jolokia", "refused"): (f"start Jolokia there, or correct the port; {_DOCTOR}", _START),
    ("jolokia", "name"): ("correct the host name, or add it to DNS or /etc/hosts, or use an address", _START),
    ("jolokia", "silent"): (f"look for a firewall, or a node that hangs; {_DOCTOR}", _START),
    ("jolokia", "closed"): (f"use https:// if the server speaks TLS; {_DOCTOR}", _TLS),
    ("jolokia", "not_tls"): ("use http:// in the URL, without --ca-file; or give Jolokia a certificate", _TLS),
    ("jolokia", "not_http"): (f"use https:// if the server speaks TLS, or correct the port; {_DOCTOR}", _TLS),
    **{(asked, symptom): step for asked in ("jolokia", "proxy", "agent") for symptom, step in CERTIFICATE.items()},
    ("jolokia", "login_missing"): ("add --username NAME --password-file FILE", _LOGIN),
    ("jolokia", "login_wrong"): ("correct --username or the file of --password-file", _LOGIN),
    ("jolokia", "forbidden"): (f"correct Jolokia's access policy; {_DOCTOR}", _POLICY),
    ("jolokia", "path"): ("correct the path of the URL; `ringcheck doctor` looks for the right one", _START),
    ("jolokia", "status"): (f"look at the log of the server that answers there, or correct the URL; {_DOCTOR}", _START),
    ("jolokia", "redirect"): (f"use the URL of Jolokia itself; {_DOCTOR}", _START),
    ("jolokia", "foreign"): (f"correct the port and the path of the URL; {_DOCTOR}", _START),
    ("proxy", "refused"): ("start the proxy with `ringcheck jmx-proxy`, or correct its URL", _JMX),
    ("agent", "refused"): ("start `ringcheck agent`, or correct the URL", _AGENT),
    ("agent", "not_http"): ("use https:// in the URL, with --ca-file FILE", _AGENT),
    ("agent", "closed"): ("use https:// in the URL if the agent speaks TLS, with --ca-file FILE", _AGENT),
    ("agent", "not_tls"): ("use http:// in the URL", _AGENT),
    ("agent", "silent"): ("look for a firewall, or an agent that hangs", _AGENT),
    ("agent", "foreign"): ("correct the URL, or look whether `ringcheck agent` runs behind it", _AGENT),
    ("agent", "login_missing"): ("add --username NAME --password-file FILE", _AGENT),
    ("agent", "login_wrong"): ("correct --username or the file of --password-file", _AGENT),
    ("agent", "path"): ("correct --cluster: the agent's page / lists its clusters", _AGENT),
}  # fmt: skip
"""What to do, and the page of the documentation, by what was asked and by the symptom."""

INSTEAD = {
    "help": "use `{path} --help`, or --help after a command",
    "version": "use `ringcheck --version`",
    "completion": "docs/commands.md#shell-completion",
}
"""What to do instead, for words that are commands of other programs."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command line, as far as the report of an error depends on it.

    Attributes:
        command: the name of the command; empty if there is none.
        json: whether the answer was to be a JSON document.
    """

    command: str
    json: bool

    @classmethod
    def of(cls, words: Sequence[str], commands: Collection[str]) -> Call:
        """The call that a command line makes, however wrong the rest of it is."""
        index, command = next(((at, word) for at, word in enumerate(words) if word in commands), (0, ""))
        inner = [word for word in words[index + 1 :] if word.isalpha()][:1]
        names = [command, *inner] if command in {"config", "lease"} else [command]
        variable = f"RINGCHECK_{'_'.join(names)}_FORMAT".upper().replace("-", "_")
        given = [after for word, after in pairwise(words) if word == "--format"]
        given += [word.removeprefix("--format=") for word in words if word.startswith("--format=")]
        return cls(command, json=(given[-1] if given else os.environ.get(variable)) == "json")


class Problem(NamedTuple):
    """An error in words: its kind as in `ringcheck/error/1`, the text, what to do next, and the page about it."""

    kind: str
    text: str
    step: str = ""
    page: str = ""

    @property
    def line(self) -> str:
        """All of it as one line."""
        step = f"; next: {self.step}" if self.step else ""
        return f"{self.text}{step}{f' ({self.page})' if self.page else ''}"


def problem_of(error: BaseException, command: str = "") -> Problem:
    """An error that ended a command, in words; the command's name, if it is known."""
    if isinstance(error, SourceError):
        return Problem(error.kind, str(error), *STEPS.get((error.asked, error.symptom), ("", "")))
    if isinstance(error, RingcheckError):
        return Problem(_kind(error), str(error), error.step if isinstance(error, UsageError) else "")
    if isinstance(error, click.ClickException):
        return Problem("usage", f"usage: {_usage(error, command)}")
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Problem("interrupted", "interrupted")
    if what := limit_of(error):
        return Problem("limit", what)
    text = one_line(str(error), 800)
    return Problem("bug", f"this is a bug in ringcheck: {type(error).__name__}: {text} (RINGCHECK_DEBUG=1 shows where)")


def _kind(error: RingcheckError) -> str:
    kinds = {ConfigError: "configuration", UsageError: "usage", DataError: "data", LimitError: "limit"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "error")


# Usage


def _usage(error: click.ClickException, command: str) -> str:
    """A message of click, and how to go on; a value that is missing or too much comes without a context."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else f"ringcheck {command}".rstrip()
    if context and isinstance(context.command, click.Group):
        commands = context.command.list_commands(context)
        if isinstance(error, click.NoSuchOption) and not _has_own_options(context.command):
            example = f"`{path} {commands[0]} {error.option_name} ...`"
            return f"{path} has no option {error.option_name!r}: write options after the command, as in {example}"
        if isinstance(error, click.exceptions.NoSuchCommand):
            from ringcheck.core.words import suggestion

            other = INSTEAD.get(error.command_name, "").format(path=path)
            known = [*commands, *getattr(context.command, "aliases", ())]
            hint = other or suggestion(error.command_name, known, len(known))
            return f"there is no command `{path} {error.command_name}` ({hint})"
    if isinstance(error, click.NoSuchOption) and error.option_name in {"-C", "--config", "-H", "--host", "--cluster"}:
        why = "watches all clusters of its configuration" if path.endswith(" agent") else "asks no cluster"
        return f"{path} {why}, and takes no {error.option_name} (see {path} --help)"
    if isinstance(error, click.NoSuchOption) and context:
        error = _among_offered(error, context.command)
    return f"{error.format_message()} (see {path} --help)"


def _among_offered(error: click.NoSuchOption, command: click.Command) -> click.NoSuchOption:
    """The error, with suggestions only of options that the command offers and does not only refuse."""
    hidden = {flag for param in command.params if getattr(param, "hidden", False) for flag in param.opts}
    known = {flag for param in command.params for flag in param.opts} - hidden
    return click.NoSuchOption(error.option_name, possibilities=sorted(known), ctx=error.ctx)


def _has_own_options(group: click.Group) -> bool:
    """Whether a group takes options itself, as `simulate` does, besides those for help and the version."""
    return any(isinstance(param, click.Option) and param.name != "version" for param in group.params)


# Printing


def complain(problem: Problem, call: Call, code: int = UNKNOWN) -> int:
    """Print an error, and return its exit code, or 3 if it can't be printed."""
    text = one_line(f"UNKNOWN - {problem.line}").replace("|", "/")
    try:
        if call.json:
            click.echo(document(problem, call, code))
        if call.command in VERDICTS and not call.json:
            say(text)
        elif call.command != PLUGIN:  # health and what-if too, beside their document
            _print_to_stderr(text)
    except OSError as error:  # often the very error that the line is about
        return unwritable(error)
    return code


def _print_to_stderr(text: str) -> None:
    """Print on standard error; if it is closed, the exit code is all that is reported."""
    with suppress(OSError):
        say(text, err=True)


def document(problem: Problem, call: Call, code: int = UNKNOWN) -> str:
    """The error as a `ringcheck/error/1` document."""
    from ringcheck.documents.error import error_document

    fields = error_document(
        command=call.command,
        kind=problem.kind,
        text=one_line(problem.text),
        exit_code=code,
        next_step=problem.step,
        page=problem.page,
    )
    return json.dumps(fields, indent=2)


def was_printing(error: BaseException) -> bool:
    """Whether an error came from an attempt to print."""
    step = error.__traceback__
    while step and step.tb_frame.f_code is not click.echo.__code__:
        step = step.tb_next
    return step is not None


def unwritable(why: OSError | str) -> int:
    """Report on standard error, if possible, that standard output can't be written; return exit code 3."""
    if not isinstance(why, str):  # or the interpreter fails again at exit, with an exit code of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(why, BrokenPipeError):  # the reader is gone (`| head`) and expects no message
        _print_to_stderr(f"UNKNOWN - stdout can't be written: {getattr(why, 'strerror', why)}")
    return UNKNOWN
