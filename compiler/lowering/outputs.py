"""The end of a Program: what stands between the network's last values and the client, by the output
policy.

- scores, aggregate: nothing; the value is the output.
- decision, aggregate of counts: the bit `[x >= t]` for a secret integer t, as a number; in the ring
  that decisions are counted in, where they are.
- probabilities: how many of the thresholds the value reaches at which its sigmoid passes from one
  step of the scale to the next.
- top-1: an Argmax.

What is compared is read in a ring one bit wider than its own, where every difference of two of its
values fits: what is told is exact for all that the ring holds. Thresholds are found
by bisection on what the client would compute from an integer, so that `[score > threshold]` is that
of the result, whatever rising function makes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from moiety.compiler.lowering.emitter import Emitter
from moiety.compiler.lowering.revealing import Revealing, Shown, left_to_client
from moiety.compiler.planning.result_ranges import expected_integers
from moiety.protocols.arrays import BOOL, F64, I64
from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.protocols.errors import BadInput, BadModel
from moiety.runtime.program import Argmax, Concat, Count, Expression, Gates, Output, Reshape, Slice
from moiety.runtime.program.expression.elementwise import sigmoid
from moiety.runtime.program.revealed import COUNTED_BITS
from moiety.runtime.program.steps.base import GATE_BITS


def emit_outputs(out: Emitter, expression: Expression, revealing: Revealing) -> Expression:
    """The last steps of a Program; returns what the client computes from what they reveal.
    expression: what it would from the scores. Raises BadModel, BadInput.
    """
    if revealing.policy.reveal == "scores":
        _emit_scores(out)
        return expression
    graph, reveal = out.graph, revealing.policy.reveal
    shapes = [graph.shapes[value][1:] for value in graph.outputs]
    shown = Shown.of(expression, graph.outputs, shapes, reveal)
    left = left_to_client(shown, revealing)
    (value,) = graph.outputs
    end = _End(out, value, shown, revealing)
    {
        "probabilities": end.probabilities,
        "top-1": end.top,
        "decision": end.decision,
        "aggregate": end.decision if revealing.policy.counts else end.vector,
    }[reveal]()
    return left


def _emit_scores(out: Emitter) -> None:
    """Each in its own ring."""
    outputs = out.graph.outputs
    sources = [out.get(value, out.formats.bits(value)) for value in outputs]
    for output, source in zip(outputs, sources, strict=True):
        _reveal(
            out, output, source, out.formats.output_unit, expected_integers(out.formats, output)
        )


def _reveal(
    out: Emitter,
    name: str,
    source: int,
    scale: float = 1.0,
    expected: tuple[int, int] | None = None,
) -> None:
    shape, bits = out.steps[source].shape, out.steps[source].bits
    out.add(
        Output(inputs=(source,), shape=shape, bits=bits, name=name, scale=scale, expected=expected)
    )


class _End:
    """The steps of one policy, for one value."""

    def __init__(self, out: Emitter, value: str, shown: Shown, revealing: Revealing) -> None:
        self.out, self.value, self.shown, self.revealing = out, value, shown, revealing
        self.shape, self.bits = out.shape(value), out.formats.bits(value)
        self.unit = out.formats.output_unit
        self.name = f"{revealing.policy.reveal} of {value}"

    def vector(self) -> None:
        """The scores, which stay shared: a value per label."""
        size = self._labels()
        source = self.out.get(self.value, self.bits)
        _reveal(self.out, self.value, self.out.reshaped(source, (size,)), self.unit)

    def _labels(self) -> int:
        """How many scores an aggregate is of. Raises BadModel where they are no vector."""
        size = math.prod(self.shape)
        if size != max(self.shape):
            raise BadModel(
                f"--reveal aggregate: the model's output has the shape {self.shape}; a score per "
                "label is needed"
            )
        return size

    def decision(self) -> None:
        """Above which of the vendor's thresholds the result is."""
        counts = self.revealing.policy.counts
        size = self._labels() if counts else math.prod(self.shape)
        limits = self.revealing.threshold_of_each(self.shown.form.labels, size)

        def results(integers: I64) -> F64:
            scores = (integers * self.unit).reshape(self.shape)
            (result,) = self.shown.expression.evaluate([scores])
            return np.asarray(result.ravel(), np.float64)

        self._check_telling(results, limits)
        operand = self.out.reshaped(self._wider(), (size,))
        least = least_integers(lambda each: results(each) > limits, (size,), self.bits)
        if counts:
            counted = self._counted(operand, least[None], COUNTED_BITS)
            _reveal(self.out, f"decisions on {self.value}", counted)
        else:
            counted = self._counted(operand, least[None])
            _reveal(self.out, self.name, self.out.reshaped(counted, self.shape))

    def _check_telling(self, results: Callable[[I64], F64], limits: F64) -> None:
        """BadInput where a result depends on its score, and the decision on it does not."""
        half, form = 1 << (self.bits - 1), self.shown.form
        smallest, largest = (results(np.full(len(limits), end)) for end in (-half, half - 1))
        always, never = smallest > limits, largest <= limits
        for number in np.flatnonzero((smallest < largest) & (always | never))[:1].tolist():
            label = form.labels[number] if len(form.labels) == len(limits) else str(number)
            raise BadInput(
                f"--thresholds: {'every' if always[number] else 'no'} result of {label!r} is above "
                f"{limits[number]:g}, so the decision would always be the same; thresholds are in "
                f"the units of the result '{form.name}', not in percent"
            )

    def probabilities(self) -> None:
        """In equal steps, to the nearest."""
        steps = (1 << self.revealing.probability_bits) - 1
        halfway: F64 = np.arange(steps, dtype=np.float64) + 0.5

        def reached(integers: I64) -> BOOL:
            return np.asarray(sigmoid(integers * self.unit) * steps >= halfway)

        least = least_integers(reached, (steps,), self.bits)
        of_channels = np.repeat(least[:, None], self.shape[0], axis=1)
        _reveal(self.out, self.name, self._counted(self._wider(), of_channels), 1 / steps)

    def top(self) -> None:
        """Which is the largest, of the first axis."""
        if self.shape[0] < 2:
            raise BadModel("--reveal top-1: the model's output has a single value")
        step = Argmax(
            inputs=(self._wider(),),
            shape=(1, *self.shape[1:]),
            bits=Argmax.ring(self.shape[0]),
            name=self.value,
        )
        _reveal(self.out, self.name, self.out.add(step))

    def _wider(self) -> int:
        """The value in a ring of one bit more."""
        return self.out.get(self.value, self.bits + 1)

    def _counted(self, operand: int, least: I64, bits: int | None = None) -> int:
        """How many of the integers `least`, `(K, C)`, an operand `(C, ...)` reaches, in a ring of
        `bits`; None: the smallest that holds it. More than what one comparison takes are compared
        with copies of the operand, all in one step.
        """
        out, name = self.out, self.value
        step, count = out.steps[operand], len(least)
        channels, *rest = step.shape
        together = min(count, MAX_THRESHOLDS)
        copies = -(-count // together)
        if copies > 1:
            shape = (copies * channels, *rest)
            copied = (operand,) * copies
            operand = out.add(Concat(inputs=copied, shape=shape, bits=step.bits, name=name, axis=0))
        gates = out.add(
            Gates(
                inputs=(operand,),
                shape=(together, copies * channels, *rest),
                bits=GATE_BITS,
                name=name,
                compared=step.bits,
            )
        )
        never = np.full((together * copies - count, channels), 1 << (self.bits - 1))
        thresholds = -np.concatenate([least, never])
        out.tensors[f"gates.{gates}.threshold"] = thresholds.reshape(together, -1)
        whole = (together * copies, channels, *rest)
        opened = out.add(Reshape(inputs=(gates,), shape=whole, bits=GATE_BITS, name=name))
        if count < whole[0]:
            opened = self._first(opened, count)
        bits = 1 + count.bit_length() if bits is None else bits
        return out.add(Count(inputs=(opened,), shape=step.shape, bits=bits, name=name))

    def _first(self, index: int, count: int) -> int:
        """So many along the first axis."""
        shape = (count, *self.out.steps[index].shape[1:])
        return self.out.add(
            Slice(
                inputs=(index,),
                shape=shape,
                bits=GATE_BITS,
                name=self.value,
                starts=(0,) * len(shape),
                stops=shape,
                strides=(1,) * len(shape),
            )
        )


def least_integers(reached: Callable[[I64], BOOL], shape: tuple[int, ...], bits: int) -> I64:
    """The least integers of a ring of `bits` bits at which `reached` holds, which goes on to hold
    from there; one beyond the ring's largest where it never does.
    """
    half = 1 << (bits - 1)
    low, high = np.full(shape, -half), np.full(shape, half)
    while (open_ := low < high).any():
        middle = (low + high) >> 1
        holds = reached(middle)
        high = np.where(open_ & holds, middle, high)
        low = np.where(open_ & ~holds, middle + 1, low)
    return low
