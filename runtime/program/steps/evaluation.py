"""One step of one image on plain integers, as the meaning of a step sees it.

Values are int64, the signed representative in `[-2^(bits-1), 2^(bits-1))`. Every step first
computes the true integer, so values that leave their ring are seen before they wrap, and counted:
fixed-point two-party computation itself cannot notice them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import I64
from moiety.protocols.errors import BadInput


@dataclass
class Evaluation:
    """operand_bits: ring of the first operand (of an Input: its own). secrets: role -> tensor.
    unreduced: the value is only summed up by what follows, and stays a true integer. overflows: how
    many values have left their ring, so far.
    """

    operand_bits: int
    secrets: Mapping[str, npt.NDArray[Any]]
    unreduced: bool
    rng: np.random.Generator | None
    overflows: int = 0

    @property
    def generator(self) -> np.random.Generator:
        """Draws what a stochastic step leaves to chance. It simulates, it protects nothing."""
        if self.rng is None:
            raise BadInput("a stochastic step needs a random generator to be simulated")
        return self.rng

    def fit(self, x: I64, bits: int) -> I64:
        """x modulo 2^bits, signed; counts what does not fit. The usual case, everything fits,
        copies nothing.
        """
        half = 1 << (bits - 1)
        if self.unreduced or bits == 64 or (x.min() >= -half and x.max() < half):
            return x
        self.overflows += int(np.count_nonzero((x < -half) | (x >= half)))
        return wrap(x, bits)


def wrap(x: I64, bits: int) -> I64:
    """The signed representative of x modulo 2^bits."""
    shift = np.int64(64 - bits)
    return (x << shift) >> shift
