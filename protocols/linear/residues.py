"""Residues modulo the primes of q as messages, each in its prime's bits."""

from __future__ import annotations

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U32, U64
from moiety.protocols.cost import packed
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.linear.spec import residues_bytes


def packed_residues(residues: U32, p: int) -> U8:
    """Residues modulo one prime, in its bits."""
    return kernels.pack(residues.astype(np.uint64), p.bit_length())


def parse_residues(data: U8, primes: tuple[int, ...], length: int) -> U32:
    """A public key `(L, 1, length)` from the wire; raises `NetworkFailure` for values that are no
    residues.
    """
    ends = np.cumsum([residues_bytes(length, (p,)) for p in primes])
    streams = zip(np.split(data, ends[:-1]), primes, strict=True)
    whole = slice(0, 1)
    return np.stack(
        [residue_rows(stream, p, whole, length).astype(np.uint32) for stream, p in streams]
    )


def residue_rows(stream: U8, p: int, part: slice, length: int) -> U64:
    """Rows of `length` residues modulo one prime, those of a part that begins on a byte; raises
    `NetworkFailure` for values that are none.
    """
    bits, count = p.bit_length(), (part.stop - part.start) * length
    first = part.start * length * bits // 8
    rows = kernels.unpack(stream[first : first + int(packed(count, bits))], count, bits)
    if count and int(rows.max()) >= p:
        raise NetworkFailure("the client sent a ciphertext with residues out of range")
    return rows.reshape(-1, length)
