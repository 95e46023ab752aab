"""TLS and users of the agent's web server, from a file with the keys of Prometheus's exporter-toolkit.

Owns which of those keys are supported, and the check of passwords. An unsupported key or value is an error, never
ignored: a file that looks like protection but has no effect would be worse than no file.
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

from ringcheck.config.files import File, refuse_open
from ringcheck.config.parsing import UnreadableError, node_of
from ringcheck.config.reader import ConfigReader, Wrong
from ringcheck.config.sections import ConfigKey, Named, Section
from ringcheck.config.types import Choice, Text
from ringcheck.config.values import ConfigErrors
from ringcheck.errors import ConfigError
from ringcheck.http.sockets import unloadable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import yaml

COSTS = range(4, 15)  # costs of a bcrypt hash; 14 takes a second of CPU for each wrong password
REMEMBERED = 100  # valid passwords in the cache, as in exporter-toolkit
WAITING = 8  # passwords that are being checked, or wait for it

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """TLS of the server: paths of the certificate, of its key and of the clients' authorities, and options."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    client_auth_type: str = "NoClientCert"
    min_version: str = "TLS12"

    def context(self) -> ssl.SSLContext:
        """A context for a server.

        Raises:
            ConfigError: the files are not a certificate with its key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[self.min_version]
        context.verify_mode = _CLIENTS[self.client_auth_type]
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Read certificate, key and authorities; new connections use them.

        Raises:
            ConfigError: see `context`.
        """
        try:
            context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
            if self.client_ca_file:
                context.load_verify_locations(self.client_ca_file)
        except (OSError, ValueError) as error:
            files = ", ".join(filter(None, (self.cert_file, self.key_file, self.client_ca_file)))
            raise ConfigError(f"TLS with {files}: {unloadable(error)}") from None


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The whole file; the default is plain HTTP without users.

    Attributes:
        tls: None for plain HTTP.
        users: bcrypt hashes by user name.
        headers: headers of every response, in place of the built-in ones.
    """

    tls: ServerTls | None = None
    users: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def certified(self) -> bool:
        """Whether every client must present a trusted certificate."""
        return self.tls is not None and self.tls.client_auth_type == "RequireAndVerifyClientCert"


def _hash(value: str) -> bytes:
    match = re.fullmatch(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", value)
    if not match:
        raise ValueError("is not a bcrypt hash: `htpasswd -nBC 10 NAME` makes one")
    if int(match[1]) not in COSTS:
        raise ValueError(f"has cost {match[1]}; costs from 04 to {COSTS[-1]} are accepted, 10 is usual")
    return value.encode()


def _tls(_reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> ServerTls:
    tls = ServerTls(**values)
    verifies = tls.client_auth_type != "NoClientCert"
    if verifies and not tls.client_ca_file:
        raise Wrong(node, f"client_auth_type {tls.client_auth_type} needs a client_ca_file")
    if tls.client_ca_file and not verifies:
        raise Wrong(node, "client_ca_file has no effect without client_auth_type: RequireAndVerifyClientCert")
    return tls


_TLS = Section(
    what="tls_server_config",
    keys={
        "cert_file": ConfigKey(
            File(), "PEM file with the certificate, followed by its intermediate certificates.", required=True
        ),
        "key_file": ConfigKey(File(secret=True), "PEM file with the private key.", required=True),
        "client_ca_file": ConfigKey(File(), "PEM file with the authorities of clients' certificates."),
        "client_auth_type": ConfigKey(Choice(tuple(_CLIENTS)), "Whether clients need a certificate."),
        "min_version": ConfigKey(Choice(tuple(_VERSIONS)), "The oldest version of TLS."),
    },
    build=_tls,
)
_LINE = Text("a header's value", str)
_TOP = Section(
    what="the web configuration",
    keys={
        "tls_server_config": ConfigKey(_TLS, "TLS."),
        "basic_auth_users": ConfigKey(
            Named(
                what="basic_auth_users",
                of=Text("a bcrypt hash", _hash),
                pattern=r"[^:\x00-\x1f\x7f]{1,128}",
                names="a user's name",
            ),
            "Bcrypt hashes by user.",
        ),
        "http_server_config": ConfigKey(
            Section(
                what="http_server_config",
                keys={
                    "headers": ConfigKey(
                        Section(
                            what="headers",
                            keys={header: ConfigKey(_LINE, "A header.") for header in HEADERS},
                            build=lambda _reader, _node, values: values,
                        ),
                        "Headers of every response.",
                    )
                },
                build=lambda _reader, _node, values: values.get("headers", {}),
            ),
            "HTTP.",
        ),
    },
    build=lambda _reader, _node, values: WebConfig(
        values.get("tls_server_config"),
        MappingProxyType(values.get("basic_auth_users") or {}),
        MappingProxyType(values.get("http_server_config") or {}),
    ),
)


def load(path: str) -> WebConfig:
    """Read a file.

    Raises:
        ConfigErrors: every error of the file with its file:line:column.
    """
    reader = ConfigReader(path)
    config: WebConfig | None = None
    try:
        node = node_of(path)
        config = reader.value(_TOP, node, ())
        if config and config.users:
            refuse_open(Path(path), node)
    except Wrong as error:
        reader.wrong(error.node, str(error))
    except UnreadableError as error:
        reader.errors.append(f"{path}:{error}")
    if reader.errors or config is None:
        raise ConfigErrors(reader.errors)
    return config


def _cost(stored: bytes) -> int:
    return int(stored[4:6])


def _dummy_hash(cost: int) -> bytes:
    """A valid hash that no password matches."""
    return bcrypt.gensalt(cost) + b"." * 31


class BusyError(Exception):
    """Too many passwords are being checked."""


class Users:
    """Checks passwords; safe to use from many threads.

    Valid passwords are remembered, so that a scrape each second costs no bcrypt. A wrong password takes as many rounds
    as the most expensive hash, for every user name: the time does not reveal which users exist. exporter-toolkit checks
    a fixed hash for unknown users, which reveals them as soon as a user's hash has another cost.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = dict(hashes)
        self._highest = max(map(_cost, hashes.values()), default=COSTS[0])
        self._key = secrets.token_bytes(32)
        self._valid: OrderedDict[bytes, None] = OrderedDict()
        self._guard = threading.Lock()
        self._working = threading.Lock()  # bcrypt takes one core at most: a small machine has few
        self._room = threading.Semaphore(WAITING)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def remembered(self, authorization: str) -> bool | None:
        """Whether an Authorization header is valid, without bcrypt; None if `verify` must be called."""
        credentials = _name_and_password(authorization)
        if credentials is None:
            return False
        mark = self._mark(*credentials)
        with self._guard:
            if mark not in self._valid:
                return None
            self._valid.move_to_end(mark)
        return True

    def verify(self, authorization: str) -> bool:
        """Whether an Authorization header has a user and its password; takes the time of bcrypt.

        Raises:
            BusyError: too many passwords are being checked.
        """
        credentials = _name_and_password(authorization)
        if credentials is None:
            return False
        if not self._room.acquire(blocking=False):
            raise BusyError
        try:
            with self._working:
                return self._check(*credentials)
        finally:
            self._room.release()

    def _check(self, name: str, password: bytes) -> bool:
        stored = self._hashes.get(name)
        try:
            same = bcrypt.checkpw(password, stored or _dummy_hash(self._highest))
            if stored and not same:
                self._waste(password, _cost(stored))
        except ValueError:  # longer than the 72 bytes that bcrypt accepts: fails at once for every user name
            same = False
        if same and stored:
            self._remember(self._mark(name, password))
        return same and stored is not None

    def _waste(self, password: bytes, done: int) -> None:
        """Spend the rounds that are missing to the highest cost; each further cost doubles the rounds spent so far."""
        for cost in range(done, self._highest):
            bcrypt.checkpw(password, _dummy_hash(cost))

    def _remember(self, mark: bytes) -> None:
        with self._guard:
            self._valid[mark] = None
            while len(self._valid) > REMEMBERED:
                self._valid.popitem(last=False)

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
