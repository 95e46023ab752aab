"""The rpm: its content and its requirements, and that the packaged program runs."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

import pytest

import ringcheck
from tests.counterparts.daemon import required
from tests.counterparts.test_package import ARTICLE, PYTHON

CONFIG = "/etc/ringcheck/ringcheck.yaml"
SCRIPTS = ("postinstall", "preremove", "postremove")
PACKAGING = Path(__file__).parents[2] / "packaging"


def query(rpm: Path, *options: str) -> str:
    """What rpm reports about a package that is not installed."""
    command = [required("rpm"), "-qp", *options, str(rpm)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def unpacked(rpm: Path) -> Path:
    """The files that rpm would install below /."""
    folder = rpm.parent / "root"
    command = [required("rpm2archive"), "-"]
    packed = subprocess.run(command, input=rpm.read_bytes(), capture_output=True, check=True).stdout
    archive = folder.with_suffix(".tgz")
    archive.write_bytes(packed)
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return folder


def test_what_is_in_it(rpm: Path) -> None:
    """All files belong to root, nobody else may write them, and none is specific to Debian."""
    listing = query(rpm, "--qf", "[%{FILENAMES}\t%{FILEMODES:perms}\t%{FILEUSERNAME}\n]")
    files = [line.split("\t") for line in listing.splitlines()]
    assert {owner for _, _, owner in files} == {"root"}
    assert not [name for name, mode, _ in files if mode[5] == "w" or mode[8] == "w" or mode[3] == "s"]
    programs = {name for name, mode, _ in files if mode.startswith("-") and "x" in mode}
    assert programs == {"/usr/bin/ringcheck", "/usr/lib64/nagios/plugins/check_cassandra_ring"}
    names = {name for name, _, _ in files}
    assert {
        CONFIG,
        "/usr/lib/systemd/system/ringcheck-agent.service",
        "/usr/lib/ringcheck/ringcheck/documents/schemas/verdict-1.json",
        "/usr/share/doc/ringcheck/docs/install.md",
        "/usr/share/doc/ringcheck/docs/images/terminal.svg",
        "/usr/share/doc/ringcheck/config/prometheus/ringcheck.rules.yml",
    } <= names
    assert not [name for name in names if "lintian" in name or "Debian" in name]


def test_what_it_says_of_itself(rpm: Path) -> None:
    """It has the version of the program, requires the Python it was compiled for, and keeps an edited configuration."""
    assert query(rpm, "--qf", "%{VERSION}-%{RELEASE}") == f"{ringcheck.__version__}-1"
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"/usr/bin/python3.{version.split('.')[1]}" in query(rpm, "--requires").splitlines()
    assert query(rpm, "--configfiles").split() == [CONFIG]
    flags = dict(line.split("\t") for line in query(rpm, "--qf", "[%{FILENAMES}\t%{FILEFLAGS:fflags}\n]").splitlines())
    assert "n" in flags[CONFIG], "not %config(noreplace)"


def test_its_scripts_are_those_of_rpm(rpm: Path) -> None:
    """Each is a script from packaging/rpm, whose argument is the number of packages that are left."""
    scripts = query(rpm, "--scripts")
    for name in SCRIPTS:
        path = PACKAGING / "rpm" / name
        assert path.read_text().splitlines()[1] in scripts
        subprocess.run(["sh", "-n", str(path)], check=True)
    assert "configure" not in scripts


def test_the_unpacked_program_judges(unpacked: Path) -> None:
    """The packaged program, run by the Python that its first line names, reports the outage of a snapshot."""
    script = (unpacked / "usr/bin/ringcheck").read_text()
    first = re.match(r"#!/usr/bin/(python3\.\d+) -I\n", script)
    version = subprocess.run([PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
    assert first is not None
    assert first[1] == f"python3.{version.split('.')[1]}"
    moved = script.replace("/usr/lib/ringcheck", str(unpacked / "usr/lib/ringcheck"))
    command = [PYTHON, "-IB", "-c", moved, "check", "--from", str(ARTICLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:8]) == (2, "CRITICAL"), done.stderr
