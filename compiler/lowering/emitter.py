"""The Program while it is written: steps in order, and which of them carry a value in which ring.

Between layers a value lives in its narrow ring (`Formats.bits`); a linear layer wants its operand
in its own, wider ring, and a product of two values one of its operands. Widening is interactive,
except where a ReLU extends as it goes, a product is made wider or the client encodes its image, so
the demand for wide rings is passed backward through the reindexing ops (which work in any ring) to
such a place (`rings.Widening`). Where there is none, an Extend step is put in; where a wide value
is needed narrow too, a Reduce, which is local.
"""

from __future__ import annotations

from typing import Any

from moiety.compiler.ir.graph import Node
from moiety.compiler.lowering.tensors import Tensors
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.rings import widening
from moiety.protocols.errors import BadModel
from moiety.runtime.program import AnyStep, Extend, Reduce, Reshape, Truncate


class Emitter:
    """Writes the steps of one plan. `made`: per value, the steps that carry it, by ring width.
    `compared`: step -> ring that holds its value, where that is narrower than the step's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.formats, self.graph = plan, plan.formats, plan.graph
        self.steps: list[AnyStep] = []
        self.tensors: Tensors = {}
        self.made: dict[str, dict[int, int]] = {}
        self.compared: dict[int, int] = {}
        found = widening(self.graph)
        self.wide, self.factors = found.wide, found.factors

    def shape(self, value: str) -> tuple[int, ...]:
        """Without the batch. BadModel if there is none."""
        batch, *rest = self.graph.shapes[value]
        if batch != 1 or not rest:
            raise BadModel(
                f"value {value!r} of shape {self.graph.shapes[value]} has no batch dimension of "
                "one in front"
            )
        return tuple(rest)

    def is_demanded(self, value: str) -> bool:
        """Does a linear layer or a product ask for this value in its own ring?"""
        return bool(self.plan.demands[value])

    def widest(self, value: str) -> int:
        """Width of the ring in which `value` is best made where every width is free."""
        return max(self.plan.demands[value] or {self.formats.bits(value)})

    def add(self, step: AnyStep) -> int:
        """Append a step; returns its number."""
        self.steps.append(step)
        return len(self.steps) - 1

    def emit(self, value: str, step: AnyStep) -> int:
        """Append a step that carries `value`."""
        index = self.add(step)
        self.made.setdefault(value, {})[step.bits] = index
        self._note_compared(value, index)
        return index

    def carry(self, value: str, index: int) -> None:
        """From now on `value` is what this step gives, and nothing else."""
        self.made[value] = {self.steps[index].bits: index}
        self._note_compared(value, index)

    def _note_compared(self, value: str, index: int) -> None:
        bits = self.formats.compared_bits(value)
        if bits < self.steps[index].bits == self.formats.bits(value):
            self.compared[index] = bits

    def get(self, value: str, bits: int) -> int:
        """The step that carries `value` in a ring of `bits` bits, converted if need be."""
        made = self.made[value]
        if bits not in made:
            (widest, index) = max(made.items())
            shape, name = self.steps[index].shape, self.steps[index].name
            if widest < bits:
                widest = max(bits, self.widest(value))
                index = self._extended(value, index, widest)
            if widest > bits:
                self.emit(value, Reduce(inputs=(index,), shape=shape, bits=bits, name=name))
        return made[bits]

    def _extended(self, value: str, index: int, bits: int) -> int:
        step = self.steps[index]
        extend = Extend(
            inputs=(index,),
            shape=step.shape,
            bits=bits,
            name=step.name,
            headroom=self.formats.has_headroom(value),
        )
        return self.emit(value, extend)

    def operands(self, node: Node, bits: int) -> dict[str, Any]:
        """The fields that every step of a node has, with its operands in a ring of `bits` bits."""
        return {
            "inputs": tuple(self.get(value, bits) for value in node.inputs),
            "shape": self.shape(node.output),
            "bits": bits,
            "name": node.name,
        }

    def truncated(self, index: int, shift: int) -> int:
        """The step that drops the low `shift` bits of what a step gives."""
        step = self.steps[index]
        return self.add(
            Truncate(
                inputs=(index,),
                shape=step.shape,
                bits=step.bits - shift,
                name=step.name,
                shift=shift,
                rounding=self.plan.options.rounding,
            )
        )

    def reshaped(self, index: int, shape: tuple[int, ...]) -> int:
        """The step that gives what a step does in another shape; reshapes of reshapes collapse."""
        step = self.steps[index]
        while isinstance(step, Reshape):
            index = step.inputs[0]
            step = self.steps[index]
        if step.shape == shape:
            return index
        return self.add(Reshape(inputs=(index,), shape=shape, bits=step.bits, name=step.name))
