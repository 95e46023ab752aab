"""The page of codes: what each finding and each reason of the gate means, and what to do about it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from ringcheck.agent.page.rendering import render
from ringcheck.core.findings import SECTIONS
from ringcheck.core.reasons import REASONS

if TYPE_CHECKING:
    from datetime import datetime


def finding_url(code: str, template: str | None = None) -> str:
    """Where a finding is explained: the operator's own page, or the one below.

    Args:
        code: of the finding.
        template: `runbook_url` of the configuration, with `{code}` in it.
    """
    return template.replace("{code}", code) if template else f"/reference#{code}"


def reference(now: datetime) -> str:
    """The page."""
    return render("reference.html", now, sections=SECTIONS, reasons=REASONS.values(), words=_marked_up)


@cache
def _marked_up(text: str) -> Markup:
    """Text of the tables, whose `code` and *emphasis* are Markdown."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", html))  # noqa: S704 - escaped before
