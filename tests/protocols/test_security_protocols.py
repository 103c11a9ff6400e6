"""Every share of small rings, and what messages are made of: no forgotten case,
nothing of the heap, one pad alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.extend import extend
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.millionaires import less_than, wrap
from moiety.protocols.compare.relu import GateSecrets, gates, relu
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.kernels.reference.transfers import sender_pads
from moiety.protocols.session import Session
from tests.support.two_party import run_two_party
from tests.support.wiretap import chi_square

# --- every value of small rings -------------------------------------------------------------------


def all_shares(bits: int) -> tuple[U64, U64]:
    """Every pair of shares in `Z_{2^bits}`."""
    one = np.arange(1 << bits, dtype=np.uint64)
    return tuple(np.ascontiguousarray(x.reshape(-1)) for x in np.meshgrid(one, one))  # type: ignore[return-value]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 9])
def test_every_comparison(bits: int) -> None:
    """Up to three digits: every table of every join."""
    a, y = all_shares(bits)

    def both(session: Session, mine: U64) -> tuple[U8, U8]:
        return less_than(session, mine[None], bits)[0], wrap(session, mine, bits)

    server, client = run_two_party(lambda s: both(s, a), lambda s: both(s, y))
    assert np.array_equal(server[0] ^ client[0], a < y)
    assert np.array_equal(server[1] ^ client[1], a + y >= 1 << bits)


def test_joins_of_four_to_seven_digits_at_their_boundaries() -> None:
    """Numbers whose digits are extreme or differ in a single place."""
    for digits in range(4, 8):
        bits = 4 * digits
        y = np.array(
            [int("".join(p), 16) for p in itertools.product("07f", repeat=digits)], np.uint64
        )
        steps = [0, *(1 << s for s in range(0, bits, 4)), *(-(1 << s) for s in range(0, bits, 4))]
        a, y = (
            np.concatenate(x)
            for x in zip(*((y + np.uint64(s % 2**64), y) for s in steps), strict=True)
        )
        a = ring.reduce(a, bits)
        server, client = run_two_party(
            lambda s, a=a, b=bits: less_than(s, a[None], b)[0],
            lambda s, y=y, b=bits: less_than(s, y[None], b)[0],
        )
        assert np.array_equal(server ^ client, a < y)


@pytest.mark.parametrize(("bits", "out_bits"), [(2, 2), (2, 5), (3, 3), (4, 9), (5, 64)])
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
        # The functionality: the floors of the shares, and one more. Its rounding
        # bit is [low(x0) <= low(x)].
        low0, low = x0 & ring.mask(s), x.astype(np.uint64) & ring.mask(s)
        meant = ring.reduce((x >> s).view(np.uint64) + (low0 <= low), bits - s)
        assert np.array_equal(ring.reduce(next(opened), bits - s), meant)
    for out in (bits + 1, 17, 64):
        assert np.array_equal(ring.to_signed(ring.reduce(next(opened), out), out), x)


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


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 63, 65, 129])
def test_messages_hold_nothing_of_the_heap(n: int) -> None:
    """The same call gives the same bytes, whatever freed memory held, and spare bits are zero."""
    rng = np.random.default_rng(n)
    w, delta = rng.integers(0, 256, (n, 16), np.uint8), rng.integers(0, 256, 16, np.uint8)
    keys = rng.integers(0, 256, (32, 16, 16), np.uint8)
    calls: list[tuple[int, Callable[[], U8]]] = []
    for k, bits in itertools.product(range(1, 5), (1, 3, 8)):
        shifts, table = (rng.integers(0, 1 << k, shape, np.uint8) for shape in (n, (n, 1 << k)))
        digits = np.tile(shifts, (3, 1))
        wide, fields = table.astype(np.uint64) * np.uint64(0x0101010101010101), n * ((1 << k) - 1)
        calls += [
            (
                fields * bits,
                lambda a=(w, delta, k, 5, shifts, table, bits): kernels.lookup_send(*a)[0],
            ),
            (
                fields * 6,
                lambda a=(w, delta, k, 5, shifts, digits, True): kernels.leaves_send(*a)[0],
            ),
            (fields * 61, lambda a=(w, delta, k, 5, shifts, wide, 61): kernels.arith_send(*a)[0]),
            (31 * k * 128 * 2, lambda k=k: kernels.vole_receiver(keys, 7, k, 2)[2]),
        ]
    ones = np.ones(n, np.uint8)
    x = rng.integers(0, 1 << 20, n).astype(np.uint64)
    calls += [
        (n * 3 * 21, lambda: kernels.mux_server(w, delta, 5, ones, x, ones, ones, 20, 21)[0]),
        (n * 21, lambda: kernels.mux_client(w, delta, 5, ones, x, ones, 20, 21)[0]),
        (n * 13, lambda: kernels.pack(x, 13)),
        (n * 5, lambda: kernels.pack(ones, 5)),
    ]
    for nbits, call in calls:
        results = []
        for filler in (0x00, 0xFF):
            for size in (nbits // 8 + 1, nbits // 8 + 513, n + 513, 16 * n + 513):
                del_me = [np.full(size, filler, np.uint8) for _ in range(4)]
                del del_me
            results.append(call().tobytes())
        assert results[0] == results[1]
        assert len(results[0]) == (nbits + 7) // 8
        if nbits % 8:
            assert results[0][-1] >> nbits % 8 == 0


def test_lookups_depend_on_the_chosen_pad_alone() -> None:
    """Without the pad of another option its message tells nothing:
    equal tables, unrelated messages.
    """
    rng, n = np.random.default_rng(0), 1 << 12
    keys = rng.integers(0, 256, (32, 16, 16), np.uint8)
    _, v, _ = kernels.vole_receiver(keys, 0, 4, n // 128)
    w, delta, shifts = v, rng.integers(1, 256, 16, np.uint8), np.zeros(n, np.uint8)  # u = 0
    messages, share = kernels.lookup_send(w, delta, 4, 0, shifts, np.zeros((n, 16), np.uint8), 8)
    pads = sender_pads(w, delta, 4, 0, shifts).astype(np.uint8)
    fields = messages.reshape(n, 15)
    assert np.array_equal(fields, pads[:, 1:] ^ pads[:, :1])
    assert np.array_equal(share, pads[:, 0])
    for j in range(15):
        assert chi_square(fields[:, j]) < 255 + 8 * 22.6
        assert chi_square(fields[:, j] ^ fields[:, j - 1]) < 255 + 8 * 22.6
