"""The file with TLS and users: accepted keys, refused keys with their positions, and how passwords are checked."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING

import bcrypt
import pytest
import trustme

from ringcheck.agent import webconfig
from ringcheck.agent.webconfig import Users, load
from ringcheck.config.values import ConfigErrors
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HASH = "$2b$04$" + "a" * 53


def hashed(password: str, cost: int = 4) -> bytes:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def written(folder: Path, text: str, mode: int = 0o600) -> str:
    """A web configuration beside a certificate cert.pem and its key key.pem."""
    pair = trustme.CA().issue_cert("127.0.0.1")
    pair.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    pair.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    file = folder / "web.yml"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


def test_all_keys_are_accepted(tmp_path: Path) -> None:
    """They have the form of exporter-toolkit's documentation."""
    path = written(
        tmp_path,
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: cert.pem,"
        " client_auth_type: RequireAndVerifyClientCert, min_version: TLS13}\n"
        f"basic_auth_users: {{alice: {HASH}, 'bob smith': {HASH}}}\n"
        "http_server_config: {headers: {Strict-Transport-Security: 'max-age=1'}}\n",
    )
    config = load(path)
    assert config.tls
    assert config.tls.cert_file == str(tmp_path / "cert.pem")
    assert config.tls.context().minimum_version is ssl.TLSVersion.TLSv1_3
    assert config.tls.context().verify_mode is ssl.CERT_REQUIRED
    assert dict(config.users) == {"alice": HASH.encode(), "bob smith": HASH.encode()}
    assert dict(config.headers) == {"Strict-Transport-Security": "max-age=1"}
    assert config.certified


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", " is empty"),
        ("[]", "1:1: the web configuration must be a mapping"),
        ("tls: {}", "1:1: unknown key 'tls' in the web configuration"),
        ("basic_auth_user:\n  a: b", "1:1: unknown key 'basic_auth_user' in the web configuration (did you mean"),
        ("basic_auth_users:\n  a: secret", "2:6: is not a bcrypt hash"),
        ("basic_auth_users:\n  a: $2b$20$" + "a" * 53, "2:6: has cost 20; costs from 04 to 14"),
        ("basic_auth_users:\n  'a:b': " + HASH, "2:3: 'a:b' can't be a user's name"),
        ("basic_auth_users: {}", "1:19: basic_auth_users must not be empty"),
        ("tls_server_config: {cert_file: cert.pem}", "1:20: tls_server_config needs the key 'key_file'"),
        ("tls_server_config: {cert_file: no.pem, key_file: key.pem}", "1:32: "),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAnyClientCert}",
            "1:79: 'RequireAnyClientCert' is not one of",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: VerifyClientCertIfGiven}",
            "1:20: client_auth_type VerifyClientCertIfGiven needs a client_ca_file",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_ca_file: cert.pem}",
            "1:20: client_ca_file has no effect without client_auth_type",
        ),
        ("tls_server_config: {cert_file: cert.pem, key_file: key.pem, min_version: TLS10}", "1:74: 'TLS10' is not"),
        ("http_server_config:\n  http2: true", "2:3: unknown key 'http2'"),
        ("http_server_config: {headers: {X-Other: a}}", "1:32: unknown key 'X-Other' in headers"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\nb"}}', "1:49: must be a header's value in one line"),
    ],
)
def test_settings_without_effect_are_errors(tmp_path: Path, text: str, error: str) -> None:
    """Each error has its position in the file."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigErrors) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}:{error}")


def test_secrets_must_not_be_readable_by_everyone(tmp_path: Path) -> None:
    """This applies to the key and to the file with the hashes."""
    path = written(tmp_path, f"basic_auth_users: {{a: {HASH}}}", mode=0o644)
    with pytest.raises(ConfigErrors, match="is a secret and can be read by everybody"):
        load(path)
    path = written(tmp_path, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}", mode=0o644)
    assert load(path).tls
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(ConfigErrors, match="is a secret and can be read by everybody"):
        load(path)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    """The error comes at the start, not at the first handshake."""
    path = written(tmp_path, "tls_server_config: {cert_file: cert.pem, key_file: key.pem}")
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(tmp_path / "key.pem")
    config = load(path)
    assert config.tls
    with pytest.raises(ConfigError, match="TLS with"):
        config.tls.context()


@pytest.mark.parametrize(
    ("authorization", "valid"),
    [
        (basic("alice", "s3cret"), True),
        (basic("alice", "s3cret").replace("Basic", "basic"), True),
        (basic("alice", "wrong"), False),
        (basic("alice", ""), False),
        (basic("mallory", "s3cret"), False),
        (basic("", ""), False),
        (basic("alice", "s3cret" + "x" * 100), False),
        (basic("alice", "s3cret\0"), False),
        (basic("alice", "s3cret").replace("Basic", "Bearer"), False),
        ("Basic !!!", False),
        ("Basic YWxpY2U=", False),
        ("Basic /w==", False),
        ("", False),
    ],
)
def test_only_the_password_of_a_known_user_is_valid(authorization: str, valid: bool) -> None:  # noqa: FBT001 - a table
    """Each is checked twice, since a valid password is remembered."""
    users = Users({"alice": hashed("s3cret")})
    assert users.verify(authorization) is valid
    assert users.verify(authorization) is valid
    assert (users.remembered(authorization) is True) is valid


def test_a_valid_password_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape per second then costs no bcrypt; a wrong password costs one each time, even for an unknown user."""
    users = Users({"alice": hashed("s3cret", 5)})
    costs: list[bytes] = []
    check = bcrypt.checkpw

    def counted(password: bytes, stored: bytes) -> bool:
        costs.append(stored[4:6])
        return check(password, stored)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert users.remembered(basic("alice", "s3cret")) is None
    assert users.verify(basic("alice", "s3cret"))
    assert all(users.remembered(basic("alice", "s3cret")) for _ in range(10))
    assert costs == [b"05"]
    for _ in range(2):
        assert users.remembered(basic("alice", "wrong")) is None
        assert not users.verify(basic("alice", "wrong"))
        assert not users.verify(basic("mallory", "wrong"))
    assert costs == [b"05"] * 5


@pytest.mark.parametrize("name", ["cheap", "dear", "mallory"])
@pytest.mark.parametrize(("password", "cost"), [("wrong", 2**7), ("p\0", 2**7), ("w" * 73, 0)])
def test_a_wrong_password_costs_the_same_for_every_user(
    name: str, password: str, cost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every name costs as much as the most expensive user, so that the time does not reveal which users exist."""
    users = Users({"cheap": hashed("p", 4), "dear": hashed("p", 7), "other": hashed("p", 5)})
    rounds = []
    check = bcrypt.checkpw

    def counted(password: bytes, stored: bytes) -> bool:
        same = check(password, stored)
        rounds.append(2 ** int(stored[4:6]))
        return same

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    assert not users.verify(basic(name, password))
    assert sum(rounds) == cost
    assert users.verify(basic("cheap", "p"))


def test_the_remembered_passwords_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new configuration starts with none remembered."""
    monkeypatch.setattr(webconfig, "REMEMBERED", 2)
    users = Users({name: hashed("p") for name in "abc"})
    assert all(users.verify(basic(name, "p")) for name in "abc")
    assert [users.remembered(basic(name, "p")) for name in "abc"] == [None, True, True]
    assert Users({"b": hashed("other")}).remembered(basic("b", "p")) is None


def test_too_many_passwords_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking passwords uses one core at most."""
    monkeypatch.setattr(webconfig, "WAITING", 0)
    with pytest.raises(webconfig.BusyError):
        Users({"a": hashed("p")}).verify(basic("a", "p"))
