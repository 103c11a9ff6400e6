"""How wide a value is on its way through two layers: each step of the example's Program that
changes the ring, with the bits in the places that they count in.
"""

from __future__ import annotations

from dataclasses import dataclass

from moiety.runtime.program import Input, Linear, Program, Relu, Truncate
from tests.project.pictures.example import example
from tests.project.pictures.svg import Picture

WIDTH, TOP, ROW, BIT, HIGH = 960, 88, 60, 11.9, 28


@dataclass(frozen=True)
class Row:
    """A ring's bits, the lowest first. lowest: its place; parts: (bits, style, words)."""

    title: str
    says: str
    lowest: int
    parts: tuple[tuple[int, str, str], ...]


def rows(program: Program) -> list[Row]:
    """Of the steps from the input on. Where a value is in a ring that is wider than it needs, the
    upper part waits for the sums of the next layer.
    """
    found: list[Row] = []
    place, narrow = 0, 0
    parts: tuple[tuple[int, str, str], ...]
    for step in program.steps:
        operand = program.steps[step.inputs[0]] if step.inputs else step
        if isinstance(step, Input):
            narrow = step.value_bits or step.bits
            above = (step.bits - narrow, "plain", "room for the sums")
            parts = ((narrow, "hospital", "pixel"), above)
            found.append(Row("input", f"ring of {step.bits} bits", place, parts))
        elif isinstance(step, Linear):
            shift = _reader(program, step).shift
            sums = (step.bits - shift, "hospital", "what is kept")
            parts = (
                (step.guard, "secret", ""),
                (shift - step.guard, "plain", "weights' fraction"),
                sums,
            )
            says = f"{step.bits} bits: {step.guard} of them for noise"
            place -= step.guard
            found.append(Row(f"linear: {step.name}", says, place, parts))
        elif isinstance(step, Truncate):
            narrow = step.bits
            parts = ((step.shift, "dashed", "dropped"), (narrow, "hospital", f"{narrow} bits"))
            says = f"{step.shift} bits fall away, the noise with them"
            found.append(Row("truncate", says, place, parts))
            place += step.shift
        elif isinstance(step, Relu):
            above = (step.bits - operand.bits, "plain", "room for the sums")
            parts = ((operand.bits, "hospital", "max(x, 0)"), above)
            found.append(
                Row("relu", f"compared in {operand.bits} bits, then extended", place, parts)
            )
    return found


def _reader(program: Program, step: Linear) -> Truncate:
    """The truncation that ends a linear layer."""
    index = program.steps.index(step)
    reader = next(each for each in program.steps if index in each.inputs)
    assert isinstance(reader, Truncate)
    return reader


def draw() -> Picture:
    made = rows(example().compiled.program)
    lowest = min(row.lowest for row in made)
    picture = Picture(
        "widths",
        "A value's width through two layers",
        "Rows of bits, one for each step. A pixel lies in a ring with room for sums; the layer's "
        "sums fill it, with a guard bit for noise below; truncation drops the low half and the "
        "noise; the ReLU compares in the narrow ring that is left and extends it for the next "
        "layer, where the same happens again.",
        WIDTH,
        TOP + len(made) * ROW + 20,
    )
    picture.words((24, 30), "A value's width through two layers", "head")
    picture.words(
        (24, 52),
        "most significant bits on the left; amber: guard bits, for the noise of the encryption",
        "soft small",
    )
    for place, row in enumerate(made):
        y = TOP + place * ROW
        picture.words((24, y + 12), row.title, "bold")
        picture.words((24, y + 29), row.says, "soft small")
        end = WIDTH - 24 - (row.lowest - lowest) * BIT
        for bits, style, words in row.parts:
            end -= bits * BIT
            picture.box((end, y), (bits * BIT, HIGH), style, 2)
            for bit in range(1, bits if style != "dashed" else 1):
                picture.line((end + bit * BIT, y), (end + bit * BIT, y + 5), "faint")
            if words:
                picture.words((end + bits * BIT / 2, y + 19), words, "small", "middle")
    return picture
