"""Makes YAML nodes from the bytes of a file.

Refuses what must not reach the parser's composer: files that are too large, are not text, or are nested too deeply.
libyaml's composer recurses on the C stack, so 100 KB of brackets would end the process. Therefore the events of the
parser, which come one by one, are checked first. Knows nothing of keys.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = 1024 * 1024
MOST_VALUES = 100_000  # with all aliases expanded: a few lines of aliases can stand for billions of values
DEEPEST = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.1, 5.1
_HINTS = {
    "\t": "indent with spaces, not with a tab",
    "*": 'write "*" in quotes',
    "%": "write what begins with % in quotes",
    "@": "write what begins with @ in quotes",
    "`": "write what begins with ` in quotes",
}


class UnreadableError(Exception):
    """What is wrong with a file, and where; line and column count from 1. Without a line, the whole file is meant."""

    def __init__(self, text: str, line: int | None = None, column: int = 1) -> None:
        super().__init__(f"{line}:{column}: {text}" if line else f" {text}")


def node_of(path: str) -> yaml.Node:
    """The top node of a file.

    Raises:
        UnreadableError: if the file can't be read, is not YAML, or is too large.
    """
    text = _text(_bytes(path))
    try:
        _Check().events(yaml.parse(text, Loader=_LOADER))
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        _refuse_earlier(error, text)
        raise _not_yaml(error, text) from None
    except yaml.YAMLError as error:
        raise UnreadableError(f"not YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise UnreadableError("is empty")
    return node


def _bytes(path: str) -> bytes:
    """The bytes of a file, which may be a pipe: `-C <(generate)`."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}") from None
    except ValueError:  # a NUL in the name
        raise UnreadableError("can't be read: the name has a NUL character") from None
    if len(data) > MOST_BYTES:
        raise UnreadableError("larger than 1 MiB, which is too large for a configuration")
    return data


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableError(f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}", line) from None
    match = _CONTROL.search(text)
    if match:
        line, column = _line_and_column(text, match.start())
        raise UnreadableError(f"the character {ord(match[0]):#04x} is not allowed", line, column)
    return text


def _line_and_column(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


def _refuse_earlier(error: yaml.MarkedYAMLError, text: str) -> None:
    """Raise an error of this module that comes earlier in the text than an error of the parser, if there is one.

    The parser scans up to 1,024 characters ahead, so it can meet its own limits (libyaml 0.2.6 allows 1,000 open
    brackets) before it reports the earlier events. Its limits and messages differ between releases, ours do not.
    """
    if error.problem_mark is not None:
        with contextlib.suppress(yaml.YAMLError):  # the text up to the mark ends within a value
            _Check().events(yaml.parse(text[: error.problem_mark.index], Loader=_LOADER))


def _not_yaml(error: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    alias = error.context == "while scanning an alias"  # the problem mark follows the asterisk
    mark = error.context_mark if alias else error.problem_mark or error.context_mark
    problem = " ".join(f"{error.problem or error.context}".split())
    if mark is None:
        return UnreadableError(f"not YAML: {problem}")
    if error.problem == "but found another document":
        return UnreadableError(
            "a second YAML document begins here, but a configuration is a single document",
            mark.line + 1,
            mark.column + 1,
        )
    return UnreadableError(f"not YAML: {_hint(text, mark) or problem}", mark.line + 1, mark.column + 1)


def _hint(text: str, mark: yaml.Mark) -> str | None:
    """What to do about the character at a mark, if that is a common mistake."""
    line = "".join(text.splitlines()[mark.line : mark.line + 1])
    return _HINTS.get(line[mark.column : mark.column + 1])


@dataclass
class _Open:
    """A collection that is being read: its anchor, and the number of its values so far, itself included."""

    anchor: str | None
    values: int = 1


@dataclass
class _Check:
    """Checks all events of a file.

    Attributes:
        sizes: number of values by anchor, aliases expanded.
        stack: the collections that are open, the innermost last.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    stack: list[_Open] = field(default_factory=lambda: [_Open(None)])

    def events(self, events: Iterable[yaml.Event]) -> None:
        """Refuse values that are too deep or too many, and tags: the type of a value follows from its key."""
        for event in events:
            if isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
                self._node(event)

    def _node(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise _at(event, f"tags such as {event.tag} are not supported")
        self.stack.append(_Open(event.anchor))
        if len(self.stack) > DEEPEST:
            raise _at(event, "is nested too deeply")
        if isinstance(event, yaml.ScalarEvent):
            self._close()

    def _alias(self, event: yaml.AliasEvent) -> None:
        if any(collection.anchor == event.anchor for collection in self.stack):
            raise _at(event, f"the alias *{event.anchor} is used within its own value")
        self.stack[-1].values += self.sizes.get(event.anchor or "", 1)
        if sum(collection.values for collection in self.stack) > MOST_VALUES:
            raise _at(event, f"more than {MOST_VALUES} values with all aliases expanded")

    def _close(self) -> None:
        done = self.stack.pop()
        self.stack[-1].values += done.values
        if done.anchor:
            self.sizes[done.anchor] = done.values


def _at(event: yaml.Event, text: str) -> UnreadableError:
    mark = event.start_mark
    return UnreadableError(text, mark.line + 1, mark.column + 1) if mark else UnreadableError(text)
