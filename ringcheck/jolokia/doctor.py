"""`doctor`: tests one host step by step, in the order in which a poll needs the steps.

Steps that depend on a failed step are skipped, so each cause is shown once. If a proxy asks the nodes' JMX ports, the
steps from `name` to `jolokia` are about the proxy, and later steps about the node. The steps are in `reaching` (from
name to agent), `permissions` (calls and clock) and `peers`.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.diagnosis import Diagnosis, Step
from ringcheck.errors import DataError, SourceError
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.peers import Peers
from ringcheck.jolokia.permissions import Permissions
from ringcheck.jolokia.proxy import place
from ringcheck.jolokia.reaching import Reaching, StepError
from ringcheck.jolokia.settings import is_jmx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.jolokia.settings import JolokiaSettings

Steps: TypeAlias = "dict[str, Callable[[], str]]"


def diagnose(
    settings: JolokiaSettings, contact: str, seconds: float, now: Callable[[], float] = time.time
) -> Diagnosis:
    """Ask one host, step by step.

    Args:
        settings: where the agents are and how to ask them.
        contact: HOST, HOST:PORT, [IPV6]:PORT or URL of the host.
        seconds: total time for all steps; only a name look-up can exceed it.
        now: seconds since the epoch by this host's clock.

    Raises:
        ConfigError: if the contact has none of the forms, or a file of the TLS settings can't be used.
        SourceError: if the URL is not usable.
        UsageError: if the password can't be read.
    """
    location = settings.url_of_contact(contact)
    requests, ends = Requests(settings), time.monotonic() + seconds
    reaching = Reaching(settings.proxy if settings.proxy and is_jmx(location) else location, requests, ends)
    with closing(Client(requests)) as client:
        node = Permissions(client, location, ends, now)
        chain = {name: getattr(reaching, name) for name in ("name", "port", "tls", "http", "login", "jolokia")}
        chain |= {"bulk": node.bulk, "cassandra": node.cassandra}
        others = {"check": node.for_check, "gate": node.for_gate, "roll": node.for_roll}
        others |= {"policy": node.policy, "drain": node.drain, "clock": node.clock}
        others |= {"peers": Peers(client, settings, node, ends).reach}
        return Diagnosis(place(location), tuple(_steps(chain, others)))


def _steps(chain: Steps, others: Steps) -> Iterator[Step]:
    """The steps: each of a chain needs the one before it, and all others need the whole chain."""
    broken = ""
    for name, ask in {**chain, **others}.items():
        step = Step(name=name, status="skipped", text=f"needs `{broken}`") if broken else _taken(name, ask)
        if step.status == "failed" and name in chain:
            broken = name
        yield step


def _taken(name: str, ask: Callable[[], str]) -> Step:
    try:
        return Step(name=name, status="ok", text=ask())
    except StepError as found:
        return Step(name=name, status=found.status, text=str(found), fix=found.fix)
    except (SourceError, DataError) as error:
        return Step(name=name, status="failed", text=str(error), fix="ask again; then look at the log of the node")
