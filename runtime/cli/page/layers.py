"""What is drawn of a Program: its steps put together to layers, and these to blocks."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from moiety.protocols.cost import Wire
from moiety.runtime.cli.cost_tables import Line, Prediction
from moiety.runtime.cost.clock import Time, total
from moiety.runtime.intake.text import printable
from moiety.runtime.program import AnyStep, Program

MOST_BLOCKS = 16
"""More would hide what they are for."""

FEW = 3
"""A block of fewer layers is put together with small ones beside it."""


@dataclass(frozen=True)
class Layer:
    """Steps that follow each other and have one name: `steps`, from number `first` on, and what
    each costs. sources: the layers, by number, whose values it reads.
    """

    number: int
    first: int
    steps: Sequence[AnyStep]
    lines: Sequence[Line]
    sources: tuple[int, ...]

    @property
    def name(self) -> str:
        """Fit to be shown."""
        return printable(self.steps[0].name) or f"step {self.first}"

    @property
    def kind(self) -> str:
        """Of the step that sends most; where nothing is sent, of the last one."""
        most = max(range(len(self.steps)), key=lambda i: (self.lines[i].wire.total, i))
        return self.steps[most].kind

    @property
    def result(self) -> AnyStep:
        """The last step whose value is not gate bits, if there is one."""
        return next((step for step in reversed(self.steps) if step.bits > 1), self.steps[-1])

    @property
    def rings(self) -> str:
        """Ring bits, from first step to last, without those of gate bits."""
        bits = [step.bits for step in self.steps if step.bits > 1] or [1]
        return " → ".join(str(each) for each, _ in itertools.groupby(bits))

    @property
    def details(self) -> str:
        """Its steps in words."""
        counts = Counter(step.kind for step in self.steps)
        words = {step.kind: step.details() for step in self.steps if step.details()}
        return "; ".join(
            " ".join(filter(None, (str(n) if n > 1 else "", kind, words.get(kind, ""))))
            for kind, n in counts.items()
        )

    @cached_property
    def cost(self) -> Cost:
        """Of all its steps."""
        return Cost.of(self.lines)


@dataclass(frozen=True)
class Cost:
    """Bytes each way, flights, seconds."""

    up: int
    down: int
    flights: int
    time: Time

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Cost:
        lines = list(lines)
        return cls(
            sum(int(line.wire.up) for line in lines),
            sum(int(line.wire.down) for line in lines),
            sum(len(line.wire.flights) for line in lines),
            total([line.time for line in lines]),
        )

    @classmethod
    def of_whole(cls, wire: Wire, time: Time) -> Cost:
        """Of an image: two lines' flights may be one there."""
        return cls(int(wire.up), int(wire.down), len(wire.flights), time)

    @property
    def bytes(self) -> int:
        return self.up + self.down


@dataclass(frozen=True)
class Block:
    """Layers that follow each other and belong together. title: where their names begin alike, that
    beginning; "" where they have none.
    """

    title: str
    layers: Sequence[Layer]

    @property
    def name(self) -> str:
        return self.title or "the model"

    def short(self, layer: Layer) -> str:
        """Of a layer's name, what the title does not say."""
        return layer.name.lstrip("/").removeprefix(f"{self.title}/") or layer.name

    @property
    def lines(self) -> list[Line]:
        return [line for layer in self.layers for line in layer.lines]


def layers_of(program: Program, predicted: Prediction) -> list[Layer]:
    """In order."""
    lines = predicted.lines[1:]
    names = (step.name or str(index) for index, step in enumerate(program.steps))
    found: list[Layer] = []
    maker: list[int] = []
    first = 0
    for _, group in itertools.groupby(names):
        count = len(list(group))
        steps = program.steps[first : first + count]
        maker += [len(found)] * count
        sources = {maker[operand] for step in steps for operand in step.inputs} - {len(found)}
        found.append(
            Layer(len(found), first, steps, lines[first : first + count], tuple(sorted(sources)))
        )
        first += count
    return found


def blocks_of(layers: Sequence[Layer]) -> list[Block]:
    """By the longest beginnings of names, as `/features/denseblock1`, that leave few blocks; if
    names have none, by height and width.
    """
    parts = [tuple(filter(None, layer.name.split("/")))[:-1] for layer in layers]
    for depth in range(max(map(len, parts), default=0), 0, -1):
        titles = ["/".join(part[:depth]) for part in parts]
        if 1 < len(runs := _runs(layers, titles)) <= MOST_BLOCKS:
            return _joined(runs)
    return _joined(_runs(layers, ["x".join(map(str, x.result.shape[-2:])) for x in layers]))


def _runs(layers: Sequence[Layer], titles: Sequence[str]) -> list[Block]:
    """Layers of one title that follow each other."""
    runs = itertools.groupby(layers, lambda layer: titles[layer.number])
    return [Block(title, list(run)) for title, run in runs]


def _joined(blocks: Sequence[Block]) -> list[Block]:
    """Small ones that follow each other are one."""
    found: list[Block] = []
    for small, group in itertools.groupby(blocks, lambda block: len(block.layers) < FEW):
        together = list(group)
        found += [_one(together)] if small and len(together) > 1 else together
    return found


def _one(blocks: Sequence[Block]) -> Block:
    layers = [layer for block in blocks for layer in block.layers]
    first, last = (each.title or each.layers[0].name for each in (blocks[0], blocks[-1]))
    return Block(f"{first} to {last}", layers)
