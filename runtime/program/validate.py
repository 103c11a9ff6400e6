"""Is a Program sound? Every shape, ring width, reference and lattice parameter is
checked before a party acts on it.

A Program comes from the other side, so nothing in it is believed: a step whose declared shape or
ring does not follow from its operands, or an RLWE plan below 128 bits of security, is refused.
Shapes and widths are recomputed here, independently of the planner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

from moiety.protocols.compare.digits import MAX_THRESHOLDS
from moiety.protocols.errors import BadArtifact, BadPlan
from moiety.protocols.linear.parameters import MAX_WEIGHT_BITS, check_parameters
from moiety.runtime import program as ir

MAX_ELEMENTS = 1 << 28
MAX_STEPS = 100_000
MAX_BITS = 64
GATE_BITS = 1


def check_program(program: ir.Program) -> None:
    """BadArtifact, naming the step, unless the Program is sound."""
    steps = program.steps
    if not 2 <= len(steps) <= MAX_STEPS:
        raise BadArtifact(f"the Program has {len(steps)} steps; 2 to {MAX_STEPS} are possible")
    outputs = [index for index, step in enumerate(steps) if isinstance(step, ir.Output)]
    if not outputs or outputs != list(range(len(steps) - len(outputs), len(steps))):
        raise BadArtifact("the Program's outputs must be its last steps, at least one")
    if [index for index, step in enumerate(steps) if isinstance(step, ir.Input)] != [0]:
        raise BadArtifact("the Program must have exactly one input, as its first step")
    for index, step in enumerate(steps):
        _StepCheck(program, index, step).run()
    if program.preprocessing is not None:
        _check_preprocessing(program.preprocessing, program.input.shape)


def _check_preprocessing(public: ir.Preprocessing, shape: tuple[int, ...]) -> None:
    if (public.channels, *public.size) != ir.picture_shape(shape):
        raise BadArtifact(
            f"the preprocessing makes {(public.channels, *public.size)}, the input takes {shape}"
        )
    if len(public.mean) != public.channels or len(public.std) != public.channels:
        raise BadArtifact(
            f"the preprocessing needs {public.channels} means and standard deviations"
        )
    if not all(map(math.isfinite, public.mean)) or not all(
        math.isfinite(s) and s > 0 for s in public.std
    ):
        raise BadArtifact(
            "the preprocessing has a mean or standard deviation that is not a number, or is not positive"
        )


class _StepCheck:
    """One step against its operands."""

    def __init__(self, program: ir.Program, index: int, step: ir.AnyStep) -> None:
        self.program, self.index, self.step = program, index, step

    def fail(self, reason: str) -> NoReturn:
        kind = type(self.step).__name__.lower()
        name = f" {self.step.name!r}" if self.step.name else ""
        raise BadArtifact(f"step {self.index} ({kind}{name}): {reason}")

    def require(self, holds: bool, reason: str) -> None:
        if not holds:
            self.fail(reason)

    def run(self) -> None:
        step, index = self.step, self.index
        arity = {ir.Input: (0, 0), ir.Add: (2, 64), ir.Concat: (1, MAX_STEPS), ir.Relu: (1, 2)}.get(
            type(step), (1, 1)
        )
        self.require(
            arity[0] <= len(step.inputs) <= arity[1], f"it has {len(step.inputs)} operands"
        )
        self.require(
            all(0 <= i < index for i in step.inputs),
            f"operands {step.inputs} are not all earlier steps",
        )
        operands = [self.program.steps[i] for i in step.inputs]
        self.require(
            not any(isinstance(x, ir.Output) for x in operands), "an output is not an operand"
        )
        self.require(1 <= len(step.shape) <= 8, f"shape {step.shape} has an impossible rank")
        self.require(all(n >= 1 for n in step.shape), f"shape {step.shape} has an empty dimension")
        self.require(
            math.prod(step.shape) <= MAX_ELEMENTS, f"shape {step.shape} has too many elements"
        )
        if isinstance(step, ir.Relu) and len(operands) == 2:
            gate = operands.pop()
            self.require(gate.bits == GATE_BITS, "its second operand is not a tensor of gate bits")
            self.require(
                gate.shape == operands[0].shape,
                f"gates of shape {gate.shape} for {operands[0].shape}",
            )
        if isinstance(step, ir.Gates) or any(x.bits == GATE_BITS for x in operands):
            self.gates(operands)
            return
        self.require(
            2 <= step.bits <= MAX_BITS, f"ring width {step.bits} is not within 2..{MAX_BITS}"
        )
        if operands:
            bits, shape = self.ring(operands), self.shape(operands[0].shape, operands)
            self.require(
                step.bits == bits, f"ring width {step.bits} where its operands give {bits}"
            )
            self.require(step.shape == shape, f"shape {step.shape} where its operands give {shape}")
        self.details()

    def gates(self, operands: Sequence[ir.Step]) -> None:
        """XOR-shared bits: made by Gates from ring elements, reindexed, and read by Relu."""
        step, x = self.step, operands[0]
        self.require(step.bits == GATE_BITS, "gate bits have ring width 1")
        if isinstance(step, ir.Gates):
            self.require(x.bits >= 2, "gates of gates")
            count = step.shape[0]
            self.require(
                1 <= count <= MAX_THRESHOLDS,
                f"{count} thresholds; 1 to {MAX_THRESHOLDS} are possible",
            )
            self.require(
                step.shape[1:] == x.shape, f"shape {step.shape} where its operand has {x.shape}"
            )
            return
        self.require(
            isinstance(step, ir.Slice | ir.Reshape | ir.Concat), "gate bits can only be reindexed"
        )
        self.require(
            all(y.bits == GATE_BITS for y in operands), "gate bits and ring elements mixed"
        )
        shape = self.shape(x.shape, operands)
        self.require(step.shape == shape, f"shape {step.shape} where its operands give {shape}")

    def details(self) -> None:
        """What neither shape nor ring says."""
        match self.step:
            case ir.Input() as step:
                self.require(
                    math.isfinite(step.scale) and step.scale > 0,
                    f"scale {step.scale} is not positive",
                )
                if step.value_bits is not None:
                    self.require(
                        2 <= step.value_bits <= step.bits,
                        f"value_bits {step.value_bits} exceed the ring",
                    )
            case ir.Output() as step:
                self.require(
                    math.isfinite(step.scale) and step.scale > 0,
                    f"scale {step.scale} is not positive",
                )
                if step.labels:
                    self.require(
                        len(step.labels) == math.prod(step.shape),
                        "there are not as many labels as values",
                    )
            case ir.Truncate() as step if self.program.rounding == "exact":
                self.require(
                    step.rounding == "exact",
                    "a stochastic truncation in a Program that promises exact rounding",
                )
            case ir.Linear() as step:
                self.check_linear(step)
            case _:
                pass

    def ring(self, operands: Sequence[ir.Step]) -> int:
        """Ring width that follows from the operands (of a conversion: its
        own, if it goes the right way).
        """
        widths = {x.bits for x in operands}
        self.require(len(widths) == 1, f"operands live in different rings, {sorted(widths)} bits")
        bits = widths.pop()
        match self.step:
            case ir.Truncate(shift=shift):
                self.require(
                    1 <= shift < bits - 1, f"shift {shift} does not fit a ring of {bits} bits"
                )
                return bits - shift
            case ir.Relu(bits=own) | ir.Extend(bits=own):
                self.require(
                    own >= bits,
                    f"the result's ring ({own} bits) is narrower than the operand's ({bits})",
                )
                return own
            case ir.Reduce(bits=own):
                self.require(
                    own <= bits,
                    f"the result's ring ({own} bits) is wider than the operand's ({bits})",
                )
                return own
            case _:
                return bits

    def shape(self, x: tuple[int, ...], operands: Sequence[ir.Step]) -> tuple[int, ...]:
        match self.step:
            case ir.Linear() as step:
                return self.linear_shape(step, x)
            case ir.MaxPool() | ir.SumPool() as step:
                return self.pooled_shape(step, x)
            case ir.Add() as step:
                self.require(all(y.shape == x for y in operands), "operands have different shapes")
                self.require(
                    len(step.signs) == len(operands), "there are not as many signs as operands"
                )
                self.require(set(step.signs) <= {1, -1}, f"signs {step.signs} are not all +1 or -1")
                return x
            case ir.Concat(axis=axis):
                self.require(0 <= axis < len(x), f"axis {axis} is not one of {len(x)}")
                rests = {y.shape[:axis] + y.shape[axis + 1 :] for y in operands}
                self.require(rests == {x[:axis] + x[axis + 1 :]}, "operands differ beyond the axis")
                return (*x[:axis], sum(y.shape[axis] for y in operands), *x[axis + 1 :])
            case ir.Slice() as step:
                limits = tuple(zip(step.starts, step.stops, step.strides, strict=False))
                self.require(
                    len(step.starts) == len(step.stops) == len(step.strides) == len(x)
                    and all(
                        0 <= a < b <= n and s >= 1 for (a, b, s), n in zip(limits, x, strict=True)
                    ),
                    f"limits do not fit an operand of shape {x}",
                )
                return tuple(-(-(b - a) // s) for a, b, s in limits)
            case ir.Reshape() as step:
                self.require(
                    math.prod(step.shape) == math.prod(x),
                    f"shape {step.shape} from an operand of shape {x}",
                )
                return step.shape
            case ir.Transpose(perm=perm):
                self.require(
                    sorted(perm) == list(range(len(x))),
                    f"{perm} is not a permutation of {len(x)} axes",
                )
                return tuple(x[axis] for axis in perm)
            case ir.Pad(pads=pads):
                self.require(
                    len(pads) == len(x) and all(n >= 0 for pair in pads for n in pair),
                    f"pads {pads} do not fit",
                )
                return tuple(before + n + after for n, (before, after) in zip(x, pads, strict=True))
            case _:
                return x

    def linear_shape(self, step: ir.Linear, x: tuple[int, ...]) -> tuple[int, ...]:
        self.require(
            len(x) == 3 and len(step.shape) == 3,
            "a linear layer takes and makes three axes (C, H, W)",
        )
        self.require(
            min(step.kernel) >= 1 and min(step.dilations) >= 1,
            "kernel and dilations must be positive",
        )
        self.require(min(step.pads) >= 0, "pads must not be negative")
        filters = step.shape[0]
        self.require(
            step.groups >= 1 and x[0] % step.groups == 0 and filters % step.groups == 0,
            f"{step.groups} groups do not divide {x[0]} channels and {filters} filters",
        )
        top, left, bottom, right = step.pads
        height = x[1] + top + bottom - step.dilations[0] * (step.kernel[0] - 1)
        width = x[2] + left + right - step.dilations[1] * (step.kernel[1] - 1)
        return (filters, height, width)

    def pooled_shape(self, step: ir.MaxPool | ir.SumPool, x: tuple[int, ...]) -> tuple[int, ...]:
        self.require(len(x) == 3, "a pool takes three axes (C, H, W)")
        self.require(
            min(step.kernel) >= 1 and min(step.strides) >= 1, "kernel and strides must be positive"
        )
        top, left, bottom, right = step.pads
        (kh, kw), (sy, sx) = step.kernel, step.strides
        self.require(
            min(step.pads) >= 0 and max(top, bottom) < kh and max(left, right) < kw,
            "pads reach the kernel",
        )
        padded = x[1] + top + bottom - kh, x[2] + left + right - kw
        self.require(min(padded) >= 0, f"a kernel of {step.kernel} is larger than its operand {x}")
        return (x[0], padded[0] // sy + 1, padded[1] // sx + 1)

    def check_linear(self, step: ir.Linear) -> None:
        self.require(
            2 <= step.weight_bits <= MAX_WEIGHT_BITS,
            f"weight_bits {step.weight_bits} exceed {MAX_WEIGHT_BITS}",
        )
        plan = step.rlwe
        if self.program.rounding == "exact":
            self.require(
                plan.masking == "flooded",
                "uniform masking in a Program that promises exact rounding",
            )
        try:
            check_parameters(plan.degree, plan.primes)
        except BadPlan as error:
            self.fail(str(error))
        modulus_bits = math.log2(math.prod(plan.primes))
        self.require(
            step.bits <= plan.answer_bits < modulus_bits + 1,
            f"answer_bits {plan.answer_bits} do not fit",
        )
        if plan.masking == "flooded":
            self.require(plan.flood_bits >= 1, "flooded masking without flooding")
        self.require(
            min(plan.channels_per_ciphertext, plan.filters_per_answer, *plan.tile) >= 1,
            "an empty packing",
        )
