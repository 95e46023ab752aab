"""How values are read from YAML nodes: kinds of values, and a reader that collects all errors of a file.

Scalars are read by their own text, not by YAML 1.1's ideas of it, for which `no` is false, `10:20` is 620 and `012`
is 10.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from stat import S_IROTH
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.errors import RingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

_STR, _INT, _BOOL, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "bool", "null"))


_PLAIN = re.compile(r"[\w/](?:[\w./:%+-]*[\w./%+-])?")  # plain in a flow too
_UNPRINTABLE = re.compile("[\x7f-\xa0\u2028\u2029\ufeff]")
LONGEST = 400  # characters of a message: what is wrong may be a megabyte


class Wrong(Exception):  # noqa: N818 - not an error that anybody meets: it carries one to the reader
    """What is wrong with a node."""

    def __init__(self, node: yaml.Node, text: str) -> None:
        super().__init__(text)
        self.node = node


class ConfigReader:
    """Reads the nodes of one file; errors are collected, with where they are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = Path(path).parent
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.shown: list[tuple[tuple[str, ...], str, str]] = []
        self.names: dict[tuple[str, ...], str] = {}  # where each name of the operator's choice stands

    def at(self, node: yaml.Node) -> str:
        """`file:line:column` of a node."""
        return f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def wrong(self, node: yaml.Node, text: str) -> None:
        """Note an error."""
        line = " ".join(text.split())
        self.errors.append(f"{self.at(node)}: {line if len(line) <= LONGEST else f'{line[:LONGEST]}...'}")

    def value(self, kind: ValueType, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - whatever the kind is of
        """A value of a kind, or None where it is none."""
        try:
            return kind.read(self, node, path)
        except Wrong as error:
            self.wrong(error.node, str(error))
            return None

    def pairs(self, node: yaml.Node, what: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """The keys and values of a mapping; keys are text and stand once."""
        if not isinstance(node, yaml.MappingNode):
            raise Wrong(node, f"{what} must be a mapping, not {_kind_of(node)}")
        found: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, f"a key of {what} must be text, not {_kind_of(key)}")
            elif key.value == "<<":
                self.wrong(key, "merge keys are not supported: write the values out")
            elif key.value in found:
                first = found[key.value][1].start_mark.line + 1
                self.wrong(key, f"key {key.value!r} stands here a second time (first in line {first})")
            else:
                found[key.value] = (key.value, key, value)
        return list(found.values())


def _kind_of(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag == _NULL and not _quoted(node) else f"{node.value!r}"


def _quoted(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.style)  # libyaml's loader says '' for plain ones


def near(word: str, known: Iterable[str]) -> str:
    """What may have been meant, or what there is."""
    names = list(known)
    word = word[:64]  # difflib takes seconds for a megabyte
    near = get_close_matches(word, names, 1) or get_close_matches(word.upper(), names, 1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"


class ValueType:
    """What a value may be: how it is read, its name in the documentation, its JSON Schema."""

    name = "text"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - of the subclass
        """The value.

        Raises:
            Wrong: with the node that is wrong.
        """
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """JSON Schema of what may be written."""
        return {"type": "string"}


def scalar(node: yaml.Node, what: str) -> str:
    """The text of a scalar, whatever YAML makes of it."""
    if not isinstance(node, yaml.ScalarNode) or (node.tag == _NULL and not _quoted(node)):
        raise Wrong(node, f"must be {what}, not {_kind_of(node)}")
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise Wrong(node, f"tags such as {node.tag} are not supported")
    return str(node.value)


def text(node: yaml.Node, what: str) -> str:
    """The text of a scalar that YAML reads as text too."""
    value = scalar(node, what)
    if node.tag != _STR:
        raise Wrong(node, f'must be {what}: YAML reads {value} as something else, write it in quotes: "{value}"')
    if not value.strip():
        raise Wrong(node, f"must be {what}, not empty")
    return value


@dataclass(frozen=True)
class Text(ValueType):
    """Text that a check accepts; the check raises ValueError or UsageError with the reason."""

    what: str = "text"
    check: Callable[[str], Any] = str
    pattern: str = r"\S"

    @property
    def name(self) -> str:  # type: ignore[override]  # said by the instance
        """As the documentation calls it."""
        return self.what

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401, ARG002 - as the base
        """The text, as its check makes it."""
        value = text(node, self.what)
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
    def name(self) -> str:  # type: ignore[override]  # said by the instance
        """The words."""
        return " or ".join(f"`{word}`" for word in self.words)

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """The word."""
        value = text(node, f"one of {', '.join(self.words)}")
        if value not in self.words:
            raise Wrong(node, f"{value!r} is not one of {', '.join(self.words)}")
        return value

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.words)}


class Flag(ValueType):
    """true or false; YAML 1.1's other words for them are refused."""

    name = "true or false"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> bool:  # noqa: ARG002 - as the base
        """The truth."""
        value = scalar(node, "true or false")
        if value not in {"true", "false"} or node.tag != _BOOL:
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
        if node.tag != _INT or not re.fullmatch(r"0|-?[1-9][0-9]*", value):
            raise Wrong(node, f"must be a whole number, not {value!r}")
        if len(value) > len(str(self.most)) or not self.least <= int(value) <= self.most:
            raise Wrong(node, f"must be between {self.least} and {self.most}, not {value}")
        return int(value)

    def schema(self) -> dict[str, Any]:
        """An integer with bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)"


@dataclass(frozen=True)
class Duration(ValueType):
    """A time with its unit; bounds and value in seconds."""

    least: float = 0.001
    most: float = 30 * 86400.0
    name = "a duration such as 10s, 500ms, 5m or 1h"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> float:  # noqa: ARG002 - as the base
        """Seconds."""
        value = scalar(node, self.name)
        found = re.fullmatch(_DURATION, value)
        if not found:
            hint = f": it needs a unit, {value}s?" if re.fullmatch(r"[0-9.]+", value) else ""
            raise Wrong(node, f"must be {self.name}, not {value!r}{hint}")
        seconds = float(found[1]) * _UNITS[found[2]]
        if not self.least <= seconds <= self.most:
            raise Wrong(node, f"must be between {_span(self.least)} and {_span(self.most)}, not {value}")
        return seconds

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "pattern": f"^{_DURATION}$"}


def _span(seconds: float) -> str:
    unit = next((unit for unit in ("d", "h", "m", "s") if seconds >= _UNITS[unit]), "ms" if seconds else "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


_CREDENTIALS = "$CREDENTIALS_DIRECTORY/"


@dataclass(frozen=True)
class File(ValueType):
    """A file that must be there; a secret one must not be open to everybody. The value is its absolute path."""

    secret: bool = False
    name = "a file"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """Its path."""
        file = self._path(reader, node)
        try:
            # Whether a pipe or a device can be opened shows only when it is, and what was in it is gone then.
            if not file.is_file() and file.stat():
                raise Wrong(node, f"{file} is not a regular file")
            with file.open("rb"):
                pass
        except OSError as error:
            raise Wrong(node, f"{file} can't be read: {error.strerror}") from None
        if self.secret:
            refuse_open(file, node)
        return str(file.absolute())

    def _path(self, reader: ConfigReader, node: yaml.Node) -> Path:
        """Relative to the file that says so; secrets may be where systemd's LoadCredential= puts them."""
        value = text(node, "a file")
        if "\0" in value:
            raise Wrong(node, f"must be a file, not {value!r}")
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        if value.startswith(_CREDENTIALS):
            if not credentials:
                raise Wrong(node, "CREDENTIALS_DIRECTORY is not set: systemd sets it for units with LoadCredential=")
            return Path(credentials) / value.removeprefix(_CREDENTIALS)
        if self.secret and credentials and "/" not in value and (Path(credentials) / value).exists():
            return Path(credentials) / value
        return reader.folder / value


def refuse_open(file: Path, node: yaml.Node) -> None:
    """Refuse a secret that everybody can read.

    Raises:
        Wrong: if everybody can.
    """
    if file.stat().st_mode & S_IROTH:
        raise Wrong(node, f"{file} is a secret and can be read by everybody: chmod o-r it")


class NewFile(ValueType):
    """A file that need not be there yet, in a folder that is. The value is its absolute path."""

    name = "a file, which need not be there"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> str:  # noqa: ARG002 - as the base
        """Its path."""
        file = reader.folder / text(node, "a file")
        if "\0" in str(file) or not file.parent.is_dir():
            raise Wrong(node, f"there is no folder {str(file.parent)!r}")
        return str(file.absolute())


@dataclass(frozen=True)
class Many(ValueType):
    """A list, or one value that stands for a list of one."""

    of: ValueType

    @property
    def name(self) -> str:  # type: ignore[override]  # said by the instance
        """A list of what."""
        return f"a list of: {self.of.name}"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> tuple[Any, ...]:
        """The values."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not nodes:
            raise Wrong(node, "must not be empty")
        found = [reader.value(self.of, one, (*path, str(place))) for place, one in enumerate(nodes)]
        return tuple(one for one in found if one is not None)

    def schema(self) -> dict[str, Any]:
        """A value or an array."""
        one = self.of.schema()
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


@dataclass(frozen=True)
class ConfigKey:
    """One key of a section.

    Attributes:
        kind: of its value.
        doc: one sentence for the documentation.
        default: as YAML; empty if there is none.
        required: whether it must stand.
        default_with: another key, and the default where that one stands.
        implied: of a section whose defaults are in force where it does not stand.
    """

    kind: ValueType
    doc: str
    default: str = ""
    required: bool = False
    default_with: tuple[str, str] | None = None
    implied: bool = False


@dataclass(frozen=True)
class Section(ValueType):
    """A mapping with known keys.

    Attributes:
        what: its name in messages.
        keys: by name.
        build: makes the value, and raises Wrong where keys don't go together.
        also: JSON Schema of what `build` refuses.
    """

    what: str
    keys: Mapping[str, ConfigKey]
    build: Callable[[ConfigReader, yaml.Node, dict[str, Any]], Any]
    also: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:  # type: ignore[override]  # said by the instance
        """A mapping."""
        return "a mapping"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - what it builds
        """What is built of the values."""
        pairs = reader.pairs(node, self.what)
        values: dict[str, Any] = {}
        before = len(reader.errors)
        for name, key_node, value_node in pairs:
            if name not in self.keys:
                reader.wrong(key_node, f"unknown key {name!r} in {self.what} ({near(name, self.keys)})")
                continue
            values[name] = reader.value(self.keys[name].kind, value_node, (*path, name))
            _show(reader, self.keys[name].kind, value_node, (*path, name), values[name])
        for name, key in self.keys.items():
            if key.required and name not in {name for name, _, _ in pairs}:
                reader.wrong(node, f"{self.what} needs the key {name!r}")
        self.show_defaults(reader, path, values)
        return None if len(reader.errors) > before else self.build(reader, node, values)

    def show_defaults(self, reader: ConfigReader, path: tuple[str, ...], present: Collection[str]) -> None:
        """Note the defaults that are in force where keys are absent."""
        for name, key in self.keys.items():
            if name in present:
                continue
            if key.implied and isinstance(key.kind, Section):
                key.kind.show_defaults(reader, (*path, name), ())
            elif key.default:
                default = key.default_with[1] if key.default_with and key.default_with[0] in present else key.default
                reader.shown.append(((*path, name), default, "default"))

    def schema(self) -> dict[str, Any]:
        """An object without other keys."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name, key in self.keys.items() if key.required],
            "properties": {name: {"description": key.doc, **key.kind.schema()} for name, key in self.keys.items()},
            **self.also,
        }


@dataclass(frozen=True)
class Named(ValueType):
    """A mapping whose keys are names of the operator's choice.

    Attributes:
        what: its name in messages.
        of: the kind of its values.
        pattern: of the names, whole.
        says: what the pattern says.
    """

    what: str
    of: ValueType
    pattern: str
    says: str
    name = "a mapping by name"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> dict[str, Any]:
        """Values by name."""
        pairs = reader.pairs(node, self.what)
        if not pairs:
            raise Wrong(node, f"{self.what} must not be empty")
        found: dict[str, Any] = {}
        for name, key_node, value in pairs:
            if key_node.tag != _STR:
                reader.wrong(key_node, f'YAML reads {name} as something else: write it in quotes: "{name}"')
            elif not re.fullmatch(self.pattern, name):
                reader.wrong(key_node, f"{name!r} can't be {self.says}")
            reader.names[*path, name] = reader.at(key_node)
            found[name] = reader.value(self.of, value, (*path, name))
            _show(reader, self.of, value, (*path, name), found[name])
        return found

    def schema(self) -> dict[str, Any]:
        """An object of any keys."""
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^(?:{self.pattern})$"},
            "additionalProperties": self.of.schema(),
        }


def _show(reader: ConfigReader, kind: ValueType, node: yaml.Node, path: tuple[str, ...], value: object) -> None:
    """Note a value and its line; of sections the values in them are noted, each with its own."""
    if isinstance(kind, Section | Named) or (isinstance(kind, Many) and isinstance(kind.of, Section)):
        return
    if reader.shown and reader.shown[-1][0][:-1] == path:
        return  # a threshold with its parts
    shown = _plain(str(value)) if isinstance(kind, File | NewFile) else _written(node)
    reader.shown.append((path, shown, f"{reader.path}:{node.start_mark.line + 1}"))


def _written(node: yaml.Node) -> str:
    """A value in one line that YAML reads as the same."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_written(one) for one in node.value)}]"
    if isinstance(node, yaml.MappingNode):
        return f"{{{', '.join(f'{_written(key)}: {_written(value)}' for key, value in node.value)}}}"
    return _in_quotes(node.value) if _quoted(node) else _plain(node.value)


def _plain(value: str) -> str:
    """Text as it may stand in a flow, in quotes where it must."""
    return value if _PLAIN.fullmatch(value) else _in_quotes(value)


def _in_quotes(value: str) -> str:
    """Text in double quotes; what YAML would fold or refuse is escaped."""
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
