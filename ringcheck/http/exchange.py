"""One HTTP request in bounded time, and errors that an operator understands.

Nothing here retries, keeps cookies, follows redirects, or takes proxies and credentials from the environment.
"""

from __future__ import annotations

import ssl
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ringcheck import __version__
from ringcheck.errors import SourceError
from ringcheck.http.replies import MEBIBYTE, Reply, shown
from ringcheck.http.sockets import ConnectionFailedError, root_cause, tls_context
from ringcheck.http.tls import Tls
from ringcheck.http.urls import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

USER_AGENT = f"ringcheck/{__version__}"


class RetryableError(Exception):
    """A failure after which the same request may succeed, and is harmless if it reads only.

    Attributes:
        error: what to raise if the request is not repeated, or fails again.
    """

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def explained(url: str, seconds: float) -> Iterator[None]:
    """Turn what requests, urllib3 and the sockets raise into errors that an operator understands.

    Args:
        url: of the request, for the message; its credentials are not shown.
        seconds: that the request had, for the message.

    Raises:
        SourceError: kind `unreachable`, or `error` for an unusable URL or a broken body.
        RetryableError: if the connection failed or was closed early.
    """
    where = shown(url)
    try:
        yield
    except SourceError:
        raise
    except (OSError, HTTPException, zlib.error) as error:
        failure = SourceError(f"{shown(url)}: {_in_words(error, seconds)}", _kind(error))
        if _is_retryable(error):
            raise RetryableError(failure) from error
        raise failure from error


def _connection_reason(error: BaseException) -> str:
    root = root_cause(error)
    if isinstance(root, ConnectionFailedError):
        return root.text[:1].lower() + root.text[1:]
    return "the connection was closed before the answer was whole"


def _kind(error: Exception) -> str:
    return "error" if isinstance(error, zlib.error) or _is_not_http(error) else "unreachable"


def _is_retryable(error: Exception) -> bool:
    """Whether the connection was not made or broke; a timeout is none: the server still works on the request."""
    broken = isinstance(error, NotConnectedError | HTTPException | ConnectionError)
    return broken and not isinstance(error, ssl.SSLError) and not _is_not_http(error)


def _is_not_http(error: Exception) -> bool:
    """Whether something else than HTTP came; an empty status line is a connection that was closed."""
    bad_status = isinstance(error, BadStatusLine) and not isinstance(error, RemoteDisconnected)
    return isinstance(error, UnknownProtocol | LineTooLong) or (bad_status and bool(str(error).strip("'")))


def _tls_reason(error: ssl.SSLError) -> str:
    reason = getattr(error, "verify_message", None) or error.reason or str(error)
    return str(reason).lower().replace("_", " ")


def exchange(  # noqa: PLR0913 - each is needed by some server
    method: str,
    url: str,
    seconds: float,
    *,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    auth: tuple[str, str] | None = None,
    tls: Tls | None = None,
    max_bytes: int = MEBIBYTE,
) -> tuple[int, bytes]:
    """One request on a connection of its own.

    Args:
        method: GET, POST, ...
        url: with scheme, host and path.
        seconds: for the whole exchange. The look-up of a host name can take longer.
        body: to send; None for none.
        headers: in addition to `User-Agent`.
        auth: user name and password for basic authentication.
        tls: what to trust and to present; the system's authorities if None.
        max_bytes: decoded bytes of the answer, at most.

    Returns:
        HTTP status and decoded body, whatever the status.

    Raises:
        SourceError: kind `unreachable`, or `error` if the answer is broken or too large.
        ConfigError: if a file of `tls` can't be used.
    """
    own = {"Authorization": basic_auth(*auth)} if auth else {}
    connections = Connections(lambda: tls_context(tls or Tls()))
    try:
        every = {"User-Agent": USER_AGENT, **own, **(headers or {})}
        with explained(url, seconds), connections.request(method, url, seconds, every, body) as answer:
            return answer.status, Reply(answer, url, max_bytes).all()
    except RetryableError as failure:
        raise failure.error from failure
    finally:
        connections.close()
