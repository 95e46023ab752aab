"""The options of the running command line that a further command takes too, for the line that names it as next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ringcheck.cli.options import TARGET_OPTIONS
from ringcheck.errors import printable
from ringcheck.http.urls import without_login

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = frozenset({"timeout", "format_", "wait", "stable", "purpose"})  # each command has defaults of its own
_LOCATIONS = frozenset({"host", "url", "proxy"})


def repeated(command: click.Command) -> str:
    """The words of the command line that apply to another command as well, in the form of a shell.

    They include what variables of the running command state; those that all commands share still apply. A URL loses its
    password.
    """
    context = click.get_current_context()
    taken = {
        flag
        for param in command.params
        if not (isinstance(param, click.Option) and param.hidden)
        for flag in param.opts
    }
    words: list[str] = []
    for param in context.command.params:
        if _is_given(context, param) and param.name not in _OWN and taken.intersection(param.opts):
            words += _words(param, context.params[param.name or ""])
    return printable(shlex.join(words))


def _is_given(context: click.Context, param: click.Parameter) -> bool:
    source = context.get_parameter_source(param.name or "")
    own = param.name not in TARGET_OPTIONS
    return source is ParameterSource.COMMANDLINE or (own and source is ParameterSource.ENVIRONMENT)


def _words(param: click.Parameter, value: Any) -> Iterator[str]:  # noqa: ANN401 - as click has it
    flag = param.opts[0]
    if isinstance(param, click.Argument):
        yield from value
    elif isinstance(param, click.Option) and param.is_flag:
        yield flag
    else:
        for one in value if param.multiple else (value,):
            yield from (flag, without_login(str(one)) if param.name in _LOCATIONS else str(one))
