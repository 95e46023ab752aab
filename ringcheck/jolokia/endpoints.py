"""Reads endpoints, host ids and owners in every form in which Cassandra and Jolokia write them."""

from __future__ import annotations

from contextlib import suppress

from ringcheck.core.endpoint import canonical
from ringcheck.errors import DataError
from ringcheck.jolokia.outcomes import limit_note, mapping, shortened, strings, text

NODES = 4096  # nodes that one node may name; the largest clusters have little more than a thousand
_LONGEST = 512  # characters of an endpoint: a host name has 253 at most, an address with its zone and port some 70


def endpoint(value: object) -> str:
    """An endpoint in canonical form: `ip`, or `ip:port` with IPv6 in brackets.

    The forms are `10.0.0.1`, `/10.0.0.1`, `host/10.0.0.1`, `10.0.0.1:7000`, `[2001:db8:0:0:0:0:0:1]:7000`, an
    InetAddress as a bean (Jolokia up to 2.3) or as `{"address": ...}` (from 2.4 on). An IPv6 zone means something on
    the node only, and is dropped.

    Raises:
        DataError: if it has none of the forms.
    """
    if isinstance(value, dict):
        value = value.get("hostAddress") or value.get("address")
    if isinstance(value, str) and len(value) <= _LONGEST:
        with suppress(ValueError):
            return canonical(value.rpartition("/")[2])
    raise DataError(f"{shortened(value)} is not an address{limit_note(value)}")


class _Endpoints(dict[str, str]):
    """Canonical endpoint by text, as a cache: a thousand nodes report the same thousand texts in every poll."""

    LIMIT = 4096  # replies that have not changed are not read again: it need not hold the nodes of all clusters

    def __missing__(self, written: str) -> str:
        if len(self) >= self.LIMIT:
            self.clear()
        canonical = self[written] = endpoint(written)
        return canonical


CANONICAL = _Endpoints()


def endpoints(value: object, what: str) -> frozenset[str]:
    """The canonical endpoints of a list.

    Raises:
        DataError: if it is not a list of endpoints.
    """
    try:
        return frozenset(map(CANONICAL.__getitem__, strings(value, what)))
    except DataError as error:
        raise DataError(f"{what}: {error}") from None


def host_ids(value: object, what: str) -> dict[str, str]:
    """Host id by canonical endpoint.

    Raises:
        DataError: if it is not a map of host ids by endpoint.
    """
    return {CANONICAL[key]: text(host_id, what) for key, host_id in mapping(value, what).items()}


def check_number(nodes: int) -> None:
    """Check how many nodes one node names: each of them would be asked, located, and reported as missing.

    Raises:
        DataError: if there are more than any cluster has.
    """
    if nodes > NODES:
        raise DataError(f"it names {nodes} nodes: more than {NODES} are refused")


def owners(value: object, what: str) -> frozenset[str]:
    """The canonical endpoints that own tokens, from `Ownership(WithPort)`, which has a share of the ring by endpoint.

    Raises:
        DataError: if it is not a map by endpoint.
    """
    return frozenset(CANONICAL[key] for key in mapping(value, what))


def shares(value: object, what: str) -> dict[str, float] | None:
    """The share of the ring by canonical endpoint, from the same attribute; None if a share is not a number.

    Raises:
        DataError: if it is not a map by endpoint.
    """
    by_endpoint = {CANONICAL[key]: share for key, share in mapping(value, what).items()}
    return by_endpoint if all(type(share) in {int, float} for share in by_endpoint.values()) else None
