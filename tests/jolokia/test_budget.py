"""What a poll may cost: memory for a large reply, imports for a small check. The limits are ratios, never seconds."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.endpoint import ip_of
from ringcheck.http.replies import Reply
from ringcheck.jolokia import rangemaps
from ringcheck.jolokia.rangemaps import NodeIndexes
from tests.jolokia.scripted import Lab

if TYPE_CHECKING:
    from collections.abc import Callable


class Body(io.BytesIO):
    """What urllib3 would read from a connection."""

    def read(self, size: int | None = -1, *, decode_content: bool = False) -> bytes:
        del decode_content
        return super().read(size)


def range_map(ranges: int, nodes: int) -> bytes:
    """A reply of many ranges, each held by three of the nodes."""
    chance = random.Random(7)  # noqa: S311 - the same map in each run
    tokens = sorted(chance.randrange(-(2**63), 2**63) for _ in range(ranges))
    value = {
        f"[{tokens[place - 1]}, {token}]": [f"10.0.0.{chance.randrange(nodes)}:7000" for _ in range(3)]
        for place, token in enumerate(tokens)
    }
    return json.dumps({"request": {}, "value": value, "status": 200}).encode()


def peak(work: Callable[[], Any]) -> tuple[int, int]:
    """The bytes of a result, and the bytes that were needed temporarily in addition."""
    tracemalloc.start()
    try:
        result = work()
        size, most = tracemalloc.get_traced_memory()
        del result
        return size, most - size
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_large_range_map_is_never_held_as_a_whole() -> None:
    """Streaming it, and keeping the result, needs a small part of the memory that decoding it at once needs."""
    body = range_map(120_000, 50)
    members = NodeIndexes(lambda endpoint: int(ip_of(endpoint).rpartition(".")[2]))
    raw: Any = Body(body)
    spans, besides = peak(lambda: rangemaps.range_rows(Reply(raw, "http://10.0.0.1/", 2**26), members, 50))
    size, _ = peak(lambda: json.loads(body))
    assert spans < size / 10
    assert spans + besides < size / 4


@pytest.mark.slow
def test_a_small_poll_does_not_import_what_it_does_not_need() -> None:
    """A poll of a small healthy cluster imports neither the streaming library nor an event loop."""
    with Lab().running() as running:
        script = f"""
import sys
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.jolokia.settings import JolokiaSettings
source = JolokiaSource(JolokiaSettings(contact_points=("127.0.2.1",), url={running.cluster.template!r}))
assert len(source.poll(5.0).rings) == 1
print(*sorted(set(sys.modules) & {{"ijson", "tenacity", "asyncio", "prometheus_client", "rich", "click", "yaml"}}))
"""
        process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert process.stdout == "\n"


@pytest.mark.slow
def test_a_hanging_node_does_not_keep_a_process_from_ending() -> None:
    """The process ends when its poll has ended, even if a thread still waits for a node that does not answer."""
    lab = Lab()
    lab.down("127.0.2.3")
    with lab.running(hanging=("127.0.2.3",)) as running:
        script = f"""
import time
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.jolokia.client import Client
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.http import sockets
sockets.seconds_left = lambda _ends: 60.0  # a call that nothing ends, as a name look-up can be
source = JolokiaSource(JolokiaSettings(contact_points=("127.0.2.1",), url={running.cluster.template!r}))
print(source.poll(2.0).views[2].reason)
"""
        process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert process.stdout.endswith("/jolokia: no answer in time\n")
