"""Webhooks: signatures, retries, order, bounds, and that nothing is lost when the agent or its receiver dies."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import requests
import yaml

from ringcheck.agent import web
from ringcheck.agent import webhooks as sending
from ringcheck.agent.recorder import Recorder
from ringcheck.agent.service import Agent
from ringcheck.agent.webhooks import Dispatcher, Webhooks, cloud_event, key_of, signed
from ringcheck.config import load
from ringcheck.config.values import AgentSettings, Config, Webhook
from ringcheck.core.events import Event
from ringcheck.errors import SourceError, UsageError
from ringcheck.history import outbox
from ringcheck.history import writer as writing
from ringcheck.history.outbox import Letter
from ringcheck.history.writer import Limits, Writer
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve
from tests.agent.service import PATIENCE
from tests.counterparts.daemon import await_, end

if TYPE_CHECKING:
    from collections.abc import Iterator


HOOK = Path(__file__).parents[2] / "packaging" / "webhooks" / "replace-lost-node"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of Standard Webhooks' own example
ROOM = 1000


class Clock:
    time = 1_767_225_600.0

    def __call__(self) -> float:
        return self.time


def secret_file(folder: Path) -> str:
    path = folder / "secret"
    path.write_text(SECRET + "\n")
    path.chmod(0o600)
    return str(path)


def webhook(folder: Path, **changes: Any) -> Webhook:
    fields = {"name": "hook", "url": "http://127.0.0.1:9/", "secret_file": secret_file(folder), "queue": ROOM}
    return Webhook(**{**fields, **changes})


def letter(number: int, cluster: str = "blogs", room: int = ROOM) -> Letter:
    return Letter(webhook="hook", cluster=cluster, event=f"{cluster}-{number}", kind="outage", body=b"{}", room=room)


@contextmanager
def written(path: Path) -> Iterator[Writer]:
    writer = Writer(path, Limits(), lambda state, why: pytest.fail(f"{state}: {why}"))
    writer.start(lambda _: lambda _: None)
    yield writer
    assert writer.close(PATIENCE)


def put(writer: Writer, *letters: Letter) -> None:
    waiting = writer.put(lambda connection: outbox.post(connection, letters))
    assert waiting
    waiting.result(PATIENCE)


class Receiver:
    """A receiver that is called directly, without a connection: it records events, and answers as the test has set."""

    def __init__(self) -> None:
        self.attempts: list[str] = []
        self.taken: list[str] = []
        self.timestamps: list[str] = []
        self.status = 204
        self.refuses = ""
        self.dead = False

    def __call__(self, _url: str, _body: bytes, headers: dict[str, str]) -> int:
        name = headers["webhook-id"]
        self.attempts.append(name)
        self.timestamps.append(headers["webhook-timestamp"])
        if self.dead:
            raise SourceError("hook: connection refused", "unreachable")
        status = 422 if name == self.refuses else self.status
        if status == 204:
            self.taken.append(name)
        return status


def drain(dispatcher: Dispatcher) -> None:
    """Step until the queue is empty, as the queue's thread would."""
    await_(lambda: dispatcher.step() > 0 and dispatcher.counts.waiting == 0, PATIENCE, "an empty queue")


# ---- one event ----


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The signature matches the specification's example."""
    headers = signed(key_of(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


@pytest.mark.parametrize("text", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_?", ""])
def test_a_weak_or_broken_secret_is_refused(text: str) -> None:
    """The key must have 24 bytes at least, in the form of Standard Webhooks."""
    with pytest.raises(UsageError, match="whsec_"):
        key_of(text)


def test_an_event_is_a_cloud_event() -> None:
    """It conforms to CloudEvents 1.0: it has the required attributes, and its source is a URI reference."""
    event = Event(kind="node_lost", subject="10.0.0.1", data={"node": "10.0.0.1"}, after=60.0)
    assert cloud_event("id-1", "orders prod", 0, event) == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/clusters/orders%20prod",
        "type": "ringcheck.node_lost",
        "subject": "10.0.0.1",
        "time": "1970-01-01T00:00:00Z",
        "datacontenttype": "application/json",
        "data": {"cluster": "orders prod", "node": "10.0.0.1"},
    }


def test_each_webhook_gets_what_it_wants(tmp_path: Path) -> None:
    """A webhook chooses kinds of events and the delay of a lost node; an event has the same id for all webhooks."""
    events = [Event(kind="node_lost", subject="a", data={}, after=60.0), Event(kind="outage", subject="", data={})]
    hooks = [
        webhook(tmp_path, name="one", node_lost_after=60.0),
        webhook(tmp_path, name="two", node_lost_after=90.0),
        webhook(tmp_path, name="three", events=("recovered",)),
    ]
    found = sending.letters("blogs", 0, events, hooks)
    assert [(one.webhook, one.kind) for one in found] == [("one", "node_lost"), ("one", "outage"), ("two", "outage")]
    assert found[1].event == found[2].event


# ---- the queue ----


@pytest.mark.slow
def test_a_dead_receiver_loses_nothing(tmp_path: Path) -> None:
    """After an hour all events arrive, in order within each cluster, each with the id of its first attempt."""
    clock, receiver = Clock(), Receiver()
    with written(tmp_path / "state.db") as writer:
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, clock, receiver)
        receiver.dead = True
        sent = [letter(number, cluster) for number in range(30) for cluster in ("a", "b")]
        for one in sent:
            put(writer, one)
            clock.time += 60
            dispatcher.step()
        assert receiver.taken == []
        assert set(receiver.attempts) == {"a-0"}
        assert 10 <= len(receiver.attempts) <= 20  # after so long a wait, no more than one attempt in five minutes
        receiver.dead = False
        clock.time += sending.LAST_RETRY
        drain(dispatcher)
    for cluster in ("a", "b"):
        assert [name for name in receiver.taken if name[0] == cluster] == [
            f"{cluster}-{number}" for number in range(30)
        ]


def test_failures_are_reported_once(tmp_path: Path) -> None:
    """The first failure is reported with its reason, and then the first success."""
    clock, receiver, reports = Clock(), Receiver(), list[Any]()
    receiver.status = 503
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(1))
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *said: reports.append(said), clock, receiver)
        for _ in range(3):
            dispatcher.step()
            clock.time += sending.LAST_RETRY
        receiver.status = 204
        drain(dispatcher)
    assert reports == [("hook", "failed", "HTTP 503 for event blogs-1"), ("hook", "works", None)]
    assert dispatcher.counts.attempts == {"delivered": 1, "refused": 0, "failed": 3}


def test_a_failure_is_reported_without_the_path_of_the_url(tmp_path: Path) -> None:
    """Some receivers have a secret in the path."""
    reports = list[Any]()
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(1))
        hook = webhook(tmp_path, url="http://127.0.0.1:1/hooks/T0KEN?key=K3Y")
        Dispatcher(hook, writer, lambda *said: reports.append(said), Clock()).step()
    (_, what, why) = reports[0]
    assert what == "failed"
    assert why.startswith("http://127.0.0.1:1: ")
    assert "T0KEN" not in why
    assert "K3Y" not in why


def test_a_refused_event_keeps_back_only_its_cluster(tmp_path: Path) -> None:
    """The receiver may have a reason to refuse it; other clusters' events are sent, and its own later, in order."""
    clock, receiver = Clock(), Receiver()
    receiver.refuses = "a-0"
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(0, "a"), letter(1, "a"), letter(0, "b"), letter(1, "b"))
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, clock, receiver)
        await_(lambda: (dispatcher.step(), len(receiver.taken) == 2)[1], PATIENCE, "the events of b")
        assert receiver.taken == ["b-0", "b-1"]
        receiver.refuses = ""
        clock.time += sending.LAST_RETRY
        drain(dispatcher)
    assert receiver.taken == ["b-0", "b-1", "a-0", "a-1"]


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """A redirect counts as a failure, so that the signed event is sent nowhere else."""
    receiver = Receiver()
    receiver.status = 302
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(0))
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, Clock(), receiver)
        dispatcher.step()
    assert dispatcher.counts.attempts["failed"] == 1


def test_the_queue_is_bounded_and_says_what_it_dropped(tmp_path: Path) -> None:
    """The oldest events are dropped; their number survives a restart."""
    clock, receiver, reports = Clock(), Receiver(), list[Any]()
    with written(tmp_path / "state.db") as writer:
        hook = webhook(tmp_path, queue=3)
        dispatcher = Dispatcher(hook, writer, lambda *said: reports.append(said), clock, receiver)
        receiver.dead = True
        put(writer, letter(0, room=3))
        dispatcher.step()
        put(writer, *(letter(number, room=3) for number in range(1, 8)))
        dispatcher.step()
        assert (dispatcher.counts.waiting, dispatcher.counts.dropped) == (3, 5)
        assert ("hook", "dropped", "5 events: more than 3 waited") in reports
        again = Dispatcher(hook, writer, lambda *said: reports.append(said), clock, receiver)
        receiver.dead = False
        drain(again)
        assert again.counts.dropped == 5
    assert receiver.taken == ["blogs-5", "blogs-6", "blogs-7"]
    assert len([said for said in reports if said[1] == "dropped"]) == 1


def test_events_of_a_webhook_that_is_removed_are_deleted(tmp_path: Path) -> None:
    """No webhook is left that could take them."""
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(0))
        Webhooks(writer).use([])
        await_(lambda: outbox.queue(writer.path, "hook").waiting == 0, PATIENCE, "an empty queue")


def test_a_secret_that_can_not_be_read_is_a_failure(tmp_path: Path) -> None:
    """Nothing is sent unsigned."""
    receiver, reports = Receiver(), list[Any]()
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(0))
        hook = webhook(tmp_path)
        Path(hook.secret_file).unlink()
        Dispatcher(hook, writer, lambda *said: reports.append(said), Clock(), receiver).step()
    assert receiver.attempts == []
    assert "can't be read" in reports[0][2]


def test_retries_do_not_depend_on_the_clock_that_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the timestamp of an attempt is a time of that clock."""
    steady, receiver = Clock(), Receiver()
    receiver.dead = True
    assert signature(Dispatcher).parameters["clock"].default is time.monotonic
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(1))
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, steady, receiver)
        for wall in (1_000_000, 5_000_000, 0):
            monkeypatch.setattr(time, "time", lambda wall=wall: wall + 0.5)
            dispatcher.step()
        assert receiver.timestamps == ["1000000"]
        steady.time += sending.FIRST_RETRY
        dispatcher.step()
        assert receiver.timestamps == ["1000000", "0"]


def test_events_that_were_delivered_take_no_room_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They can't be deleted then; they are not sent again, and no change of a cluster is lost for them."""
    monkeypatch.setattr(writing, "MOST", 100)
    monkeypatch.setattr(writing, "RETRY", 0.02)
    receiver, reports, names = Receiver(), list[str](), [f"cluster-{number}" for number in range(20)]
    writer = Writer(tmp_path / "state.db", Limits(), lambda state, _: reports.append(state))
    writer.start(lambda _: lambda _: None)
    put(writer, *(letter(1, name) for name in names))
    dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, Clock(), receiver)
    write = Writer._write
    monkeypatch.setattr(Writer, "_write", full_disk)
    writer.put(lambda _: None)
    await_(lambda: not writer.works, PATIENCE, "a full disk")
    for _ in range(20):
        dispatcher.step()
    writer.put(lambda connection: outbox.post(connection, [letter(2, names[0])]))
    assert sorted(receiver.taken) == sorted(f"{name}-1" for name in names)
    monkeypatch.setattr(Writer, "_write", write)
    await_(lambda: (dispatcher.step(), len(receiver.taken) == 21)[1], PATIENCE, "the event after the others")
    await_(lambda: (dispatcher.step(), outbox.queue(writer.path, "hook").waiting == 0)[1], PATIENCE, "an empty queue")
    assert writer.close(PATIENCE)
    assert "lost" not in reports
    assert receiver.taken[20] == f"{names[0]}-2"


def test_a_delivered_event_is_not_sent_again_if_its_deletion_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in another write may cost the deletion: it is requested again, and the order stays what it was."""
    monkeypatch.setattr(writing, "RETRY", 0.02)
    receiver = Receiver()
    writer = Writer(tmp_path / "state.db", Limits(), lambda *_: None)
    writer.start(lambda _: lambda _: None)
    put(writer, letter(1), letter(2))
    dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, Clock(), receiver)
    remove, calls = outbox.remove, list[object]()

    def bug_at_first(*arguments: Any, **more: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise ZeroDivisionError
        remove(*arguments, **more)

    monkeypatch.setattr(outbox, "remove", bug_at_first)
    await_(lambda: (dispatcher.step(), outbox.queue(writer.path, "hook").waiting == 0)[1], PATIENCE, "an empty queue")
    assert receiver.taken == ["blogs-1", "blogs-2"]
    assert writer.close(PATIENCE)


def test_an_event_in_a_new_file_is_not_taken_for_one_that_was_delivered(tmp_path: Path) -> None:
    """In a file that replaces a broken one the numbers begin anew."""
    receiver = Receiver()
    with written(tmp_path / "state.db") as writer:
        put(writer, letter(1))
        dispatcher = Dispatcher(webhook(tmp_path), writer, lambda *_: None, Clock(), receiver)
        with patch.object(writer, "put", lambda *_: None), patch.object(writer, "keep", lambda *_: None):
            dispatcher.step()
        writer.put(lambda connection: connection.execute("UPDATE outbox SET event = 'blogs-2'"))
        await_(lambda: (dispatcher.step(), len(receiver.taken) == 2)[1], PATIENCE, "the other event")
    assert receiver.taken == ["blogs-1", "blogs-2"]


def full_disk(*_: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


# ---- the whole agent ----


@pytest.mark.slow
def test_nothing_is_lost_when_the_agent_is_killed() -> None:
    """Some agents are killed, and the receiver is dead for an hour; `python -m tests.agent.killed` kills 200."""
    command = [sys.executable, "-m", "tests.agent.killed", "--count", "6", "--hour", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 lost; 0 other failures" in done.stdout


@pytest.mark.slow
def test_the_example_replaces_a_lost_node_once_the_gate_allows_it(tmp_path: Path) -> None:
    """On the embedded cluster the gate refuses while another node joins, and the event is sent again."""
    cluster = EmbeddedCluster.uniform(
        3, racks=3, vnodes=4, keyspaces={"orders": topology(dc1=3)}, name="orders", time_factor=0
    )
    command, log = tmp_path / "replace.py", tmp_path / "hook.log"
    with serve(cluster) as simulator, fast_retries(), watching(simulator.config(), tmp_path) as (agent, url):
        command.write_text(REPLACE.format(url=simulator.url, log=tmp_path / "replaced"))
        arguments = ["--listen", "127.0.0.1:0", "--secret-file", secret_file(tmp_path), "--agent", url]
        with log.open("w") as output:
            run = [sys.executable, str(HOOK), *arguments, "--", sys.executable, str(command)]
            hook = subprocess.Popen(run, stdout=output)
        try:
            await_(lambda: log.read_text().endswith("\n"), PATIENCE, "the hook")
            receiver = f"http://127.0.0.1:{log.read_text().split()[-1]}/"
            joining = cluster.join()
            cluster.down(1, instant=True)
            start(agent, webhook(tmp_path, url=receiver, node_lost_after=0.0, events=("node_lost",)))
            await_(lambda: "409 topology_changing" in log.read_text(), PATIENCE, "a refusal of the gate")
            assert replaced(tmp_path) == []
            cluster.finish(joining.index)
            await_(lambda: bool(replaced(tmp_path)), PATIENCE, "the replacement")
            await_(lambda: agent.webhooks.counts()["hook"].attempts["delivered"] > 0, PATIENCE, "the delivery")
        finally:
            end(hook)
    assert replaced(tmp_path) == [f"{cluster.nodes[1].address} dc1"]


@contextmanager
def fast_retries() -> Iterator[None]:
    with patch.object(sending, "FIRST_RETRY", 0.2), patch.object(sending, "LAST_RETRY", 0.2):
        yield


@contextmanager
def watching(simulated: str, folder: Path) -> Iterator[tuple[Agent, str]]:
    """An agent for a simulated cluster, not yet started, and its URL."""
    document = yaml.safe_load(simulated)
    document["clusters"]["orders"] |= {"gate": {"settle": "0s"}, "lease": {"file": str(folder / "leases.json")}}
    document["agent"] = {"interval": "1s", "state": str(folder / "state.db")}
    config = folder / "ringcheck.yaml"
    config.write_text(yaml.safe_dump(document))
    writer = Writer(folder / "state.db", Limits(), print)
    agent = Agent(load(str(config)), recorder=Recorder(writer), webhooks=Webhooks(writer))
    with web.serve(agent, "127.0.0.1:0", None) as served:
        try:
            yield agent, served.url
        finally:
            agent.stop()


def start(agent: Agent, hook: Webhook) -> None:
    """Start an agent for a configuration file without webhooks, with one webhook added."""
    agent.start()
    agent.recorder.webhooks = (hook,)
    agent.webhooks.use([hook])


def replaced(folder: Path) -> list[str]:
    file = folder / "replaced"
    return file.read_text().splitlines() if file.exists() else []


REPLACE = """
import json, os, urllib.request
node, home = os.environ["RINGCHECK_NODE"], os.environ["RINGCHECK_DATACENTER"]
body = json.dumps({{"node": node, "instant": True}}).encode()
request = urllib.request.Request("{url}/control/up", data=body, headers={{"Content-Type": "application/json"}})
urllib.request.urlopen(request, timeout=30).read()
with open("{log}", "a") as log:
    print(node, home, file=log)
"""


def test_metrics_show_the_queue(tmp_path: Path) -> None:
    """They show the number of waiting and dropped events, and the results of attempts."""
    hook = webhook(tmp_path)
    config = Config(clusters={}, agent=AgentSettings(webhooks=(hook,), state=str(tmp_path / "state.db")))
    writer = Writer(tmp_path / "state.db", Limits(), print)
    agent = Agent(config, recorder=Recorder(writer), webhooks=Webhooks(writer))
    with web.serve(agent, "127.0.0.1:0", None) as served:
        agent.start()
        try:
            text = requests.get(f"{served.url}/metrics", timeout=PATIENCE).text
        finally:
            agent.stop()
    for line in (
        'ringcheck_webhook_waiting_events{webhook="hook"} 0.0',
        'ringcheck_webhook_dropped_events_total{webhook="hook"} 0.0',
        'ringcheck_webhook_attempts_total{outcome="delivered",webhook="hook"} 0.0',
    ):
        assert line in text
