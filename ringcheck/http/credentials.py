"""Passwords, read from files when they are needed and never kept in a configuration, and how HTTP sends them."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

from ringcheck.errors import UsageError

PASSWORD_VARIABLE = "RINGCHECK_PASSWORD"  # noqa: S105 - the variable's name
JMX_PASSWORD_VARIABLE = "RINGCHECK_JMX_PASSWORD"  # noqa: S105 - likewise


def stored(path: str) -> Path:
    """The file that a path names; a bare name is looked up in $CREDENTIALS_DIRECTORY if that is set."""
    file = Path(path)
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(credentials) / path if credentials and len(file.parts) == 1 else file


def secret(path: str) -> str:
    """A password from its file; a bare name is looked up as by `stored`.

    Raises:
        UsageError: if the file can't be read, can be read by everybody, or contains no password.
    """
    file = stored(path)
    try:
        if file.stat().st_mode & 0o004:
            raise UsageError(f"{file} holds a password and can be read by everybody: chmod o-r it")
        password = file.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} holds no password: it is not UTF-8") from None
    if not password:
        raise UsageError(f"{file} is empty: it should hold a password")
    return password


def basic_auth(username: str, password: str) -> str:
    """The value of an Authorization header for HTTP basic authentication."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
