"""`ringcheck ring`: one keyspace's ring as a picture, in the terminal or as SVG."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, file_name, level, target_options
from ringcheck.cli.terminal import colours, columns, shows
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target
    from ringcheck.core.ring import Snapshot
    from ringcheck.report.picture import Picture

COLUMNS = 40, 200  # least and most width of the picture


@click.command(cls=ClusterCommand)
@target_options(without=("keyspace",))
@click.argument("name", metavar="KEYSPACE")
@click.option(
    "--svg", callback=file_name, metavar="FILE", help="Write the picture as SVG to this file; - is standard output."
)
@click.option(
    "--level", "level_", metavar="LEVEL", help="Consistency level to show. [default: the worst monitored one]"
)
@click.option("--ascii", "plain", is_flag=True, help="Use no Unicode characters. [default: depends on the locale]")
def ring(
    target: Target,
    name: str,
    svg: str | None,
    level_: str | None,
    plain: bool,  # noqa: FBT001 - a flag
) -> int:
    """Each range of a keyspace with its live replicas at a level, in the order of tokens.

    If several datacenters have clients, the one that is worst off is shown; choose another with --dc.

    Exit codes: as `health`.
    """
    from ringcheck.core.assess import Question, assess
    from ringcheck.report.picture import draw

    chosen = None if level_ is None else level(level_)
    cluster = replace(target, keyspace=(name,)).choose()
    seen = cluster.snapshot()
    verdict = assess(seen, cluster.policy(seen), Question(keyspaces=(name,), levels=(chosen,) if chosen else ()))
    picture = draw(verdict, name, chosen)
    if picture is None:
        raise _unknown(name, seen)
    if svg:
        _write(svg, picture)
    if svg != "-":
        click.echo(_text(picture, plain=plain))
    return verdict.severity.exit_code


def _unknown(keyspace: str, seen: Snapshot) -> UsageError:
    from ringcheck.core.quorum import KEYSPACE
    from ringcheck.core.words import suggestion

    if keyspace == KEYSPACE:
        return UsageError(
            f"{keyspace} has no ring: its replicas are the members of the cluster metadata service; `ringcheck risk` "
            "shows what its quorum can't lose"
        )
    known = sorted(name for ring in seen.rings for name in ring.keyspaces)
    return UsageError(f"there is no keyspace {keyspace!r} ({suggestion(keyspace, known)})")


def _text(picture: Picture, *, plain: bool) -> str:
    from ringcheck.report import picture_text

    narrowest, widest = COLUMNS
    width = min(widest, max(narrowest, shutil.get_terminal_size().columns))
    signs = picture_text.ASCII if plain or not shows(picture_text.UNICODE.all) else picture_text.UNICODE
    return picture_text.render(picture, columns=width, whole=columns() is None, colour=colours(), signs=signs)


def _write(path: str, picture: Picture) -> None:
    from ringcheck.report import picture_svg

    text = picture_svg.render(picture)
    if path == "-":
        click.echo(text, nl=False)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
