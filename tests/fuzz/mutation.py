"""Changes that know an input's structure, so that what is tried gets behind the parser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

INTEGERS = (
    -1, 0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 127, 255, 256, 4095, 4096, 65535, 65536,
    1 << 20, 1 << 26, 1 << 28, 1 << 31, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, 1 << 64,
    10**40, -(1 << 31), -(1 << 63),
)  # fmt: skip
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, 3e38, 1e-45, 1e15, 2.0**53)
WORDS = ("", " ", "x", "\0", "\x1b[2J", "é", "\n", "nan", "1e999", "../../x", "a" * 300, "\ud7ff")

Place = tuple[Any, Any]
"""A container and a key or index in it."""


def of_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with some values changed, doubled, moved or taken out."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data
    box = [tree]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        change(box, rng)
    return json.dumps(box[0], separators=(",", ":")).encode("utf-8", "surrogatepass")


def change(box: list[Any], rng: random.Random) -> None:
    """One value somewhere in the tree that `box` holds."""
    found = list(places(box))
    holder, key = rng.choice(found)
    kind = rng.randrange(8)
    if kind < 4:
        holder[key] = another(holder[key], rng)
    elif kind == 4:
        other, at = rng.choice(found)
        holder[key] = json.loads(json.dumps(other[at]))
    elif kind == 5 and isinstance(holder, list) and holder is not box:
        holder.insert(key, json.loads(json.dumps(holder[key])))
    elif kind == 6 and holder is not box:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rng.choice((*WORDS, "kind", "shape"))] = holder[key]


def places(node: Any, depth: int = 0) -> Any:
    """Of every value within a tree."""
    keys: Sequence[Any] = ()
    if isinstance(node, dict):
        keys = list(node)
    elif isinstance(node, list):
        keys = range(len(node))
    for key in keys:
        yield node, key
        if depth < 50:
            yield from places(node[key], depth + 1)


def another(value: Any, rng: random.Random) -> Any:
    """A value that may stand where `value` does, mostly of its type."""
    if rng.randrange(12) == 0:
        return rng.choice((None, True, [], {}, "x", 1, 1.5, [[]], {"a": 1}))
    match value:
        case bool():
            return not value
        case int():
            near = value + rng.choice((-2, -1, 1, 2)), value * 2, value // 2, -value
            return rng.choice(
                (*near, rng.choice(INTEGERS), rng.randrange(1 << rng.randrange(1, 40)))
            )
        case float():
            return rng.choice((*REALS, value * 2, -value, value / 3))
        case str():
            return rng.choice((*WORDS, value + value[:3], value[1:], value[::-1], value.upper()))
        case list():
            return rng.choice((value * 2, value[:-1], value[::-1], value * rng.choice((16, 400))))
        case _:
            return rng.choice((value, None, rng.choice(INTEGERS)))


def of_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut out, put in, or repeated."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(5):
            case 0 if made:
                made[at % len(made)] = rng.randrange(256)
            case 1:
                del made[at : at + rng.choice((1, 2, 4, 64))]
            case 2:
                made[at:at] = rng.randbytes(rng.choice((1, 2, 4, 8)))
            case 3:
                made[at : at + 4] = rng.choice(INTEGERS[:24]).to_bytes(16, "little", signed=True)[
                    :4
                ]
            case _:
                made[at:at] = made[at : at + rng.choice((4, 16, 64))]
    return bytes(made)


def of_lines(
    data: bytes, rng: random.Random, line: Callable[[bytes, random.Random], bytes]
) -> bytes:
    """A text with a line changed by `line`, or lines swapped, doubled or taken out."""
    rows = data.split(b"\n")
    at, to = rng.randrange(len(rows)), rng.randrange(len(rows))
    match rng.randrange(5):
        case 0:
            rows[at], rows[to] = rows[to], rows[at]
        case 1:
            rows.insert(to, rows[at])
        case 2:
            del rows[at]
        case _:
            rows[at] = line(rows[at], rng)
    return b"\n".join(rows)


TOKENS = (
    b"1" * 5000, b"[" * 3000, b"{" * 3000, b"[[", b"[", b"]", b'"', b"'", b'"""', b"=", b".", b",",
    b";", b"\t", b"\r", b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"-1", b"0", b"1e999", b"nan",
    b"inf", b"0x", b"1979-05-27", b"\\uD800", b"#", b"=1\n", b"../", b"/dev/null",
    "\u0663".encode(), "\u00b2".encode(), b"9" * 30,
)  # fmt: skip


def of_text(data: bytes, rng: random.Random) -> bytes:
    """A text with tokens put in or in place of others, lines moved, bytes changed."""
    kind = rng.randrange(4)
    if kind == 0:
        return of_lines(data, rng, of_bytes)
    if kind == 1:
        return of_bytes(data, rng)
    at = rng.randrange(len(data) + 1)
    end = at + rng.choice((0, 0, 1, 3, 10))
    return data[:at] + rng.choice(TOKENS) + data[end:]
