"""What Jolokia says when it refuses a request: in bodies of HTTP 403 and inside of HTTP 200, by 1.x and 2.x."""

from __future__ import annotations

import json

from ringcheck.http.replies import LONGEST_TEXT, one_line, printable


def words(body: bytes) -> str:
    """What the body of a refusal says, printable and short: Jolokia's `error`, or the first words of a text."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return one_line(body)
    return reason(said.get("error"), said.get("error_type")) if isinstance(said, dict) else ""


def reason(error: object, error_type: object) -> str:
    """Jolokia's `error` in one line, without the Java class that Jolokia 1.x and 2.0 to 2.3 put before it."""
    text = printable(error) if isinstance(error, str) else ""
    text = text.removeprefix(f"{error_type} : ")
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."
