"""A node whose answers are hostile harms only its own view: a known outage stays known, and nothing takes long."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.cli import run
from tests.fake_jolokia import send
from tests.jolokia.scripted import ONE, THREE, TWO, Lab

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.server import BaseHTTPRequestHandler

MEBIBYTE = 2**20
UNREPLICATED = {"cache": "SimpleStrategy {replication_factor=1}"}
NEGATIVE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n"
ENVELOPE = b'{"status":200,"value":%b}'


def bulk(text: bytes) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """A handler that answers every request, and every item of a bulk, with this text as the value."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        asked = json.loads(body)
        one = ENVELOPE % text
        send(handler, b"[" + b",".join([one] * len(asked)) + b"]" if isinstance(asked, list) else one)

    return answer


def whole(text: bytes) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """A handler that answers every request with this text."""
    return lambda handler, _: (send(handler, text), None)[1]


BODIES = {
    "many empty lists": whole(b"[" + b"[]," * (21 * MEBIBYTE) + b"1]"),
    "a mebibyte of empty lists": whole(ENVELOPE % (b"[" + b"[]," * 300_000 + b"1]")),
    "deep lists": whole(b"[" * 100_000),
    "lists that end": whole(ENVELOPE % (b"[" * 900 + b"]" * 900)),
    "deep values": bulk(b"[" * 900 + b"]" * 900),
    "digits": bulk(b"9" * 5000),
    "a float": bulk(b"1e99999"),
    "not a number": bulk(b"NaN"),
    "a long text": bulk(b'"' + b"x" * 30_000 + b'"'),
    "half a surrogate pair": bulk(rb'"a\ud800b"'),
    "terminal controls": bulk(rb'"\u001b]0;owned\u0007\u001b[2J\u202eX"'),
    "null": bulk(b"null"),
    "empty": whole(b""),
    "HTML": whole(b"<html>" * 1000),
    "bytes": whole(bytes(range(256)) * 100),
    "unclosed text": whole(b'["' + rb"\"" * 400_000),
    "status true": whole(b'{"status":true,"value":1}'),
    "a chunk of negative size": lambda handler, _: (handler.wfile.write(NEGATIVE), None)[1],
    "a long status": whole(b'{"status":' + b"9" * 5000 + b"}"),
    "error of a page": whole(
        json.dumps({"status": 500, "error": "\x1b\n" * 9999, "error_type": "\x1b" * 9999}).encode()
    ),
}
VALUES: dict[str, Any] = {
    "null": None,
    "a number": 7,
    "a long number": 10**38,
    "many digits": "9" * 5000,
    "nested": [[[[1]]]],
    "a map": {"a": {"b": 1}},
    "a long text": "x" * 100_000,
    "controls": "\x1b[2J\u202e\r\n",
    "half a pair": "a\ud800b",
    "list of controls": ["\x1b[2J"] * 3,
    "map of half pairs": {"\ud800": "\udfff"},
    "map of controls": {"\x1b": "\x1b"},
    "map of digits": {f"[{'9' * 5000}, 1]": ["10.0.0.1"]},
    "map of many replicas": {"[1, 2]": ["10.0.0.1"] * 5000},
}


@pytest.fixture
def lab() -> Lab:
    """Three nodes and a keyspace without replication; the third node is down."""
    lab = Lab(keyspaces=dict(UNREPLICATED))
    lab.down(THREE)
    return lab


def checked(lab: Lab, raw: Any, contacts: tuple[str, ...], hostile: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The first line of `check` while a node gives such answers; it is printable, short, and made in little time."""
    with lab.running(without=(THREE,)) as running:
        running.cluster.agents[hostile].raw = raw
        urls = [option for contact in contacts for option in ("-u", running.cluster.template.format(address=contact))]
        started = time.process_time()
        code = run(["check", *urls, "-t", "20"])
        assert time.process_time() - started < 5
    captured = capsys.readouterr()
    assert not captured.err
    assert captured.out.removesuffix("\n").isprintable()
    assert len(captured.out.encode()) <= 1001
    assert code == 2, captured.out
    return captured.out


# Contact points and the hostile node: it is found through the other one, or asked first.
POSITIONS = [pytest.param((ONE,), TWO, id="member"), pytest.param((TWO, ONE), TWO, id="first")]


@pytest.mark.slow
@pytest.mark.parametrize("form", BODIES)
@pytest.mark.parametrize(("contacts", "hostile"), POSITIONS)
def test_a_hostile_body_does_not_hide_an_outage(
    form: str, contacts: tuple[str, ...], hostile: str, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the node that is down, however another node answers."""
    line = checked(lab, BODIES[form], contacts, hostile, capsys)
    assert line.startswith("CRITICAL - ")
    assert f"1 node down: {THREE}" in line


@pytest.mark.slow
@pytest.mark.parametrize("form", VALUES)
@pytest.mark.parametrize("name", ["every attribute", "every operation", "every answer"])
def test_hostile_values_do_not_hide_an_outage(
    name: str, form: str, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """This holds for any values in place of attributes or results of operations."""
    node = lab.nodes[TWO]
    if name != "every operation":
        node.attributes.update(dict.fromkeys(node.attributes, VALUES[form]))
    if name != "every attribute":
        node.operations.update(dict.fromkeys(node.operations, VALUES[form]))
    line = checked(lab, None, (ONE,), TWO, capsys)
    assert line.startswith("CRITICAL - ")
    assert f"1 node down: {THREE}" in line
