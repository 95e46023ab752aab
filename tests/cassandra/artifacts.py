"""The jars of Cassandra releases and Jolokia agents, fetched with Maven once and kept in a git-ignored folder.

It owns only the cache, and knows nothing about configuring or starting nodes. A release is either complete in the cache
or absent: it is assembled in a temporary folder and renamed into place.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RELEASES = ("2.2.19", "3.0.29", "3.11.19", "4.0.17", "4.1.9", "5.0.8", "6.0-alpha2")
# One release per line: 2.2.9 and 2.3.0 write many answers as 1.x does; from 2.4 on each line changed some of its own.
JOLOKIA_RELEASES = {"1": "1.7.2", "2": "2.2.9", "2.3": "2.3.0", "2.4": "2.4.0", "2.5": "2.5.0", "2.6": "2.6.0"}
JAVA_NEEDED = 17
_REPOSITORY = Path(__file__).resolve().parents[2]
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_MAVEN_SECONDS = 900

# Two slf4j backends, or a logback-classic that differs from logback-core, break the logs and, worse, the gossip
# tasks' error handling: whatever backend comes along is dropped and the matching one fetched.
_FOREIGN_LOGGING = ("logback-classic*", "slf4j-log4j12-*", "log4j-1*")

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringcheck.tests</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


class ArtifactError(Exception):
    """A jar is not available: a tool is missing, the release is unknown, or the registry refuses the request."""


def cache_directory() -> Path:
    """The folder of the jars; `RINGCHECK_CASSANDRA_CACHE` sets another, so that checkouts can share one."""
    configured = os.environ.get("RINGCHECK_CASSANDRA_CACHE")
    return Path(configured) if configured else _REPOSITORY / ".cache" / "cassandra"


def missing_tools() -> str | None:
    """The reason why no real cluster can run on this host, or None."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        return f"{' and '.join(missing)} not found in PATH"
    java = java_release()
    return None if java >= JAVA_NEEDED else f"Java {JAVA_NEEDED} is needed, `java` is {java}"


def java_release() -> int:
    """Feature release of the `java` in PATH, 0 if its output has none."""
    output = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(match[1]) if match else 0


def library(release: str) -> Path:
    """The folder with all jars of a Cassandra release, fetched if they are missing."""
    if release not in RELEASES:
        known = ", ".join(RELEASES)
        raise ArtifactError(f"Cassandra {release} is not supported here; known: {known}")
    home = cache_directory() / release
    if not home.is_dir():
        _build(home, lambda folder: _collect_release(release, folder))
    return home / "lib"


def jolokia_agent(line: str) -> Path:
    """The agent jar of a line of `JOLOKIA_RELEASES`, fetched if it is missing."""
    if line not in JOLOKIA_RELEASES:
        raise ArtifactError(f"Jolokia {line!r} is unknown; known: {', '.join(JOLOKIA_RELEASES)}")
    release = JOLOKIA_RELEASES[line]
    coordinates = f"jolokia-jvm:{release}" if line == "1" else f"jolokia-agent-jvm:{release}:jar:javaagent"
    home = cache_directory() / "jolokia" / release
    if not home.is_dir():
        _build(home, lambda folder: _copy_artifact(f"org.jolokia:{coordinates}", folder))
    return next(home.glob("*.jar"))


def _build(home: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` create the content of `home`, completely or not at all, and only one process at a time."""
    with _lock(home):
        if home.is_dir():
            return
        with tempfile.TemporaryDirectory(prefix=f".{home.name}-", dir=home.parent) as scratch:
            content = Path(scratch) / "content"
            content.mkdir()
            fill(content)
            content.rename(home)


@contextmanager
def _lock(home: Path) -> Iterator[None]:
    home.parent.mkdir(parents=True, exist_ok=True)
    (cache_directory() / ".gitignore").write_text("*\n")
    with (home.parent / f".{home.name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _collect_release(release: str, folder: Path) -> None:
    pom = folder / "pom.xml"
    pom.write_text(_POM.format(dependencies="".join(_DEPENDENCY.format(*d) for d in _dependencies(release))))
    lib = folder / "lib"
    _maven("-f", str(pom), f"{_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={lib}")
    _match_logging(lib)


def _dependencies(release: str) -> list[tuple[str, str, str]]:
    dependencies = [("org.apache.cassandra", "cassandra-all", release)]
    if release < "4":
        # The daemon loads its Thrift server class even when `start_rpc` is false; the POM calls these `provided`.
        dependencies += [
            ("org.apache.cassandra", "cassandra-thrift", release),
            ("org.apache.thrift", "libthrift", "0.9.2"),
            ("com.thinkaurelius.thrift", "thrift-server", "0.3.7"),
        ]
    if release < "3":
        # nodetool's parser, which is missing from the POM of 2.2.
        dependencies.append(("io.airlift", "airline", "0.6"))
    return dependencies


def _match_logging(lib: Path) -> None:
    for pattern in _FOREIGN_LOGGING:
        for jar in lib.glob(pattern):
            jar.unlink()
    core = next(lib.glob("logback-core-*.jar"), None)
    version = re.fullmatch(r"logback-core-(.+)\.jar", core.name) if core else None
    if version is None:
        raise ArtifactError(f"no logback-core among the jars in {lib}")
    _copy_artifact(f"ch.qos.logback:logback-classic:{version[1]}", lib)


def _copy_artifact(coordinates: str, folder: Path) -> None:
    _maven(f"{_PLUGIN}:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={folder}", cwd=folder)


def _maven(*arguments: str, cwd: Path | None = None) -> None:
    if reason := missing_tools():
        raise ArtifactError(reason)
    command = ["mvn", "-q", "-B", *arguments]
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_MAVEN_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ArtifactError(f"no answer within {_MAVEN_SECONDS} s: {' '.join(command)}") from None
    if done.returncode:
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line][:6]
        raise ArtifactError("\n".join([f"Maven failed: {' '.join(command)}", *(errors or [done.stderr[-2000:]])]))
