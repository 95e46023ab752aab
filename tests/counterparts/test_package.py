"""The Debian package: its content, and how dpkg installs, upgrades and removes it on a disposable machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ringcheck
from tests.counterparts.daemon import required
from tests.counterparts.machine import machine as thrown_away

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.counterparts.machine import Machine

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
CONFIG = "etc/ringcheck/ringcheck.yaml"
ARTICLE = ROOT / "tests" / "snapshots" / "article-one-down.json"
CLUSTER = "clusters: {orders-prod: {jolokia: {contact_points: 127.0.0.1}}}\n"

# It prints its arguments and fails, which must not make an installation fail.
SYSTEMCTL = '#!/bin/sh\necho "$*" >>/systemctl.log\nexit 1\n'


@pytest.fixture(scope="module")
def unpacked(deb: Path) -> Path:
    """The files that dpkg would install below /."""
    folder = deb.parent / "root"
    subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    return folder


@pytest.fixture
def machine(deb: Path, tmp_path: Path) -> Iterator[Machine]:
    """A machine on which the package is not installed yet."""
    with thrown_away(tmp_path / "root", deb) as found:
        yield found


def newer(deb: Path, folder: Path, version: str, config: str | None = None) -> Path:
    """The same package as another version, with another configuration file if one is given."""
    tree, result = folder / f"tree-{version}", folder / f"{version}.deb"
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    if config is not None:
        (tree / CONFIG).write_text(config)
    subprocess.run(["dpkg-deb", "-b", "-Znone", tree, result], check=True, capture_output=True)
    return result


def upgrade(machine: Machine, deb: Path, *arguments: str) -> None:
    machine.put(deb.read_bytes(), "/newer.deb")
    machine.dpkg("-i", *arguments, "/newer.deb")


def listing(deb: Path) -> list[list[str]]:
    """Mode, owner, size, date, time and path of each file."""
    output = subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
    return [line.split(maxsplit=5) for line in output.splitlines()]


def test_what_is_in_it(deb: Path) -> None:
    """All files belong to root, only root may write them, they are where Debian expects them, and none is missing."""
    files = listing(deb)
    assert {entry[1] for entry in files} == {"root/root"}
    assert not [entry for entry in files if entry[0][5] == "w" or entry[0][8] == "w" or entry[0][3] == "s"]
    programs = {entry[5] for entry in files if entry[0].startswith("-") and "x" in entry[0]}
    assert programs == {"./usr/bin/ringcheck", "./usr/lib/nagios/plugins/check_cassandra_ring"}
    paths = {entry[5].removeprefix(".").rstrip("/") for entry in files}
    assert {
        "/usr/bin/ringcheck",
        "/usr/lib/nagios/plugins/check_cassandra_ring",
        "/usr/lib/systemd/system/ringcheck-agent.service",
        "/usr/lib/systemd/system/ringcheck-jmx-proxy.service",
        "/usr/lib/ringcheck/ringcheck/jolokia/jmxproxy/JmxProxy.class",
        "/usr/lib/systemd/system/ringcheck-check@.service",
        "/usr/lib/systemd/system/ringcheck-check@.timer",
        "/usr/lib/ringcheck/ringcheck/documents/schemas/verdict-1.json",
        "/usr/share/doc/ringcheck/README.md",
        "/usr/share/doc/ringcheck/copyright",
        "/usr/share/doc/ringcheck/docs/install.md",
        "/usr/share/doc/ringcheck/docs/images/page.webp",
        "/usr/share/doc/ringcheck/config/prometheus/ringcheck.rules.yml",
        "/etc/ringcheck/conf.d",
    } <= paths
    tops = {path.split("/")[1:3][-1] for path in paths if path.count("/") > 1}
    assert tops == {"bin", "lib", "share", "ringcheck"}


def test_what_it_says_of_itself(deb: Path) -> None:
    """It has the program's version, depends on the Python for which it was compiled, and has one configuration file."""

    def field(name: str) -> str:
        return subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True).stdout.strip()

    assert field("Version") == f"{ringcheck.__version__}-1"
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    minor = int(version.split(".")[1])
    assert field("Depends").startswith(f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})")
    conffiles = subprocess.run(["dpkg-deb", "-I", deb, "conffiles"], capture_output=True, text=True, check=True).stdout
    assert conffiles.split() == [f"/{CONFIG}"]


def test_it_needs_no_library_of_the_machine(unpacked: Path) -> None:
    """All modules of every command, including compiled ones, come from the package or from Python itself."""
    library = unpacked / "usr/lib/ringcheck"
    program = f"""
import sys; sys.path.insert(0, {str(library)!r})
import importlib, pkgutil, ringcheck, yaml, bcrypt, ijson
for one in pkgutil.walk_packages(ringcheck.__path__, "ringcheck."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
assert yaml.__with_libyaml__ and ijson.backend == "yajl2_c", (yaml.__with_libyaml__, ijson.backend)
print(*{{getattr(one, "__file__", None) for one in sys.modules.values()}} - {{None}}, sep="\\n")
"""
    done = subprocess.run([PYTHON, "-IBS", "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    ours = [path for path in done.stdout.split() if path.startswith(str(library))]
    assert len(ours) > 100
    assert not [path for path in done.stdout.split() if "dist-packages" in path or "site-packages" in path]


def test_the_unpacked_program_judges(unpacked: Path) -> None:
    """The packaged program, run by a user other than root, reports the outage of a snapshot and compiles no files."""
    script = (unpacked / "usr/bin/ringcheck").read_text()
    assert script.count("/usr/lib/ringcheck") == 1
    moved = script.replace("/usr/lib/ringcheck", str(unpacked / "usr/lib/ringcheck"))
    done = subprocess.run(
        [PYTHON, "-IB", "-v", "-c", moved, "check", "--from", ARTICLE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(
        "CRITICAL - blogs: 256 of 768 ranges (31.5 % of the tokens) of blog_1 unavailable at LOCAL_ONE"
    )
    assert re.search(r"(?m)^# code object from '\S+/core/__pycache__/assess\.\S+\.pyc'$", done.stderr)
    assert not re.search(rf"(?m)^# code object from {unpacked}\S+\.py$", done.stderr), "compiled at each start"


def test_installed_for_everybody(machine: Machine) -> None:
    """After dpkg -i any user can run the program and the plugin, in any environment; no unit is enabled."""
    machine.dpkg("-i", "/ringcheck.deb")
    machine.put(ARTICLE.read_text(), "/tmp/article.json")  # noqa: S108 - of the other machine
    machine.put("raise SystemExit('shadowed')", "/evil/click.py")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    told = machine.run(*nobody, "ringcheck", "--version", env={"PYTHONPATH": "/evil", "PYTHONHOME": "/evil"})
    assert (told.returncode, told.stdout.strip().rpartition(" ")[2]) == (0, ringcheck.__version__), told.stderr
    plugin = machine.run(
        *nobody,
        "/usr/lib/nagios/plugins/check_cassandra_ring",
        "--from",
        "/tmp/article.json",  # noqa: S108
    )
    assert plugin.returncode == 2, plugin.stderr
    assert plugin.stdout.startswith("CRITICAL - blogs: 256 of 768 ranges")
    assert machine.shell("find /etc/systemd/system -name '*ringcheck*'") == ""
    assert machine.shell("dpkg --verify ringcheck") == ""


def test_the_configuration_that_comes_along(machine: Machine) -> None:
    """While no cluster is configured a check is UNKNOWN; a file in conf.d adds clusters."""
    machine.dpkg("-i", "/ringcheck.deb")
    before = machine.run("ringcheck", "check")
    assert (before.returncode, before.stdout.startswith("UNKNOWN")) == (3, True), before.stdout
    assert "has no clusters" in before.stdout
    machine.put(CLUSTER, "/etc/ringcheck/conf.d/orders.yaml")
    after = machine.run("ringcheck", "config", "check")
    assert after.returncode == 0, after.stdout


def test_the_units_that_come_along(machine: Machine) -> None:
    """For systemd there is no mistake in the installed units, their program and their page."""
    required("systemd-analyze")
    machine.dpkg("-i", "/ringcheck.deb")
    for unit in ("ringcheck-agent.service", "ringcheck-check@orders-prod.timer", "ringcheck-check@orders-prod.service"):
        told = machine.run("systemd-analyze", "verify", unit)
        assert (told.returncode, told.stderr) == (0, ""), unit
    page = machine.shell("sed -n 's,^Documentation=file://,,p' /usr/lib/systemd/system/ringcheck-agent.service")
    assert machine.exists(page.strip())


def test_an_edited_configuration_survives_an_upgrade(machine: Machine, deb: Path, tmp_path: Path) -> None:
    """An upgrade keeps the operator's configuration, even if the newer package has another file of that name."""
    machine.dpkg("-i", "/ringcheck.deb")
    machine.put(CLUSTER, f"/{CONFIG}")
    upgrade(machine, newer(deb, tmp_path, "97.0-1"))
    assert machine.shell("dpkg-query -Wf '${Version}' ringcheck") == "97.0-1"
    assert machine.shell(f"cat /{CONFIG}") == CLUSTER
    upgrade(machine, newer(deb, tmp_path, "98.0-1", "# new\n"), "--force-confdef", "--force-confold")
    assert machine.shell("dpkg-query -Wf '${Version}' ringcheck") == "98.0-1"
    assert machine.shell(f"cat /{CONFIG} /{CONFIG}.dpkg-dist") == f"{CLUSTER}# new\n"


def test_removed_and_purged(machine: Machine) -> None:
    """Removing keeps only the configuration and the enabled units; purging removes them too."""
    link = "/etc/systemd/system/multi-user.target.wants/ringcheck-agent.service"
    machine.dpkg("-i", "/ringcheck.deb")
    machine.shell(f"mkdir -p $(dirname {link}) && ln -s /usr/lib/systemd/system/ringcheck-agent.service {link}")
    machine.shell("ringcheck --version && mkdir -p /var/lib/private/ringcheck")  # root runs it, and could write to it
    assert "directory" not in machine.dpkg("-r", "ringcheck"), "nothing was left behind by the program"
    assert not any(map(machine.exists, ("/usr/lib/ringcheck", "/usr/bin/ringcheck", "/usr/share/doc/ringcheck")))
    assert all(map(machine.exists, (f"/{CONFIG}", link, "/var/lib/private/ringcheck")))
    machine.dpkg("--purge", "ringcheck")
    assert not any(map(machine.exists, ("/etc/ringcheck", link, "/var/lib/private/ringcheck")))
    assert machine.run("dpkg-query", "-W", "ringcheck").returncode


def test_what_systemd_is_asked_to_do(machine: Machine, deb: Path, tmp_path: Path) -> None:
    """Units are reloaded, an upgrade restarts the service, and removal stops it; failures are ignored."""
    machine.put(SYSTEMCTL, "/usr/bin/systemctl", "755")
    machine.shell("mkdir -p /run/systemd/system")

    def told() -> list[str]:
        return machine.shell("cat /systemctl.log && rm /systemctl.log").splitlines()

    machine.dpkg("-i", "/ringcheck.deb")
    assert told() == ["daemon-reload"]
    upgrade(machine, newer(deb, tmp_path, "98.0-1"))
    assert told() == [
        "daemon-reload",
        "daemon-reload",
        "--no-block try-restart ringcheck-agent.service ringcheck-jmx-proxy.service",
    ]
    machine.dpkg("-r", "ringcheck")
    assert told() == [
        "stop ringcheck-agent.service ringcheck-jmx-proxy.service ringcheck-check@*.timer ringcheck-check@*.service",
        "daemon-reload",
    ]  # fmt: skip


def test_without_systemd_no_unit_is_touched(machine: Machine) -> None:
    """This is the case in a container."""
    machine.put(SYSTEMCTL, "/usr/bin/systemctl", "755")
    machine.dpkg("-i", "/ringcheck.deb")
    machine.dpkg("-r", "ringcheck")
    assert not machine.exists("/systemctl.log")


def test_nothing_shows_where_it_was_built(deb: Path) -> None:
    """No file of the package contains a path of the machine that built it."""
    told = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], capture_output=True, check=True).stdout
    assert b"/usr/lib/ringcheck/ringcheck/core" in told, "compiled files tell where they will be"
    assert str(ROOT).encode() not in told
    assert b"/stage/usr/lib" not in told
