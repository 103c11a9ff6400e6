"""What a line may do to a session: one fault, at a byte of one direction, drawn by hypothesis."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Way = Literal["up", "down"]
Stage = Literal["tls", "hello", "set-up", "image", "goodbye"]
Kind = Literal[
    "delay",
    "drip",
    "cut",
    "stall",
    "half-close",
    "truncate",
    "flood",
    "duplicate",
    "corrupt",
    "reorder",
]

WAYS: tuple[Way, ...] = ("up", "down")
STAGES: tuple[Stage, ...] = ("tls", "hello", "set-up", "image", "goodbye")
KINDS: tuple[Kind, ...] = (
    "delay",
    "drip",
    "cut",
    "stall",
    "half-close",
    "truncate",
    "flood",
    "duplicate",
    "corrupt",
    "reorder",
)
CHANGING: frozenset[Kind] = frozenset({"truncate", "flood", "duplicate", "corrupt", "reorder"})
"""Kinds after which other bytes arrive than were sent; the others only come late, or not at all."""
LONGEST_DELAY = 1.0


@dataclass(frozen=True)
class Fault:
    """What happens when byte `at` of a direction is reached: delay by `seconds`; drip one byte at a
    time from there on; cut the connection, `abrupt` with a reset; stall, so that nothing more is
    passed on, not even an end; half-close: the end of this direction alone; truncate: `size` bytes
    are missing; flood: so many random ones are added; duplicate: so many come twice; corrupt: the
    byte is changed by `mask`; reorder: so many come after what follows them.
    """

    kind: Kind
    way: Way
    stage: Stage
    at: int
    size: int = 64
    seconds: float = 0.5
    mask: int = 1
    abrupt: bool = False

    @property
    def may_be_noise(self) -> bool:
        """Whether on a line without TLS results may be noise (docs/security.md, "The line"): bytes
        are changed after the set-up.
        """
        return self.kind in CHANGING and self.stage in ("image", "goodbye")


@dataclass(frozen=True)
class Marks:
    """Bytes that have passed either way when each of `STAGES` ends, in a session without faults."""

    up: tuple[int, ...]
    down: tuple[int, ...]

    def of(self, way: Way) -> list[tuple[Stage, range]]:
        """The stages that send anything this way, and their bytes."""
        ends = self.up if way == "up" else self.down
        starts = (0, *ends[:-1])
        spans = [range(start, end) for start, end in zip(starts, ends, strict=True)]
        return [(stage, span) for stage, span in zip(STAGES, spans, strict=True) if span]


Place = tuple[Kind, Way, Stage, range]


def places(marks: Marks) -> list[Place]:
    """Every kind, either way, in every stage."""
    return [(kind, way, *found) for kind in KINDS for way in WAYS for found in marks.of(way)]


def faults(place: Place) -> st.SearchStrategy[Fault]:
    """At any byte of this stage."""
    kind, way, stage, span = place
    return st.builds(
        lambda at, size, seconds, mask, abrupt: Fault(
            kind, way, stage, at, size, seconds, mask, abrupt
        ),
        st.integers(span.start, span.stop - 1),
        st.one_of(st.integers(1, 64), st.integers(1, 1 << 18)),
        st.floats(0.01, LONGEST_DELAY),
        st.integers(1, 255),
        st.booleans(),
    )


def drawn(marks: Marks, count: int, number: int) -> list[Fault]:
    """So many faults, the same for the same `number`, and of all places as many but for one. What
    hypothesis draws first is simple: the first byte of a stage.
    """
    everywhere = places(marks)
    chance = random.Random(number)
    chance.shuffle(everywhere)
    each = -(-count // len(everywhere))
    of_places = [_of_place(place, each, chance.getrandbits(64)) for place in everywhere]
    made = [fault for row in itertools.zip_longest(*of_places) for fault in row if fault]
    return made[:count]


def of_each_kind(marks: Marks, number: int) -> list[Fault]:
    """One fault of each kind, in different places."""
    chance = random.Random(number)
    found = places(marks)
    chosen = (chance.choice([place for place in found if place[0] == kind]) for kind in KINDS)
    return [_of_place(place, 4, chance.getrandbits(64))[-1] for place in chosen]


def _of_place(place: Place, count: int, number: int) -> list[Fault]:
    """As many, or fewer where there are no more."""
    made: list[Fault] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(faults(place))
    def draw(fault: Fault) -> None:
        made.append(fault)

    draw()
    return made[:count]
