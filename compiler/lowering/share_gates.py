"""Multi-threshold ReLU: comparisons of one tensor against many secret thresholds run together, when
the tensor is made.

In a densely connected block every later layer compares the same feature with another threshold.
`[x + c_k >= 0]` for all k have the same client input, so one transfer per digit can carry the
answers for all k. This rewriting of the Program cuts every Relu whose operand has a part that other
Relus compare too into Gates, right after each part is made, and a Relu that only multiplexes:

    Relu(Concat(a, b); c)  =  Relu(Concat(a, b), Concat(Gates(a)[k], Gates(b)[k']); c)

with the thresholds of the parts cut out of c. Where a part is kept in a wider ring than its values
need, because other parts need it, its comparisons drop the bits above. Where a part is what an
exact Truncate makes, carry and signs come from one comparison (`Gates.joint`), for one threshold as
for many. Nothing else changes, so outputs are equal bit for bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from moiety.compiler.lowering.tensors import Tensors, renumbered
from moiety.protocols.arrays import I64
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.runtime.program import AnyStep, Concat, Gates, Relu, Reshape, Slice, Truncate
from moiety.runtime.program.steps.base import GATE_BITS


@dataclass(frozen=True)
class _Part:
    """Channels `[start, start + channels)` of a Relu's operand are the whole of `value`."""

    value: int
    start: int
    channels: int


@dataclass(frozen=True)
class _Use:
    """A Relu that compares a value, whose channels begin at `start` of its operand's."""

    relu: int
    start: int


def share_gates(
    steps: Sequence[AnyStep], tensors: Tensors, compared: Mapping[int, int]
) -> tuple[tuple[AnyStep, ...], Tensors]:
    """The rewritten steps and their weights (`linear.3.weight`, ... renumbered).

    compared: step -> width of a ring that its value fits, where that is narrower than the step's.
    """
    out = _GateSharing(steps, tensors, compared)
    for index in range(len(steps)):
        out.copy(index)
        if index in out.uses:
            out.add_gates(index)
    return tuple(out.steps), renumbered(tensors, out.where) | out.thresholds


def _parts(steps: Sequence[AnyStep], value: int, start: int = 0) -> list[_Part]:
    """The tensors that `value` is a channel concatenation of, in order."""
    step = steps[value]
    if not isinstance(step, Concat) or step.axis != 0:
        return [_Part(value, start, step.shape[0])]
    found: list[_Part] = []
    for operand in step.inputs:
        found += _parts(steps, operand, start)
        start += steps[operand].shape[0]
    return found


def _shared_values(steps: Sequence[AnyStep], compared: Mapping[int, int]) -> dict[int, list[_Use]]:
    """Values whose comparisons are to be hoisted, with the Relus that make them, in order: all
    parts of every Relu that shares at least one part with another Relu, or has one that can be
    compared in a narrower ring or together with its truncation.
    """
    relus = {
        index: _parts(steps, step.inputs[0])
        for index, step in enumerate(steps)
        if isinstance(step, Relu) and not step.multiplexes
    }
    count = Counter(part.value for parts in relus.values() for part in parts)
    uses: dict[int, list[_Use]] = {}
    for index, parts in relus.items():
        pays = any(
            count[part.value] > 1
            or part.value in compared
            or _is_exact_truncation(steps[part.value])
            for part in parts
        )
        if pays and all(count[part.value] <= MAX_THRESHOLDS for part in parts):
            for part in parts:
                uses.setdefault(part.value, []).append(_Use(index, part.start))
    return uses


def _is_exact_truncation(step: AnyStep) -> bool:
    return isinstance(step, Truncate) and step.rounding == "exact"


class _GateSharing:
    """Writes the new steps. By old number: `uses`, the values to compare when they are made;
    `where`, the new number of a step; `gates`, that of a value's Gates.
    """

    def __init__(
        self, steps: Sequence[AnyStep], tensors: Tensors, compared: Mapping[int, int]
    ) -> None:
        self.old, self.old_tensors, self.compared = steps, tensors, compared
        self.uses = _shared_values(steps, compared)
        self.hoisted = {use.relu for uses in self.uses.values() for use in uses}
        self.steps: list[AnyStep] = []
        self.thresholds: Tensors = {}
        self.where: dict[int, int] = {}
        self.gates: dict[int, int] = {}

    def emit(self, step: AnyStep) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def copy(self, index: int) -> None:
        """An old step; a Relu whose comparisons were hoisted reads their answers."""
        step = self.old[index]
        inputs = tuple(self.where[i] for i in step.inputs)
        if isinstance(step, Relu) and index in self.hoisted:
            inputs += (self.gate_operand(index, step),)
        self.where[index] = self.emit(msgspec.structs.replace(step, inputs=inputs))

    def add_gates(self, index: int) -> None:
        """The comparisons of an old value, right after it."""
        step, uses = self.old[index], self.uses[index]
        new = self.emit(
            Gates(
                inputs=(self.where[index],),
                shape=(len(uses), *step.shape),
                bits=GATE_BITS,
                name=step.name,
                compared=self.compared.get(index, step.bits),
                joint=_is_exact_truncation(step),
            )
        )
        thresholds = [self.threshold(use, step.shape[0]) for use in uses]
        self.thresholds[f"gates.{new}.threshold"] = np.stack(thresholds)
        self.gates[index] = new

    def threshold(self, use: _Use, channels: int) -> I64:
        """Of these channels of a Relu, `(channels,)`."""
        relu = self.old[use.relu]
        if not isinstance(relu, Relu) or not relu.affine:
            return np.zeros(channels, np.int64)
        whole: I64 = self.old_tensors[f"relu.{use.relu}.threshold"]
        return whole[use.start : use.start + channels]

    def gate_operand(self, index: int, step: Relu) -> int:
        """The gates of a Relu's whole operand, put together from its parts' Gates."""
        parts = _parts(self.old, step.inputs[0])
        answers = [self.answer(part, _Use(index, part.start), step.name) for part in parts]
        if len(answers) == 1:
            return answers[0]
        return self.emit(
            Concat(inputs=tuple(answers), shape=step.shape, bits=GATE_BITS, name=step.name, axis=0)
        )

    def answer(self, part: _Part, use: _Use, name: str) -> int:
        """What one Relu gets of a part's Gates."""
        shape, uses = self.old[part.value].shape, self.uses[part.value]
        value = self.gates[part.value]
        if len(uses) > 1:
            k = uses.index(use)
            value = self.emit(
                Slice(
                    inputs=(value,),
                    shape=(1, *shape),
                    bits=GATE_BITS,
                    name=name,
                    starts=(k, *(0,) * len(shape)),
                    stops=(k + 1, *shape),
                    strides=(1,) * (len(shape) + 1),
                )
            )
        return self.emit(Reshape(inputs=(value,), shape=shape, bits=GATE_BITS, name=name))
