"""The step LinearMap: its meaning against Python's integers, its shares, and what is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.steps.evaluation import Evaluation
from moiety.runtime.program.weights import Weights
from tests.support.programs import make_program


@st.composite
def maps(draw: st.DrawFn) -> tuple[ir.LinearMap, tuple[int, ...]]:
    """A step, and the shape of its operand."""
    shape = draw(st.tuples(*[st.integers(1, 5)] * draw(st.integers(1, 3))))
    axis = draw(st.integers(0, len(shape) - 1))
    width = draw(st.integers(1, shape[axis]))
    rows = draw(st.integers(1, 5))
    starts = draw(st.tuples(*[st.integers(0, shape[axis] - width)] * rows))
    taps = draw(st.tuples(*[st.tuples(*[st.integers(-300, 300)] * width)] * rows))
    result = (*shape[:axis], rows, *shape[axis + 1 :])
    bits = draw(st.sampled_from([2, 17, 33, 64]))
    step = ir.LinearMap(inputs=(0,), shape=result, bits=bits, axis=axis, starts=starts, taps=taps)
    return step, shape


@settings(max_examples=100, deadline=None)
@given(drawn=maps(), seed=st.integers(0, 1 << 30))
def test_meaning_and_shares(drawn: tuple[ir.LinearMap, tuple[int, ...]], seed: int) -> None:
    step, shape = drawn
    rng = np.random.default_rng(seed)
    half = 1 << (min(step.bits, 50) - 1)
    x = rng.integers(-half, half, shape)
    slow = np.zeros(step.shape, object)
    for place in np.ndindex(step.shape):
        start, row = step.starts[place[step.axis]], step.taps[place[step.axis]]
        for offset, tap in enumerate(row):
            source = (*place[: step.axis], start + offset, *place[step.axis + 1 :])
            slow[place] += tap * int(x[source])
    at = Evaluation((step.bits,), {}, False, None)
    reduced = ring.reduce(step.meaning([x], at).astype(np.uint64), step.bits)
    assert reduced.tolist() == (slow % (1 << step.bits)).tolist()
    limit = 1 << (step.bits - 1)
    assert at.overflows == sum(not -limit <= v < limit for v in slow.ravel().tolist())
    own = ring.reduce(rng.integers(0, 1 << 63, (2, *shape)).astype(np.uint64), step.bits)
    other = ring.reduce(np.stack([x, x]).astype(np.uint64) - own, step.bits)
    total = ring.reduce(step.on_shares([own]) + step.on_shares([other]), step.bits)
    assert total.shape == (2, *step.shape)
    assert (total == reduced).all()


GOOD = ir.LinearMap(
    inputs=(0,), shape=(2, 3), bits=16, axis=1, starts=(0, 1, 2), taps=((1, 2), (0, 4), (-1, 3))
)


def of(step: ir.AnyStep) -> ir.Program:
    return make_program(ir.Input(inputs=(), shape=(2, 4), bits=16, scale=1.0), step)


def test_what_leaves_the_ring_is_counted() -> None:
    """Where the value itself is revealed."""
    executor = CleartextExecutor(of(GOOD), Weights({}))
    executor.run_integers(np.full((2, 4), 9000.0))
    assert executor.overflows == {1: 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"axis": 2}, "axis 2 is not one of 2"),
        ({"axis": -1}, "axis -1 is not one of 2"),
        ({"starts": (0, 1)}, "not one row of taps"),
        ({"taps": ((1, 2), (0, 4), (3,))}, "not one row of taps"),
        ({"starts": (), "taps": ()}, "not one row of taps"),
        ({"taps": ((), (), ())}, "rows reach beyond"),
        ({"starts": (0, 1, 3)}, "rows reach beyond the 4 elements"),
        ({"starts": (-1, 1, 2)}, "rows reach beyond the 4 elements"),
        ({"taps": ((1, 2), (0, 4), (1 << 16, 1))}, "sum up to more than"),
        ({"shape": (2, 2)}, "shape"),
    ],
)
def test_nothing_is_believed(wrong: dict[str, Any], message: str) -> None:
    of(GOOD).check()
    with pytest.raises(BadArtifact, match=message):
        of(msgspec.structs.replace(GOOD, **wrong)).check()
