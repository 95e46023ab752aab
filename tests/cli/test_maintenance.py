"""Restart leases in verdicts: which commands read them, and what happens if the store does not answer."""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from ringcheck.cli import run
from ringcheck.cli.lease_reading import LEASES
from ringcheck.cli.target import ChosenCluster
from ringcheck.core.maintenance import Holder
from ringcheck.documents.snapshot import snapshot_document
from ringcheck.errors import RingcheckError
from tests import article

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELD = Holder(node="10.0.0.1", owner="alice@ops1", purpose="kernel", since="2025-12-31T23:50:00Z")
STRICT = ["-w", "LOCAL_ALL", "-c", "LOCAL_QUORUM", "-k", "blog_3"]


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a cluster that keeps leases and has a node down."""

    @contextmanager
    def polls(_: ChosenCluster) -> Iterator[Callable[[], object]]:
        yield lambda: article.snapshot(["10.0.0.1"])

    monkeypatch.setattr(ChosenCluster, "polls", polls)
    path = tmp_path / "ringcheck.yaml"
    path.write_text(
        "clusters:\n  blogs:\n    jolokia: {contact_points: [127.0.0.1]}\n"
        f"    lease: {{file: {tmp_path}/leases, deadline: 1h}}\n"
    )
    return ["-C", str(path)]


def store(monkeypatch: pytest.MonkeyPatch, holders: Callable[[], tuple[Holder, ...]]) -> None:
    """Replace the lease store by a stand-in."""
    module = ModuleType("ringcheck.leases.configured")
    methods = {"holders": staticmethod(holders), "close": lambda _: None}
    module.open_store = lambda *_: type("Store", (), methods)()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def broken() -> tuple[Holder, ...]:
    raise RingcheckError("etcd: connection refused")


def test_check_reads_leases_and_names_the_holder(
    configured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The warning about the leased node is only a note, and the line names the lease's owner."""
    store(monkeypatch, lambda: (HELD,))
    assert run(["check", *configured, *STRICT]) == 0
    assert "10.0.0.1 restarting (lease of alice@ops1)" in capsys.readouterr().out
    store(monkeypatch, tuple)
    assert run(["check", *configured, *STRICT]) == 1


@pytest.mark.parametrize("command", [["health"], ["watch", "--plain", "--count", "1"]])
def test_health_and_watch_read_leases_too(
    command: list[str], configured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their output names the owner."""
    store(monkeypatch, lambda: (HELD,))
    run([*command, *configured, "-k", "blog_3"])
    assert "note lease_held: 10.0.0.1 is under the restart lease of alice@ops1" in capsys.readouterr().out


def test_a_broken_store_lowers_no_severity(
    configured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check goes on as if there were no leases, and reports the broken store."""
    store(monkeypatch, broken)
    assert run(["check", "-v", *configured, *STRICT]) == 1
    problem = "who holds restart leases is not known: etcd: connection refused"
    text = f"note: {problem} (a warning about a node under a lease does not become a note) [leases_unknown]"
    assert text in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_a_store_that_hangs_is_not_waited_for(
    configured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check waits for leases at most one second."""
    answered = threading.Event()
    store(monkeypatch, lambda: (answered.wait(60), HELD)[1:])
    started = time.monotonic()
    try:
        assert run(["check", "--format", "json", *configured, *STRICT]) == 1
    finally:
        answered.set()
    assert time.monotonic() - started < LEASES + 20
    document = json.loads(capsys.readouterr().out)
    assert document["holders"] is None
    assert [one["summary"] for one in document["findings"] if one["code"] == "leases_unknown"] == [
        "who holds restart leases is not known: the store of leases took longer than 1 s"
    ]


def test_a_recorded_snapshot_is_not_judged_by_the_leases_of_today(
    configured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --from the store is not read."""
    asked = threading.Event()
    store(monkeypatch, lambda: (asked.set(), HELD)[1:])  # type: ignore[func-returns-value]
    path = tmp_path / "snapshot.json"
    path.write_text(json.dumps(snapshot_document(article.snapshot(["10.0.0.1"]))))
    run(["check", *configured, "--from", str(path)])
    assert not asked.is_set()
