"""`ringcheck config`: find mistakes, describe the keys, show what is in force."""

from __future__ import annotations

import json

import click

from ringcheck.cli.target import DEFAULT_CONFIG
from ringcheck.config import ConfigErrors, load, schema
from ringcheck.errors import UsageError

UNKNOWN = 3
_file = click.option(
    "-C", "--config", "path", envvar="RINGCHECK_CONFIG", default=str(DEFAULT_CONFIG), show_default=True, metavar="FILE"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """Validate, describe and show the configuration."""


@config.command
@_file
@click.argument("files", metavar="[FILE]...", nargs=-1)
def check(path: str, files: tuple[str, ...]) -> int:
    """Find every mistake in configuration files, with its line and column.

    Exit code 0 if there is none, else 3.
    """
    good = [_checked(file) for file in files or (path,)]
    return 0 if all(good) else UNKNOWN


def _checked(file: str) -> bool:
    try:
        found = load(file)
    except ConfigErrors as error:
        click.echo("\n".join(error.errors))
        return False
    for warning in found.warnings:
        click.echo(f"{warning} (warning)")
    click.echo(f"{file}: ok, {len(found.clusters)} cluster{'s' if len(found.clusters) != 1 else ''}")
    return True


@config.command("schema")
def schema_command() -> None:
    """JSON Schema of the configuration, for editors."""
    click.echo(json.dumps(schema(), indent=2))


@config.command
@_file
@click.option("--cluster", metavar="NAME", help="Only this cluster.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(path: str, cluster: str | None, format_: str) -> None:
    """The effective values, each with the file and line that it comes from, or `default`."""
    found = load(path)
    if cluster is not None and cluster not in found.clusters:
        raise UsageError(f"{path} has no cluster {cluster!r} ({', '.join(sorted(found.clusters))})")
    lines = [(".".join(key), value, origin) for key, value, origin in found.shown if _of(cluster, key)]
    if format_ == "json":
        import yaml

        shown = {key: {"value": yaml.safe_load(value), "from": origin} for key, value, origin in lines}
        click.echo(json.dumps(shown, indent=2))
        return
    for key, value, origin in lines:
        click.echo(f"{key}: {value}  # {origin}")


def _of(cluster: str | None, key: tuple[str, ...]) -> bool:
    return cluster is None or key[:2] == ("clusters", cluster)
