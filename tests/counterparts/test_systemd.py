"""The units: systemd's own checks of them, and how systemd runs them on a disposable machine.

A real system manager runs them as the package installs them: a user manager has no DynamicUser=, and applies only half
of the sandbox.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme
import yaml

from tests.agent.service import Clusters, clusters
from tests.counterparts.daemon import await_, free_port, required
from tests.counterparts.machine import Machine, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ["ringcheck-agent.service", "ringcheck-check@.service", "ringcheck-jmx-proxy.service"]
PROGRAM = "/usr/bin/ringcheck"
AGENT = "ringcheck-agent"
CHECK = "ringcheck-check@orders-prod"
PATIENCE = 90.0  # seconds; generous, so that a busy machine does not fail a test
CONFIG = "/etc/ringcheck/ringcheck.yaml"
SECRET = "/etc/ringcheck/jolokia-password"  # noqa: S105 - a path

# Used instead of half a minute and ten seconds.
HURRIED = "[Service]\nWatchdogSec=3s\nRestartSec=100ms\n"


# systemd's checks


@pytest.mark.parametrize("service", SERVICES)
def test_the_exposure_of_the_services(service: str) -> None:
    """Their exposure is 1.5 of 10 at most, as systemd rates it."""
    told = subprocess.run(
        [required("systemd-analyze"), "security", "--offline=yes", "--threshold=15", UNITS / service],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (score,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
    assert (told.returncode, float(score) <= 1.5) == (0, True), told.stdout


def test_an_exposed_service_would_be_seen(tmp_path: Path) -> None:
    """A service without the last part of its sandbox exceeds the threshold of the test above."""
    text = (UNITS / SERVICES[0]).read_text()
    bare = tmp_path / "bare.service"
    bare.write_text(text[: text.index("CapabilityBoundingSet=")])
    told = subprocess.run(
        [required("systemd-analyze"), "security", "--offline=yes", "--threshold=15", bare],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode != 0


def verified(folder: Path, change: tuple[str, str] = ("", "")) -> str:
    """The complaints of systemd-analyze, with one text replaced in all units."""
    folder.mkdir()
    for unit in UNITS.iterdir():
        text = unit.read_text().replace(PROGRAM, shutil.which("true") or "/bin/true").replace(*change)
        (folder / unit.name).write_text(text)
    names = [unit.name.replace("@", "@orders-prod") for unit in sorted(UNITS.iterdir())]
    done = subprocess.run(
        [required("systemd-analyze"), "verify", *(f"./{name}" for name in names)],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    return done.stderr + ("" if done.returncode == 0 else f"exit code {done.returncode}")


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """systemd-analyze prints nothing: an unknown key would be a line on stderr, with exit code 0."""
    assert verified(tmp_path / "units") == ""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("MemoryMax=", "MemoryMost="), "'MemoryMost' in section [Service]"),
        (("OnCalendar=minutely", "OnCalendar=often"), "Failed to parse calendar specification"),
        (("Type=notify", "Type=notified"), "Failed to parse service type"),
        (("@system-service", "@system-services"), "Unknown system call group"),
    ],
)
def test_a_mistake_in_a_unit_would_be_seen(change: tuple[str, str], complaint: str, tmp_path: Path) -> None:
    """The test above reports mistakes of several kinds."""
    assert complaint in verified(tmp_path / "units", change)


def test_the_services_are_kept_alike() -> None:
    """The sandboxes are the same, except that a JVM writes code and executes it."""
    agent, *others = (
        re.findall(r"(?m)^CapabilityBoundingSet=\n(?:\w+=.*\n)+", (UNITS / service).read_text()) for service in SERVICES
    )
    assert len(agent) == 1
    check, proxy = others
    assert check == agent
    assert proxy == [agent[0].replace("MemoryDenyWriteExecute=yes\n", "")]


# On a machine


@dataclass(frozen=True)
class Site:
    """A machine with systemd and the package, and clusters for it."""

    machine: Machine
    ours: Clusters
    port: int

    def configure(self, *names: str, **jolokia: Any) -> None:
        """Write a configuration with one cluster under several names."""
        document = {**self.ours.document, "jolokia": {**self.ours.document["jolokia"], **jolokia}}
        agent = {"listen": f"127.0.0.1:{self.port}", "interval": "1s"}
        text = yaml.safe_dump({"clusters": dict.fromkeys(names, document), "agent": agent})
        self.machine.put(text, CONFIG)

    def override(self, unit: str, text: str) -> None:
        """Replace the drop-in of the agent's unit."""
        self.machine.put(text, f"/etc/systemd/system/{unit}.d/test.conf")
        self.machine.shell("systemctl daemon-reload")

    def agent(self, name: str) -> str:
        """A property of the agent's unit."""
        return self.machine.show(AGENT, name)

    def says(self, status: str, seconds: float = PATIENCE) -> None:
        """Wait until the agent is active with this status."""
        await_(lambda: (self.agent("ActiveState"), self.agent("StatusText")) == ("active", status), seconds, self.last)

    def journal(self, *arguments: str) -> str:
        """The lines of the journal."""
        return self.machine.shell(f"journalctl --no-pager --quiet --output=cat {' '.join(arguments)}")

    def last(self) -> str:
        """The end of the journal."""
        return self.journal("--lines=40")

    def does(self, verb: str, unit: str = AGENT) -> None:
        """Call systemctl, which must succeed."""
        done = self.machine.run("systemctl", verb, unit)
        assert done.returncode == 0, done.stderr + self.last()


@pytest.fixture(scope="module")
def installed(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("machine")
    with clusters(folder) as ours, booted(folder / "root", deb) as machine:
        yield Site(machine, ours, free_port())


@pytest.fixture
def site(installed: Site) -> Iterator[Site]:
    """A site where no service runs, all nodes are up, and the configuration is valid."""
    installed.configure("orders-prod")
    installed.override(f"{AGENT}.service", HURRIED)
    installed.override("ringcheck-check@.service", "")
    yield installed
    installed.ours.nodes_down()
    installed.machine.run("systemctl", "stop", AGENT)
    installed.machine.run("systemctl", "reset-failed")


@contextmanager
def started(site: Site) -> Iterator[int]:
    """The running agent, with its process id in the machine."""
    site.does("start")
    yield int(site.agent("MainPID"))
    site.does("stop")


def test_started_once_the_clusters_were_polled(site: Site) -> None:
    """`systemctl start` returns when the agent is ready; its status has the verdict, its metrics have the process."""
    with started(site):
        assert site.agent("ActiveState") == "active"
        assert "event=severity cluster=orders-prod severity=OK" in site.journal("-u", AGENT)
        site.says("1 cluster, worst OK")
        site.ours.nodes_down(0, 1)
        site.says("1 cluster, worst WARNING")
        metrics = requests.get(f"http://127.0.0.1:{site.port}/metrics", timeout=30).text
        assert re.search(r'(?m)^cassandra_ring_verdict\{.*severity="WARNING"\} 1\.0$', metrics)
        assert re.search(r"(?m)^process_resident_memory_bytes [1-9]", metrics), "it can't read /proc/stat"


def test_it_may_do_nothing_else(site: Site) -> None:
    """The agent's user has no capabilities, can write only below /var/lib/ringcheck, and sees no home directory."""
    with started(site) as pid:
        status = dict(
            line.split(":\t", 1) for line in site.machine.shell(f"cat /proc/{pid}/status").splitlines() if ":\t" in line
        )
        assert all(61184 <= int(uid) <= 65519 for uid in status["Uid"].split())
        assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        mounts = site.machine.shell(f"cat /proc/{pid}/mountinfo")
        options = {line.split()[4]: line.split()[5].split(",") for line in mounts.splitlines()}
        assert "ro" in options["/"]
        assert "rw" in options["/var/lib/private/ringcheck"]
        assert {"/home", "/root"} <= options.keys()


def test_a_reload_by_systemctl(site: Site) -> None:
    """A valid file is in force after the reload; an invalid one leaves the service unchanged, and is logged."""
    with started(site) as pid:
        site.configure("orders-prod", "search-prod")
        site.does("reload")
        site.says("2 clusters, worst OK")
        site.machine.put("clusters: 5\n", CONFIG)
        site.does("reload")
        await_(lambda: "event=reload_failed" in site.journal("-u", AGENT), PATIENCE, "the bad file is refused")
        site.says("2 clusters, worst OK")
        assert (int(site.agent("MainPID")), site.agent("NRestarts")) == (pid, "0")


def test_the_watchdog_restarts_what_is_stuck(site: Site) -> None:
    """A stopped process is killed and restarted once; one that makes progress is left alone for the same time."""
    with started(site) as pid:
        time.sleep(6)  # twice the watchdog's time
        assert site.agent("NRestarts") == "0"
        site.machine.shell(f"kill -STOP {pid}")
        await_(lambda: site.agent("NRestarts") == "1", PATIENCE, site.last)
        site.says("1 cluster, worst OK")
        assert int(site.agent("MainPID")) != pid
        assert "Watchdog timeout" in site.journal("-u", AGENT)


def test_a_crash_is_restarted_and_a_stop_is_clean(site: Site) -> None:
    """A killed service is restarted; a service that is asked to stop exits with 0 and stays stopped."""
    with started(site) as pid:
        site.machine.shell(f"kill -KILL {pid}")
        await_(lambda: site.agent("NRestarts") == "1", PATIENCE, site.last)
        site.says("1 cluster, worst OK")
    found = [site.agent(name) for name in ("ActiveState", "Result", "ExecMainStatus")]
    assert found == ["inactive", "success", "0"]
    assert "event=stopped clean=True" in site.journal("-u", AGENT)


def test_a_bad_configuration_fails_the_start(site: Site) -> None:
    """`systemctl start` fails, the log has the line of the file, and systemd retries until the file is corrected."""
    site.machine.put("clusters:\n  orders-prod: {jolokia: {contact_point: 127.0.0.1}}\n", CONFIG)
    assert site.machine.run("systemctl", "start", AGENT).returncode
    await_(lambda: f"{CONFIG}:2:27: " in site.journal("-u", AGENT), PATIENCE, site.last)
    await_(lambda: int(site.agent("NRestarts")) > 6, PATIENCE, "it is tried again and again")
    site.configure("orders-prod")
    site.says("1 cluster, worst OK")


def test_a_password_that_only_root_may_read(site: Site) -> None:
    """With LoadCredential= the service and root's check read it by its bare name; otherwise the service can't start."""
    site.machine.put("hushhush\n", SECRET, "600")
    site.configure("orders-prod", username="ringcheck", password_file="jolokia-password")  # noqa: S106 - a name
    assert site.machine.run("systemctl", "start", AGENT).returncode
    await_(lambda: f"{SECRET} can't be read" in site.journal("-u", AGENT), PATIENCE, "the log says why")
    (line,) = re.findall(r"(?m)^#(LoadCredential=jolokia-password:.*)$", (UNITS / f"{AGENT}.service").read_text())
    site.override(f"{AGENT}.service", f"{HURRIED}{line}\n")
    site.override("ringcheck-check@.service", f"[Service]\n{line}\n")
    site.does("restart")
    site.says("1 cluster, worst OK")
    site.does("start", f"{CHECK}.service")
    assert site.machine.run("ringcheck", "check").returncode == 0


def test_pages_with_a_key_that_a_group_may_read(site: Site) -> None:
    """With SupplementaryGroups= the service reads a TLS key that only a group may read; otherwise it does not start."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    site.machine.shell("getent group ssl-cert || groupadd --system ssl-cert")
    site.machine.put(issued.cert_chain_pems[0].bytes(), "/etc/ringcheck/web.crt")
    site.machine.put(issued.private_key_pem.bytes(), "/etc/ringcheck/web.key", "640")
    site.machine.put("tls_server_config: {cert_file: web.crt, key_file: web.key}\n", "/etc/ringcheck/web.yml", "640")
    site.machine.shell("chgrp ssl-cert /etc/ringcheck/web.key /etc/ringcheck/web.yml")
    document = yaml.safe_load(site.machine.shell(f"cat {CONFIG}"))
    document["agent"]["web_config"] = "web.yml"
    site.machine.put(yaml.safe_dump(document), CONFIG)
    assert site.machine.run("systemctl", "start", AGENT).returncode
    await_(lambda: "web.yml can't be read" in site.journal("-u", AGENT), PATIENCE, site.last)
    (line,) = re.findall(r"(?m)^#(SupplementaryGroups=.*)$", (UNITS / f"{AGENT}.service").read_text())
    site.override(f"{AGENT}.service", f"{HURRIED}{line}\n")
    site.does("restart")
    with authority.cert_pem.tempfile() as file:
        assert requests.get(f"https://127.0.0.1:{site.port}/-/healthy", verify=file, timeout=30).ok


def test_leases_in_its_folder(site: Site) -> None:
    """The service and root share a lock file below /var/lib/ringcheck: the service reports root's lease."""
    with started(site):
        pass  # the first start creates the folder
    document = yaml.safe_load(site.machine.shell(f"cat {CONFIG}"))
    document["clusters"]["orders-prod"]["lease"] = {"file": "/var/lib/ringcheck/orders-prod.json"}
    document["clusters"]["orders-prod"]["gate"] = {"settle": "0s"}
    site.machine.put(yaml.safe_dump(document), CONFIG)
    with started(site):
        node = site.ours.document["jolokia"]["contact_points"][0]
        site.machine.shell(f"ringcheck lease acquire {node} --owner root --purpose kernel")
        await_(lambda: f"event=lease_held cluster=orders-prod node={node} owner=root" in site.journal("-u", AGENT),
               PATIENCE, site.last)  # fmt: skip
        site.machine.shell(f"ringcheck lease release {node} --owner root --force")


def test_a_check_by_its_timer(site: Site) -> None:
    """Its output is in the journal; CRITICAL and UNKNOWN make the unit fail, OK and WARNING do not."""
    seen = {}
    for down, expected in (((), "OK"), ((0, 1), "WARNING"), ((0, 1, 2), "UNKNOWN")):
        site.ours.nodes_down(*down)
        done = site.machine.run("systemctl", "start", f"{CHECK}.service")
        line = site.journal("-t check_cassandra_ring | tail -1")
        seen[line.partition(" - ")[0]] = (done.returncode == 0, site.machine.show(f"{CHECK}.service", "Result"))
        assert line.startswith(f"{expected} - "), line
    assert seen == {"OK": (True, "success"), "WARNING": (True, "success"), "UNKNOWN": (False, "exit-code")}
    site.does("start", f"{CHECK}.timer")
    following = json.loads(site.machine.shell("systemctl list-timers --output=json"))
    (timer,) = [one for one in following if one["unit"] == f"{CHECK}.timer"]
    assert timer["activates"] == f"{CHECK}.service"
    assert 0 < timer["next"] / 1e6 - time.time() < 90
    site.does("stop", f"{CHECK}.timer")


def test_packages_come_and_go_where_systemd_runs(site: Site) -> None:
    """An upgrade restarts a running service, a removal stops it, and enabled units stay enabled."""
    with started(site) as pid:
        site.does("enable")
        site.machine.dpkg("-i", "/ringcheck.deb")
        await_(lambda: int(site.agent("MainPID")) not in {0, pid}, PATIENCE, "the service was restarted")
        site.says("1 cluster, worst OK")
        site.machine.dpkg("-r", "ringcheck")
        await_(lambda: site.agent("ActiveState") == "inactive", PATIENCE, "the service has stopped")
        site.machine.dpkg("-i", "/ringcheck.deb")
        assert site.machine.shell(f"systemctl is-enabled {AGENT}").strip() == "enabled"
        assert site.agent("ActiveState") == "inactive", "nothing is started by an installation"
        site.does("disable")
