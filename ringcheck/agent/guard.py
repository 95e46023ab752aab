"""Access control: users, origins, hosts, and the headers of every response.

One ASGI layer around all routes, so that a new route is covered too. It refuses requests and knows nothing of clusters.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response

from ringcheck.agent.webconfig import BusyError, Users, WebConfig
from ringcheck.errors import one_line

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
FLEETLOCK = "/v1/"  # below this path errors have the form of the protocol
ADMISSION = "/kubernetes/evictions/"  # below this path the rest is a secret
KINDS = {401: "unauthorized", 403: "forbidden", 429: "busy", 500: "bug"}  # values of `kind`; fleetlock.py has others
# A name or IPv4 address, or an IPv6 address in brackets; then a port. `[::1].evil` is neither (RFC 9110, 7.2).
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~%-]+)?\]|[^\s:/?#@\[\]\\,]*)(?::[0-9]*)?")
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def refusal(status: int, error: str, headers: Mapping[str, str] | None = None, path: str = "") -> Response:
    """An error in the form of the API, or in that of FleetLock below its path; what it quotes is cut."""
    error = one_line(error)
    document: dict[str, object] = {"error": error, "status": status}
    if path.startswith(FLEETLOCK):
        document = {"kind": KINDS.get(status, "bad_request"), "value": error}
    return Response(f"{json.dumps(document)}\n", status, headers, media_type="application/json")


class _Refusal(NamedTuple):
    """The arguments of `refusal`."""

    status: int
    error: str
    headers: Mapping[str, str] | None = None


Refuse: TypeAlias = "Callable[[Scope, int, str, Mapping[str, str] | None], Response]"
"""Makes a response from a request, a status, the reason and headers."""


class Access:
    """The access rules in force; replaced when the web configuration is read again.

    Attributes:
        users: who may ask; empty if everyone may.
        certified: whether every client must have presented a trusted certificate.
        headers: added to every response that does not set them itself.
    """

    def __init__(self, config: WebConfig) -> None:
        self.use(config)

    def use(self, config: WebConfig) -> None:
        """Use another configuration."""
        self.users = Users(config.users)
        self.certified = config.certified
        self.headers = {**DEFAULTS, **config.headers}


class Guard:
    """The ASGI layer."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        broken: Callable[[Scope, Exception], Response],
        refused: Refuse,
        routed: Callable[[Scope], bool] = lambda _: True,
    ) -> None:
        """Prepare.

        Args:
            app: the guarded application.
            access: the access rules.
            broken: called with an unexpected error; its response is sent unless another one has begun.
            refused: makes the response to a refused request.
            routed: whether a handler would get the request: the path exists and has its method.
        """
        self._app = app
        self._access = access
        self._broken = broken
        self._answer = refused
        self._routed = routed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in self._access.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        # Starlette would handle a bug outside this layer, and uvicorn would log the whole stack.
        try:
            refused = await self._refused(scope)
            await (self._answer(scope, *refused) if refused else self._app)(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - the service goes on
            answer = self._broken(scope, error)
            if not begun:
                await answer(scope, receive, sending)

    async def _refused(self, scope: Scope) -> _Refusal | None:
        headers = Headers(scope=scope)
        if refused := _wrong_host(scope, headers.getlist("host")):
            return refused
        # Kubernetes' API server has no user here: the secret in the path, which evictions.py checks, stands for one.
        secret = scope["method"] == "POST" and scope["path"].startswith(ADMISSION)
        return None if secret else await self._without_permission(scope, headers)

    async def _without_permission(self, scope: Scope, headers: Headers) -> _Refusal | None:
        users = self._access.users
        if users and (refused := await _stranger(users, headers)):
            return refused
        if scope["method"] in READS or not self._routed(scope):  # the application answers the latter by 404 or 405
            return None
        if refused := _forged(scope, headers):
            return refused
        # Everything but reads needs a user or a trusted certificate, or must come from this host.
        if users or self._access.certified or _is_local(scope, headers):
            return None
        return _Refusal(403, "without users in web_config only clients on this host may POST")


def _wrong_host(scope: Scope, hosts: list[str]) -> _Refusal | None:
    """Refuse Host headers that are malformed or not ours. A missing one is accepted: some load balancers send none."""
    if not all(map(_HOST.fullmatch, hosts)):
        return _Refusal(400, "the Host header is not HOST, HOST:PORT or [IPV6]:PORT")
    if len(hosts) > 1 or not all(_host_is_ours(scope, host) for host in hosts):
        return _Refusal(421, "this service does not accept that Host header: use an address or localhost")
    return None


async def _stranger(users: Users, headers: Headers) -> _Refusal | None:
    authorization = headers.get("authorization", "")
    try:
        valid = users.remembered(authorization)
        if valid is None:
            valid = await run_in_threadpool(users.verify, authorization)
    except BusyError:
        return _Refusal(429, "too many passwords are being checked: try again", {"Retry-After": "1"})
    challenge = {"WWW-Authenticate": 'Basic realm="ringcheck", charset="UTF-8"'}
    return None if valid else _Refusal(401, "a user and its password are required", challenge)


def _forged(scope: Scope, headers: Headers) -> _Refusal | None:
    """Refuse what a page of another origin can make a browser send.

    Such a page can't set this content type or FleetLock's header without a CORS preflight, which always fails here.
    """
    json_ = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    if not json_ and headers.get("fleet-lock-protocol") != "true":
        if scope["path"].startswith(FLEETLOCK):
            return _Refusal(400, "the header fleet-lock-protocol: true is missing")
        return _Refusal(415, "Content-Type must be application/json")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    ours = f"{scope['scheme']}://{headers.get('host')}"
    if (origin is not None and origin.lower() != ours.lower()) or site not in {None, "same-origin", "none"}:
        return _Refusal(403, "pages of another origin are refused")
    return None


def _is_local(scope: Scope, headers: Headers) -> bool:
    """Whether the client is a program on this host, and not a proxy that passes on another client's request."""
    client = scope.get("client") or ("",)
    return is_loopback(client[0]) and not any(name in headers for name in FORWARDED)


def _host_is_ours(scope: Scope, host: str) -> bool:
    """Whether a Host header is one of ours. This prevents DNS rebinding, where another site's name means loopback.

    A service on loopback is reached by an address or as localhost; on other addresses any name is accepted.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    server = scope.get("server")
    if not server or not is_loopback(server[0]):
        return True
    return name == "localhost" or name.endswith(".localhost") or _is_address(name)


def is_loopback(text: str) -> bool:
    """Whether an IP address is one that only this host can reach."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
