"""Nodes without a Jolokia agent: their JMX ports are asked by a Jolokia elsewhere, the proxy (JSR-160).

A *location* identifies one node's agent: the URL of a Jolokia agent, or the JMX service URL of a node about which the
proxy is asked. All state of a node (its turn on a connection, its time budget, its last report) is kept by location. So
nodes do not wait for each other although they share the proxy's URL.

Every Jolokia 2.x is such a proxy: each request names its `target`. Failures to reach a node come inside a reply with
HTTP status 200; the texts here are those of 2.2.9 and 2.6.0. A failure of HTTP itself is a failure of the proxy, and
shows nothing about any node.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ringcheck.core.release import parse_release
from ringcheck.errors import DeniedError, SourceError
from ringcheck.http.exchange import RetryableError, explained
from ringcheck.http.replies import LONGEST_TEXT, printable
from ringcheck.http.sockets import ConnectTimeoutError
from ringcheck.http.urls import shown
from ringcheck.jolokia.settings import is_jmx, jmx_end

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (2, 2, 0)  # older proxies repeat a request's password in their replies
_REFUSED_TO = re.compile(
    r"Connection refused to host: (?P<host>[^\s;]{1,255});.*java\.net\.ConnectException: Connection refused"
)
_STUB = "Failed to retrieve RMIServer stub: "
_FORBIDDEN = 403
_LONGEST = 2000  # maximum number of characters of an error that are read: a chain of Java exceptions


class ProxyError(SourceError):
    """The proxy itself can't be asked: nothing is known about the node."""

    asked = "proxy"

    @classmethod
    def of(cls, error: SourceError) -> Self:
        """The failure of a request to the proxy."""
        what = "does not answer" if error.kind == "unreachable" else "can't be used"
        return cls(f"the proxy {what}: {error}", error.kind, error.symptom)


class RefusedByNodeError(SourceError):
    """The proxy reached the node's host, and nothing listens at its JMX port.

    Attributes:
        host: that refused the connection.
    """

    def __init__(self, host: str, text: str = "it refuses the connection") -> None:
        super().__init__(text, "unreachable", "jmx_refused")
        self.host = host


@dataclass(frozen=True, slots=True)
class Proxy:
    """How the proxy of a cluster is asked about a node.

    Attributes:
        url: of the proxy.
        login: JMX user name and password; None for JMX without logins.
    """

    url: str
    login: tuple[str, str] | None

    def request(self, location: str, payload: object) -> bytes:
        """The payload with the node as its target, and the option not to repeat the target in the reply."""
        decoded: Any = json.loads(payload) if isinstance(payload, bytes) else payload
        # An empty user name means no login, but makes Jolokia use TLS for the registry too, if it has a trust store.
        user, password = self.login or ("", None)
        target = {"url": location, "user": user} | ({} if password is None else {"password": password})
        items = decoded if isinstance(decoded, list) else [decoded]
        named = [
            item | {"target": target, "config": item.get("config", {}) | {"includeRequest": "false"}} for item in items
        ]
        return json.dumps(named if isinstance(decoded, list) else named[0], separators=(",", ":")).encode()

    @contextmanager
    def explained(self, location: str, seconds: float) -> Iterator[None]:
        """As `exchange.explained`, for a request through the proxy.

        Raises:
            SourceError: if the proxy accepted the request and did not answer in time: the proxy or the node hangs.
            ProxyError: if the proxy can't be asked.
            RetryableError: likewise.
        """
        try:
            with explained(self.url, seconds):
                yield
        except RetryableError as failure:
            raise RetryableError(ProxyError.of(failure.error)) from None
        except SourceError as error:
            cause = error.__cause__
            if isinstance(cause, TimeoutError) and not isinstance(cause, ConnectTimeoutError):
                text = f"{place(location)}: no answer through the proxy within {seconds:.2g} s"
                raise SourceError(text, "unreachable") from None
            raise (ProxyError.of(error) if isinstance(cause, Exception) else error) from None


def place(location: str) -> str:
    """A location for messages: `JMX of HOST:PORT`, or the URL of a Jolokia agent without credentials."""
    if not is_jmx(location):
        return shown(location)
    host, port = jmx_end(location)
    return f"JMX of {f'[{host}]' if ':' in host else host}:{port}"


def check(version: Any, url: str) -> None:  # noqa: ANN401 - decoded JSON
    """Check the answer of a proxy to the request `version`.

    Raises:
        ProxyError: if it can't ask other JVMs: it would ignore the target and answer for its own JVM.
    """
    value = version.get("value") if isinstance(version, dict) else None
    if not isinstance(value, dict):
        refused = isinstance(version, dict) and version.get("status") == _FORBIDDEN
        why = "its access policy must allow the command `version`" if refused else "it is not a Jolokia agent"
        raise ProxyError(f"the proxy {shown(url)} can't be used: {why}")
    release = str(value.get("agent"))[:40]
    info = value.get("info")
    if not isinstance(info, dict) or "proxy" not in info or (parse_release(release) or (0, 0, 0)) < OLDEST:
        text = f"it is Jolokia {release} and can't ask other JVMs" if release else "it does not name its release"
        raise ProxyError(f"the proxy {shown(url)} can't be used: {text}: take the JVM agent of Jolokia 2.2 or newer")


def node_failure(status: int, error: object, error_type: object) -> SourceError | None:
    """Why a proxy could not reach a node's JMX, from its answer; None if JMX answered, with any result.

    Args:
        status: of the answer, not 200.
        error: its text.
        error_type: Java class of the exception.
    """
    if not isinstance(error, str) or not isinstance(error_type, str):
        return None
    error = printable(error[:_LONGEST])
    if status == _FORBIDDEN:
        return _refusal(error)
    if _STUB not in error and not error_type.startswith("java.rmi."):
        return None
    if (refused := _REFUSED_TO.search(error)) and _STUB in error:
        return RefusedByNodeError(refused["host"])
    if refused:  # the registry answered, and named this host as that of its server
        text = f"it answers, but its JMX server at {refused['host']} does not: see java.rmi.server.hostname"
        return SourceError(text, "unreachable", "jmx_moved")
    return _in_words(error)


def _refusal(error: str) -> DeniedError | None:
    if "Authentication failed!" in error:
        missing = "Credentials required" in error
        text = "it requires a JMX user name and password" if missing else "wrong JMX user name or password"
        return DeniedError(text, "jmx_login")
    if "Target URL" in error and error.endswith("is not allowed by configuration"):
        return DeniedError("the proxy does not allow this target: see its --allow", "jmx_target")
    return None


_NO_RMI = "the port does not speak plain RMI: another service listens there, or it wants TLS"
_WORDS = (
    ("Unknown host", "the proxy can't resolve its name", "jmx_name"),
    ("non-JRMP server", _NO_RMI, "jmx_protocol"),
    ("SSL", "TLS fails between the proxy and the node", "jmx_tls"),
    ("Connect timed out", "no connection in time", "jmx_packets"),
    ("Read timed out", "it accepts connections and does not answer", "jmx_silent"),
    ("No route to host", "the proxy has no route to it", "jmx_packets"),
    ("Network is unreachable", "the proxy has no route to it", "jmx_packets"),
)


def _in_words(error: str) -> SourceError:
    """The innermost cause of a chain of Java exceptions."""
    inner = re.split(r"nested exception is: |\[Root exception is ", error)[-1].rstrip("] ")[:LONGEST_TEXT]
    unknown = "the proxy can't ask it", ""
    words, symptom = next(((text, symptom) for sign, text, symptom in _WORDS if sign in error), unknown)
    return SourceError(f"{words} ({inner})", "unreachable", symptom)
