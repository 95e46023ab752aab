"""`ringcheck snapshot`: one file with all that was seen."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click

from ringcheck.cli.target import Target, target_options
from ringcheck.errors import UsageError


@click.command
@target_options
@click.option("-o", "--output", metavar="FILE", default="-", show_default=True, help="Where to; - is stdout.")
def snapshot(target: Target, output: str) -> int:
    """Write all that was seen of a cluster to one file, for --from, bug reports and replay.

    It holds addresses, host ids, tokens, keyspaces' names and replication; no data, no credentials.
    """
    from ringcheck.documents.snapshot import snapshot_document

    seen = target.settled().snapshot(streams=True)
    document = json.dumps(snapshot_document(seen), separators=(",", ":"))
    if output == "-":
        click.echo(document)
        return 0
    _write(Path(output), document)
    rings = f"{len(seen.rings)} rings" if len(seen.rings) != 1 else "1 ring"
    click.echo(f"{output}: {len(seen.nodes)} nodes, {len(seen.views)} views, {rings}")
    return 0


def _write(path: Path, document: str) -> None:
    """Write a file whole or not at all; what is there and is no file, a device or a pipe, is written to as it is."""
    try:
        path = path.resolve()  # the file that a link names, not the link
        if path.exists() and not path.is_file():
            path.write_text(f"{document}\n")
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(f"{document}\n")
        Path(name).replace(path)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}") from None
