"""Blocks of 128 bits, `uint8 (.., 16)`: AES-128, its keystream, and the hash made from it."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference.field import times_x

BLOCKS_PER_KEY = 1 << 10


def aes(key: bytes, blocks: U8) -> U8:
    """AES-128 under one key of 16 bytes: `uint8 (.., 16)` to the same shape."""
    # A context per call, not per key: contexts of `cryptography` are not for two threads at once.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(blocks.tobytes()), np.uint8).reshape(blocks.shape)


def keystream(key: bytes, counter: int, nblocks: int, upper: int = 0) -> U8:
    """Blocks `counter ..` of a CTR stream, `uint8 (nblocks, 16)`.

    Counter blocks are 128-bit little-endian integers of which the low 64 bits count (and wrap); the
    high 64 are `upper`.
    """
    blocks = np.empty((nblocks, 2), np.uint64)
    blocks[:, 0] = counting(counter, nblocks)
    blocks[:, 1] = upper
    return aes(key, blocks.astype("<u8").view(np.uint8))


def counting(start: int, n: int) -> U64:
    """`start, start + 1, ..` modulo 2^64, `uint64 (n,)`."""
    return np.uint64(start) + np.arange(n, dtype=np.uint64)  # array arithmetic wraps silently


def count_key(first: U8, index: int) -> U8:
    """Key number `index`, counted from `first`: both `uint8 (16,)`, of which the low 64 bits count
    (and wrap).
    """
    low = int.from_bytes(first[:8].tobytes(), "little") + index & (1 << 64) - 1
    return np.frombuffer(low.to_bytes(8, "little") + first[8:].tobytes(), np.uint8)


def sigma(blocks: U8) -> U8:
    """The linear map that goes before a hash in circular use: `uint8 (.., 16)` to the same shape,
    the 64-bit halves `(low, high)` to `(high, low + X*high)`, nibble by nibble in F_16.

    Where blocks differ by a secret `delta`, and `H(sigma(x + delta)) + b*delta` is seen for an x
    that is known, then `AES(..) + sigma(delta) + b*delta` is. Were that last sum without delta, or
    with less than all of it, the cipher could be inverted, and delta found. It is a bijection of
    delta for every b of F_16, as `T^2 + X*T + 1`, the characteristic polynomial of sigma, has no
    root there. (The orthomorphism of the literature, `(high, low + high)`, is made for b = 0 and 1:
    its polynomial `T^2 + T + 1` has two roots in F_16.)
    """
    halves = np.ascontiguousarray(blocks).reshape(*blocks.shape[:-1], 2, 8)
    low, high = halves[..., 0, :], halves[..., 1, :]
    return np.concatenate([high, low ^ times_x(high)], axis=-1)


def per_key(k: int) -> int:
    """Consecutive elements that are hashed under one key, where each has 2^k options."""
    return BLOCKS_PER_KEY >> k


def mmo(blocks: U8, key: U8, k: int) -> U8:
    """`H(x) = AES(x) ^ x` for blocks `uint8 (n, .., 16)`, to the same shape: every `per_key(k)`
    elements under a key of their own, counted up from `key`, `uint8 (16,)`.

    The hash of MITCCRH, whose tweak is the cipher's key (Guo, Katz, Wang, Weng, Yu, "Better
    Concrete Security for Half-Gates Garbling", CRYPTO 2020): one cipher call a block, and a bounded
    number of blocks under each key. As it is, for what does not depend on a secret difference of
    the blocks; else of `sigma(x)`.
    """
    hashed = np.empty_like(blocks)
    for index, at in enumerate(range(0, len(blocks), per_key(k))):
        group = blocks[at : at + per_key(k)]
        hashed[at : at + per_key(k)] = aes(count_key(key, index).tobytes(), group) ^ group
    return hashed
