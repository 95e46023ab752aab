"""`ringcheck agent` as a process: it polls, serves, reloads and ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from ringcheck.cli import run
from ringcheck.cli.agent import TICK
from ringcheck.simulator.cluster import EmbeddedCluster, loopback_address
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Service:
    """A running agent: its URL, its configuration and its log."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, config: Path, log: Path) -> None:
        self.process, self.url, self.config, self._log = process, url, config, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=30)

    def logs(self, text: str) -> None:
        until(lambda: text in self.log)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "the condition did not become true"
        time.sleep(0.05)


@contextmanager
def agent(
    tmp_path: Path, *words: str, more: str = "", settings: str = "", form: str = ""
) -> Iterator[tuple[EmbeddedCluster, Service]]:
    """An agent that polls an embedded cluster of three nodes every second.

    `more` is added to its configuration, and `settings` to the agent's section there; `form` is that of its log, which
    is JSON if there are words and it is not stated.
    """
    cluster = EmbeddedCluster.uniform(3, racks=3, vnodes=4, addresses=loopback_address, time_factor=0.1)
    with serve(cluster) as server:
        port = free_port()
        config, log = tmp_path / "ringcheck.yaml", tmp_path / "log"
        config.write_text(f"{server.config()}{more}agent: {{interval: 1s, listen: '127.0.0.1:{port}'{settings}}}\n")
        command = [sys.executable, "-m", "ringcheck", "agent", "-C", os.path.relpath(config), *words]
        with log.open("wb") as err, subprocess.Popen(command, stderr=err) as process:
            service = Service(process, f"http://127.0.0.1:{port}", config, log)
            try:
                service.logs("event=severity" if form or not words else '"event": "severity"')
                yield cluster, service
            finally:
                process.terminate()
                process.wait(30)


def test_commands_on_pages_work_in_every_folder(tmp_path: Path) -> None:
    """They name the agent's configuration by its absolute path, although the agent was started with a relative one."""
    with agent(tmp_path) as (_, service):
        page = re.sub(r"<[^>]*>", "", service.get("/clusters/embedded?filter=127.0.1.1").text)
        for command in ("preflight", "what-if", "lease acquire", "doctor"):
            [named] = re.findall(rf"ringcheck {command} -C (\S+) --cluster embedded .*127\.0\.1\.1", page)
            assert Path(named).is_absolute()
            assert Path(named).samefile(service.config)


@pytest.mark.slow
def test_page_metrics_and_log_report_a_dead_node(tmp_path: Path) -> None:
    """All outputs, including `check --agent`, show the same verdict; each change is logged once."""
    with agent(tmp_path) as (cluster, service):
        assert service.get("/-/ready").status_code == 200
        cluster.down(0, instant=True)
        service.logs("event=node_state cluster=embedded node=127.0.1.1 state=down")
        until(
            lambda: 'cassandra_ring_verdict{cassandra_cluster="embedded",severity="CRITICAL"} 1.0' in metrics(service)
        )
        assert service.get("/api/v1/clusters/embedded/health").json()["severity"] == "CRITICAL"
        assert run(["check", "--agent", service.url, "--cluster", "embedded"]) == 2
        time.sleep(2.5)
        assert service.log.count("state=down") == 1


def metrics(service: Service) -> str:
    return service.get("/metrics").text


@pytest.mark.slow
def test_a_bad_file_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    """A reload with a mistake is logged with its line, and polls go on; once corrected, the new file is in force."""
    with agent(tmp_path) as (_, service):
        good = service.config.read_text()
        service.config.write_text(good.replace("jolokia:", "jolokai:"))
        service.process.send_signal(signal.SIGHUP)
        service.logs("event=reload_failed")
        assert "did you mean" in service.log
        assert "ringcheck_config_last_reload_successful 0.0" in metrics(service)
        assert 'ringcheck_up{cassandra_cluster="embedded"} 1.0' in metrics(service)
        service.config.write_text(good.replace("embedded", "renamed"))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: 'ringcheck_up{cassandra_cluster="renamed"} 1.0' in metrics(service))
        assert "embedded" not in metrics(service)


@pytest.mark.slow
def test_sigterm_ends_it(tmp_path: Path) -> None:
    """The exit code is 0, polls have ended, and the log has no traceback; with --log json its lines are JSON."""
    with agent(tmp_path, "--log", "json") as (_, service):
        service.process.terminate()
        assert service.process.wait(30) == 0
        assert '"event": "stopped", "clean": true' in service.log
        assert "Traceback" not in service.log


@pytest.mark.slow
def test_a_file_that_can_not_be_used_is_an_error_at_the_start(tmp_path: Path) -> None:
    """The start ends with one line on standard error, and exit code 3."""
    done = subprocess.run(
        [sys.executable, "-m", "ringcheck", "agent", "-C", str(tmp_path / "none.yaml")],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("UNKNOWN - ")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_reload_changes_the_log_but_not_the_address(tmp_path: Path) -> None:
    """The next line has the configured format; the log says that the new `listen` needs a restart."""
    with agent(tmp_path) as (_, service):
        good = service.config.read_text()
        service.config.write_text(
            good.replace("{interval: 1s, listen: '127.0.0.1:", "{interval: 1s, log: json, listen: '127.0.0.2:")
        )
        service.process.send_signal(signal.SIGHUP)
        service.logs('"event": "reloaded"')
        assert '"event": "restart_needed"' in service.log
        assert service.get("/-/ready").status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "warns"),
    [("127.0.0.1", False), ("0.0.0.0", True)],  # noqa: S104 - what is warned of
)
def test_an_agent_that_other_hosts_can_read_says_so(tmp_path: Path, host: str, *, warns: bool) -> None:
    """The first lines have the address that it listens on, and whether anyone who can connect may read."""
    port = free_port()
    with agent(tmp_path, "--listen", f"{host}:{port}", "--log", "logfmt", form="logfmt") as (_, service):
        assert f"url=http://127.0.0.1:{port} listen={host}:{port}" in service.log
        assert (f"level=warning event=unguarded listen={host}:{port} " in service.log) is warns


def needed_after(service: Service, text: str) -> int:
    """How often the log says that a restart is needed after a reload of this configuration."""
    before = service.log.count("event=reloaded")
    service.config.write_text(text)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: service.log.count("event=reloaded") > before)
    return service.log.count("event=restart_needed")


@pytest.mark.slow
def test_a_restart_is_needed_while_the_bound_address_is_not_the_configured_one(tmp_path: Path) -> None:
    """Each reload logs it, until one configures the bound address again."""
    with agent(tmp_path) as (_, service):
        good = service.config.read_text()
        other = good.replace("listen: '127.0.0.1:", "listen: '127.0.0.2:")
        assert other != good
        assert [needed_after(service, text) for text in (other, other, good)] == [1, 2, 2]


@pytest.mark.slow
def test_warnings_of_the_configuration_are_logged(tmp_path: Path) -> None:
    """They are those of `config check`, and are logged at the start and at each reload."""
    shadowed = "    monitor: [{keyspaces: ['*'], critical: ONE}, {keyspaces: [orders], critical: ONE}]\n"
    with agent(tmp_path) as (_, service):
        good = service.config.read_text()
        service.config.write_text(good.replace("agent:", f"{shadowed}agent:"))
        service.process.send_signal(signal.SIGHUP)
        service.logs("event=reloaded")
        assert "event=config_warning" in service.log
        assert "the rule for orders never applies" in service.log


@pytest.mark.slow
def test_many_signals_are_reloads_and_a_single_end(tmp_path: Path) -> None:
    """A signal at any time neither kills nor blocks the process, and the process ends only once."""
    sensu = f"    sensu: {{team: t, runbook: r, port: {free_port()}}}\n"
    with agent(tmp_path, more=sensu) as (_, service):
        waiting = list(masks(service.process.pid)).count(False)
        assert waiting == 1, "a thread that neither blocks a signal nor waits for it dies of it, and the process too"
        for _ in range(300):
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.003)
        for _ in range(20):
            service.process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        assert service.process.wait(60) == 0
        assert service.log.count("event=reloaded") > 3
        assert service.log.count("event=stopped") == 1


def masks(pid: int) -> Iterator[bool]:
    """For each thread whether it blocks the signals; the thread that waits for them does not."""
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        (blocked,) = re.findall(r"^SigBlk:\s*(\w+)$", status.read_text(), re.MULTILINE)
        yield all(int(blocked, 16) >> number - 1 & 1 for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))


@pytest.mark.slow
def test_a_process_that_was_stopped_continues(tmp_path: Path) -> None:
    """A debugger, SIGSTOP or a frozen container may stop it for longer than one wait for signals takes."""
    with agent(tmp_path) as (_, service):
        for _ in range(3):
            service.process.send_signal(signal.SIGSTOP)
            time.sleep(1.5 * TICK)
            service.process.send_signal(signal.SIGCONT)
            time.sleep(0.5 * TICK)
        assert service.process.poll() is None
        assert "event=stopped" not in service.log
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0


@pytest.mark.slow
def test_a_restart_keeps_since(tmp_path: Path) -> None:
    """This holds even after a kill -9; an unusable state file is logged, and the agent still monitors."""
    health = "/api/v1/clusters/embedded/health"
    state = ", state: state.db"
    with agent(tmp_path, settings=state) as (_, service):
        since = service.get(health).json()["since"]
        assert since
        service.process.kill()
        service.process.wait(30)
    with agent(tmp_path, settings=state) as (_, service):
        assert service.get(health).json()["since"] == since
        kinds = [entry["kind"] for entry in service.get(health.replace("health", "history")).json()["entries"]]
        assert kinds.count("agent") == 1
        assert kinds[-1] == "severity"
        (tmp_path / "second").mkdir()
        with agent(tmp_path / "second", settings=f", state: {tmp_path}/state.db") as (_, second):
            second.logs("event=history_failed")
            assert "in use by another agent" in second.log
            assert second.get(health).json()["severity"] == "OK"
            assert "ringcheck_history_up 0.0" in metrics(second)
