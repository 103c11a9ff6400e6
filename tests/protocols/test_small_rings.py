"""Every share of small rings, and every digit of large ones at its edges: no forgotten case."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.extend import extend, extend_with_headroom
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.millionaires import less_than, wrap
from moiety.protocols.compare.product import product, square
from moiety.protocols.compare.relu import GateSecrets, gates, relu
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.session import Session
from tests.support.two_party import run_two_party


def all_shares(bits: int) -> tuple[U64, U64]:
    """Every pair of shares in `Z_{2^bits}`."""
    values = np.arange(1 << bits, dtype=np.uint64)
    return np.tile(values, 1 << bits), np.repeat(values, 1 << bits)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 9])
def test_every_comparison(bits: int) -> None:
    """Up to three digits: every table of every join."""
    a, y = all_shares(bits)

    def both(session: Session, mine: U64) -> tuple[U8, U8]:
        return less_than(session, mine[None], bits)[0], wrap(session, mine, bits)

    server, client = run_two_party(lambda s: both(s, a), lambda s: both(s, y))
    assert np.array_equal(server[0] ^ client[0], a < y)
    assert np.array_equal(server[1] ^ client[1], a + y >= 1 << bits)


@pytest.mark.parametrize("digits", [4, 5, 6, 7])
def test_joins_of_many_digits_at_their_boundaries(digits: int) -> None:
    """Numbers whose digits are extreme or differ in a single place."""
    bits = 4 * digits
    extreme = np.array(
        [int("".join(p), 16) for p in itertools.product("07f", repeat=digits)], np.uint64
    )
    ones = [1 << s for s in range(0, bits, 4)]
    steps = np.array([0, *ones, *(-one for one in ones)]).view(np.uint64)
    y = np.tile(extreme, len(steps))
    a = ring.reduce(y + np.repeat(steps, len(extreme)), bits)
    server, client = run_two_party(
        lambda s: less_than(s, a[None], bits)[0], lambda s: less_than(s, y[None], bits)[0]
    )
    assert np.array_equal(server ^ client, a < y)


@pytest.mark.parametrize(
    ("bits", "out_bits"),
    [(2, 2), (2, 3), (2, 5), (3, 3), (3, 4), (4, 4), (4, 5), (4, 9), (5, 5), (5, 6), (5, 64)],
)
def test_every_relu(bits: int, out_bits: int) -> None:
    """All shares, all thresholds, both flips."""
    x0, x1 = all_shares(bits)
    cases = [(c, f) for c in range(1 << bits) for f in (0, 1)]
    shape = (len(cases), x0.size)
    c = np.array([c for c, _ in cases], np.uint64)[:, None]
    f = np.array([f for _, f in cases], np.uint8)[:, None]
    server, client = run_two_party(
        lambda s: relu(s, np.broadcast_to(x0, shape), bits, out_bits, GateSecrets(c, f)),
        lambda s: relu(s, np.broadcast_to(x1, shape), bits, out_bits),
    )
    y = ring.to_signed(ring.reduce(x0 + x1 + c, bits), bits)
    meant = np.where((y >= 0) ^ (f == 1), y, 0)
    assert np.array_equal(ring.to_signed(ring.reduce(server + client, out_bits), out_bits), meant)


@pytest.mark.parametrize(("bits", "out_bits"), [(13, 24), (29, 41), (63, 64), (64, 64)])
def test_relu_at_the_ends_of_large_rings(bits: int, out_bits: int) -> None:
    """The lowest value goes through a flipped gate as it is, though one less is not in the ring."""
    half, n = 1 << (bits - 1), 1000
    y = np.repeat(ring.from_signed([-half, 1 - half, -1, 0, 1, half - 1], bits), 2)[:, None]
    rng = np.random.default_rng(bits)
    c, x0 = (ring.reduce(rng.integers(0, 2**64, (12, n), np.uint64), bits) for _ in range(2))
    x1 = ring.reduce(y - c - x0, bits)
    f = np.tile(np.arange(2, dtype=np.uint8), 6)[:, None]
    server, client = run_two_party(
        lambda s: relu(s, x0, bits, out_bits, GateSecrets(c, f)),
        lambda s: relu(s, x1, bits, out_bits),
    )
    signed = ring.to_signed(y, bits)
    meant = np.where((signed >= 0) ^ (f == 1), signed, 0)
    opened = ring.to_signed(ring.reduce(server + client, out_bits), out_bits)
    assert np.array_equal(opened, np.broadcast_to(meant, opened.shape))


def test_every_gate_of_32_thresholds() -> None:
    bits = 5
    x0, x1 = all_shares(bits)
    c = np.arange(32, dtype=np.uint64)[:, None]
    server, client = run_two_party(
        lambda s: gates(s, x0, bits, 32, c), lambda s: gates(s, x1, bits, 32)
    )
    assert np.array_equal(
        server ^ client, ring.to_signed(ring.reduce(x0 + x1 + c, bits), bits) >= 0
    )


@pytest.mark.parametrize("bits", [3, 6])
def test_every_truncation_and_extension(bits: int) -> None:
    x0, x1 = all_shares(bits)
    x = ring.to_signed(ring.reduce(x0 + x1, bits), bits)

    def both(session: Session, mine: U64) -> list[U64]:
        exact = [truncate_exact(session, mine, bits, s) for s in range(1, bits - 1)]
        local = [truncate_stochastic(session, mine, bits, s) for s in range(1, bits - 1)]
        return exact + local + [extend(session, mine, bits, out) for out in (bits + 1, 17, 64)]

    server, client = run_two_party(lambda s: both(s, x0), lambda s: both(s, x1))
    opened = iter(a + b for a, b in zip(server, client, strict=True))
    for s in range(1, bits - 1):
        assert np.array_equal(ring.to_signed(ring.reduce(next(opened), bits - s), bits - s), x >> s)
    for s in range(1, bits - 1):
        # The functionality: of y = x - 1 the floors of the shares, and one more. Its rounding
        # bit is [low(y0) <= low(y)].
        y, y0 = x - 1, ring.reduce(x0 - np.uint64(1), bits)
        low0, low = y0 & ring.mask(s), y.astype(np.uint64) & ring.mask(s)
        meant = ring.reduce((y >> s).view(np.uint64) + (low0 <= low), bits - s)
        assert np.array_equal(ring.reduce(next(opened), bits - s), meant)
    for out in (bits + 1, 17, 64):
        assert np.array_equal(ring.to_signed(ring.reduce(next(opened), out), out), x)


def inner_shares(bits: int) -> tuple[U64, U64]:
    """All shares of every value with one headroom bit."""
    x0, x1 = all_shares(bits)
    x = ring.to_signed(ring.reduce(x0 + x1, bits), bits)
    inner = (x >= -(1 << (bits - 2))) & (x < 1 << (bits - 2))
    return x0[inner], x1[inner]


@pytest.mark.parametrize("bits", [2, 3, 6])
def test_every_extension_with_headroom(bits: int) -> None:
    x0, x1 = inner_shares(bits)
    rings = (bits + 1, 17, 64)
    server, client = run_two_party(
        lambda s: [extend_with_headroom(s, x0, bits, out) for out in rings],
        lambda s: [extend_with_headroom(s, x1, bits, out) for out in rings],
    )
    x = ring.to_signed(ring.reduce(x0 + x1, bits), bits)
    for out, mine, theirs in zip(rings, server, client, strict=True):
        assert np.array_equal(ring.reduce(mine + theirs, out), ring.from_signed(x, out))


@pytest.mark.parametrize(("bits", "y_bits"), [(2, 2), (4, 2), (4, 3), (3, 3), (5, 4), (64, 5)])
def test_every_product(bits: int, y_bits: int) -> None:
    """All shares of every x, or large ones, in a group of every y; all shares of y."""
    (x0, x1), (y0, y1) = all_shares(min(bits, 5)), inner_shares(y_bits)
    if bits == 64:
        x0, x1 = -x0, x1 << np.uint64(59)
    rows = (y0.size, x0.size)
    server, client = run_two_party(
        lambda s: product(s, np.broadcast_to(x0, rows), y0, bits, y_bits),
        lambda s: product(s, np.broadcast_to(x1, rows), y1, bits, y_bits),
    )
    y = ring.to_signed(ring.reduce(y0 + y1, y_bits), y_bits)
    meant = ring.reduce((x0 + x1) * y.view(np.uint64)[:, None], bits)
    assert np.array_equal(ring.reduce(server + client, bits), meant)


@pytest.mark.parametrize("bits", [2, 3, 6])
def test_every_square(bits: int) -> None:
    x0, x1 = inner_shares(bits)
    rings = (bits + 2, 2 * bits, 17, 64)
    server, client = run_two_party(
        lambda s: [square(s, x0, bits, out) for out in rings],
        lambda s: [square(s, x1, bits, out) for out in rings],
    )
    x = ring.to_signed(ring.reduce(x0 + x1, bits), bits)
    for out, mine, theirs in zip(rings, server, client, strict=True):
        assert np.array_equal(ring.reduce(mine + theirs, out), ring.from_signed(x * x, out))


def test_every_maximum_of_two() -> None:
    """All operands in the permitted half of the ring, all shares of the first one."""
    bits = 5
    values = ring.from_signed(np.arange(-8, 8), bits)
    a, b, mask = (
        v.reshape(-1) for v in np.meshgrid(values, values, np.arange(32, dtype=np.uint64))
    )
    x = np.stack([a, b], axis=-1)[None]
    x0 = np.broadcast_to(mask[:, None], x.shape)
    x1 = ring.reduce(x - x0, bits)
    arguments = (bits, (1, 2), (1, 2), (0, 0, 0, 0))
    server, client = run_two_party(
        lambda s: maxpool(s, x0, *arguments), lambda s: maxpool(s, x1, *arguments)
    )
    opened = ring.to_signed(ring.reduce(server + client, bits), bits)[0, :, 0]
    assert np.array_equal(opened, np.maximum(ring.to_signed(a, bits), ring.to_signed(b, bits)))
