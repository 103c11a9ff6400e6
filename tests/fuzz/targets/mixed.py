"""Targets of several small readers: the first byte of an input says whose it is."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.target import Mutate

Read = Callable[[bytes], object]


def by_first_byte(*readers: Read) -> Read:
    def run(data: bytes) -> None:
        if data:
            readers[data[0] % len(readers)](data[1:])

    return run


def behind_it(change: Mutate) -> Mutate:
    """A change of what the reader gets."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return data[:1] + change(data[1:], rng)

    return mutate
