"""One HTTP request in bounded time, and errors that an operator understands.

Knows nothing of Jolokia. Nothing here retries, keeps cookies, follows redirects or looks at the environment.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import requests
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout, InvalidURL, RequestException, SSLError, Timeout
from urllib3.exceptions import DecodeError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError

from ringcheck import __version__
from ringcheck.errors import SourceError
from ringcheck.http.replies import MEBIBYTE, Reply, shown
from ringcheck.http.sockets import Adapter, DeadlineError, root_cause, start_clock, tls_context
from ringcheck.http.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import HTTPResponse

USER_AGENT = f"ringcheck/{__version__}"


class RetryableError(Exception):
    """A failure after which asking again is harmless and may help; `error` is what to say if it does not."""

    def __init__(self, error: SourceError) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def explained(url: str, seconds: float) -> Iterator[None]:
    """Turn what requests, urllib3 and the sockets raise into errors that an operator understands."""
    where = shown(url)
    try:
        yield
    except InvalidURL as error:
        raise SourceError(f"{where}: not a usable URL: {error}") from error
    except SSLError as error:
        raise SourceError(f"{where}: TLS: {_tls_reason(error)}", "unreachable") from error
    except ConnectTimeout as error:
        raise SourceError(f"{where}: no connection within {seconds:.2g} s", "unreachable") from error
    except (Timeout, ReadTimeoutError, DeadlineError) as error:
        raise SourceError(f"{where}: no whole answer within {seconds:.2g} s", "unreachable") from error
    except DecodeError as error:
        raise SourceError(f"{where}: the compressed answer is broken") from error
    except (RequestsConnectionError, ProtocolError) as error:
        raise RetryableError(SourceError(f"{where}: {_connection_reason(error)}", "unreachable")) from error
    except (RequestException, HTTPError, OSError) as error:
        raise SourceError(f"{where}: {root_cause(error)}", "unreachable") from error


def _connection_reason(error: BaseException) -> str:
    root = root_cause(error)
    if isinstance(root, NewConnectionError):
        text = str(root).rpartition(": ")[2] if "can't be resolved" not in str(root) else str(root).partition(": ")[2]
        return text[:1].lower() + text[1:]
    return "the connection was closed before the answer was whole"


def _tls_reason(error: BaseException) -> str:
    root = root_cause(error)
    reason = getattr(root, "verify_message", None) or getattr(root, "reason", None) or str(root)
    return str(reason).lower().replace("_", " ")


def exchange(  # noqa: PLR0913 - each of them matters to some server
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
    """One request to a server that is no Jolokia, within the same bounds: Sensu's agent, or ringcheck's own.

    The connection is not kept, nothing is retried, no redirect is followed, and the environment's proxies and .netrc
    are not looked at. A host name's lookup alone can take longer than `seconds`.

    Returns:
        HTTP status and decoded body.

    Raises:
        SourceError: kind `unreachable`, or `error` for what is no answer or larger than may be.
        ConfigError: if a file of `tls` can't be used.
    """
    adapter = Adapter(1, lambda: tls_context(tls or Tls()))
    request = requests.Request(method, url, {"User-Agent": USER_AGENT, **(headers or {})}, data=body, auth=auth)
    start_clock(seconds)
    try:
        with explained(url, seconds):
            raw = cast("HTTPResponse", adapter.send(request.prepare(), stream=True, timeout=None).raw)
            return raw.status, Reply(raw, url, max_bytes).all()
    except RetryableError as failure:
        raise failure.error from None
    finally:
        adapter.close()
