"""Types of scalar values: text, choices, flags, numbers and durations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ringcheck.config.reader import BOOL, INT, ValueType, Wrong, scalar, text
from ringcheck.core.durations import PATTERN, UNITS, seconds_of
from ringcheck.errors import RingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import yaml

    from ringcheck.config.reader import ConfigReader


@dataclass(frozen=True)
class Text(ValueType):
    """Text that passes a check.

    Attributes:
        what: its name in messages and in the documentation.
        check: makes the value from the text; raises ValueError, UsageError or RingError with what is wrong.
        pattern: a regular expression that editors check.
    """

    what: str = "text"
    check: Callable[[str], Any] = str
    pattern: str = r"\S"

    @property
    def name(self) -> str:  # type: ignore[override]  # depends on the instance
        """Its name in the documentation."""
        return self.what

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401, ARG002 - as the base
        """The value that the check makes from the text."""
        value = text(node, self.what, self.check)
        if not value.isprintable():
            raise Wrong(node, f"must be {self.what} in one line, not {value!r}")
        try:
            return self.check(value)
        except (ValueError, UsageError, RingError) as error:
            raise Wrong(node, str(error)) from None

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "pattern": self.pattern}


@dataclass(frozen=True)
class Choice(ValueType):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:  # type: ignore[override]  # depends on the instance
        """The words."""
        return " or ".join(f"`{word}`" for word in self.words)

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The word."""
        value = text(node, f"one of {', '.join(self.words)}", self._check)
        try:
            return self._check(value)
        except ValueError as error:
            raise Wrong(node, str(error)) from None

    def _check(self, value: str) -> str:
        if value not in self.words:
            raise ValueError(f"{value!r} is not one of {', '.join(self.words)}")
        return value

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.words)}


class Flag(ValueType):
    """true or false, but not the other words that YAML 1.1 has for them."""

    name = "true or false"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> bool:  # noqa: ARG002 - as the base
        """The value of the flag."""
        value = scalar(node, "true or false")
        if value not in {"true", "false"} or node.tag != BOOL:
            raise Wrong(node, f"must be true or false, not {value!r}")
        return value == "true"

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Number(ValueType):
    """A whole number in decimal."""

    least: int = 1
    most: int = 10**9
    name = "a whole number"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> int:  # noqa: ARG002 - as the base
        """The number."""
        value = scalar(node, "a whole number")
        if node.tag != INT or not re.fullmatch(r"0|-?[1-9][0-9]*", value):
            raise Wrong(node, f"must be a whole number, not {value!r}")
        if len(value) > len(str(self.most)) or not self.least <= int(value) <= self.most:
            raise Wrong(node, f"must be between {self.least} and {self.most}, not {value}")
        return int(value)

    def schema(self) -> dict[str, Any]:
        """An integer with bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Duration(ValueType):
    """A duration with its unit; bounds and value in seconds."""

    least: float = 0.001
    most: float = 30 * 86400.0
    name = "a duration such as 10s, 500ms, 5m or 1h"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> float:  # noqa: ARG002 - as the base
        """Seconds."""
        value = scalar(node, self.name)
        seconds = seconds_of(value)
        if seconds is None:
            hint = f": add a unit, such as {value}s" if re.fullmatch(r"[0-9.]+", value) else ""
            raise Wrong(node, f"must be {self.name}, not {value!r}{hint}")
        if not self.least <= seconds <= self.most:
            raise Wrong(node, f"must be between {_span(self.least)} and {_span(self.most)}, not {value}")
        return seconds

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "pattern": f"^{PATTERN}$"}


def _span(seconds: float) -> str:
    unit = next((unit for unit in ("d", "h", "m", "s") if seconds >= UNITS[unit]), "ms" if seconds else "s")
    return f"{seconds / UNITS[unit]:g}{unit}"
