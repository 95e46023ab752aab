"""Who may ask what: users, origins, hosts, and the headers that every response has.

One ASGI layer around all routes, so that a route that is added can't be forgotten. Refuses; never decides on a cluster.
"""

from __future__ import annotations

import ipaddress
import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from ringcheck.agent.webconfig import BusyError, Users, WebConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

READS = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DEFAULTS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FLEETLOCK = "/v1/"  # where answers are the protocol's
KINDS = {401: "unauthorized", 403: "forbidden", 429: "busy", 500: "bug"}  # of them, beside those of fleetlock.py
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def refusal(status: int, error: str, headers: Mapping[str, str] | None = None, path: str = "") -> Response:
    """An error as the API tells it, or FleetLock where that is asked."""
    told: dict[str, object] = {"error": error, "status": status}
    if path.startswith(FLEETLOCK):
        told = {"kind": KINDS.get(status, "bad_request"), "value": error}
    return Response(f"{json.dumps(told)}\n", status, headers, media_type="application/json")


class _Refusal(NamedTuple):
    """What `refusal` is to tell."""

    status: int
    error: str
    headers: Mapping[str, str] | None = None


class Access:
    """What is asked for: swapped whole when the web configuration is read again.

    Attributes:
        users: who may ask; empty for everybody.
        certified: whether all clients have shown a certificate that is known.
        headers: of every response that does not have them itself.
    """

    def __init__(self, config: WebConfig) -> None:
        self.use(config)

    def use(self, config: WebConfig) -> None:
        """Ask for what another configuration asks for."""
        self.users = Users(config.users)
        self.certified = config.certified
        self.headers = {**DEFAULTS, **config.headers}


class Guard:
    """The layer."""

    def __init__(self, app: ASGIApp, access: Access, broken: Callable[[Scope, Exception], Response]) -> None:
        """Prepare.

        Args:
            app: what is guarded.
            access: who may ask, and headers.
            broken: told of an error that nobody expected; what it returns is the answer, unless one has begun.
        """
        self._app = app
        self._access = access
        self._broken = broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                found = MutableHeaders(scope=message)
                for name, value in self._access.headers.items():
                    found.setdefault(name, value)
            await send(message)

        # Starlette would answer a bug outside of this layer, and have uvicorn log all of its stack.
        try:
            refused = await self._refused(scope)
            await (refusal(*refused, path=scope["path"]) if refused else self._app)(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the service goes on
            answer = self._broken(scope, error)
            if not begun:
                await answer(scope, receive, sending)

    async def _refused(self, scope: Scope) -> _Refusal | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")  # none in HTTP/1.0, which load balancers speak and no browser does
        if len(hosts) > 1 or not all(_host_is_ours(scope, one) for one in hosts):
            return _Refusal(421, "this service is not asked by that name here: use its address, or localhost")
        users = self._access.users
        if users and (wrong := await _stranger(users, headers)):
            return wrong
        if scope["method"] in READS:
            return None
        if wrong := _forged(scope, headers):
            return wrong
        # More than reading needs a user or a known certificate, unless it comes from this very host.
        if users or self._access.certified or _is_local(scope, headers):
            return None
        return _Refusal(403, "without users in web_config only this host may ask for more than what is known")


async def _stranger(users: Users, headers: Headers) -> _Refusal | None:
    given = headers.get("authorization", "")
    try:
        known = users.known(given)
        if known is None:
            known = await run_in_threadpool(users.right, given)
    except BusyError:
        return _Refusal(429, "too many passwords are being looked at", {"Retry-After": "1"})
    challenge = {"WWW-Authenticate": 'Basic realm="ringcheck", charset="UTF-8"'}
    return None if known else _Refusal(401, "a user and its password are needed", challenge)


def _forged(scope: Scope, headers: Headers) -> _Refusal | None:
    """What a page of another origin can make a browser send.

    Such a page can't set this content type or a header of FleetLock's without being asked for leave first (CORS),
    which is never given.
    """
    json_ = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    if not json_ and headers.get("fleet-lock-protocol") != "true":
        if scope["path"].startswith(FLEETLOCK):
            return _Refusal(400, "the header fleet-lock-protocol: true is missing")
        return _Refusal(415, "Content-Type must be application/json")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    ours = f"{scope['scheme']}://{headers.get('host')}"
    if (origin is not None and origin.lower() != ours.lower()) or site not in {None, "same-origin", "none"}:
        return _Refusal(403, "not for pages of another origin")
    return None


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Whether a program of this host asks, and not for somebody else."""
    client = scope.get("client") or ("",)
    return _loopback(client[0]) and not any(name in headers for name in FORWARDED)


def _host_is_ours(scope: Scope, host: str) -> bool:
    """Whether a browser could have been led here by somebody else's name (DNS rebinding).

    A service that listens on loopback is asked by an address or as localhost; a name is whatever its owner's DNS says.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    server = scope.get("server")
    if not server or not _loopback(server[0]):
        return True
    return name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _loopback(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
