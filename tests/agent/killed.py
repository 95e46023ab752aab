"""Kill an agent repeatedly, with a webhook receiver that is down for an hour: no event may be lost.

`python -m tests.agent.killed --count 200` prints what it found. Each agent runs in its own process, with the real
watches, recorder, writer and dispatcher. All of them use one state file, and each poll shows a different condition. The
receiver is another process. It records each event before it answers; sometimes it answers 503, and sometimes nothing.
After a third of the kills it is killed too, and no receiver runs for an hour of the agents' clock, which is faster than
the real one.

Triggers in the state file record which events were committed, and in which order. At the end

- each reading that an agent published has its event, if the condition of its cluster changed;
- each committed event arrives; the first arrivals of a cluster are in order;
- an event that arrives twice has the same id and body, and a valid signature each time.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import multiprocessing
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from unittest.mock import patch

from ringcheck.agent.recorder import Recorder
from ringcheck.agent.webhooks import Dispatcher, Webhooks
from ringcheck.config.values import AgentSettings, Cluster, Config, Webhook
from ringcheck.history import database
from ringcheck.history.writer import Limits, Writer
from ringcheck.jolokia.settings import JolokiaSettings
from tests.history.killed import PATIENCE, ROUND, Changing, Telling, missing, published, until_killed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

CLUSTERS, INTERVAL = 4, 0.2
HOUR = 3600.0
KEY = base64.b64encode(b"a key of the tests, 32 bytes long").decode()
UNANSWERED, REFUSED = 0.03, 0.02  # shares of events that are recorded but not answered, and of events that are refused
FORK = multiprocessing.get_context("fork")
TRIGGER = """
    CREATE TABLE posted (number INTEGER PRIMARY KEY, cluster TEXT, event TEXT, body BLOB);
    CREATE TRIGGER posting AFTER INSERT ON outbox
    BEGIN INSERT INTO posted VALUES (new.number, new.cluster, new.event, new.body); END;
"""


class Posted(NamedTuple):
    """An event, as it was committed or as it arrived."""

    cluster: str
    event: str
    body: bytes


# The receiver


def receiver(listening: ThreadingHTTPServer, path: Path, seed: int) -> None:
    """Record events until the process is killed; each is written to the file before it is answered."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    arrivals = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(length := int(self.headers["Content-Length"]))
            if len(body) < length:  # the agent was killed while it sent this event
                return
            whim = chance.random()
            if whim >= REFUSED:
                line = {"id": self.headers["webhook-id"], "valid": self._valid(body), "body": body.decode()}
                os.write(arrivals, (json.dumps(line) + "\n").encode())
            if whim >= REFUSED + UNANSWERED:
                self.send_response(204)
                self.end_headers()
            elif whim < REFUSED:
                self.send_error(503)

        def _valid(self, body: bytes) -> bool:
            """Whether the signature is valid according to Standard Webhooks."""
            name, timestamp = self.headers["webhook-id"], self.headers["webhook-timestamp"]
            content = b".".join((name.encode(), timestamp.encode(), body))
            digest = hmac.digest(base64.b64decode(KEY), content, hashlib.sha256)
            return bool(self.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}")

        def log_message(self, *_: object) -> None:
            pass

    listening.RequestHandlerClass = Handler
    listening.serve_forever()


class Receiver:
    """The receiver's process, always on the same port."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Start it."""
        self._file = folder / "arrivals"
        self._seed = seed
        self._port = 0
        self._process: BaseProcess | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/events"

    def start(self) -> None:
        with ThreadingHTTPServer(("127.0.0.1", self._port), BaseHTTPRequestHandler) as listening:
            self._port = listening.server_address[1]
            self._process = FORK.Process(target=receiver, args=(listening, self._file, self._seed), daemon=True)
            self._process.start()

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.join()

    def arrivals(self) -> Iterator[tuple[Posted, bool]]:
        """Everything that arrived, and whether its signature was right."""
        for line in self._file.read_text().splitlines():
            found = json.loads(line)
            cluster = json.loads(found["body"])["data"]["cluster"]
            yield Posted(cluster, found["id"], found["body"].encode()), found["valid"]


# The agents


def agent(output: int, path: Path, first: int, hook: Webhook, clock: Callable[[], float]) -> None:
    """Watch and send until the process is killed; all output goes to a pipe."""
    os.dup2(output, 1)
    names = [f"cluster-{index}" for index in range(CLUSTERS)]
    clusters = {name: Cluster(name=name, source=JolokiaSettings(contact_points=("127.0.0.1",))) for name in names}
    config = Config(clusters=clusters, agent=AgentSettings(interval=INTERVAL, state=str(path), webhooks=(hook,)))
    writer = Writer(path, Limits(), lambda state, why: os.write(1, f"! {state} {why}\n".encode()))
    with (
        patch("ringcheck.agent.polls.open_on_loop", lambda cluster, *_: Changing(cluster, first)),
        patch("ringcheck.agent.webhooks.Dispatcher", partial(Dispatcher, clock=clock)),
    ):
        Telling(config, recorder=Recorder(writer), webhooks=Webhooks(writer)).start()
        time.sleep(3600)


@dataclass(frozen=True, slots=True)
class FastClock:
    """A clock that runs faster than the real one, the same in all processes."""

    start: float
    speed: float

    def __call__(self) -> float:
        """Seconds of Unix time."""
        return self.start + (time.time() - self.start) * self.speed


class Hours:
    """The receiver, its dead hour, and how many agents were killed.

    Attributes:
        receiver: dead for an hour, once.
        seed: of the run.
        kills: agents that were killed so far.
        during: those of them that were killed while there was no receiver.
        is_dead: whether there is none now.
    """

    def __init__(self, folder: Path, seed: int, hour: float) -> None:
        """Start the receiver; its dead hour takes this many real seconds."""
        self.receiver = Receiver(folder, seed)
        self.seed = seed
        self.kills = self.during = 0
        self.is_dead = False
        self._hour = hour
        self._ends = 0.0

    def begin(self) -> None:
        """Kill the receiver."""
        self.receiver.kill()
        self._ends = time.monotonic() + self._hour
        self.is_dead = True

    def count(self) -> None:
        """Count an agent that was killed, and start the receiver after its hour."""
        self.kills += 1
        self.during += self.is_dead
        if self.is_dead and time.monotonic() > self._ends:
            self.receiver.start()
            self.is_dead = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was found.

    Attributes:
        kills: agents that were killed.
        during: those of them that were killed in the hour without a receiver.
        events: that were committed.
        arrivals: of events, repetitions included.
        lost: events that did not arrive, and readings without an entry in the history.
        failures: everything else that was wrong.
    """

    kills: int
    during: int
    events: int
    arrivals: int
    lost: list[str]
    failures: list[str]


def run(count: int, folder: Path, seed: int = 1, hour: float = 60.0) -> Result:
    """Kill at least this many agents on one state file; the hour without a receiver takes this many real seconds."""
    path, hours = folder / "state.db", Hours(folder, seed, hour)
    with closing(database.connected(path)) as connection:
        connection.executescript(TRIGGER)
    hook = Webhook(name="hook", url=hours.receiver.url, secret_file=secret(folder), queue=10**6)
    clock = FastClock(time.time(), HOUR / hour)
    try:
        shown, failures = killed(count, path, hook, clock, hours)
        deliver(path, hook, clock, failures)
        arrived = list(hours.receiver.arrivals())
    finally:
        hours.receiver.kill()
    committed = posted(path)
    lost = [f"{cluster}: no entry for poll {number}" for cluster, number in missing(path, shown)[0]]
    lost += [f"{each.cluster}: {each.event} did not arrive" for each in {*committed} - {each for each, _ in arrived}]
    failures += [*wrong(committed, arrived), *unannounced(path, committed)]
    return Result(
        kills=hours.kills,
        during=hours.during,
        events=len(committed),
        arrivals=len(arrived),
        lost=lost,
        failures=failures,
    )


def killed(
    count: int, path: Path, hook: Webhook, clock: FastClock, hours: Hours
) -> tuple[list[tuple[str, int]], list[str]]:
    """Kill agents; return the readings that they published, and what was wrong."""
    chance = random.Random(hours.seed)  # noqa: S311 - no secret
    shown, failures = list[tuple[str, int]](), list[str]()
    while hours.kills < count or hours.is_dead:
        if hours.kills == count // 3:
            hours.begin()
        run_one = partial(agent, path=path, first=(hours.kills + 1) * ROUND, hook=hook, clock=clock)
        shown += published(until_killed(run_one, chance.uniform(0.0, 1.0)), failures)
        hours.count()
    return shown, failures


def secret(folder: Path) -> str:
    """The file with the key of the webhook."""
    file = folder / "secret"
    file.write_text(f"whsec_{KEY}\n")
    file.chmod(0o600)
    return str(file)


def deliver(path: Path, hook: Webhook, clock: FastClock, failures: list[str]) -> None:
    """Send what is still in the queue, as the next agent would."""
    writer = Writer(path, Limits(), lambda state, why: failures.append(f"{state}: {why}"))
    writer.start(lambda _: lambda _: None)
    dispatcher, ends = Dispatcher(hook, writer, lambda *_: None, clock), time.monotonic() + PATIENCE
    while dispatcher.step() == 0 or dispatcher.counts.waiting:
        if time.monotonic() > ends:
            failures.append(f"{dispatcher.counts.waiting} events still wait")
            break
    assert writer.close(PATIENCE)


# What was found


def posted(path: Path) -> list[Posted]:
    """All events that were committed, in order."""
    with closing(sqlite3.connect(path)) as connection:
        return [Posted(*row) for row in connection.execute("SELECT cluster, event, body FROM posted ORDER BY number")]


def wrong(committed: list[Posted], arrived: list[tuple[Posted, bool]]) -> Iterator[str]:
    """Arrivals that are out of order, have no valid signature, or were never committed."""
    known = set(committed)
    for event, valid in arrived:
        if event not in known:
            yield f"{event.cluster}: {event.event} arrived, and was never committed like this"
        if not valid:
            yield f"{event.cluster}: the signature of {event.event} is wrong"
    first = dict.fromkeys(event for event, _ in arrived if event in known)
    for cluster in {event.cluster for event in committed}:
        wanted = [event for event in committed if event.cluster == cluster and event in first]
        if wanted != [event for event in first if event.cluster == cluster]:
            yield f"{cluster}: events arrived in another order"
    for name, number in Counter(each.event for each in committed).items():
        if number > 1:
            yield f"{number} events have the id {name}"


def unannounced(path: Path, committed: list[Posted]) -> Iterator[str]:
    """Clusters whose events do not match, one for one, the changes of their severity in the history."""
    kinds = {"CRITICAL": "ringcheck.outage", "OK": "ringcheck.recovered"}
    announced = defaultdict(list)
    for event in committed:
        announced[event.cluster].append(json.loads(event.body)["type"])
    with closing(sqlite3.connect(path)) as connection:
        for cluster, found in announced.items():
            query = "SELECT now FROM entry WHERE cluster = ? AND kind = 'severity' ORDER BY id"
            changes = [kinds.get(now, now) for (now,) in connection.execute(query, [cluster])]
            if changes != found:
                yield f"{cluster}: {len(changes)} changes of severity, {len(found)} events"


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hour", type=float, default=60.0, help="real seconds of the hour without a receiver")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.count, Path(folder), options.seed, options.hour)
    print(
        f"{result.kills} agents killed, {result.during} of them in an hour without a receiver; {result.events} events, "
        f"{result.arrivals} arrivals, {len(result.lost)} lost; {len(result.failures)} other failures"
    )
    for failure in (*result.failures[:20], *result.lost[:20]):
        print(failure)
    return bool(result.lost or result.failures)


if __name__ == "__main__":
    sys.exit(main())
