"""Every protocol against its functionality, both parties, on random and on edge values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import ring
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.extend import extend
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.millionaires import drelu, less_than, wrap
from moiety.protocols.compare.relu import relu
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.errors import ContractViolation
from tests.support.two_party import run_two_party, share


def edge_values(bits: int, rng: np.random.Generator, n: int = 300) -> ring.U64:
    """Random ring elements with the edges of the signed range in front."""
    edges = [
        0,
        1,
        2,
        (1 << bits) - 1,
        (1 << (bits - 1)) - 1,
        1 << (bits - 1),
        (1 << (bits - 1)) + 1,
        15,
        16,
        17,
    ]
    values = ring.reduce(rng.integers(0, 2**64, n, np.uint64), bits)
    values[: len(edges)] = [e % (1 << bits) for e in edges]
    return values


def open_shares(outcome: object, bits: int) -> ring.U64:
    server, client = outcome  # type: ignore[misc]
    return ring.reduce(server + client, bits)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 11, 12, 15, 16, 19, 20, 27, 31, 40, 63, 64])
def test_less_than(bits: int) -> None:
    rng = np.random.default_rng(bits)
    a, y = (
        edge_values(max(bits, 2), rng) & ring.mask(bits),
        edge_values(max(bits, 2), rng) & ring.mask(bits),
    )
    y[50:100] = a[50:100]
    y[100:150] = a[100:150] + np.uint64(1) & ring.mask(bits)
    server, client = run_two_party(
        lambda s: less_than(s, a[None], bits)[0], lambda s: less_than(s, y[None], bits)[0]
    )
    assert np.array_equal(server ^ client, a < y)


@given(st.integers(1, 64))
@settings(deadline=None)
def test_digits_and_joins_cover_everything(bits: int) -> None:
    made = plan_digits(bits)
    assert sum(made.digits) == bits
    assert all(1 <= k <= 4 for k in made.digits)
    digits = len(made.digits)
    for groups in made.joins:
        assert sum(groups) == digits
        assert all(size <= 2 for size in groups[:-1])
        assert groups[-1] <= 3
        assert len(groups) < digits
        digits = len(groups)
    assert digits == 1


@pytest.mark.parametrize("bits", [2, 3, 16, 17, 32, 64])
def test_drelu_and_wrap(bits: int) -> None:
    rng = np.random.default_rng(bits)
    x = edge_values(bits, rng)
    x0, x1 = share(x, bits, rng)

    def both(session, mine):
        return drelu(session, mine[None], bits)[0], wrap(session, mine, bits)

    server, client = run_two_party(lambda s: both(s, x0), lambda s: both(s, x1))
    assert np.array_equal(server[0] ^ client[0], ring.to_signed(x, bits) >= 0)
    total = [int(a) + int(b) >= 1 << bits for a, b in zip(x0, x1, strict=True)]
    assert np.array_equal(server[1] ^ client[1], total)


def relu_meaning(x: ring.U64, bits: int, out_bits: int, c: ring.U64, flip: np.ndarray) -> ring.U64:
    y = ring.to_signed(ring.reduce(x + c, bits), bits)
    return ring.from_signed(np.where((y >= 0) ^ flip.astype(bool), y, 0), out_bits)


@pytest.mark.parametrize(
    ("bits", "out_bits"), [(2, 2), (16, 16), (16, 28), (14, 64), (29, 41), (64, 64)]
)
@pytest.mark.parametrize("affine", [False, True])
def test_relu(bits: int, out_bits: int, affine: bool) -> None:
    rng = np.random.default_rng(bits)
    x = edge_values(bits, rng, 24 * 20).reshape(24, 4, 5)
    c = edge_values(bits, rng, 24).reshape(24, 1, 1) if affine else np.zeros((24, 1, 1), np.uint64)
    flip = (
        rng.integers(0, 2, (24, 1, 1)).astype(np.uint8)
        if affine
        else np.zeros((24, 1, 1), np.uint8)
    )
    x0, x1 = share(x, bits, rng)
    outcome = run_two_party(
        lambda s: relu(s, x0, bits, out_bits, c if affine else None, flip if affine else None),
        lambda s: relu(s, x1, bits, out_bits),
    )
    assert np.array_equal(open_shares(outcome, out_bits), relu_meaning(x, bits, out_bits, c, flip))


@settings(max_examples=12, deadline=None)
@given(st.integers(2, 30), st.integers(0, 20), st.integers(0, 2**32))
def test_relu_law(bits: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, c = edge_values(bits, rng, 40), edge_values(bits, rng, 40)
    flip = rng.integers(0, 2, 40).astype(np.uint8)
    x0, x1 = share(x, bits, rng)
    outcome = run_two_party(
        lambda s: relu(s, x0, bits, bits + more, c, flip), lambda s: relu(s, x1, bits, bits + more)
    )
    assert np.array_equal(
        open_shares(outcome, bits + more), relu_meaning(x, bits, bits + more, c, flip)
    )


@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((3, 3), (2, 2), (1, 1, 1, 1)),
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 2), (1, 2), (0, 1, 2, 0)),
    ],
)
def test_maxpool(
    kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int]
) -> None:
    bits, rng = 12, np.random.default_rng(5)
    low, high = -(1 << (bits - 2)), 1 << (bits - 2)
    v = rng.integers(low, high, (3, 9, 8))
    v[0, :2, :2], v[0, 3:5, 3:5] = low, high - 1
    x0, x1 = share(ring.from_signed(v, bits), bits, rng)
    outcome = run_two_party(
        lambda s: maxpool(s, x0, bits, kernel, strides, pads),
        lambda s: maxpool(s, x1, bits, kernel, strides, pads),
    )
    padded = np.pad(v, ((0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=low)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (1, 2))[
        :, :: strides[0], :: strides[1]
    ]
    assert np.array_equal(ring.to_signed(open_shares(outcome, bits), bits), windows.max((-1, -2)))


@pytest.mark.parametrize(
    ("bits_in", "shift"), [(28, 12), (41, 12), (20, 1), (64, 30), (9, 8), (16, 0)]
)
def test_truncate_exact(bits_in: int, shift: int) -> None:
    rng = np.random.default_rng(bits_in)
    x = edge_values(bits_in, rng)
    x0, x1 = share(x, bits_in, rng)
    outcome = run_two_party(
        lambda s: truncate_exact(s, x0, bits_in, shift),
        lambda s: truncate_exact(s, x1, bits_in, shift),
    )
    expected = ring.reduce(
        (ring.to_signed(x, bits_in) >> np.int64(shift)).view(np.uint64), bits_in - shift
    )
    assert np.array_equal(open_shares(outcome, bits_in - shift), expected)


def test_truncate_stochastic_rounds_without_bias() -> None:
    bits_in, shift, n = 28, 10, 400_000
    rng = np.random.default_rng(1)
    x = ring.from_signed(rng.integers(-(1 << 26), 1 << 26, n), bits_in)
    x0, x1 = share(x, bits_in, rng)
    outcome = run_two_party(
        lambda s: truncate_stochastic(s, x0, bits_in, shift),
        lambda s: truncate_stochastic(s, x1, bits_in, shift),
    )
    error = ring.to_signed(open_shares(outcome, bits_in - shift), bits_in - shift) - ring.to_signed(
        x, bits_in
    ) / (1 << shift)
    assert np.abs(error).max() < 1
    assert abs(error.mean()) < 5 * np.sqrt(1 / 6 / n)
    assert outcome.channels[0].meter.by_label.keys() == {"setup"}


@pytest.mark.parametrize(("bits", "out_bits"), [(16, 28), (2, 3), (16, 16), (29, 41), (12, 64)])
def test_extend(bits: int, out_bits: int) -> None:
    rng = np.random.default_rng(bits)
    x = edge_values(bits, rng)
    x0, x1 = share(x, bits, rng)
    outcome = run_two_party(
        lambda s: extend(s, x0, bits, out_bits), lambda s: extend(s, x1, bits, out_bits)
    )
    assert np.array_equal(
        ring.to_signed(open_shares(outcome, out_bits), out_bits), ring.to_signed(x, bits)
    )


def test_bit_to_ring_and_reveal() -> None:
    rng = np.random.default_rng(0)
    b0, b1 = rng.integers(0, 2, (2, 77)).astype(np.uint8)

    def body(session, mine):
        return reveal_to_client(session, bit_to_ring(session, mine, 13), 13)

    server, client = run_two_party(lambda s: body(s, b0), lambda s: body(s, b1))
    assert server is None
    assert np.array_equal(client, b0 ^ b1)


def test_a_batch_answers_once() -> None:
    def server(session):
        batch = session.sender.accept(5, 2)
        session.sender.lookup(batch, np.zeros((5, 4), np.uint8), 1)
        with pytest.raises(ContractViolation):
            session.sender.lookup(batch, np.ones((5, 4), np.uint8), 1)

    def client(session):
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
        lambda s: (s.sender._vole.delta.copy(), relu(s, x0, 16, 20)), lambda s: relu(s, x0, 16, 20)
    )
    second = run_two_party(
        lambda s: (s.sender._vole.delta.copy(), relu(s, x0, 16, 20)), lambda s: relu(s, x0, 16, 20)
    )
    assert not np.array_equal(first.server[0], second.server[0])
    assert not np.array_equal(first.server[1], second.server[1])
