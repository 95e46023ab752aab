"""Makes one HTTP request in bounded time, and describes its failures in words that an operator understands."""

from __future__ import annotations

import ssl
import zlib
from contextlib import contextmanager
from http.client import BadStatusLine, HTTPException, LineTooLong, RemoteDisconnected, UnknownProtocol
from typing import TYPE_CHECKING

from ringcheck import __version__
from ringcheck.errors import LimitError, SourceError, limit_of
from ringcheck.http.connections import Connections, FramingError
from ringcheck.http.replies import MEBIBYTE, Reply, one_line
from ringcheck.http.sockets import ConnectTimeoutError, NotConnectedError, lower_first, tls_context
from ringcheck.http.tls import Tls
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

USER_AGENT = f"ringcheck/{__version__}"
_CERTIFICATE = {62: "wrong_name", 64: "wrong_name", 10: "expired", 9: "not_yet"}  # by X509_V_ERR_* of OpenSSL


class RetryableError(Exception):
    """A failure after which asking again is harmless and may help; `error` is the error to raise if it does not."""

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def explained(url: str, seconds: float) -> Iterator[None]:
    """Turn what sockets, TLS and HTTP raise into errors that an operator understands.

    Args:
        url: that is asked.
        seconds: that the request may take.

    Raises:
        SourceError: kind `unreachable` for connections and timeouts, `error` for an answer that can't be used.
        RetryableError: for a connection that could not be made, or that broke.
        LimitError: if this host has no descriptors or memory left: the server is not to blame.
    """
    try:
        yield
    except SourceError:
        raise
    except (OSError, HTTPException, zlib.error) as error:
        if what := limit_of(error):
            raise LimitError(what) from error
        failure = SourceError(f"{shown(url)}: {_in_words(error, seconds)}", _kind(error), _symptom(error))
        if _is_retryable(error):
            raise RetryableError(failure) from error
        raise failure from error


def _in_words(error: Exception, seconds: float) -> str:
    if isinstance(error, ssl.SSLError):
        return "the server does not speak TLS" if _no_tls(error) else f"TLS: {tls_reason(error)}"
    if isinstance(error, TimeoutError):
        what = "connection" if isinstance(error, ConnectTimeoutError) else "whole answer"
        return f"no {what} within {seconds:.2g} s"
    if isinstance(error, zlib.error):
        return "the compressed answer is broken"
    if _is_not_http(error):
        return f"the answer is not HTTP: {one_line(str(error).encode())}"
    if isinstance(error, HTTPException | ConnectionError):
        return "the connection was closed before the answer was whole"
    return lower_first(getattr(error, "strerror", None) or str(error))


def _symptom(error: Exception) -> str:
    """As `SourceError.symptom`."""
    if isinstance(error, ssl.SSLError):
        if isinstance(error, ssl.SSLCertVerificationError):
            return certificate_symptom(error)
        return "not_tls" if _no_tls(error) else ""
    if isinstance(error, TimeoutError):
        return "silent"
    if isinstance(error, NotConnectedError):
        return error.symptom
    if _is_not_http(error):
        return "not_http"
    return "closed" if isinstance(error, HTTPException | ConnectionError) else ""


def _no_tls(error: ssl.SSLError) -> bool:
    return error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def _kind(error: Exception) -> str:
    return "error" if isinstance(error, zlib.error) or _is_not_http(error) else "unreachable"


def _is_retryable(error: Exception) -> bool:
    """Whether the connection could not be made, or broke. A timeout does not count: the server may still be working."""
    broken = isinstance(error, NotConnectedError | HTTPException | ConnectionError)
    return broken and not isinstance(error, ssl.SSLError) and not _is_not_http(error)


def _is_not_http(error: Exception) -> bool:
    """Whether the answer is not HTTP. An empty status line does not count: the connection was closed.

    http.client raises HTTPException itself for too many headers.
    """
    bad_status = isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected)
    malformed = isinstance(error, UnknownProtocol | LineTooLong | FramingError) or type(error) is HTTPException
    return malformed or (bad_status and bool(str(error).strip("'")))


def tls_reason(error: ssl.SSLError) -> str:
    """Why TLS failed, in words."""
    if message := getattr(error, "verify_message", None):
        return lower_first(message).rstrip(".")
    return str(error.reason or error).lower().replace("_", " ")


def certificate_symptom(error: ssl.SSLCertVerificationError) -> str:
    """Why a certificate is refused: `wrong_name`, `expired`, `not_yet` (valid) or `untrusted`."""
    return _CERTIFICATE.get(error.verify_code, "untrusted")


def exchange(
    url: str,
    seconds: float,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    tls: Tls | None = None,
    max_bytes: int = MEBIBYTE,
) -> tuple[int, bytes]:
    """One request on a connection that is not kept: to a webhook, Sensu's agent, Prometheus or ringcheck's own agent.

    Nothing is retried. The look-up of a host name alone can take longer than `seconds`.

    Args:
        url: http or https.
        seconds: time limit of the whole request.
        body: is sent with POST; without one the method is GET.
        headers: all but Host, Content-Length and User-Agent.
        tls: settings for https.
        max_bytes: of the decoded answer.

    Returns:
        HTTP status and decoded body.

    Raises:
        SourceError: kind `unreachable`; or `error` if the answer can't be used or is too large.
        ConfigError: if a file of `tls` can't be used.
    """
    method = "GET" if body is None else "POST"
    every = {"User-Agent": USER_AGENT, **(headers or {})}
    connections = Connections(lambda: tls_context(tls or Tls()))
    try:
        with explained(url, seconds), connections.request(method, url, seconds, every, body) as answer:
            return answer.status, Reply(answer, url, max_bytes).all()
    except RetryableError as failure:
        raise failure.error from failure
    finally:
        connections.close()
