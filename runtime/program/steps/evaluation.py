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
    """rings: those of the operands (of an Input: its own). secrets: role -> tensor.
    unreduced: the value is only summed up by what follows, and stays a true integer. overflows: how
    many values have left their ring, so far.
    """

    rings: tuple[int, ...]
    secrets: Mapping[str, npt.NDArray[Any]]
    unreduced: bool
    rng: np.random.Generator | None
    overflows: int = 0

    @property
    def operand_bits(self) -> int:
        """Ring of the first operand."""
        return self.rings[0]

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

    def count_headroom(self, x: I64, bits: int) -> None:
        """Counts what is outside the inner half of the ring, for steps that need a bit to spare."""
        quarter = 1 << (bits - 2)
        if x.min() < -quarter or x.max() >= quarter:
            self.overflows += int(np.count_nonzero((x < -quarter) | (x >= quarter)))

    def multiply(self, x: I64, y: I64, bits: int) -> I64:
        """`fit(x * y)`, also where a product is too large for int64. y broadcasts to x."""
        product = x * y  # modulo 2^64
        if _magnitude(x) * _magnitude(y) < 1 << 63:
            return self.fit(product, bits)
        # |x*y| > limit is |x| > floor(limit / |y|); the lowest value is one further from zero.
        size, factor = np.abs(x).view(np.uint64), np.abs(y).view(np.uint64)
        limit = np.uint64((1 << (bits - 1)) - 1) + ((x < 0) != (y < 0)).astype(np.uint64)
        outside = (factor > 0) & (size > limit // np.maximum(factor, np.uint64(1)))
        self.overflows += int(np.count_nonzero(outside))
        return wrap(product, bits)


def _magnitude(x: I64) -> int:
    return max(int(x.max()), -int(x.min()))


def wrap(x: I64, bits: int) -> I64:
    """The signed representative of x modulo 2^bits."""
    shift = np.int64(64 - bits)
    return (x << shift) >> shift
