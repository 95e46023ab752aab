"""Write docs/commands.md from the commands themselves: `python -m tests.docs`."""

from __future__ import annotations

from pathlib import Path

import click

from ringcheck.cli import COMMANDS, ringcheck

PATH = Path(__file__).parent.parent / "docs" / "commands.md"
HEAD = """# Commands

Written by `make docs` from the program's own help; a test keeps it so. Every option can be set by an environment
variable: those that name the target by `RINGCHECK_` and their name (`RINGCHECK_CONFIG`, `RINGCHECK_HOST`), the others
by `RINGCHECK_`, their command and their name (`RINGCHECK_CHECK_WARNING`).

Shell completion: `eval "$(_RINGCHECK_COMPLETE=bash_source ringcheck)"` in `.bashrc`, likewise `zsh_source` and
`fish_source`.
"""


def helps(command: click.Command, name: str) -> list[str]:
    """The help of a command and of those below it, as Markdown."""
    context = click.Context(command, info_name=name, terminal_width=80, max_content_width=80)
    found = [f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            found += helps(inner, f"{name} {sub}")
    return found


def text() -> str:
    """The whole page."""
    context = click.Context(ringcheck, info_name="ringcheck")
    commands = [(name, ringcheck.get_command(context, name)) for name in COMMANDS]
    return "\n".join([HEAD, *(one for name, each in commands if each for one in helps(each, f"ringcheck {name}"))])


if __name__ == "__main__":
    PATH.write_text(text())
