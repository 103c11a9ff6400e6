"""Calls of kernels with something wrong, made from right ones.

What decides how much memory a kernel touches is checked: dtypes, shapes, public integers, overlaps.
Of values that is done for public ones alone: those of secrets are the caller's part, and decide
nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Call = dict[str, Any]

INTEGERS = (
    *(-(2**70), -(2**63), -(2**31) - 1, -257, -1, 0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 33, 56, 57, 60),
    *(61, 63, 64, 65, 255, 256, 2**30, 2**40 + 1, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64),
)
"""Around every limit that a kernel has. Between 256 and 2^40 a number of results can be right and
take minutes: see `UNHURRIED`.
"""
NOTHINGS: tuple[object, ...] = (None, "1", 1.5, [], object())
DTYPES = tuple(map(np.dtype, ("?", "i1", "u1", "u2", "i4", "u4", "i8", "u8", "f8", ">u8")))
UNHURRIED = {"nbytes": 2**30, "count": 2**30, "length": 2**30}
"""Integers that are right and would have gigabytes made."""
PUBLIC = {
    "primes": (0, 1, 2, 2**30, 2**32 - 1),
    "inverses": (2**30, 2**32 - 1),
    "shifts": (2, 4, 16, 255),
    "elements": (16, 255),
    "holes": (32, 2**16 - 1),
}
"""Values of arrays that are checked, or, as holes of noise, do nothing."""
TARGETS = ("target", "rows", "sums")


def wrong_calls(call: Call) -> Iterator[tuple[str, Call]]:
    """What is wrong, and the call. Some are right all the same: fewer elements where any number
    will do, another width of a field.
    """
    for name, value in call.items():
        for what, other in variants(name, value):
            yield f"{name} {what}", {**call, name: other}
        if isinstance(value, np.ndarray):
            yield from overlaps(call, name)
    yield from extents(call)


def variants(name: str, value: object) -> Iterator[tuple[str, object]]:
    """Other values for one argument."""
    for nothing in NOTHINGS:
        if not (nothing is None and name in ("added", "pool")):
            yield f"is {nothing!r:.20}", nothing
    if isinstance(value, np.ndarray):
        yield from arrays(value)
        for bad in PUBLIC.get(name, ()) if value.size else ():
            held = value.copy()
            held.flat[-1] = bad
            yield f"holds {bad}", held
    elif isinstance(value, list):
        yield from sequences(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        near = (value - 1, value + 1)
        yield from (
            (f"is {x}", x) for x in (*INTEGERS, *near) if x != value and x != UNHURRIED.get(name)
        )


def arrays(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Another dtype, another shape, another place in memory."""
    for dtype in DTYPES:
        if dtype != array.dtype:
            with np.errstate(invalid="ignore"):  # a float's value that the dtype does not have
                yield f"of {dtype.str}", array.astype(dtype)
    yield "of no dimension", np.array(1, array.dtype)
    yield "of one dimension more", array[None].copy()
    flat = array.reshape(*array.shape[:-2], -1) if array.size else array
    yield "of one dimension less", flat
    for axis in range(array.ndim):
        yield f"empty along {axis}", np.take(array, [], axis=axis)
        if array.shape[axis]:
            yield f"short along {axis}", np.delete(array, -1, axis=axis)
            yield f"long along {axis}", np.concatenate([array, np.take(array, [0], axis)], axis)
    if array.itemsize > 1 and array.size:
        room = np.zeros(array.nbytes + 1, np.uint8)
        odd = room[1:].view(array.dtype).reshape(array.shape)
        odd[...] = array
        yield "at an odd address", odd


def sequences(items: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Longer, shorter, other items."""
    yield "is longer", [*items, items[0]]
    yield "is much longer", items * 70
    yield "is shorter", items[1:]
    for item in (None, "1", 1.5, -1, 0, 4, 9, 255, 2**31, 2**64, np.zeros((2, 2), np.uint8)):
        yield f"holds {item!r:.20}", [item, *items[1:]]


def overlaps(call: Call, name: str) -> Iterator[tuple[str, Call]]:
    """A target and an argument of the same dtype in one piece of memory."""
    other = call[name]
    for target in TARGETS:
        whole = call.get(target)
        if name == target or whole is None or whole.dtype != other.dtype:
            continue
        if not whole.size or not other.size:
            continue
        if target == "rows" and "sums" in call and call["sums"].dtype == np.float64:
            continue  # here rows are read
        size = whole.size + other.size - 1  # one element is in both
        room = np.zeros(size, whole.dtype)
        first, last = room[: whole.size].reshape(whole.shape), room[whole.size - 1 :]
        first[...] = whole
        last = last.reshape(other.shape)
        last[...] = other
        yield f"{target} overlaps {name}", {**call, target: first, name: last}


def extents(call: Call) -> Iterator[tuple[str, Call]]:
    """Another length of one kind in all arrays: no primes, a degree that is no power of two."""
    arrays = {name: x for name, x in call.items() if isinstance(x, np.ndarray)}
    for extent in sorted({e for array in arrays.values() for e in array.shape if e}):
        for other in sorted({0, extent // 2, extent - 1, extent + 1, 2 * extent} - {extent}):
            changed = {name: stretched(x, extent, other) for name, x in arrays.items()}
            yield f"extent {extent} becomes {other}", {**call, **changed}


def stretched(array: np.ndarray, extent: int, other: int) -> np.ndarray:
    """Cut, or repeated, along every axis of this extent."""
    for axis in range(array.ndim):
        if array.shape[axis] == extent:
            array = np.take(array, np.arange(other) % extent, axis)
    return array
