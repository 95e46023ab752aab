"""A real Icinga 2 runs the plugin with the shipped example and shows its output."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import requests
import trustme

from ringcheck.simulator.faults import Fault
from tests.counterparts.daemon import await_, daemon, free_port, required
from tests.counterparts.monitored import CRITICAL, OK, ROOT, UNKNOWN, WARNING, Monitored, me, monitored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "orders-prod!cassandra-ring"
PERF = re.compile(r"([a-z_]+)=(-?[0-9.]+)(s|%)?(?:;[0-9.]*){0,4}")

MAIN = """
const NodeName = "localhost"
const ZoneName = "master"
const PluginDir = "PLUGINS"
include <itl>
object Endpoint NodeName { }
object Zone ZoneName { endpoints = [ NodeName ] }
object IcingaApplication "app" { enable_notifications = false }
object CheckerComponent "checker" { }
object ApiListener "api" { bind_host = "127.0.0.1", bind_port = PORT }
object ApiUser "t" { password = "t", permissions = [ "*" ] }
object PerfdataWriter "points" {
  service_perfdata_path = "FOLDER/points"
  service_temp_path = "FOLDER/points.tmp"
  host_perfdata_path = "FOLDER/host-points"
  host_temp_path = "FOLDER/host-points.tmp"
  rotation_interval = 2s
}
include "EXAMPLE"
include "FOLDER/others.conf"
"""
OTHERS = """
object CheckCommand "plugin" { command = [ PluginDir + "/$program$" ], timeout = 4s }
object CheckCommand "crashes" {
  command = [ PluginDir + "/crashes", "-C", "CONFIG" ]
}
object Host "by-hosts" {
  import "cassandra-cluster"
  vars.ringcheck_hosts = [ "127.0.0.1:1", "127.0.0.1:2" ]
  vars.ringcheck_unreachable = "critical"
}
"""
SERVICE_TEXT = """
object Service "NAME" {
  import "cassandra-ring"
  host_name = "orders-prod"
  check_interval = 1d
  vars.ringcheck_cluster = "orders-prod"
  vars.ringcheck_config = "CONFIG"
  MORE
}
"""
SERVICES = {
    "long": "vars.ringcheck_verbose = true",
    "bad-level": 'vars.ringcheck_warning = "QUORM"',
    "levels": 'vars.ringcheck_warning = "LOCAL_ALL"; vars.ringcheck_critical = "LOCAL_ONE"',
    "keyspaces": 'vars.ringcheck_keyspaces = [ "nothing*", "neither" ]; vars.ringcheck_datacenters = [ "dc1" ]',
    "short": 'vars.ringcheck_timeout = "2s"',
    "crashes": 'check_command = "crashes"',
    "hangs": 'check_command = "plugin"; vars.program = "hangs"',
    "dies": 'check_command = "plugin"; vars.program = "dies"',
}


class Icinga:
    """A running Icinga 2, used through its API."""

    def __init__(self, port: int, authority: Path) -> None:
        self.url = f"https://localhost:{port}/v1"
        self.session = requests.Session()
        self.session.trust_env = False  # REQUESTS_CA_BUNDLE would override verify
        self.session.auth, self.session.verify = ("t", "t"), str(authority)
        self.session.headers["Accept"] = "application/json"

    def alive(self) -> bool:
        return self.session.get(f"{self.url}/status/IcingaApplication", timeout=5).ok

    def service(self, name: str) -> dict[str, Any]:
        """Attributes of a service."""
        found: dict[str, Any] = self._results(self.session.get(f"{self.url}/objects/services/{name}", timeout=5))
        return found["attrs"]  # type: ignore[no-any-return]

    def check(self, name: str = SERVICE) -> dict[str, Any]:
        """Check a service now; its last_check_result."""
        before = (self.service(name)["last_check_result"] or {}).get("execution_end", 0.0)
        body = {"type": "Service", "service": name, "force": True}
        self._results(self.session.post(f"{self.url}/actions/reschedule-check", json=body, timeout=5))
        found: dict[str, Any] = {}

        def checked() -> bool:
            found.update(self.service(name)["last_check_result"] or {})
            return bool(found.get("schedule_start", 0.0) > before)

        await_(checked, 60, f"{name} was not checked")
        return found

    @staticmethod
    def _results(answer: requests.Response) -> Any:
        answer.raise_for_status()
        return answer.json()["results"][0]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitored(tmp_path_factory.mktemp("icinga")) as found:
        yield found


@pytest.fixture(autouse=True)
def _healthy(watched: Monitored) -> Iterator[None]:
    yield
    watched.healthy()


def command(folder: Path) -> list[str]:
    """The command of Icinga 2, with all files that it writes in one folder."""
    places = {"DataDir": "lib", "LogDir": "log", "CacheDir": "cache", "InitRunDir": "run", "SpoolDir": "spool"}
    for place in places.values():
        (folder / place).mkdir(exist_ok=True)
    defines = [f"-D{name}={folder / place}" for name, place in places.items()]
    return [required("icinga2"), "daemon", "-c", str(folder / "icinga2.conf"), *defines]


def environment() -> dict[str, str]:
    user, group = me()
    return {"ICINGA2_USER": user, "ICINGA2_GROUP": group}


def configure(folder: Path, plugins: str, port: int, example: Path, others: str) -> None:
    text = MAIN.replace("PLUGINS", plugins).replace("PORT", str(port)).replace("EXAMPLE", str(example))
    (folder / "icinga2.conf").write_text(text.replace("FOLDER", str(folder)))
    (folder / "others.conf").write_text(others)
    certificates = folder / "lib" / "certs"
    certificates.mkdir(parents=True)
    authority = trustme.CA()
    ours = authority.issue_cert("localhost", common_name="localhost")
    authority.cert_pem.write_to_path(certificates / "ca.crt")
    ours.private_key_pem.write_to_path(certificates / "localhost.key")
    for part in ours.cert_chain_pems:
        part.write_to_path(certificates / "localhost.crt", append=True)


@pytest.fixture(scope="module")
def icinga(watched: Monitored) -> Iterator[Icinga]:
    folder, port = watched.folder / "icinga", free_port()
    folder.mkdir()
    example = folder / "ringcheck.conf"
    example.write_text(watched.example("icinga2/ringcheck.conf"))
    made = [SERVICE_TEXT.replace("NAME", name).replace("MORE", more) for name, more in SERVICES.items()]
    others = (OTHERS + "".join(made)).replace("CONFIG", str(watched.config))
    configure(folder, str(watched.plugins), port, example, others)
    running = Icinga(port, folder / "lib" / "certs" / "ca.crt")
    with daemon(command(folder), folder / "out", running.alive, 60, watched.environment | environment()):
        yield running


def perf(found: dict[str, Any]) -> dict[str, float]:
    """Perfdata as Icinga stored it, by metric; asserts that every item has the right form."""
    matches = [PERF.fullmatch(match) for match in found["performance_data"]]
    assert all(matches), found["performance_data"]
    return {match[1]: float(match[2]) for match in matches if match}


def test_the_shipped_file_is_valid(tmp_path: Path) -> None:
    """`icinga2 daemon -C` reports no errors and no warnings for it."""
    configure(tmp_path, "/usr/lib/nagios/plugins", free_port(), ROOT / "config/icinga2/ringcheck.conf", "")
    done = subprocess.run(
        [*command(tmp_path), "-C"], capture_output=True, text=True, check=False, env=environment()
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert not re.findall(r"^.*(?:warning|critical)/.*$", done.stdout, re.MULTILINE)
    assert "Instantiated 1 Service." in done.stdout


@pytest.mark.parametrize(
    ("down", "state", "line"),
    [
        ((), OK, "OK - orders-prod: 1 keyspace available at LOCAL_ALL, LOCAL_QUORUM, 3 of 3 nodes up; 1 node"),
        (
            (1,),
            WARNING,
            "WARNING - orders-prod: 48 of 48 ranges (100.0 % of the tokens) of orders_000 unavailable at LOCAL_ALL",
        ),
        (
            (1, 2),
            CRITICAL,
            "CRITICAL - orders-prod: 48 of 48 ranges (100.0 % of the tokens) of orders_000 unavailable at LOCAL_QUORUM",
        ),
        ((0, 1, 2), UNKNOWN, "UNKNOWN - orders-prod: no node answered: "),
    ],
)
def test_the_service_shows_the_ring(
    down: tuple[int, ...], state: int, line: str, watched: Monitored, icinga: Icinga
) -> None:
    """It shows state, first line and perfdata while nodes fail and return."""
    watched.down(*down)
    found = icinga.check()
    assert (int(found["state"]), found["exit_status"]) == (state, state)
    assert found["output"].startswith(line)
    assert "\n" not in found["output"].strip()
    if len(down) < 3:
        numbers = perf(found)
        assert (numbers["nodes"], numbers["nodes_up"], numbers["nodes_down"]) == (3, 3 - len(down), len(down))
        assert "time" in numbers


def test_more_lines_leave_the_perfdata_whole(watched: Monitored, icinga: Icinga) -> None:
    """Icinga misreads perfdata in further lines, so all of ringcheck's perfdata is on the first line."""
    watched.down(1)
    short, found = icinga.check(), icinga.check("orders-prod!long")
    assert found["exit_status"] == WARNING
    assert (
        "\nWARNING: 48 of 48 ranges (100.0 % of the tokens) of orders_000 unavailable at LOCAL_ALL in dc1"
        in found["output"]
    )
    assert "[node_down]" in found["output"]
    assert perf(found) | {"time": 0} == perf(short) | {"time": 0}


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ("orders-prod!bad-level", "UNKNOWN - there is no consistency level 'QUORM' (did you mean QUORUM?)"),
        ("orders-prod!keyspaces", "UNKNOWN - orders-prod: no keyspace matches nothing*, neither"),
        ("orders-prod!crashes", "UNKNOWN - this is a bug in ringcheck: ZeroDivisionError: boom"),
    ],
)
def test_what_goes_wrong_with_us_is_unknown(service: str, line: str, icinga: Icinga) -> None:
    """Failures of ringcheck itself are UNKNOWN with the reason, never another state."""
    result = icinga.check(service)
    assert result["exit_status"] == UNKNOWN
    assert result["output"].startswith(line)


def test_custom_variables_are_options(watched: Monitored, icinga: Icinga) -> None:
    """Custom variables set a service's levels, and several nodes for a service without a configuration."""
    watched.down(1, 2)
    found = icinga.check("orders-prod!levels")
    assert found["exit_status"] == WARNING
    assert "unavailable at LOCAL_ALL" in found["output"]
    found = icinga.check("by-hosts!cassandra-ring")
    assert found["exit_status"] == CRITICAL
    assert "127.0.0.1:1/" in found["output"]
    assert "127.0.0.1:2/" in found["output"]


def test_silent_nodes_end_in_time(watched: Monitored, icinga: Icinga) -> None:
    """If agents never answer, check's own -t ends it before Icinga's timeout."""
    for node in watched.cluster.nodes:
        watched.cluster.set_fault(node.index, Fault("hang"))
    found = icinga.check("orders-prod!short")
    assert found["exit_status"] == UNKNOWN
    assert found["output"].startswith("UNKNOWN - orders-prod: no node answered: ")


def test_what_icinga_itself_makes_of_a_plugin_that_hangs_or_dies(icinga: Icinga) -> None:
    """A plugin that hangs and one that is killed are UNKNOWN, as in docs/nagios.md."""
    hung, dead = icinga.check("orders-prod!hangs"), icinga.check("orders-prod!dies")
    assert (int(hung["state"]), int(dead["state"])) == (UNKNOWN, UNKNOWN)
    assert "Timeout exceeded" in hung["output"]


def test_writers_of_metrics_take_every_value(watched: Monitored, icinga: Icinga) -> None:
    """PerfdataWriter, and so Graphite and others, gets every label with its value."""
    watched.down(1)
    found = perf(icinga.check())
    spool = watched.folder / "icinga"

    def lines() -> list[str]:
        texts = [path.read_text() for path in spool.glob("points*")]
        return [
            line for text in texts for line in text.splitlines() if f"nodes_down={found['nodes_down']:.0f};" in line
        ]

    await_(lambda: bool(lines()), 60, "the perfdata was not written")
    assert all(f"{label}=" in lines()[-1] for label in found)
