"""`ringcheck jmx-proxy` with real Jolokias and with JVMs other than Cassandra: logins, TLS, and failures on the way."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import RingcheckError
from ringcheck.jolokia import mbeans, outcomes
from ringcheck.jolokia.client import Client, Requests
from ringcheck.jolokia.settings import JolokiaSettings
from tests.cassandra import artifacts, launch
from tests.cassandra.conftest import chosen_jolokias, require_tools

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cassandra

SECONDS = 60.0
USER, PASSWORD, STORE = "monitor", "s3cret", "changeit"
ADDRESS = "SAN=ip:127.0.0.1"  # JDKs of 2026 refuse a certificate that does not contain the requested address
REMOTE = "com.sun.management.jmxremote"
MAIN = ("-cp", str(launch.PROXY_MAIN), "JmxProxy")  # any main class that waits


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running(*command: str, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens at a port of 127.0.0.1, until the end of the block."""
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            assert process.poll() is None, command
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, command
                time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def jvm(**properties: str) -> Iterator[int]:
    """A JVM with JMX at 127.0.0.1; its port."""
    port = free_port()
    given = {
        f"{REMOTE}.port": str(port), f"{REMOTE}.rmi.port": str(port), f"{REMOTE}.host": "127.0.0.1",
        f"{REMOTE}.authenticate": "false", f"{REMOTE}.ssl": "false", "java.rmi.server.hostname": "127.0.0.1",
        **properties,
    }  # fmt: skip
    command = ["java", "-Xmx32m", *(f"-D{name}={value}" for name, value in given.items()), *MAIN]
    with running(*command, port=port):
        yield port


@contextmanager
def proxy(generation: str, *options: str) -> Iterator[Asked]:
    """`ringcheck jmx-proxy` for 127.0.0.1, as an operator starts it."""
    port = free_port()
    command = [sys.executable, "-m", "ringcheck", "jmx-proxy", "--jar", str(artifacts.jolokia_agent(generation))]
    command += ["--listen", f"127.0.0.1:{port}", "--allow", "127.0.0.1:*", "--allow", "127.0.0.1", *options]
    with running(*command, port=port) as process:
        yield Asked(f"http://127.0.0.1:{port}/jolokia", process.pid)


class Asked:
    """A proxy."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def start_time(self, port: int, **settings: Any) -> int:
        """When a JVM was started, as the proxy reads it; ringcheck's own errors are raised."""
        request = mbeans.read(mbeans.RUNTIME, mbeans.START_TIME)
        return outcomes.number(self.ask(port, request, **settings), "StartTime")

    def ask(self, port: int, request: dict[str, Any], host: str = "127.0.0.1", **settings: Any) -> Any:
        location = f"service:jmx:rmi:///jndi/rmi://{host}:{port}/jmxrmi"
        client = Client(Requests(JolokiaSettings(contact_points=(), proxy=self.url, **({"timeout": 20.0} | settings))))
        with closing(client):
            reply = client.post(location, request, time.monotonic() + SECONDS)
            assert "request" not in reply  # it would repeat the password
            return outcomes.outcome(reply).get("StartTime")

    def error(self, port: int, **settings: Any) -> str:
        with pytest.raises(RingcheckError) as caught:
            self.start_time(port, **settings)
        return str(caught.value)


@pytest.fixture(scope="module", params=[line for line in chosen_jolokias(("2", "2.6")) if line != "1"])
def generation(request: pytest.FixtureRequest) -> str:
    """The newest Jolokia and the oldest that can be a proxy; if all lines are tested, also those between them."""
    require_tools()
    return str(request.param)


def test_logins_and_failures(generation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them has its own message, with both lines of Jolokia."""
    (tmp_path / "password").write_text(f"{USER} {PASSWORD}\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "access").write_text(f"{USER} readwrite\n")
    login = {
        f"{REMOTE}.authenticate": "true",
        f"{REMOTE}.password.file": str(tmp_path / "password"),
        f"{REMOTE}.access.file": str(tmp_path / "access"),
    }
    with ExitStack() as stack:
        through = stack.enter_context(proxy(generation))
        plain, guarded = stack.enter_context(jvm()), stack.enter_context(jvm(**login))
        stale = stack.enter_context(jvm(**{"java.rmi.server.hostname": "127.0.0.77"}))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        assert through.start_time(plain) > 0
        assert through.error(free_port()) == "it refuses the connection"
        assert through.error(guarded) == "it requires a JMX user name and password"
        monkeypatch.setenv("RINGCHECK_JMX_PASSWORD", f"not {PASSWORD}")
        assert through.error(guarded, jmx_username=USER) == "wrong JMX user name or password"
        monkeypatch.setenv("RINGCHECK_JMX_PASSWORD", PASSWORD)
        assert through.start_time(guarded, jmx_username=USER) > 0
        assert through.error(stale).startswith("it answers, but its JMX server at 127.0.0.77 does not")
        assert through.error(silent).startswith("it accepts connections and does not answer")
        assert "no answer through the proxy within 0.5 s" in through.error(silent, timeout=0.5)
        assert through.start_time(plain) > 0  # while this happens
        assert through.error(plain, host="127.0.0.2") == "the proxy does not allow this target: see its --allow"
        memory = {"type": "read", "mbean": "java.lang:type=Memory", "attribute": "HeapMemoryUsage"}
        with pytest.raises(RingcheckError, match="the agent refuses: Reading attribute HeapMemoryUsage is forbidden"):
            through.ask(plain, memory)
        words = Path(f"/proc/{through.pid}/cmdline").read_bytes().split(b"\0")
        assert words[1].startswith(b"@/proc/self/fd/")
        assert words[2:] == [b""]


def test_a_proxy_with_a_login_of_its_own(tmp_path: Path) -> None:
    """Other users of its host can't use it; its password may contain any characters."""
    require_tools()
    password = tmp_path / "password"
    password.write_text("pä ss\\=:#\n")
    password.chmod(0o600)
    with proxy("2.6", "--username", "me", "--password-file", str(password)) as through, jvm() as port:
        assert "HTTP 401, it requires a user name and password" in through.error(port)
        assert through.start_time(port, username="me", password_file=str(password)) > 0


def keytool(*arguments: str | Path) -> None:
    subprocess.run(["keytool", *map(str, arguments), "-storepass", STORE], check=True, capture_output=True)


def test_tls(generation: str, tmp_path: Path) -> None:
    """The registry and the server speak TLS; another certificate is refused, and so is a plain connection."""
    for name in ("node", "other"):
        store, certificate, trust = (tmp_path / f"{name}{end}" for end in (".p12", ".pem", "-trust.p12"))
        own, common = ("-alias", "n", "-keystore", store), ("-alias", "n", "-keystore", trust)
        keytool("-genkeypair", *own, "-keyalg", "RSA", "-dname", "CN=node", "-validity", "9", "-ext", ADDRESS)
        keytool("-exportcert", *own, "-file", certificate)
        keytool("-importcert", "-noprompt", *common, "-file", certificate)
    (tmp_path / "password").write_text(f"{STORE}\n")
    (tmp_path / "password").chmod(0o600)
    server = {
        f"{REMOTE}.ssl": "true", f"{REMOTE}.registry.ssl": "true",
        "javax.net.ssl.keyStore": str(tmp_path / "node.p12"), "javax.net.ssl.keyStorePassword": STORE,
    }  # fmt: skip
    secret = ("--store-password-file", str(tmp_path / "password"))
    with jvm(**server) as port, jvm() as plain:
        with proxy(generation, "--tls", "--trust-store", str(tmp_path / "node-trust.p12"), *secret) as through:
            assert through.start_time(port) > 0
            assert through.error(plain).startswith("TLS fails between the proxy and the node")
        with proxy(generation, "--tls", "--trust-store", str(tmp_path / "other-trust.p12"), *secret) as through:
            assert through.error(port).startswith("TLS fails between the proxy and the node")
        with proxy(generation) as through:
            assert through.error(port).startswith("the port does not speak plain RMI")
