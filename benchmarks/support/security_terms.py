"""Terms that add up over a run: guesses at pads, repeated blocks, noise beyond its bound."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

from moiety.protocols.kernels.reference.blocks import per_key
from moiety.protocols.linear.parameters import FAILURE_BITS

AES_BIT_OPERATIONS = 15
"""log2 of what one AES call counts as in bit operations (NIST's call for proposals of 2016 counts a
search of 2^128 keys as 2^143)."""
WIDTHS = range(1, 5)
"""Bits of a choice."""


@dataclass(frozen=True)
class Run:
    """The longest run that terms are added up for: one connection that is kept open."""

    images: int
    linear_layers: int
    pads: int


def unknown_pads() -> int:
    """How many pads under one key the receiver does not know, at most over the widths."""
    return max(per_key(k) * ((1 << k) - 1) for k in WIDTHS)


def pad_calls_bits() -> float:
    """log2 of the calls of AES that find Delta: `2 m p / 2^128` is one."""
    return 128 - 1 - log2(unknown_pads())


def pad_bits() -> float:
    """The same in bit operations, the unit of the other estimates."""
    return pad_calls_bits() + AES_BIT_OPERATIONS


def repeated_block_bits(run: Run) -> float:
    """-log2 of the probability that two blocks under one key meet, in the whole run."""
    return 128 - log2(unknown_pads()) - log2(run.pads)


def key_stream_bits(blocks: int) -> float:
    """-log2 of the advantage that a key stream of AES in counter mode gives by never repeating a
    block."""
    return 129 - 2 * log2(blocks)


def noise_bits(run: Run) -> float:
    """-log2 of the probability that the noise of any layer of the run leaves its bound, which makes
    a wrong result."""
    return FAILURE_BITS - log2(run.linear_layers) - log2(run.images)
