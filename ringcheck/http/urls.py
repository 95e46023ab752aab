"""The parts of a URL that a request needs, and the form in which a URL is shown to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from ringcheck.errors import SourceError
from ringcheck.http.credentials import basic_auth

if TYPE_CHECKING:
    from collections.abc import Iterable

Server: TypeAlias = "tuple[str, str, int]"  # scheme, host and port

_PORTS = {"http": 80, "https": 443}
_AT = re.compile("@|%40|\uff20|\ufe6b")  # also escaped, and characters that NFKC turns into @: urlsplit refuses these
_AS_IT_IS = "!#$%&'()*+,/:;=?@[]~"  # characters of a path that need no escape in a URL, and `%`, which begins escapes


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL that a request needs.

    Attributes:
        scheme: http or https.
        host: name or IP address, without brackets.
        port: TCP port.
        target: path and query, as the request line has them.
        auth: value of an Authorization header for the URL's own user and password; None without them.
    """

    scheme: str
    host: str
    port: int
    target: str
    auth: str | None

    @property
    def server(self) -> Server:
        """The server that a connection leads to."""
        return self.scheme, self.host, self.port


class Addresses(dict[str, Address]):
    """Address by URL, as a cache from which its owner drops entries. A URL that is not usable raises `SourceError`."""

    def __missing__(self, url: str) -> Address:
        address = self[url] = address_of(url)
        return address

    def forget(self, urls: Iterable[str]) -> set[Server]:
        """Drop some URLs, and return the servers that they led to."""
        return {address.server for address in (self.pop(url, None) for url in urls) if address}


def address_of(url: str) -> Address:
    """The parts of a URL that a request needs.

    Raises:
        SourceError: if it is not a usable http or https URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
        host.encode("ascii" if ":" in host else "idna")
    except (ValueError, KeyError, UnicodeError):
        raise SourceError(f"{shown(url)}: not a usable URL") from None
    if not host:
        raise SourceError(f"{shown(url)}: not a usable URL: it names no host")
    target = quote(parts.path or "/", safe=_AS_IT_IS) + (
        f"?{quote(parts.query, safe=_AS_IT_IS)}" if parts.query else ""
    )
    auth = basic_auth(unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Address(parts.scheme, host, port, target, auth)


def shown(url: str) -> str:
    """A URL without credentials, query and fragment, for messages; also for a text that is no URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return without_login(url)
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # perhaps that of a password with `/`, `?` or `#`
        return without_login(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def without_login(text: str) -> str:
    """A host or URL, perhaps malformed, without what precedes its last `@`; the scheme stays."""
    rest = _AT.split(text)[-1]
    scheme, slashes, _ = text.removesuffix(rest).partition("://")
    return f"{scheme}{slashes}{rest}" if slashes else rest
