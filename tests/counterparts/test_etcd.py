"""Restart leases in a real etcd: races, deaths, partitions, restarts, TLS and users."""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from ringcheck.config.values import Lease
from ringcheck.http.tls import Tls
from ringcheck.leases.etcd import Etcd
from ringcheck.leases.grant import granted
from ringcheck.leases.record import HeldError, LeaseError
from tests.counterparts.daemon import await_, daemon, free_port, required
from tests.leases.stores import NODES, StoreMachine, decision, holder, one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ringcheck.leases.store import RecordStore

FIRST, SECOND, THIRD = NODES[:3]
HERE = Path(__file__).parents[2]
LONG = 60.0  # seconds that a step may take on a busy machine


@dataclass
class Member:
    """An etcd process that can be stopped and started again on its data."""

    name: str
    folder: Path
    client: int = field(default_factory=free_port)
    peer: int = field(default_factory=free_port)
    scheme: str = "http"
    more: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    _running: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.client}"

    def start(self, members: Sequence[Member], *, ready: bool = True) -> None:
        cluster = ",".join(f"{one.name}=http://127.0.0.1:{one.peer}" for one in members)
        command = [
            required("etcd"), "--name", self.name, "--data-dir", str(self.folder / self.name),
            "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
            "--listen-peer-urls", f"http://127.0.0.1:{self.peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer}",
            "--initial-cluster", cluster, "--logger", "zap", "--log-level", "warn", *self.more,
        ]  # fmt: skip
        answers = self.healthy if ready else self.listens
        self.process = self._running.enter_context(daemon(command, self.folder / f"{self.name}.log", answers, LONG))

    def healthy(self) -> bool:
        if self.scheme == "https":
            return self.listens()
        return bool(requests.get(f"{self.url}/health", timeout=2).json()["health"] == "true")

    def listens(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.client), 1):
            return True

    def stop(self) -> None:
        self._running.close()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP; returns when every thread has stopped, since until then some still serve requests."""
        assert self.process is not None
        pid = self.process.pid
        self.signal(signal.SIGSTOP)
        await_(lambda: _states(pid) == {"T"}, LONG, "etcd to stop")


def _states(pid: int) -> set[str]:
    """The states of a process's threads, as in proc(5)."""
    stats = [one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {text.rpartition(")")[2].split()[0] for text in stats}


@contextmanager
def etcd(folder: Path, members: int = 1, **options: Any) -> Iterator[list[Member]]:
    """A cluster of several members, all ready."""
    cluster = [Member(f"m{number}", folder, **options) for number in range(members)]
    with ExitStack() as stack:
        for member in cluster:
            stack.callback(member.stop)
        for member in cluster:
            member.start(cluster, ready=members == 1)
        for member in cluster:
            await_(member.healthy, LONG, f"{member.name} is not ready")
        yield cluster


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a member that all tests leave running; each test uses its own cluster name."""
    with etcd(tmp_path_factory.mktemp("etcd")) as (member,):
        yield member.url


_names = itertools.count()


def fresh() -> str:
    return f"cluster-{next(_names)}"


@contextmanager
def client(name: str, *urls: str, seconds: float = LONG, one_request: float = 3.0, **lease: Any) -> Iterator[Etcd]:
    with closing(Etcd(name, Lease(etcd=urls, **lease), seconds, one_request)) as found:
        yield found


def all_at_once(work: Callable[[int], None], number: int) -> None:
    """Run a function in several threads; raise the first error."""
    errors: list[BaseException] = []

    def run(at: int) -> None:
        try:
            work(at)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


# Races


def test_it_does_what_the_model_does(shared: str) -> None:
    """Random steps of two clients have the same results as in a model."""
    with ExitStack() as stack:

        class Machine(StoreMachine):
            @staticmethod
            def make() -> tuple[RecordStore, RecordStore]:
                name = fresh()
                one, other = (stack.enter_context(client(name, shared)) for _ in range(2))
                return one, other

        run_state_machine_as_test(Machine, settings=settings(max_examples=30, stateful_step_count=20))


def test_fifty_racers_for_one_node_have_one_winner(shared: str) -> None:
    """All ask for one node at the same time, then the losers for a node each: no record is lost."""
    name, won, seen = fresh(), list[int](), Counter[str]()

    def race(number: int) -> None:
        with client(name, shared) as store:
            try:
                store.add([holder(FIRST, f"owner-{number}")])
                won.append(number)
            except HeldError as error:
                seen[error.holders[0].owner] += 1
                store.add([holder(NODES[number + 1], f"owner-{number}")])

    all_at_once(race, 50)
    assert len(won) == 1
    assert seen == {f"owner-{won[0]}": 49}
    with client(name, shared) as store:
        assert len(store.holders()) == 50


class Monitor:
    """Counts the grants that are held at the same time; there must never be more than one."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.now: set[str] = set()
        self.most = 0
        self.total = 0

    def enter(self, who: str) -> None:
        with self.guard:
            self.now.add(who)
            self.total += 1
            self.most = max(self.most, len(self.now))

    def leave(self, who: str) -> None:
        with self.guard:
            self.now.discard(who)


def take_turns(store: Etcd, node: str, monitor: Monitor, ends: float) -> None:
    """Ask until granted, hold the lease for a moment, and release it.

    It asks only if it sees no lease: if fifty clients asked all the time, each would meet others and be refused.
    """
    owner = f"owner-{node}"
    while time.monotonic() < ends:
        if not store.holders() and granted(store, [holder(node, owner)], one_at_a_time).decision == "safe":
            monitor.enter(node)
            time.sleep(0.01)
            monitor.leave(node)
            store.remove([node], owner)
            return
        time.sleep(random.uniform(0, 0.5))  # noqa: S311 - so that refused ones don't meet again
    raise AssertionError(f"{node} was never granted")


def test_fifty_racers_are_granted_one_at_a_time(shared: str) -> None:
    """If the gate allows one node, fifty clients that want fifty nodes all get their turn, and never two at once."""
    name, monitor, ends = fresh(), Monitor(), time.monotonic() + 240

    def race(number: int) -> None:
        with client(name, shared) as store:
            take_turns(store, NODES[number], monitor, ends)

    all_at_once(race, 50)
    assert (monitor.total, monitor.most) == (50, 1)
    with client(name, shared) as store:
        assert store.holders() == ()


RACER = """
import os, random, sys, time
from contextlib import closing
from ringcheck.config.values import Lease
from ringcheck.leases.etcd import Etcd
from ringcheck.leases.grant import granted
from tests.leases.stores import holder, one_at_a_time
url, name, folder, nodes = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
with closing(Etcd(name, Lease(etcd=(url,)), 60.0)) as store:
    for node in nodes:
        while granted(store, [holder(node, f"owner-{node}")], one_at_a_time).decision != "safe":
            time.sleep(random.uniform(0, 0.3))
        os.close(os.open(f"{folder}/granted", os.O_CREAT | os.O_EXCL))  # fails where another is granted now
        time.sleep(0.02)
        os.unlink(f"{folder}/granted")
        store.remove([node], f"owner-{node}")
"""


def test_processes_are_granted_one_at_a_time(shared: str, tmp_path: Path) -> None:
    """Each of five processes with five nodes creates a file while it holds a lease; the file never exists before."""
    name = fresh()
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, shared, name, str(tmp_path), *NODES[at : at + 5]], cwd=HERE)
        for at in range(0, 25, 5)
    ]
    try:
        assert [one.wait(240) for one in racers] == [0] * 5
    finally:
        for one in racers:
            one.kill()
    with client(name, shared) as store:
        assert store.holders() == ()


# Deaths


DIES = """
import sys, time
from ringcheck.config.values import Lease
from ringcheck.leases.etcd import Etcd
from ringcheck.leases.grant import granted
from tests.leases.stores import holder
def decide(others):
    print("recorded", flush=True)
    time.sleep(600)
granted(Etcd(sys.argv[2], Lease(etcd=(sys.argv[1],))), [holder(owner="dead")], decide)
"""


def test_a_run_that_dies_between_record_and_decision(shared: str) -> None:
    """Its lease stays, so others count its node as down and are refused; a break removes the lease."""
    name = fresh()
    run = subprocess.Popen([sys.executable, "-c", DIES, shared, name], cwd=HERE, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "recorded\n"
    run.kill()
    run.wait()
    with client(name, shared) as store:
        assert store.holders() == (holder(owner="dead"),)
        assert granted(store, [holder(SECOND, "you")], one_at_a_time).decision == "unsafe"
        with pytest.raises(HeldError, match="under the restart lease of dead"):
            granted(store, [holder(owner="you")], one_at_a_time)
        assert store.take_away(FIRST, "boss", "its run has died").owner == "dead"
        assert granted(store, [holder(SECOND, "you")], one_at_a_time).decision == "safe"
        assert [one[1:3] for one in store.history()] == [("boss", "its run has died")]


def test_leases_outlive_a_restart_of_etcd(tmp_path: Path) -> None:
    """A client with connections to the old process continues with the new one."""
    with etcd(tmp_path) as (member,), client("c", member.url) as store:
        store.add([holder()])
        member.stop()
        member.start([member])
        store.add([holder(SECOND)])
        assert [one.node for one in store.holders()] == [FIRST, SECOND]


def test_etcd_restarted_in_the_middle(tmp_path: Path) -> None:
    """While etcd is killed and restarted, clients are granted or in doubt, and never are two granted at once."""
    monitor, doubts, stop = Monitor(), list[str](), threading.Event()
    with etcd(tmp_path) as (member,):

        def race(number: int) -> None:
            node, owner = NODES[number], f"owner-{number}"
            with client("c", member.url, seconds=3.0) as store:
                while not stop.is_set():
                    try:
                        if granted(store, [holder(node, owner)], one_at_a_time).decision == "safe":
                            monitor.enter(node)
                            time.sleep(0.01)
                            monitor.leave(node)
                        store.remove([node], owner)
                    except LeaseError as error:
                        doubts.append(str(error))
                    time.sleep(random.uniform(0, 0.1))  # noqa: S311 - racers that don't meet for ever

        def restarts() -> None:
            for _ in range(3):
                time.sleep(1.0)
                member.signal(signal.SIGKILL)
                member.stop()
                time.sleep(0.5)
                member.start([member])
            time.sleep(1.0)
            stop.set()

        def work(number: int) -> None:
            restarts() if number == 0 else race(number)

        all_at_once(work, 6)
        assert monitor.total > 5
        assert monitor.most == 1


def test_a_hung_etcd_is_a_doubt_in_time(tmp_path: Path) -> None:
    """If etcd is stopped by SIGSTOP, the deadline ends the request, the error says so, and nothing is granted."""
    with etcd(tmp_path) as (member,), client("c", member.url, seconds=2.0, one_request=0.5) as store:
        store.add([holder(SECOND, "you")])
        member.pause()
        try:
            began = time.monotonic()
            with pytest.raises(LeaseError, match=r"no whole answer within 0\.\d+ s \(tried for 2 s\)$"):
                granted(store, [holder()], lambda others: decision("safe", others))
            assert time.monotonic() - began < 30
        finally:
            member.signal(signal.SIGCONT)
        await_(lambda: store.holders() == (holder(SECOND, "you"),), LONG, "the other's lease")


# Partitions


class Proxy:
    """A TCP proxy to a port that can lose or hold requests and answers.

    `lose`: called with each request's bytes; true closes the connection once etcd has answered, so that the request
    is carried out and the client does not learn the result. `hold` delays such requests instead, until `let_go`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.lose: Callable[[bytes], bool] = lambda _: False
        self.hold: Callable[[bytes], bool] = lambda _: False
        self.let_go = threading.Event()
        self.lost = 0
        self.held = 0
        self.landed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.let_go.set()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(ours,), daemon=True).start()

    def _serve(self, ours: socket.socket) -> None:
        with suppress(OSError), ours, socket.create_connection(("127.0.0.1", self._port)) as theirs:
            while request := _message(ours):
                held = self.hold(request)
                if held:
                    self.held += 1
                    self.let_go.wait()
                theirs.sendall(request)
                answer = _message(theirs)
                if held:
                    self.landed += 1
                if self.lose(request):
                    self.lost += 1
                    return
                ours.sendall(answer)


def _message(sock: socket.socket) -> bytes:
    """One HTTP message with its body, by Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(one.split(b":")[1]) for one in head.split(b"\r\n") if one.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def proxy(shared: str) -> Iterator[Proxy]:
    with closing(Proxy(int(shared.rpartition(":")[2]))) as found:
        yield found


def is_txn(request: bytes) -> bool:
    return request.startswith(b"POST /v3/kv/txn")


class First:
    """A condition that is true for the first few requests that match a test."""

    def __init__(self, test: Callable[[bytes], bool], number: int = 1) -> None:
        self._test = test
        self._left = number

    def __call__(self, request: bytes) -> bool:
        if self._left and self._test(request):
            self._left -= 1
            return True
        return False


def test_an_answer_that_is_lost_is_read_back(proxy: Proxy) -> None:
    """If the answer to a transaction is lost, the record is read: the lease is there once, and can be withdrawn."""
    with client(fresh(), proxy.url) as store:
        proxy.lose = First(is_txn)
        added = store.add([holder()])
        assert (proxy.lost, added.holders, set(added.new)) == (1, (holder(),), {FIRST})
        proxy.lose = First(is_txn)
        store.remove(added.new, "me", added.grant)
        assert (proxy.lost, store.holders()) == (2, ())


def test_a_break_whose_answer_is_lost_is_done_once(proxy: Proxy) -> None:
    """It returns the lease that it broke, and the history has the break once."""
    with client(fresh(), proxy.url) as store:
        store.add([holder()])
        proxy.lose = First(is_txn)
        assert store.take_away(FIRST, "boss", "x") == holder()
        assert (proxy.lost, len(store.history()), store.holders()) == (1, 1, ())


def test_an_answer_that_is_lost_may_have_been_a_refusal(shared: str, proxy: Proxy) -> None:
    """If another owner recorded a lease between reading and writing, it is found when the record is read back."""
    name = fresh()
    with client(name, proxy.url) as store, client(name, shared) as other:

        def meanwhile(request: bytes) -> bool:
            if is_txn(request):
                proxy.hold = lambda _: False
                other.add([holder(owner="you")])
            return False

        proxy.hold, proxy.lose = meanwhile, First(is_txn)
        with pytest.raises(HeldError):
            store.add([holder()])
        assert (proxy.lost, store.holders()) == (1, (holder(owner="you"),))


def test_all_answers_lost_is_a_doubt_and_no_grant(shared: str, proxy: Proxy) -> None:
    """If all answers are lost until the deadline, nothing is assumed: the lease stays, and the text says so."""
    name = fresh()
    with client(name, proxy.url, seconds=1.0) as store, client(name, shared) as other:
        proxy.lose = is_txn
        with pytest.raises(LeaseError, match="it is not known whether the record was changed"):
            granted(store, [holder()], lambda _: decision("safe"))
        assert proxy.lost > 1
        assert other.holders() == (holder(),)


def test_a_late_withdrawal_does_not_remove_a_new_grant(shared: str, proxy: Proxy) -> None:
    """A delayed removal must not take effect after the same owner was granted the node again."""
    name = fresh()
    with client(name, proxy.url, seconds=1.0, one_request=0.4) as slow, client(name, shared) as store:
        store.add([holder()])
        proxy.hold = First(is_txn, 10)
        with pytest.raises(LeaseError):
            slow.remove([FIRST], "me")
        assert proxy.held
        assert granted(store, [holder()], lambda _: decision("safe")).decision == "safe"
        proxy.let_go.set()
        await_(lambda: proxy.landed == proxy.held, LONG, "the late removals")
        assert store.holders() == (holder(),)


# Members


def test_a_dead_endpoint_is_passed_over(tmp_path: Path) -> None:
    """With one of three members killed, endpoints work in any order, even if the killed one was in use."""
    with etcd(tmp_path, 3) as members, client("c", *(one.url for one in members)) as store:
        store.add([holder()])
        members[0].stop()
        store.add([holder(SECOND)])
        with client("c", *(one.url for one in members)) as other:
            assert [one.node for one in other.holders()] == [FIRST, SECOND]


def test_a_member_without_a_majority_grants_nothing(tmp_path: Path) -> None:
    """A member that is cut off can neither read nor write; when the majority is back the record is unchanged."""
    with etcd(tmp_path, 3) as members, client("c", members[0].url, seconds=4.0, one_request=2.0) as alone:
        alone.add([holder(SECOND, "you")])
        for one in members[1:]:
            one.pause()
        try:
            with pytest.raises(LeaseError, match="tried for 4 s"):
                granted(alone, [holder()], lambda others: decision("safe", others))
            with pytest.raises(LeaseError):
                alone.holders()
        finally:
            for one in members[1:]:
                one.signal(signal.SIGCONT)
        with client("c", *(one.url for one in members)) as store:
            assert holder(SECOND, "you") in store.holders()


def test_endpoints_of_two_clusters_are_a_doubt(proxy: Proxy, tmp_path: Path) -> None:
    """Endpoints of different clusters are refused, because two runs could each find a record of their own."""
    other = ("--initial-cluster-token", "other")
    with etcd(tmp_path, more=other) as (member,), client(fresh(), proxy.url, member.url) as store:
        store.add([holder()])
        proxy.lose = lambda _: True
        with pytest.raises(LeaseError, match="different etcd clusters"):
            store.holders()


def test_a_foreign_record_is_not_written_over(shared: str) -> None:
    """If the key has a value of another program, it is not replaced."""
    name = fresh()
    environment = {**os.environ, "ETCDCTL_API": "3"}
    control = [required("etcdctl"), "--endpoints", shared]
    subprocess.run([*control, "put", f"/ringcheck/leases/{name}", "mine"], env=environment, check=True)
    with client(name, shared) as store:
        for step in (store.holders, lambda: store.add([holder()]), lambda: store.take_away(FIRST, "b", "r")):
            with pytest.raises(LeaseError, match=f"etcd's key /ringcheck/leases/{name} has no readable lease record"):
                step()
    got = subprocess.run(
        [*control, "get", "--print-value-only", f"/ringcheck/leases/{name}"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert got.stdout == "mine\n"


# TLS and users


@pytest.fixture
def pems(tmp_path: Path) -> dict[str, str]:
    """Files: a certificate authority, a server's and a client's certificates, and those of another authority."""
    authority, stranger = trustme.CA(), trustme.CA()
    found = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key", "client", "client_key", "other")}
    authority.cert_pem.write_to_path(found["ca"])
    stranger.cert_pem.write_to_path(found["other"])
    server, who = authority.issue_cert("127.0.0.1", "localhost"), authority.issue_cert("ringcheck")
    server.cert_chain_pems[0].write_to_path(found["cert"])
    server.private_key_pem.write_to_path(found["key"])
    who.cert_chain_pems[0].write_to_path(found["client"])
    who.private_key_pem.write_to_path(found["client_key"])
    return found


def secured(pems: dict[str, str]) -> tuple[str, ...]:
    return (
        "--cert-file", pems["cert"], "--key-file", pems["key"],
        "--client-cert-auth", "--trusted-ca-file", pems["ca"],
    )  # fmt: skip


def test_tls_with_our_certificate_and_a_user(tmp_path: Path, pems: dict[str, str]) -> None:
    """They work together; if any of them is missing there is an error, which does not contain the password."""
    password = tmp_path / "password"
    password.write_text("pass-word\n")
    password.chmod(0o600)
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong-word\n")
    wrong.chmod(0o600)
    tls = Tls(ca_file=pems["ca"], cert_file=pems["client"], key_file=pems["client_key"])
    user: dict[str, Any] = {"username": "ringcheck", "password_file": str(password)}
    with etcd(tmp_path, scheme="https", more=secured(pems)) as (member,):
        _users(member, pems)
        with client("c", member.url, tls=tls, **user) as store:
            store.add([holder()])
            assert store.holders() == (holder(),)
            member.stop()
            member.start([member])  # its tokens are lost with it
            store.add([holder(SECOND)])
            assert len(store.holders()) == 2
        changes: list[tuple[dict[str, Any], str]] = [
            ({"tls": tls}, "user name is empty|permission denied"),
            ({"tls": tls, **user, "password_file": str(wrong)}, "authentication failed"),
            ({"tls": Tls(ca_file=pems["ca"]), **user}, "certificate|closed|EOF|reset|[Ss][Ss][Ll]"),
            ({"tls": replace(tls, ca_file=pems["other"]), **user}, "unable to get local issuer certificate"),
        ]
        for change, why in changes:
            with client("c", member.url, seconds=2.0, **change) as store, pytest.raises(LeaseError, match=why) as found:
                store.holders()
            assert "word" not in str(found.value).replace("password", "")
        with (
            client("secret", member.url, tls=tls, **user) as store,
            pytest.raises(LeaseError, match="permission denied"),
        ):
            store.holders()


def _users(member: Member, pems: dict[str, str]) -> None:
    control = [
        required("etcdctl"), "--endpoints", member.url, "--cacert", pems["ca"],
        "--cert", pems["client"], "--key", pems["client_key"],
    ]  # fmt: skip
    for command in (
        ["user", "add", "root:root"], ["user", "grant-role", "root", "root"],
        ["user", "add", "ringcheck:pass-word"], ["role", "add", "ringcheck"],
        ["role", "grant-permission", "ringcheck", "readwrite", "/ringcheck/leases/c"],
        ["user", "grant-role", "ringcheck", "ringcheck"], ["auth", "enable"],
    ):  # fmt: skip
        subprocess.run([*control, *command], env={**os.environ, "ETCDCTL_API": "3"}, check=True, capture_output=True)
