"""The proxy's process: what it is given, and that other users can see none of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from ringcheck.cli import run
from ringcheck.errors import UsageError
from ringcheck.jolokia import launching, mbeans
from ringcheck.jolokia.launching import ProxyProcess, Stores, needed_java, policy, release_of, target

JMX_PROXY = Path(launching.__file__).with_name("jmxproxy")
HANDLER = "org/jolokia/service/jsr160/Jsr160RequestHandler.class"
POM = "META-INF/maven/org.jolokia/jolokia-agent-jvm/pom.properties"


def jar(folder: Path, version: str = "2.6.0", *, handler: bool = True) -> str:
    """A jar with the entries that are checked."""
    path = folder / "agent.jar"
    with zipfile.ZipFile(path, "w") as content:
        if version:
            content.writestr(POM, f"artifactId=jolokia-agent-jvm\nversion={version}\n")
        if handler:
            content.writestr(HANDLER, b"")
    return str(path)


STORE_SECRET = 'st"ore'  # noqa: S105 - a test's
PROCESS = ProxyProcess(
    jar="/opt/jolokia 2.jar",
    host="127.0.0.1",
    port=8779,
    heap="256m",
    allowed=(target("10.0.0.*"),),
    drain=False,
    login=("monitor", "p\\ä ss"),
    stores=Stores(trust="/etc/trust.p12", password=STORE_SECRET, registry=True),
)


def given(process: ProxyProcess) -> tuple[list[str], dict[str, str]]:
    """The argument list, and the contents of the files that it names."""
    command = process.command("/usr/bin/java")
    files: dict[str, str] = {}
    waiting = [command[1].removeprefix("@")]
    while waiting:
        path = waiting.pop()
        content = Path(path).read_text()
        number = int(path.rpartition("/")[2])
        assert os.get_inheritable(number)
        files[str(Path(path).readlink()).partition(":")[2].partition(" ")[0]] = content
        waiting += re.findall(r"/proc/self/fd/[0-9]+", content)
        os.close(number)
    return command, files


def test_nothing_but_a_file_descriptor_is_in_the_list_of_processes() -> None:
    """Passwords, options, policy and targets are in files without a name."""
    command, files = given(PROCESS)
    assert command[0] == "/usr/bin/java"
    assert re.fullmatch(r"@/proc/self/fd/[0-9]+", command[1])
    assert len(command) == 2
    assert set(files) == {"arguments", "agent", "policy", "targets"}


def test_what_java_and_jolokia_are_given() -> None:
    """Each file has the syntax of its reader."""
    _, files = given(PROCESS)
    arguments = files["arguments"].splitlines()
    assert '"-Xmx256m"' in arguments
    assert '"-Djavax.net.ssl.trustStorePassword=st\\"ore"' in arguments
    assert '"-Dringcheck.tls=true"' in arguments
    assert arguments[-1] == '"JmxProxy"'
    assert any(line.startswith('"-javaagent:/opt/jolokia 2.jar=config=/proc/self/fd/') for line in arguments)
    options = dict(line.split("=", 1) for line in files["agent"].splitlines())
    assert (options["host"], options["port"], options["executor"]) == ("127.0.0.1", "8779", "cached")
    assert (options["user"], options["password"]) == ("monitor", r"p\\\u00e4\u0020ss")
    assert (
        files["targets"] == r"service\:jmx\:rmi\:\/\/\/jndi\/rmi\:\/\/10\.0\.0\.[0-9A-Za-z_.:-]*\:7199\/jmxrmi" + "\n"
    )


def test_without_secrets_there_are_none() -> None:
    """Without a login and a key store there is no option for either."""
    _, files = given(replace(PROCESS, login=None, stores=Stores()))
    assert "user" not in files["agent"]
    assert "Store" not in files["arguments"]


def test_the_policy_has_the_calls_that_are_made_and_no_others() -> None:
    """`drain`, the only call that writes, is in it only on request."""
    for drain in (False, True):
        allowed = set()
        for mbean in ET.fromstring(policy(drain=drain)).iterfind("allow/mbean"):  # noqa: S314 - our own text
            name = mbean.findtext("name")
            allowed |= {(name, "read", item.text) for item in mbean.iterfind("attribute[@mode='read']")}
            allowed |= {(name, "exec", item.text) for item in mbean.iterfind("operation")}
        expected = {
            (call.mbean, call.kind, call.name) for call in (*mbeans.CALLS, *mbeans.COUNTED) if drain or not call.writes
        }
        assert allowed == expected
        assert (mbeans.DRAIN in {name for _, _, name in allowed}) is drain


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("10.0.0.1", "10.0.0.1:7199", ("10.0.0.11:7199", "10x0.0.1:7199", "10.0.0.1:7200", "10.0.0.1:71990")),
        ("10.0.0.*", "10.0.0.77:7199", ("10.0.1.1:7199", "10.0.0.1/x:7199", "10.0.0.1@evil:7199")),
        ("*.example.com", "db1.example.com:7199", ("example.com.evil:7199",)),
        ("db?:7299", "db1:7299", ("db1:7199", "db12:7299")),
        ("2001:db8::1", "[2001:db8::1]:7199", ("[2001:db8::2]:7199",)),
        ("[2001:db8::*]:7200", "[2001:db8::f:1]:7200", ("[2001:db8::f:1]:7199", "[2001:db9::1]:7200")),
        ("service:jmx:rmi:///jndi/rmi://h:1/jmxrmi", "h:1", ("h:2",)),
    ],
)
def test_targets_that_are_allowed(pattern: str, matches: str, others: tuple[str, ...]) -> None:
    """They match as in Java: the whole URL, and without regard to case."""
    allowed = re.compile(target(pattern), re.IGNORECASE)
    assert allowed.fullmatch(f"service:jmx:rmi:///jndi/rmi://{matches}/jmxrmi")
    for other in others:
        assert not allowed.fullmatch(f"service:jmx:rmi:///jndi/rmi://{other}/jmxrmi"), other


@pytest.mark.parametrize("pattern", ["", "http://h/", "10.0.0.0/8", "a b", "h:x", "h/../x"])
def test_patterns_that_are_refused(pattern: str) -> None:
    """A range of addresses, or a URL of another kind, would allow nothing or too much."""
    with pytest.raises(UsageError, match="--allow"):
        target(pattern)


@pytest.mark.parametrize(("version", "java"), [("2.2.9", 11), ("2.3.0", 11), ("2.4.0", 17), ("2.6.0", 17)])
def test_jars_that_can_be_a_proxy(version: str, java: int, tmp_path: Path) -> None:
    """Jolokia 2.4 and newer need Java 17."""
    assert needed_java(release_of(jar(tmp_path, version))) == java


def test_jars_that_can_not_be_a_proxy(tmp_path: Path) -> None:
    """They are an older release, another jar, or no jar."""
    for version, handler, text in (
        ("2.0.3", True, "is Jolokia 2.0.3"),
        ("", True, "is not a JVM agent of Jolokia 2.x"),
        ("2.6.0", False, "is Jolokia 2.6.0"),
    ):
        with pytest.raises(UsageError, match=re.escape(text)):
            release_of(jar(tmp_path, version, handler=handler))
    for path in (__file__, str(tmp_path / "none")):
        with pytest.raises(UsageError, match="can't be read"):
            release_of(path)


def fake_java(folder: Path, version: str) -> str:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--java", "/nowhere/java"], "/nowhere/java is not found: install Java 17"),
        (["--listen", "10.0.0.1:8779"], "--listen 10.0.0.1:8779 is not a loopback address with a port"),
        (["--listen", "localhost:8779"], "--listen localhost:8779 is not a loopback address with a port"),
        (["--listen", "127.0.0.1"], "--listen 127.0.0.1 is not a loopback address with a port"),
        (["--heap", "lots"], "--heap lots is not a size such as 256m"),
        (["--username", "me"], "--username and --password-file must be given together"),
        (["--trust-store", "/nowhere.p12"], "--trust-store /nowhere.p12 can't be read"),
        (["--store-password-file", "/nowhere"], "--store-password-file needs --trust-store or --key-store"),
        (["--jmx", "service:jmx:rmi:///jndi/ldap://{address}/x"], "--jmx 'service:jmx:rmi:///jndi/ldap"),
        (["--allow", "10.0.0.0/8"], "--allow '10.0.0.0/8' is neither"),
    ],
)
def test_what_the_command_refuses(
    options: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends with one line and exit code 3, and nothing was started."""
    first = ["jmx-proxy", "--jar", jar(tmp_path), "--allow", "h", "--java", fake_java(tmp_path, "17.0.15")]
    assert run([*first, *options]) == 3
    assert text in capsys.readouterr().err


def test_a_java_that_is_too_old_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Java 8 calls itself 1.8."""
    for version, name in (("1.8.0_402", "Java 8"), ("11.0.2", "Java 11"), ("none", "no Java")):
        command = ["jmx-proxy", "--jar", jar(tmp_path), "--allow", "h", "--java", fake_java(tmp_path, version)]
        assert run(command) == 3
        assert f"{tmp_path}/java is {name}: Java 17 is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_the_class_is_compiled_from_the_source_beside_it(tmp_path: Path) -> None:
    """The code that runs is the code that can be read; a compiler other than Java 17's may write other bytes."""
    compiler = shutil.which("javac")
    if compiler is None:
        pytest.skip("no javac")
    version = subprocess.run([compiler, "-version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith("javac 17."):
        pytest.skip(f"not the compiler that wrote it: {version}")
    command = [compiler, "--release", "11", "-g:none", "-d", str(tmp_path), str(JMX_PROXY / "JmxProxy.java")]
    subprocess.run(command, check=True)
    assert (tmp_path / "JmxProxy.class").read_bytes() == (JMX_PROXY / "JmxProxy.class").read_bytes()
