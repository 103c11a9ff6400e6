"""AES, the SoftSpoken extension, and lookups in tables that the sender gives.

Specifies native/symmetric/{prg,vole,lookup}.hpp; conventions are those of the package.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.blocks import aes, keystream
from moiety.protocols.kernels.reference.checks import (
    check_array,
    check_bytes,
    check_range,
    check_width,
)
from moiety.protocols.kernels.reference.field import ALPHA
from moiety.protocols.kernels.reference.pool import Pool
from moiety.protocols.kernels.reference.streams import pack
from moiety.protocols.kernels.reference.transfers import (
    chosen_fields,
    hashed,
    low_bits,
    option_pads,
    receiver_pads,
    sender_pads,
    transfers,
)

__all__ = [
    "aes_ctr",
    "arith_recv",
    "arith_send",
    "ggm_expand",
    "lookup_recv",
    "lookup_send",
    "pads_recv",
    "pads_send",
    "vole_receiver",
    "vole_sender",
]

TREES = 32
LEAVES = 16


# --- AES ------------------------------------------------------------------------------------------


def aes_ctr(key: U8, counter: int, nbytes: int, upper: int = 0) -> U8:
    """AES-128-CTR keystream, `uint8 (nbytes,)`, from block `counter` of the stream of `key`.

    key: `uint8 (16,)`; counter, upper: below 2^64; nbytes: at most 2^62. Counter blocks are 128-bit
    little-endian integers of which the low 64 bits count (and wrap); the high 64 are `upper`.
    """
    check_bytes("key", key, 16)
    check_range("counter", counter, 0, 2**64 - 1)
    check_range("nbytes", nbytes, 0, 2**62)
    check_range("upper", upper, 0, 2**64 - 1)
    return keystream(key.tobytes(), counter, -(-nbytes // 16), upper).reshape(-1)[:nbytes]


def ggm_expand(seeds: U8, keys: U8) -> U8:
    """Double the seeds of punctured trees: `uint8 (m, 16)` to `(m, 2, 16)`, left child first.

    Child `b` of seed `s` is `AES_{K_b}(s) ^ s` with two public AES keys, `uint8 (2, 16)` (MMO, a
    PRG if they are random permutations).
    """
    check_bytes("seeds", seeds, None, 16)
    check_bytes("keys", keys, 2, 16)
    return np.stack([aes(key.tobytes(), seeds) ^ seeds for key in keys], axis=1)


# --- SoftSpoken extension -------------------------------------------------------------------------


def vole_receiver(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
    """Extend correlations by SoftSpoken, the side that knows every leaf; `n = 128*nblocks`.

    SoftSpoken over F_16 with the repetition code (Roy, CRYPTO 2022). keys:
    `uint8 (32, 16, 16)`, AES keys of the 16 leaves of 32 trees; counter: at most
    `2^64 - k*nblocks`; nblocks: at most 2^40.

    Leaf `x` of a tree expands to `n` field elements `r_x = sum_b alpha^b r_{x,b}`; plane `r_{x,b}`
    (`b < k`) is the blocks from `counter + b*nblocks` of the leaf's CTR stream, so a call consumes
    `k*nblocks` counter values and the caller advances `counter` by that much, for both sides. Tree
    `i` gives `u_i = sum_x r_x` and `v_i = sum_x x * r_x`.

    Returns `u = u_0` (`uint8 (n,)`, values below `2^k`), `v` (`uint8 (n, 16)`, nibble `i` is `v_i`)
    and the corrections `u_i + u_0` for `i = 1..31`, `uint8 (31*k*nblocks*16,)`: tree after tree,
    plane after plane, one bit per correlation.
    """
    check_bytes("keys", keys, TREES, LEAVES, 16)
    _check_vole(counter, k, nblocks)
    planes = np.empty((TREES, 4, nblocks * 16), np.uint8)
    sums = np.empty((TREES, k, nblocks * 16), np.uint8)
    for i in range(TREES):
        leaves = _leaf_streams(keys[i], counter, k, nblocks)
        sums[i] = np.bitwise_xor.reduce(leaves, axis=0)
        planes[i] = _weighted_sum(_bit_sums(leaves))
    bits = np.unpackbits(sums[0], axis=1, bitorder="little")
    u = np.bitwise_or.reduce(bits << np.arange(k, dtype=np.uint8)[:, None], axis=0)
    return u, _transpose(planes), (sums[1:] ^ sums[0]).reshape(-1)


def vole_sender(keys: U8, delta: U8, counter: int, k: int, nblocks: int, corrections: U8) -> U8:
    """The other side of `vole_receiver`: `w = v + u*delta`, `uint8 (n, 16)`, product in F_16.

    The product is nibble by nibble. keys: `uint8 (32, 16, 16)` in order relative to `delta`
    (`uint8 (16,)`): position `y` of tree `i` is the key of leaf `y ^ delta_i`. Position 0 is the
    leaf this side must not know; its key is never used. corrections: as the receiver returned them.

    `sum_y y * r_{y ^ delta_i} = v_i + u_i*delta_i`, and the correction `u_i + u_0` times `delta_i`
    brings all trees to the same `u`.
    """
    check_bytes("keys", keys, TREES, LEAVES, 16)
    check_bytes("delta", delta, 16)
    _check_vole(counter, k, nblocks)
    check_bytes("corrections", corrections, (TREES - 1) * k * nblocks * 16)
    trees = corrections.reshape(TREES - 1, k, nblocks * 16)
    nibbles = np.stack([delta & 15, delta >> 4], axis=1).reshape(TREES)
    planes = np.empty((TREES, 4, nblocks * 16), np.uint8)
    for i in range(TREES):
        leaves = _leaf_streams(keys[i, 1:], counter, k, nblocks)
        sums = _bit_sums(np.concatenate([np.zeros_like(leaves[:1]), leaves]))
        if i > 0:
            masks = -(nibbles[i] >> np.arange(4, dtype=np.uint8) & 1)
            sums ^= masks[:, None, None] & trees[i - 1]
        planes[i] = _weighted_sum(sums)
    return _transpose(planes)


def _leaf_streams(keys: U8, counter: int, k: int, nblocks: int) -> U8:
    return np.stack([keystream(key.tobytes(), counter, k * nblocks).reshape(k, -1) for key in keys])


def _bit_sums(leaves: U8) -> U8:
    """`T_j`, the sum of the leaves whose index has bit `j`: `(16, k, bytes) -> (4, k, bytes)`.

    `sum_x x * r_x = sum_j alpha^j T_j`, because `x = sum_j alpha^j x_j`.
    """
    index = np.arange(LEAVES)
    return np.stack([np.bitwise_xor.reduce(leaves[index >> j & 1 == 1], axis=0) for j in range(4)])


def _weighted_sum(sums: U8) -> U8:
    """Bit planes of `sum_j alpha^j T_j`, `T_j = sum_b alpha^b T_{j,b}`: `(4, k, m)` to `(4, m)`."""
    planes = np.zeros((4, sums.shape[2]), np.uint8)
    for j, b in np.ndindex(sums.shape[:2]):
        for plane in range(4):
            if ALPHA[j + b] >> plane & 1:
                planes[plane] ^= sums[j, b]
    return planes


def _transpose(planes: U8) -> U8:
    """128 bit planes of n bits, `(32, 4, n/8)`, to n blocks `(n, 16)`.

    Bit `4*i + b` of a block is from plane `b` of tree `i`.
    """
    bits = np.unpackbits(planes.reshape(128, -1), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little")


def _check_vole(counter: int, k: int, nblocks: int) -> None:
    check_width(k)
    check_range("nblocks", nblocks, 0, 2**40)
    # A counter that wrapped would repeat the stream, and with it the correlations.
    check_range("counter", counter, 0, 2**64 - max(1, k * nblocks))


# --- lookups --------------------------------------------------------------------------------------


def lookup_send(
    w: U8, delta: U8, k: int, key: U8, shifts: U8, table: U8, bits: int, pool: Pool | None = None
) -> tuple[U8, U8]:
    """XOR lookup, sender: the receiver gets `table[i, c_i] ^ share[i]`, `c_i = u_i ^ shifts[i]`.

    w, delta, key: blocks `uint8 (n, 16)`, `uint8 (16,)`, `uint8 (16,)`, or else prepared pads, a
    stream of `pads_send` and two empty arrays; shifts: `uint8 (n,)` below `2^k`; table:
    `uint8 (n, 2^k)`, whose low `bits` (1..8) bits count.

    Returns the messages of options `1 .. 2^k - 1` as a bit stream, element after element,
    `uint8 (ceil(n*(2^k - 1)*bits/8),)`, and `share`, `uint8 (n,)`.
    """
    check_bytes("table", table, transfers(w, shifts, k), 1 << k)
    check_range("bits", bits, 1, 8)
    pads = sender_pads(w, delta, k, key, shifts, bits)
    fields = (pads.astype(np.uint8) ^ table) & np.uint8((1 << bits) - 1)
    share = fields[:, 0].copy()
    return pack((fields[:, 1:] ^ share[:, None]).reshape(-1), bits), share


def lookup_recv(
    v: U8, k: int, key: U8, choices: U8, u: U8, bits: int, messages: U8, pool: Pool | None = None
) -> U8:
    """XOR lookup, receiver: its share `uint8 (n,)` of `table[i, choices[i]]`.

    v, key: blocks `uint8 (n, 16)`, `uint8 (16,)`, or else prepared pads, a stream of `pads_recv`
    and an empty array; choices, u: `uint8 (n,)` below `2^k`; bits: 1..8; messages: the sender's.
    """
    check_range("bits", bits, 1, 8)
    pads = receiver_pads(v, k, key, choices, u, bits)
    opened = chosen_fields(messages, k, bits, choices) ^ pads
    return opened.astype(np.uint8) & np.uint8((1 << bits) - 1)


def arith_send(
    w: U8, delta: U8, k: int, key: U8, shifts: U8, table: U64, bits: int, pool: Pool | None = None
) -> tuple[U8, U64]:
    """Additive lookup modulo `2^bits` (1..64), sender: shares that sum to `table[i, c_i]`.

    As `lookup_send` with table `uint64 (n, 2^k)`, whose low `bits` bits count, and
    share `uint64 (n,)`. The message of option `j` is `table[i, j] - share_i + pad_j`,
    with `share_i = table[i, 0] + pad_0`.
    """
    check_array("table", table, np.uint64, transfers(w, shifts, k), 1 << k)
    mask = low_bits(bits)
    fields = sender_pads(w, delta, k, key, shifts, bits) + table
    share = fields[:, 0] & mask
    return pack(((fields[:, 1:] - share[:, None]) & mask).reshape(-1), bits), share


def arith_recv(
    v: U8, k: int, key: U8, choices: U8, u: U8, bits: int, messages: U8, pool: Pool | None = None
) -> U64:
    """Additive lookup modulo `2^bits` (1..64), receiver: its share of `table[i, choices[i]]`.

    As `lookup_recv`; the share is `uint64 (n,)`.
    """
    mask = low_bits(bits)
    pads = receiver_pads(v, k, key, choices, u, bits)
    return (chosen_fields(messages, k, bits, choices) - pads) & mask


# --- pads that are made beforehand ----------------------------------------------------------------


def pads_send(w: U8, delta: U8, k: int, key: U8, bits: int, pool: Pool | None = None) -> U8:
    """The sender's pads `H(w_i + j*delta)`, cut to their low `bits` (1..64) bits.

    w: `uint8 (n, 16)`; delta, key: `uint8 (16,)`. Returns a bit stream in which pad j of element i
    is value `i*2^k + j`, `uint8 (ceil(n*2^k*bits/8),)`: whole in bytes at multiples of 8 elements.
    """
    check_width(k)
    check_bytes("w", w, None, 16)
    mask = low_bits(bits)
    order = np.broadcast_to(np.arange(1 << k, dtype=np.uint8), (len(w), 1 << k))
    return pack((option_pads(w, delta, k, key, order) & mask).reshape(-1), bits)


def pads_recv(v: U8, k: int, key: U8, bits: int, pool: Pool | None = None) -> U8:
    """The receiver's pads `H(v_i)`, cut to their low `bits` (1..64) bits.

    v: `uint8 (n, 16)`; key: `uint8 (16,)`. Returns a bit stream, `uint8 (ceil(n*bits/8),)`.
    """
    check_width(k)
    check_bytes("v", v, None, 16)
    mask = low_bits(bits)
    return pack(hashed(v, k, key) & mask, bits)
