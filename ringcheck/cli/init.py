"""`ringcheck init`: a first configuration from a live cluster."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, file_name, level, target_options
from ringcheck.cli.terminal import say
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target
    from ringcheck.core.consistency import Level
    from ringcheck.core.ring import Snapshot
    from ringcheck.jolokia.settings import JolokiaSettings

AUTO = "auto"
CLIENTS = "LOCAL_QUORUM"  # what most clients use
_EXISTS = "init writes a configuration and does not read one: name a node with -H"
_OTHER_FILE = "name another file with -o, or - for standard output"
_RECORDED = "a recorded snapshot does not say how the nodes are asked"


@click.command(cls=ClusterCommand)
@target_options(without=("dc", "keyspace", "cluster"), refused={"config": _EXISTS, "from_": _RECORDED})
@click.option(
    "-o",
    "--output",
    callback=file_name,
    metavar="FILE",
    default="ringcheck.yaml",
    show_default=True,
    help="File to write, which must not exist; - is standard output.",
)
@click.option("--name", metavar="NAME", help="Name of the cluster. [default: its own name, made a valid key]")
@click.option(
    "-c",
    "--critical",
    metavar="LEVEL",
    help="Consistency level that clients use, or `auto`; losing it pages. [default: asked at a terminal, otherwise "
    "LOCAL_QUORUM]",
)
@click.option("-w", "--warning", metavar="LEVEL", help="Warn if this level is lost. [default: one step above]")
@click.option(
    "--no-agent", is_flag=True, help="Leave out the `agent` section, for a file that another configuration includes."
)
def init(
    target: Target,
    output: str,
    name: str | None,
    critical: str | None,
    warning: str | None,
    no_agent: bool,  # noqa: FBT001 - a flag
) -> int:
    """Write a first configuration from a live cluster, with a comment on each line.

    Asks a node (-H, -u, or -H with --proxy), and writes down the contact points, datacenters, keyspaces and how the
    nodes were asked. An existing file is never overwritten.

    Exit codes: 0 written; 3 otherwise.
    """
    from ringcheck.config.first import FirstConfig, step_above, usable_name

    if output != "-" and os.path.lexists(output):
        raise UsageError(f"{output} exists and is not overwritten", _OTHER_FILE)
    _require_usable(name, critical, warning)
    cluster = target.choose()
    settings = _settings(target)
    seen = cluster.snapshot()
    pages = _level_or_auto(critical or _ask_level(seen))
    first = FirstConfig(
        name=name or usable_name(seen.cluster),
        settings=settings,
        seen=seen,
        critical=pages,
        warning=_level_or_auto(warning) if warning else step_above(pages),
        agent=not no_agent,
    )
    if output == "-":
        click.echo(first.text(), nl=False)
        return 0
    for hint in _write(Path(output), first.text()):
        say(f"{hint} (warning)")
    levels = f"critical {pages or AUTO}, warning {first.warning or AUTO}"
    say(f"{output}: cluster {first.name}, {len(seen.nodes)} nodes; {levels}")
    say(f"next: ringcheck health -C {output}")
    return 0


def _require_usable(name: str | None, critical: str | None, warning: str | None) -> None:
    """Refuse a name or a level that can't be written, before a node is asked.

    Raises:
        UsageError: as above.
    """
    from ringcheck.config.formats import CLUSTER_NAME
    from ringcheck.core.levels import above, warns_first
    from ringcheck.core.policy import Threshold

    if name is not None and not re.fullmatch(CLUSTER_NAME, name):
        raise UsageError(f"--name: {name!r} can't be a cluster's name: it takes letters, digits, _ . -")
    pages, warns = (_level_or_auto(text) if text is not None else None for text in (critical, warning))
    if pages and warns and not warns_first(Threshold(warns), Threshold(pages)):
        higher = above(pages)
        step = f"use {higher}" if higher else "leave out --warning"
        raise UsageError(f"--warning: {warns} never warns before {pages} is critical", step)


def _settings(target: Target) -> JolokiaSettings:
    """How the nodes are asked, with absolute paths of files.

    Raises:
        UsageError: if there is a user without a password file: a configuration holds no password.
    """
    settings = target.jolokia()
    for user, file, option in (
        (settings.username, settings.password_file, "--password-file"),
        (settings.jmx_username, settings.jmx_password_file, "--jmx-password-file"),
    ):
        if user and not file:
            raise UsageError(f"name a file with the password by {option}: a configuration holds no password")
    tls = settings.tls
    if tls:
        tls = replace(
            tls, ca_file=_absolute(tls.ca_file), cert_file=_absolute(tls.cert_file), key_file=_absolute(tls.key_file)
        )
    return replace(
        settings,
        password_file=_absolute(settings.password_file),
        jmx_password_file=_absolute(settings.jmx_password_file),
        tls=tls,
    )


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path else path


def _level_or_auto(text: str) -> Level | None:
    """A level by its name; None for `auto`, which follows the queries.

    Raises:
        UsageError: if no level has that name.
    """
    return None if text == AUTO else level(text)


def _ask_level(seen: Snapshot) -> str:
    """The level that clients use: asked at a terminal, otherwise the one that most clients use."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return CLIENTS
    say(f"{seen.cluster}: {len(seen.nodes)} nodes in {', '.join(seen.datacenters)}")
    question = (
        f"At which consistency level do your clients read and write? ({AUTO}: follow the queries that the nodes count)"
    )
    answer: str = click.prompt(question, CLIENTS, value_proc=_level)
    return answer


def _level(text: str) -> str:
    """A level by its name, in any case of letters; click asks again after an error."""
    try:
        return AUTO if text.strip().lower() == AUTO else level(text.strip().upper()).value
    except UsageError as error:
        raise click.UsageError(str(error)) from None


def _write(path: Path, text: str) -> list[str]:
    """Write a new file as a whole, after checking that it is a valid configuration.

    Returns:
        The warnings of the check.

    Raises:
        UsageError: if the file exists by now, or can't be written.
        ConfigErrors: if the text is not a usable configuration.
    """
    from ringcheck.config import ConfigErrors, load

    try:
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(0o644 & ~_umask())
            warnings = load(name).warnings
            os.link(name, path)  # fails if the file exists meanwhile
        finally:
            with suppress(OSError):
                Path(name).unlink()
    except ConfigErrors as error:  # of the temporary file
        raise ConfigErrors([line.replace(name, str(path), 1) for line in error.errors]) from None
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten", _OTHER_FILE) from None
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
    return [line.replace(name, str(path), 1) for line in warnings]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
