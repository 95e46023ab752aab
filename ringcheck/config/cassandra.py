"""Types of values in Cassandra's terms: consistency levels, thresholds at them, and replication."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.config.formats import COUNT, SHARE
from ringcheck.config.reader import ValueType, Wrong, near, scalar, text
from ringcheck.config.sections import ConfigKey, Section
from ringcheck.core.consistency import EVERYWHERE, NETWORK_TOPOLOGY, TOTAL_STRATEGIES, Level
from ringcheck.core.policy import NONE_ALLOWED, Threshold
from ringcheck.core.ring import Factor, Replication
from ringcheck.errors import RingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringcheck.config.reader import ConfigReader
    from ringcheck.core.policy import NagiosRange

AUTO = "auto"  # follows the queries
_FACTOR = "(0|[1-9][0-9]{0,3})(/[1-9][0-9]{0,3})?"
_STRATEGIES = (NETWORK_TOPOLOGY, *sorted(TOTAL_STRATEGIES), EVERYWHERE)


class LevelType(ValueType):
    """A consistency level that can be monitored."""

    name = "a consistency level"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Level:  # noqa: ARG002 - as the base
        """The level."""
        try:
            return self._level(text(node, "a consistency level", self._level))
        except ValueError as error:
            raise Wrong(node, str(error)) from None

    @staticmethod
    def _level(value: str) -> Level:
        if value == AUTO:
            raise ValueError("auto is for critical and warning of monitor: name a level")
        if value == Level.ANY:
            raise ValueError("ANY can't be monitored: it is for writes only, and a hint alone satisfies it")
        if value not in Level.__members__:
            raise ValueError(f"there is no consistency level {value!r} ({near(value, Level.__members__)})")
        return Level[value]

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": [level.value for level in Level if level is not Level.ANY]}


@dataclass(frozen=True, slots=True)
class AutoThreshold:
    """A threshold whose level follows the queries; its bounds are those of `Threshold`."""

    ranges: NagiosRange | None = NONE_ALLOWED
    share: NagiosRange | None = None

    def at(self, level: Level) -> Threshold:
        """The threshold at a level."""
        return Threshold(level, self.ranges, self.share)


class AutoLevelType(LevelType):
    """A consistency level, or `auto`."""

    name = "a consistency level, or `auto`"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - as the base
        """The level; None for `auto`."""
        return None if text(node, "a consistency level") == AUTO else super().read(reader, node, path)

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": [*super().schema()["enum"], AUTO]}


def _threshold(_reader: ConfigReader, _node: yaml.Node, values: dict[str, Any]) -> Threshold | AutoThreshold:
    ranges, share = values.get("ranges"), values.get("share")
    threshold = AutoThreshold(ranges or (None if share else NONE_ALLOWED), share)
    return threshold if values["level"] is None else threshold.at(values["level"])


_THRESHOLD = Section(
    what="a threshold",
    keys={
        "level": ConfigKey(AutoLevelType(), "The consistency level that must be served.", required=True),
        "ranges": ConfigKey(COUNT, "Nagios range for the number of lost ranges; alerts outside of it."),
        "share": ConfigKey(SHARE, "Nagios range for the share of the token space that is lost."),
    },
    build=_threshold,
)


class ThresholdType(ValueType):
    """A level, or a level with the loss that is allowed at it."""

    name = "a consistency level, `auto`, or `{level, ranges, share}`"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - as the base
        """The threshold."""
        if isinstance(node, yaml.MappingNode):
            return _THRESHOLD.read(reader, node, path)
        level = AutoLevelType().read(reader, node, path)
        return AutoThreshold() if level is None else Threshold(level)

    def schema(self) -> dict[str, Any]:
        """Either form."""
        return {"anyOf": [AutoLevelType().schema(), _THRESHOLD.schema()]}


class ReplicationType(ValueType):
    """`{class: ..., ...}`, as in CQL."""

    name = (
        "`{class: NetworkTopologyStrategy, DC: FACTOR, ...}`, `{class: SimpleStrategy, replication_factor: N}` or "
        "`{class: EverywhereStrategy}`"
    )

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Replication:  # noqa: ARG002 - as the base
        """The replication."""
        pairs = {name: value for name, _, value in reader.pairs(node, "replication")}
        if "class" not in pairs:
            raise Wrong(node, "replication needs the key 'class'")
        strategy = _strategy(pairs["class"])
        factors = {name: _factor(value) for name, value in pairs.items() if name != "class"}
        _check_factors(node, strategy, factors)
        return Replication.of(strategy, factors)

    def schema(self) -> dict[str, Any]:
        """A class and factors."""
        number = {"type": "integer", "minimum": 0, "maximum": 9999}
        factor = {"anyOf": [number, {"type": "string", "pattern": f"^{_FACTOR}$"}]}
        return {
            "type": "object",
            "required": ["class"],
            "properties": {"class": {"type": "string"}},
            "additionalProperties": factor,
        }


def _strategy(node: yaml.Node) -> str:
    """The strategy without its Java package."""
    strategy = text(node, "a strategy").rpartition(".")[2]
    if strategy not in _STRATEGIES:
        raise Wrong(node, f"strategy {strategy!r} is not supported ({near(strategy, _STRATEGIES)})")
    return strategy


def _check_factors(node: yaml.Node, strategy: str, factors: Mapping[str, Factor]) -> None:
    if strategy in TOTAL_STRATEGIES and set(factors) != {"replication_factor"}:
        raise Wrong(node, f"{strategy} takes replication_factor and nothing else")
    if strategy == NETWORK_TOPOLOGY and (not factors or "replication_factor" in factors):
        raise Wrong(node, f"{strategy} takes a factor for each datacenter")
    if strategy == EVERYWHERE and factors:
        raise Wrong(node, f"{strategy} takes no factor: each node has a replica")


def _factor(node: yaml.Node) -> Factor:
    value = scalar(node, "a replication factor")
    if not re.fullmatch(_FACTOR, value):
        raise Wrong(node, f"replication factor {value!r} is not a number such as 3, or '3/1'")
    try:
        return Factor.parse(value)
    except RingError as error:
        raise Wrong(node, str(error)) from None
