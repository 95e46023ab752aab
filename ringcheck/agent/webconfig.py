"""TLS and users of the agent's web server, from a file with the keys of Prometheus's exporter-toolkit.

Owns which of those keys are supported, and when a password is right. What a key asks for that is not done here is an
error and never passed over: a file that looks like protection and is none would be worse than no file.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import ssl
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import bcrypt

from ringcheck.config.source import UnreadableError, node_of
from ringcheck.config.types import Choice, ConfigKey, ConfigReader, File, Named, Section, Text, Wrong, refuse_open
from ringcheck.config.values import ConfigErrors
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import yaml

COSTS = range(4, 15)  # of a bcrypt hash; 14 is a second of CPU for each wrong password
KEPT = 100  # right passwords that are remembered; exporter-toolkit keeps as many
WAITING = 8  # wrong or new passwords that are looked at, or wait to be

_VERSIONS = {
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
_CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
HEADERS = ("Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Our certificate, and whose of clients; paths."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    client_auth_type: str = "NoClientCert"
    min_version: str = "TLS12"

    def context(self) -> ssl.SSLContext:
        """A context for a server.

        Raises:
            ConfigError: if the files hold no certificate and its key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.min_version]
        context.verify_mode = _CLIENTS[self.client_auth_type]
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Read certificate, key and authorities; connections from now on use them.

        Raises:
            ConfigError: as `context`.
        """
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
            if self.client_ca_file:
                context.load_verify_locations(self.client_ca_file)
        except (OSError, ValueError) as error:
            files = ", ".join(one for one in (self.cert_file, self.key_file, self.client_ca_file) if one)
            raise ConfigError(f"TLS with {files}: {getattr(error, 'strerror', None) or error}") from None


@dataclass(frozen=True, slots=True)
class WebConfig:
    """All of the file; without one nothing is encrypted, and nobody has a name.

    Attributes:
        tls: None for plain HTTP.
        users: bcrypt hashes by name.
        headers: that each response has in place of our own.
    """

    tls: ServerTls | None = None
    users: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def certified(self) -> bool:
        """Whether every client has shown a certificate that is known."""
        return self.tls is not None and self.tls.client_auth_type == "RequireAndVerifyClientCert"


def _hash(value: str) -> bytes:
    found = re.fullmatch(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", value)
    if not found:
        raise ValueError("is no bcrypt hash: `htpasswd -nBC 10 NAME` makes one")
    if int(found[1]) not in COSTS:
        raise ValueError(f"costs 2^{found[1]} rounds for each try; from 04 to {COSTS[-1]} are taken, 10 is usual")
    return value.encode()


def _tls(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> ServerTls:
    found = ServerTls(**values)
    wanted = found.client_auth_type != "NoClientCert"
    if wanted and not found.client_ca_file:
        raise Wrong(node, f"client_auth_type {found.client_auth_type} needs a client_ca_file")
    if found.client_ca_file and not wanted:
        raise Wrong(node, "client_ca_file has no effect without client_auth_type: RequireAndVerifyClientCert")
    return found


_TLS = Section(
    "tls_server_config",
    {
        "cert_file": ConfigKey(File(), "The certificate, with those that lead to its authority.", required=True),
        "key_file": ConfigKey(File(secret=True), "Its key.", required=True),
        "client_ca_file": ConfigKey(File(), "Authorities of clients' certificates."),
        "client_auth_type": ConfigKey(Choice(tuple(_CLIENTS)), "Whether clients need a certificate."),
        "min_version": ConfigKey(Choice(tuple(_VERSIONS)), "The oldest version of TLS."),
    },
    _tls,
)
_LINE = Text("a header's value", str)
_TOP = Section(
    "the web configuration",
    {
        "tls_server_config": ConfigKey(_TLS, "TLS."),
        "basic_auth_users": ConfigKey(
            Named("basic_auth_users", Text("a bcrypt hash", _hash), r"[^:\x00-\x1f\x7f]{1,128}", "a user's name"),
            "Bcrypt hashes by user.",
        ),
        "http_server_config": ConfigKey(
            Section(
                "http_server_config",
                {
                    "headers": ConfigKey(
                        Section(
                            "headers", {one: ConfigKey(_LINE, "A header.") for one in HEADERS}, lambda _r, _n, v: v
                        ),
                        "Of every response.",
                    )
                },
                lambda _reader, _node, values: values.get("headers", {}),
            ),
            "HTTP.",
        ),
    },
    lambda _reader, _node, values: WebConfig(
        values.get("tls_server_config"),
        MappingProxyType(values.get("basic_auth_users") or {}),
        MappingProxyType(values.get("http_server_config") or {}),
    ),
)


def load(path: str) -> WebConfig:
    """Read a file.

    Raises:
        ConfigErrors: with every mistake, each at its file:line:column.
    """
    reader = ConfigReader(path)
    found: WebConfig | None = None
    try:
        node = node_of(path)
        found = reader.value(_TOP, node, ())
        if found and found.users:
            refuse_open(Path(path), node)
    except Wrong as error:
        reader.wrong(error.node, str(error))
    except UnreadableError as error:
        reader.errors.append(f"{path}:{error}")
    if reader.errors or found is None:
        raise ConfigErrors(reader.errors)
    return found


def _cost(stored: bytes) -> int:
    return int(stored[4:6])


def _nobody(cost: int) -> bytes:
    """What looks like a hash and is of no password."""
    return bcrypt.gensalt(cost) + b"." * 31


class BusyError(Exception):
    """Too many passwords are being looked at."""


class Users:
    """Says whether a password is right; safe to use from many threads.

    Right ones are remembered, so that a scrape a second costs no bcrypt. A wrong one takes as many rounds as the hash
    that costs most, whosever it is: how long it takes tells nobody who is a user. exporter-toolkit looks at a fixed
    hash for unknown users, which tells it as soon as a user's hash has another cost.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = dict(hashes)
        self._highest = max(map(_cost, hashes.values()), default=COSTS[0])
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._guard = threading.Lock()
        self._one = threading.Lock()  # one core of a small machine may go to bcrypt, and not all
        self._room = threading.Semaphore(WAITING)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def known(self, authorization: str) -> bool | None:
        """Whether it is right, as far as that can be told at once; None where `right` must be asked."""
        found = _name_and_password(authorization)
        if found is None:
            return False
        mark = self._mark(*found)
        with self._guard:
            if mark not in self._right:
                return None
            self._right.move_to_end(mark)
        return True

    def right(self, authorization: str) -> bool:
        """Whether an Authorization header names a user and its password; takes a while.

        Raises:
            BusyError: if too many others are being looked at.
        """
        found = _name_and_password(authorization)
        if found is None:
            return False
        if not self._room.acquire(blocking=False):
            raise BusyError
        try:
            with self._one:
                return self._look(*found)
        finally:
            self._room.release()

    def _look(self, name: str, password: bytes) -> bool:
        known = self._hashes.get(name)
        try:
            same = bcrypt.checkpw(password, known or _nobody(self._highest))
            if known and not same:
                self._waste(password, _cost(known))
        except ValueError:  # longer than the 72 bytes that bcrypt looks at: that takes no time, for nobody
            same = False
        if same and known:
            self._remember(self._mark(name, password))
        return same and known is not None

    def _waste(self, password: bytes, done: int) -> None:
        """As many rounds as are missing to the highest cost: each cost from the one that was paid doubles the sum."""
        for cost in range(done, self._highest):
            bcrypt.checkpw(password, _nobody(cost))

    def _remember(self, mark: bytes) -> None:
        with self._guard:
            self._right[mark] = None
            while len(self._right) > KEPT:
                self._right.popitem(last=False)

    def _mark(self, name: str, password: bytes) -> bytes:
        stored = self._hashes.get(name, b"")
        return hmac.digest(self._key, b"\0".join((name.encode(), stored, password)), sha256)


def _name_and_password(authorization: str) -> tuple[str, bytes] | None:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        return (name.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None
