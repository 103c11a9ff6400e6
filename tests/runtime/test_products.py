"""Steps that multiply secret values: two parties against the cleartext executor, its integers
against Python's, declared against metered traffic, and what is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.compare import product as compare
from moiety.protocols.errors import BadArtifact
from moiety.protocols.lanes import LANES_FROM
from moiety.protocols.ot.generators import ALWAYS_SILENT, NEVER_SILENT, Mixed
from moiety.runtime import program as ir
from moiety.runtime.cost import formulas, traffic
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.steps.evaluation import Evaluation
from moiety.runtime.program.weights import Weights
from tests.support.programs import make_program, products
from tests.support.runnable import multiplying
from tests.support.two_party import Outcome, run_two_party

SHAPE = (3, 4, 5)


def spread(shape: tuple[int, ...], over: tuple[int, ...]) -> list[ir.AnyStep]:
    """A factor that is the first elements of the input on each axis, and its product with all."""
    rank = len(shape)
    part = ir.Slice(
        inputs=(0,), shape=over, bits=12, starts=(0,) * rank, stops=over, strides=(1,) * rank
    )
    x = ir.Extend(inputs=(0,), shape=shape, bits=24)
    return [part, x, ir.Product(inputs=(2, 1), shape=shape, bits=24)]


def program_of(shape: tuple[int, ...], over: tuple[int, ...]) -> ir.Program:
    source = ir.Input(inputs=(), shape=shape, bits=12, scale=1.0, value_bits=11)
    return make_program(source, *spread(shape, over))


def run(
    program: ir.Program, weights: Weights, images: Any, silent_from: int, threads: int
) -> Outcome:
    server = ServerExecutor(program, weights, batches=tuple({1, len(images)}))
    server.prepare()
    return run_two_party(
        lambda session: server.run(session, images=len(images)),
        lambda session: ClientExecutor(program).run_batch(session, images),
        silent_from=silent_from,
        threads=threads,
    )


def check(
    program: ir.Program,
    weights: Weights,
    images: Any,
    silent_from: int = NEVER_SILENT,
    threads: int = 1,
) -> None:
    """The same integers as the cleartext executor's, and the traffic that is declared."""
    outputs, cost = run(program, weights, images, silent_from, threads).client
    for image, found in zip(images, outputs, strict=True):
        (expected,) = CleartextExecutor(program, weights).run_integers(image).values()
        assert np.array_equal(found[0].integers, expected)
        assert np.ptp(expected) > 0
    wire = traffic.run_cost(program, len(images)).on(Mixed(silent_from))
    assert (cost.total.sent, cost.total.received) == (wire.up, wire.down)
    assert cost.total.flights == len(wire.flights)


def images_of(count: int, shape: tuple[int, ...], largest: int = 1023) -> Any:
    rng = np.random.default_rng(count)
    images = rng.integers(-largest - 1, largest + 1, (count, *shape)).astype(np.float32)
    images.reshape(count, -1)[:, :2] = -largest - 1, largest
    return images


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("silent_from", [ALWAYS_SILENT, NEVER_SILENT])
def test_two_parties_multiply_as_the_cleartext_executor(count: int, silent_from: int) -> None:
    program, weights = multiplying()
    check(program, weights, images_of(count, program.input.shape), silent_from)


@pytest.mark.parametrize("over", list(itertools.product(*((1, n) for n in SHAPE))))
def test_a_factor_spreads_over_any_axes(over: tuple[int, ...]) -> None:
    program = program_of(SHAPE, over)
    check(program, Weights({}), images_of(2, SHAPE))


def test_a_large_product_runs_in_lanes() -> None:
    shape = (2, LANES_FROM // 2 + 50)
    check(program_of(shape, shape), Weights({}), images_of(1, shape), threads=3)
    over = (1, shape[1])
    check(program_of(shape, over), Weights({}), images_of(2, shape), threads=2)


def test_chunks_in_lanes_send_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lanes of several chunks each, the second with one more."""
    monkeypatch.setattr(compare, "CHUNK", 1024)
    shape = (LANES_FROM + 20,)
    source = ir.Input(inputs=(), shape=shape, bits=12, scale=1.0, value_bits=11)
    program = make_program(
        source,
        ir.Square(inputs=(0,), shape=shape, bits=24),
        ir.Product(inputs=(1, 0), shape=shape, bits=24),
    )
    check(program, Weights({}), images_of(1, shape))
    assert traffic.step_costs(program)[2].flights == "C" + "SC" * 3


def test_a_value_times_itself() -> None:
    """In one ring."""
    source = ir.Input(inputs=(), shape=(7,), bits=20, scale=1.0)
    program = make_program(source, ir.Product(inputs=(0, 0), shape=(7,), bits=20))
    check(program, Weights({}), images_of(2, (7,)))


def test_formulas_add_up() -> None:
    program = products()
    rows, whole = formulas.formulas(program), traffic.image_cost(program)
    sides = zip(*(row.with_softspoken(each) for row in rows for each in row.sizes), strict=True)
    assert [sum(side) for side in sides] == [whole.up, whole.down]
    assert {"product", "square"} <= {row.kind for row in rows}


# --- meaning --------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(2, 64))
def test_products_against_python_integers(data: st.DataObject, bits: int) -> None:
    """Values and overflows, also where int64 does not hold the product."""
    y_bits = data.draw(st.integers(2, bits))

    def signed(width: int) -> st.SearchStrategy[int]:
        half = 1 << (width - 1)
        return st.sampled_from([-half, half - 1, -1, 0, 1]) | st.integers(-half, half - 1)

    pairs = data.draw(st.lists(st.tuples(signed(bits), signed(y_bits)), min_size=1, max_size=5))
    x, y = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    at = Evaluation((bits, y_bits), {}, False, None)
    made, half = at.multiply(x, y, bits), 1 << (bits - 1)
    true = [a * b for a, b in pairs]
    assert made.tolist() == [(value + half) % (2 * half) - half for value in true]
    assert at.overflows == sum(not -half <= value < half for value in true)


def test_overflow_of_products_and_squares_is_counted() -> None:
    source = ir.Input(inputs=(), shape=(3,), bits=10, scale=1.0)
    product = ir.Product(inputs=(0, 0), shape=(3,), bits=10)
    square = ir.Square(inputs=(0,), shape=(3,), bits=12)
    image = np.array([-23, 22, 100], np.float32)
    for step, counted in ((product, 2), (square, 1)):
        executor = CleartextExecutor(make_program(source, step), Weights({}))
        (values,) = executor.run_integers(image).values()
        assert executor.overflows == {1: counted}
        assert values[1] == 484


@pytest.mark.parametrize("square", [True, False])
def test_a_factor_without_headroom_is_counted(square: bool) -> None:
    source = ir.Input(inputs=(), shape=(4,), bits=6, scale=1.0)
    steps: list[ir.AnyStep] = [source, ir.Square(inputs=(0,), shape=(4,), bits=12)]
    if not square:
        wide = ir.Extend(inputs=(0,), shape=(4,), bits=12)
        steps = [source, wide, ir.Product(inputs=(1, 0), shape=(4,), bits=12)]
    executor = CleartextExecutor(make_program(*steps), Weights({}))
    (values,) = executor.run_integers(np.array([-17, -16, 15, 16], np.float32)).values()
    assert values.tolist() == [289, 256, 225, 256]
    assert executor.overflows == {len(steps) - 1: 2}


# --- what is refused ------------------------------------------------------------------------------


def edited(at: int, **fields: Any) -> Callable[[ir.Program], ir.Program]:
    def edit(program: ir.Program) -> ir.Program:
        steps = list(program.steps)
        steps[at] = msgspec.structs.replace(steps[at], **fields)
        return msgspec.structs.replace(program, steps=tuple(steps))

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(4, bits=24), r"step 4 \(product\): ring width 24 where its operands give 20"),
        (edited(4, shape=(6, 4, 1)), r"shape \(6, 4, 1\) where its operands give \(6, 4, 4\)"),
        (edited(4, inputs=(2, 3)), r"20 bits, more than the first \(8\)"),
        (edited(4, inputs=(3,)), "it has 1 operands"),
        (
            edited(8, inputs=(2, 2), bits=8),
            r"shape \(6, 4, 4\) where its operands give \(6, 1, 1\)",
        ),
        (edited(6, bits=13), "a square in a ring of 13 bits of a value of 12: two more"),
        (edited(6, shape=(6, 16)), r"shape \(6, 16\) where its operands give"),
    ],
)
def test_unsound_products_are_refused(
    edit: Callable[[ir.Program], ir.Program], message: str
) -> None:
    with pytest.raises(BadArtifact, match=message):
        ir.Program.decode(edit(products()).encode())


@pytest.mark.parametrize("shape", [(2, 1, 1), (6, 4), (1, 6, 4, 4), (4, 4, 6)])
def test_factors_that_do_not_spread_are_refused(shape: tuple[int, ...]) -> None:
    source = ir.Input(inputs=(), shape=(6, 4, 4), bits=12, scale=1.0)
    size = int(np.prod(shape))
    flat = ir.Reshape(inputs=(0,), shape=(96,), bits=12)
    first = ir.Slice(inputs=(1,), shape=(size,), bits=12, starts=(0,), stops=(size,), strides=(1,))
    factor = ir.Reshape(inputs=(2,), shape=shape, bits=12)
    program = make_program(
        source, flat, first, factor, ir.Product(inputs=(0, 3), shape=(6, 4, 4), bits=12)
    )
    with pytest.raises(BadArtifact, match=r"step 4 \(product\): a second operand of shape"):
        program.check()


def test_gate_bits_are_no_factor() -> None:
    source = ir.Input(inputs=(), shape=(4,), bits=12, scale=1.0)
    gates = ir.Gates(inputs=(0,), shape=(1, 4), bits=1, compared=12)
    bits = ir.Reshape(inputs=(1,), shape=(4,), bits=1)
    for inputs in ((0, 2), (2, 0), (2, 2)):
        program = make_program(source, gates, bits, ir.Product(inputs=inputs, shape=(4,), bits=12))
        with pytest.raises(BadArtifact, match="a product of gate bits"):
            program.check()
