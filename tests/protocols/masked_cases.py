"""The table's rows of prepared runs in which the client's shares are masks: each is recorded,
prepared and run in one session; the client's result is its mask, and the sum is what it must be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare import fixing, masked
from moiety.protocols.compare.joint import one_tree
from moiety.protocols.compare.joint_plan import TreePlan, plan_one_tree, plan_separate
from moiety.protocols.compare.masked import TruncationMasks
from moiety.protocols.compare.maxpool import pool
from moiety.protocols.compare.relu import GateSecrets
from moiety.protocols.cost import Cost
from moiety.protocols.lanes import in_lanes, in_lanes_cost
from moiety.protocols.network import LAN, Network
from moiety.protocols.preparation import prepare, prepare_cost
from moiety.protocols.recording import record
from moiety.protocols.session import Role, Session
from moiety.protocols.split import online
from tests.protocols.conformance import (
    Case,
    Pair,
    declared,
    edge_values,
    opened,
    opens_to,
    relu_meaning,
    shares,
)
from tests.support.prepared import run_prepared

Protocol = Callable[..., Any]
N = 300
AT_HAND = replace(LAN, rtt=0.0)
"""Where flights cost nothing."""


def masked_cases() -> Iterator[tuple[str, Case]]:
    for bits, shift in ((41, 12), (5, 1), (6, 5), (64, 40)):
        yield f"masked truncate {bits} by {shift}", truncate_case(bits, shift)
    yield "masked gates 13, 8 thresholds", gates_case(13, 8)
    for bits, out_bits in ((16, 28), (16, 16), (2, 2), (2, 3), (3, 64), (63, 64)):
        yield f"masked affine relu {bits} to {out_bits}", relu_case(bits, out_bits)
    yield "masked affine relu 16 to 28 in two steps", relu_case(16, 28, line=AT_HAND)
    yield "masked affine relu 3 to 64 in two steps", relu_case(3, 64, line=AT_HAND)
    yield "masked relu 12 to 20", relu_case(12, 20, affine=False)
    yield "masked relu of 4396 in lanes", relu_case(16, 28, n=4396)
    # One join, the client's: of its last flight one lane reads transfers before the other fixes.
    for line, words in ((LAN, ""), (AT_HAND, " in two steps")):
        yield f"masked relu 7 to 20 in lanes{words}", relu_case(7, 20, n=4396, line=line)
    yield "masked truncate in lanes", truncate_case(30, 13, n=4396)
    yield "masked truncate_with_gates in one tree", tree_case(plan_one_tree(11, 9, 3, None, LAN))
    yield "masked truncate_with_gates apart", tree_case(plan_separate(11, 9, 3, None, LAN))
    yield "masked maximum of pairs", pool_case()
    yield "fixed shares", fix_case()


def client_mask(shape: Any, bits: int) -> U64:
    """What the client draws: the same at every call."""
    drawn = np.random.default_rng(bits).integers(0, 2**64, shape, np.uint64)
    return ring.reduce(drawn, bits)


def client_bits(shape: Any) -> U8:
    return np.random.default_rng(3).integers(0, 2, shape).astype(np.uint8)


def case(
    protocols: tuple[Protocol, ...],
    body: Callable[[Session, Any], Any],
    inputs: Callable[[np.random.Generator], Pair],
    check: Callable[[Pair, Pair], None],
    cost: Cost,
) -> Case:
    """`cost`: the run's own. What it asks for does not depend on its inputs."""
    some = inputs(np.random.default_rng(0))
    demand = record(Role.SERVER, LAN, lambda session: body(session, some[Role.SERVER]))

    def prepared(session: Session, mine: Any) -> Any:
        return run_prepared(session, lambda each: body(each, mine))

    return Case((*protocols, prepare), prepared, inputs, check, prepare_cost(demand) + online(cost))


def truncate_case(bits: int, shift: int, n: int = N) -> Case:
    out_bits = bits - shift
    mask = client_mask(n, out_bits)

    def body(session: Session, x: U64) -> U64:
        masks = None if session.is_server else TruncationMasks(client_bits(n), mask)
        return in_lanes(
            session,
            n,
            lambda lane, at: masked.truncate(lane, x[at], bits, shift, masks and masks.of(at)),
        )

    def check(inputs: Pair, results: Pair) -> None:
        expected = opened(inputs, bits) >> np.uint64(shift)
        assert np.array_equal(ring.reduce(results[0] + results[1], out_bits), expected)
        assert np.array_equal(results[1], mask)

    cost = in_lanes_cost(n, lambda part: declared(masked.truncate, part, bits, shift))
    return case((masked.truncate,), body, shares((n,), bits), check, cost)


def gates_case(bits: int, count: int) -> Case:
    c = edge_values(bits, np.random.default_rng(bits), count).reshape(count, 1)
    mask = client_bits((count, N))

    def body(session: Session, x: U64) -> U8:
        server = session.is_server
        return masked.gates(
            session, x, bits, count, c if server else None, None if server else mask
        )

    def check(inputs: Pair, results: Pair) -> None:
        signed = ring.to_signed(ring.reduce(opened(inputs, bits) + c, bits), bits)
        assert np.array_equal(results[0] ^ results[1], signed >= 0)
        assert np.array_equal(results[1], mask)

    cost = declared(masked.gates, N, bits, count)
    return case((masked.gates, fixing.fix_bits), body, shares((N,), bits), check, cost)


def relu_case(
    bits: int, out_bits: int, n: int = N, affine: bool = True, line: Network = LAN
) -> Case:
    rng = np.random.default_rng(bits)
    c = edge_values(bits, rng, n) if affine else np.zeros(n, np.uint64)
    flip = rng.integers(0, 2 if affine else 1, n).astype(np.uint8)
    secrets = GateSecrets(c, flip) if affine else None
    mask, gate_mask = client_mask(n, out_bits), client_bits(n)

    def body(session: Session, x: U64) -> U64:
        def protocol(lane: Session, at: slice) -> U64:
            if lane.is_server:
                mine = secrets and secrets.of(at)
                return masked.relu(lane, x[at], bits, out_bits, mine, None, None)
            return masked.relu(lane, x[at], bits, out_bits, None, gate_mask[at], mask[at])

        return in_lanes(replace(session, network=line), n, protocol)

    def check(inputs: Pair, results: Pair) -> None:
        meaning = opens_to(bits, out_bits, lambda x: relu_meaning(x, bits, c, flip))
        meaning(inputs, results)
        assert np.array_equal(results[1], mask)

    once = masked.at_once(n, bits, out_bits, line)
    assert once == (line is LAN and out_bits > bits)
    cost = in_lanes_cost(n, lambda part: declared(masked.relu, part, bits, out_bits, line, once))
    return case((masked.relu, masked.multiplex), body, shares((n,), bits), check, cost)


def tree_case(plan: TreePlan) -> Case:
    bits, shift, gate_bits, count = 24, 11, 10, 3
    c = edge_values(gate_bits, np.random.default_rng(4), count).reshape(count, 1)
    mask, gate_mask = client_mask(N, bits - shift), client_bits((count, N))
    masks = TruncationMasks(client_bits(N), mask)

    def body(session: Session, x: U64) -> tuple[U64, U8]:
        server = session.is_server
        secret = c if server else None
        mine, bits_mask = (None, None) if server else (masks, gate_mask)
        return masked.truncate_with_gates(
            session, x, bits, shift, gate_bits, count, secret, mine, bits_mask, plan
        )

    def check(inputs: Pair, results: Pair) -> None:
        y = opened(inputs, bits) >> np.uint64(shift)
        signed = ring.to_signed(ring.reduce(y + c, gate_bits), gate_bits)
        (y0, bits0), (y1, bits1) = results
        assert np.array_equal(ring.reduce(y0 + y1, bits - shift), y)
        assert np.array_equal(bits0 ^ bits1, signed >= 0)
        assert np.array_equal(y1, mask)
        assert np.array_equal(bits1, gate_mask)

    cost = declared(masked.truncate_with_gates, N, bits, shift, gate_bits, count, plan)
    return case((masked.truncate_with_gates, one_tree), body, shares((N,), bits), check, cost)


def pool_case() -> Case:
    """Of two neighbours in a row."""
    bits, shape = 9, (2, 3, 8)

    def body(session: Session, x: U64) -> U64:
        def positive(lane: Session, difference: U64, width: int) -> U64:
            n = difference.size
            mine = (None, None) if lane.is_server else (client_bits(n), client_mask(n, width))
            flat = difference.reshape(-1)
            made = masked.relu(lane, flat, width, width, None, *mine)
            return made.reshape(difference.shape)

        return pool(session, x, bits, (1, 2), (1, 2), (0, 0, 0, 0), positive)

    def check(inputs: Pair, results: Pair) -> None:
        x = ring.to_signed(opened(inputs, bits), bits).reshape(*shape[:2], 4, 2)
        found = ring.to_signed(ring.reduce(results[0] + results[1], bits), bits)
        assert np.array_equal(found, x.max(-1))

    def inputs(rng: np.random.Generator) -> Pair:
        x0, x1 = shares((24 * 2,), bits - 1)(rng)
        x = ring.to_signed(opened((x0, x1), bits - 1), bits - 1)
        first = ring.reduce(x0, bits).reshape(shape)
        return first, ring.reduce(ring.from_signed(x, bits).reshape(shape) - first, bits)

    cost = declared(masked.relu, 24, bits, bits)
    return case((pool, masked.relu), body, inputs, check, cost)


def fix_case() -> Case:
    bits = 21
    mask = client_mask((3, 100), bits)

    def body(session: Session, x: U64) -> U64:
        return fixing.fix(session, x, bits, None if session.is_server else mask)

    def check(inputs: Pair, results: Pair) -> None:
        assert np.array_equal(opened(results, bits), opened(inputs, bits))
        assert np.array_equal(results[1], mask)

    cost = declared(fixing.fix, 300, bits)
    return case((fixing.fix,), body, shares((3, 100), bits), check, cost)
