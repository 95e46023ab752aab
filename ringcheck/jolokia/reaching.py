"""The first steps of `doctor`: from a host's name to an answer of its Jolokia agent, each on its own connection.

A poll describes a failure in one line for a monitor. Here each layer is tested separately, so that exactly one of them
fails, with its fix.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ringcheck.errors import DataError, SourceError
from ringcheck.http.connections import Connections
from ringcheck.http.exchange import certificate_symptom, tls_reason
from ringcheck.http.replies import SMALL, Reply, one_line
from ringcheck.http.sockets import connect, lower_first, secured
from ringcheck.http.urls import address_of
from ringcheck.jolokia import mbeans
from ringcheck.jolokia.client import with_slash
from ringcheck.jolokia.listeners import protocol_of
from ringcheck.jolokia.refusals import refusal_in
from ringcheck.jolokia.settings import DEFAULT_URL

if TYPE_CHECKING:
    from ringcheck.core.diagnosis import Status
    from ringcheck.http.urls import Address
    from ringcheck.jolokia.client import Requests

_PATHS = ("/jolokia/", "/", "/actuator/jolokia/", "/api/jolokia/", "/hawtio/jolokia/", "/console/jolokia/")
_DEFAULT_PORT = address_of(DEFAULT_URL.replace("{address}", "h")).port
_OLDEST_AGENT = (1, 3)
_OTHER_PORT = (
    f"use the port of the Jolokia agent, {_DEFAULT_PORT} by default: see port= of -javaagent in the JVM's options"
)
_LOAD = "-javaagent:/usr/share/java/jolokia.jar=host={host},port={port}"


class StepError(Exception):
    """A step failed or was skipped; or it succeeded, but there is still something to do.

    Attributes:
        fix: what to do about it, in one line.
        status: of the step.
    """

    def __init__(self, text: str, fix: str = "", status: Status = "failed") -> None:
        super().__init__(text)
        self.fix = fix
        self.status = status


@dataclass(frozen=True, slots=True)
class _Heard:
    """An HTTP answer."""

    status: int
    server: str
    content_type: str
    body: bytes

    @property
    def document(self) -> Any:  # noqa: ANN401 - decoded JSON
        """The JSON of the body; None if the body is not JSON."""
        with suppress(ValueError, RecursionError):
            return json.loads(self.body)
        return None

    @property
    def is_of_jolokia(self) -> bool:
        """Whether a Jolokia agent gave the answer, an error included."""
        document = self.document
        return isinstance(document, dict) and type(document.get("status")) is int


def refused_by_policy(reason: str, source: str) -> StepError | None:
    """Why an access policy refuses every request, from the agent's own text; None if it refuses only one call.

    Args:
        reason: the text that the agent gave.
        source: the address of this host, as the agent sees it.
    """
    if "client" in reason.lower():
        fix = f"add <remote><host>{source}</host></remote> to the agent's access policy, and restart it"
        return StepError(f"the access policy refuses this host: {reason}", fix)
    if "method" in reason.lower():
        fix = "add <method>post</method> to <http> of the agent's access policy, and restart it"
        return StepError(f"the access policy refuses POST: {reason}", fix)
    return None


class Reaching:
    """The steps for one URL, to be run in order; each returns its result in one line.

    Every step raises `StepError` if it fails.
    """

    def __init__(self, url: str, requests: Requests, ends: float) -> None:
        """Set up; nothing is sent.

        Args:
            url: of the agent.
            requests: settings and headers.
            ends: monotonic time at which all steps must be over.

        Raises:
            SourceError: if the URL is not usable.
        """
        self.url = url
        self._address: Address = address_of(url)
        self._requests = requests
        self._ends = ends
        self._source = ""  # this host's address, as the agent sees it
        self._heard: _Heard | None = None

    @property
    def _place(self) -> str:
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        return f"{host}:{self._address.port}"

    def _step_ends(self) -> float:
        """When a step must be over: if it hangs, time is left to find out what listens."""
        now = time.monotonic()
        return now + min(self._requests.settings.timeout, max(0.0, self._ends - now) / 2)

    def name(self) -> str:
        """Look up the host's addresses."""
        host = self._address.host
        try:
            infos = socket.getaddrinfo(host, self._address.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            fix = "correct the name, or add it to DNS or /etc/hosts of this host, or use the node's address"
            raise StepError(f"the host name {host} can't be resolved: {why}", fix) from None
        addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        return f"{host} is an address" if addresses == [host] else f"{host} is {', '.join(addresses)}"

    def port(self) -> str:
        """Connect."""
        try:
            with connect(self._address.host, self._address.port, self._step_ends()) as sock:
                self._source = str(sock.getsockname()[0])
        except TimeoutError:
            text = f"{self._place} does not answer: a firewall drops the packets, or the host is down"
            rule = f"nft add rule inet filter input tcp dport {self._address.port} accept"
            fix = f"let this host connect to TCP port {self._address.port}, on the node for example by {rule}"
            raise StepError(text, fix) from None
        except OSError as error:
            cause = error.__cause__
            if isinstance(cause, ConnectionRefusedError):
                raise StepError(f"nothing listens on {self._place}", self._start_agent()) from None
            text = f"no connection to {self._place}: {lower_first(error.strerror or str(error))}"
            raise StepError(text, f"check the route: ip route get {self._address.host}") from None
        return f"{self._place} accepts connections"

    def _start_agent(self) -> str:
        if self._requests.settings.proxy:
            return "start the proxy: ringcheck jmx-proxy; docs/jmx.md shows how"
        load = _LOAD.format(host=self._address.host, port=self._address.port)
        return (
            f"start Cassandra with {load} (without host= it listens on loopback only); "
            f"ss -ltnp on the node shows where it listens"
        )

    def tls(self) -> str:
        """Do the TLS handshake, if the URL requires TLS."""
        if self._address.scheme != "https":
            raise StepError("the URL is http://", status="skipped")
        try:
            sock = connect(self._address.host, self._address.port, self._step_ends())
            with secured(sock, self._requests.tls(), self._address.host) as encrypted:
                return f"{encrypted.version()}, and the certificate is trusted"
        except ssl.SSLCertVerificationError as error:
            raise self._untrusted(error) from None
        except OSError as error:
            raise self._no_tls(error) from None

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> StepError:
        text = f"the agent's certificate is refused: {tls_reason(error)}"
        look = f"openssl s_client -connect {self._place} </dev/null 2>&1 | openssl x509 -noout"
        symptom = certificate_symptom(error)
        if symptom == "wrong_name":
            fix = f"use a name that is in the certificate, or a certificate for this one: {look} -ext subjectAltName"
        elif symptom == "expired":
            fix = f"renew the certificate, then restart the agent: {look} -dates"
        elif symptom == "not_yet":
            fix = f"correct the clock of this host, or the certificate: {look} -dates"
        else:
            fix = "name the authority that signed it: --ca-file FILE, or in the configuration `tls: {ca_file: FILE}`"
        return StepError(text, fix)

    def _no_tls(self, error: OSError) -> StepError:
        found = protocol_of(self._address.host, self._address.port, self._ends)
        if found == "HTTP":
            fix = "use http:// in the URL; or give the agent protocol=https and a certificate"
            return StepError(f"{self._place} speaks plain HTTP, not TLS", fix)
        if found in {"CQL", "JMX"}:
            return self._wrong_port(found)
        reason = "no TLS handshake in time" if isinstance(error, TimeoutError) else _reason(error)
        return StepError(f"{self._place} does not speak TLS: {reason}", _OTHER_PORT)

    def _wrong_port(self, found: str) -> StepError:
        what = {"CQL": "the CQL port (native transport)", "JMX": "a JMX port (RMI)"}[found]
        return StepError(f"{self._place} is {what}, not a Jolokia agent", _OTHER_PORT)

    def http(self) -> str:
        """Ask for the agent's version, and accept any HTTP answer."""
        started = time.monotonic()
        try:
            self._heard = self._post(self.url)
        except SourceError as error:
            raise StepError(str(error), "a reply to `version` is small: this is not a Jolokia agent") from None
        except (OSError, HTTPException, zlib.error) as error:
            raise self._no_http(error) from None
        return f"HTTP {self._heard.status} after {1000 * (time.monotonic() - started):.0f} ms"

    def _post(self, url: str) -> _Heard:
        body = json.dumps(mbeans.VERSION).encode()
        connections = Connections(self._requests.tls)
        seconds = max(0.1, self._step_ends() - time.monotonic())
        try:
            with connections.request("POST", with_slash(url), seconds, self._requests.headers, body) as answer:
                whole = Reply(answer, url, SMALL).all()
                return _Heard(answer.status, answer.header("Server"), answer.header("Content-Type"), whole)
        finally:
            connections.close()

    def _no_http(self, error: Exception) -> StepError:
        if isinstance(error, ssl.SSLError):
            text = f"the agent ends the TLS connection: {tls_reason(error)}"
            return StepError(text, "if it asks for a client certificate: --cert-file FILE and --key-file FILE")
        found = protocol_of(self._address.host, self._address.port, self._ends)
        if found == "TLS" and self._address.scheme == "http":
            fix = "use https:// in the URL, with --ca-file FILE"
            return StepError(f"{self._place} speaks TLS, not plain HTTP", fix)
        if found in {"CQL", "JMX"}:
            return self._wrong_port(found)
        if isinstance(error, TimeoutError):
            text = (
                f"{self._place} accepts connections and does not answer: its process hangs, or it is not an HTTP server"
            )
            return StepError(text, "look at the node: jcmd PID Thread.print, and long pauses in its gc.log")
        return StepError(f"{self._place} does not speak HTTP: {_reason(error)}", _OTHER_PORT)

    def login(self) -> str:
        """Check that the agent lets this client in."""
        heard = self._answer()
        given = self._requests.settings.username is not None or self._address.auth is not None
        if heard.status == 401:  # noqa: PLR2004 - HTTP's Unauthorized
            if given:
                fix = "correct them: user= and password= of -javaagent in the JVM's options are those of the agent"
                raise StepError("HTTP 401: user name or password is wrong", fix)
            fix = "--username NAME --password-file FILE, or in the configuration `username` and `password_file`"
            raise StepError("HTTP 401: the agent asks for a user name and a password", fix)
        if heard.status == 403 or (heard.is_of_jolokia and heard.document["status"] == 403):  # noqa: PLR2004 - Forbidden
            self._refused(heard)
        return "with user name and password" if given else "without a user name"

    def _refused(self, heard: _Heard) -> None:
        """Raise if the agent refuses this host or POST; refusing only the command `version` does not count."""
        reason = refusal_in(heard.body) if heard.content_type.partition("/")[0] != "text" or heard.is_of_jolokia else ""
        if fault := refused_by_policy(reason, self._source):
            raise fault
        if heard.status == 403:  # noqa: PLR2004 - HTTP's Forbidden
            why = f": {reason}" if reason else ""
            server = f" (Server: {one_line(heard.server.encode())})" if heard.server else ""
            fix = "look for a proxy or a firewall before the agent, and at the agent's access policy"
            raise StepError(f"HTTP 403, access is forbidden{why}{server}", fix)

    def jolokia(self) -> str:
        """Check that a Jolokia agent of a supported release answered."""
        heard = self._answer()
        if not heard.is_of_jolokia:
            self._not_jolokia(heard)
        value = heard.document.get("value")
        agent = value.get("agent") if isinstance(value, dict) else None
        if not isinstance(agent, str):
            return "the access policy hides the agent's version, which is not needed"
        numbers = re.match(r"([0-9]{1,9})\.([0-9]{1,9})", agent)
        if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST_AGENT:
            fix = "use Jolokia 1.7.2 with Java 8, or 2.x with Java 11 and later"
            raise StepError(f"Jolokia {one_line(agent.encode())} is too old: 1.3 and later are supported", fix)
        return f"Jolokia {one_line(agent.encode())}"

    def _not_jolokia(self, heard: _Heard) -> None:
        server = f", Server: {one_line(heard.server.encode())}" if heard.server else ""
        path = urlsplit(self.url).path or "/"
        for other in _PATHS:
            if other.strip("/") != path.strip("/") and (url := self._answers_at(other)):
                raise StepError(f"there is no Jolokia agent at {path} (HTTP {heard.status})", f"use -u {url}")
        text = f"an HTTP server answers that is not a Jolokia agent (HTTP {heard.status}{server})"
        fix = "correct the port and the path of the URL: see port= and agentContext= of -javaagent in the JVM's options"
        raise StepError(text, fix)

    def _answers_at(self, path: str) -> str | None:
        """The URL of another path, if a Jolokia agent answers there."""
        url = f"{self._address.scheme}://{self._place}{path.rstrip('/')}"
        with suppress(OSError, HTTPException, zlib.error, SourceError, DataError):
            return url if self._post(url).is_of_jolokia else None
        return None

    def _answer(self) -> _Heard:
        assert self._heard is not None  # noqa: S101 - `http` comes first
        return self._heard


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return tls_reason(error)
    text = getattr(error, "strerror", None) or str(error) or "the connection was closed"
    return lower_first(one_line(text.encode()))
