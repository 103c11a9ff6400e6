"""One table of all protocols, for the conformance suite: what each is given, what it must open
to, and what it declares to send.

A protocol without a row here is named by `test_declared_costs.test_every_protocol_has_a_case`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.argmax import argmax, place_bits
from moiety.protocols.compare.convert import bit_to_ring, carry_to_ring
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.extend import extend, extend_with_headroom
from moiety.protocols.compare.joint import truncate_with_gates
from moiety.protocols.compare.joint_plan import TreePlan, plan_one_tree, plan_separate
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.millionaires import compare, join_round, less_than, share_digits, wrap
from moiety.protocols.compare.product import product, square
from moiety.protocols.compare.relu import GateSecrets, drelu, gates, multiplex, relu
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.lanes import LANES_FROM, each_lane, in_lanes
from moiety.protocols.network import LAN
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.preparation import answering, prepare, prepare_cost
from moiety.protocols.recording import record
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from moiety.protocols.split import online
from tests.protocols.cohort_cases import cohort_cases
from tests.protocols.conformance import (
    Case,
    Pair,
    Pinned,
    Rng,
    Shape,
    bit,
    declared,
    edge_values,
    half_ring,
    is_xor_of,
    neighbours,
    opened,
    opens_to,
    pool_meaning,
    pool_values,
    relu_meaning,
    shares,
)
from tests.protocols.masked_cases import masked_cases
from tests.protocols.transfer_cases import (
    CHOICES,
    additive_lookup_case,
    known_case,
    linear_case,
    lookup_case,
    setup_case,
    split_case,
)
from tests.support.convolutions import (
    GUARDS,
)
from tests.support.memory_store import MemoryStore
from tests.support.two_party import share

# --- cases ----------------------------------------------------------------------------------------

ROWS = (
    TransferReceiver.choose_rows,
    TransferSender.accept_rows,
    TransferSender.multiply,
    TransferReceiver.additive,
)
LEAVES = (TransferSender.leaf, TransferReceiver.leaf)
JOINS = (TransferSender.join, TransferReceiver.lookup)
MULTIPLEXERS = (
    TransferSender.multiply,
    TransferSender.multiply_adding,
    TransferReceiver.additive,
    TransferSender.widen,
    TransferReceiver.widen,
)


def less_than_case(bits: int, n: int = 300, file: str | None = None) -> Case:
    return Case(
        (less_than, compare, share_digits, join_round, *CHOICES, *LEAVES, *JOINS),
        lambda s, x: less_than(s, x[None], bits)[0],
        neighbours(n, bits),
        is_xor_of(lambda inputs: inputs[0] < inputs[1]),
        declared(less_than, n, bits),
        Pinned(file, (n,), bits) if file else None,
    )


def settled_case(bits: int, n: int = 300) -> Case:
    """Without silent correlations there is nothing to settle; with them, test_silent_deviations."""

    def body(session: Session, x: U64) -> U8:
        result: U8 = less_than(session, x[None], bits)[0]
        settle(session)
        return result

    return replace(
        less_than_case(bits, n),
        protocols=(settle,),
        body=body,
        cost=declared(less_than, n, bits) + declared(settle),
    )


def drelu_case(bits: int, n: int = 300, file: str | None = None) -> Case:
    return Case(
        (drelu,),
        lambda s, x: drelu(s, x, bits)[0],
        shares((n,), bits),
        is_xor_of(lambda inputs: ring.to_signed(opened(inputs, bits), bits) >= 0),
        declared(drelu, n, bits),
        Pinned(file, (n,), bits) if file else None,
    )


def wrap_case(bits: int, n: int = 300, file: str | None = None) -> Case:
    def meaning(inputs: Pair) -> list[bool]:
        return [int(a) + int(b) >= 1 << bits for a, b in zip(*inputs, strict=True)]

    return Case(
        (wrap,),
        lambda s, x: wrap(s, x, bits),
        shares((n,), bits),
        is_xor_of(meaning),
        declared(wrap, n, bits),
        Pinned(file, (n,), bits) if file else None,
    )


def relu_case(bits: int, out_bits: int, shape: Shape = (24, 4, 5), file: str | None = None) -> Case:
    zero, no_flip = np.zeros(1, np.uint64), np.zeros(1, np.uint8)
    return Case(
        (relu, *MULTIPLEXERS),
        lambda s, x: relu(s, x, bits, out_bits),
        shares(shape, bits),
        opens_to(bits, out_bits, lambda x: relu_meaning(x, bits, zero, no_flip)),
        declared(relu, int(np.prod(shape)), bits, out_bits),
        Pinned(file, shape, bits) if file else None,
    )


def affine_relu_case(bits: int, out_bits: int) -> Case:
    """With the server's thresholds and flips per channel."""
    rng = np.random.default_rng(bits)
    c = edge_values(bits, rng, 24).reshape(24, 1, 1)
    flip = rng.integers(0, 2, (24, 1, 1)).astype(np.uint8)

    def body(session: Session, x: U64) -> U64:
        secrets = GateSecrets(c, flip) if session.is_server else None
        return relu(session, x, bits, out_bits, secrets)

    meaning = opens_to(bits, out_bits, lambda x: relu_meaning(x, bits, c, flip))
    return replace(relu_case(bits, out_bits), body=body, check=meaning)


def gates_case(bits: int, count: int, n: int = 300, file: str | None = None) -> Case:
    c = edge_values(bits, np.random.default_rng(bits), count).reshape(count, 1)

    def meaning(inputs: Pair) -> Any:
        return ring.to_signed(ring.reduce(opened(inputs, bits) + c, bits), bits) >= 0

    return Case(
        (gates,),
        lambda s, x: gates(s, x, bits, count, c if s.is_server else None),
        shares((n,), bits),
        is_xor_of(meaning),
        declared(gates, n, bits, count),
        Pinned(file, (n,), bits) if file else None,
    )


def multiplex_case(bits: int, out_bits: int, n: int = 300) -> Case:
    """Each input is shares of x and of the gate. The bytes are pinned with relu's."""

    def inputs(rng: Rng) -> Pair:
        x = edge_values(bits, rng, n)
        gate = (ring.to_signed(x, bits) >= 0).astype(np.uint8)
        mask = rng.integers(0, 2, n).astype(np.uint8)
        x0, x1 = share(x, bits, rng)
        return (x0, mask), (x1, gate ^ mask)

    def check(inputs: Pair, results: Pair) -> None:
        (x0, _), (x1, _) = inputs
        opens_to(bits, out_bits, lambda x: np.maximum(x, 0))((x0, x1), results)

    return Case(
        (multiplex, *CHOICES, *MULTIPLEXERS),
        lambda s, mine: multiplex(s, mine[0], mine[1], bits, out_bits),
        inputs,
        check,
        declared(multiplex, n, bits, out_bits),
    )


def maxpool_case(shape: Shape, bits: int, *window: Any, file: str | None = None) -> Case:
    return Case(
        (maxpool,),
        lambda s, x: maxpool(s, x, bits, *window),
        pool_values(shape, bits),
        opens_to(bits, bits, lambda v: pool_meaning(v, bits, *window)),
        declared(maxpool, shape, bits, *window),
        Pinned(file, shape, bits) if file else None,
    )


def argmax_case(shape: Shape, bits: int, file: str | None = None) -> Case:
    """Of few different values, so that many are equal, and of the ends of what it takes."""
    count, n = shape
    quarter = 1 << (bits - 2)

    def inputs(rng: Rng) -> Pair:
        values = rng.integers(-min(quarter, 3), min(quarter, 3), shape)
        values[:, n // 2 :] = rng.choice([-quarter, quarter - 1, 0], (count, n - n // 2))
        return share(ring.from_signed(values, bits), bits, rng)

    return Case(
        (argmax,),
        lambda s, x: argmax(s, x, bits),
        inputs,
        opens_to(bits, place_bits(count), lambda v: np.argmax(v, axis=0)),
        declared(argmax, n, count, bits),
        Pinned(file, shape, bits) if file else None,
    )


def truncate_exact_case(bits: int, shift: int, n: int = 300, file: str | None = None) -> Case:
    return Case(
        (truncate_exact, carry_to_ring),
        lambda s, x: truncate_exact(s, x, bits, shift),
        shares((n,), bits),
        opens_to(bits, bits - shift, lambda x: x >> np.int64(shift)),
        declared(truncate_exact, n, bits, shift),
        Pinned(file, (n,), bits) if file else None,
    )


def truncate_with_gates_case(
    sizes: tuple[int, int, int],
    count: int,
    plan: TreePlan | None = None,
    n: int = 300,
    file: str | None = None,
) -> Case:
    """sizes: bits of the input, its shift and the bits of the gates."""
    bits, shift, gate_bits = sizes
    c = edge_values(gate_bits, np.random.default_rng(bits), count).reshape(count, 1)

    def check(inputs: Pair, results: Pair) -> None:
        (y0, gates0), (y1, gates1) = results
        y = opened(inputs, bits) >> np.uint64(shift)
        assert np.array_equal(opened((y0, y1), bits - shift), y)
        above = ring.to_signed(ring.reduce(y + c, gate_bits), gate_bits) >= 0
        assert np.array_equal(gates0 ^ gates1, above)

    return Case(
        (truncate_with_gates,),
        lambda s, x: truncate_with_gates(
            s, x, bits, shift, gate_bits, count, c if s.is_server else None, plan
        ),
        shares((n,), bits),
        check,
        declared(truncate_with_gates, n, *sizes, count, *([plan] if plan else [])),
        Pinned(file, (n,), bits) if file else None,
    )


def truncate_stochastic_case(bits: int, shift: int, n: int, file: str | None = None) -> Case:
    out_bits = bits - shift

    def check(inputs: Pair, results: Pair) -> None:
        # Modulo 2^out_bits the floor, or one more.
        floors = ring.to_signed(opened(inputs, bits), bits) >> np.int64(shift)
        above = ring.reduce(opened(results, out_bits) - floors.view(np.uint64), out_bits)
        assert set(np.unique(above)) <= {0, 1}

    return Case(
        (truncate_stochastic,),
        lambda s, x: truncate_stochastic(s, x, bits, shift),
        shares((n,), bits),
        check,
        declared(truncate_stochastic, n, bits, shift),
        Pinned(file, (n,), bits) if file else None,
    )


def extend_case(bits: int, out_bits: int, n: int = 300, file: str | None = None) -> Case:
    return Case(
        (extend,),
        lambda s, x: extend(s, x, bits, out_bits),
        shares((n,), bits),
        opens_to(bits, out_bits, lambda x: x),
        declared(extend, n, bits, out_bits),
        Pinned(file, (n,), bits) if file else None,
    )


def extend_with_headroom_case(
    bits: int, out_bits: int, n: int = 300, file: str | None = None
) -> Case:
    return Case(
        (extend_with_headroom, TransferSender.widen, TransferReceiver.widen),
        lambda s, x: extend_with_headroom(s, x, bits, out_bits),
        lambda rng: share(ring.from_signed(half_ring(bits, rng, n), bits), bits, rng),
        opens_to(bits, out_bits, lambda x: x),
        declared(extend_with_headroom, n, bits, out_bits),
        Pinned(file, (n,), bits) if file else None,
    )


def product_case(n: int, group: int, bits: int, y_bits: int, file: str | None = None) -> Case:
    """Each input is rows of x, with y as their last column."""

    def inputs(rng: Rng) -> Pair:
        x = rng.permutation(edge_values(bits, rng, n * group)).reshape(n, group)
        y = ring.from_signed(half_ring(y_bits, rng, n), bits)
        return share(np.column_stack([x, y]), bits, rng)

    def check(inputs: Pair, results: Pair) -> None:
        rows = opened(inputs, bits)
        y = ring.to_signed(ring.reduce(rows[:, -1:], y_bits), y_bits)
        products = rows[:, :-1] * y.view(np.uint64)
        assert np.array_equal(opened(results, bits), ring.reduce(products, bits))

    return Case(
        (product, *ROWS),
        lambda s, rows: product(s, rows[:, :-1], ring.reduce(rows[:, -1], y_bits), bits, y_bits),
        inputs,
        check,
        declared(product, n, group, bits, y_bits),
        Pinned(file, (n, group + 1), bits) if file else None,
    )


def square_case(bits: int, out_bits: int, n: int = 300, file: str | None = None) -> Case:
    return Case(
        (square, *ROWS),
        lambda s, x: square(s, x, bits, out_bits),
        lambda rng: share(ring.from_signed(half_ring(bits, rng, n), bits), bits, rng),
        opens_to(bits, out_bits, lambda x: x * x),
        declared(square, n, bits, out_bits),
        Pinned(file, (n,), bits) if file else None,
    )


def bit_to_ring_case(out_bits: int, n: int, sender: Role, file: str | None = None) -> Case:
    return Case(
        (bit_to_ring, *CHOICES, TransferSender.multiply, TransferReceiver.additive),
        lambda s, x: bit_to_ring(s, sender, bit(x), out_bits),
        shares((n,), 1),
        opens_to(1, out_bits, lambda x: -x),  # the signed values of one bit are 0 and -1
        declared(bit_to_ring, n, out_bits, sender),
        Pinned(file, (n,), 1) if file else None,
    )


def lanes_case(bits: int, out_bits: int, n: int) -> Case:
    """A ReLU in two lanes, whose digits are planned for the whole."""
    plan = plan_digits(bits - 1, 1, n)
    case = relu_case(bits, out_bits, (n,))
    return replace(
        case,
        protocols=(in_lanes, each_lane, *case.protocols),
        body=lambda s, x: in_lanes(s, n, lambda lane, at: relu(lane, x[at], bits, out_bits)),
        cost=declared(in_lanes, n, lambda size: declared(relu, size, bits, out_bits, plan)),
    )


def prepared_case(case: Case) -> Case:
    """A protocol whose transfers are prepared right before."""
    inputs = case.inputs(np.random.default_rng(0))
    demand = record(Role.SERVER, LAN, lambda session: case.body(session, inputs[Role.SERVER]))

    def body(session: Session, mine: Any) -> Any:
        store = MemoryStore()
        prepare(session, demand, store)
        with answering(demand, store, session) as run:
            return case.body(run, mine)

    cost = prepare_cost(demand) + online(case.cost)
    return replace(case, protocols=(prepare,), body=body, cost=cost, pinned=None)


def reveal_case(bits: int, n: int, file: str | None = None) -> Case:
    def check(inputs: Pair, results: Pair) -> None:
        assert results[0] is None
        assert np.array_equal(results[1], opened(inputs, bits))

    return Case(
        (reveal_to_client,),
        lambda s, x: reveal_to_client(s, x, bits),
        shares((n,), bits),
        check,
        declared(reveal_to_client, n, bits),
        Pinned(file, (n,), bits) if file else None,
    )


WIRE, MORE = "wire", "layers_and_transfers"
POOL = ((3, 3), (2, 2), (1, 1, 1, 1))


def _cases() -> Iterator[tuple[str, Case]]:
    for bits, n in ((15, 1000), (1, 77), (40, 130)):
        yield f"less_than {bits}", less_than_case(bits, n, WIRE)
    for bits in (2, 3, 4, 5, 8, 11, 12, 16, 19, 20, 27, 31, 63, 64):
        yield f"less_than {bits}", less_than_case(bits)
    yield "less_than 16, settled", settled_case(16)
    yield "drelu 16", drelu_case(16, 129, WIRE)
    for bits in (2, 3, 17, 32, 64):
        yield f"drelu {bits}", drelu_case(bits)
    yield "wrap 12", wrap_case(12, 128, WIRE)
    for bits in (2, 3, 16, 17, 32, 64):
        yield f"wrap {bits}", wrap_case(bits)
    yield "relu 16 to 28", relu_case(16, 28, (5, 9, 7), WIRE)
    yield "relu 29 to 41", relu_case(29, 41, (200,), WIRE)
    for bits, out_bits in ((2, 2), (16, 16), (14, 64), (64, 64)):
        yield f"relu {bits} to {out_bits}", relu_case(bits, out_bits)
    for bits, out_bits in ((2, 2), (16, 16), (16, 28), (14, 64), (29, 41), (64, 64)):
        yield f"affine relu {bits} to {out_bits}", affine_relu_case(bits, out_bits)
    yield "gates 13, 8 thresholds", gates_case(13, 8, 200, MORE)
    for bits, count in ((13, 1), (2, 3), (64, 2)):
        yield f"gates {bits}, {count} thresholds", gates_case(bits, count)
    for bits, out_bits in ((16, 28), (2, 2), (2, 3), (13, 64), (63, 64), (64, 64)):
        yield f"multiplex {bits} to {out_bits}", multiplex_case(bits, out_bits)
    for n in (LANES_FROM - 1, LANES_FROM, LANES_FROM + 300):
        yield f"relu of {n} in lanes", lanes_case(13, 24, n)
    yield "maxpool 3x3/2", maxpool_case((3, 8, 9), 14, *POOL, file=WIRE)
    for kernel, strides, pads in (
        POOL,
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 2), (1, 2), (0, 1, 2, 0)),
    ):
        window = f"{kernel[0]}x{kernel[1]}/{strides[0]}x{strides[1]}"
        yield f"maxpool {window} padded {pads}", maxpool_case((3, 9, 8), 12, kernel, strides, pads)
    yield "maxpool in lanes", maxpool_case((16, 24, 24), 12, *POOL)
    yield "argmax of 14", argmax_case((14, 9), 25, MORE)
    for count, bits in ((2, 2), (3, 61), (5, 4), (33, 16)):
        yield f"argmax of {count}, {bits} bits", argmax_case((count, 30), bits)
    yield "truncate_exact 28 by 12", truncate_exact_case(28, 12, 301, WIRE)
    for bits, shift in ((41, 12), (20, 1), (64, 30), (9, 8), (16, 0)):
        yield f"truncate_exact {bits} by {shift}", truncate_exact_case(bits, shift)
    for sizes, count in (
        ((30, 15, 14), 1),
        ((30, 15, 14), 3),
        ((24, 4, 20), 2),
        ((64, 30, 20), 2),
        ((64, 60, 4), 1),
        ((9, 7, 2), 32),
    ):
        for plan in (plan_one_tree, plan_separate):
            made = plan(sizes[1], sizes[2] - 1, count, 300, LAN)
            name = f"truncate_with_gates {sizes}, {count} thresholds, {plan.__name__}"
            yield name, truncate_with_gates_case(sizes, count, made)
    for sizes, count in (((30, 15, 14), 4), ((30, 15, 14), 0), ((16, 0, 13), 2), ((16, 0, 16), 0)):
        name = f"truncate_with_gates {sizes}, {count} thresholds"
        yield name, truncate_with_gates_case(sizes, count)
    tree, apart = (plan(12, 12, 2, 130, LAN) for plan in (plan_one_tree, plan_separate))
    yield (
        "truncate_with_gates in one tree",
        truncate_with_gates_case((28, 12, 13), 2, tree, 130, MORE),
    )
    yield "truncate_with_gates apart", truncate_with_gates_case((28, 12, 13), 2, apart, 130, MORE)
    yield "truncate_stochastic", truncate_stochastic_case(28, 12, 301, WIRE)
    yield "extend 16 to 28", extend_case(16, 28, 33, WIRE)
    for bits, out_bits in ((2, 3), (16, 16), (29, 41), (12, 64)):
        yield f"extend {bits} to {out_bits}", extend_case(bits, out_bits)
    yield "extend 16 to 28 with headroom", extend_with_headroom_case(16, 28, 33, MORE)
    for bits, out_bits in ((2, 3), (2, 64), (16, 16), (29, 41), (63, 64), (64, 64)):
        name = f"extend {bits} to {out_bits} with headroom"
        yield name, extend_with_headroom_case(bits, out_bits)
    yield "product 24 by 10 bits", product_case(130, 1, 24, 10, MORE)
    yield "product of 7 groups of 100", product_case(7, 100, 26, 12, MORE)
    for n, group, bits, y_bits in (
        (300, 1, 2, 2),
        (300, 1, 30, 2),
        (300, 1, 40, 20),
        (77, 3, 64, 63),
        (77, 3, 64, 64),
        (1, 1000, 62, 5),
        (3, 70_000, 18, 6),
    ):
        yield (
            f"product {bits} by {y_bits} bits, {n} by {group}",
            product_case(n, group, bits, y_bits),
        )
    yield "square 12 to 24", square_case(12, 24, 130, MORE)
    for bits, out_bits in ((2, 4), (2, 64), (5, 7), (20, 40), (62, 64)):
        yield f"square {bits} to {out_bits}", square_case(bits, out_bits)
    yield "bit_to_ring 13", bit_to_ring_case(13, 64, Role.SERVER, WIRE)
    yield "bit_to_ring 64", bit_to_ring_case(64, 65, Role.CLIENT)
    yield "relu 16 to 28, prepared", prepared_case(relu_case(16, 28))
    yield "reveal 20", reveal_case(20, 8, WIRE)
    for k in (1, 2, 3, 4):
        yield f"lookup 1 of {1 << k}", lookup_case(k, 3, file=MORE)
        yield f"additive lookup 1 of {1 << k}", additive_lookup_case(k, 41)
    for guard in GUARDS:
        yield f"linear, {guard} guard bits", linear_case(guard, MORE)
        yield f"linear split, {guard} guard bits", split_case(guard, MORE)
        yield f"linear with a known share, {guard} guard bits", known_case(guard)
    yield "set-up", setup_case(MORE)
    yield from cohort_cases()
    yield from masked_cases()


CASES = dict(_cases())
