"""Reference twins and specification of the symmetric kernels: AES, hash, SoftSpoken
extension, lookups, bit streams.

Common conventions. A *block* is 128 bits, `uint8 (16,)`. `n` counts correlations, `k` is their
width in bits (1..4). A `tweak` is a 64-bit integer; correlation `i` of a call uses `tweak + i` (mod
2^64). Bit streams are little-endian: bit `t` of a stream is bit `t % 8` of byte `t // 8`. F_16 =
F_2[X]/(X^4 + X + 1); an element is a nibble, bit `b` the coefficient of `alpha^b = X^b`; a block is
a vector of 32 nibbles, nibble `i` in byte `i // 2`, low nibble first.

Nothing secret decides a branch or a memory index. `shifts` is public: the receiver sends it. Secret
arguments (digits, choices) are therefore not range-checked: values of `2^k` and more break the
contract and give meaningless results.

All functions raise TypeError for a wrong dtype and ValueError for a wrong shape or
a public integer out of range.
"""

from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

__all__ = [
    "aes_ctr",
    "arith_recv",
    "arith_send",
    "ggm_expand",
    "lookup_recv",
    "lookup_send",
    "pack",
    "unpack",
    "unpack8",
    "vole_receiver",
    "vole_sender",
]

U8 = NDArray[np.uint8]
U64 = NDArray[np.uint64]

# Public AES keys of the fixed-key constructions; any three distinct constants do.
HASH_KEY = b"moiety hash key."
TREE_KEYS = (b"moiety tree left", b"moiety treeright")

TREES = 32
LEAVES = 16
_POWERS = (1, 2, 4, 8, 3, 6, 12)  # alpha^0 .. alpha^6 as nibbles


# --- AES ------------------------------------------------------------------------------------------


def aes_ctr(key: U8, counter: int, nbytes: int) -> U8:
    """AES-128-CTR keystream, `uint8 (nbytes,)`, from block `counter` of the
    stream of `key` (`uint8 (16,)`).

    Counter blocks are 128-bit little-endian integers of which the low 64 bits count
    (and wrap); the high 64 are zero.
    """
    _check_bytes("key", key, (16,))
    _check_range("counter", counter, 0, 2**64 - 1)
    _check_range("nbytes", nbytes, 0, 2**62)
    return _keystream(key.tobytes(), counter, -(-nbytes // 16)).reshape(-1)[:nbytes]


def ggm_expand(seeds: U8) -> U8:
    """Doubling generator of the puncturable-PRF trees: `uint8 (m, 16) ->
    (m, 2, 16)`, left child first.

    Child `b` of seed `s` is `AES_{K_b}(s) ^ s` with two public keys (fixed-key MMO, a PRG if
    they are random permutations).
    """
    _check_bytes("seeds", seeds, (None, 16))
    return np.stack([_aes(key, seeds) ^ seeds for key in TREE_KEYS], axis=1)


def _aes(key: bytes, blocks: U8) -> U8:
    """AES-128 of every block of `uint8 (..., 16)` under one key."""
    # A context per call, not per key: contexts of `cryptography` are not for two threads at once.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(blocks.tobytes()), np.uint8).reshape(blocks.shape)


def _keystream(key: bytes, counter: int, nblocks: int) -> U8:
    blocks = np.zeros((nblocks, 2), np.uint64)
    blocks[:, 0] = _counting(counter, nblocks)
    return _aes(key, blocks.astype("<u8").view(np.uint8))


def _counting(start: int, n: int) -> U64:
    """`start, start + 1, ..` mod 2^64."""
    return np.uint64(start) + np.arange(n, dtype=np.uint64)  # array arithmetic wraps silently


def _hash(blocks: U8, tweaks: U64) -> U64:
    """Low 64 bits of `H(t, x) = AES(AES(x) ^ t) ^ AES(x)` for `uint8 (m, 16)` and `uint64 (m,)`.

    TMMO of Guo, Katz, Wang, Yu, "Efficient and Secure Multiparty Computation from
    Fixed-Key Block Ciphers" (2020).
    """
    once = _aes(HASH_KEY, blocks)
    tweaked = once.copy()
    tweaked[:, :8] ^= tweaks.astype("<u8")[:, None].view(np.uint8)
    digest = np.ascontiguousarray((_aes(HASH_KEY, tweaked) ^ once)[:, :8])
    return digest.view("<u8").reshape(-1).astype(np.uint64)


# --- SoftSpoken extension -------------------------------------------------------------------------


def vole_receiver(keys: U8, counter: int, k: int, nblocks: int) -> tuple[U8, U8, U8]:
    """SoftSpoken over F_16, repetition code (Roy, CRYPTO 2022), the side that knows
    every leaf; `n = 128*nblocks`.

    keys: `uint8 (32, 16, 16)`, AES keys of the 16 leaves of 32 trees. Leaf `x` of a tree expands
    to `n` field elements `r_x = sum_b alpha^b r_{x,b}`; plane `r_{x,b}` (`b < k`) is the blocks
    from `counter + b*nblocks` of the leaf's CTR stream, so a call consumes `k*nblocks` counter
    values and the caller advances `counter` by that much, for both sides. Tree `i` gives `u_i =
    sum_x r_x` and `v_i = sum_x x * r_x`.

    Returns `u = u_0` (`uint8 (n,)`, values below `2^k`), `v` (`uint8 (n, 16)`, nibble `i` is `v_i`)
    and the corrections `u_i + u_0` for `i = 1..31`, `uint8 (31*k*nblocks*16,)`: tree after tree,
    plane after plane, one bit per correlation.
    """
    _check_bytes("keys", keys, (TREES, LEAVES, 16))
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
    """The other side of `vole_receiver`: `w = v + u*delta`, `uint8 (n, 16)`, the
    product nibble by nibble in F_16.

    keys: `uint8 (32, 16, 16)` in order relative to `delta` (`uint8 (16,)`): position `y` of tree
    `i` is the key of leaf `y ^ delta_i`. Position 0 is the leaf this side must not know; its key is
    never used. corrections: as the receiver returned them. `sum_y y * r_{y ^ delta_i} = v_i +
    u_i*delta_i`, and the correction `u_i + u_0` times `delta_i` brings all trees to the same `u`.
    """
    _check_bytes("keys", keys, (TREES, LEAVES, 16))
    _check_bytes("delta", delta, (16,))
    _check_vole(counter, k, nblocks)
    _check_bytes("corrections", corrections, ((TREES - 1) * k * nblocks * 16,))
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
    return np.stack(
        [_keystream(key.tobytes(), counter, k * nblocks).reshape(k, -1) for key in keys]
    )


def _bit_sums(leaves: U8) -> U8:
    """`T_j`, the sum of the leaves whose index has bit `j`: `(16, k, bytes) -> (4, k, bytes)`.

    `sum_x x * r_x = sum_j alpha^j T_j`, because `x = sum_j alpha^j x_j`.
    """
    index = np.arange(LEAVES)
    return np.stack([np.bitwise_xor.reduce(leaves[index >> j & 1 == 1], axis=0) for j in range(4)])


def _weighted_sum(sums: U8) -> U8:
    """Four bit planes of `sum_j alpha^j T_j`, `T_j = sum_b alpha^b T_{j,b}`:
    `(4, k, bytes) -> (4, bytes)`.
    """
    planes = np.zeros((4, sums.shape[2]), np.uint8)
    for j, b in np.ndindex(sums.shape[:2]):
        for plane in range(4):
            if _POWERS[j + b] >> plane & 1:
                planes[plane] ^= sums[j, b]
    return planes


def _transpose(planes: U8) -> U8:
    """128 bit planes of n bits, `(32, 4, n/8)`, to n blocks: bit `4*i + b` of a block
    is from plane `b` of tree `i`.
    """
    bits = np.unpackbits(planes.reshape(128, -1), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little")


# --- lookups: 1-of-2^k transfers whose messages are a table's entries -----------------------------


def lookup_send(
    w: U8, delta: U8, k: int, tweak: int, shifts: U8, table: U8, bits: int
) -> tuple[U8, U8]:
    """XOR lookup, transfer sender: the receiver gets `table[i, c_i] ^ share[i]` for its
    choice `c_i = u_i ^ shifts[i]`.

    w: `uint8 (n, 16)`; delta: `uint8 (16,)`; shifts: `uint8 (n,)` below `2^k`; table:
    `uint8 (n, 2^k)`, whose low `bits` (1..8) bits count. The pad of option `j` is
    `H(tweak + i, w_i + (j ^ shift_i)*delta)`.

    Returns the messages of options `1 .. 2^k - 1` as a bit stream, element after
    element, `uint8 (ceil(n*(2^k - 1)*bits/8),)`, and `share`, `uint8 (n,)`, so chosen
    that the message of option 0 is zero.
    """
    _check_bytes("table", table, (len(w), 1 << _width(k)))
    _check_range("bits", bits, 1, 8)
    pads = sender_pads(w, delta, k, tweak, shifts)
    fields = (pads.astype(np.uint8) ^ table) & np.uint8((1 << bits) - 1)
    share = fields[:, 0].copy()
    return pack((fields[:, 1:] ^ share[:, None]).reshape(-1), bits), share


def lookup_recv(v: U8, k: int, tweak: int, choices: U8, u: U8, bits: int, messages: U8) -> U8:
    """XOR lookup, transfer receiver's side: its share `uint8 (n,)` of `table[i, choices[i]]`.

    v: `uint8 (n, 16)`; choices, u: `uint8 (n,)` below `2^k`; messages: the sender's. `H(tweak + i,
    v_i)` is its pad of option `u_i ^ shift_i = choices[i]`, so `u` has done its work in the shifts:
    here only its shape is checked.
    """
    _check_range("bits", bits, 1, 8)
    pads = receiver_pads(v, k, tweak, choices, u)
    chosen = select(unpack_fields(messages, len(v), k, bits), choices)
    return (chosen ^ pads).astype(np.uint8) & np.uint8((1 << bits) - 1)


def arith_send(
    w: U8, delta: U8, k: int, tweak: int, shifts: U8, table: U64, bits: int
) -> tuple[U8, U64]:
    """Additive lookup modulo `2^bits` (1..64): the two shares sum to `table[i, c_i]`.

    As `lookup_send` with table `uint64 (n, 2^k)`, whose low `bits` bits count, and share
    `uint64 (n,)`. The message of option `j` is `table[i, j] - share_i + pad_j`, with
    `share_i = table[i, 0] + pad_0`.
    """
    _check_words("table", table, (len(w), 1 << _width(k)))
    mask = _mask(bits)
    fields = sender_pads(w, delta, k, tweak, shifts) + table
    share = fields[:, 0] & mask
    return pack(((fields[:, 1:] - share[:, None]) & mask).reshape(-1), bits), share


def arith_recv(v: U8, k: int, tweak: int, choices: U8, u: U8, bits: int, messages: U8) -> U64:
    """The receiver's additive share modulo `2^bits` of `table[i, choices[i]]`,
    `uint64 (n,)`; as `lookup_recv`.
    """
    mask = _mask(bits)
    pads = receiver_pads(v, k, tweak, choices, u)
    return (select(unpack_fields(messages, len(v), k, bits), choices) - pads) & mask


def sender_pads(w: U8, delta: U8, k: int, tweak: int, shifts: U8) -> U64:
    """Low 64 bits of the pads of all options in the receiver's order: `uint64 (n, 2^k)`."""
    _check_bytes("w", w, (None, 16))
    _check_bytes("delta", delta, (16,))
    _check_bytes("shifts", shifts, (len(w),))
    _check_range("tweak", tweak, 0, 2**64 - 1)
    n, options = len(w), 1 << k
    if n and int(shifts.max()) >= options:
        raise ValueError(f"shifts must be below 2^{k}, the largest is {int(shifts.max())}")
    multiples = _multiples(delta, k)
    order = np.arange(options, dtype=np.uint8) ^ shifts[:, None]
    blocks = w[:, None, :] ^ multiples[order]
    tweaks = np.repeat(_counting(tweak, n), options)
    return _hash(blocks.reshape(-1, 16), tweaks).reshape(n, options)


def receiver_pads(v: U8, k: int, tweak: int, choices: U8, u: U8) -> U64:
    _width(k)
    _check_bytes("v", v, (None, 16))
    _check_bytes("choices", choices, (len(v),))
    _check_bytes("u", u, (len(v),))
    _check_range("tweak", tweak, 0, 2**64 - 1)
    return _hash(v, _counting(tweak, len(v)))


def _multiples(delta: U8, k: int) -> U8:
    """`x * delta`, nibble by nibble in F_16, for `x < 2^k`: `uint8 (2^k, 16)`."""
    multiples = np.zeros((1 << k, 16), np.uint8)
    power = delta.copy()
    for j in range(k):
        multiples[np.arange(1 << k) >> j & 1 == 1] ^= power
        carries = power >> np.uint8(3) & np.uint8(0x11)
        power = (power << np.uint8(1) & np.uint8(0xEE)) ^ carries * np.uint8(3)
    return multiples


def unpack_fields(messages: U8, n: int, k: int, bits: int) -> U64:
    """`uint64 (n, 2^k)` from a packed message; field 0 is not on the wire and is zero."""
    options = 1 << k
    fields = np.zeros((n, options), np.uint64)
    fields[:, 1:] = unpack(messages, n * (options - 1), bits).reshape(n, options - 1)
    return fields


def select(fields: U64, choices: U8) -> U64:
    """`fields[i, choices[i]]`, every option read and masked."""
    chosen = np.zeros(len(fields), np.uint64)
    for j in range(fields.shape[1]):
        chosen ^= fields[:, j] & -(choices == j).astype(np.uint64)
    return chosen


# --- bit streams ----------------------------------------------------------------------------------


def pack(values: U8 | U64, bits: int) -> U8:
    """Low `bits` bits of each value (`uint8` or `uint64`, `(n,)`) as a bit
    stream, `uint8 (ceil(n*bits/8),)`.

    bits: 1..8 for uint8, 1..64 for uint64. Spare bits of the last byte are zero.
    """
    if values.dtype not in (np.uint8, np.uint64):
        raise TypeError(f"values must be uint8 or uint64, got {values.dtype}")
    if values.ndim != 1:
        raise ValueError(f"values must have shape (n,), got {values.shape}")
    _check_range("bits", bits, 1, 8 * values.itemsize)
    octets = (
        values.astype(values.dtype.newbyteorder("<"))
        .view(np.uint8)
        .reshape(len(values), values.itemsize)
    )
    stream = np.unpackbits(octets[:, : (bits + 7) // 8], axis=1, bitorder="little", count=bits)
    return np.packbits(stream.reshape(-1), bitorder="little")


def unpack(data: U8, n: int, bits: int) -> U64:
    """`n` values of `bits` (1..64) bits from a bit stream of exactly
    `ceil(n*bits/8)` bytes: `uint64 (n,)`.
    """
    _check_range("n", n, 0, 2**48)
    _check_range("bits", bits, 1, 64)
    _check_bytes("data", data, ((n * bits + 7) // 8,))
    octets = np.zeros((n, 8), np.uint8)
    stream = np.unpackbits(data, bitorder="little", count=n * bits).reshape(n, bits)
    octets[:, : (bits + 7) // 8] = np.packbits(stream, axis=1, bitorder="little")
    return octets.view("<u8").reshape(n).astype(np.uint64)


def unpack8(data: U8, n: int, bits: int) -> U8:
    """`unpack` for `bits` of 1..8 into `uint8 (n,)`."""
    _check_range("bits", bits, 1, 8)
    return unpack(data, n, bits).astype(np.uint8)


def _mask(bits: int) -> np.uint64:
    _check_range("bits", bits, 1, 64)
    return np.uint64((1 << bits) - 1)


# --- checks ---------------------------------------------------------------------------------------


def _width(k: int) -> int:
    _check_range("k", k, 1, 4)
    return k


def _check_vole(counter: int, k: int, nblocks: int) -> None:
    _width(k)
    _check_range("nblocks", nblocks, 0, 2**40)
    # A counter that wrapped would repeat the stream, and with it the correlations.
    _check_range("counter", counter, 0, 2**64 - k * nblocks)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, got {value}")


def _check_bytes(name: str, array: U8, shape: tuple[int | None, ...]) -> None:
    _check_array(name, array, np.dtype(np.uint8), shape)


def _check_words(name: str, array: U64, shape: tuple[int | None, ...]) -> None:
    _check_array(name, array, np.dtype(np.uint64), shape)


def _check_array(
    name: str, array: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int | None, ...]
) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want not in (None, have) for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
