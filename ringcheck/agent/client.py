"""Asking a running agent for its verdict: cheap for whoever asks, and free for the cluster.

Owns the age of an answer: what is old is nothing, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ringcheck.errors import DataError, SourceError, UsageError

if TYPE_CHECKING:
    from ringcheck.core.verdict import Verdict
    from ringcheck.http.tls import Tls

MOST_AHEAD = 10.0  # seconds that the agent's clock may be ahead of ours
MOST_BYTES = 64 * 2**20  # of a verdict; one of 1,024 nodes has 0.5 MB, with 100 of them down 3
_SAID = 200  # bytes of a refusal that are told


@dataclass(frozen=True, slots=True)
class RemoteAgent:
    """Which agent, and how.

    Attributes:
        url: base of the agent, `http://127.0.0.1:9742`.
        auth: user and password, or None.
        tls: for https.
        max_age: seconds that a verdict may be old.
    """

    url: str
    auth: tuple[str, str] | None = None
    tls: Tls | None = None
    max_age: float = 60.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or "@" in parts.netloc or parts.query:
            raise UsageError(f"{self.url!r} is no URL of an agent, such as http://127.0.0.1:9742")
        if self.tls and parts.scheme == "http":
            raise UsageError(f"{self.url} is not https: certificates would not be used")

    def health_url(self, cluster: str) -> str:
        """Where the verdict on a cluster is."""
        return f"{self.url.rstrip('/')}/api/v1/clusters/{quote(cluster, safe='')}/health"


def health(asked: RemoteAgent, cluster: str, seconds: float, now: datetime | None = None) -> Verdict:
    """An agent's verdict on a cluster, as a verdict that all outputs can be rendered from.

    Args:
        asked: which agent.
        cluster: its name in the agent's configuration.
        seconds: that it may take.
        now: what time it is.

    Raises:
        SourceError: if the agent does not answer, or has no verdict to give.
        DataError: if the answer is none, is about another cluster, or is not of the present.
    """
    from ringcheck.documents.verdict import read_verdict  # noqa: PLC0415 - only what is asked for is loaded
    from ringcheck.http.exchange import exchange  # noqa: PLC0415 - brings HTTP

    url = asked.health_url(cluster)
    headers = {"Accept": "application/json", "Connection": "close"}
    status, body = exchange("GET", url, seconds, headers=headers, auth=asked.auth, tls=asked.tls, max_bytes=MOST_BYTES)
    _refuse(status, body, url)
    verdict = read_verdict(body, url)
    if verdict.snapshot.cluster != cluster:
        raise DataError(f"{url} is about cluster {verdict.snapshot.cluster!r}")
    _refuse_old(verdict, now or datetime.now(UTC), asked.max_age, url)
    return verdict


def _refuse(status: int, body: bytes, url: str) -> None:
    if status == 200:  # noqa: PLR2004 - HTTP's OK
        return
    kind = "denied" if status in {401, 403} else "error"
    said = " ".join(body[:_SAID].decode("utf-8", "replace").split())
    raise SourceError(f"{url}: HTTP {status}{f': {said}' if said else ''}", kind)


def _refuse_old(verdict: Verdict, now: datetime, max_age: float, url: str) -> None:
    """Only a verdict of the present counts.

    Raises:
        DataError: if it is old, or from the future.
    """
    try:
        taken = datetime.fromisoformat(verdict.snapshot.taken_at)
        age = (now - taken).total_seconds()
    except (ValueError, TypeError):
        raise DataError(f"{url}: taken_at {verdict.snapshot.taken_at!r} is no time with its zone") from None
    if age > max_age:
        raise DataError(
            f"{url}: the verdict is {age:.0f} s old, more than {max_age:g} s: the agent's polls fail or stopped"
        )
    if age < -MOST_AHEAD:
        raise DataError(f"{url}: the verdict is from {-age:.0f} s in the future: the clocks differ")
