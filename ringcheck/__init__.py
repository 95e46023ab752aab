"""Ring health of Apache Cassandra clusters, from outside their JVMs. For scripts: `from ringcheck import Cluster`."""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"
_API = ("Cluster", "Login", "Wishes")  # loaded on first use: a plugin that starts does not need them


def __getattr__(name: str) -> object:
    if name not in _API:
        raise AttributeError(f"module 'ringcheck' has no attribute {name!r}")
    return getattr(import_module("ringcheck.cluster"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
