"""Hand-made Programs for tests of the runtime: a step list with shapes and rings, and random
Weights that fit.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

from moiety.protocols.compare.argmax import place_bits
from moiety.protocols.linear.parameters import ntt_primes
from moiety.runtime import program as ir
from moiety.runtime.program.policy import Policy, Reveal
from moiety.runtime.program.weights import Weights, step_secrets

GUARD = 2
"""Guard bits of the linear layers of exact Programs made here."""


def rlwe_plan(bits: int) -> ir.RlwePlan:
    """Parameters that validate; the layout suits nothing (for tests that run no cryptography)."""
    return ir.RlwePlan(
        degree=4096,
        primes=ntt_primes(26, 4),
        channels_per_ciphertext=1,
        filters_per_answer=1,
        tile=(1, 1),
        answer_bits=bits + 10,
    )


def uncommitted(program: ir.Program) -> ir.Program:
    """What compiling one model twice makes alike: all but the commitment, whose salt is drawn."""
    return msgspec.structs.replace(program, commitment="")


def make_program(*steps: ir.AnyStep, rounding: ir.Rounding = "exact", **fields: Any) -> ir.Program:
    """A Program of these steps, an Output added after the last."""
    last = steps[-1]
    output = ir.Output(
        inputs=(len(steps) - 1,), shape=last.shape, bits=last.bits, name="out", scale=1.0
    )
    values = {
        "name": "test",
        "rounding": rounding,
        "preprocessing": None,
        "disclosed": (),
        **fields,
    }
    return ir.Program(steps=(*steps, output), **values)


def small_program(rounding: ir.Rounding = "exact") -> ir.Program:
    """One step of (almost) every kind: convolution, truncation, max, gates, sum, residual, and a
    final fully connected layer.
    """

    def guard(shift: int) -> int:
        return GUARD if rounding == "exact" else 4 - shift

    def linear(
        source: int, shape: tuple[int, ...], bits: int, shift: int, **fields: Any
    ) -> ir.Linear:
        return ir.Linear(
            inputs=(source,),
            shape=shape,
            bits=bits + guard(shift),
            weight_bits=8,
            guard=guard(shift),
            rlwe=rlwe_plan(bits),
            **fields,
        )

    def truncate(source: int, shape: tuple[int, ...], bits: int, shift: int) -> ir.Truncate:
        return ir.Truncate(
            inputs=(source,),
            shape=shape,
            bits=bits,
            shift=shift + guard(shift),
            rounding=rounding,
        )

    same = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
    steps: list[ir.AnyStep] = [
        ir.Input(inputs=(), shape=(2, 8, 8), bits=26, scale=1 / 64, value_bits=10),
        linear(0, (4, 8, 8), 26, 10, **same),
        truncate(1, (4, 8, 8), 16, 10),
        ir.MaxPool(
            inputs=(2,), shape=(4, 4, 4), bits=16, kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)
        ),
        ir.Relu(inputs=(3,), shape=(4, 4, 4), bits=26, affine=False),
        linear(4, (4, 4, 4), 26, 10, **same, groups=2),
        truncate(5, (4, 4, 4), 16, 10),
        ir.Reduce(inputs=(4,), shape=(4, 4, 4), bits=16),
        ir.Add(inputs=(6, 7), shape=(4, 4, 4), bits=16, signs=(1, -1)),
        ir.AddConst(inputs=(8,), shape=(4, 4, 4), bits=16),
        ir.Concat(inputs=(9, 3), shape=(8, 4, 4), bits=16, axis=0),
        ir.Relu(inputs=(10,), shape=(8, 4, 4), bits=28, affine=True),
        ir.SumPool(
            inputs=(11,), shape=(8, 2, 2), bits=28, kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0)
        ),
        ir.Slice(
            inputs=(12,),
            shape=(4, 2, 2),
            bits=28,
            starts=(0, 0, 0),
            stops=(8, 2, 2),
            strides=(2, 1, 1),
        ),
        ir.Pad(inputs=(13,), shape=(4, 2, 3), bits=28, pads=((0, 0), (0, 0), (1, 0))),
        ir.Transpose(inputs=(14,), shape=(2, 4, 3), bits=28, perm=(1, 0, 2)),
        ir.Reshape(inputs=(15,), shape=(24, 1, 1), bits=28),
        linear(16, (3, 1, 1), 28, 8, kernel=(1, 1), pads=(0, 0, 0, 0)),
        truncate(17, (3, 1, 1), 20, 8),
        ir.Extend(inputs=(18,), shape=(3, 1, 1), bits=24),
        ir.Reshape(inputs=(19,), shape=(3,), bits=24),
    ]
    return make_program(*steps, rounding=rounding)


def products() -> ir.Program:
    """A gate per channel times a feature map, its square, and a product of two maps."""
    shape, gates, window = (6, 4, 4), (6, 1, 1), (4, 4)
    return make_program(
        ir.Input(inputs=(), shape=shape, bits=16, scale=1.0, value_bits=11),
        ir.SumPool(
            inputs=(0,), shape=gates, bits=16, kernel=window, strides=window, pads=(0, 0, 0, 0)
        ),
        ir.Truncate(inputs=(1,), shape=gates, bits=8, shift=8, rounding="exact"),
        ir.Extend(inputs=(0,), shape=shape, bits=20, headroom=True),
        ir.Product(inputs=(3, 2), shape=shape, bits=20),
        ir.Reduce(inputs=(0,), shape=shape, bits=12),
        ir.Square(inputs=(5,), shape=shape, bits=24),
        ir.Reduce(inputs=(6,), shape=shape, bits=20),
        ir.Product(inputs=(4, 5), shape=shape, bits=20),
        ir.Add(inputs=(7, 8), shape=shape, bits=20, signs=(1, -1)),
    )


def counted(thresholds: int = 1, labels: int = 4, bits: int = 16, **fields: Any) -> ir.Program:
    """How many of so many secret thresholds each value reaches: a decision, or a probability."""
    shape = (labels,)
    gates = (thresholds, labels)
    reveal: Reveal = "decision" if thresholds == 1 else "probabilities"
    made = make_program(
        ir.Input(inputs=(), shape=shape, bits=bits, scale=1.0, value_bits=bits - 1),
        ir.Gates(inputs=(0,), shape=gates, bits=1, compared=bits),
        ir.Count(inputs=(1,), shape=shape, bits=1 + thresholds.bit_length()),
        policy=Policy(reveal=reveal),
        **fields,
    )
    return with_output(made, scale=1 / thresholds)


def largest(labels: int = 4, bits: int = 16, **fields: Any) -> ir.Program:
    """Which of some values is the largest."""
    return make_program(
        ir.Input(inputs=(), shape=(labels,), bits=bits, scale=1.0, value_bits=bits - 1),
        ir.Argmax(inputs=(0,), shape=(1,), bits=place_bits(labels)),
        policy=Policy(reveal="top-1"),
        **fields,
    )


def with_output(program: ir.Program, **fields: Any) -> ir.Program:
    """With other fields of its last output."""
    *steps, output = program.steps
    return msgspec.structs.replace(
        program, steps=(*steps, msgspec.structs.replace(output, **fields))
    )


def clinical_program(**fields: Any) -> ir.Program:
    """Of a picture "x-ray" (1, 4, 4) and a vector "age, sex" (2,): a layer of both together."""
    linear = ir.Linear(
        inputs=(4,),
        shape=(3, 1, 1),
        bits=26 + GUARD,
        weight_bits=8,
        guard=GUARD,
        kernel=(1, 1),
        pads=(0, 0, 0, 0),
        rlwe=rlwe_plan(26),
    )
    truncate = ir.Truncate(inputs=(5,), shape=(3, 1, 1), bits=18, shift=8 + GUARD, rounding="exact")
    return make_program(
        ir.Input(inputs=(), shape=(1, 4, 4), bits=26, name="x-ray", scale=1 / 64, value_bits=9),
        ir.Input(inputs=(), shape=(2,), bits=26, name="age, sex", scale=1 / 4, value_bits=10),
        ir.Reshape(inputs=(0,), shape=(16, 1, 1), bits=26),
        ir.Reshape(inputs=(1,), shape=(2, 1, 1), bits=26),
        ir.Concat(inputs=(2, 3), shape=(18, 1, 1), bits=26, axis=0),
        linear,
        truncate,
        **fields,
    )


def gate_bits(*steps: ir.AnyStep) -> ir.Program:
    """Steps after an input (4, 3) and one gate of each of its elements, (1, 4, 3)."""
    return make_program(
        ir.Input(inputs=(), shape=(4, 3), bits=16, scale=1.0),
        ir.Gates(inputs=(0,), shape=(1, 4, 3), bits=1, compared=16),
        *steps,
    )


def expecting() -> ir.Program:
    """An output that says where its values are expected."""
    program = make_program(ir.Input(inputs=(), shape=(3,), bits=16, scale=1.0))
    *steps, output = program.steps
    output = msgspec.structs.replace(output, expected=(-100, 200))
    return msgspec.structs.replace(program, steps=(*steps, output))


def append_opened_relu(steps: list[ir.AnyStep], gates: int, which: int, bits: int) -> None:
    """A ReLU of what the Gates at index `gates` compare, opened by the gate of number `which`."""
    source = steps[gates].inputs[0]
    shape = steps[source].shape
    last, zeros, ones = len(steps), (0,) * len(shape), (1,) * len(shape)
    gate = ir.Slice(
        inputs=(gates,),
        shape=(1, *shape),
        bits=1,
        starts=(which, *zeros),
        stops=(which + 1, *shape),
        strides=(1, *ones),
    )
    steps.append(gate)
    steps.append(ir.Reshape(inputs=(last,), shape=shape, bits=1))
    steps.append(ir.Relu(inputs=(source, last + 1), shape=shape, bits=bits, affine=True))


def random_weights(
    program: ir.Program, rng: np.random.Generator, weight: int = 100, bias: int = 1000
) -> Weights:
    """Uniform weights below `weight`; biases, thresholds, constants below `bias`; random flips."""
    tensors = {}
    for secret in itertools.chain.from_iterable(step_secrets(program)):
        shape = secret.shapes[0]
        if secret.dtype is np.uint8:
            tensors[secret.name] = rng.integers(0, 2, shape, np.uint8)
        else:
            limit = weight if secret.role == "weight" else bias
            tensors[secret.name] = rng.integers(-limit, limit + 1, shape).astype(secret.dtype)
    return Weights(tensors)
