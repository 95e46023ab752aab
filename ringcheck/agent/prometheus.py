"""Asks a Prometheus for counters of queries: span metrics of OpenTelemetry, or other metrics with such labels.

This module only sends the query and parses the result; core/usage.py compares counters with their last values. What
can't be read is a gap in the evidence.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

from ringcheck.agent.bugs import located_bug
from ringcheck.core.consistency import Level
from ringcheck.core.uses import MOST, QUERIED, Use
from ringcheck.errors import DataError, RingcheckError, SourceError, cut, printable
from ringcheck.http.credentials import basic_auth, secret
from ringcheck.http.exchange import exchange
from ringcheck.http.replies import parsed
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from threading import Event

    from ringcheck.agent.levels import ClusterLevels
    from ringcheck.agent.polls import PollLoop
    from ringcheck.config.values import Observing, Prometheus, SpanLabels

SECONDS = 10.0  # seconds that an answer may take
MAX_BYTES = 16 * 2**20
MAX_SERIES = 20_000
_MOST_VALUES = 40 * MAX_SERIES
_LONGEST = 200  # characters of an error


class Sampled(NamedTuple):
    """Counters by the identity of their series, and a text about what is missing, empty if nothing is."""

    series: dict[str, tuple[Use, int]]
    gap: str


def ask(prometheus: Prometheus, seconds: float = SECONDS) -> Sampled:
    """The counters that the query gives now.

    Raises:
        SourceError: if there is no answer, or an error.
        DataError: if the answer is not a query result, or is too large.
        UsageError: if the password can't be read.
    """
    url = f"{prometheus.url.rstrip('/')}/api/v1/query?{urlencode({'query': prometheus.query})}"
    headers = {"Accept": "application/json", "Connection": "close"}
    if prometheus.username is not None:
        password = secret(prometheus.password_file) if prometheus.password_file else ""
        headers["Authorization"] = basic_auth(prometheus.username, password)
    status, body = exchange(url, seconds, headers=headers, tls=prometheus.tls, max_bytes=MAX_BYTES)
    if status != 200:  # noqa: PLR2004 - HTTP's OK
        raise SourceError(f"{shown(url)}: HTTP {status}{_reason(body)}")
    return read(parsed(body, url, _MOST_VALUES), prometheus.labels, shown(url))


def _reason(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {cut(printable(str(error)), _LONGEST)}"


def read(answer: object, labels: SpanLabels, source: str) -> Sampled:
    """The counters of an instant vector.

    Raises:
        DataError: if the answer is not an instant vector, or has too many series.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    result = data.get("result") if isinstance(data, dict) and data.get("resultType") == "vector" else None
    if not isinstance(result, list):
        raise DataError(f"{source}: the result of the query is not an instant vector")
    if len(result) > MAX_SERIES:
        raise DataError(f"{source}: the query has {len(result)} series; the limit is {MAX_SERIES}")
    series: dict[str, tuple[Use, int]] = {}
    missing: Counter[str] = Counter()
    for item in result:
        name, use, value = _series(item, labels, source)
        if use is None:
            missing["an unknown consistency level"] += 1
        elif use.level not in QUERIED:
            continue
        elif value is None:
            missing[f"a value that is not between 0 and {MOST}"] += 1
        else:
            series[name] = use, value
    gaps = [f"{number} series have {what}" for what, number in missing.items()]
    gaps += [] if result else ["the result of the query has no series"]
    gaps += _warnings(answer)
    return Sampled(series, f"{source}: {'; '.join(gaps)}" if gaps else "")


def _warnings(answer: object) -> list[str]:
    """What a server says is missing in its answer: Thanos and Mimir answer without a store that they can't reach."""
    warnings = answer.get("warnings") if isinstance(answer, dict) else None
    if not warnings:
        return []
    first = warnings[0] if isinstance(warnings, list) else warnings
    return [f"the answer has warnings: {cut(printable(str(first)), _LONGEST)}"]


def _series(item: object, labels: SpanLabels, source: str) -> tuple[str, Use | None, int | None]:
    try:
        metric, (_, value) = item["metric"], item["value"]  # type: ignore[index]  # checked by the exceptions
        name = json.dumps(sorted(metric.items()), separators=(",", ":"))
        number = float(value)
        level = _label(metric, labels.level).upper()
    except (TypeError, KeyError, ValueError, AttributeError):
        raise DataError(f"{source}: a series is not in Prometheus's format") from None
    if level not in Level.__members__ or level == Level.LOCAL_ALL:
        return name, None, None
    use = Use(_label(metric, labels.keyspace), _label(metric, labels.datacenter), Level[level])
    return name, use, int(number) if 0 <= number <= MOST else None  # neither for NaN


def _label(metric: dict[str, str], names: tuple[str, ...]) -> str:
    return next((str(metric[name]) for name in names if metric.get(name)), "")


def tried(levels: ClusterLevels, observing: Observing) -> None:
    """Ask the Prometheus of a cluster once, and record the result or the failure; raises nothing."""
    assert observing.prometheus  # noqa: S101 - who calls has looked
    try:
        found = ask(observing.prometheus)
    except RingcheckError as error:
        levels.fail(str(error))
    except Exception as error:  # noqa: BLE001 - a bug must not end the task that asks again
        levels.fail(located_bug(error))
    else:
        levels.sample(observing, found.series, found.gap)


async def follow(levels: ClusterLevels, observing: Observing, loop: PollLoop, stop: Event) -> None:
    """Ask the Prometheus of a cluster again and again, in threads that may wait, until the cluster's watch ends."""
    wait = 0.0
    while not stop.is_set():
        if wait <= 0:
            await loop.read_store(partial(tried, levels, observing))
            wait = observing.interval
        await asyncio.sleep(min(1.0, wait))
        wait -= 1.0
