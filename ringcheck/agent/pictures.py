"""The picture of a keyspace's ring, for the API and for the page: finds out which one is asked for, and draws it."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from ringcheck.agent import page
from ringcheck.agent.answers import cache_of, cluster_of, current_verdict, reading_of
from ringcheck.agent.preflight import level_of
from ringcheck.agent.questions import judged
from ringcheck.core.assess import Question
from ringcheck.core.policy import Severity
from ringcheck.report import picture_svg
from ringcheck.report.picture import draw

if TYPE_CHECKING:
    from starlette.requests import Request

    from ringcheck.core.consistency import Level
    from ringcheck.core.verdict import Verdict
    from ringcheck.report.picture_svg import Drawing
    from ringcheck.report.reading import Reading


def ring(request: Request) -> Response:
    """`/api/v1/clusters/NAME/ring.svg`: a keyspace's ring; by default the worst keyspace at its worst level."""
    reading = reading_of(request)
    verdict = current_verdict(reading)
    keyspace = _chosen_keyspace(request, verdict)
    if keyspace is None:
        raise HTTPException(404, "there is no keyspace to draw")
    drawing = _drawing(request, reading, verdict, keyspace)
    return Response(drawing.svg, headers={"Content-Security-Policy": _POLICY}, media_type="image/svg+xml")


def chosen_level(request: Request) -> Level | None:
    """The level that is asked for; None for the worst."""
    name = request.query_params.get("level")
    return level_of(name) if name else None


def _chosen_keyspace(request: Request, verdict: Verdict) -> str | None:
    """The keyspace that is asked for; otherwise the headline's, or the worst if the headline is about no keyspace."""
    names = {keyspace.name for keyspace in verdict.keyspaces}
    alarms = (finding for finding in verdict.findings if finding.severity is not Severity.OK)
    lost = (finding.subject for finding in alarms if finding.kind.loses)
    headline = next((subject for subject in lost if subject in names), None)
    worst = max(verdict.keyspaces, key=lambda keyspace: keyspace.severity, default=None)
    return request.query_params.get("keyspace") or headline or (worst.name if worst else None)


def _drawing(request: Request, reading: Reading, verdict: Verdict, keyspace: str) -> Drawing:
    """The picture as SVG and in words.

    Raises:
        HTTPException: 404 if there is no such keyspace.
    """
    cluster, level = cluster_of(request), chosen_level(request)

    def make() -> Drawing:
        known = next((other for other in verdict.keyspaces if other.name == keyspace), None)
        shown = verdict
        if known is None or (level and level not in {watched.level for watched in known.levels}):
            shown = judged(reading, verdict, cluster, Question(keyspaces=(keyspace,), levels=(level,) if level else ()))
        picture = draw(shown, keyspace, level)
        return picture_svg.drawing(picture) if picture else picture_svg.NOTHING

    drawing = cache_of(request).get(verdict, (reading.cluster, "ring", keyspace, level), make)
    if not drawing:
        raise HTTPException(404, f"there is no keyspace {keyspace!r}")
    return drawing


def shown_picture(request: Request, reading: Reading) -> page.PagePicture | None:
    """The picture on a cluster's page; None without a current verdict or a keyspace.

    Raises:
        HTTPException: 404 if there is no such keyspace.
    """
    verdict = reading.verdict if reading.fresh else None
    keyspace = _chosen_keyspace(request, verdict) if verdict else None
    if verdict is None or keyspace is None:
        return None
    drawing, level = _drawing(request, reading, verdict, keyspace), chosen_level(request)
    asked = {"keyspace": keyspace, "level": level.value if level else None, "at": verdict.snapshot.taken_at}
    query = urlencode({key: value for key, value in asked.items() if value})
    url = f"/api/v1/clusters/{quote(reading.cluster, safe='')}/ring.svg?{query}"
    return page.PagePicture(
        keyspace=keyspace, url=url, title=drawing.title, description=drawing.description, legend=drawing.legend
    )


def _picture_policy() -> str:
    """The Content-Security-Policy of an SVG that is opened by itself: it may apply its own styles, and nothing else."""
    hashes = [base64.b64encode(sha256(style.encode()).digest()).decode() for style in picture_svg.STYLES]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; style-src 'unsafe-hashes' {allowed}; frame-ancestors 'none'; sandbox"


_POLICY = _picture_policy()
