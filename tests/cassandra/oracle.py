"""What a node reports about itself, read over Jolokia with the standard library alone.

Shares no code with ringcheck's client: tests compare the two, so they must not have a mistake in common.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

STORAGE_SERVICE = "org.apache.cassandra.db:type=StorageService"


class OracleError(Exception):
    """No usable answer: `status` is the code of Jolokia or HTTP, 0 if there was no answer."""

    def __init__(self, status: int, reason: str) -> None:
        """Keep the status in addition to the text."""
        super().__init__(f"{status}: {reason}" if status else reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Oracle:
    """A Jolokia agent, or with `target` one that asks the JMX at this URL.

    All calls raise `OracleError` if there is no usable answer.
    """

    url: str
    credentials: tuple[str, str] | None = None
    target: str | None = None

    def read(self, attribute: str | None = None, mbean: str = STORAGE_SERVICE, *, timeout: float = 10) -> Any:
        """Value of an MBean's attribute; of all its attributes if None."""
        request = {"type": "read", "mbean": mbean}
        if attribute is not None:
            request["attribute"] = attribute
        return self.ask(request, timeout=timeout)

    def exec(self, operation: str, *arguments: object, mbean: str = STORAGE_SERVICE, timeout: float = 30) -> Any:
        """Result of an MBean's operation."""
        request = {"type": "exec", "mbean": mbean, "operation": operation, "arguments": arguments}
        return self.ask(request, timeout=timeout)

    def ask(self, request: dict[str, Any] | list[dict[str, Any]], *, timeout: float = 10) -> Any:
        """Value of a Jolokia request; for a list of requests the complete answer."""
        if self.target is not None:
            through = {"target": {"url": self.target}}
            request = [item | through for item in request] if isinstance(request, list) else request | through
        answer = self._post(json.dumps(request).encode(), timeout)
        if isinstance(answer, list):
            return answer
        if answer.get("status") != 200:
            raise OracleError(answer.get("status", 0), answer.get("error", str(answer)))
        return answer.get("value")

    def _post(self, body: bytes, timeout: float) -> Any:
        # 0 lifts the agent's own limits, which a test may have set: the oracle always reads complete values.
        # The slash matters: Jolokia 2.2 answers 404 to a POST without it.
        url = f"{self.url}/?maxCollectionSize=0&maxObjects=0&maxDepth=0"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http, ours
        if self.credentials:
            token = base64.b64encode(":".join(self.credentials).encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with _DIRECT.open(request, timeout=timeout) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise OracleError(error.code, str(error.reason)) from None
        except (OSError, ValueError) as error:
            raise OracleError(0, f"{self.url}: {error!r}") from None


# Requests to a loopback address must not go to a proxy of the environment.
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_UNVERIFIED))
