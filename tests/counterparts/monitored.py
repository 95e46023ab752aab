"""What the monitoring programs watch: an embedded cluster, plugins as a package installs them, and failing programs."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from ringcheck.core.ring import Replication
from ringcheck.simulator.cluster import EmbeddedCluster
from ringcheck.simulator.server import serve
from tests.counterparts.daemon import daemon, free_port, required

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RINGCHECK = Path(sys.executable).parent / "ringcheck"
EXAMPLE_CONFIG = "/etc/ringcheck/ringcheck.yaml"
EXAMPLE_PLUGINS = "/usr/lib/nagios/plugins"
OK, WARNING, CRITICAL, UNKNOWN = range(4)
RULES = [{"keyspaces": "*", "critical": "LOCAL_QUORUM", "warning": "LOCAL_ALL"}]

# A bug in ringcheck, which click would turn into a traceback and WARNING.
CRASH = """
import ringcheck.core.assess as room
def boom(*_):
    raise ZeroDivisionError("boom")
room.assess = boom
from ringcheck.cli import main
main()
"""


@dataclass(frozen=True)
class Monitored:
    """An embedded cluster orders-prod and how to watch it.

    Attributes:
        cluster: for tests to change.
        config: path of its configuration; keyspaces are critical at LOCAL_QUORUM and warn at LOCAL_ALL.
        plugins: a directory with the plugins, ringcheck's and check_nrpe.
        folder: for other files of a test.
    """

    cluster: EmbeddedCluster
    config: Path
    plugins: Path
    folder: Path

    def example(self, name: str) -> str:
        """A shipped example, changed only in the path of its configuration file."""
        return (ROOT / "config" / name).read_text().replace(EXAMPLE_CONFIG, str(self.config))

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which the plugin finds ringcheck, which is not installed on the system."""
        return {"RINGCHECK": str(RINGCHECK)}

    def down(self, *indexes: int) -> None:
        """Kill these nodes and start the others; all nodes notice at once."""
        for node in self.cluster.nodes:
            if node.index in indexes and node.process != "killed":
                self.cluster.down(node.index, instant=True)
            elif node.index not in indexes and node.process == "killed":
                self.cluster.up(node.index, instant=True)

    def healthy(self) -> None:
        """Start all nodes and end all faults."""
        for node in self.cluster.nodes:
            self.cluster.set_fault(node.index, None)
        self.down()


@contextmanager
def monitored(folder: Path, keyspaces: int = 1) -> Iterator[Monitored]:
    """A cluster of three nodes and keyspaces of RF 3."""
    factor = Replication.parse("NetworkTopologyStrategy {dc1=3}")
    names = {f"orders_{number:03d}": factor for number in range(keyspaces)}
    cluster = EmbeddedCluster.uniform(3, keyspaces=names, name="orders-prod", time_factor=0)
    with serve(cluster) as server:
        config = folder / "ringcheck.yaml"
        document = yaml.safe_load(server.config())
        document["clusters"]["orders-prod"]["monitor"] = RULES
        config.write_text(yaml.safe_dump(document))
        yield Monitored(cluster, config, _plugins(folder), folder)


def _plugins(folder: Path) -> Path:
    plugins = folder / "plugins"
    plugins.mkdir()
    (plugins / "check_cassandra_ring").symlink_to(ROOT / "plugins" / "check_cassandra_ring")
    (plugins / "ringcheck").symlink_to(RINGCHECK)  # the plugin searches here, because NRPE gives it no environment
    (plugins / "check_nrpe").symlink_to(required("check_nrpe"))
    plugin = f'exec {shlex.quote(str(plugins / "check_cassandra_ring"))} "$@"'
    (folder / "crash.py").write_text(CRASH)
    crash = shlex.join([sys.executable, str(folder / "crash.py")])
    script(folder / "crashing", f'exec {crash} "$@"')
    script(plugins / "crashes", f"export RINGCHECK={folder / 'crashing'}\n{plugin}")
    script(plugins / "hangs", "exec sleep 60")
    script(plugins / "dies", "kill -SEGV $$")
    alone = folder / "check_cassandra_ring"  # no ringcheck beside it
    alone.symlink_to(ROOT / "plugins" / "check_cassandra_ring")
    script(plugins / "missing", f"export RINGCHECK=/nowhere/ringcheck\nexec {shlex.quote(str(alone))}")
    return plugins


def script(path: Path, text: str) -> None:
    """Write an executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def me() -> tuple[str, str]:
    """The user and group that run the tests."""
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


def ordinary(command: list[str]) -> tuple[list[str], str, str]:
    """A command for a user who is not root, even if root runs the tests: NRPE refuses to run as root.

    Returns: The command, its user and its group. The command runs in its own user namespace, where it can still read
    what root can read.
    """
    if os.getuid():
        return command, *me()
    namespace = [required("unshare"), "--user", "--map-user=1000", "--map-group=1000"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("NRPE does not run as root, and there are no user namespaces here to be somebody else in")
    return [*namespace, *command], "1000", "1000"


@contextmanager
def served_by_nrpe(watched: Monitored, commands: str = "", procs: str = "/dev/null") -> Iterator[int]:
    """The port of an NRPE that has the shipped command.

    Args:
        watched: what it watches.
        commands: lines of its configuration, beside the usual ones.
        procs: the file of a control group that takes its processes.
    """
    port, main = free_port(), watched.folder / "nrpe.cfg"
    nrpe, user, group = ordinary([required("nrpe"), "-c", str(main), "-n", "-f"])
    command = ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', procs, *nrpe]
    shipped = watched.folder / "nrpe-ringcheck.cfg"
    shipped.write_text(watched.example("nrpe/ringcheck.cfg").replace(EXAMPLE_PLUGINS, str(watched.plugins)))
    main.write_text(
        f"server_address=127.0.0.1\nserver_port={port}\nnrpe_user={user}\nnrpe_group={group}\n"
        f"allowed_hosts=127.0.0.1\npid_file={watched.folder}/nrpe.pid\ncommand_timeout=60\n"
        f"include={shipped}\n"
        f"command[dies]={watched.plugins}/dies\ncommand[hangs]={watched.plugins}/hangs\n"
        f"command[crashes]={watched.plugins}/crashes -C {watched.config}\n"
        f"command[long]={watched.plugins}/check_cassandra_ring -C {watched.config} -v\n"
        f"{commands}"
    )
    ready = [required("check_nrpe"), "-H", "127.0.0.1", "-p", str(port), "-n"]

    def answers() -> bool:
        return subprocess.run(ready, capture_output=True, check=False).returncode == 0

    with daemon(command, watched.folder / "nrpe.out", answers, env=watched.environment):
        yield port


def by_nrpe(port: int, command: str, *options: str) -> tuple[int, str]:
    """Exit code and output of check_nrpe."""
    program = [required("check_nrpe"), "-H", "127.0.0.1", "-p", str(port), "-n", "-u", "-t", "60", *options]
    done = subprocess.run([*program, "-c", command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout
