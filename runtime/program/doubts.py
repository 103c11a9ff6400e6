"""Revealed values that lie where no image like the vendor's puts them: the client's one way to
notice that an image is not what the model is for, or that a value left its ring inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from moiety.protocols.arrays import I64
from moiety.runtime.program.program import Program

OUTPUT_RANGE = "output-range"
"""The warning's name, the same for ever (docs/results.md)."""


def doubts(program: Program, integers: Mapping[int, I64]) -> Iterator[str]:
    """A sentence for each output with such values, from the revealed integers of one image by
    output step.
    """
    names = program.output_names()
    for index, step in program.outputs.items():
        found, expected = int(step.unexpected(integers[index]).sum()), step.expected_range()
        if found and expected is not None:
            low, high = expected
            yield (
                f"{found} of {integers[index].size} values of {names[index]} lie outside {low:g} "
                f"to {high:g}: the image is unlike those of the calibration, or a value overflowed "
                "inside; do not rely on this result, look at the image, and ask the vendor"
            )
