"""How the values of one file are read from its YAML nodes, with all errors collected.

A `ValueType` reads a node; a `ConfigReader` goes through the nodes of a file and collects what is wrong. Scalars are
read from their own text and not from YAML 1.1's interpretation, in which `no` is false, `10:20` is 620 and `012` is 10.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ringcheck.errors import RingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STR, INT, BOOL, NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "bool", "null"))
"""Tags that YAML 1.1 gives to plain scalars."""

LONGEST = 400  # characters of a message; a wrong value may be a megabyte


class Wrong(Exception):  # noqa: N818 - not an error for users: the reader catches it and collects its text
    """A mistake in a node: what it is, and the node."""

    def __init__(self, node: yaml.Node, text: str) -> None:
        super().__init__(text)
        self.node = node


class ValueType:
    """The type of a value: how it is read, its name in the documentation, its JSON Schema."""

    name = "text"

    def read(self, reader: ConfigReader, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - of the subclass
        """The value of a node.

        Args:
            reader: of the file, for errors in parts of the value.
            node: to read.
            path: of keys that leads to the node.

        Raises:
            Wrong: if the node has no such value.
        """
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """JSON Schema of what may be written."""
        return {"type": "string"}


class ConfigReader:
    """Reads the nodes of one file.

    Attributes:
        errors: what is wrong, each beginning with `file:line:column:`.
        warnings: what is allowed but should be known, in the same form.
        shown: the values in force: path, text, and the line that sets it or `default`.
        names: `file:line:column` of each name that the operator chose, by its path.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = Path(path).parent
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.shown: list[tuple[tuple[str, ...], str, str]] = []
        self.names: dict[tuple[str, ...], str] = {}

    def at(self, node: yaml.Node) -> str:
        """`file:line:column` of a node."""
        return f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def wrong(self, node: yaml.Node, text: str) -> None:
        """Add an error."""
        line = " ".join(text.split())
        self.errors.append(f"{self.at(node)}: {line if len(line) <= LONGEST else f'{line[:LONGEST]}...'}")

    def warn(self, node: yaml.Node, text: str) -> None:
        """Add a warning."""
        self.warnings.append(f"{self.at(node)}: {text}")

    def value(self, value_type: ValueType, node: yaml.Node, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - of the type
        """A value of a type; None, and an error, if the node has none."""
        try:
            return value_type.read(self, node, path)
        except Wrong as error:
            self.wrong(error.node, str(error))
            return None

    def pairs(self, node: yaml.Node, what: str) -> list[tuple[str, yaml.Node, yaml.Node]]:
        """The keys and values of a mapping: name, node of the key, node of the value. Other keys are errors.

        Raises:
            Wrong: if the node is not a mapping.
        """
        if not isinstance(node, yaml.MappingNode):
            raise Wrong(node, f"{what} must be a mapping, not {_described(node)}")
        pairs: dict[str, tuple[str, yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.wrong(key, f"a key of {what} must be text, not {_described(key)}")
            elif key.value == "<<":
                self.wrong(key, "merge keys are not supported: write the values out")
            elif key.value in pairs:
                first = pairs[key.value][1].start_mark.line + 1
                self.wrong(key, f"duplicate key {key.value!r} (first in line {first})")
            else:
                pairs[key.value] = (key.value, key, value)
        return list(pairs.values())


def child(node: yaml.Node, key: str) -> yaml.Node:
    """The node of a key's value in a mapping; the mapping itself if it does not have the key."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), node)


def _described(node: yaml.Node) -> str:
    """The name of the node in messages."""
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if node.tag == NULL and not is_quoted(node) else f"{node.value!r}"


def is_quoted(node: yaml.Node) -> bool:
    """Whether a node is text in quotes or in a block."""
    return isinstance(node, yaml.ScalarNode) and bool(
        node.style
    )  # the style of plain scalars is '' with libyaml, else None


def near(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: a similar known word, or all of them."""
    names = list(known)
    word = word[:64]  # difflib takes seconds for a megabyte
    similar = get_close_matches(word, names, 1) or get_close_matches(word.upper(), names, 1)
    return f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(names)}"


def scalar(node: yaml.Node, what: str) -> str:
    """The text of a scalar, however YAML interprets it; `what` is what a message calls the value."""
    if not isinstance(node, yaml.ScalarNode) or (node.tag == NULL and not is_quoted(node)):
        raise Wrong(node, f"must be {what}, not {_described(node)}")
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise Wrong(node, f"tags such as {node.tag} are not supported")
    return str(node.value)


def text(node: yaml.Node, what: str, check: Callable[[str], object] = str) -> str:
    """The text of a scalar that YAML interprets as text too, and that is not blank.

    Args:
        node: to read.
        what: what a message calls the value.
        check: raises what is wrong with a text: quotes are advised only if nothing else is wrong.
    """
    value = scalar(node, what)
    if node.tag != STR:
        try:
            check(value)
        except (ValueError, UsageError, RingError) as error:
            raise Wrong(node, str(error)) from None
        raise Wrong(node, f'must be {what}: YAML reads {value} as something else, write it in quotes: "{value}"')
    if not value.strip():
        raise Wrong(node, f"must be {what}, not empty")
    return value
