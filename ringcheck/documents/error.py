"""The document of a command that failed, `ringcheck/error/1`: a program reads it in place of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringcheck.documents.fields import Json

ERROR = "ringcheck/error/1"


def error_document(*, command: str, kind: str, text: str, exit_code: int, next_step: str = "", page: str = "") -> Json:
    """An error as `ringcheck/error/1`.

    Args:
        command: the name of the command; empty if none was recognised.
        kind: `usage`, `configuration`, `data`, `unreachable`, `denied`, `error`, `limit`, `interrupted` or `bug`.
        text: one line for an operator.
        exit_code: of the command.
        next_step: what to do; empty if the text says it.
        page: page of the documentation; empty if there is none.
    """
    return {
        "schema": ERROR,
        "command": command or None,
        "kind": kind,
        "error": text,
        "exit_code": exit_code,
        "next_step": next_step or None,
        "documentation": page or None,
    }
