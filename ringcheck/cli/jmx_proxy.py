"""`ringcheck jmx-proxy`: becomes a Jolokia that asks the JMX ports of nodes without Jolokia."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from ringcheck.errors import UsageError

if TYPE_CHECKING:
    from ringcheck.jolokia.launching import Stores

_JAVA_SECONDS = 30


@click.command("jmx-proxy")
@click.option("--jar", required=True, metavar="FILE", help="jolokia-agent-jvm-VERSION-javaagent.jar, 2.2 or newer.")
@click.option(
    "--allow", multiple=True, required=True, metavar="PATTERN",
    help="Nodes that may be asked: HOST[:PORT], `*` for any characters, or a JMX URL. Repeatable.",
)  # fmt: skip
@click.option(
    "--jmx", metavar="JMX-URL",
    help="JMX of a node. [default: service:jmx:rmi:///jndi/rmi://{address}:7199/jmxrmi]",
)  # fmt: skip
@click.option("--drain", is_flag=True, help="Also allow `drain`, which `ringcheck roll` needs.")
@click.option(
    "--listen", default="127.0.0.1:8779", show_default=True, metavar="ADDRESS:PORT", help="Loopback address and port."
)
@click.option("--username", metavar="NAME", help="User name that the proxy requires.")
@click.option("--password-file", metavar="FILE", help="File that holds the user's password.")
@click.option("--tls", is_flag=True, help="JMX over TLS, including the RMI registry, as in Cassandra's own JMX server.")
@click.option("--trust-store", metavar="FILE", help="Java key store with the certificates of the nodes' JMX.")
@click.option("--key-store", metavar="FILE", help="Java key store with the proxy's own certificate.")
@click.option("--store-password-file", metavar="FILE", help="File that holds the password of the key stores.")
@click.option(
    "--java", default="java", show_default=True, metavar="PROGRAM", help="Java 17; 11 for Jolokia before 2.4."
)
@click.option("--heap", default="256m", show_default=True, metavar="SIZE", help="Memory of the JVM's heap.")
def jmx_proxy(  # noqa: PLR0913, PLR0917 - one parameter for each option
    jar: str,
    allow: tuple[str, ...],
    jmx: str | None,
    drain: bool,  # noqa: FBT001 - an option
    listen: str,
    username: str | None,
    password_file: str | None,
    tls: bool,  # noqa: FBT001 - an option
    trust_store: str | None,
    key_store: str | None,
    store_password_file: str | None,
    java: str,
    heap: str,
) -> int:
    """Ask the JMX ports of nodes without Jolokia, for `--proxy` and `jolokia: proxy`.

    The process becomes a JVM with Jolokia's agent. It makes only the calls that ringcheck needs, only to the nodes that
    --allow names, and listens only on a loopback address: JMX passwords pass through it.
    """
    from ringcheck.jolokia.launching import ProxyProcess, target
    from ringcheck.jolokia.settings import DEFAULT_JMX

    program = _java(java, jar)
    template = _template(jmx) if jmx else DEFAULT_JMX
    host, port = _loopback(listen)
    process = ProxyProcess(
        jar=os.path.abspath(jar),  # noqa: PTH100 - symbolic links stay
        host=host,
        port=port,
        heap=_heap(heap),
        allowed=tuple(target(pattern, template) for pattern in allow),
        drain=drain,
        login=_login(username, password_file),
        stores=_stores(trust_store, key_store, store_password_file, registry=tls),
    )
    command = process.command(program)
    os.execv(program, command)  # noqa: S606 - the program that the user names
    return 3


def _java(java: str, jar: str) -> str:
    """The path of a Java that is new enough for the jar.

    Raises:
        UsageError: if it is too old, or the jar or Java can't be used.
    """
    from ringcheck.jolokia.launching import needed_java, release_of

    needed = needed_java(release_of(jar))
    program = shutil.which(java)
    if program is None:
        raise UsageError(f"{java} is not found: install Java {needed}, or name it with --java")
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=_JAVA_SECONDS, check=False)  # noqa: S603 - as above
    except OSError as error:
        raise UsageError(f"{program} can't be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{program} -version did not end within {_JAVA_SECONDS:g} s") from None
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    if version is None or int(version[1]) < needed:
        raise UsageError(f"{program} is {f'Java {version[1]}' if version else 'no Java'}: Java {needed} is needed")
    return program


def _template(jmx: str) -> str:
    from ringcheck.config.formats import jmx_template

    try:
        return jmx_template(jmx)
    except ValueError as error:
        raise UsageError(f"--jmx {error}") from None


def _loopback(listen: str) -> tuple[str, int]:
    from ipaddress import ip_address

    from ringcheck.core.endpoint import host_and_port

    with suppress(ValueError):
        host, port = host_and_port(listen)
        if port and ip_address(host).is_loopback:
            return host, port
    text = f"--listen {listen} is not a loopback address with a port, such as 127.0.0.1:8779"
    raise UsageError(f"{text}: everyone who can connect to the proxy can use the nodes' JMX")


def _heap(heap: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]{0,8}[kKmMgG]", heap):
        raise UsageError(f"--heap {heap} is not a size such as 256m")
    return heap


def _login(username: str | None, password_file: str | None) -> tuple[str, str] | None:
    from ringcheck.http.credentials import secret

    if bool(username) != bool(password_file):
        raise UsageError("--username and --password-file must be given together")
    return (username, secret(password_file)) if username and password_file else None


def _stores(trust: str | None, key: str | None, password_file: str | None, *, registry: bool) -> Stores:
    from ringcheck.http.credentials import secret
    from ringcheck.jolokia.launching import Stores

    if password_file and not (trust or key):
        raise UsageError("--store-password-file needs --trust-store or --key-store")
    return Stores(
        trust=_store("--trust-store", trust),
        key=_store("--key-store", key),
        password=secret(password_file) if password_file else "",
        registry=registry,
    )


def _store(option: str, path: str | None) -> str:
    from ringcheck.http.credentials import stored

    if not path:
        return ""
    file = stored(path).absolute()
    if not os.access(file, os.R_OK):
        raise UsageError(f"{option} {file} can't be read")
    return str(file)
