"""What the cleartext executor adds for two parties' noise, and what it counts as having left its
ring where a sum is not exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import I64
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.steps.evaluation import Evaluation
from moiety.runtime.program.weights import Weights
from tests.support.programs import make_program, rlwe_plan

MANY = 60_000


def layer(guard: int, bits: int = 30) -> ir.Linear:
    """One product for each of MANY places."""
    return ir.Linear(
        inputs=(0,),
        shape=(1, 1, MANY),
        bits=bits + guard,
        kernel=(1, 1),
        pads=(0, 0, 0, 0),
        weight_bits=8,
        guard=guard,
        rlwe=rlwe_plan(bits),
    )


@dataclass
class Made:
    """A layer's meaning of one number everywhere, times `weight` plus `bias`."""

    step: ir.Linear
    weight: int
    bias: int
    overflows: int = field(init=False)

    def of(self, number: int) -> I64:
        tensors: dict[str, Any] = {
            "weight": np.full((1, 1, 1, 1), self.weight, np.int32),
            "bias": np.full((1, 1, 1), self.bias, np.int64),
        }
        at = Evaluation((self.step.operand_bits,), tensors, False, np.random.default_rng(7))
        made = self.step.meaning([np.full((1, 1, MANY), number, np.int64)], at)
        self.overflows = at.overflows
        return made


def test_a_layer_with_all_its_bits_misses_by_one_at_most() -> None:
    """As often by each."""
    errors = Made(layer(0), 3, 5).of(1000) - 3005
    values, counts = np.unique(errors, return_counts=True)
    assert values.tolist() == [-1, 0, 1]
    assert np.abs(counts - MANY / 3).max() < 7 * np.sqrt(MANY * 2 / 9)


@pytest.mark.parametrize("left", [1, 4, 6])
def test_a_layer_that_leaves_bits_behind_has_the_noise_of_a_step_and_both_roundings(
    left: int,
) -> None:
    errors = Made(layer(-left), 3, 5).of(1000) - 3005 / 2**left
    assert abs(errors.mean()) < 7 * np.sqrt(1.3 / MANY)
    assert errors.var() == pytest.approx(1 + 3 / 12, rel=0.04)


@pytest.mark.parametrize("guard", [2, 0])
def test_sums_that_float64_cannot_hold_are_counted_with_their_bias(guard: int) -> None:
    """int64 wraps, and the bias brings some of them back, or out."""
    half, number = 1 << 61, (1 << 55) - 1
    inside, outside = Made(layer(guard, 62), 64, -half), Made(layer(guard, 62), 64, half)
    inside.of(number), outside.of(number)
    assert (inside.overflows, outside.overflows) == (0, MANY)


def test_what_has_no_headroom_is_counted_by_argmax_and_pools() -> None:
    values = np.array([1 << 14, (1 << 14) - 1, -(1 << 14), -(1 << 14) - 1, 0])
    window: Any = {"kernel": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    steps = [
        (ir.Argmax(inputs=(0,), shape=(1,), bits=4), (5,)),
        (ir.MaxPool(inputs=(0,), shape=(5, 1, 1), bits=16, **window), (5, 1, 1)),
        (ir.Extend(inputs=(0,), shape=(5,), bits=20, headroom=True), (5,)),
        (ir.Square(inputs=(0,), shape=(5,), bits=40), (5,)),
    ]
    for step, shape in steps:
        at = Evaluation((16,), {}, False, None)
        step.meaning([values.reshape(shape)], at)
        assert at.overflows == 2, step.kind
    at = Evaluation((40, 16), {}, False, None)
    ir.Product(inputs=(0, 1), shape=(5,), bits=40).meaning([np.zeros(5, np.int64), values], at)
    assert at.overflows == 2


def test_overflows_of_all_images_add_up() -> None:
    source = ir.Input(inputs=(), shape=(3,), bits=8, scale=1.0)
    total = ir.Add(inputs=(0, 0), shape=(3,), bits=8, signs=(1, 1))
    executor = CleartextExecutor(make_program(source, total), Weights({}))
    for image in ([100, -100, 1], [1, 1, -100], [1, 2, 3]):
        executor.run(np.array(image, np.float32))
    assert (executor.overflows, executor.images) == ({1: 3}, 3)
