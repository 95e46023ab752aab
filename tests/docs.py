"""Write the parts of docs/ and of the JSON Schemas that repeat the program's own tables: `python -m tests.docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli import COMMANDS, ringcheck
from ringcheck.config.schema import TOP
from ringcheck.config.types import ConfigKey, Many, Named, Section
from ringcheck.core.findings import SECTIONS, FindingKind
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import REASONS
from tests import schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).parent.parent / "docs"
KEYS_HEAD = """# Configuration

Written by `make docs` from the tables that the program reads files with; a test keeps it so. An example:
[config/ringcheck.yaml](../config/ringcheck.yaml). Unknown and duplicate keys, wrong types and YAML's traps (`no` is
false, `10:20` is 620) are errors with their line and column. Without a rule of its own, a keyspace is critical where
LOCAL_ONE is lost and warns where LOCAL_QUORUM is; system_traces and system_distributed* are left out, and system_auth
is watched where clients must log in, at the level at which [a login reads it](findings.md#logins). A rule for `"*"`
does not change that for Cassandra's own keyspaces; one that names them does. `critical: auto` and `warning: auto`,
levels that follow the queries, are not built yet.
"""
HEAD = """# Commands

Written by `make docs` from the program's own help; a test keeps it so. Every option can be set by an environment
variable: those that name the target by `RINGCHECK_` and their name (`RINGCHECK_CONFIG`, `RINGCHECK_HOST`), the others
by `RINGCHECK_`, their command and their name (`RINGCHECK_CHECK_WARNING`).

Shell completion: `eval "$(_RINGCHECK_COMPLETE=bash_source ringcheck)"` in `.bashrc`, likewise `zsh_source` and
`fish_source`.
"""


def helps(command: click.Command, name: str) -> list[str]:
    """The help of a command and of those below it, as Markdown."""
    context = click.Context(command, info_name=name, terminal_width=80, help_option_names=["-h", "--help"])
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


def keys(section: Section, path: str) -> list[str]:
    """Tables of a section and of those in it."""
    rows = [_row(name, key) for name, key in section.keys.items()]
    found = [
        f"## {path or 'Top level'}\n\n| Key | Value | Default | Says |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    ]
    for name, key in section.keys.items():
        inner = key.kind.of if isinstance(key.kind, Many | Named) else key.kind
        place = f"{path}.{name}".lstrip(".") + (".NAME" if isinstance(key.kind, Named) else "")
        if isinstance(inner, Section):
            found += keys(inner, place)
    return found


def _row(name: str, key: ConfigKey) -> str:
    default = "required" if key.required else f"`{key.default}`" if key.default else ""
    return f"| `{name}` | {key.kind.name} | {default} | {key.doc} |"


def configuration() -> str:
    """The whole page of keys."""
    return "\n".join([KEYS_HEAD, *keys(TOP, "")])


_GATE = {"blocks": "blocks", "note": "-", "judged": "judges this itself"}
_LEASE = {True: "; lowered by a lease", False: ""}


def _finding_rows(kinds: Iterable[FindingKind]) -> str:
    rows = [
        f"| `{kind.code}` | {_severity(kind)}{_LEASE[kind.eased_by_lease]} | {kind.meaning} | {kind.next_step} | "
        f"{f'`{kind.reason}`' if kind.gate == 'blocks' else _GATE[kind.gate]} |"
        for kind in kinds
    ]
    return "\n".join(["| Code | Severity | Meaning | What to do | Gate |", "|---|---|---|---|---|", *rows])


def _severity(kind: FindingKind) -> str:
    if kind.code == "unavailable":
        return "CRITICAL or WARNING, by the rule; a note if its thresholds allow as much"
    return "note" if kind.severity is Severity.OK else kind.severity.name


def _reason_rows() -> str:
    answers = {"unsafe": "unsafe", "unknown": "unknown", "safe": "never"}
    rows = [
        f"| `{kind.code}` | {answers[kind.answer]} | {kind.meaning} | {kind.lifts_when} |" for kind in REASONS.values()
    ]
    return "\n".join(["| Code | Blocks as | Meaning | Lifts when |", "|---|---|---|---|", *rows])


def with_tables(page: str) -> str:
    """A page of docs/ with its tables of findings and reasons as the program has them.

    A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a section of the findings, or `reasons`.
    """
    tables = {name: _finding_rows(kinds) for name, kinds in SECTIONS.items()} | {"reasons": _reason_rows()}
    return re.sub(
        r"<!-- table: (.*?) -->\n.*?<!-- end -->",
        lambda found: f"<!-- table: {found[1]} -->\n{tables[found[1]]}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


WITH_TABLES = (DOCS / "findings.md", DOCS / "gate.md")

if __name__ == "__main__":
    (DOCS / "commands.md").write_text(text())
    (DOCS / "configuration.md").write_text(configuration())
    for page in WITH_TABLES:
        page.write_text(with_tables(page.read_text()))
    schemas.write()
