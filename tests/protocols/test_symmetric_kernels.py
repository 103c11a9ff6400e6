"""Symmetric kernels: laws of both twins, vectors from outside, and every compiled
variant equal to the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference import digits, gates, streams, symmetric
from tests.protocols.oracles import aes, multiples, nibbles, times
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("symmetric", symmetric, gates, digits, streams)
reference = FAMILY.reference
WIDTHS = (1, 2, 3, 4)
# Around the sizes at which the compiled loops change path: a group of 64,
# its last two, nothing at all, and three keys of every width.
SIZES = (0, 1, 2, 5, 63, 64, 65, 127, 128, 129, 191, 192, 193, 320, 1100)
LAST = 2**64 - 3  # a counter that wraps within any call of more than three steps
LAST_KEY = np.frombuffer(LAST.to_bytes(8, "little") + bytes(range(8)), np.uint8)


@pytest.fixture(params=FAMILY.isas)
def compiled(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


# --- independent evaluations, one value at a time -------------------------------------------------


def ctr_block(key: bytes, counter: int, upper: int = 0) -> bytes:
    return aes(key, (counter % 2**64).to_bytes(8, "little") + upper.to_bytes(8, "little"))


def hash_low(k: int, index: int, block: bytes) -> int:
    """Low half of the hash of element `index` of a call of width k with LAST_KEY."""
    low = (LAST + (index << k >> 10)) % 2**64
    hashed = aes(low.to_bytes(8, "little") + LAST_KEY[8:].tobytes(), block)
    return (int.from_bytes(hashed, "little") ^ int.from_bytes(block, "little")) % 2**64


def octets(rng: np.random.Generator, *shape: int) -> U8:
    return rng.integers(0, 256, shape, np.uint8)


def below(rng: np.random.Generator, k: int, n: int) -> U8:
    return rng.integers(0, 1 << k, n, np.uint8)


@dataclass(frozen=True)
class Correlation:
    """Ideal correlations with a chosen index: what the transfer layer hands to the kernels."""

    delta: U8
    v: U8
    u: U8
    choices: U8

    @property
    def w(self) -> U8:
        return self.v ^ multiples(self.u, self.delta)

    @property
    def shifts(self) -> U8:
        return self.choices ^ self.u


def correlation(rng: np.random.Generator, k: int, n: int) -> Correlation:
    return Correlation(octets(rng, 16), octets(rng, n, 16), below(rng, k, n), below(rng, k, n))


def assert_same(one: U8 | tuple[U8, ...], other: U8 | tuple[U8, ...]) -> None:
    ones, others = (x if isinstance(x, tuple) else (x,) for x in (one, other))
    for a, b in zip(ones, others, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# --- AES ------------------------------------------------------------------------------------------


def test_oracle_is_aes() -> None:
    """FIPS-197, appendix C.1: the cipher that the other tests compare with."""
    plaintext = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert aes(bytes(range(16)), plaintext).hex() == "69c4e0d86a7b0430d8cdb78070b4c55a"


@pytest.mark.parametrize(
    ("key", "counter", "ciphertext"),
    [
        ("00000000000000000000000000000000", 0, "66e94bd4ef8a2c3b884cfa59ca342b2e"),
        (
            "80000000000000000000000000000000",
            0,
            "0edd33d3c621e546455bd8ba1418bec8",
        ),  # AESAVS, VarKey
        (
            "00000000000000000000000000000000",
            0x80,
            "3ad78e726c1ec02b7ebfe92b23d9ec34",
        ),  # AESAVS, VarTxt
    ],
)
def test_keystream_vectors(twin: SimpleNamespace, key: str, counter: int, ciphertext: str) -> None:
    stream = twin.aes_ctr(np.frombuffer(bytes.fromhex(key), np.uint8), counter, 16)
    assert stream.tobytes().hex() == ciphertext


@pytest.mark.parametrize("upper", [0, 2**64 - 2])
@pytest.mark.parametrize("nbytes", [0, 1, 15, 16, 17, 127, 128, 129, 511, 512, 513, 2000])
def test_keystream_counts_low_half(twin: SimpleNamespace, nbytes: int, upper: int) -> None:
    key = bytes(range(100, 116))
    blocks = (ctr_block(key, LAST + i, upper) for i in range(-(-nbytes // 16)))
    stream = twin.aes_ctr(np.frombuffer(key, np.uint8), LAST, nbytes, upper)
    assert stream.tobytes() == b"".join(blocks)[:nbytes]
    if upper == 0:
        assert np.array_equal(twin.aes_ctr(np.frombuffer(key, np.uint8), LAST, nbytes), stream)


@pytest.mark.parametrize("m", [0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 33])
def test_tree_generator(twin: SimpleNamespace, m: int) -> None:
    rng = np.random.default_rng(m)
    seeds, keys = octets(rng, m, 16), octets(rng, 2, 16)
    children = twin.ggm_expand(seeds, keys)
    assert children.shape == (m, 2, 16)
    for seed, pair in zip(seeds, children, strict=True):
        for key, child in zip(keys, pair, strict=True):
            hashed = np.frombuffer(aes(key.tobytes(), seed.tobytes()), np.uint8)
            assert np.array_equal(child, hashed ^ seed)


# --- SoftSpoken -----------------------------------------------------------------------------------


def relative_keys(keys: U8, delta: U8) -> U8:
    """What the sender has: leaf `y ^ delta_i` at position y, and
    noise where it must know nothing.
    """
    order = np.arange(16)[None, :] ^ nibbles(delta)[:, None]
    relative = keys[np.arange(32)[:, None], order]
    relative[:, 0] = octets(np.random.default_rng(0), 32, 16)
    return relative


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("nblocks", [0, 1, 7, 8, 17])
def test_vole_law(twin: SimpleNamespace, k: int, nblocks: int) -> None:
    rng = np.random.default_rng(10 * nblocks + k)
    keys, delta = octets(rng, 32, 16, 16), octets(rng, 16)
    u, v, corrections = twin.vole_receiver(keys, 5, k, nblocks)
    w = twin.vole_sender(relative_keys(keys, delta), delta, 5, k, nblocks, corrections)
    assert (u.shape, v.shape, w.shape) == (
        (128 * nblocks,),
        (128 * nblocks, 16),
        (128 * nblocks, 16),
    )
    assert corrections.shape == (31 * k * nblocks * 16,)
    np.testing.assert_array_equal(w, v ^ multiples(u, delta))
    if nblocks > 0:
        assert set(u.tolist()) == set(range(1 << k))  # fixed seeds: no chance involved


def test_vole_from_definition(twin: SimpleNamespace) -> None:
    """u and v of some coordinates, summed leaf by leaf."""
    k, nblocks, counter = 3, 3, 77
    keys = octets(np.random.default_rng(1), 32, 16, 16)
    u, v, _ = twin.vole_receiver(keys, counter, k, nblocks)
    for c in (0, 1, 127, 128, 300, 383):
        for tree in (0, 1, 30, 31):
            elements = []
            for x in range(16):
                planes = [
                    ctr_block(keys[tree, x].tobytes(), counter + b * nblocks + c // 128)
                    for b in range(k)
                ]
                bits = [planes[b][c % 128 // 8] >> c % 8 & 1 for b in range(k)]
                elements.append(sum(bit << b for b, bit in enumerate(bits)))
            assert nibbles(v[c])[tree] == np.bitwise_xor.reduce(
                [times(x, r) for x, r in enumerate(elements)]
            )
            if tree == 0:
                assert u[c] == np.bitwise_xor.reduce(elements)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("nblocks", [0, 1, 2, 3, 4, 8, 9, 15, 16, 17, 33])
def test_vole_twins_are_equal(compiled: SimpleNamespace, k: int, nblocks: int) -> None:
    rng = np.random.default_rng(k)
    keys, delta, last = octets(rng, 32, 16, 16), octets(rng, 16), 2**64 - k * nblocks - 1
    expected = reference.vole_receiver(keys, last, k, nblocks)
    assert_same(compiled.vole_receiver(keys, last, k, nblocks), expected)
    corrections = octets(rng, *expected[2].shape)
    assert_same(
        compiled.vole_sender(keys, delta, last, k, nblocks, corrections),
        reference.vole_sender(keys, delta, last, k, nblocks, corrections),
    )


# --- lookups --------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", WIDTHS)
def test_pads_are_the_hash(twin: SimpleNamespace, k: int) -> None:
    """Over a table of zeros the share is minus-or-plus pad 0 and the messages are
    differences of pads: all 64 bits.
    """
    n = 2100 >> k  # three keys
    c = correlation(np.random.default_rng(k), k, n)
    messages, share = twin.arith_send(
        c.w, c.delta, k, LAST_KEY, c.shifts, np.zeros((n, 1 << k), np.uint64), 64
    )
    fields = messages.view("<u8").reshape(n, (1 << k) - 1)
    for i in (0, 1, *(at + near for at in (1024 >> k, 2048 >> k) for near in (-1, 0)), n - 1):
        pads = [
            hash_low(
                k,
                i,
                (c.w[i] ^ multiples(np.array([j ^ c.shifts[i]], np.uint8), c.delta)[0]).tobytes(),
            )
            for j in range(1 << k)
        ]
        assert int(share[i]) == pads[0]
        assert [int(field) for field in fields[i]] == [(pad - pads[0]) % 2**64 for pad in pads[1:]]
        assert pads[c.choices[i]] == hash_low(k, i, c.v[i].tobytes())


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 7, 8])
def test_lookup_law(twin: SimpleNamespace, k: int, bits: int) -> None:
    n = 200
    rng = np.random.default_rng(100 * k + bits)
    c, table = correlation(rng, k, n), octets(rng, n, 1 << k)
    messages, share = twin.lookup_send(c.w, c.delta, k, LAST_KEY, c.shifts, table, bits)
    assert messages.shape == ((n * ((1 << k) - 1) * bits + 7) // 8,)
    opened = share ^ twin.lookup_recv(c.v, k, LAST_KEY, c.choices, c.u, bits, messages)
    np.testing.assert_array_equal(opened, table[np.arange(n), c.choices] & ((1 << bits) - 1))


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("with_eq", [False, True])
def test_leaf_compares_every_pair(twin: SimpleNamespace, k: int, with_eq: bool) -> None:
    digits, choices = (x.reshape(-1).astype(np.uint8) for x in np.indices((1 << k, 1 << k)))
    c = correlation(np.random.default_rng(k), k, len(digits))
    shifts = choices ^ c.u
    messages, share = twin.leaves_send(c.w, c.delta, k, LAST_KEY, shifts, digits[None], with_eq)
    opened = share ^ twin.leaves_recv(c.v, k, LAST_KEY, choices, c.u, 1, with_eq, messages)
    np.testing.assert_array_equal(
        opened[0], (digits < choices) + 2 * (with_eq & (digits == choices))
    )
    assert len(messages) == (len(digits) * ((1 << k) - 1) * (1 + with_eq) + 7) // 8


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("bits", [1, 28, 56, 57, 63, 64])
def test_arith_law(twin: SimpleNamespace, k: int, bits: int) -> None:
    n = 150
    rng = np.random.default_rng(100 * k + bits)
    c, table = correlation(rng, k, n), rng.integers(0, 2**64, (n, 1 << k), np.uint64)
    mask = np.uint64(2**bits - 1)
    messages, mine = twin.arith_send(c.w, c.delta, k, LAST_KEY, c.shifts, table, bits)
    theirs = twin.arith_recv(c.v, k, LAST_KEY, c.choices, c.u, bits, messages)
    assert max(mine.max(), theirs.max()) <= mask
    np.testing.assert_array_equal(mine + theirs & mask, table[np.arange(n), c.choices] & mask)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_lookup_twins_are_equal(compiled: SimpleNamespace, k: int, n: int) -> None:
    rng = np.random.default_rng(1000 * k + n)
    c = correlation(rng, k, n)
    sender, receiver = (c.w, c.delta, k, LAST_KEY, c.shifts), (c.v, k, LAST_KEY, c.choices, c.u)
    for bits in range(1, 9):
        table = octets(rng, n, 1 << k)
        sent = reference.lookup_send(*sender, table, bits)
        assert_same(compiled.lookup_send(*sender, table, bits), sent)
        assert_same(
            compiled.lookup_recv(*receiver, bits, sent[0]),
            reference.lookup_recv(*receiver, bits, sent[0]),
        )
    for with_eq in (False, True):
        for count in (1, 2, 5, 25, 32):
            digits = np.stack([below(rng, k, n) for _ in range(count)])
            sent = reference.leaves_send(*sender, digits, with_eq)
            assert_same(compiled.leaves_send(*sender, digits, with_eq), sent)
            opened = reference.leaves_recv(*receiver, count, with_eq, sent[0])
            assert_same(compiled.leaves_recv(*receiver, count, with_eq, sent[0]), opened)
            comparison = (digits < c.choices) + 2 * (with_eq & (digits == c.choices))
            np.testing.assert_array_equal(sent[1] ^ opened, comparison)
    own, function = below(rng, k, n), octets(rng, 1 << k)
    sent = reference.join_send(*sender, own, function, 3)
    assert_same(compiled.join_send(*sender, own, function, 3), sent)
    joined = sent[1] ^ reference.lookup_recv(*receiver, 3, sent[0])
    np.testing.assert_array_equal(joined, function[own ^ c.choices] & 7)
    for bits in (1, 13, 28, 56, 57, 64):
        words = rng.integers(0, 2**64, (n, 1 << k), np.uint64)
        dealt = reference.arith_send(*sender, words, bits)
        assert_same(compiled.arith_send(*sender, words, bits), dealt)
        assert_same(
            compiled.arith_recv(*receiver, bits, dealt[0]),
            reference.arith_recv(*receiver, bits, dealt[0]),
        )


@pytest.mark.parametrize(("bits", "out_bits"), [(1, 2), (2, 64), (16, 28), (33, 41), (63, 64)])
@pytest.mark.parametrize("n", SIZES)
def test_multiplexer_twins_are_equal(
    compiled: SimpleNamespace, n: int, bits: int, out_bits: int
) -> None:
    rng = np.random.default_rng(1000 * bits + n)
    c = correlation(rng, 1, n)
    sender, receiver = (c.w, c.delta, LAST_KEY, c.shifts), (c.v, LAST_KEY, c.choices, c.u)
    gate, flip = below(rng, 1, n), below(rng, 1, n)
    for width in (bits, out_bits):
        mask = np.uint64(2**width - 1)
        x, theirs = (rng.integers(0, 2**64, n, np.uint64) & mask for _ in range(2))
        sent = reference.mux_send(*sender, x, gate, width)
        assert_same(compiled.mux_send(*sender, x, gate, width), sent)
        opened = reference.arith_recv(c.v, 1, *receiver[1:], width, sent[0])
        np.testing.assert_array_equal(sent[1] + opened & mask, x * (gate ^ c.choices))
        adding = (*sender, x, gate, theirs, flip, width)
        summed = reference.mux_send_adding(*adding)
        assert_same(compiled.mux_send_adding(*adding), summed)
        np.testing.assert_array_equal(summed[0], sent[0])
        np.testing.assert_array_equal(summed[1], sent[1] + theirs - flip & mask)
        np.testing.assert_array_equal(summed[2], (summed[1] >> np.uint64(width - 1)) ^ flip)
    own, theirs, x = (
        rng.integers(0, 2**64, n, np.uint64) & np.uint64(2**bits - 1) for _ in range(3)
    )
    sent = reference.widen_send(*sender, own, theirs, bits, out_bits)
    assert_same(compiled.widen_send(*sender, own, theirs, bits, out_bits), sent)
    opening = (*receiver, x, flip, bits, out_bits, sent[0])
    assert_same(compiled.widen_recv(*opening), reference.widen_recv(*opening))


# --- digits and choices ---------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1,), (1, 4, 4, 4), (3, 4, 2), (8,) * 8, ()])
def test_digits_make_up_the_value(twin: SimpleNamespace, sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(sizes))
    x, added = rng.integers(0, 2**64, 70, np.uint64), rng.integers(0, 2**64, (3, 70), np.uint64)
    bits = sum(sizes)
    for shift, complement in ((0, False), (13, False), (13, True)):
        digits = twin.cut_digits(x, added, shift, sizes, complement)
        assert digits.shape == (len(sizes), 3, 70)
        for row, i in np.ndindex(3, 70):
            value = ((int(x[i]) >> shift) + int(added[row, i])) % 2**bits
            whole = 0
            for size, digit in zip(sizes, digits[:, row, i], strict=True):
                assert digit < 1 << size
                whole = whole << size | int(digit)
            assert whole == (2**bits - 1 - value if complement else value)


@pytest.mark.parametrize("n", [*SIZES, 511, 512, 513])
def test_digit_twins_are_equal(compiled: SimpleNamespace, n: int) -> None:
    rng = np.random.default_rng(n)
    x, added = rng.integers(0, 2**64, n, np.uint64), rng.integers(0, 2**64, (2, n), np.uint64)
    for cut in (
        (None, 0, (1, 4, 4, 4), True),
        (added, 63, (8,) * 8, False),
        (added, 7, (2,), True),
    ):
        assert_same(compiled.cut_digits(x, *cut), reference.cut_digits(x, *cut))
    parts = [below(rng, 2, n) for _ in range(4)]
    for masks in ((1,), (2,), (3, 1), (2, 2, 2, 1), (2, 3, 1), (3, 3, 3, 2)):
        given = parts[: len(masks)]
        assert_same(compiled.gather_bits(given, masks), reference.gather_bits(given, masks))


def test_choices_have_the_bits_that_are_asked_for(twin: SimpleNamespace) -> None:
    parts = [np.array([0, 1, 2, 3], np.uint8), np.array([3, 2, 1, 0], np.uint8)]
    assert twin.gather_bits(parts, (2, 3)).tolist() == [6, 4, 3, 1]
    assert twin.gather_bits(parts, (3, 1)).tolist() == [4, 1, 6, 3]


# --- bit streams ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(data=st.data(), bits=st.integers(1, 64), n=st.integers(0, 300))
@pytest.mark.parametrize("twin_name", ["reference", "native"])
def test_bit_streams(twin_name: str, data: st.DataObject, bits: int, n: int) -> None:
    """`pack` is the number sum_i v_i 2^(i*bits) in little-endian
    bytes, and `unpack` its inverse.
    """
    if twin_name == "native" and not FAMILY.isas:
        pytest.skip("no compiled kernels")
    module = FAMILY.native if twin_name == "native" else reference
    seed = data.draw(st.integers(0, 2**32))
    values = np.random.default_rng(seed).integers(
        0, 2**64, n, np.uint64
    )  # bits above the width are dropped
    kept = [int(v) % 2**bits for v in values]
    stream = sum(v << i * bits for i, v in enumerate(kept)).to_bytes((n * bits + 7) // 8, "little")
    packed = module.pack(values, bits)
    assert packed.tobytes() == stream
    assert module.unpack(packed, n, bits).tolist() == kept
    if bits <= 8:
        assert module.pack(values.astype(np.uint8), bits).tobytes() == stream
        small = module.unpack8(packed, n, bits)
        assert small.dtype == np.uint8
        assert small.tolist() == kept


@pytest.mark.skipif(not FAMILY.isas, reason="no compiled kernels")
@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8, 12, 28, 57, 64])
@pytest.mark.parametrize("n", [4095, 4096, 4097, 4111, 4112, 4224, 8193])
def test_long_bit_streams(bits: int, n: int) -> None:
    values = np.random.default_rng(n).integers(0, 2**64, n, np.uint64)
    native = FAMILY.native
    packed = reference.pack(values, bits)
    assert_same(native.pack(values, bits), packed)
    assert_same(native.unpack(packed, n, bits), reference.unpack(packed, n, bits))
    if bits <= 8:
        assert_same(native.pack(values.astype(np.uint8), bits), packed)
        assert_same(native.unpack8(packed, n, bits), reference.unpack8(packed, n, bits))


# --- arguments ------------------------------------------------------------------------------------

BLOCKS = np.zeros((4, 16), np.uint8)
BLOCK = BLOCKS[0]
BYTES = np.zeros(4, np.uint8)
WORDS = np.zeros(4, np.uint64)
KEYS = np.zeros((32, 16, 16), np.uint8)


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (TypeError, lambda t: t.aes_ctr(BLOCK.astype(np.int64), 0, 16)),
        (ValueError, lambda t: t.aes_ctr(BLOCK[:15], 0, 16)),
        (ValueError, lambda t: t.ggm_expand(BLOCK, BLOCKS[:2])),
        (ValueError, lambda t: t.ggm_expand(BLOCKS, BLOCKS)),
        (ValueError, lambda t: t.lookup_recv(BLOCKS, 1, BLOCK[:8], BYTES, BYTES, 1, BYTES[:1])),
        (
            TypeError,
            lambda t: t.lookup_recv(BLOCKS, 1, BLOCK.view(np.int8), BYTES, BYTES, 1, BYTES[:1]),
        ),
        (ValueError, lambda t: t.vole_receiver(KEYS[:31], 0, 1, 1)),
        (ValueError, lambda t: t.vole_receiver(KEYS, 0, 5, 1)),
        (ValueError, lambda t: t.vole_receiver(KEYS, 2**64 - 1, 1, 2)),
        (
            ValueError,
            lambda t: t.vole_sender(KEYS, BLOCK, 0, 1, 1, np.zeros(31 * 16 - 1, np.uint8)),
        ),
        (
            ValueError,
            lambda t: t.lookup_send(BLOCKS, BLOCK, 2, BLOCK, BYTES, np.zeros((4, 2), np.uint8), 1),
        ),
        (
            ValueError,
            lambda t: t.lookup_send(BLOCKS, BLOCK, 1, BLOCK, BYTES, np.zeros((4, 2), np.uint8), 9),
        ),
        (
            ValueError,
            lambda t: t.lookup_send(
                BLOCKS, BLOCK, 1, BLOCK, BYTES + 2, np.zeros((4, 2), np.uint8), 1
            ),
        ),
        (ValueError, lambda t: t.lookup_recv(BLOCKS, 1, BLOCK, BYTES[1:], BYTES, 2, BYTES[:1])),
        (ValueError, lambda t: t.lookup_recv(BLOCKS, 1, BLOCK, BYTES, BYTES[1:], 2, BYTES[:1])),
        (ValueError, lambda t: t.lookup_recv(BLOCKS, 1, BLOCK, BYTES, BYTES, 2, BYTES[:2])),
        (ValueError, lambda t: t.leaves_send(BLOCKS, BLOCK, 0, BLOCK, BYTES, BYTES[None], True)),
        (
            ValueError,
            lambda t: t.leaves_send(BLOCKS, BLOCK, 4, BLOCK, BYTES, BYTES[None, 1:], True),
        ),
        (
            TypeError,
            lambda t: t.arith_send(BLOCKS, BLOCK, 1, BLOCK, BYTES, np.zeros((4, 2), np.int64), 8),
        ),
        (ValueError, lambda t: t.arith_recv(BLOCKS, 1, BLOCK, BYTES, BYTES, 65, BYTES)),
        (ValueError, lambda t: t.mux_send(BLOCKS, BLOCK, BLOCK, BYTES, WORDS, BYTES, 65)),
        (ValueError, lambda t: t.widen_send(BLOCKS, BLOCK, BLOCK, BYTES, WORDS, WORDS, 5, 5)),
        (ValueError, lambda t: t.widen_send(BLOCKS, BLOCK, BLOCK, BYTES, WORDS, WORDS, 64, 65)),
        (
            ValueError,
            lambda t: t.widen_recv(BLOCKS, BLOCK, BYTES, BYTES, WORDS, BYTES, 5, 5, BYTES[:1]),
        ),
        (TypeError, lambda t: t.cut_digits(BYTES, None, 0, (1,), False)),
        (ValueError, lambda t: t.cut_digits(WORDS, WORDS, 0, (1,), False)),
        (ValueError, lambda t: t.cut_digits(WORDS, WORDS[None, 1:], 0, (1,), False)),
        (ValueError, lambda t: t.cut_digits(WORDS, None, 64, (1,), False)),
        (ValueError, lambda t: t.cut_digits(WORDS, None, 0, (0, 9), False)),
        (ValueError, lambda t: t.cut_digits(WORDS, None, 0, (8,) * 9, False)),
        (ValueError, lambda t: t.gather_bits([BYTES], (4,))),
        (ValueError, lambda t: t.gather_bits([BYTES, BYTES[1:]], (1, 1))),
        (ValueError, lambda t: t.gather_bits([BYTES] * 5, (3, 3, 3, 3, 3))),
        (ValueError, lambda t: t.gather_bits([BYTES], (1, 1))),
        (TypeError, lambda t: t.pack(BYTES.astype(np.int32), 3)),
        (ValueError, lambda t: t.pack(BYTES, 9)),
        (ValueError, lambda t: t.pack(BYTES, 0)),
        (ValueError, lambda t: t.unpack(BYTES, 4, 9)),
        (ValueError, lambda t: t.unpack8(BYTES, 3, 10)),
    ],
)
def test_bad_arguments(
    twin: SimpleNamespace, error: type[Exception], call: Callable[[SimpleNamespace], object]
) -> None:
    with pytest.raises(error):
        call(twin)


def test_views_and_read_only_arrays(twin: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    c = correlation(rng, 4, 64)
    digits = below(rng, 4, 64)
    expected = twin.leaves_send(
        c.w[::2].copy(), c.delta, 4, LAST_KEY, c.shifts[::2].copy(), digits[None, ::2].copy(), True
    )
    for array in (c.w, c.delta, c.shifts, digits):
        array.flags.writeable = False
    assert_same(
        twin.leaves_send(c.w[::2], c.delta, 4, LAST_KEY, c.shifts[::2], digits[None, ::2], True),
        expected,
    )
