"""The configuration: one YAML file, and the files of clusters that it includes.

Owns the keys of the file, their checks and their documentation; may import core, http, and the settings of the sources.
All mistakes are found at once, each reported in a line that begins with `file:line:column:`. Start reading at `load`,
then schema.py (the tables of keys); parsing.py makes YAML nodes of bytes, reader.py and the types make values of nodes.
"""

from __future__ import annotations

from dataclasses import replace
from glob import glob, has_magic
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringcheck.config.parsing import UnreadableError, node_of
from ringcheck.config.reader import ConfigReader
from ringcheck.config.schema import PART, TOP
from ringcheck.config.values import AgentSettings, Cluster, Config, ConfigErrors
from ringcheck.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ringcheck.config.sections import Section

__all__ = ["Cluster", "Config", "ConfigError", "ConfigErrors", "load", "schema"]


def load(path: str) -> Config:
    """Read a configuration.

    Raises:
        ConfigErrors: with every mistake; its text is the first mistake and the number of others.
    """
    top = _File(path, TOP)
    files = (top, *(_File(part, PART) for part in _included(top, top.values.get("clusters_from") or ())))
    clusters, positions = _clusters(files)
    agent = top.values.get("agent") or AgentSettings()
    errors = [error for file in files for error in file.reader.errors]
    errors += _ttl_errors(clusters.values(), positions, agent.interval)
    errors += _group_errors(clusters.values(), positions)
    if not errors and not clusters:
        errors.append(f"{path}:1:1: the configuration has no clusters")
    if errors:
        raise ConfigErrors(errors)
    return Config(
        clusters=clusters,
        agent=agent,
        shown=tuple(chain.from_iterable(file.reader.shown for file in files)),
        warnings=tuple(chain.from_iterable(file.reader.warnings for file in files)),
    )


class _File:
    """A file as its section reads it; without values if the section can't be read."""

    def __init__(self, path: str, section: Section) -> None:
        self.reader = ConfigReader(path)
        self.values: dict[str, Any] = {}
        try:
            self.values = self.reader.value(section, node_of(path), ()) or {}
        except UnreadableError as error:
            self.reader.errors.append(f"{path}:{error}")


def _included(top: _File, patterns: tuple[str, ...]) -> list[str]:
    """The files that match the patterns, sorted for each pattern; a file that does not exist is an error."""
    included: dict[str, None] = {}
    for pattern in patterns:
        # Not Path.glob, which matches hidden files too: editors leave such files behind.
        names = sorted(glob(pattern, root_dir=top.reader.folder, recursive=True))  # noqa: PTH207 - as above
        files = [str(top.reader.folder / name) for name in names]
        if not files and not has_magic(pattern):
            top.reader.errors.append(f"{top.reader.path}:1:1: clusters_from: there is no file {pattern}")
        elif not files:
            top.reader.warnings.append(f"{top.reader.path}:1:1: clusters_from: no file matches {pattern}")
        # A file does not include itself, though `*.yaml` matches it.
        included |= dict.fromkeys(file for file in files if not Path(file).samefile(top.reader.path))
    return list(included)


def _clusters(files: Sequence[_File]) -> tuple[dict[str, Cluster], dict[str, str]]:
    """The clusters of all files, and `file:line:column` of each, by name; a second definition is an error."""
    clusters: dict[str, Cluster] = {}
    positions: dict[str, str] = {}
    for file in files:
        for name, cluster in (file.values.get("clusters") or {}).items():
            position = file.reader.names["clusters", name]
            if name in positions:
                file.reader.errors.append(f"{position}: cluster {name!r} is also defined in {positions[name]}")
            positions.setdefault(name, position)
            if cluster:
                clusters[name] = replace(cluster, name=name)
    return clusters, positions


def _ttl_errors(clusters: Iterable[Cluster], positions: Mapping[str, str], interval: float) -> Iterator[str]:
    """Errors for clusters for which Sensu would warn of silence between two polls of the agent."""
    for cluster in clusters:
        if cluster.sensu and cluster.sensu.ttl and cluster.sensu.ttl <= interval:
            text = f"the ttl of sensu, {cluster.sensu.ttl:g} s, must exceed the agent's interval, {interval:g} s"
            yield f"{positions[cluster.name]}: {text}"


def _group_errors(clusters: Iterable[Cluster], positions: Mapping[str, str]) -> Iterator[str]:
    """Errors for clusters whose FleetLock group is not theirs alone, or can't be named by a client."""
    owners: dict[str, str] = {}
    for cluster in clusters:
        if cluster.fleetlock is None:
            continue
        group = cluster.fleetlock.group or cluster.name
        if "_" in group:
            text = f"{group!r} can't be a FleetLock group because of its _: name another one with fleetlock.group"
            yield f"{positions[cluster.name]}: {text}"
        if group in owners:
            yield f"{positions[cluster.name]}: FleetLock group {group!r} is also that of cluster {owners[group]!r}"
        owners.setdefault(group, cluster.name)


def schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a configuration file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ringcheck:config",
        "title": "ringcheck configuration",
        **TOP.schema(),
    }
