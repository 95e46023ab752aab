"""Complete screens: what each command shows at a terminal of 60, 80 and 120 columns, with and without colours.

The screens are files in `tests/report/screens`; `python -m tests.report.test_screens` writes them again; read them
before you commit them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.node_status import statuses, stop_answers
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy
from ringcheck.core.risk import risk
from ringcheck.core.whatif import Supposition, what_if
from ringcheck.report import gate, lease, nagios, nodes, picture_text, text, whatif
from ringcheck.report import plan as plan_report
from ringcheck.report.picture import draw
from ringcheck.report.terminal import fitted
from tests import article, figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.core.ring import Snapshot
    from ringcheck.report.picture import Picture

FOLDER = Path(__file__).parent / "screens"
WIDTHS = (60, 80, 120)
ONE, TWO, _ = article.ADDRESSES
ACCEPTING = Gate(accept=("blog_1",))
LEASES = {
    "cluster": "blogs", "store": "etcd http://127.0.0.1:2379", "deadline": 3600.0,
    "holders": [
        {
            "node": ONE, "owner": "anna@build-7.example.org/roll-5c1d", "purpose": "new kernel",
            "since": "2026-01-01T00:00:00Z", "age": age, "overdue": age > 3600,
        }
        for age in (60.0, 9000.0)
    ],
    "history": [
        {
            "node": TWO, "owner": "bob@old", "by": "anna@build-7", "taken_at": "2026-01-01T00:00:00Z",
            "reason": "the machine of the run has been replaced",
        }
    ],
}  # fmt: skip


def forty() -> Snapshot:
    """The article's cluster with 39 keyspaces of three replicas and one of a single replica."""
    seen = article.snapshot([ONE])
    names = tuple(f"keyspace_{number:02}" for number in range(39))
    return replace(seen, rings=(replace(seen.rings[1], keyspaces=names), seen.rings[0]))


def _nodes(colour: bool, width: int) -> str:  # noqa: FBT001 - what every screen takes
    seen = article.snapshot([ONE])
    verdict = assess(seen, Policy(), Question())
    stops = stop_answers(Gatekeeper(seen, Policy(), ACCEPTING), article.ADDRESSES)
    table = nodes.NodesTable(verdict=verdict, statuses=statuses(verdict, stops), total=3)
    return nodes.render(table, colour=colour, width=width)


def _picture() -> Picture:
    question = Question(keyspaces=("blog",), levels=(Level.LOCAL_QUORUM,))
    picture = draw(assess(figures.snapshot([figures.A, figures.C]), Policy(), question), "blog", Level.LOCAL_QUORUM)
    assert picture is not None
    return picture


SCREENS: dict[str, Callable[[bool, int], str]] = {
    "check -v": lambda colour, width: fitted(
        nagios.lines(assess(article.snapshot([ONE]), Policy()), verbosity=1), width, colour=colour
    ),
    "health": lambda colour, width: text.render(assess(article.snapshot([ONE]), Policy()), colour=colour, width=width),
    "health --problems": lambda colour, width: text.render(
        assess(article.snapshot([ONE]), Policy()), colour=colour, width=width, problems=True
    ),
    "health of 40 keyspaces": lambda colour, width: text.render(assess(forty(), Policy()), colour=colour, width=width),
    "nodes": _nodes,
    "preflight, unsafe": lambda colour, width: gate.render(
        Gatekeeper(article.snapshot([ONE]), Policy(), Gate()).decide([TWO]), colour=colour, width=width
    ),
    "preflight, safe": lambda colour, width: gate.render(
        Gatekeeper(article.snapshot(), Policy(), ACCEPTING).decide([TWO]), colour=colour, width=width
    ),
    "plan": lambda colour, width: plan_report.render(
        plan(article.snapshot(), Policy(), ACCEPTING, nodes=article.ADDRESSES), colour=colour, width=width
    ),
    "plan, refused": lambda colour, width: plan_report.render(
        plan(article.snapshot(), Policy(), Gate(), nodes=article.ADDRESSES), colour=colour, width=width
    ),
    "risk": lambda colour, width: whatif.render_risk(
        risk(article.snapshot(), Policy(), Question(), 2), colour=colour, width=width
    ),
    "what-if": lambda colour, width: whatif.render(
        what_if(article.snapshot(), Policy(), Supposition(down=(ONE,))), colour=colour, width=width
    ),
    "ring": lambda colour, width: picture_text.render(
        _picture(), colour=colour, columns=width, signs=picture_text.ASCII
    ),
    "lease list": lambda colour, width: lease.render(LEASES, colour=colour, width=width),
}


def screens(width: int, *, colour: bool) -> str:
    """All screens at a width; ESC is written as `<ESC>`, so that the files can be read and compared."""
    parts = [f"==== {name}\n{show(colour, width)}\n" for name, show in SCREENS.items()]
    return "\n".join(parts).replace("\x1b", "<ESC>")


def path(width: int, *, colour: bool) -> Path:
    return FOLDER / f"{width}{'-colour' if colour else ''}.txt"


@pytest.mark.slow
@pytest.mark.parametrize("colour", [False, True], ids=["plain", "colour"])
@pytest.mark.parametrize("width", WIDTHS)
def test_screens(width: int, colour: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """Each is exactly as it was when somebody last reviewed it."""
    assert screens(width, colour=colour) == path(width, colour=colour).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_screen_fits_and_colours_change_nothing_else(name: str, width: int) -> None:
    """No line is wider than the terminal, and without its escapes a coloured screen is the plain one."""
    plain, painted = SCREENS[name](False, width), SCREENS[name](True, width)  # noqa: FBT003 - as above
    assert max(map(len, plain.splitlines())) <= width
    bare = re.sub(r"\x1b\[[0-9;]*m", "", painted)
    assert [line.rstrip() for line in bare.splitlines()] == plain.splitlines()
    assert "\x1b[" in painted


def test_forty_keyspaces_fit_a_screen() -> None:
    """Keyspaces with the same answers are one group; up to the table's end it fits in 80 columns and 24 lines."""
    table = SCREENS["health of 40 keyspaces"](False, 80).partition("\n\nWorst range")[0]  # noqa: FBT003 - as above
    assert len(table.splitlines()) <= 20
    assert "keyspace_00, keyspace_01, " in table
    assert "keyspace_38: SimpleStrategy {replication_factor=3}, 768 ranges" in " ".join(table.split())


def test_many_findings_that_are_alike_are_counted_at_a_terminal() -> None:
    """If 40 keyspaces lose a level, a screen shows four of the findings and counts the others; a file gets more."""
    verdict = assess(replace(forty(), views=article.snapshot([ONE, TWO]).views), Policy())
    shown = text.render(verdict, width=80)
    assert "  WARNING unavailable: 36 more like these" in shown.splitlines()
    assert len(shown.splitlines()) < 60
    assert text.render(verdict).count("WARNING unavailable: ") > 20


def test_problems_leave_out_what_is_ok() -> None:
    """The lost level and the finding about it stay; keyspaces and notes without a problem are left out."""
    shown = text.render(assess(article.snapshot([ONE]), Policy()), problems=True)
    assert "blog_1: " in shown
    assert "blog_3: " not in shown
    assert "note node_down" not in shown
    assert " OK " not in shown
    healthy = text.render(assess(article.snapshot(), Policy()), problems=True)
    assert healthy.startswith("OK blogs: ")
    assert "KEYSPACE, LEVEL" not in healthy


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for columns in WIDTHS:
        for painted in (False, True):
            path(columns, colour=painted).write_text(screens(columns, colour=painted))
