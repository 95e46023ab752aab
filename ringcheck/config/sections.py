"""Types of values that contain others: lists, sections with known keys, and mappings by name.

While they read, they note each value that is in force with the line that sets it, for `config show`.
"""

from __future__ import annotations

import json
import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.config.files import File, NewFile, StateFile
from ringcheck.config.reader import STR, ValueType, Wrong, is_quoted, near

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ringcheck.config.reader import ConfigReader

_PLAIN = re.compile(r"[\w/](?:[\w./:%+-]*[\w./%+-])?")  # needs no quotes, not even within [...] or {...}
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff]")


@dataclass(frozen=True)
class Many(ValueType):
    """A list of values; a single value stands for a list of one."""

    of: ValueType

    @property
    def name(self) -> str:  # type: ignore[override]  # depends on the instance
        """Its name in the documentation."""
        return f"a list of: {self.of.name}"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> tuple[Any, ...]:
        """The values."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not nodes:
            raise Wrong(node, "must not be empty")
        values = [reader.value(self.of, item, (*path, str(index))) for index, item in enumerate(nodes)]
        return tuple(value for value in values if value is not None)

    def schema(self) -> dict[str, Any]:
        """A value or an array."""
        item = self.of.schema()
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


@dataclass(frozen=True)
class ConfigKey:
    """One key of a section.

    Attributes:
        value_type: of its value.
        doc: its description in the documentation.
        default: as YAML; empty if there is none.
        required: whether the key must be present.
        default_with: another key, and the default that holds if that key is present.
        implied: for a section: whether its defaults are in force if it is absent.
    """

    value_type: ValueType
    doc: str
    _: KW_ONLY
    default: str = ""
    required: bool = False
    default_with: tuple[str, str] | None = None
    implied: bool = False


@dataclass(frozen=True, kw_only=True)
class Section(ValueType):
    """A mapping with known keys.

    Attributes:
        what: its name in messages.
        keys: by name.
        build: makes the value from the reader, the node and the values by key; raises Wrong for a wrong combination. It
            is called only if all values are right.
        conflicts: everything that is wrong with the names of the keys that are present, whatever their values.
        also: JSON Schema for the combinations that `build` and `conflicts` refuse.
    """

    what: str
    keys: Mapping[str, ConfigKey]
    build: Callable[[ConfigReader, yaml.Node, dict[str, Any]], Any]
    conflicts: Callable[[frozenset[str]], Iterable[str]] = lambda _present: ()
    also: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:  # type: ignore[override]  # depends on the instance
        """A mapping."""
        return "a mapping"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - what it builds
        """What `build` makes; None if a part is wrong."""
        pairs = reader.pairs(node, self.what)
        before = len(reader.errors)  # a repeated key is an error, but does not hide the errors that `build` finds
        values: dict[str, Any] = {}
        for name, key_node, value_node in pairs:
            if name in self.keys:
                values[name] = self._value(reader, name, value_node, path)
            else:
                reader.wrong(key_node, f"unknown key {name!r} in {self.what} ({near(name, self.keys)})")
        present = frozenset(name for name, _, _ in pairs)
        for name in (name for name, key in self.keys.items() if key.required and name not in present):
            reader.wrong(node, f"{self.what} needs the key {name!r}")
        if present <= self.keys.keys():  # a key that is not known may be meant as one that is missing
            for conflict in self.conflicts(present):
                reader.wrong(node, conflict)
        self.show_defaults(reader, path, values)
        return None if len(reader.errors) > before else self.build(reader, node, values)

    def _value(self, reader: ConfigReader, name: str, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - of the key's type
        value_type = self.keys[name].value_type
        value = reader.value(value_type, node, (*path, name))
        _show(reader, value_type, node, (*path, name), value)
        return value

    def show_defaults(self, reader: ConfigReader, path: tuple[str, ...], present: Collection[str]) -> None:
        """Note the defaults of the keys that are absent."""
        for name, key in self.keys.items():
            if name in present:
                continue
            if key.implied and isinstance(key.value_type, Section):
                key.value_type.show_defaults(reader, (*path, name), ())
            elif key.default:
                default = key.default_with[1] if key.default_with and key.default_with[0] in present else key.default
                reader.shown.append(((*path, name), default, "default"))

    def schema(self) -> dict[str, Any]:
        """An object with these keys only."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name, key in self.keys.items() if key.required],
            "properties": {
                name: {"description": key.doc, **key.value_type.schema()} for name, key in self.keys.items()
            },
            **self.also,
        }


@dataclass(frozen=True, kw_only=True)
class Named(ValueType):
    """A mapping whose keys are names that the operator chooses.

    Attributes:
        what: its name in messages.
        of: the type of its values.
        pattern: a regular expression that matches a whole name.
        names: what a name is, for messages: "a cluster's name".
        check: makes the canonical form of a name; raises ValueError with what is wrong.
    """

    what: str
    of: ValueType
    pattern: str
    names: str
    check: Callable[[str], str] = str
    name = "a mapping by name"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> dict[str, Any]:
        """Values by name."""
        pairs = reader.pairs(node, self.what)
        if not pairs:
            raise Wrong(node, f"{self.what} must not be empty")
        values: dict[str, Any] = {}
        for name, key_node, value_node in pairs:
            if key_node.tag != STR:
                reader.wrong(key_node, f'YAML reads {name} as something else: write it in quotes: "{name}"')
            elif not re.fullmatch(self.pattern, name):
                reader.wrong(key_node, f"{name!r} can't be {self.names}")
            reader.names[*path, name] = reader.at(key_node)
            value = reader.value(self.of, value_node, (*path, name))
            _show(reader, self.of, value_node, (*path, name), value)
            self._add(reader, key_node, values, value)
        return values

    def _add(self, reader: ConfigReader, node: yaml.Node, values: dict[str, Any], value: object) -> None:
        """Add a value under its canonical name; a second spelling of a name is an error."""
        try:
            name = self.check(node.value)
        except ValueError as error:
            name = node.value
            reader.wrong(node, str(error))
        if name in values:
            reader.wrong(node, f"{node.value} and another key of {self.what} are both {name}")
        values[name] = value

    def schema(self) -> dict[str, Any]:
        """An object with any such names as keys."""
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^(?:{self.pattern})$"},
            "additionalProperties": self.of.schema(),
        }


def _show(reader: ConfigReader, value_type: ValueType, node: yaml.Node, path: tuple[str, ...], value: object) -> None:
    """Note a value and its line; the values within a section have been noted by themselves."""
    if isinstance(value_type, Section | Named) or (isinstance(value_type, Many) and isinstance(value_type.of, Section)):
        return
    if reader.shown and reader.shown[-1][0][:-1] == path:
        return  # a threshold that was read as a section
    shown = _plain(str(value)) if isinstance(value_type, File | NewFile | StateFile) else _written(node)
    reader.shown.append((path, shown, f"{reader.path}:{node.start_mark.line + 1}"))


def _written(node: yaml.Node) -> str:
    """The value on one line, in a form that YAML reads as the same value."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_written(item) for item in node.value)}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{_written(key)}: {_written(value)}' for key, value in node.value)}}}"
    return _in_quotes(node.value) if is_quoted(node) else _plain(node.value)


def _plain(value: str) -> str:
    """Text for use within [...] or {...}, in quotes if it needs them."""
    return value if _PLAIN.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    """Text in double quotes; characters that YAML would fold or refuse are escaped."""
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))
