"""`ringcheck config`: check configuration files, describe their keys, show the values in force."""

from __future__ import annotations

import json
import os

import click

from ringcheck.cli.options import format_option
from ringcheck.cli.target import DEFAULT_CONFIG, require_config
from ringcheck.cli.terminal import say
from ringcheck.config import ConfigErrors, load, schema
from ringcheck.core.words import suggestion
from ringcheck.errors import UsageError, one_line, printable

UNKNOWN = 3
LONGEST_NAME = 800  # bytes of a file's name in a line
_file = click.option(
    "-C", "--config", "path", envvar="RINGCHECK_CONFIG", default=str(DEFAULT_CONFIG), show_default=True, metavar="FILE",
    help="Configuration file.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Check the configuration, describe its keys, and show its values."""


@config.command
@_file
@click.argument("files", metavar="[FILE]...", nargs=-1)
def check(path: str, files: tuple[str, ...]) -> int:
    """Find mistakes in configuration files.

    Checks each FILE, or else the file of --config, and prints each mistake with its line and column.

    Exit codes: 0 no mistake, 3 mistakes.
    """
    good = [_checked(file) for file in files or (path,)]
    return 0 if all(good) else UNKNOWN


def _checked(file: str) -> bool:
    name = one_line(file, LONGEST_NAME) or repr(file)
    if not os.path.lexists(file):
        say(f"{name}: there is no such file; `ringcheck init` writes a first one")
        return False
    try:
        loaded = load(file)
    except ConfigErrors as error:
        say("\n".join(map(one_line, error.errors)))
        return False
    for warning in loaded.warnings:
        say(f"{one_line(warning)} (warning)")
    say(f"{name}: ok, {len(loaded.clusters)} cluster{'s' if len(loaded.clusters) != 1 else ''}")
    return True


@config.command("schema")
def schema_command() -> None:
    """Print a JSON Schema of the configuration, for editors."""
    click.echo(json.dumps(schema(), indent=2))


@config.command
@_file
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--cluster", metavar="NAME", help="Only this cluster.")
@format_option("text", "json")
def show(path: str, file: str | None, cluster: str | None, format_: str) -> None:
    """Show the values in force, and where they are set.

    Reads FILE, or else the file of --config. Each value comes with the file and line that sets it, or with `default`.
    """
    path = path if file is None else file
    require_config(path)
    loaded = load(path)
    if cluster is not None and cluster not in loaded.clusters:
        raise UsageError(f"{path} has no cluster {cluster!r} ({suggestion(cluster, sorted(loaded.clusters))})")
    lines = [(".".join(key), value, origin) for key, value, origin in loaded.shown if _of(cluster, key)]
    if format_ == "json":
        import yaml

        values = {key: {"value": yaml.safe_load(value), "from": origin} for key, value, origin in lines}
        click.echo(json.dumps(values, indent=2))
        return
    for key, value, origin in lines:
        say(printable(f"{key}: {value}  # {origin}"))


def _of(cluster: str | None, key: tuple[str, ...]) -> bool:
    return cluster is None or key[:2] == ("clusters", cluster)
