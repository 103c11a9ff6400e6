"""Streams of random bytes: which half of the counter belongs to whom."""

from __future__ import annotations

import itertools

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.prg import Prg


def test_streams_of_one_party_have_a_half_of_their_own() -> None:
    seed = bytes(range(16))
    public = kernels.aes_ctr(np.frombuffer(seed, np.uint8), 0, 64)
    assert np.array_equal(Prg(seed).bytes(64), public)  # what both parties derive
    blocks = [Prg(seed, upper).bytes(64).tobytes() for upper in (0, 1, 2**64 - 1)]
    assert len(set(blocks)) == 3
    drawn = [Prg.from_os() for _ in range(3)]
    uppers = [stream._upper for stream in itertools.chain(drawn, (d.fork() for d in drawn))]
    assert len(set(uppers)) == 6
    assert 0 not in uppers
    assert (
        Prg(seed).fork()._upper
        == Prg(seed).fork()._upper
        == int.from_bytes(public[16:24].tobytes(), "little")
    )


def test_parts_make_up_the_stream() -> None:
    whole, prg = Prg(bytes(16), 5).bytes(1000), Prg(bytes(16), 5)
    parts = [prg.part(n) for n in (160, 32, 808)]
    late = prg.bytes(16)
    made = [part.bytes(n) for part, n in zip(reversed(parts), (808, 32, 160), strict=True)]
    assert np.array_equal(np.concatenate(made[::-1]), whole)
    assert np.array_equal(late, Prg(bytes(16), 5).bytes(1024)[1008:])
