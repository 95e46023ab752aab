"""Wrong and odd command lines: each ends with one line on the right stream, exit code 3, and what to do next."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import socket
import ssl
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from ringcheck.cli import run
from ringcheck.cli.failure import VERDICTS
from ringcheck.config.types import Duration
from ringcheck.core.durations import seconds_of
from ringcheck.deadline import duration
from tests.fake_jolokia import Agent, free_port, ok, send
from tests.http.servers import Certificates
from tests.schemas import validate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

    from tests.fake_jolokia import Raw

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
FILES = {
    "two.yaml": "clusters: {orders: {jolokia: {contact_points: [h]}}, search: {jolokia: {contact_points: [h]}}}",
    "unknown-key.yaml": "clusters:\n  a: {timeout: 5s}\n",
    "number.yaml": "clusters: {a: {jolokia: {contact_points: [h], url: 8778}}}",
    "seconds.yaml": "clusters: {a: {jolokia: {contact_points: [h], timeout: 9}}}",
    "level.yaml": "clusters: {a: {jolokia: {contact_points: [h]}, gate: {level: 5}}}",
    "no-folder.yaml": "clusters: {a: {jolokia: {contact_points: [h]}, lease: {file: /nowhere/x}}}",
    "port.yaml": "clusters: {a: {jolokia: {contact_points: ['h:99999']}}}",
    "empty.yaml": "",
    "tab.yaml": "clusters:\n\ta: {}\n",
    "empty.json": "",
    "cut.json": '{"schema": "ringcheck/snapshot/1",',
    "list.json": "[]",
    "other.json": '{"schema": "ringcheck/verdict/1"}',
    "junk.db": "no SQLite file",
    "junk.pem": "no certificate",
}
TLS, LOGIN = "(docs/getting-started.md#tls)", "(docs/install.md#passwords-and-keys)"
FORBIDDEN = (
    "Errno", "Traceback", ":1:1:", "Expecting", "Port out of range", "this is a bug", "_ssl.c", "line 1 column",
    "[SSL", "object", "None", "<html", "valid integer", "x>=",
)  # fmt: skip
"""Texts of libraries, and positions that mean nothing."""

LINES = [
    # Options before the command, commands and options that do not exist
    ("-C {two.yaml} health", "ringcheck has no option '-C': write options after the command, as in"),
    ("-H 10.0.0.1 health", "ringcheck has no option '-H': write options after the command"),
    ("simulate --nods 3", "'--nodes', '--vnodes'?"),
    ("lease -C {two.yaml} list", "ringcheck lease has no option '-C': write options after the command"),
    ("demo -C {two.yaml}", "ringcheck demo asks no cluster, and takes no -C (see ringcheck demo --help)"),
    ("demo -H 10.0.0.1", "ringcheck demo asks no cluster, and takes no -H"),
    ("heatlh", "there is no command `ringcheck heatlh` (did you mean health?)"),
    ("prefligth 10.0.0.1", "did you mean preflight?"),
    ("zzz", "there is no command `ringcheck zzz` (known: check, health"),
    ("zz", "simulate, status)"),
    ("statsu", "there is no command `ringcheck statsu` (did you mean status?)"),
    ("lease lst", "there is no command `ringcheck lease lst` (did you mean list?)"),
    ("config chekc", "did you mean check?"),
    ("simulate dwon 127.0.0.1", "(did you mean down?)"),
    ("health --form json", "Did you mean one of: '--format', '--from'?"),
    ("health --rangs --from {down}", "--ranges"),
    ("health --from {down} --format yaml", "'yaml' is not one of 'text', 'json'"),
    ("health --level", "requires an argument. (see ringcheck health --help)"),
    ("health --from {up} --level all --level nope", "there is no consistency level 'nope' (known: ANY, ONE"),
    ("lease acquire", "Missing argument 'NODE...'"),
    ("lease break 10.0.0.1", "Missing option '--reason'"),
    ("demo extra", "Got unexpected extra argument (extra) (see ringcheck demo --help)"),
    ("ring", "Missing argument"),
    ("jmx-proxy", "Missing option '--jar'"),
    ("simulate --nodes 0", "'0' is not a whole number from 1 to 4096 (see ringcheck simulate --help)"),
    ("preflight --from {up} 10.0.0.1 --stable x", "'x' is not a whole number from 1 on"),
    ("history --limit 0 --cluster a --state {junk.db}", "'0' is not a whole number from 1 to 100000"),
    ("help", "there is no command `ringcheck help` (use `ringcheck --help`, or --help after a command)"),
    ("lease help", "there is no command `ringcheck lease help` (use `ringcheck lease --help`"),
    ("completion bash", "(docs/commands.md#shell-completion)"),
    ("version", "(use `ringcheck --version`)"),
    ("agent --cluster a", "ringcheck agent watches all clusters of its configuration, and takes no --cluster"),
    ("nodes --from {up} --dc dc1", "does not take --dc: --datacenter chooses the nodes of a datacenter"),
    ("check --nonsense", "No such option '--nonsense'"),
    ("check extra", "Got unexpected extra argument (extra)"),
    ("check --hst h", "No such option '--hst'. Did you mean '--host'? (see ringcheck check --help)"),
    ("check -c", "Option '-c' requires an argument. (see ringcheck check --help)"),
    ("health --help=1", "Option '--help' does not take a value. (see ringcheck health --help)"),
    ("--version=1", "Option '--version' does not take a value. (see ringcheck --help)"),
    ("check --unreachable crit", "'crit' is not one of 'unknown', 'critical'"),
    # Which cluster
    ("health", "no cluster is named; next: use -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE"),
    ("check", "no cluster is named; next: use -C FILE [--cluster NAME]"),
    ("check --from {up} --max-age 5s", "--max-age needs --agent: without an agent the nodes are asked now"),
    ("history", "no cluster is named; next: use -C FILE [--cluster NAME]\n"),
    ("levels", "no cluster is named; next: use -C FILE [--cluster NAME]\n"),
    ("history --agent http://127.0.0.1:1", "--agent needs --cluster NAME, the cluster's name in the agent's config"),
    ("levels --agent http://127.0.0.1:1", "--agent needs --cluster NAME, the cluster's name in the agent's config"),
    ("history --state {junk.db}", "--state needs --cluster NAME, the cluster's name in the agent's configuration"),
    ("doctor", "no cluster is named; next: use -C FILE [--cluster NAME], -H HOST or -u URL"),
    ("health -C {two.yaml}", "has 2 clusters; next: choose one with --cluster (orders, search)"),
    ("health -C {two.yaml} --cluster order", "has no cluster 'order' (did you mean orders?)"),
    ("health -C {two.yaml} --cluster zzz", "has no cluster 'zzz' (known: orders, search)"),
    ("check -C {two.yaml} --cluster serach", "did you mean search?"),
    ("config show -C {two.yaml} --cluster Orders", "did you mean orders?"),
    ("health -C {two.yaml} -H h", "name the cluster in one way only"),
    ("health -C /nowhere.yaml", "name another file with -C, or write one with `ringcheck init`"),
    ("check -C /nowhere.yaml", "there is no configuration /nowhere.yaml"),
    ("agent -C /nowhere.yaml", "there is no configuration /nowhere.yaml"),
    ("config show -C /nowhere.yaml", "there is no configuration /nowhere.yaml"),
    ("config show /nowhere.yaml", "there is no configuration /nowhere.yaml"),
    ("preflight --from {up} 10.0.0.1 --level ANY", "the gate can't keep ANY"),
    ("plan --from {up} --level ANY", "the gate can't keep ANY"),
    ("history -C /nowhere.yaml", "there is no configuration /nowhere.yaml"),
    ("health -C {empty.yaml}", "empty.yaml: is empty"),
    ("health -C /", "/: can't be read: Is a directory"),
    ("health -C {tab.yaml}", ":2:1: not YAML: indent with spaces, not with a tab"),
    ("health -C {unknown-key.yaml}", ":2:7: unknown key 'timeout' in a cluster (known: jolokia"),
    ("health -C {number.yaml}", "'8778' must contain {address} once, in place of a node's address"),
    ("health -C {seconds.yaml}", "must be a duration such as 10s, 500ms, 5m or 1h, not '9': add a unit, such as 9s"),
    ("health -C {level.yaml}", "there is no consistency level '5' (known: "),
    ("health -C {port.yaml}", "'h:99999' is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL"),
    ("health --from {empty.json}", "is not a JSON document: it is empty"),
    ("health --from {cut.json}", "is not a JSON document: wrong or cut off at line 1, column "),
    ("health --from {list.json}", "is no 'ringcheck/snapshot/1' document: it has no field `schema`"),
    ("health --from {other.json}", "has schema 'ringcheck/verdict/1'; this release reads 'ringcheck/snapshot/1'"),
    ("health --from /nowhere.json", "/nowhere.json can't be read: No such file or directory"),
    ("health --from /", "is a directory of recordings, which only `watch` replays"),
    ("roll --exec 'x {{address}}' --from {down}", "ringcheck roll does not take --from: "),
    # Names in the cluster
    ("health --from {down} --dc dc2", "datacenter dc2 has no nodes (did you mean dc1?)"),
    ("check --from {down} --dc dc2", "datacenter dc2 has no nodes (did you mean dc1?)"),
    ("preflight --from {up} --dc eu 10.0.0.1", "datacenter eu has no nodes (known: dc1)"),
    ("ring --from {down} blog3", "there is no keyspace 'blog3' (did you mean blog_3?)"),
    ("ring --from {down} Blog_3", "did you mean blog_3?"),
    ("preflight --from {up} 10.0.0", "10.0.0 can mean 10.0.0.1, 10.0.0.2, 10.0.0.3: name one of them"),
    ("preflight --from {up} ''", "a NODE is empty"),
    ("preflight --from {up} 10.0.0.1,10.0.0.2", "'10.0.0.1,10.0.0.2' is not a single NODE; next: separate nodes"),
    ("plan --from {up} 10.0.0.1,", "'10.0.0.1,' is not a single NODE; next: separate nodes with spaces"),
    ("preflight --from {up}", "name the nodes that are to stop, or a --rack"),
    ("preflight --from {up} 10.0.0.1 --rack r1", "name the nodes that are to stop, or a --rack, not both"),
    ("preflight --from {up} --rack r1 --dc dc9", "datacenter dc9 has no nodes (did you mean dc1?)"),
    ("preflight --from {up} --action bootstrap --rack r1", "rack of the new node: --datacenter and --rack"),
    ("check --from {up} -c ''", "there is no consistency level '' (known: ANY, ONE"),
    ("preflight --from {up} --level '' 127.0.1.1", "there is no consistency level '' (known: ANY, ONE"),
    ("plan --from {up} --level ''", "there is no consistency level '' (known: ANY, ONE"),
    ("roll -H 127.0.0.1:1 --level ''", "there is no consistency level '' (known: ANY, ONE"),
    ("ring --from {up} --level '' blog_1", "there is no consistency level '' (known: ANY, ONE"),
    ("init -H 127.0.0.1:1 -c ''", "there is no consistency level '' (known: ANY, ONE"),
    ("init -H 127.0.0.1:1 -w ''", "there is no consistency level '' (known: ANY, ONE"),
    ("health --from {up} --dc ''", "datacenter '' has no nodes (known: dc1)"),
    ("check --agent http://user:pw@h:1 --cluster a", "http://h:1: a URL holds no password here: use --username and"),
    ("preflight --from {up} --rack rack", "there is no rack rack (known: r0, r1, r2)"),
    ("preflight --from {up} 10.0.0.1 --allow node_down", "there is no reason 'node_down' (did you mean "),
    ("preflight --from {up} 10.0.0.1 --accept blgo_1", "accept: no keyspace matches 'blgo_1' (did you mean blog_1?)"),
    ("preflight --from {up} 10.0.0.1 -k blog_1", "does not take --keyspace: a node that stops takes a replica"),
    ("plan --from {up} --rack r9", "there is no rack r9 (known: r0, r1, r2)"),
    ("what-if --from {up} --down 10.0.0.19", "10.0.0.19 is not a node of blogs (did you mean 10.0.0.1?)"),
    ("what-if --from {up} --rf blgo_3=dc1:3", "there is no keyspace blgo_3 (did you mean blog_3?)"),
    ("what-if --from {up} --rf blog_3", "'blog_3' is not a replication such as orders=dc1:3,dc2:3"),
    ("what-if --from {up} --down-dc dc2", "datacenter dc2 has no nodes (did you mean dc1?)"),
    ("what-if --from {up} --down 10.0.0.1 --allocated", "of --add or --tokens are chosen; next: add one of them"),
    ("risk --from {up} --node-mtbf 9d --repair 4h --allocated", "--tokens are chosen; next: add --tokens N"),
    ("what-if --from {up} --add dc1", "'dc1' is not a place such as dc1:rack1"),
    ("what-if --from {up}", "name nodes to assume down (--down, --rack, --down-dc) or up (--up)"),
    ("health --from {up} --view 10.9.9.9", "there is no view of 10.9.9.9 (known: 10.0.0.1, 10.0.0.2, 10.0.0.3)"),
    ("health --from {up} --view 1.2.3", "--view: '1.2.3' is not an address"),
    ("check --from {up} -w QUORM", "there is no consistency level 'QUORM' (did you mean QUORUM?)"),
    ("check --from {up} -c local_one", "did you mean LOCAL_ONE?"),
    ("health --from {up} --level 5", "there is no consistency level '5' (known: ANY, ONE"),
    ("history --kind nodes --cluster a --state {junk.db}", "there is no kind of change 'nodes' (did you mean node?)"),
    # Times
    ("health --from {up} -t 1x", "'1x' is not a duration such as 9s, 500ms, 2m or 1h"),
    ("health --from {up} -t 0", "'0' is not a duration"),
    ("health --from {up} -t 1e3", "'1e3' is not a duration"),
    ("preflight --from {up} 10.0.0.1 --wait soon", "'soon' is not a duration"),
    ("risk --from {up} --node-mtbf 180d", "the odds need both --node-mtbf and --repair"),
    ("history --since yesterday --cluster a --state {junk.db}", "'yesterday' is not a time such as 24h, 2026-01-31T12"),
    ("simulate wait 127.0.0.1 --seconds long", "'long' is not a duration"),
    # Files
    ("simulate --serve --port 0 --config-out /nowhere/x", "/nowhere/x can't be written: No such file or directory"),
    ("snapshot --from {up} -o /nowhere/x", "/nowhere/x can't be written: No such file or directory"),
    ("snapshot --from {up} -o ''", "'-o' / '--output': the name of the file is empty (see ringcheck snapshot --help)"),
    ("ring --from {up} blog_1 --svg ''", "'--svg': the name of the file is empty (see ringcheck ring --help)"),
    ("init -H 127.0.0.1:1 -o ''", "'-o' / '--output': the name of the file is empty (see ringcheck init --help)"),
    ("lease list -C {no-folder.yaml}", ":1:62: there is no directory '/nowhere': create it, or name another"),
    ("history --cluster a --state /nowhere.db", "/nowhere.db can't be read: No such file or directory"),
    ("history --cluster a --state {junk.db}", "junk.db can't be read: it is damaged, or not an SQLite file"),
    ("health -H 127.0.0.1:1 --username me --password-file /nowhere", "/nowhere can't be read: No such file"),
    ("health -H 127.0.0.1:1 --ca-file /nowhere.pem", "/nowhere.pem can't be loaded: no such file or directory"),
    ("health -H 127.0.0.1:1 --ca-file {junk.pem}", "junk.pem can't be loaded: not a certificate or key in PEM form"),
    ("health -H 127.0.0.1:1 --cert-file {authority}", "/ca has no private key: name the file that has it by"),
    ("nodes -H 127.0.0.1:1 --cert-file {junk.pem}", "junk.pem can't be loaded: not a certificate or key in PEM form"),
    ("health -H 127.0.0.1:1 --cert-file /nowhere.pem", "/nowhere.pem can't be loaded: no such file or directory"),
    ("health -H 127.0.0.1:1 --key-file /nowhere", "--key-file needs --cert-file"),
    ("health -H 127.0.0.1:1 --password-file /nowhere", "--password-file needs --username"),
    ("doctor -u http://127.0.0.1:1/jolokia --password-file /nowhere", "--password-file needs --username"),
    ("check --agent http://127.0.0.1:1 --cluster a --password-file /nowhere", "--password-file needs --username"),
    ("nodes -H h --proxy http://127.0.0.1:1 --jmx-password-file /nowhere", "--jmx-password-file needs --jmx-username"),
    ("roll -H 127.0.0.1:1 --exec \"x '{{address}}\"", "can't be split: a quote is not closed"),
    # Addresses
    ("health -H 127.0.0.1:99999", "'127.0.0.1:99999' is neither HOST, HOST:PORT, [IPV6]:PORT nor a URL"),
    ("health -H ''", "contact point '' is neither HOST"),
    ("health -H 10.0.0.1,10.0.0.2", "contact point '10.0.0.1,10.0.0.2' has a comma: name each host by itself"),
    ("health -u http://h:1/{{addres}}/jolokia", "-u has the unknown field {addres} (did you mean {address}?)"),
    ("health -u 127.0.0.1:8778", "-u takes an http or https URL, not '127.0.0.1:8778': name HOST or HOST:PORT with -H"),
    ("health -u http://127.0.0.1:99999/jolokia", "is not a usable URL"),
    ("simulate down 127.0.0.9 --url http://127.0.0.1:99999", "is not a URL such as http://127.0.0.1:"),
    ("simulate state --url foo", "--url: 'foo' is not a URL such as http://127.0.0.1:18778"),
    ("simulate down 127.0.0.9 --url http://127.0.0.1:{free}", "start one with `ringcheck simulate --serve`"),
    ("simulate --serve --port 99999", "'99999' is not a whole number from 0 to 65535"),
    ("simulate --nodes 100000", "'100000' is not a whole number from 1 to 4096"),
    ("simulate --vnodes 100000000", "'100000000' is not a whole number from 1 to 1024"),
    ("simulate --release 9.9", "--release: '9.9' is not a release from 2.2 to 6.0, such as 5.0.8"),
    ("simulate --release abc", "--release: 'abc' is not a release from 2.2 to 6.0"),
    ("demo --page --listen foo", "can't listen on 'foo': it is not HOST:PORT"),
    ("agent -C {two.yaml} --listen 192.0.2.1:1", "Cannot assign requested address; next: listen on an address of this"),
    ("agent -C {two.yaml} --listen foo", "can't listen on 'foo': it is not HOST:PORT"),
    # Nodes and agents that can't be asked
    ("health -H 127.0.0.1:{free}", "connection refused; next: start Jolokia there, or correct the port; "),
    ("check -H 127.0.0.1:{free}", "connection refused; next: start Jolokia there"),
    ("lease list -H 127.0.0.1:{free}", "connection refused; next: start Jolokia there"),
    ("health -H nowhere.invalid", "can't be resolved: name or service not known; next: correct the host name"),
    ("health -H 127.0.0.1 --proxy http://127.0.0.1:{free}/jolokia", "start the proxy with `ringcheck jmx-proxy`"),
    ("check --agent http://127.0.0.1:{free} --cluster a", "next: start `ringcheck agent`, or correct the URL"),
    ("history --agent http://127.0.0.1:{free} --cluster a", "next: start `ringcheck agent`, or correct the URL"),
    ("history --agent 127.0.0.1:9742 --cluster a", "is not the URL of an agent, such as http://127.0.0.1:9742"),
    ("check --agent http://127.0.0.1:{mute} --cluster a -t 500ms", "next: look for a firewall, or an agent that hangs"),
    ("check --agent {missing} --cluster a", "HTTP 501; next: correct the URL, or look whether `ringcheck agent` runs"),
    ("levels -C {two.yaml} --cluster orders", "nor `auto` in the configuration: add one (docs/levels.md)"),
    ("init -H 127.0.0.1:{free} -c LOCAL_QURUM", "there is no consistency level 'LOCAL_QURUM' (did you mean LOCAL_"),
    ("health -u {missing}/nothing", "HTTP 404; next: correct the path of the URL; `ringcheck doctor` looks for"),
    ("health -u {broken}", "HTTP 500; next: look at the log of the server that answers there, or correct the URL; `r"),
    ("nodes -u {moved}", "redirects are not followed; next: use the URL of Jolokia itself; `ringcheck doctor` with"),
    ("check -u {page}", "a Jolokia agent?; next: correct the port and the path of the URL; `ringcheck doctor` with"),
    ("check -u {missing}/nothing", "HTTP 404; next: correct the path of the URL"),
    ("health -u {closed}", f"next: add --username NAME --password-file FILE {LOGIN}"),
    ("health -u {closed} --username me", f"next: correct --username or the file of --password-file {LOGIN}"),
    ("health -u {plain_https}", "the server does not speak TLS; next: use http:// in the URL, without"),
    ("health -u {tls_http}", "next: use https:// if the server speaks TLS"),
    ("health -u {tls_https}", f"name the authority that signed the certificate with --ca-file {TLS}"),
    ("check --agent {tls_https} --cluster a", "name the authority that signed the certificate with --ca-file"),
    ("health -H 127.0.0.1 --proxy {tls_https}", "name the authority that signed the certificate with --ca-file"),
    ("health -u {other_name} --ca-file {authority}", "'127.0.0.1'; next: use a name that is in the certificate, or"),
    ("nodes -u {other_name} --ca-file {authority}", "IP address mismatch, certificate is not valid for '127.0.0.1'; n"),
    ("health -u {expired} --ca-file {authority}", f"TLS: certificate has expired; next: renew the certificate {TLS}"),
    ("health -H 127.0.0.1:{mute} -t 500ms", "next: look for a firewall, or a node that hangs; `ringcheck doctor`"),
]  # fmt: skip
"""A command line, and a part of its one line; `{name}` is a file or a place of `stage`."""


def answer(status: int, body: bytes = b"") -> Raw:
    """An agent that answers each request with this HTTP status and body."""

    def answers(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, body, status=status)

    return answers


@contextmanager
def places(folder: Path) -> Iterator[dict[str, Any]]:
    """The files and servers that command lines name."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    certificates = Certificates.written(folder)
    with ExitStack() as stack:
        missing = stack.enter_context(Agent(lambda item: ok(item, 1), raw=answer(404)))
        broken = stack.enter_context(Agent(lambda item: ok(item, 1), raw=answer(500)))
        moved = stack.enter_context(Agent(lambda item: ok(item, 1), raw=answer(302)))
        page = stack.enter_context(Agent(lambda item: ok(item, 1), raw=answer(200, b"<html>")))
        closed = stack.enter_context(Agent(lambda item: ok(item, 1), raw=answer(401)))
        tls = stack.enter_context(Agent(lambda item: ok(item, 1), tls=context))
        other_name = stack.enter_context(Agent(lambda item: ok(item, 1), tls=certificates.context("10.0.0.9")))
        old = certificates.context("127.0.0.1", valid=(-9, -1))
        expired = stack.enter_context(Agent(lambda item: ok(item, 1), tls=old))
        mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield {
            **{name.replace(".", "_").replace("-", "_"): str(folder / name) for name in FILES},
            "down": SNAPSHOTS / "article-one-down.json",
            "up": SNAPSHOTS / "article-healthy.json",
            "free": free_port(),
            "mute": mute.getsockname()[1],
            "missing": missing.url.removesuffix("/"),
            "broken": broken.url,
            "moved": moved.url,
            "page": page.url,
            "closed": closed.url,
            "plain_https": missing.url.replace("http://", "https://"),
            "tls_http": tls.url.replace("https://", "http://"),
            "tls_https": tls.url,
            "other_name": other_name.url,
            "expired": expired.url,
            "authority": certificates.ca,
        }


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with places(tmp_path_factory.mktemp("lines")) as found:
        yield found


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make sure that this host's own configuration and variables have no effect."""
    for command in ("agent", "config"):  # it is the default of an option there, and must be read before
        importlib.import_module(f"ringcheck.cli.{command}")
    for module in ("target", "history"):
        monkeypatch.setattr(f"ringcheck.cli.{module}.DEFAULT_CONFIG", Path("/nowhere/ringcheck.yaml"))


def words(line: str, stage: dict[str, Any]) -> list[str]:
    for name in FILES:
        line = line.replace(f"{{{name}}}", f"{{{name.replace('.', '_').replace('-', '_')}}}")
    return shlex.split(line.format(**stage))


def test_there_are_enough_of_them() -> None:
    """There are as many as were tried by hand when the messages were first reviewed for newcomers."""
    assert len({line for line, _ in LINES}) == len(LINES) >= 81


@pytest.mark.slow
@pytest.mark.parametrize(("line", "text"), LINES, ids=[line for line, _ in LINES])
def test_a_wrong_command_line(line: str, text: str, stage: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Its line has the next step: on standard output for `check`, `health` and `what-if`, else on standard error."""
    arguments = words(line, stage)
    assert run(arguments) == 3
    out, err = capsys.readouterr()
    shown, other = (out, err) if VERDICTS.intersection(arguments) else (err, out)
    assert (other, shown.count("\n")) == ("", 1), (out, err)
    assert shown.startswith("UNKNOWN - ")
    assert len(shown.encode()) <= 1001
    assert [foreign for foreign in FORBIDDEN if foreign in shown] == []
    assert text in shown


JSON = [
    ("health -C /nowhere.yaml", "usage", "health"),
    ("health -C {unknown-key.yaml}", "configuration", "health"),
    ("health --from {cut.json}", "data", "health"),
    ("health -H 127.0.0.1:{free}", "unreachable", "health"),
    ("health -u {closed}", "denied", "health"),
    ("preflight --from {up} --rack r9", "usage", "preflight"),
    ("risk --from {up} --rangs", "usage", "risk"),
    ("check -H 127.0.0.1:{free}", "unreachable", "check"),
    ("check -w QUORM --from {up}", "usage", "check"),
    ("history --cluster a --state /nowhere.db", "error", "history"),
]


STEPS = [
    ("plan -C /nowhere.yaml", "there is no configuration /nowhere.yaml", "name another file with -C, or write"),
    ("plan", "no cluster is named", "use -C FILE [--cluster NAME], -H HOST or -u URL, or --from FILE"),
    ("plan -C {two.yaml}", "{two.yaml} has 2 clusters", "choose one with --cluster (orders, search)"),
]


@pytest.mark.parametrize(("line", "text", "step"), STEPS, ids=[line for line, *_ in STEPS])
def test_the_next_step_of_a_usage_error_has_its_own_field(
    line: str, text: str, step: str, stage: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The text does not repeat it; people read both in one line."""
    assert run([*words(line, stage), "--format", "json"]) == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    validate(document, "error-1")
    assert (document["kind"], document["error"]) == ("usage", " ".join(words(text, stage)))
    assert document["next_step"].startswith(step)
    assert err == f"UNKNOWN - {document['error']}; next: {document['next_step']}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("line", "kind", "command"), JSON, ids=[line for line, *_ in JSON])
@pytest.mark.parametrize("form", [["--format", "json"], ["--format=json"]], ids=["two words", "one word"])
def test_an_error_is_a_document_with_format_json(
    line: str, kind: str, command: str, form: list[str], stage: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs find the document on standard output; standard error still has the line for people."""
    assert run([*words(line, stage), *form]) == 3
    out, err = capsys.readouterr()
    document = json.loads(out)
    validate(document, "error-1")
    assert (document["kind"], document["command"], document["exit_code"]) == (kind, command, 3)
    assert err == "" if command == "check" else err.startswith("UNKNOWN - ")


def test_the_format_may_come_from_the_environment(
    stage: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The format can be set by a variable, like every option."""
    monkeypatch.setenv("RINGCHECK_LEASE_LIST_FORMAT", "json")
    assert run(words("lease list -H 127.0.0.1:{free}", stage)) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["next_step"].startswith("start Jolokia there")
    assert document["documentation"] == "docs/getting-started.md"


def test_check_says_critical_in_its_document_too(stage: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The document's exit code is that of the process."""
    assert run([*words("check -H 127.0.0.1:{free} --unreachable critical --format json", stage)]) == 2
    document = json.loads(capsys.readouterr().out)
    validate(document, "error-1")
    assert document["exit_code"] == 2


@pytest.mark.parametrize("text", ["500ms", "90s", "1.5s", "2m", "1h", "7d", "2w", "0.25h", "123456789s"])
def test_durations_have_one_grammar(text: str) -> None:
    """Durations of the command line are also valid in the configuration and in `--since`, with the same meaning."""
    assert duration(text) == seconds_of(text)
    assert re.fullmatch(Duration().schema()["pattern"], text)


@pytest.mark.parametrize(
    "text", ["", "s", "-1s", "1 s", "1e3s", "1_0s", "\u0663s", "1.s", ".5s", "1.2.3s", "1H", "infs", "nans"]
)
def test_text_that_is_not_a_duration_is_refused_everywhere(text: str) -> None:
    """The command line and all other readers of durations refuse the same texts."""
    assert seconds_of(text) is None
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        duration(text)
