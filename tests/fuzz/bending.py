"""Changes JSON at random: swapped types, huge sizes, depths and numbers, attacks with text, and mutated bytes."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

TEXTS = (
    "",
    "\x1b]0;owned\x07\x1b[2J",
    "\u202egnp.exe\u2066",
    "a\ud800b",
    "\udfff",
    "\x00",
    "\r\n| perf=1;;;0\nOK - all is well",
    "<script>alert(1)</script>",
    "{{7*7}}${jndi:ldap://x}",
    "\u0663\u0664",
    "-" * 300,
    "x" * 5000,
    "\u0301" * 300,
    "\U0001f600" * 2000,
    "9" * 5000,
    "-9223372036854775809",
    "1e999",
    "[" * 500,
    "%s%n{0}",
    "10.0.0.1%" + "z" * 600,
    "::ffff:127.0.1.1",
    "127.0.1.3:99999",
    "[Object limit exceeded]",
    "UNREACHABLE",
    "null",
)
NUMBERS: tuple[Any, ...] = (
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**38,
    10**300,
    1.5,
    -0.0,
    1e308,
    float("inf"),
    float("nan"),
)


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def hostile(random: Random) -> Any:
    """A value of any type, most of which never occur in an answer."""
    make: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: random.random() < 0.5,
        lambda: random.choice(NUMBERS),
        lambda: random.choice(NUMBERS),
        lambda: random.choice(TEXTS),
        lambda: random.choice(TEXTS),
        lambda: random.choice(TEXTS),
        list,
        dict,
        lambda: [hostile(random)],
        lambda: {random.choice(TEXTS): hostile(random)},
        lambda: [random.choice(TEXTS)] * random.choice((2, 50)),
        lambda: {f"[{random.choice(TEXTS)[:50]}, {number}]": [] for number in range(3)},
        lambda: nested(random.choice((5, 31, 33, 200))),
        lambda: [[]] * random.choice((1000, 30_000)),
    )
    return random.choice(make)()


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a tree except the tree itself, and except requests that a reply repeats."""
    keys: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    keys = [key for key in keys if key != "request"]
    return [found for key in keys for found in ((*path, key), *paths(value[key], (*path, key)))]


def swapped(tree: Any, random: Random) -> Any:
    """The tree with some values, or keys, replaced by others of any type."""
    bent = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        places = paths(bent)
        if not places:
            return hostile(random)
        *parents, last = random.choice(places)
        parent = bent
        for key in parents:
            parent = parent[key]
        way = random.random()
        if way < 0.1:
            del parent[last]
        elif way < 0.2 and isinstance(parent, dict):
            parent[random.choice(TEXTS)] = parent.pop(last)
        elif way < 0.3 and isinstance(parent[last], str):
            at = random.randrange(len(parent[last]) + 1)
            parent[last] = parent[last][:at] + random.choice(TEXTS) + parent[last][at:]
        else:
            parent[last] = hostile(random)
    return bent


def written(tree: Any) -> bytes:
    """JSON, with numbers of any length and with escapes for half a surrogate pair."""
    return json.dumps(tree, separators=(",", ":")).encode()


def renamed(tree: Any, names: dict[str, str]) -> Any:
    """The tree with names replaced within all its texts."""
    if isinstance(tree, str):
        for name, other in names.items():
            tree = tree.replace(name, other)
        return tree
    if isinstance(tree, list):
        return [renamed(item, names) for item in tree]
    if isinstance(tree, dict):
        return {renamed(key, names): renamed(item, names) for key, item in tree.items()}
    return tree


def mutated(body: bytes, random: Random) -> bytes:
    """The bytes with some of them changed, removed, repeated or cut off."""
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randrange(len(body) + 1)
        piece = random.choice(
            (
                bytes([random.randrange(256)]),
                b'"',
                b"\\",
                rb"\ud800",
                b"[" * 2000,
                b"[]," * 20_000,
                b"9" * 5000,
                b"-1e9999999999",
                b"\x00",
                b"\xff\xfe",
                b"}",
                b",",
                body[at : at + 50] * 3,
            )
        )
        gone = random.choice((0, 0, 1, 1, len(piece), 40))
        body = body[:at] + piece + body[at + gone :] if random.random() < 0.8 else body[:at] + body[at + 1 + gone :]
        if random.random() < 0.05:
            body = body[:at]
    return body


def bomb(random: Random) -> bytes:
    """A body whose only property is that it is large."""
    return random.choice(
        (
            b"",
            b"[" * 100_000,
            b"[" + b"[]," * 400_000 + b"1]",
            b'{"status":200,"value":{' + b'"[1, 2]":[],' * 150_000,
            b'{"status":200,"value":{"a":["' + b"x" * 2_000_000 + b'"]}}',
            b'{"status":200,"value":{"[1, 2]":[' + b'"127.0.1.1",' * 200_000 + b'"x"]}}',
            b'{"status":200,"value":{},"x":' + b"9" * 2_000_000 + b"}",
            b'{"status":200,"value":' + b"9" * 5000 + b"}",
            b'{"status":200,"value":"' + rb"\ud800" * 200_000 + b'"}',
            b'{"status":200,"value":"' + b"x\\n" * 400_000 + b'"}',
            b" " * 2_000_000,
            b"<html>" * 5000,
            b"9" * 5000,
        )
    )
