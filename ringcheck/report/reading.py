"""The state of one cluster in a long-running service, and of the service: metrics, page and API show these."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.core.maintenance import Holder
    from ringcheck.core.observed import Observed
    from ringcheck.core.verdict import Verdict

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds a poll takes


@dataclass(slots=True)
class WebhookCounts:
    """What became of the events for one webhook.

    Attributes:
        waiting: how many are not delivered yet.
        dropped: how many were dropped because too many waited, ever.
        attempts: number of attempts since the start, by result.
    """

    waiting: int = 0
    dropped: int = 0
    attempts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("delivered", "refused", "failed"), 0))


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram of seconds.

    Attributes:
        counts: observations in each bucket of BUCKETS, and above the last; not cumulative.
        total: their sum in seconds.
    """

    counts: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Reload:
    """The result of the last reload of the configuration.

    Attributes:
        successful: whether the file read last is in force; with a bad file the old configuration stays.
        last_success: unix seconds at which the configuration in force was read.
    """

    successful: bool
    last_success: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A cluster after its last poll.

    Attributes:
        cluster: its name in the configuration.
        verdict: the newest, however old it is; None before the first.
        restart_safe: addresses of the nodes that are up and that may each restart now, alone; None if not known.
        restart_cures: addresses of the nodes that are not up and may restart: no range is lost, and they may come
            back. None if `restart_safe` is None.
        fresh: whether the verdict is recent enough to be shown as the present state.
        last_success: unix seconds of the last poll that gave a verdict; None before the first.
        error: why the last poll gave no verdict; None if it gave one.
        failing_since: UTC, when the polls began to fail; None if they do not, or if it is not known.
        suspects: addresses whose Jolokia stopped answering while no view sees them down yet.
        observed: the levels that clients use; None if they are not observed.
        holders: of restart leases; None if the lease store can't be read.
        store_asked: whether the last poll read the lease store; if not, `holders` is from an earlier poll.
        lease_ages: seconds since the leases were taken, at the last poll that gave a verdict; see `Maintenance.ages`.
        polls: how long polls took.
        requests: number of requests to Jolokia since the start, by outcome.
    """

    cluster: str
    verdict: Verdict | None = None
    restart_safe: frozenset[str] | None = None
    restart_cures: frozenset[str] | None = None
    fresh: bool = False
    last_success: float | None = None
    error: str | None = None
    failing_since: str | None = None
    suspects: frozenset[str] = frozenset()
    observed: Observed | None = None
    holders: tuple[Holder, ...] | None = ()
    store_asked: bool = True
    lease_ages: Mapping[Holder, float] = field(default_factory=lambda: MappingProxyType({}))
    polls: Durations = field(default_factory=Durations)
    requests: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReading:
    """What a long-running service knows about itself.

    Attributes:
        reload: the result of the last reload of the configuration; None if it can't be reloaded.
        history: whether the state file can be written; None if none is configured.
        webhooks: what became of the events, by webhook.
    """

    reload: Reload | None = None
    history: bool | None = None
    webhooks: Mapping[str, WebhookCounts] = field(default_factory=lambda: MappingProxyType({}))
