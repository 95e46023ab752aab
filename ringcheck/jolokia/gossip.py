"""Reads the text of AllEndpointStates in every form that Cassandra 2.1 to 6.0 writes."""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from ringcheck.errors import DataError
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.endpoints import endpoint
from ringcheck.jolokia.outcomes import text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


# Lines of the text of gossip: a node has some 35. This is enough for 7,000 nodes.
LINES = 2**18

_RELEASE = re.compile(r"\d+\.\d+")


def gossiped(value: object, name: str) -> dict[str, str]:
    """The value of an ApplicationState by endpoint, from AllEndpointStates.

    The text has a block for each endpoint: a line with the endpoint, and indented lines `NAME:version:value`, or
    `NAME:value` up to Cassandra 2.1 and on ScyllaDB. An uncertain value is left out: if both forms are possible, if
    two blocks of an endpoint differ, or if the endpoint of a block can't be read.

    Args:
        value: of AllEndpointStates(WithPort).
        name: of the ApplicationState.

    Raises:
        DataError: if it is not a text, or has too many lines.
    """
    whole = text(value, mbeans.STATES, most=None)
    if whole.count("\n") > LINES:
        raise DataError(f"{mbeans.STATES} has more than {LINES} lines, which is refused")
    blocks = list(_blocks(whole))
    everywhere = frozenset().union(*(_forms(states) for _, states in blocks))
    values: dict[str, set[str]] = defaultdict(set)
    for owner, states in blocks:
        for written in states.get(name, ()):
            state = _unversioned(name, written, _forms(states) or everywhere)
            if owner and state is not None:
                values[owner].add(state)
    return {owner: states.pop() for owner, states in values.items() if len(states) == 1}


# Values of these never begin with a number and a colon, so that they show whether the text has versions.
_TELLING = ("RELEASE_VERSION", "SCHEMA", "HOST_ID", "LOAD", "STATUS", "STATUS_WITH_PORT", "NET_VERSION", "SEVERITY")

_STATE = re.compile(r"\s+([A-Z][A-Z0-9_]*):(.*)")
_VERSION = re.compile(r"\d+:")


def _blocks(text: str) -> Iterator[tuple[str | None, dict[str, list[str]]]]:
    """Endpoint (None if it can't be read) and values by name, not parsed, of each block."""
    owner, states = None, defaultdict[str, list[str]](list)
    for line in text.split("\n"):
        if line[:1].strip():
            yield owner, states
            owner, states = _endpoint_or_none(line.strip()), defaultdict(list)
        elif state := _STATE.fullmatch(line):
            states[state[1]].append(state[2].strip())
    yield owner, states


def _endpoint_or_none(written: str) -> str | None:
    with suppress(DataError):
        return endpoint(written)
    return None


def _forms(states: Mapping[str, Sequence[str]]) -> frozenset[bool]:
    """Whether the values of a block have versions: both answers if values contradict, no answer if none shows it."""
    return frozenset(bool(_VERSION.match(written)) for name in _TELLING for written in states.get(name, ()))


def _unversioned(name: str, written: str, forms: frozenset[bool]) -> str | None:
    """The value of a state without its version; None if it is not clear whether it has one."""
    version = _VERSION.match(written)
    if not version:
        return written
    if name in _TELLING or forms == {True}:
        return written[version.end() :]
    # `2001:db8::1` may be an address, or version 2001 of another one.
    ambiguous = bool(forms) or _endpoint_or_none(written) is not None
    return written if forms == {False} else None if ambiguous else written[version.end() :]


def gossiped_releases(value: object) -> dict[str, str]:
    """Release by endpoint, from AllEndpointStates; an endpoint whose release can't be read is left out.

    Raises:
        DataError: if it is not a text.
    """
    releases = gossiped(value, "RELEASE_VERSION")
    return {owner: release for owner, release in releases.items() if _RELEASE.match(release)}
