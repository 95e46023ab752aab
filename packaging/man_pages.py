"""Writes the manual pages of the program and of every command: `python packaging/man_pages.py FOLDER`.

Run by packaging/build-deb, with the Python of `.venv`. Nothing in them is written by hand: the texts of the help are
their source.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck import __version__
from ringcheck.cli import COMMANDS, ringcheck
from ringcheck.cli.options import TARGET_OPTIONS, ClusterCommand

if TYPE_CHECKING:
    from collections.abc import Iterator


def escaped(text: str) -> str:
    """Text as roff: no escapes and requests of its own, and hyphens that can be copied."""
    quoted = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in {".", "'"} else line for line in quoted.split("\n"))


def page(command: click.Command, context: click.Context) -> str:
    """The manual page of a command."""
    return (
        "\n".join(
            [*_head(command, context), *_description(command), *_options(command, context), *_foot(command, context)]
        )
        + "\n"
    )


def _head(command: click.Command, context: click.Context) -> Iterator[str]:
    name = context.command_path.replace(" ", "-")
    date = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    yield f'.TH "{name.upper()}" "1" "{date}" "ringcheck {__version__}" "ringcheck"'
    yield ".nh"  # a hyphen within a name would be copied with it
    yield ".ad l"
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(_first_sentence(command))}"
    yield ".SH SYNOPSIS"
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".B {escaped(context.command_path)}"
    yield escaped(pieces)


def _paragraphs(command: click.Command) -> list[str]:
    return [" ".join(part.split()) for part in textwrap.dedent(command.help or "").strip().split("\n\n")]


def _first_sentence(command: click.Command) -> str:
    first = _paragraphs(command)[0]
    return re.split(r"(?<=[.?]) ", first)[0].rstrip(".")


def _description(command: click.Command) -> Iterator[str]:
    yield ".SH DESCRIPTION"
    for paragraph in _paragraphs(command):
        yield ".PP"
        yield escaped(paragraph)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    shared = [option for option in options if isinstance(command, ClusterCommand) and option.name in TARGET_OPTIONS]
    own = [option for option in options if option not in shared]
    for title, section in (("OPTIONS", own), ("CLUSTER OPTIONS", shared)):
        records = [(option, record) for option in section if (record := option.get_help_record(context))]
        if records:
            yield f".SH {title}"
        for option, (flags, text) in records:
            yield ".TP"
            yield f".B {escaped(flags)}"
            yield escaped(text)
            if option.envvar:
                yield ".br"
                yield f"Environment: {escaped(str(option.envvar))}"


def _foot(command: click.Command, context: click.Context) -> Iterator[str]:
    below = _below(command, context)
    if below:
        yield ".SH COMMANDS"
    for name, inner in below.items():
        yield ".TP"
        yield f".BR {escaped(context.command_path.replace(' ', '-'))}\\-{escaped(name)} (1)"
        yield escaped(COMMANDS[name] if context.parent is None else inner.get_short_help_str(200))
    yield ".SH FILES"
    yield ".TP"
    yield ".I /etc/ringcheck/ringcheck.yaml"
    yield "The configuration, if no other one is named."
    yield ".TP"
    yield ".I /usr/share/doc/ringcheck/docs"
    yield "The documentation."
    if context.parent is not None:
        yield ".SH SEE ALSO"
        yield f".BR {escaped(context.parent.command_path.replace(' ', '-'))} (1)"


def pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """File name and text of the pages of a command and of those below it."""
    yield f"{context.command_path.replace(' ', '-')}.1", page(command, context)
    for name, inner in _below(command, context).items():
        yield from pages(inner, click.Context(inner, info_name=name, parent=context))


def _below(command: click.Command, context: click.Context) -> dict[str, click.Command]:
    """The commands of a group by name; empty for a command that is none."""
    if not isinstance(command, click.Group):
        return {}
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: inner for name, inner in found.items() if inner}


def main() -> None:
    """Write all pages into a folder."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(
        ringcheck, click.Context(ringcheck, info_name="ringcheck", help_option_names=["-h", "--help"])
    ):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
