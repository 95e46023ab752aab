"""Reads the recorded replies of real clusters."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("RINGCHECK_RECORDINGS", HERE / "recorded"))


@dataclass(frozen=True)
class Exchange:
    """A request item and its answer; a bulk request has an exchange for each item."""

    request: dict[str, Any] | list[Any] | None
    reply: Any
    raw: dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """The answers of a node in a state, for example `4.1.9-jolokia1`, `drained`, `127.0.1.3`."""

    line: str
    state: str
    address: str
    path: Path

    @property
    def release(self) -> str:
        return self.line.rpartition("-")[0]

    @property
    def jolokia(self) -> str:
        return self.line[-1]

    def load(self) -> list[dict[str, Any]]:
        """The exchanges as recorded."""
        return _load(self.path)

    def items(self) -> tuple[Exchange, ...]:
        """All request items with their answers; failed requests and answers to whole bulks are unchanged."""
        return _items(self.path)

    def read(self, attribute: str) -> Any:
        """The value of the first successful read of an attribute."""
        return self._first("attribute", attribute, None)

    def exec(self, operation: str, *arguments: Any) -> Any:
        """The value of the first successful exec of an operation with these arguments."""
        return self._first("operation", operation, list(arguments))

    def _first(self, key: str, name: str, arguments: list[Any] | None) -> Any:
        for item in self.items():
            asked, reply = item.request, item.reply
            if not isinstance(asked, dict) or not isinstance(reply, dict) or reply.get("status") != 200:
                continue
            if asked.get(key) == name and asked.get("arguments") == arguments:
                return reply["value"]
        return None


@cache
def _load(path: Path) -> list[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    loaded: list[dict[str, Any]] = json.loads(raw)
    return loaded


@cache
def _items(path: Path) -> tuple[Exchange, ...]:
    found: list[Exchange] = []
    for raw in _load(path):
        post, reply = raw.get("post"), raw.get("reply")
        if isinstance(post, list) and isinstance(reply, list):
            found += [Exchange(item, answer, raw) for item, answer in zip(post, reply, strict=True)]
        elif "failed" not in raw:
            found.append(Exchange(post, reply, raw))
    return tuple(found)


@cache
def recordings() -> tuple[Recording, ...]:
    """All recordings of node answers, sorted."""
    recorded = []
    for path in sorted(ROOT.glob("*/*/*.json*")):
        address = path.name.removesuffix(".gz").removesuffix(".json")
        recorded.append(Recording(path.parent.parent.name, path.parent.name, address, path))
    return tuple(recorded)
