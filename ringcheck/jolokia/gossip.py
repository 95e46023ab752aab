"""The text of AllEndpointStates, in each form that Cassandra 2.1 to 6.0 writes."""

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


_RELEASE = re.compile(r"\d+\.\d+")


def gossiped(value: object, name: str) -> dict[str, str]:
    """An ApplicationState by endpoint, from AllEndpointStates.

    That has blocks of an endpoint line and indented lines: `NAME:version:value`, or `NAME:value` up to Cassandra 2.1
    and on ScyllaDB. A value that is not certain is left out: where both forms could be meant, where blocks of one
    endpoint differ, and in a block whose endpoint can't be read.

    Raises:
        DataError: if it is no text.
    """
    blocks = list(_blocks(text(value, mbeans.STATES)))
    everywhere = frozenset().union(*(_forms(states) for _, states in blocks))
    found: dict[str, set[str]] = defaultdict(set)
    for owner, states in blocks:
        for written in states.get(name, ()):
            one = _unversioned(name, written, _forms(states) or everywhere)
            if owner and one is not None:
                found[owner].add(one)
    return {owner: values.pop() for owner, values in found.items() if len(values) == 1}


# Values of these never begin with a number and a colon: they show whether a version stands before each value.
_TELLING = ("RELEASE_VERSION", "SCHEMA", "HOST_ID", "LOAD", "STATUS", "STATUS_WITH_PORT", "NET_VERSION", "SEVERITY")


_STATE = re.compile(r"\s+([A-Z][A-Z0-9_]*):(.*)")


_VERSION = re.compile(r"\d+:")


def _blocks(states: str) -> Iterator[tuple[str | None, dict[str, list[str]]]]:
    """Endpoint (None if unreadable) and states by name, as they are written, of each block."""
    owner, found = None, defaultdict[str, list[str]](list)
    for line in states.split("\n"):
        if line[:1].strip():
            yield owner, found
            owner, found = _endpoint_or_none(line.strip()), defaultdict(list)
        elif state := _STATE.fullmatch(line):
            found[state[1]].append(state[2].strip())
    yield owner, found


def _endpoint_or_none(written: str) -> str | None:
    with suppress(DataError):
        return endpoint(written)
    return None


def _forms(states: Mapping[str, Sequence[str]]) -> frozenset[bool]:
    """Whether values have versions before them: both answers if they contradict each other, none if nothing shows."""
    return frozenset(bool(_VERSION.match(written)) for name in _TELLING for written in states.get(name, ()))


def _unversioned(name: str, written: str, forms: frozenset[bool]) -> str | None:
    """The value of a state without its version; None if that can't be told."""
    version = _VERSION.match(written)
    if not version:
        return written
    if name in _TELLING or forms == {True}:
        return written[version.end() :]
    # `2001:db8::1` may be an address, or version 2001 of another one.
    ambiguous = bool(forms) or _endpoint_or_none(written) is not None
    return written if forms == {False} else None if ambiguous else written[version.end() :]


def gossiped_releases(value: object) -> dict[str, str]:
    """Release by endpoint, from AllEndpointStates; endpoints whose release can't be read are left out.

    Raises:
        DataError: if it is no text.
    """
    return {owner: found for owner, found in gossiped(value, "RELEASE_VERSION").items() if _RELEASE.match(found)}
