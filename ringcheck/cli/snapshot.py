"""`ringcheck snapshot`: one file with everything that was read from a cluster."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, file_name, target_options
from ringcheck.cli.terminal import say
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target


@click.command(cls=ClusterCommand)
@target_options(without=("dc", "keyspace"))
@click.option(
    "-o",
    "--output",
    callback=file_name,
    metavar="FILE",
    default="-",
    show_default=True,
    help="File to write; - is standard output.",
)
def snapshot(target: Target, output: str) -> int:
    """Write everything that was read from a cluster to one file, for --from and for bug reports.

    The file has addresses, host ids, tokens, and the names and replication of keyspaces. It has no data and no
    credentials.
    """
    from ringcheck.documents.snapshot import snapshot_document

    seen = target.choose().snapshot(streams=True)
    document = json.dumps(snapshot_document(seen), separators=(",", ":"))
    if output == "-":
        click.echo(document)
        return 0
    _write(Path(output), document)
    rings = f"{len(seen.rings)} rings" if len(seen.rings) != 1 else "1 ring"
    say(f"{output}: {len(seen.nodes)} nodes, {len(seen.views)} views, {rings}")
    return 0


def _write(path: Path, document: str) -> None:
    """Replace a file as a whole, or leave it as it is; a device or a pipe is written to."""
    try:
        path = path.resolve()  # replace the file that a link points to, not the link
        if path.exists() and not path.is_file():
            path.write_text(f"{document}\n")
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(f"{document}\n")
        Path(name).replace(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
