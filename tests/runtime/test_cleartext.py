"""The cleartext executor: each step against an independent definition on Python integers,
both roundings, overflow counts.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.errors import BadArtifact, BadInput
from moiety.protocols.linear.convolution import convolve
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.steps.evaluation import Evaluation
from moiety.runtime.program.weights import Weights
from tests.support.programs import (
    GUARD,
    make_program,
    random_weights,
    rlwe_plan,
    small_program,
)


def signed(value: int, bits: int) -> int:
    """The signed representative of a Python integer modulo 2^bits."""
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


def slow_convolution(x: Any, w: Any, pads: Any, dilations: Any, groups: int) -> Any:
    """The definition, on Python integers."""
    filters, depth, kh, kw = w.shape
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right))).astype(object)
    height = padded.shape[1] - dilations[0] * (kh - 1)
    width = padded.shape[2] - dilations[1] * (kw - 1)
    out = np.zeros((filters, height, width), object)
    for m, y, z in np.ndindex(filters, height, width):
        first = m // (filters // groups) * depth
        out[m, y, z] = sum(
            int(w[m, c, i, j]) * int(padded[first + c, y + i * dilations[0], z + j * dilations[1]])
            for c, i, j in np.ndindex(depth, kh, kw)
        )
    return out


@pytest.mark.parametrize("magnitude", [10, 40, 50])
@pytest.mark.parametrize(
    ("channels", "filters", "kernel", "pads", "dilations", "groups"),
    [
        (3, 4, (1, 1), (0, 0, 0, 0), (1, 1), 1),
        (3, 4, (3, 2), (1, 0, 2, 1), (1, 1), 1),
        (4, 4, (3, 3), (2, 2, 2, 2), (2, 2), 1),
        (4, 6, (3, 3), (1, 1, 1, 1), (1, 2), 2),
        (4, 4, (3, 3), (1, 1, 1, 1), (1, 1), 4),
        (4, 8, (1, 1), (0, 0, 0, 0), (1, 1), 4),
    ],
)
def test_convolution_is_exact(
    magnitude: int, channels: int, filters: int, kernel: Any, pads: Any, dilations: Any, groups: int
) -> None:
    rng = np.random.default_rng(magnitude)
    x = rng.integers(-(1 << magnitude), 1 << magnitude, (channels, 5, 6))
    w = rng.integers(-(1 << 11), 1 << 11, (filters, channels // groups, *kernel)).astype(np.int32)
    expected = slow_convolution(x, w, pads, dilations, groups)
    total, approximate = convolve(x, w, pads, dilations, groups)
    assert [int(v) for v in total.ravel()] == [signed(int(v), 64) for v in expected.ravel()]
    assert (approximate is None) is {10: True, 50: False}.get(magnitude, approximate is None)
    if approximate is not None:
        np.testing.assert_allclose(approximate, expected.astype(float), rtol=1e-9)


def test_bands_of_a_large_image_join() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-9, 9, (8, 200, 150))
    w = rng.integers(-9, 9, (2, 8, 3, 3)).astype(np.int32)
    total, _ = convolve(x, w, (1, 1, 1, 1), (1, 1), 1)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    expected = sum(
        np.einsum("mc,chw->mhw", w[:, :, i, j], padded[:, i : i + 200, j : j + 150])
        for i, j in itertools.product(range(3), repeat=2)
    )
    np.testing.assert_array_equal(total, expected)


def run(
    program: ir.Program, weights: Weights, x: Any, rng: np.random.Generator | None = None
) -> tuple[Any, CleartextExecutor]:
    executor = CleartextExecutor(program, weights, rng)
    (result,) = executor.run_quantised(np.asarray(x, np.int64)).values()
    return result, executor


def _input(shape: tuple[int, ...], bits: int) -> ir.Input:
    return ir.Input(inputs=(), shape=shape, bits=bits, scale=1.0)


@given(
    st.lists(st.integers(-(1 << 19), (1 << 19) - 1), min_size=1, max_size=20), st.integers(1, 17)
)
def test_exact_truncation_is_floor(values: list[int], shift: int) -> None:
    n = (len(values),)
    program = make_program(
        _input(n, 20),
        ir.Truncate(inputs=(0,), shape=n, bits=20 - shift, shift=shift, rounding="exact"),
    )
    result, executor = run(program, Weights({}), values)
    assert result.tolist() == [signed((v % (1 << 20)) >> shift, 20 - shift) for v in values]
    assert not executor.overflows


@pytest.mark.parametrize("value", [-5000, -1, 0, 1, 5003, (1 << 18) - 5])
def test_stochastic_truncation_has_the_law_of_the_local_protocol(value: int) -> None:
    """Against shares drawn as in the protocol: the same two outcomes, with the same frequencies."""
    bits, shift, n = 20, 4, 40_000
    program = make_program(
        _input((n,), bits),
        ir.Truncate(inputs=(0,), shape=(n,), bits=bits - shift, shift=shift, rounding="stochastic"),
        rounding="stochastic",
    )
    result, _ = run(program, Weights({}), np.full(n, value), np.random.default_rng(5))
    rng = np.random.default_rng(6)
    x0 = rng.integers(0, 1 << bits, n)
    x1 = (value - 1 - x0) % (1 << bits)  # the server takes 1 off its share first
    protocol = ((x0 >> shift) + (x1 >> shift) + 1) % (1 << (bits - shift))
    protocol = np.where(protocol >> (bits - shift - 1), protocol - (1 << (bits - shift)), protocol)
    assert (
        set(result.tolist())
        == set(protocol.tolist())
        <= {value - 1 >> shift, (value - 1 >> shift) + 1}
    )
    assert abs(result.mean() - protocol.mean()) < 0.02
    assert abs(protocol.mean() - value / 16) < 0.01


def test_affine_relu_against_its_definition() -> None:
    rng = np.random.default_rng(7)
    shape = (6, 5, 5)
    program = make_program(
        _input(shape, 12), ir.Relu(inputs=(0,), shape=shape, bits=20, affine=True)
    )
    x = rng.integers(-1000, 1000, shape)
    c, flip = rng.integers(-900, 900, 6), np.array([0, 1, 0, 1, 0, 1], np.uint8)
    result, executor = run(program, Weights({"relu.1.threshold": c, "relu.1.flip": flip}), x)
    for channel, y, z in np.ndindex(shape):
        t = int(x[channel, y, z] + c[channel])
        assert result[channel, y, z] == (min(t, 0) if flip[channel] else max(t, 0))
    assert not executor.overflows


def test_affine_relu_wraps_like_the_ring_and_counts() -> None:
    program = make_program(_input((1,), 8), ir.Relu(inputs=(0,), shape=(1,), bits=16, affine=True))
    weights = Weights({"relu.1.threshold": np.array([100]), "relu.1.flip": np.zeros(1, np.uint8)})
    result, executor = run(program, weights, [100])
    assert result.tolist() == [0]  # 200 is -56 in 8 bits
    assert executor.overflows == {1: 1}


def test_the_lowest_value_passes_a_flipped_gate() -> None:
    """As between two parties (tests/protocols/test_small_rings), and nothing has left the ring."""
    program = make_program(_input((1,), 8), ir.Relu(inputs=(0,), shape=(1,), bits=16, affine=True))
    weights = Weights({"relu.1.threshold": np.array([-100]), "relu.1.flip": np.ones(1, np.uint8)})
    result, executor = run(program, weights, [-28])
    assert result.tolist() == [-128]
    assert not executor.overflows


def pointwise(
    source: int, shape: tuple[int, int, int], bits: int, weight_bits: int
) -> tuple[ir.Linear, ir.Truncate]:
    """A 1x1 convolution in a ring of `bits` bits as the step after `source`, and the removal of its
    guard bits. Its lattice parameters fit rings of at most 40 bits; none is used here.
    """
    layer = ir.Linear(
        inputs=(source,),
        shape=shape,
        bits=bits + GUARD,
        kernel=(1, 1),
        pads=(0, 0, 0, 0),
        weight_bits=weight_bits,
        guard=GUARD,
        rlwe=rlwe_plan(min(bits, 40)),
    )
    inputs = (source + 1,)
    return layer, ir.Truncate(inputs=inputs, shape=shape, bits=bits, shift=GUARD, rounding="exact")


def test_linear_overflow_wraps_and_counts() -> None:
    layer = pointwise(0, (1, 1, 2), bits=16, weight_bits=10)
    program = make_program(_input((1, 1, 2), 16), *layer)
    weights = Weights(
        {
            "linear.1.weight": np.full((1, 1, 1, 1), 400, np.int32),
            "linear.1.bias": np.full((1, 1, 1), 7),
        }
    )
    result, executor = run(program, weights, [[[100, 50]]])
    assert result.ravel().tolist() == [signed(40007, 16), 20007]
    assert executor.overflows == {1: 1}


def test_linear_beyond_double_precision_counts_too() -> None:
    layer = pointwise(0, (1, 1, 2), bits=60, weight_bits=12)
    program = make_program(_input((1, 1, 2), 60), *layer)
    weights = Weights(
        {
            "linear.1.weight": np.full((1, 1, 1, 1), 2047, np.int32),
            "linear.1.bias": np.full((1, 1, 1), 7),
        }
    )
    large = (1 << 50) + 1
    result, executor = run(program, weights, [[[large, 1 << 45]]])
    assert result.ravel().tolist() == [signed(large * 2047 + 7, 60), (2047 << 45) + 7]
    assert executor.overflows == {1: 1}


def test_max_pool_pads_with_the_lowest_value_and_counts_lost_headroom() -> None:
    pool = ir.MaxPool(
        inputs=(0,), shape=(1, 2, 2), bits=8, kernel=(2, 2), strides=(2, 2), pads=(1, 1, 0, 0)
    )
    program = make_program(_input((1, 3, 3), 8), pool)
    x = -np.arange(9).reshape(1, 3, 3) - 1
    result, executor = run(program, Weights({}), x)
    assert result.tolist() == [[[-1, -2], [-4, -5]]]
    assert not executor.overflows
    _, executor = run(program, Weights({}), x + 66)
    assert executor.overflows == {1: 2}


def test_extension_counts_lost_headroom() -> None:
    for headroom, overflows in ((True, {1: 2}), (False, {})):
        extend = ir.Extend(inputs=(0,), shape=(4,), bits=20, headroom=headroom)
        program = make_program(_input((4,), 6), extend)
        result, executor = run(program, Weights({}), [-17, -16, 15, 16])
        assert result.tolist() == [-17, -16, 15, 16]
        assert executor.overflows == overflows


def test_add_sum_pool_and_reduce_count() -> None:
    pool = ir.SumPool(
        inputs=(0,), shape=(1, 1, 1), bits=8, kernel=(2, 2), strides=(1, 1), pads=(0, 0, 0, 0)
    )
    result, executor = run(
        make_program(_input((1, 2, 2), 8), pool), Weights({}), [[[60, 60], [1, 10]]]
    )
    assert (result.item(), executor.overflows) == (131 - 256, {1: 1})
    add = ir.Add(inputs=(0, 0), shape=(1,), bits=8, signs=(1, 1))
    result, executor = run(make_program(_input((1,), 8), add), Weights({}), [-65])
    assert (result.item(), executor.overflows) == (126, {1: 1})
    reduce = ir.Reduce(inputs=(0,), shape=(2,), bits=4)
    result, executor = run(make_program(_input((2,), 8), reduce), Weights({}), [7, 8])
    assert (result.tolist(), executor.overflows) == ([7, -8], {1: 1})


def test_whole_program_against_python_integers() -> None:
    """A second, slow implementation of the steps, on object arrays without
    any numpy integer arithmetic.
    """
    program = small_program()
    rng = np.random.default_rng(11)
    weights = random_weights(program, rng)
    image = rng.normal(size=(2, 8, 8))
    seen: dict[int, Any] = {}
    executor = CleartextExecutor(program, weights)
    executor.run_integers(image, lambda index, values: seen.__setitem__(index, values.copy()))
    slow: list[Any] = []
    for index, step in enumerate(program.steps):
        slow.append(
            _slow_step(index, step, [slow[i] for i in step.inputs], weights, image, program)
        )
        assert seen[index].tolist() == slow[index].tolist(), f"step {index}, {type(step).__name__}"
        assert seen[index].shape == step.shape


def _slow_step(
    index: int, step: Any, x: list[Any], weights: Weights, image: Any, program: ir.Program
) -> Any:
    wrap = np.vectorize(lambda v: signed(int(v), step.bits), otypes=[object])
    match step:
        case ir.Input():
            return np.rint(image / step.scale).astype(int).astype(object)
        case ir.Linear():
            w, b = (weights.tensors[f"linear.{index}.{role}"] for role in ("weight", "bias"))
            total = slow_convolution(x[0], w, step.pads, step.dilations, step.groups)
            return wrap((total + b.astype(object)) << step.guard)
        case ir.Truncate():
            return wrap(x[0] // (1 << step.shift))
        case ir.Relu():
            t = x[0]
            if not step.affine:
                return np.where(t > 0, t, 0)
            c, flip = (weights.tensors[f"relu.{index}.{role}"] for role in ("threshold", "flip"))
            bits = program.steps[step.inputs[0]].bits
            t = np.vectorize(lambda v: signed(int(v), bits), otypes=[object])(
                t + c.reshape(-1, 1, 1).astype(object)
            )
            return np.where((t < 0) == (flip.reshape(-1, 1, 1) == 1), t, 0)
        case ir.MaxPool() | ir.SumPool():
            fill = -(1 << (step.bits - 2)) if isinstance(step, ir.MaxPool) else 0
            top, left, bottom, right = step.pads
            p = np.pad(x[0], ((0, 0), (top, bottom), (left, right)), constant_values=fill)
            out = np.zeros(step.shape, object)
            for c, i, j in np.ndindex(step.shape):
                y, z = i * step.strides[0], j * step.strides[1]
                window = p[c, y : y + step.kernel[0], z : z + step.kernel[1]].ravel().tolist()
                out[c, i, j] = max(window) if isinstance(step, ir.MaxPool) else sum(window)
            return wrap(out)
        case ir.Add():
            return wrap(sum(s * y for s, y in zip(step.signs, x, strict=True)))
        case ir.AddConst():
            return wrap(x[0] + weights.tensors[f"const.{index}"].astype(object))
        case ir.Concat():
            return np.concatenate(x, step.axis)
        case ir.Slice():
            return x[0][
                tuple(slice(*t) for t in zip(step.starts, step.stops, step.strides, strict=True))
            ]
        case ir.Reshape():
            return x[0].reshape(step.shape)
        case ir.Transpose():
            return x[0].transpose(step.perm)
        case ir.Pad():
            return np.pad(x[0], step.pads)
        case _:
            return wrap(x[0])


@given(
    st.integers(8, 40),
    st.lists(st.integers(-300, 300), min_size=1, max_size=5),
    st.integers(0, 2**32 - 1),
)
def test_public_sums(bits: int, factors: list[int], seed: int) -> None:
    """Of Python integers, with what leaves the ring counted; and the parties' shares are shares of
    it.
    """
    rng = np.random.default_rng(seed)
    step = ir.Combine(inputs=(0,), shape=(2, 3), bits=bits, factors=tuple(factors))
    x = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (len(factors), 2, 3))
    true = sum(f * v.astype(object) for f, v in zip(factors, x, strict=True))
    at = Evaluation((bits,), {}, False, None)
    found = step.meaning([x], at)
    wrapped = np.vectorize(lambda v: signed(int(v), bits), otypes=[np.int64])(true)
    np.testing.assert_array_equal(found, wrapped)
    assert at.overflows == np.count_nonzero(wrapped != true)
    mine = rng.integers(0, 1 << bits, x.shape, np.uint64)
    others = ring.reduce(ring.from_signed(x, bits) - mine, bits)
    shares = [step.on_shares([share[None]])[0] for share in (mine, others)]
    total = ring.reduce(shares[0] + shares[1], bits)
    np.testing.assert_array_equal(total, ring.from_signed(found, bits))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factors": (1, 2, 3)}, "3 factors for an axis of 2"),
        ({"factors": (1 << 50, 2)}, "do not fit a ring of 16 bits"),
        ({"shape": (2, 3)}, "where its operands give"),
    ],
)
def test_public_sums_that_are_refused(change: dict[str, Any], message: str) -> None:
    step = ir.Combine(inputs=(0,), shape=(3, 3), bits=16, factors=(3, -5))
    source = ir.Input(inputs=(), shape=(2, 3, 3), bits=16, scale=1.0)
    with pytest.raises(BadArtifact, match=message):
        make_program(source, msgspec.structs.replace(step, **change)).check()


def test_stochastic_run_stays_near_the_exact_one() -> None:
    exact, loose = small_program(), small_program("stochastic")
    rng = np.random.default_rng(12)
    weights = random_weights(exact, rng)
    image = rng.normal(size=(2, 8, 8))
    (expected,) = CleartextExecutor(exact, weights).run(image).values()
    runs = [
        next(iter(CleartextExecutor(loose, weights, np.random.default_rng(i)).run(image).values()))
        for i in range(8)
    ]
    assert any((r != expected).any() for r in runs)
    assert (
        np.abs(np.array(runs) - expected).max() < 100
    )  # of the order of 24 inputs x weight 100 / 2^8, twice


def test_a_stochastic_program_needs_a_generator() -> None:
    program = small_program("stochastic")
    with pytest.raises(BadInput, match="random generator"):
        CleartextExecutor(program, random_weights(program, np.random.default_rng(1)))


def test_clipped_inputs_are_counted() -> None:
    program = small_program()
    executor = CleartextExecutor(
        program, random_weights(program, np.random.default_rng(1), weight=1)
    )
    image = np.zeros((2, 8, 8))
    image[0, 0, :3] = 100.0
    executor.run(image)
    assert executor.overflows[0] == 3
    assert executor.images == 1


def test_sums_that_only_a_linear_layer_reads_may_leave_the_ring() -> None:
    """Modulo 2^bits they are harmless: nothing is counted, and the
    layer's result is the true one.
    """
    pool = ir.SumPool(
        inputs=(0,), shape=(1, 1, 1), bits=10, kernel=(2, 2), strides=(1, 1), pads=(0, 0, 0, 0)
    )
    total = ir.Add(inputs=(1, 1), shape=(1, 1, 1), bits=10, signs=(1, 1))
    layer = pointwise(2, (2, 1, 1), bits=10, weight_bits=4)
    program = make_program(_input((1, 2, 2), 10), pool, total, *layer)
    tensors = {
        "linear.3.weight": np.array([[[[-1]]], [[[1]]]], np.int32),
        "linear.3.bias": np.array([[[2000]], [[0]]]),
    }
    executor = CleartextExecutor(program, Weights(tensors))
    seen: dict[int, Any] = {}
    (result,) = executor.run_quantised(
        np.full((1, 2, 2), 250), lambda i, v: seen.__setitem__(i, v)
    ).values()
    assert seen[1].item() == signed(1000, 10)
    assert seen[2].item() == signed(2000, 10)
    assert result.ravel().tolist() == [0, signed(2000, 10)]
    assert executor.overflows == {3: 1}
