"""Blocks of 128 bits, `uint8 (.., 16)`: AES-128, its keystream, and the hash made from it."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from moiety.protocols.arrays import U8, U64

HASH_KEY = b"moiety hash key."
"""Public AES key of `tmmo`; any constant does that is not one of the doubling generator's."""


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


def tmmo(blocks: U8, tweaks: U64) -> U8:
    """`H(t, x) = AES(AES(x) ^ t) ^ AES(x)` for blocks `uint8 (n, 16)` and tweaks `uint64 (n,)`.

    TMMO of Guo, Katz, Wang, Yu, "Efficient and Secure Multiparty Computation from Fixed-Key Block
    Ciphers" (S&P 2020), with the public key `HASH_KEY`. Returns `uint8 (n, 16)`.
    """
    once = aes(HASH_KEY, blocks)
    tweaked = once.copy()
    tweaked[:, :8] ^= tweaks.astype("<u8")[:, None].view(np.uint8)
    return aes(HASH_KEY, tweaked) ^ once
