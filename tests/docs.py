"""Write the parts of docs/ that are generated from the program's own tables: `python -m tests.docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.agent.routes import OPERATIONS
from ringcheck.cli import COMMANDS, ringcheck
from ringcheck.cli.options import TARGET_OPTIONS, ClusterCommand
from ringcheck.config.schema import TOP
from ringcheck.config.sections import ConfigKey, Many, Named, Section
from ringcheck.core.findings import SECTIONS
from ringcheck.core.policy import Severity
from ringcheck.core.reasons import REASONS
from tests import schemas

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ringcheck.agent.operations import Operation
    from ringcheck.core.finding_kind import FindingKind

DOCS = Path(__file__).parent.parent / "docs"
KEYS_HEAD = """# Configuration

`make docs` writes this page from the tables by which the program reads configuration files, and a test compares it
with them. There is an example in [config/ringcheck.yaml](../config/ringcheck.yaml); `ringcheck config check` finds
mistakes, and `ringcheck config show` prints the values in force.

Unknown and duplicate keys, wrong types, and plain text that YAML interprets as another value (`no` as false, `10:20` as
620) are errors, reported with line and column.

A keyspace that no rule of `monitor` matches is CRITICAL if LOCAL_ONE is lost, and WARNING if LOCAL_QUORUM is lost.
Cassandra's own keyspaces are exceptions, even from a rule for `"*"`; only rules that name them change this:

- system_traces and system_distributed* are not monitored;
- system_auth is monitored if clients must log in, at the level at which [a login reads it](findings.md#logins). A
  pattern that matches it by accident, such as `"s*"`, adds its thresholds; one that begins with `system` replaces that
  level.

With `critical: auto`, `warning: auto` and `client_datacenters: auto`, levels and client datacenters
[follow the queries](levels.md).
"""
HEAD = """# Commands

`make docs` writes this page from the program's own help, and a test compares them. `ringcheck COMMAND --help` prints
the same text with the [cluster options](#cluster-options) below it.

Every option can also be set by an environment variable. For a cluster option it is `RINGCHECK_` and the option's name
(`RINGCHECK_CONFIG`, `RINGCHECK_HOST`), for any other option `RINGCHECK_`, the command and the option's name
(`RINGCHECK_CHECK_WARNING`). An option on the command line replaces its variable. If it names the cluster, it also
replaces variables that name the cluster in another way: with `-C`, `--cluster` or `--from` on the command line,
`RINGCHECK_HOST`, `RINGCHECK_URL` and `RINGCHECK_PROXY` have no effect; with `-H`, `-u` or `--proxy`,
`RINGCHECK_CONFIG`, `RINGCHECK_CLUSTER` and `RINGCHECK_FROM` have none. If no option names the cluster, variables
that name it in two ways are an error.

Durations are written with a unit, as in the configuration: `500ms`, `90s`, `2m`, `1.5h`, `7d`, `2w`. On the command
line a number without a unit counts seconds.

At a terminal, lines are broken at its width. In a pipe or a file every sentence is one line, so that scripts can search
for it.

## Errors

An error is one line, broken only at the width of a terminal, and exit code 3. If the next step is known, the line ends
with it, and names the page that explains it. `check`, `health` and `what-if` print the error on standard output, as the
verdict UNKNOWN. All other commands print it on standard error, so `> FILE` receives an answer or nothing.

With `--format json`, standard output also receives a `ringcheck/error/1` document, so a program always reads a
document; `schema` states which one:

```json
{
  "schema": "ringcheck/error/1",
  "command": "health",
  "kind": "unreachable",
  "error": "no node answered: http://10.0.0.1:8778/jolokia: connection refused",
  "exit_code": 3,
  "next_step": "start Jolokia there, or correct the port; `ringcheck doctor` with the same cluster options shows why",
  "documentation": "docs/getting-started.md"
}
```

`kind` is `usage`, `configuration`, `data`, `unreachable`, `denied`, `error`, `limit`, `interrupted` or `bug`.

## Shell completion

The Debian package installs it for bash, zsh and fish. Elsewhere:

    _RINGCHECK_COMPLETE=bash_source ringcheck > ~/.local/share/bash-completion/completions/ringcheck
    _RINGCHECK_COMPLETE=zsh_source ringcheck > ~/.zfunc/_ringcheck       # a folder of $fpath
    _RINGCHECK_COMPLETE=fish_source ringcheck > ~/.config/fish/completions/ringcheck.fish

TAB offers commands, options, files, consistency levels, codes of reasons and kinds of changes; the clusters of the
configuration; and the nodes, keyspaces, datacenters and racks of the cluster that the line names so far, with `-C`,
`-H` or `--from`. For these it reads the snapshot, or polls the cluster once, for two seconds at most.

## Cluster options

A command finds its cluster in a configuration (`--config`, `--cluster`), through the address of a node (`--host`,
`--url`), or in a recorded snapshot (`--from`). Each section below says which of these options the command takes.

```text
"""


def _context(command: click.Command, name: str) -> click.Context:
    return click.Context(command, info_name=name, terminal_width=80, help_option_names=["-h", "--help"])


def cluster_options() -> str:
    """The options that `check` shares with other commands, as its help shows them."""
    command = ringcheck.get_command(_context(ringcheck, "ringcheck"), "check")
    assert isinstance(command, ClusterCommand)
    context = _context(command, "ringcheck check")
    formatter = context.make_formatter()
    command.format_cluster_options(context, formatter)
    return f"{formatter.getvalue().rstrip()}\n```\n"


def helps(command: click.Command, name: str) -> list[str]:
    """The help of a command and of those below it, as Markdown; without the cluster options."""
    context = _context(command, name)
    sections = [f"## {name}\n\n```text\n{_help(command, context)}\n```\n{_taken(command)}"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            inner = command.get_command(context, sub)
            assert inner is not None
            sections += helps(inner, f"{name} {sub}")
    return sections


def _help(command: click.Command, context: click.Context) -> str:
    if not isinstance(command, ClusterCommand):
        return command.get_help(context)
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    command.format_help_text(context, formatter)
    command.format_own_options(context, formatter)
    return formatter.getvalue().rstrip()


def _taken(command: click.Command) -> str:
    """A sentence about the cluster options that a command takes; empty if it takes none."""
    if not isinstance(command, ClusterCommand):
        return ""
    offered = {option.name for option in command.params if not (isinstance(option, click.Option) and option.hidden)}
    missing = [f"`{max(flags, key=len)}`" for name, (flags, _) in TARGET_OPTIONS.items() if name not in offered]
    without = f", except {', '.join(missing[:-1])}{' and ' * bool(missing[:-1])}{missing[-1]}" if missing else ""
    return f"\nIt also takes the [cluster options](#cluster-options){without}.\n"


def text() -> str:
    """The page of commands, docs/commands.md."""
    context = click.Context(ringcheck, info_name="ringcheck")
    commands = [(name, ringcheck.get_command(context, name)) for name in COMMANDS]
    sections = [section for name, command in commands if command for section in helps(command, f"ringcheck {name}")]
    return "\n".join([HEAD + cluster_options(), *sections])


def keys(section: Section, path: str) -> list[str]:
    """A table of the keys of a section, and tables of the sections in it."""
    rows = [_row(name, key) for name, key in section.keys.items()]
    tables = [
        f"## {path or 'Top level'}\n\n| Key | Value | Default | Description |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    ]
    for name, key in section.keys.items():
        inner = key.value_type.of if isinstance(key.value_type, Many | Named) else key.value_type
        below = f"{path}.{name}".lstrip(".") + (".NAME" if isinstance(key.value_type, Named) else "")
        if isinstance(inner, Section):
            tables += keys(inner, below)
    return tables


def _row(name: str, key: ConfigKey) -> str:
    default = "required" if key.required else f"`{key.default}`" if key.default else ""
    return f"| `{name}` | {key.value_type.name} | {default} | {key.doc} |"


def configuration() -> str:
    """The page of keys, docs/configuration.md."""
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


def routes_table() -> str:
    """The list of what the agent answers, in docs/web.md."""
    rows = [f"| `{_shown_path(operation)}` | {operation.contents} |" for operation in OPERATIONS]
    return "\n".join(["| Path | Contents |", "|---|---|", *rows])


def _shown_path(operation: Operation) -> str:
    path = re.sub(r"{(\w+)}", lambda found: _PLACEHOLDERS.get(found[1], found[1].upper()), operation.path)
    return path if operation.method == "GET" else f"{operation.method} {path}"


_PLACEHOLDERS = {"cluster": "NAME"}


def with_tables(page: str) -> str:
    """A page of docs/ with its tables regenerated from the program's tables.

    Each table is between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a section of the findings, `reasons` or
    `routes`.
    """
    tables = {name: _finding_rows(kinds) for name, kinds in SECTIONS.items()}
    tables |= {"reasons": _reason_rows(), "routes": routes_table()}
    return re.sub(
        r"<!-- table: (.*?) -->\n.*?<!-- end -->",
        lambda found: f"<!-- table: {found[1]} -->\n{tables[found[1]]}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


WITH_TABLES = (DOCS / "findings.md", DOCS / "gate.md", DOCS / "web.md")

if __name__ == "__main__":
    (DOCS / "commands.md").write_text(text())
    (DOCS / "configuration.md").write_text(configuration())
    for page in WITH_TABLES:
        page.write_text(with_tables(page.read_text()))
    schemas.write()
