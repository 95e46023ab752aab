"""What a long-running service knows of one cluster: what metrics, page and API are rendered from."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.maintenance import Holder
    from ringcheck.core.verdict import Verdict

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds a poll takes


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of seconds; `counts` has one number a bucket of BUCKETS and one for what is above, not cumulative."""

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reading of the configuration went.

    Attributes:
        successful: whether it is in force; a bad file leaves the old one running.
        last_success: unix seconds at which the one in force was read.
    """

    successful: bool
    last_success: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One cluster as the last poll left it.

    Attributes:
        cluster: its name in the configuration.
        verdict: the newest there is, however old; None before the first.
        restart_safe: addresses of the nodes that are up and each of which may restart now, alone; None where that is
            not known.
        restart_cures: addresses of the nodes that are not up and may restart: that takes no range away, and brings
            them back. None where `restart_safe` is.
        fresh: whether the verdict is young enough to be told as the present.
        last_success: unix seconds of the last poll that gave a verdict; None before the first.
        error: why the last poll gave none; None where it did.
        suspects: addresses whose Jolokia stopped answering while no view calls them down yet.
        holders: of restart leases; None where the store of the leases can't be asked.
        store_asked: whether the last poll asked for them; else they are what was known before.
        polls: how long polls took.
        requests: to Jolokia since the start, by outcome.
    """

    cluster: str
    verdict: Verdict | None = None
    restart_safe: frozenset[str] | None = None
    restart_cures: frozenset[str] | None = None
    fresh: bool = False
    last_success: float | None = None
    error: str | None = None
    suspects: frozenset[str] = frozenset()
    holders: tuple[Holder, ...] | None = ()
    store_asked: bool = True
    polls: Durations = field(default_factory=Durations)
    requests: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
