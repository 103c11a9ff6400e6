"""Multi-threshold ReLU: comparisons of one tensor against many secret thresholds run
together, when the tensor is made.

In a densely connected block every later layer compares the same feature with another
threshold. `[x + c_k >= 0]` for all k have the same client input, so one transfer per digit
can carry the answers for all k. This pass of the Program (after lowering) cuts every Relu
whose operand has a part that other Relus compare too into Gates, right after each part is
made, and a Relu that only multiplexes:

    Relu(Concat(a, b); c)  =  Relu(Concat(a, b), Concat(Gates(a)[k], Gates(b)[k']); c)

with the thresholds of the parts cut out of c. Where a part is kept in a wider ring than its values
need, because other parts need it, its comparisons drop the bits above (a Reduce, which is local).
Nothing else changes, so outputs are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.runtime import program as ir

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Part:
    """Channels `[start, start + channels)` of a Relu's operand are the whole of `value`."""

    value: int
    start: int
    channels: int


@dataclass
class _Gate:
    """The Relus that compare one value, in order, with where its
    channels start in each one's operand.
    """

    users: list[tuple[int, int]] = field(default_factory=list)


def share_gates(
    steps: Sequence[ir.AnyStep],
    tensors: Mapping[str, npt.NDArray[Any]],
    compared: Mapping[int, int] | None = None,
) -> tuple[tuple[ir.AnyStep, ...], Tensors]:
    """The rewritten steps and their weights (`linear.3.weight`, ... renumbered).

    compared: step -> width of a ring that its value fits, where that is narrower than the step's.
    """
    compared = compared or {}
    shared = _shared_values(steps, compared)
    out = _Rewriter(steps, tensors, compared)
    for index, step in enumerate(steps):
        out.copy(index, step, shared)
        if index in shared:
            out.add_gates(index, shared[index])
    return tuple(out.steps), out.tensors


def _parts(steps: Sequence[ir.AnyStep], value: int, start: int = 0) -> list[_Part]:
    """The tensors that `value` is a channel concatenation of, in order."""
    step = steps[value]
    if not isinstance(step, ir.Concat) or step.axis != 0:
        return [_Part(value, start, step.shape[0])]
    found: list[_Part] = []
    for operand in step.inputs:
        found += _parts(steps, operand, start)
        start += steps[operand].shape[0]
    return found


def _shared_values(steps: Sequence[ir.AnyStep], compared: Mapping[int, int]) -> dict[int, _Gate]:
    """Values whose comparisons are to be hoisted: all parts of every Relu that shares at least one
    part with another Relu, or has one that can be compared in a narrower ring.
    """
    relus = {
        index: _parts(steps, step.inputs[0])
        for index, step in enumerate(steps)
        if isinstance(step, ir.Relu)
    }
    uses: dict[int, int] = {}
    for parts in relus.values():
        for part in parts:
            uses[part.value] = uses.get(part.value, 0) + 1
    gates: dict[int, _Gate] = {}
    for index, parts in relus.items():
        if any(uses[part.value] > 1 or part.value in compared for part in parts) and all(
            uses[part.value] <= MAX_THRESHOLDS for part in parts
        ):
            for part in parts:
                gates.setdefault(part.value, _Gate()).users.append((index, part.start))
    return gates


class _Rewriter:
    """Emits the new list; `where` maps old step indices to new ones."""

    def __init__(
        self,
        steps: Sequence[ir.AnyStep],
        tensors: Mapping[str, npt.NDArray[Any]],
        compared: Mapping[int, int],
    ) -> None:
        self.old = steps
        self.compared = compared
        self.old_tensors = tensors
        self.steps: list[ir.AnyStep] = []
        self.tensors: Tensors = {}
        self.where: dict[int, int] = {}
        self.gates: dict[int, int] = {}

    def emit(self, step: ir.AnyStep) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def copy(self, index: int, step: ir.AnyStep, shared: Mapping[int, _Gate]) -> None:
        inputs = tuple(self.where[i] for i in step.inputs)
        if isinstance(step, ir.Relu) and any(
            index == user for gate in shared.values() for user, _ in gate.users
        ):
            inputs += (self.gate_operand(index, step, shared),)
        new = self.emit(msgspec.structs.replace(step, inputs=inputs))
        self.where[index] = new
        for name, array in self.old_tensors.items():
            kind, number, *rest = name.split(".")
            if number == str(index):
                self.tensors[".".join((kind, str(new), *rest))] = array

    def add_gates(self, index: int, gate: _Gate) -> None:
        """The comparisons of old value `index`, right after it."""
        step, channels = self.old[index], self.old[index].shape[0]
        thresholds = []
        for user, start in gate.users:
            relu = self.old[user]
            assert isinstance(relu, ir.Relu)
            whole = (
                self.old_tensors[f"relu.{user}.threshold"]
                if relu.affine
                else np.zeros(relu.shape[0], np.int64)
            )
            thresholds.append(whole[start : start + channels])
        count = len(gate.users)
        operand, bits = self.where[index], self.compared.get(index, step.bits)
        if bits < step.bits:
            operand = self.emit(
                ir.Reduce(inputs=(operand,), shape=step.shape, bits=bits, name=step.name)
            )
        new = self.emit(
            ir.Gates(inputs=(operand,), shape=(count, *step.shape), bits=1, name=step.name)
        )
        self.tensors[f"gates.{new}.threshold"] = np.stack(thresholds)
        self.gates[index] = new

    def gate_operand(self, index: int, step: ir.Relu, shared: Mapping[int, _Gate]) -> int:
        """The gates of a Relu's whole operand, put together from its parts' Gates."""
        pieces = [
            self.slice(part, shared[part.value], index, step.name)
            for part in _parts(self.old, step.inputs[0])
        ]
        if len(pieces) == 1:
            return pieces[0]
        return self.emit(
            ir.Concat(inputs=tuple(pieces), shape=step.shape, bits=1, name=step.name, axis=0)
        )

    def slice(self, part: _Part, gate: _Gate, user: int, name: str) -> int:
        shape = self.old[part.value].shape
        value, count = self.gates[part.value], len(gate.users)
        if count > 1:
            k = gate.users.index((user, part.start))
            value = self.emit(
                ir.Slice(
                    inputs=(value,),
                    shape=(1, *shape),
                    bits=1,
                    name=name,
                    starts=(k, *(0,) * len(shape)),
                    stops=(k + 1, *shape),
                    strides=(1,) * (len(shape) + 1),
                )
            )
        return self.emit(ir.Reshape(inputs=(value,), shape=shape, bits=1, name=name))
