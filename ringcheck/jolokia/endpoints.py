"""Endpoints, host ids and owners in any form in which Cassandra and Jolokia write them, made canonical."""

from __future__ import annotations

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError
from ringcheck.jolokia.outcomes import mapping, shortened, spoilt, strings, text


def endpoint(value: object) -> str:
    """`ip`, or `ip:port` with IPv6 in brackets, canonical, of any way in which Cassandra or Jolokia write one.

    `10.0.0.1`, `/10.0.0.1`, `host/10.0.0.1`, `10.0.0.1:7000`, `[2001:db8:0:0:0:0:0:1]:7000`, an InetAddress as bean
    (Jolokia up to 2.3) or as `{"address": ...}` (2.6). An IPv6 zone is the node's own and is dropped.

    Raises:
        DataError: if it is none of them.
    """
    if isinstance(value, dict):
        value = value.get("hostAddress") or value.get("address")
    try:
        return canonical(str(value).rpartition("/")[2])
    except ValueError:
        raise DataError(f"{shortened(value)} is no address{spoilt(value)}") from None


class _Endpoints(dict[str, str]):
    """Canonical endpoints by their text: a thousand nodes write the same thousand texts at every poll."""

    LIMIT = 16384

    def __missing__(self, written: str) -> str:
        if len(self) >= self.LIMIT:
            self.clear()
        found = self[written] = endpoint(written)
        return found


CANONICAL = _Endpoints()


def endpoints(value: object, what: str) -> frozenset[str]:
    """A list of nodes as canonical endpoints.

    Raises:
        DataError: if it is no list of them.
    """
    try:
        return frozenset(map(CANONICAL.__getitem__, strings(value, what)))
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def host_ids(value: object, what: str) -> dict[str, str]:
    """Host id by endpoint.

    Raises:
        DataError: if it is something else.
    """
    return {CANONICAL[key]: text(host_id, what) for key, host_id in mapping(value, what).items()}


def owners(value: object, what: str) -> frozenset[str]:
    """The endpoints that own tokens, from `Ownership` or `OwnershipWithPort`: a share of the ring by endpoint.

    Raises:
        DataError: if it is something else.
    """
    return frozenset(CANONICAL[key] for key in mapping(value, what))
