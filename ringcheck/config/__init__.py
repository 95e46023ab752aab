"""The configuration: one YAML file, and the files of teams that it names.

Every error is one line that begins with `file:line:column:`, and all errors are found at once.
"""

from __future__ import annotations

from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringcheck.config.schema import PART, TOP
from ringcheck.config.source import UnreadableError, node_of
from ringcheck.config.types import ConfigReader, Section
from ringcheck.config.values import AgentSettings, Cluster, Config, ConfigErrors
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Cluster", "Config", "ConfigError", "ConfigErrors", "load", "schema"]


def load(path: str) -> Config:
    """Read a configuration.

    Raises:
        ConfigErrors: with every mistake; its text is the first, and how many more there are.
    """
    top = _File(path, TOP)
    values = top.values or {}
    parts = [_File(file, PART) for file in _named(top, values.get("clusters_from") or ())]
    errors = [error for file in (top, *parts) for error in file.reader.errors]
    clusters: dict[str, Cluster] = {}
    owners: dict[str, _File] = {}
    for file in (top, *parts):
        for name, cluster in ((file.values or {}).get("clusters") or {}).items():
            if name in owners:
                here, there = (one.reader.names["clusters", name] for one in (file, owners[name]))
                errors.append(f"{here}: cluster {name!r} stands in {there} too")
            owners.setdefault(name, file)
            if cluster:
                clusters[name] = replace(cluster, name=name)
    agent = values.get("agent") or AgentSettings()
    errors += [
        f"{owners[name].reader.names['clusters', name]}: the ttl of sensu, {cluster.sensu.ttl:g} s, must exceed the "
        f"agent's interval, {agent.interval:g} s"
        for name, cluster in clusters.items()
        if cluster.sensu and cluster.sensu.ttl and cluster.sensu.ttl <= agent.interval
    ]
    errors += _groups(clusters, {name: file.reader.names["clusters", name] for name, file in owners.items()})
    if not errors and not clusters:
        errors.append(f"{path}:1:1: the configuration has no clusters")
    if errors:
        raise ConfigErrors(errors)
    shown = tuple(line for file in (top, *parts) for line in file.reader.shown)
    warnings = tuple(line for file in (top, *parts) for line in file.reader.warnings)
    return Config(clusters, agent, shown, warnings)


def _groups(clusters: Mapping[str, Cluster], places: Mapping[str, str]) -> Iterator[str]:
    """Clusters that a client of the FleetLock protocol could not name, or not tell from another one."""
    first: dict[str, str] = {}
    for name, cluster in clusters.items():
        if cluster.fleetlock is None:
            continue
        group = cluster.fleetlock.group or name
        if "_" in group:
            yield f"{places[name]}: a group of the FleetLock protocol has no _, as {name!r} has: name one with group"
        if group in first:
            yield f"{places[name]}: group {group!r} of fleetlock is that of cluster {first[group]!r} too"
        first.setdefault(group, name)


class _File:
    """One file, read by one section."""

    def __init__(self, path: str, section: Section) -> None:
        self.reader = ConfigReader(path)
        self.values: dict[str, Any] | None = None
        try:
            self.values = self.reader.value(section, node_of(path), ())
        except UnreadableError as error:
            self.reader.errors.append(f"{path}:{error}")


def _named(top: _File, patterns: tuple[str, ...]) -> list[str]:
    """The files that the patterns name, sorted; a pattern that names none is a mistake."""
    found: dict[str, None] = {}
    for pattern in patterns:
        # Not Path.glob, which takes hidden files too: editors leave them behind.
        names = sorted(glob(pattern, root_dir=top.reader.folder, recursive=True))  # noqa: PTH207 - as above
        files = [str(top.reader.folder / name) for name in names]
        if not files and not has_magic(pattern):
            top.reader.errors.append(f"{top.reader.path}:1:1: clusters_from: there is no file {pattern}")
        elif not files:
            top.reader.warnings.append(f"{top.reader.path}:1:1: clusters_from: no file matches {pattern}")
        # The file itself is no part of itself, though `*.yaml` matches it.
        found |= dict.fromkeys(file for file in files if not Path(file).samefile(top.reader.path))
    return list(found)


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a configuration file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ringcheck:config",
        "title": "ringcheck configuration",
        **TOP.schema(),
    }
