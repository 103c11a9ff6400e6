"""Every protocol against its functionality, both parties, on random and on edge values."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.arrays import U64
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.joins import LARGEST
from moiety.protocols.compare.product import product, square
from moiety.protocols.compare.relu import GateSecrets, relu
from moiety.protocols.compare.truncate import truncate_stochastic
from moiety.protocols.errors import ContractViolation
from moiety.protocols.session import Session
from tests.protocols.cases import CASES
from tests.protocols.conformance import (
    check_traffic,
    edge_values,
    half_ring,
    opened,
    relu_meaning,
    run,
)
from tests.support.two_party import run_two_party, share, vole


@pytest.mark.parametrize("name", CASES)
def test_protocol_computes_and_sends_what_it_says(name: str) -> None:
    case = CASES[name]
    inputs = case.inputs(np.random.default_rng(len(name)))
    made = run(case, inputs)
    case.check(inputs, (made.outcome.server, made.outcome.client))
    check_traffic(case, made)


@settings(deadline=None)
@given(st.integers(1, 64))
def test_digits_and_joins_cover_everything(bits: int) -> None:
    made = plan_digits(bits)
    assert sum(made.digits) == bits
    assert all(1 <= k <= 4 for k in made.digits)
    digits = len(made.digits)
    for groups in made.joins:
        assert sum(groups) == digits
        assert all(1 <= size <= LARGEST for size in groups)
        assert len(groups) < digits
        digits = len(groups)
    assert digits == 1


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 30), st.integers(0, 20), st.integers(0, 2**32))
def test_relu_law(bits: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, c = edge_values(bits, rng, 40), edge_values(bits, rng, 40)
    flip = rng.integers(0, 2, 40).astype(np.uint8)
    x0, x1 = share(x, bits, rng)
    outcome = run_two_party(
        lambda s: relu(s, x0, bits, bits + more, GateSecrets(c, flip)),
        lambda s: relu(s, x1, bits, bits + more),
    )
    meant = relu_meaning(ring.to_signed(x, bits), bits, c, flip)
    assert np.array_equal(ring.to_signed(opened((*outcome,), bits + more), bits + more), meant)


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 62), st.data(), st.integers(0, 2**32))
def test_product_law(bits: int, data: st.DataObject, seed: int) -> None:
    """The integers' products and squares, for every pair of rings and shape."""
    y_bits = data.draw(st.integers(2, bits))
    n, group = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    rng = np.random.default_rng(seed)
    x = edge_values(bits, rng, n * group).reshape(n, group)
    factors = half_ring(y_bits, rng, n)
    y = ring.from_signed(factors, y_bits)
    (x0, x1), (y0, y1) = share(x, bits, rng), share(y, y_bits, rng)

    def both(session: Session, x: U64, y: U64) -> tuple[U64, U64]:
        return product(session, x, y, bits, y_bits), square(session, y, y_bits, y_bits + 2)

    server, client = run_two_party(lambda s: both(s, x0, y0), lambda s: both(s, x1, y1))
    made, squares = (server[i] + client[i] for i in range(2))
    signed = factors.view(np.uint64)
    assert np.array_equal(ring.reduce(made, bits), ring.reduce(x * signed[:, None], bits))
    wanted = ring.from_signed(factors * factors, y_bits + 2)
    assert np.array_equal(ring.reduce(squares, y_bits + 2), wanted)


def test_truncate_stochastic_rounds_without_bias() -> None:
    bits_in, shift, n = 28, 10, 400_000
    rng = np.random.default_rng(1)
    x = ring.from_signed(rng.integers(-(1 << 26), 1 << 26, n), bits_in)
    x0, x1 = share(x, bits_in, rng)
    outcome = run_two_party(
        lambda s: truncate_stochastic(s, x0, bits_in, shift),
        lambda s: truncate_stochastic(s, x1, bits_in, shift),
    )
    error = ring.to_signed(opened((*outcome,), bits_in - shift), bits_in - shift) - ring.to_signed(
        x, bits_in
    ) / (1 << shift)
    assert np.abs(error).max() < 1
    assert abs(error.mean()) < 5 * np.sqrt(1 / 6 / n)
    assert outcome.channels[0].meter.by_label.keys() == {"setup"}


def test_truncate_stochastic_of_shares_of_zero_stays_in_its_ring() -> None:
    """The server's 1 carries out of a share that was all ones."""
    zeros, x = np.zeros(5, np.uint64), np.arange(5, dtype=np.uint64) << np.uint64(10)
    for mine, theirs in ((zeros, x), (x, zeros)):
        outcome = run_two_party(
            partial(truncate_stochastic, x=mine, bits_in=28, shift=10),
            partial(truncate_stochastic, x=theirs, bits_in=28, shift=10),
        )
        assert opened((*outcome,), 18).tolist() == [0, 1, 2, 3, 4]


def test_a_batch_answers_once() -> None:
    def server(session: Session) -> None:
        batch = session.sender.accept(5, 2)
        session.sender.lookup(batch, np.zeros((5, 4), np.uint8), 1)
        with pytest.raises(ContractViolation):
            session.sender.lookup(batch, np.ones((5, 4), np.uint8), 1)

    def client(session: Session) -> None:
        batch = session.receiver.choose(np.zeros(5, np.uint8), 2)
        session.receiver.lookup(batch, 1)
        with pytest.raises(ContractViolation):
            session.receiver.lookup(batch, 1)

    run_two_party(server, client)


def test_sessions_do_not_share_correlations() -> None:
    """Two sessions of the same parties have different deltas and
    different masks for the same inputs.
    """
    x0 = np.arange(100, dtype=np.uint64)
    first = run_two_party(
        lambda s: (vole(s.sender).delta.copy(), relu(s, x0, 16, 20)), lambda s: relu(s, x0, 16, 20)
    )
    second = run_two_party(
        lambda s: (vole(s.sender).delta.copy(), relu(s, x0, 16, 20)), lambda s: relu(s, x0, 16, 20)
    )
    assert not np.array_equal(first.server[0], second.server[0])
    assert not np.array_equal(first.server[1], second.server[1])
