"""What messages are made of: nothing of the heap, and one pad alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference.transfers import sender_pads
from tests.support.wiretap import chi_square

KEY = np.arange(16, dtype=np.uint8)


def message_of(kernel: Callable[..., tuple[U8, object]], *arguments: object) -> Callable[[], U8]:
    """The call of a kernel, for the message without the share."""
    return lambda: kernel(*arguments)[0]


@pytest.mark.parametrize("n", [1, 3, 63, 65, 129])
def test_messages_hold_nothing_of_the_heap(n: int) -> None:
    """The same call gives the same bytes, whatever freed memory held, and spare bits are zero."""
    rng = np.random.default_rng(n)
    w, delta = rng.integers(0, 256, (n, 16), np.uint8), rng.integers(0, 256, 16, np.uint8)
    keys = rng.integers(0, 256, (32, 16, 16), np.uint8)

    def corrections(k: int) -> U8:
        return kernels.vole_receiver(keys, 7, k, 2)[2]

    calls: list[tuple[int, Callable[[], U8]]] = []
    for k, bits in itertools.product(range(1, 5), (1, 3, 8)):
        shifts, table = (rng.integers(0, 1 << k, shape, np.uint8) for shape in (n, (n, 1 << k)))
        pads, digits = (w, delta, k, KEY), np.tile(shifts, (3, 1))
        wide, fields = table.astype(np.uint64) * np.uint64(0x0101010101010101), n * ((1 << k) - 1)
        calls += [
            (fields * bits, message_of(kernels.lookup_send, *pads, shifts, table, bits)),
            (fields * 6, message_of(kernels.leaves_send, *pads, shifts, digits, True)),
            (fields * 61, message_of(kernels.arith_send, *pads, shifts, wide, 61)),
            (31 * k * 128 * 2, partial(corrections, k)),
        ]
    ones = np.ones(n, np.uint8)
    x = rng.integers(0, 1 << 20, n).astype(np.uint64)
    calls += [
        *(
            (n * b, message_of(kernels.mux_send, w, delta, KEY, ones, x, ones, b))
            for b in (1, 7, 61)
        ),
        (n * 13, message_of(kernels.widen_send, w, delta, KEY, ones, x, x, 20, 33)),
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
    messages, share = kernels.lookup_send(w, delta, 4, KEY, shifts, np.zeros((n, 16), np.uint8), 8)
    pads = sender_pads(w, delta, 4, KEY, shifts, 8).astype(np.uint8)
    fields = messages.reshape(n, 15)
    assert np.array_equal(fields, pads[:, 1:] ^ pads[:, :1])
    assert np.array_equal(share, pads[:, 0])
    for j in range(15):
        assert chi_square(fields[:, j]) < 255 + 8 * 22.6
        assert chi_square(fields[:, j] ^ fields[:, j - 1]) < 255 + 8 * 22.6
