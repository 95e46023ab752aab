"""A real Nagios Core and a real NRPE run the plugin with the shipped examples and show its output."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ringcheck.errors import LINE_BYTES
from ringcheck.simulator.faults import Fault
from tests.counterparts.daemon import await_, daemon, required
from tests.counterparts.monitored import (
    CRITICAL,
    EXAMPLE_PLUGINS,
    OK,
    ROOT,
    UNKNOWN,
    WARNING,
    Monitored,
    by_nrpe,
    me,
    monitored,
    served_by_nrpe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVICE = "Cassandra ring"
PERF = re.compile(r"([a-z_]+)=(-?[0-9.]+)(s|%)?(?:;[0-9.]*){0,4}")

# The minimum that Nagios needs of the configuration in Debian's package.
BESIDE = """
define timeperiod {
    timeperiod_name 24x7
    alias always
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
    sunday 00:00-24:00
}
define command {
    command_name tell
    command_line /bin/echo "$NOTIFICATIONTYPE$ $SERVICESTATE$ $SERVICEOUTPUT$" >> FOLDER/told-$CONTACTNAME$
}
define contactgroup {
    contactgroup_name admins
    alias admins
    members oncall,tickets
}
"""
CONTACT = """
define contact {
    contact_name CONTACT
    service_notification_period 24x7
    host_notification_period 24x7
    service_notification_options OPTIONS
    host_notification_options n
    service_notification_commands tell
    host_notification_commands tell
}
"""
PLUGIN = """
define command {
    command_name plugin
    command_line $USER1$/$ARG1$
}
"""
OTHERS = """
define service {
    use cassandra-ring
    host_name orders-prod
    service_description NAME
    check_command COMMAND
    notifications_enabled 0
    check_interval 1000
}
"""
SERVICES = {
    "long": "check_cassandra_ring!-v",
    "bad option": "check_cassandra_ring!--nonsense",
    "bad level": "check_cassandra_ring!-w QUORM",
    "no keyspace": "check_cassandra_ring!-k nothing*",
    "short": "check_cassandra_ring!-t 2",
    "crashes": "plugin!crashes -C CONFIG",
    "hangs": "plugin!hangs",
    "dies": "plugin!dies",
    "missing": "plugin!missing",
    "by nrpe": "check_cassandra_ring_by_nrpe",
}
MAIN = """
log_file={0}/nagios.log
cfg_file={0}/beside.cfg
cfg_file={0}/ringcheck.cfg
cfg_file={0}/others.cfg
resource_file={0}/resource.cfg
object_cache_file={0}/objects.cache
precached_object_file={0}/objects.precache
status_file={0}/status.dat
status_update_interval=1
check_result_reaper_frequency=1
nagios_user={1}
nagios_group={2}
lock_file={0}/lock
temp_file={0}/tmp
temp_path={0}
check_result_path={0}/results
log_archive_path={0}
query_socket={0}/qh
command_file={0}/nagios.cmd
check_external_commands=1
use_syslog=0
check_for_updates=0
retain_state_information=0
execute_host_checks=0
interval_length=60
max_service_check_spread=1
max_host_check_spread=1
service_check_timeout=12
service_check_timeout_state=u
illegal_macro_output_chars=`~$&|'"<>
"""


class Nagios:
    """A running Nagios Core."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def service(self, name: str) -> dict[str, str]:
        """The entry of a service in status.dat."""
        for block in re.findall(r"^servicestatus \{\n(.*?)\n\t\}", self._status(), re.DOTALL | re.MULTILINE):
            found = dict(line.strip().split("=", 1) for line in block.splitlines())
            if found["service_description"] == name:
                return found
        raise ValueError(f"no service {name}")

    def _status(self) -> str:
        return (self.folder / "status.dat").read_text()

    def checked(self) -> bool:
        """Whether the first check of the service has ended."""
        return self.service(SERVICE)["has_been_checked"] == "1"

    def check(self, name: str = SERVICE) -> dict[str, str]:
        """Check a service now; its entry after the check."""
        asked = int(time.time())
        while asked == int(time.time()):  # its times are whole seconds: do not mistake an earlier check for this one
            time.sleep(0.05)
        asked += 1
        command = f"[{asked}] SCHEDULE_FORCED_SVC_CHECK;orders-prod;{name};{asked}\n"
        with (self.folder / "nagios.cmd").open("w") as pipe:
            pipe.write(command)
        await_(lambda: int(self.service(name)["last_check"]) >= asked, 60, f"{name} was not checked")
        return self.service(name)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    with monitored(tmp_path_factory.mktemp("nagios")) as found:
        yield found


@pytest.fixture(autouse=True)
def _healthy(watched: Monitored) -> Iterator[None]:
    yield
    watched.healthy()


@pytest.fixture(scope="module")
def nrpe(watched: Monitored) -> Iterator[int]:
    with served_by_nrpe(watched) as port:
        yield port


@pytest.fixture(scope="module")
def nagios(watched: Monitored, nrpe: int) -> Iterator[Nagios]:
    folder = watched.folder
    (folder / "results").mkdir()
    (folder / "nagios.cfg").write_text(MAIN.format(folder, *me()))
    (folder / "resource.cfg").write_text(f"$USER1$={watched.plugins}\n")
    shipped = watched.example("nagios/ringcheck.cfg").replace("check_nrpe -H", f"check_nrpe -n -p {nrpe} -H")
    (folder / "ringcheck.cfg").write_text(shipped)
    (folder / "beside.cfg").write_text(beside(folder))
    (folder / "others.cfg").write_text(others(watched))
    command = [required("nagios4"), str(folder / "nagios.cfg")]
    running = Nagios(folder)
    with daemon(command, folder / "nagios.out", running.checked, 120, watched.environment):
        yield running


def beside(folder: Path) -> str:
    """A contact that is paged and one for tickets, as in docs/nagios.md."""
    contacts = [
        CONTACT.replace("CONTACT", name).replace("OPTIONS", options)
        for name, options in (("oncall", "c,r"), ("tickets", "w,u,r"))
    ]
    return BESIDE.replace("FOLDER", str(folder)) + "".join(contacts)


def others(watched: Monitored) -> str:
    """Services that fail in different ways; their first scheduled check is long after the tests."""
    made = [OTHERS.replace("NAME", name).replace("COMMAND", command) for name, command in SERVICES.items()]
    return PLUGIN + "".join(made).replace("CONFIG", str(watched.config))


def perf(found: dict[str, str]) -> dict[str, float]:
    """Perfdata as Nagios stored it; asserts that every item has the right form."""
    texts = found["performance_data"].split(" ")
    matches = [PERF.fullmatch(match) for match in texts]
    assert all(matches), texts
    return {match[1]: float(match[2]) for match in matches if match}


def test_the_examples_are_valid_as_they_stand(tmp_path: Path) -> None:
    """`nagios4 -v` reports nothing about the shipped file, used with the configuration of Debian's package."""
    (tmp_path / "results").mkdir()
    main = MAIN.format(tmp_path, *me()).replace(f"{tmp_path}/ringcheck.cfg", str(ROOT / "config/nagios/ringcheck.cfg"))
    (tmp_path / "nagios.cfg").write_text(main)
    (tmp_path / "resource.cfg").write_text(f"$USER1$={EXAMPLE_PLUGINS}\n")
    (tmp_path / "beside.cfg").write_text(beside(tmp_path))
    (tmp_path / "others.cfg").write_text("")
    done = subprocess.run(
        [required("nagios4"), "-v", str(tmp_path / "nagios.cfg")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "Total Warnings: 0" in done.stdout, "Total Errors:   0" in done.stdout) == (0, True, True)
    assert "Checked 1 services." in done.stdout


@pytest.mark.parametrize(
    ("down", "state", "line"),
    [
        ((), OK, "OK - orders-prod: 1 keyspace available at LOCAL_ALL, LOCAL_QUORUM, 3 of 3 nodes up: 1 node"),
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
    down: tuple[int, ...], state: int, line: str, watched: Monitored, nagios: Nagios
) -> None:
    """It shows state, first line and perfdata as nodes fail and return; Nagios replaces each semicolon by a colon."""
    watched.down(*down)
    found = nagios.check()
    assert int(found["current_state"]) == state
    assert found["plugin_output"].startswith(line)
    assert found["long_plugin_output"] == ""
    if len(down) < 3:
        numbers = perf(found)
        assert (numbers["nodes"], numbers["nodes_up"], numbers["nodes_down"]) == (3, 3 - len(down), len(down))
        assert "time" in numbers


def test_more_lines_are_long_output(watched: Monitored, nagios: Nagios) -> None:
    """With -v findings follow, and the perfdata is still only that of the first line."""
    watched.down(1)
    found = nagios.check("long")
    assert int(found["current_state"]) == WARNING
    details = found["long_plugin_output"].split("\\n")
    assert details[0].startswith("levels: ")
    assert details[1].startswith(
        "WARNING: 48 of 48 ranges (100.0 % of the tokens) of orders_000 unavailable at LOCAL_ALL in dc1"
    )
    assert any("[node_down]" in one for one in details)
    assert len(perf(found)) >= 10


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ("bad option", "UNKNOWN - usage: No such option '--nonsense'"),
        ("bad level", "UNKNOWN - there is no consistency level 'QUORM' (did you mean QUORUM?)"),
        ("no keyspace", "UNKNOWN - orders-prod: no keyspace matches nothing*"),
        ("crashes", "UNKNOWN - this is a bug in ringcheck: ZeroDivisionError: boom"),
        ("missing", "UNKNOWN - ringcheck is not installed where this plugin looks"),
    ],
)
def test_what_goes_wrong_with_us_is_unknown(service: str, line: str, nagios: Nagios) -> None:
    """Failures of ringcheck itself are UNKNOWN with the reason, never another state."""
    found = nagios.check(service)
    assert int(found["current_state"]) == UNKNOWN
    assert found["plugin_output"].startswith(line)


def test_silent_nodes_end_in_time(watched: Monitored, nagios: Nagios) -> None:
    """If agents never answer, check's own -t ends it, long before Nagios does."""
    for node in watched.cluster.nodes:
        watched.cluster.set_fault(node.index, Fault("hang"))
    found = nagios.check("short")
    assert int(found["current_state"]) == UNKNOWN
    assert found["plugin_output"].startswith("UNKNOWN - orders-prod: no node answered: ")
    assert "timed out" not in found["plugin_output"]


def test_what_nagios_itself_makes_of_a_plugin_that_hangs_or_dies(nagios: Nagios) -> None:
    """Both are UNKNOWN, as in docs/nagios.md; a plugin that hangs only with service_check_timeout_state=u."""
    hung, dead = nagios.check("hangs"), nagios.check("dies")
    assert (int(hung["current_state"]), int(dead["current_state"])) == (UNKNOWN, UNKNOWN)
    assert hung["plugin_output"].startswith("(Service check timed out after")
    assert dead["plugin_output"].startswith("(No output on stdout)")


def test_pages_and_tickets_reach_their_contacts(watched: Monitored, nagios: Nagios) -> None:
    """With one service and two contacts a warning goes to tickets, an outage to the pager, a recovery to both."""
    for down in ((1,), (1, 2), ()):
        watched.down(*down)
        nagios.check()
        nagios.check()
    told = {name: (nagios.folder / f"told-{name}") for name in ("oncall", "tickets")}
    await_(lambda: all("RECOVERY OK" in path.read_text() for path in told.values()), 30, "no recovery was told")
    kinds = {
        name: [" ".join(line.split()[:2]) for line in path.read_text().splitlines()] for name, path in told.items()
    }
    assert kinds["oncall"][-2:] == ["PROBLEM CRITICAL", "RECOVERY OK"]
    assert kinds["tickets"][-2:] == ["PROBLEM WARNING", "RECOVERY OK"]
    assert "PROBLEM WARNING" not in kinds["oncall"]
    assert "PROBLEM CRITICAL" not in kinds["tickets"]


def test_by_way_of_nrpe_nagios_shows_the_same(watched: Monitored, nagios: Nagios) -> None:
    """The shipped NRPE command is run by the shipped Nagios command."""
    watched.down(1, 2)
    direct, remote = nagios.check(), nagios.check("by nrpe")
    assert int(remote["current_state"]) == CRITICAL
    assert remote["plugin_output"] == direct["plugin_output"]
    assert perf(remote) | {"time": 0} == perf(direct) | {"time": 0}


@pytest.mark.parametrize(("down", "code"), [((), OK), ((1,), WARNING), ((1, 2), CRITICAL), ((0, 1, 2), UNKNOWN)])
def test_nrpe_passes_state_and_line(down: tuple[int, ...], code: int, watched: Monitored, nrpe: int) -> None:
    """NRPE passes on the exit code and the one line."""
    watched.down(*down)
    found, output = by_nrpe(nrpe, "check_cassandra_ring_orders-prod")
    assert found == code, output
    assert output.startswith(f"{('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[code]} - orders-prod: ")
    assert output.count("\n") == 1


def test_nrpe_passes_long_output_and_a_crash(watched: Monitored, nrpe: int) -> None:
    """Further lines arrive; a bug in ringcheck is UNKNOWN with its reason."""
    watched.down(1)
    code, output = by_nrpe(nrpe, "long")
    assert code == WARNING
    assert "[node_down]" in output
    code, output = by_nrpe(nrpe, "crashes")
    assert code == UNKNOWN
    assert output.startswith("UNKNOWN - this is a bug in ringcheck: ZeroDivisionError: boom")


def test_what_nrpe_itself_makes_of_a_plugin_that_dies(nrpe: int) -> None:
    """A plugin that dies without output is UNKNOWN."""
    assert by_nrpe(nrpe, "dies") == (UNKNOWN, "NRPE: Unable to read output\n")


def test_check_nrpe_s_own_timeout_is_unknown_with_the_shipped_options(nrpe: int) -> None:
    """The shipped command has -u; without it a machine that does not answer would be CRITICAL."""
    code, _ = by_nrpe(nrpe, "hangs", "-t", "1")
    assert code == UNKNOWN
    shipped = (ROOT / "config/nagios/ringcheck.cfg").read_text()
    assert re.search(r"check_nrpe .* -u ", shipped)


def test_old_packets_of_nrpe_cut_nothing(tmp_path: Path) -> None:
    """`check_nrpe -2` silently truncates at 1,023 bytes; the output for 200 lost keyspaces fits, with all perfdata."""
    with monitored(tmp_path, keyspaces=200) as many, served_by_nrpe(many) as port:
        many.down(1, 2)
        command = "check_cassandra_ring_orders-prod"
        (code, whole), (old_code, old) = by_nrpe(port, command), by_nrpe(port, command, "-2")
    assert (code, old_code) == (CRITICAL, CRITICAL)
    assert len(old.encode()) <= LINE_BYTES + 1
    assert re.sub(r"time=\S+", "", old) == re.sub(r"time=\S+", "", whole)
    assert "keyspaces_critical=200;" in old
    assert re.search(r" time=[0-9.]+s;;;0$", old.strip())
