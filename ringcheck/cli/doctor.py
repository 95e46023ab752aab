"""`ringcheck doctor`: why a node's Jolokia can't be asked, step by step, and how to fix it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ringcheck.cli.options import ClusterCommand, format_option, target_options
from ringcheck.cli.terminal import colours, columns
from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.cli.target import Target

FAILED = 2
LIVE = "it asks a live node"


@click.command(cls=ClusterCommand)
@target_options(without=("keyspace", "dc"), refused={"from_": LIVE})
@click.argument("contact", metavar="[HOST]", required=False)
@format_option("text", "json")
def doctor(target: Target, contact: str | None, format_: str) -> int:
    """Why can't this host be asked, or what is not allowed? Tests each step, and says how to fix what fails.

    HOST is a contact point as in the configuration. Without it the first one of the cluster is asked, or the one that
    --host or --url names. Without a configuration HOST means the same as --host HOST. Every call that check, gate and
    roll make is tried, but drain is never sent.

    Exit codes: 0 no step failed, 2 a step failed, 3 an error in the options or the configuration.
    """
    from ringcheck.documents.diagnosis import diagnosis_document
    from ringcheck.report.diagnosis import render
    from ringcheck.sources import diagnose

    if contact and not target.named:
        target, contact = replace(target, host=(contact,)), None
    cluster = target.choose().definition()
    named = (*target.host, *(url for url in target.url if "{address}" not in url))
    if len(named) > 1 or (named and contact):
        raise UsageError("name one host: doctor tests one host at a time")
    diagnosis = diagnose(cluster, contact, target.timeout)
    document = diagnosis_document(diagnosis)
    shown = render(diagnosis, colour=colours(), width=columns())
    click.echo(json.dumps(document, indent=2) if format_ == "json" else shown)
    return FAILED if diagnosis.failed else 0
