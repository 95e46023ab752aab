"""The service under pressure: no descriptors, a full disk, no memory, a changed clock, libraries that log.

Each of these makes one line in the log's own format. `/metrics` still answers, and everything recovers by itself.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import resource
import socket
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import uvicorn

from ringcheck.agent import polls, web
from ringcheck.agent.clock import ClockWatch
from ringcheck.agent.log import LibraryLogs, Log, Troubles
from ringcheck.agent.mailbox import Mailbox
from ringcheck.agent.polls import PollLoop
from ringcheck.errors import LimitError, limit_of
from ringcheck.http import descriptors
from ringcheck.http.exchange import exchange
from ringcheck.http.threads import WorkerThreads
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address
from ringcheck.simulator.faults import Fault
from ringcheck.simulator.server import serve
from tests.agent.embedded import embedded, polled
from tests.agent.service import PATIENCE, Clusters, Service, clusters, service
from tests.agent.watched import World, watched
from tests.counterparts.daemon import await_, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITED = "this host is at a limit: "

# The service; files in its folder make it open all descriptors, need much memory, set its clock, and let a library log.
PRESSED = """
import logging, os, pathlib, sys, threading, time, warnings
from ringcheck.agent.judging import Judging

folder = pathlib.Path(sys.argv[1])
judge, clock, held = Judging.judge, time.time, []

def pressed(judging, seen, given):
    if (folder / "much").exists():
        bytearray(1 << 30)
    return judge(judging, seen, given)

def press():
    while True:
        try:
            while (folder / "descriptors").exists():
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            (folder / "no-descriptors").mkdir(exist_ok=True)
        if not (folder / "descriptors").exists():
            while held:
                os.close(held.pop())
        if (folder / "library").exists():
            (folder / "library").unlink()
            for _ in range(3):
                logging.getLogger("some.library").error("it\\nfails")
            warnings.warn("old")
            threading.Thread(target=lambda: 1 / 0).start()
        time.sleep(0.05)

Judging.judge = pressed
time.time = lambda: clock() + 86400 * (folder / "tomorrow").exists()
threading.Thread(target=press, daemon=True).start()
from ringcheck.cli import main
main(sys.argv[2:])
"""


@contextmanager
def pressed(folder: Path, descriptors: int | None = None) -> Iterator[tuple[Clusters, Service]]:
    """The service over three nodes, once it has polled them."""
    with clusters(folder) as made, service(made.path, folder, None, PRESSED, descriptors) as running:
        running.awaits(lambda: bool(running.logged("severity")))
        yield made, running


def url_of(running: Service) -> str:
    return re.search(r"url=(\S+)", running.logged("started")[0])[1]  # type: ignore[index]  # it is there


def metrics(running: Service) -> str:
    return requests.get(f"{url_of(running)}/metrics", timeout=30).text


def judge_log(running: Service) -> None:
    """Assert that every line has the log's own format, and that no node is blamed."""
    for line in running.logged():
        assert re.match(r"time=\S+ level=(info|warning|error) event=\w+", line), line
    assert running.logged("node_suspect") + running.logged("node_state") + running.logged("bug") == []


@pytest.mark.slow
def test_descriptors_are_exhausted(tmp_path: Path) -> None:
    """A poll fails without a suspect, a kept connection is still answered, and everything recovers by itself."""
    with pressed(tmp_path, 128) as (made, running), requests.Session() as scraper:
        url = f"{url_of(running)}/metrics"
        assert scraper.get(url, timeout=30).ok
        (tmp_path / "descriptors").touch()
        running.awaits((tmp_path / "no-descriptors").exists)
        waiting = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0])))
        for node in made.cluster.nodes:
            made.cluster.set_fault(node.index, Fault("reset", times=1))  # so that the next request needs a connection
        running.awaits(lambda: bool(running.logged("poll_failed")) and bool(running.logged("limit")))
        assert "ringcheck_up" in scraper.get(url, timeout=30).text
        (tmp_path / "descriptors").unlink()
        running.awaits(lambda: bool(running.logged("poll_works_again")))
        waiting.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        assert b"200" in waiting.recv(100)
        assert 'ringcheck_up{cassandra_cluster="orders-prod"} 1.0' in metrics(running)
        [failed], [limit] = running.logged("poll_failed"), running.logged("limit")
        for line in (failed, limit):
            assert line.endswith(f'error="{LIMITED}too many open files"')
        judge_log(running)


@pytest.mark.slow
def test_few_descriptors_are_enough_for_many_nodes(tmp_path: Path) -> None:
    """Connections are kept only to some nodes, and idle clients make room for a scrape."""
    cluster = EmbeddedCluster.uniform(150, vnodes=1, addresses=loopback_address, time_factor=0)
    with serve(cluster, address_port=free_port()) as server, ExitStack() as stack:
        config = tmp_path / "ringcheck.yaml"
        config.write_text(f"{server.config()}agent: {{interval: 10s, listen: '127.0.0.1:0'}}\n")
        running = stack.enter_context(service(config, tmp_path, None, PRESSED, 200))
        running.awaits(lambda: bool(running.logged("severity")))
        address = ("127.0.0.1", int(url_of(running).rpartition(":")[2]))
        for _ in range(200):
            stack.enter_context(socket.create_connection(address))
        answers: list[str] = []
        for _ in range(5):
            answers.append(metrics(running))
            time.sleep(3)
        assert all('ringcheck_up{cassandra_cluster="embedded"} 1.0' in answer for answer in answers)
        assert "too many open files" not in running.log.read_text()
        judge_log(running)


@pytest.mark.slow
def test_the_disk_of_the_log_is_full(tmp_path: Path) -> None:
    """Lines that can't be written are lost and counted; later lines are complete."""
    with pressed(tmp_path) as (made, running):
        most = running.log.stat().st_size + 40
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        made.nodes_down(0, 1)
        await_(lambda: 'severity="WARNING"} 1.0' in metrics(running), PATIENCE, "the verdict")
        made.nodes_down()
        await_(lambda: 'severity="OK"} 1.0' in metrics(running), PATIENCE, "the verdict")
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        made.nodes_down(1, 2)
        running.awaits(lambda: bool(running.logged("log_lines_lost")) and bool(running.logged("severity")[1:]))
        [lost] = running.logged("log_lines_lost")
        assert int(lost.rpartition("lines=")[2]) >= 4
        torn = [line for line in running.logged() if not re.match(r"time=\S+ level=\w+ event=\w+ \S", line)]
        assert len(torn) <= 1
        assert "Traceback" not in running.log.read_text()


@pytest.mark.slow
def test_memory_is_limited(tmp_path: Path) -> None:
    """A poll that needs more memory than there is fails with that reason; the next poll that gets enough succeeds."""
    with pressed(tmp_path) as (_, running):
        size = int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
        most = size + (64 << 20)
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        (tmp_path / "much").touch()
        running.awaits(lambda: bool(running.logged("poll_failed")))
        time.sleep(2)
        assert "ringcheck_up" in metrics(running)
        resource.prlimit(running.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        running.awaits(lambda: bool(running.logged("poll_works_again")))
        [failed] = running.logged("poll_failed")
        assert failed.endswith(f'error="{LIMITED}out of memory"')
        judge_log(running)


@pytest.mark.slow
def test_the_clock_is_set(tmp_path: Path) -> None:
    """A jump forwards or back is logged in one line, and makes no verdict old."""
    with pressed(tmp_path) as (_, running):
        (tmp_path / "tomorrow").touch()
        running.awaits(lambda: len(running.logged("clock_jumped")) == 1)
        assert 'ringcheck_up{cassandra_cluster="orders-prod"} 1.0' in metrics(running)
        (tmp_path / "tomorrow").unlink()
        running.awaits(lambda: len(running.logged("clock_jumped")) == 2)
        assert 'ringcheck_up{cassandra_cluster="orders-prod"} 1.0' in metrics(running)
        seconds = [float(line.rpartition("seconds=")[2]) for line in running.logged("clock_jumped")]
        assert [round(jump, -2) for jump in seconds] == [86400, -86400]
        assert running.logged("poll_failed") == running.logged("stuck") == []
        judge_log(running)


@pytest.mark.slow
def test_what_libraries_log_is_in_the_form_of_the_log(tmp_path: Path) -> None:
    """Records, warnings, and errors that end a thread all get that form; repeated ones are logged once."""
    with pressed(tmp_path) as (_, running):
        (tmp_path / "library").touch()
        running.awaits(lambda: bool(running.logged("bug")))
        [error, warning] = running.logged("library")
        assert error.endswith('level=error event=library library=some.library message="it fails"')
        assert "level=warning event=library library=py.warnings message=" in warning
        assert "ZeroDivisionError: division by zero (<string>:" in running.logged("bug")[0]
        assert len(running.logged("bug")) == 1
        assert "Traceback" not in running.log.read_text()


# Inside


def lines(log: io.StringIO) -> list[dict[str, object]]:
    events = [json.loads(line) for line in log.getvalue().splitlines()]
    return [{key: value for key, value in event.items() if key != "time"} for event in events]


def test_a_lasting_error_is_logged_once() -> None:
    """The error is logged again if it returns after a minute; a limit of the host is not logged as a bug."""
    stream, now = io.StringIO(), [0.0]
    troubles = Troubles(Log("json", stream), lambda: now[0])
    for seconds in (0, 50, 100, 150, 211):
        now[0] = seconds
        troubles(OSError(24, "Too many open files"))
    troubles(ValueError("x"))
    limit = {"level": "error", "event": "limit", "error": f"{LIMITED}too many open files"}
    bug = {"level": "error", "event": "bug", "error": "this is a bug in ringcheck: ValueError: x"}
    assert lines(stream) == [limit, limit, bug]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), f"{LIMITED}out of memory"),
        (OSError(28, "No space left on device"), f"{LIMITED}no space left on device"),
        (RuntimeError("can't start new thread"), f"{LIMITED}can't start new thread"),
        (OSError(2, "No such file"), ""),
        (RuntimeError("other"), ""),
    ],
)
def test_a_limit_of_the_host_is_recognized(error: Exception, text: str) -> None:
    """It is recognised even if it is only the cause of another error."""
    caused = ValueError()
    caused.__cause__ = error
    assert limit_of(error) == limit_of(caused) == text


def test_a_record_of_a_library_is_one_line() -> None:
    """A limit of the host is named; an error has its location; a record that can't be formatted does no harm."""
    stream = io.StringIO()
    log = Log("json", stream)
    logger = logging.getLogger("some.library")
    logger.propagate, logger.handlers = False, []
    logger.addHandler(LibraryLogs(log, Troubles(log)))
    for number in range(3):
        try:
            raise OSError(24, "Too many open files")  # noqa: TRY301 - to be logged
        except OSError:
            logger.exception("socket.accept() out of system resource\nsocket: <socket %s>", number)
    try:
        raise KeyError("a\nb\x1b[2J")  # noqa: TRY301 - to be logged
    except KeyError:
        logger.exception("Task failed")
    logger.error("%d", "x")
    logger.info("nothing")
    assert [line["event"] for line in lines(stream)] == ["limit", "library"]
    assert lines(stream)[1]["message"] == "Task failed"
    assert re.fullmatch(r"KeyError: 'a\\nb\\x1b\[2J' \(test_pressure\.py:\d+\)", str(lines(stream)[1]["error"]))


def test_lost_lines_are_counted_once_they_can_be_written() -> None:
    """The count is logged before the next line."""

    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    log = Log("json", stream)
    log("a")
    log("b")
    stream.full = False
    log("c")
    log("d")
    found = lines(stream)
    assert [line["event"] for line in found] == ["log_lines_lost", "c", "d"]
    assert found[0]["lines"] == 2


def test_only_a_set_clock_is_a_jump() -> None:
    """Each jump is reported once; slow drift is not a jump."""
    wall, steady = [1000.0], [0.0]
    clock = ClockWatch(lambda: wall[0], lambda: steady[0])
    seen = []
    for moved, set_by in ((1, 0), (1, 0.4), (1, 3600), (1, 0), (5, -7200), (1, 0)):
        steady[0] += moved
        wall[0] += moved + set_by
        seen.append(clock.jump())
    assert seen == [0, 0, pytest.approx(3600), 0, pytest.approx(-7200), 0]


def test_a_connection_without_a_descriptor_does_not_blame_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is not retried either: no node was asked."""

    def none(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("ringcheck.http.sockets.PlainSocket", none)
    with pytest.raises(LimitError, match=f"^{LIMITED}too many open files$"):
        exchange("http://127.0.0.1:1/", 3.0)


def test_half_of_few_descriptors_is_for_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes get half of few descriptors, and all but a fixed number of many; this also limits the work in progress."""
    for limit, room in ((100, 50), (1024, 512), (4096, 3584), (resource.RLIM_INFINITY, (1 << 20) - 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert descriptors.room() == room
        assert descriptors.rest() >= min(512, room)
        loop = PollLoop()
        assert loop._limit._free._value == min(polls.IN_FLIGHT, room // 4)
        loop.stop()


def test_workers_do_without_threads_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work waits for the threads that exist; if none can be started, it is refused and dropped."""
    workers, real = WorkerThreads(4), threading.Thread.start

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        workers.submit(int)
    monkeypatch.setattr(threading.Thread, "start", real)
    gate = threading.Event()
    first = workers.submit(lambda: gate.wait(30))
    monkeypatch.setattr(threading.Thread, "start", refused)
    second = workers.submit(lambda: 2)
    gate.set()
    assert (first.result(30), second.result(30), len(workers._threads)) == (True, 2, 1)
    workers.close()


def test_a_mailbox_continues_without_memory() -> None:
    """Only the item is lost; the thread goes on."""
    done = threading.Event()

    def work(item: int) -> None:
        if item == 1:
            raise MemoryError
        done.set()

    box: Mailbox[int] = Mailbox("test", work)
    box.start()
    box.put("a", 1)
    time.sleep(0.05)
    box.put("b", 2)
    assert done.wait(30)
    box.end()
    assert box.join(30)


def test_the_loop_of_polls_continues_without_memory() -> None:
    """An error in the loop itself does not end it."""
    loop = PollLoop()
    done = threading.Event()

    def fail() -> None:
        raise MemoryError

    # Errors of a callback are caught, unless the handler for such errors raises as well.
    loop._loop.call_exception_handler = lambda _: fail()  # type: ignore[method-assign,assignment]
    loop._loop.call_soon(lambda: 1 / 0)
    loop._loop.call_later(0.05, done.set)
    loop.start()
    assert done.wait(30)
    loop.stop()
    loop._thread.join(30)
    assert loop._loop.is_closed()


@pytest.mark.parametrize("started", [True, False])
def test_a_stopped_loop_is_closed(*, started: bool) -> None:
    """This holds whether or not it was started; otherwise its sockets stay open."""
    loop = PollLoop()
    if started:
        loop.start()
    loop.stop()
    loop.stop()
    if started:
        loop._thread.join(30)
    assert loop._loop.is_closed()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        del loop


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with watched(tmp_path) as made:
        yield made


@pytest.mark.slow
def test_a_server_that_fails_is_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page and metrics are available again within a second."""
    troubles, real = list[Exception](), uvicorn.Server.on_tick

    async def tick(self: uvicorn.Server, counter: int) -> bool:
        await asyncio.sleep(0)
        if not troubles:  # this includes the other running server, which does not report here
            raise MemoryError
        return await real(self, counter)

    monkeypatch.setattr(uvicorn.Server, "on_tick", tick)
    with web.serve(world.agent, "127.0.0.1:0", complain=troubles.append) as served:
        await_(lambda: bool(troubles), PATIENCE, "the error")
        for _ in range(2):
            assert requests.get(f"{served.url}/metrics", timeout=30).ok
    assert [type(error) for error in troubles] == [MemoryError]


def test_an_answer_that_finds_no_memory_is_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is 503 and not 500: it is no bug, and a retry may succeed."""

    def makes_progress() -> bool:
        raise MemoryError

    troubles: list[Exception] = []
    with web.serve(world.agent, "127.0.0.1:0", complain=troubles.append) as served:
        monkeypatch.setattr(world.agent, "makes_progress", makes_progress)
        answer = requests.get(f"{served.url}/-/healthy", timeout=30)
    assert (answer.status_code, f"{LIMITED}out of memory" in answer.text, len(troubles)) == (503, True, 1)


def test_a_suspect_is_not_made_by_a_limit_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll fails as a whole, because the nodes were not asked."""

    def none(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    with embedded() as made:
        watch = made.watch()
        assert polled(watch).error is None
        made.all_go(Fault("reset", times=1))
        monkeypatch.setattr("ringcheck.http.sockets.PlainSocket", none)
        assert polled(watch).error == f"{LIMITED}too many open files"
        assert watch.reading.suspects == frozenset()
