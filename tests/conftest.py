"""Settings of all tests: how many random examples hypothesis makes, and whether a run can be repeated."""

from __future__ import annotations

import gc
import os
import signal
import socket
from http.server import HTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

HERE = Path(__file__).parent

# A factor for the number of examples of each test. Up to 1, every run makes the same examples, so that a failure can be
# repeated anywhere; above 1, every run makes new ones.
FACTOR = float(os.environ.get("RINGCHECK_EXAMPLES", "1"))


def examples(count: int) -> int:
    """How many examples a test makes in this run if it makes `count` of them in a full run."""
    return max(1, round(count * FACTOR))


settings.register_profile(
    "ci", max_examples=examples(100), deadline=None, derandomize=True, print_blob=True, database=None
)
settings.register_profile("more", max_examples=examples(100), deadline=None, print_blob=True)
settings.load_profile("ci" if FACTOR <= 1 else "more")


# No test waits for the host's resolver, which may take 5 s to fail: servers don't look up the name of their address,
# and names under .invalid, which RFC 2606 reserves, are refused as glibc refuses unknown ones.
look_up = socket.getaddrinfo


def _bind(server: HTTPServer) -> None:
    TCPServer.server_bind(server)
    server.server_name, server.server_port = str(server.server_address[0]), server.server_address[1]


def _look_up(host: bytes | str | None, *args: Any, **more: Any) -> Any:
    if isinstance(host, str) and host.endswith(".invalid"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return look_up(host, *args, **more)


HTTPServer.server_bind = _bind  # type: ignore[assignment, method-assign]
socket.getaddrinfo = _look_up


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search the modules and tests for garbage neither while they are made nor later: they stay until the end."""
    gc.disable()
    collected = yield
    gc.enable()
    gc.freeze()
    return collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first: if one of them began last, a parallel run would wait for it alone.

    Then the files beside this one. They share what they parse of all code; at the end of a run, idle workers would
    take some of them over and parse it again.
    """
    items.sort(key=lambda item: (item.get_closest_marker("long") is None, item.path.parent != HERE))


@pytest.fixture(autouse=True)
def signal_mask() -> Iterator[None]:
    """Undo what a test does to the signals of its process: `ringcheck agent` blocks them, and programs inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
