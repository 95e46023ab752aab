"""On a machine with a twentieth of a core, a real check_nrpe gets the line of `check` before its own timeout."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.counterparts.monitored import OK, ROOT, UNKNOWN, by_nrpe, monitored, script, served_by_nrpe
from tests.starved import EFFECTS, twentieth_of_a_core

if TYPE_CHECKING:
    from pathlib import Path

    from tests.counterparts.monitored import Monitored

STOPPED = "UNKNOWN - the check took longer than 9 s and was stopped\n"
GIVES_UP = ("-t", "10")  # seconds, the default of check_nrpe


def command(watched: Monitored, effect: str) -> str:
    """The line of NRPE's configuration for a check that does this kind of work; `-t` is the default."""
    (watched.folder / "sitecustomize.py").write_text(EFFECTS)
    assigned = {"PYTHONPATH": f"{watched.folder}:{ROOT}", "EFFECT_PID": str(watched.folder / "pid")}
    assigned |= {"EFFECT": effect, "EFFECT_IN": "click"} if effect else {}
    words = [str(watched.plugins / "check_cassandra_ring"), "-C", str(watched.config)]
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in assigned.items())
    script(watched.plugins / "starved", f"{exports}exec {shlex.join(words)}")
    return f"command[starved]={watched.plugins}/starved\n"


@pytest.mark.slow
@pytest.mark.parametrize("effect", ["power", "sleep", "loop"])
def test_the_line_comes_before_check_nrpe_gives_up(effect: str, tmp_path: Path) -> None:
    """NRPE, the working process and the waiting one share the quota, and the work never ends."""
    with monitored(tmp_path) as watched, twentieth_of_a_core() as procs:
        with served_by_nrpe(watched, command(watched, effect), procs) as port:
            assert by_nrpe(port, "starved", *GIVES_UP) == (UNKNOWN, STOPPED)
        assert (tmp_path / "pid").exists(), "the work did not begin"


@pytest.mark.slow
def test_a_check_without_time_is_not_lost(tmp_path: Path) -> None:
    """With the usual work it reports the state of the ring or is stopped; in no case does check_nrpe time out."""
    with (
        monitored(tmp_path) as watched,
        twentieth_of_a_core() as procs,
        served_by_nrpe(watched, command(watched, ""), procs) as port,
    ):
        code, output = by_nrpe(port, "starved", *GIVES_UP)
    assert output == STOPPED or output.startswith(("OK - orders-prod: ", "UNKNOWN - orders-prod: "))
    assert code == (OK if output.startswith("OK") else UNKNOWN)
