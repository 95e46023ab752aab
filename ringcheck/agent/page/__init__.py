"""Renders the agent's pages: the state of the clusters, for people with a browser.

Owns the words, order and bounds of a page; as in report/, all of it is pure. `clusters` has the page of all clusters,
`cluster` the page of one, `nodes` its tables of nodes, `reference` the page of codes, `rendering` what they share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringcheck.agent.page.cluster import CHANGES, ENTRIES, MOMENTS, PagePicture, Shown, cluster
from ringcheck.agent.page.clusters import CARDS, SORTS, Asked, Card, current_severity, overview, summary
from ringcheck.agent.page.reference import finding_url, reference
from ringcheck.agent.page.rendering import ICONS, STATIC, age, cluster_url, icon, render, static

if TYPE_CHECKING:
    from datetime import datetime

TOO_MANY, SERVER_ERROR = 429, 500  # statuses: too many requests; this and above are not the client's fault

__all__ = [
    "CARDS", "CHANGES", "ENTRIES", "ICONS", "MOMENTS", "SORTS", "STATIC", "Asked", "Card", "PagePicture", "Shown",
    "age", "cluster", "cluster_url", "current_severity", "finding_url", "icon", "overview", "problem", "reference",
    "static", "summary",
]  # fmt: skip


def problem(status: int, text: str, now: datetime, near: str | None = None) -> str:
    """A page for an error; `near` is the name of the cluster that was probably meant.

    It is loaded again only if the error may pass without another request: what is wrong with the URL stays wrong.
    """
    passing = status == TOO_MANY or status >= SERVER_ERROR
    return render("error.html", now, status=status, text=text, near=near, passing=passing)
