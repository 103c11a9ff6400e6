"""The client's shares in a prepared run: which of them are drawn, and from what.

A step whose parties talk leaves the client a mask as its share (protocols/compare/masked), drawn
from the item's seed and the step's index; a linear layer leaves what was decrypted when the run was
prepared; every other step makes its own share of these. So all of them are known before the run.

The operand of a linear layer must be known sooner, before any layer has been evaluated
(`operand_masks`). Where it is made of another layer's result by steps without messages alone, it is
not; such a layer is `corrected` in the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.truncate import stochastic_share
from moiety.protocols.cost import packed
from moiety.protocols.errors import ContractViolation
from moiety.protocols.prg import Prg
from moiety.runtime.program import AddConst, AnyStep, Linear, LocalStep, Program, Truncate
from moiety.runtime.program.beforehand import corrected, is_drawn


@dataclass(frozen=True)
class StepMasks:
    """Those of the step at `index` of one run, in its order; `images` go through it."""

    seed: bytes
    index: int
    images: int

    def result(self, step: AnyStep) -> U64:
        """Its share of the result, `(images, *shape)`."""
        shape = (self.images, *step.shape)
        return elements(self._stream("result"), int(np.prod(shape)), step.bits).reshape(shape)

    def inner(self) -> Prg:
        """What else it draws, in its order."""
        return self._stream("inner")

    def _stream(self, what: str) -> Prg:
        return Prg.derived(self.seed, f"moiety masks/{self.index}/{what}")


def elements(prg: Prg, n: int, bits: int) -> U64:
    """uint64 `(n,)`, uniform modulo 2^bits."""
    return kernels.unpack(prg.bytes(int(packed(n, bits))), n, bits)


def random_bits(prg: Prg, n: int) -> U8:
    """uint8 `(n,)`."""
    return kernels.unpack8(prg.bytes(int(packed(n, 1))), n, 1)


def operand_masks(program: Program, seed: bytes, images: int) -> Iterator[tuple[int, U64 | None]]:
    """Each linear layer's index and the client's share of its operand, `(images, *shape)`; None
    where the layer is corrected.
    """
    late, needed = corrected(program), _needed(program)
    values: dict[int, U64] = {}
    uses = program.last_uses()
    for index, step in enumerate(program.steps):
        if isinstance(step, Linear):
            yield index, None if index in late else values[step.inputs[0]]
        elif index in needed:
            if is_drawn(step):
                values[index] = StepMasks(seed, index, images).result(step)
            else:
                values[index] = _local(program, step, [values[i] for i in step.inputs])
        for operand in uses[index]:
            values.pop(operand, None)


def _needed(program: Program) -> frozenset[int]:
    """The steps whose shares make the operands of layers that are not corrected."""
    late = corrected(program)
    found: set[int] = set()
    for index in range(len(program.steps) - 1, -1, -1):
        step = program.steps[index]
        reads = index not in late if isinstance(step, Linear) else index in found
        if reads and not is_drawn(step):
            found.update(step.inputs)
    return frozenset(found)


def _local(program: Program, step: AnyStep, operands: list[U64]) -> U64:
    """The client's share of a step without messages."""
    match step:
        case LocalStep():
            return step.on_shares(operands)
        case AddConst():
            return operands[0]
        case Truncate():
            return stochastic_share(
                False, operands[0], program.first_operand(step).bits, step.shift
            )
    raise ContractViolation(f"the share of a step of kind {step.kind} is not made without messages")
