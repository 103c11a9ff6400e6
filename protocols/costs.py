"""Declared costs: bytes each way and the order of flights of every protocol, as formulas in its sizes.

Sizes may be integers or sympy expressions; the formulas are the same. Set-up, key and framing bytes are declared
like everything else; what the TCP layer adds (frame headers, keep-alive) is counted apart by the transport. A test
holds these declarations equal to what the meter counts, byte for byte.

The compiler imports this module and no other protocol code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moiety.protocols.digits import digit_sizes, join_plan, join_width

Size = Any  # int or sympy.Expr


def _ceil(value: Size, divisor: int) -> Size:
    """`ceil(value / divisor)`, exactly, for an int or a symbolic value."""
    if isinstance(value, int):
        return -(-value // divisor)
    import sympy

    return sympy.ceiling(sympy.sympify(value) / divisor)


@dataclass(frozen=True)
class Cost:
    """`up`: bytes client -> server, `down`: bytes server -> client; `flights`: who sends, in order, one letter ('C'
    or 'S') per flight.
    """

    up: Size = 0
    down: Size = 0
    flights: str = ""

    def __add__(self, other: Cost) -> Cost:
        """One after the other; neighbouring flights in one direction merge."""
        joined = self.flights
        for letter in other.flights:
            if not joined.endswith(letter):
                joined += letter
        return Cost(self.up + other.up, self.down + other.down, joined)

    def beside(self, other: Cost) -> Cost:
        """In the same flights as this one."""
        return Cost(self.up + other.up, self.down + other.down, max(self.flights, other.flights, key=len))

    @property
    def rounds(self) -> int:
        """Number of flights."""
        return len(self.flights)

    @property
    def total(self) -> Size:
        """Bytes both ways."""
        return self.up + self.down


def packed(n: Size, bits: int) -> Size:
    """Bytes of n values of `bits` bits."""
    return _ceil(n * bits, 8)


def correlations(n: Size, k: int) -> Size:
    """Bytes of SoftSpoken corrections for n correlations of width k: 31*k bits each, in blocks of 128."""
    return 31 * k * 16 * _ceil(n, 128)


def choices(n: Size, k: int) -> Size:
    """Bytes from the receiver that open n 1-of-2^k transfers."""
    return correlations(n, k) + packed(n, k)


def answers(n: Size, k: int, bits: int) -> Size:
    """Bytes from the sender that answer them with `bits`-bit entries."""
    return packed(n * ((1 << k) - 1), bits)


def lookup(n: Size, k: int, bits: int) -> Cost:
    """n lookups, server -> client."""
    return Cost(choices(n, k), answers(n, k, bits), "CS")


def less_than(n: Size, bits: int, count: int = 1) -> Cost:
    """Millionaires' comparison of n client values with `count` server values each, of `bits` bits."""
    sizes = digit_sizes(bits)
    total = Cost()
    for index, k in enumerate(sizes):
        total = total.beside(lookup(n, k, count * (1 + (index < len(sizes) - 1))))
    n = n * count
    for groups in join_plan(len(sizes)):
        level = Cost()
        for index, size in enumerate(groups):
            last = index == len(groups) - 1
            if size > 1:
                level = level.beside(lookup(n, join_width(size, last), 2 - last))
        total = total + level
    return total


def gates(n: Size, bits: int, count: int = 1) -> Cost:
    """DReLU of n elements for `count` thresholds each."""
    return less_than(n, bits - 1, count)


def multiplex(n: Size, out_bits: int) -> Cost:
    """Gate and extend n elements."""
    up = choices(n, 2) + answers(n, 1, out_bits)
    return Cost(up, choices(n, 1) + answers(n, 2, out_bits), "CSC")


def relu(n: Size, bits: int, out_bits: int) -> Cost:
    """DReLU, then the multiplexer with extension; the same with and without secret thresholds."""
    return gates(n, bits) + multiplex(n, out_bits)


def bit_to_ring(n: Size, bits: int) -> Cost:
    return lookup(n, 1, bits)


def truncate_exact(n: Size, bits_in: int, shift: int) -> Cost:
    if shift == 0:
        return Cost()
    return less_than(n, shift) + bit_to_ring(n, bits_in - shift)


def truncate_stochastic(n: Size, bits_in: int, shift: int) -> Cost:
    return Cost()


def extend(n: Size, bits: int, out_bits: int) -> Cost:
    if bits == out_bits:
        return Cost()
    return less_than(n, bits) + bit_to_ring(n, out_bits - bits)


def reveal_to_client(n: Size, bits: int) -> Cost:
    return Cost(0, packed(n, bits), "S")


def maxpool(
    shape: tuple[int, int, int],
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> Cost:
    """Rows, then columns; each a binary tree of maxima."""
    channels, height, width = shape[0], shape[1] + pads[0] + pads[2], shape[2] + pads[1] + pads[3]
    out_width = (width - kernel[1]) // strides[1] + 1
    out_height = (height - kernel[0]) // strides[0] + 1
    total = Cost()
    for size, count in ((kernel[1], channels * height * out_width), (kernel[0], channels * out_height * out_width)):
        taps = size
        while taps > 1:
            total = total + relu(taps // 2 * count, bits, bits)
            taps -= taps // 2
    return total


def setup() -> Cost:
    """Base transfers and punctured trees, both directions: 128 transfers each."""
    receiver, sender = 2 * 32 * 128, 32 + 128 * 2 * 16
    return Cost(sender + receiver, receiver + sender, "SCS")
