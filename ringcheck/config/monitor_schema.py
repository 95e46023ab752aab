"""The keys of `monitor`: rules for alerts, with warnings about rules that never apply or never warn."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.config.cassandra import AutoThreshold, ThresholdType
from ringcheck.config.formats import PATTERN
from ringcheck.config.reader import Wrong, child
from ringcheck.config.sections import ConfigKey, Many, Section
from ringcheck.config.types import Flag, Number
from ringcheck.core.consistency import Level
from ringcheck.core.levels import above, warns_first
from ringcheck.core.policy import Rule, Threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ringcheck.config.reader import ConfigReader

_NO_LEVEL = "a rule needs critical or warning, or ignore: true"
_NO_CRITICAL = "warning_failures_left needs critical: it counts the failures until that level is lost"


def _conflicts(present: frozenset[str]) -> Iterator[str]:
    if not {"critical", "warning", "ignore"} & present:
        yield _NO_LEVEL
    elif "warning_failures_left" in present and not {"critical", "ignore"} & present:
        yield _NO_CRITICAL


def _rule(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> Rule:
    if values.get("ignore") and len(values) > 2:  # noqa: PLR2004 - ignore and keyspaces
        raise Wrong(node, "a rule with ignore: true takes no other key than keyspaces")
    if not values.get("ignore") and not values.get("critical") and not values.get("warning"):
        raise Wrong(node, _NO_LEVEL)
    if values.get("warning_failures_left") and not values.get("critical"):
        raise Wrong(node, _NO_CRITICAL)
    _warn_if_late(reader, node, values)
    return Rule(**_with_default_levels(values))


def _warn_if_late(reader: ConfigReader, node: yaml.Node, values: dict[str, Any]) -> None:
    """Warn of a warning that never comes before the page."""
    critical, warning = values.get("critical"), values.get("warning")
    if not isinstance(critical, Threshold) or not isinstance(warning, Threshold) or warns_first(warning, critical):
        return
    if values.get("warning_failures_left") is None:
        higher = above(critical.level)
        step = f": {higher} would" if higher else ": leave it out"
        reader.warn(child(node, "warning"), f"{warning.level} never warns before {critical.level} is critical{step}")


def _with_default_levels(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a rule; a tier that follows the queries gets the level that holds while nothing is known."""
    critical, warning = values.get("critical"), values.get("warning")
    auto = {name for name in ("critical", "warning") if isinstance(values.get(name), AutoThreshold)}
    if isinstance(critical, AutoThreshold):
        values["critical"] = critical.at(Level.LOCAL_ONE)
    if isinstance(warning, AutoThreshold):
        fixed = critical.level if isinstance(critical, Threshold) else Level.LOCAL_ONE
        values["warning"] = warning.at(above(fixed) or fixed)
    return {**values, "auto": frozenset(auto)}


RULE = Section(
    what="a rule of monitor",
    keys={
        "keyspaces": ConfigKey(Many(PATTERN), 'Shell patterns of keyspaces; put `"*"` in quotes.', required=True),
        "critical": ConfigKey(
            ThresholdType(), "CRITICAL if this level is lost: somebody is paged. `auto`: the level that clients use."
        ),
        "warning": ConfigKey(
            ThresholdType(),
            "WARNING if this level is lost: a ticket is opened. `auto`: one step above the critical level.",
        ),
        "warning_failures_left": ConfigKey(
            Number(1, 1000), "WARNING if this many node failures, or fewer, are left until the critical level is lost."
        ),
        "ignore": ConfigKey(Flag(), "Do not monitor these keyspaces."),
    },
    build=_rule,
    conflicts=_conflicts,
    also={
        "if": {"properties": {"ignore": {"const": True}}, "required": ["ignore"]},
        "then": {"maxProperties": 2},
        "else": {"anyOf": [{"required": ["critical"]}, {"required": ["warning"]}]},
        "dependentRequired": {"warning_failures_left": ["critical"]},
    },
)


@dataclass(frozen=True)
class _Rules(Many):
    """The rules of a cluster, in their order."""

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> tuple[Any, ...]:
        """The rules, after a warning for each that never applies."""
        rules = super().read(reader, node, path)
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if len(rules) == len(nodes):  # none is wrong
            _warn_of_shadows(reader, nodes, rules)
        return rules


def _warn_of_shadows(reader: ConfigReader, nodes: Sequence[yaml.Node], rules: Sequence[Rule]) -> None:
    """Warn of rules that never apply, because earlier rules match everything that they match."""
    earlier: list[str] = []
    for node, rule in zip(nodes, rules, strict=True):
        covers = [next((other for other in earlier if _covers(other, pattern)), None) for pattern in rule.keyspaces]
        if all(covers):
            reader.warn(node, f"the rule for {', '.join(rule.keyspaces)} never applies: {covers[0]!r} comes first")
        earlier += rule.keyspaces


def _covers(wide: str, narrow: str) -> bool:
    """Whether a pattern certainly matches every name that another one matches; False if it is not certain."""
    return wide == narrow or (not set("?[") & set(wide) and fnmatchcase(narrow, wide))


MONITOR = _Rules(RULE)
