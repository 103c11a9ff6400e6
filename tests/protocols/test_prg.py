"""Streams of random bytes: what the operating system gives them, which half of the counter belongs
to whom, and that no block serves twice.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.errors import ContractViolation
from moiety.protocols.prg import Prg
from tests.protocols.oracles import aes, unevenness

SEED, UPPER = bytes(range(16)), 0x0123456789ABCDEF


def keystream(seeded: bytes, n: int, start: int = 0) -> bytes:
    """AES-CTR of 16 bytes of key and 8 of the counter's upper half, from block `start` on."""
    key, upper = seeded[:16], seeded[16:24]
    return b"".join(aes(key, i.to_bytes(8, "little") + upper) for i in range(start, start + n))


def test_a_stream_is_seeded_with_all_that_the_operating_system_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """192 bits for every stream, none of them of anything else."""
    given_out = bytes(range(100, 172))
    taken = 0

    def urandom(n: int) -> bytes:
        nonlocal taken
        taken += n
        return given_out[taken - n : taken]

    monkeypatch.setattr(os, "urandom", urandom)
    for index in range(3):
        prg = Prg.from_os()
        assert taken == 24 * (index + 1)
        assert prg.bytes(48).tobytes() == keystream(given_out[24 * index :][:24], 3)


def test_a_fork_is_seeded_with_what_comes_next() -> None:
    """And its parent goes on behind that."""
    prg, stream = Prg(SEED, UPPER), keystream(SEED + UPPER.to_bytes(8, "little"), 7)
    assert prg.bytes(5).tobytes() == stream[:5]
    for begin in (16, 48):
        assert prg.fork().bytes(48).tobytes() == keystream(stream[begin : begin + 24], 3)
    assert prg.bytes(32).tobytes() == stream[80:112]


@given(
    st.lists(
        st.tuples(st.sampled_from(["bytes", "uint64", "fork", "part"]), st.integers(0, 100)),
        max_size=12,
    )
)
def test_no_block_of_a_stream_serves_twice(demands: list[tuple[str, int]]) -> None:
    """Whatever is drawn in whatever order, it is whole blocks of the stream, one after the other;
    forks have none of them, and parts what they were given.
    """
    prg, seeded, at = Prg(SEED, UPPER), SEED + UPPER.to_bytes(8, "little"), 0
    draws: dict[str, Callable[[int], bytes]] = {
        "bytes": lambda n: prg.bytes(n).tobytes(),
        "uint64": lambda n: prg.uint64(n).tobytes(),
        "part": lambda n: prg.part(n).bytes(n).tobytes(),
    }
    for how, n in demands:
        if how == "fork":
            assert prg.fork().bytes(16).tobytes() == keystream(keystream(seeded, 2, at), 1)
            at += 2
            continue
        size = 8 * n if how == "uint64" else n
        blocks = -(-size // 16)
        assert draws[how](n) == keystream(seeded, blocks, at)[:size]
        at += blocks
    assert prg.bytes(16).tobytes() == keystream(seeded, 1, at)


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
def test_numbers_are_uniform(bits: int) -> None:
    """All values, and each beside its neighbour."""
    values = Prg.from_os().uint64(1 << 14, bits)
    assert unevenness(values, 1 << bits) < 6
    if bits <= 5:
        assert unevenness(values[::2] << np.uint64(bits) | values[1::2], 1 << 2 * bits) < 6


def test_wide_numbers_have_all_their_bits() -> None:
    for bits in (33, 60, 63, 64):
        values = Prg.from_os().uint64(200, bits)
        assert int(np.bitwise_or.reduce(values)) == 2**bits - 1
        assert int(np.bitwise_and.reduce(values)) == 0


@pytest.mark.parametrize("length", [0, 15, 17, 24, 32])
def test_a_seed_has_sixteen_bytes(length: int) -> None:
    with pytest.raises(ContractViolation, match="16 bytes"):
        Prg(bytes(length))


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
