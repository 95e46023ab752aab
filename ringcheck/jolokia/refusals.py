"""The reason that Jolokia 1.x and 2.x give for a refusal, in the body of an HTTP 403 or inside an HTTP 200."""

from __future__ import annotations

import json

from ringcheck.http.replies import LONGEST_TEXT, one_line, printable


def refusal_in(body: bytes) -> str:
    """The reason in the body of a refusal, printable and short: Jolokia's `error`, or the beginning of a text."""
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return one_line(body)
    return reason(reply.get("error"), reply.get("error_type")) if isinstance(reply, dict) else ""


def reason(error: object, error_type: object) -> str:
    """Jolokia's `error` in one line; without the Java class that Jolokia 1.x and 2.0 to 2.3 put before it."""
    text = printable(error) if isinstance(error, str) else ""
    text = text.removeprefix(f"{error_type} : ")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
