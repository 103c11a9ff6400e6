"""The cleartext executor: what a Program means, on plain integers.

It is the oracle of the two-party run. With *exact* rounding the two agree bit for bit. With
*stochastic* rounding they agree in distribution: the executor draws the share-dependent rounding
bit of the local truncation, and a last-place error of each uniformly masked linear layer.

What a step means is its own (`Step.meaning`, on the values that steps/evaluation describes); here
is the run of a whole Program.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moiety.protocols.arrays import I64
from moiety.protocols.errors import BadInput
from moiety.runtime.program.case import Case, tensors_of
from moiety.runtime.program.expression.base import Array
from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.ends import Input
from moiety.runtime.program.steps.evaluation import Evaluation, wrap
from moiety.runtime.program.weights import Weights


class CleartextExecutor:
    """Runs one Program with its Weights, image after image.

    `rng` draws the stochastic rounding; it is required for a Program with stochastic rounding and
    unused otherwise. `overflows` maps step index to the number of values, over all images run so
    far, that left their ring before reduction (for Input: that were clipped).
    """

    def __init__(
        self, program: Program, weights: Weights, rng: np.random.Generator | None = None
    ) -> None:
        if rng is None and program.rounding == "stochastic":
            raise BadInput(
                "a Program with stochastic rounding needs a random generator to be simulated"
            )
        self.program, self.weights = program, weights
        self._rng = rng
        self._secrets = weights.by_step(program)
        self._forget = program.last_uses()
        self._unreduced = _unreduced_steps(program)
        self.overflows: dict[int, int] = {}
        self.images = 0

    def run(self, case: Case) -> dict[str, Array]:
        """Result name -> what the client has in the end, as `Program.compute`, for a float image
        `(C,H,W)`, or tensors by the inputs' names. BadInput as `tensors_of` and `Input.quantise`.
        """
        return self.program.compute(self.run_integers(case))

    def run_integers(
        self, case: Case, trace: Callable[[int, I64], None] | None = None
    ) -> dict[int, I64]:
        """Output step index -> signed integers. `trace(step, values)` is called after every step,
        if given.
        """
        tensors = tensors_of(case, self.program.input_names())
        quantised = {}
        for index, step in enumerate(self.program.inputs):
            quantised[step.name] = step.quantise(tensors[step.name])
            self._count(index, int(np.count_nonzero(step.clipped(tensors[step.name]))))
        return self.run_quantised(quantised, trace)

    def run_quantised(
        self, quantised: Case, trace: Callable[[int, I64], None] | None = None
    ) -> dict[int, I64]:
        """As `run_integers`, from the integers that `Input.quantise` makes of a case, each of its
        input's shape.
        """
        given = tensors_of(quantised, self.program.input_names())
        self.images += 1
        live: dict[int, I64] = {}
        for index, step in enumerate(self.program.steps):
            operands = [live[i] for i in step.inputs]
            if isinstance(step, Input):
                operands = [given[step.name]]
            at = Evaluation(
                rings=tuple(x.bits for x in self.program.operands(step) or (step,)),
                secrets=self._secrets[index],
                unreduced=self._unreduced[index],
                rng=self._rng,
            )
            live[index] = step.meaning(operands, at)
            self._count(index, at.overflows)
            if trace is not None:
                trace(index, wrap(live[index], step.bits) if at.unreduced else live[index])
            for done in self._forget[index]:
                del live[done]
        return {index: live[index] for index in self.program.outputs}

    def _count(self, index: int, values: int) -> None:
        if values:
            self.overflows[index] = self.overflows.get(index, 0) + values


def _unreduced_steps(program: Program) -> list[bool]:
    """Steps whose value is only summed up, by linear layers in the end: it may leave the ring
    unharmed, for sums modulo 2^bits forgive it.

    Such values are kept unreduced, so that the linear layer's own sums are the true ones.
    """
    unreduced = [step.SUMS_ONLY for step in program.steps]
    for index in reversed(range(len(program.steps))):
        step = program.steps[index]
        for operand in step.inputs:
            unreduced[operand] &= step.FORGIVES_OVERFLOW or unreduced[index]
    return unreduced
