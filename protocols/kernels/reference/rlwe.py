"""RLWE: transforms, residues, samplers. Specifies native/rlwe, bit for bit.

There are `L` primes, `uint32 (L,)`, at most 8, each below 2^30; `N` is the degree, a power of two
of at least 256. Residues are uint32 arrays with the prime index first, `(L, .., N)`, always
canonical (`0 <= x < p`). Powers of the roots come in as tables (protocols/linear/rlwe.ntt_tables),
so no kernel keeps state. That `primes` are prime, and secret residues canonical, is the caller's
part: values that are not give meaningless results.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols.arrays import F64, I8, I16, U32, U64
from moiety.protocols.kernels.reference.checks import (
    check_array,
    check_dtype,
    check_range,
    check_target,
)
from moiety.protocols.kernels.reference.pool import Pool

__all__ = [
    "add_convolution",
    "add_mod",
    "add_products",
    "crt_signed",
    "encode_residues",
    "lift_centred",
    "lift_small",
    "multiply_mod",
    "ntt_forward",
    "ntt_inverse",
    "reduce_products",
    "sample_binomial",
    "sample_ternary",
    "shifted_rows",
    "torus_round",
    "uniform_residues",
]

_BINOMIAL = 21
_TRITS_PER_WORD = 4
_FAR = 2**31
"""Windows begin, and end, within so many coefficients."""
_PADDING = 2**16
"""The most padding on a side, the largest kernel and dilation."""


def ntt_forward(x: U32, primes: U32, tables: U32) -> U32:
    """Negacyclic number-theoretic transform of n polynomials, in bit-reversed order.

    Longa, Naehrig 2016, algorithm 1. x: `uint32 (L, n, N)`; tables: `uint32 (L, 4, N)`.
    Returns `uint32 (L, n, N)`.
    """
    _check_polynomials(x, primes)
    count, degree = x.shape[1:]
    check_array("tables", tables, np.uint32, len(primes), 4, degree)
    out = np.empty_like(x)
    for i, p in enumerate(primes.astype(np.uint64)):
        v = x[i].astype(np.uint64)
        m, t = 1, degree
        while m < degree:
            t //= 2
            pairs = v.reshape(count, m, 2, t)
            roots = tables[i, 0, m : 2 * m].astype(np.uint64)[None, :, None]
            low, high = pairs[:, :, 0], pairs[:, :, 1] * roots % p
            v = np.stack((low + high, low + p - high), axis=2) % p
            m *= 2
        out[i] = v.reshape(count, degree)
    return out


def ntt_inverse(x: U32, primes: U32, tables: U32) -> U32:
    """Inverse of `ntt_forward`, the factor 1/N included.

    Longa, Naehrig 2016, algorithm 2; shapes as there.
    """
    _check_polynomials(x, primes)
    count, degree = x.shape[1:]
    check_array("tables", tables, np.uint32, len(primes), 4, degree)
    out = np.empty_like(x)
    for i, p in enumerate(primes.astype(np.uint64)):
        v = x[i].astype(np.uint64)
        h, t = degree // 2, 1
        while h >= 1:
            pairs = v.reshape(count, h, 2, t)
            roots = tables[i, 2, h : 2 * h].astype(np.uint64)[None, :, None]
            low, high = pairs[:, :, 0], pairs[:, :, 1]
            v = np.stack(((low + high) % p, (low + p - high) * roots % p), axis=2)
            h, t = h // 2, t * 2
        out[i] = v.reshape(count, degree) * tables[i, 2, 0].astype(np.uint64) % p
    return out


def multiply_mod(x: U32, y: U32, primes: U32) -> U32:
    """`x * y mod p`, one y for all n polynomials.

    x: `uint32 (L, n, N)`; y: `uint32 (L, N)`. Returns `uint32 (L, n, N)`.
    """
    _check_polynomials(x, primes)
    check_array("y", y, np.uint32, len(primes), x.shape[2])
    product = x.astype(np.uint64) * y[:, None]
    return (product % primes.astype(np.uint64)[:, None, None]).astype(np.uint32)


def add_mod(x: U32, y: U32, primes: U32) -> U32:
    """`x + y mod p`, both `uint32 (L, n)`, to the same shape."""
    _check_primes(primes)
    check_array("x", x, np.uint32, len(primes), None)
    check_array("y", y, np.uint32, *x.shape)
    total = x + y
    return np.minimum(total, total - primes[:, None])


def lift_small(values: I8, primes: U32) -> U32:
    """Residues `uint32 (L, n)` of small signed integers `int8 (n,)`."""
    _check_primes(primes)
    check_array("values", values, np.int8, None)
    wide = values.astype(np.int64)
    return (wide[None] % primes.astype(np.int64)[:, None]).astype(np.uint32)


def sample_ternary(words: U64) -> I8:
    """Four values of {-1, 0, 1} per uniform word, each 1/3 to within 2^-57.

    The digits base 3 of the word read as a fraction: multiply by 3, take the integer part, go on
    with the rest. words: `uint64 (n,)`. Returns `int8 (4n,)`.
    """
    check_array("words", words, np.uint64, None)
    out = np.empty((words.size, _TRITS_PER_WORD), np.int8)
    low_mask = np.uint64(0xFFFFFFFF)
    high, low = words >> np.uint64(32), words & low_mask
    for i in range(_TRITS_PER_WORD):
        low = low * np.uint64(3)
        high = high * np.uint64(3) + (low >> np.uint64(32))
        out[:, i] = (high >> np.uint64(32)).astype(np.int8) - 1
        high, low = high & low_mask, low & low_mask
    return out.reshape(-1)


def sample_binomial(words: U64) -> I8:
    """Centred binomial of parameter 21, one value per uniform word.

    The number of ones among bits 0..20 minus that among bits 21..41. words: `uint64 (n,)`.
    Returns `int8 (n,)`.
    """
    check_array("words", words, np.uint64, None)
    ones = np.uint64((1 << _BINOMIAL) - 1)
    plus = np.bitwise_count(words & ones).astype(np.int8)
    minus = np.bitwise_count(words >> np.uint64(_BINOMIAL) & ones).astype(np.int8)
    return plus - minus


def uniform_residues(words: U32, prime: int, count: int) -> U32:
    """The first `count` words, masked to the prime's bit length, that are below the prime.

    Public data: rejection may show. words: `uint32 (n,)`. Returns `uint32 (count,)`; raises
    ValueError when there are not enough.
    """
    check_array("words", words, np.uint32, None)
    _check_prime(prime)
    check_range("count", count, 0, 2**64 - 1)
    masked = words & np.uint32((1 << prime.bit_length()) - 1)
    accepted = masked[masked < prime]
    if accepted.size < count:
        raise ValueError(f"{count} residues asked for, {accepted.size} found")
    return accepted[:count]


def encode_residues(x: U64, dither: U64, bits: int, q_low: int, inverses: U32, primes: U32) -> U32:
    """Residues of `q*x / 2^bits`, rounded up with probability equal to the fraction.

    x: `uint64 (n,)` in Z_{2^bits}, whose higher bits are ignored; bits: 1..60; dither:
    `uint64 (n,)`, uniform, its low `bits` bits are used; q_low: `q mod 2^bits`; inverses:
    `uint32 (L,)`, `2^-bits mod p`. Returns `uint32 (L, n)`.

    With `t = q*x mod 2^bits` the floor is `(q*x - t) / 2^bits`, whose residue is `-t * 2^-bits`, as
    q is 0 modulo p.
    """
    _check_primes(primes)
    check_array("x", x, np.uint64, None)
    check_array("dither", dither, np.uint64, len(x))
    check_range("bits", bits, 1, 60)
    check_range("q_low", q_low, 0, 2**64 - 1)
    _check_residues("inverses", inverses, primes)
    low = np.uint64((1 << bits) - 1)
    t = (x * np.uint64(q_low)) & low
    up = (dither & low) < t
    carry = np.where(up, np.uint64(1) << np.uint64(bits), np.uint64(0))
    negated = carry.astype(np.int64) - t.astype(np.int64)
    p = primes.astype(np.int64)[:, None]
    return (negated[None] % p * inverses.astype(np.int64)[:, None] % p).astype(np.uint32)


def torus_round(x: U32, primes: U32, inverses: U32, bits: int) -> U64:
    """`round(x * 2^bits / q) mod 2^bits` of an integer x given by its residues: `uint64 (n,)`.

    x: `uint32 (L, n)`; inverses: `uint32 (L,)`, `(q / p_i)^-1 mod p_i`; bits: 1..63.

    `x / q = sum_i y_i / p_i mod 1` with `y_i = x_i * inverse_i mod p_i`; each fraction is floored
    to 64 bits, so the sum is low by less than L * 2^-64.
    """
    _check_primes(primes)
    check_array("x", x, np.uint32, len(primes), None)
    _check_residues("inverses", inverses, primes)
    check_range("bits", bits, 1, 63)
    total = np.zeros(x.shape[1], np.uint64)
    half_word = np.uint64(32)
    for i, p in enumerate(primes.astype(np.uint64)):
        y = x[i].astype(np.uint64) * np.uint64(inverses[i]) % p
        first, rest = np.divmod(y << half_word, p)
        total += (first << half_word) | ((rest << half_word) // p)
    return (total + np.uint64(1 << (63 - bits))) >> np.uint64(64 - bits)


def shifted_rows(x: U32, offset: int, stride: int, count: int, length: int) -> F64:
    """Windows of polynomials, negacyclically continued: `float64 (n * count, length)`.

    x: `uint32 (n, N)`, any N. Row `(i, c)` holds the coefficients
    `offset + c*stride + (0 .. length-1)` of x_i, where coefficient `N + k` is minus coefficient k
    (and k may be negative). No number is above 2^31 in size.
    """
    check_array("x", x, np.uint32, None, None)
    degree = x.shape[1]
    check_range("the degree", degree, 1, _FAR)
    check_range("offset", offset, -_FAR, _FAR)
    check_range("stride", stride, -_FAR, _FAR)
    check_range("count", count, 0, _FAR)
    check_range("length", length, 0, _FAR)
    index = offset + stride * np.arange(count)[:, None] + np.arange(length)[None, :]
    sign = 1.0 - 2.0 * (index // degree % 2)
    return (x[:, index % degree] * sign).reshape(x.shape[0] * count, length)


def add_products(sums: F64, factors: F64, rows: F64, term: int, start: int) -> None:
    """Add the products of factors and windows of rows to `sums`, bundle by bundle.

    sums: `float64 (bundles, answers, length)`, written to; factors: `float64 (bundles, answers,
    terms)`; rows: `float64 (bundles, T, width)`, of which rows `term .. term + terms - 1` are taken
    from element `start` on. All are integers, and so small that every sum is below 2^53: the order
    of additions does not matter.
    """
    check_target("sums", sums, np.float64, (None, None, None))
    bundles, answers, length = sums.shape
    check_array("factors", factors, np.float64, bundles, answers, None)
    check_array("rows", rows, np.float64, bundles, None, None)
    check_target("sums", sums, np.float64, sums.shape, factors, rows)
    terms = factors.shape[2]
    check_range("term", term, 0, rows.shape[1] - terms)
    check_range("start", start, 0, rows.shape[2] - length)
    sums += factors @ rows[:, term : term + terms, start : start + length]


def add_convolution(
    x: U64,
    weight: I16,
    added: U64,
    pads: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    bits: int,
    guard: int,
    sums: U64,
    pool: Pool | None = None,
) -> None:
    """Add `2^guard * (conv(x, weight) + added mod 2^bits)` to `sums`, modulo 2^(bits+guard).

    A negative guard drops the low bits. sums: `uint64 (M, H', W')`, written to; x: `uint64 (C, H,
    W)` modulo 2^bits, whose higher bits are ignored; bits: 1..32; weight: `int16 (M, kh, kw,
    C/groups)`, with another channel, which is ignored, where C/groups is odd; added: `uint64 (M,
    1)` or `(M, H'*W')`. Stride 1; pads: top, left, bottom, right.
    """
    check_array("x", x, np.uint64, None, None, None)
    check_array("weight", weight, np.int16, None, None, None, None)
    for name, items, count, low in (("pads", pads, 4, 0), ("dilations", dilations, 2, 1)):
        if len(items) != count:
            raise ValueError(f"{name} must be {count}, got {len(items)}")
        for item in items:
            check_range(f"one of {name}", item, low, _PADDING)
    check_range("groups", groups, 1, 2**31)
    check_range("bits", bits, 1, 32)
    check_range("guard", guard, 1 - bits, 64 - bits)
    (channels, height, width), (filters, kh, kw, _) = x.shape, weight.shape
    if channels % groups or filters % groups:
        raise ValueError("groups must divide the numbers of channels and of filters")
    per_group = channels // groups
    check_array("weight", weight, np.int16, filters, kh, kw, per_group + per_group % 2)
    top, left, bottom, right = pads
    shape = []
    for size, kernel, dilation in (
        (height + top + bottom, kh, dilations[0]),
        (width + left + right, kw, dilations[1]),
    ):
        check_range("the kernel's size", kernel, 1, _PADDING)
        check_range("the kernel's reach", dilation * (kernel - 1), 0, size)
        shape.append(size - dilation * (kernel - 1))
    check_target("sums", sums, np.uint64, (filters, *shape))
    check_array("added", added, np.uint64, filters, None)
    outputs = shape[0] * shape[1]
    if added.shape[1] not in (1, outputs):
        raise ValueError("added must have one number for each filter, or for each sum")
    check_target("sums", sums, np.uint64, sums.shape, x, weight, added)

    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    taps = weight[..., :per_group].astype(np.int64).view(np.uint64)
    taps = taps.reshape(groups, filters // groups, kh, kw, per_group)
    total = np.zeros((groups, filters // groups, outputs), np.uint64)
    for row, column in np.ndindex(kh, kw):
        y0, x0 = row * dilations[0], column * dilations[1]
        window = padded[:, y0 : y0 + shape[0], x0 : x0 + shape[1]]
        total += taps[:, :, row, column] @ window.reshape(groups, per_group, outputs)
    known = total.reshape(filters, outputs) + added
    known = known << np.uint64(guard) if guard > 0 else known >> np.uint64(-guard)
    sums += known.reshape(sums.shape)
    sums &= np.uint64((1 << (bits + guard)) - 1)


def reduce_products(x: F64, prime: int) -> U32:
    """Integers `|x| < 2^53` held in float64, modulo the prime: uint32 of the same, any shape."""
    check_dtype("x", x, np.float64)
    _check_prime(prime)
    return (x.astype(np.int64) % prime).astype(np.uint32)


def lift_centred(x: U64, bits: int, primes: U32) -> U32:
    """Residues `uint32 (L, n)` of the signed representatives of x in Z_{2^bits}.

    x: `uint64 (n,)`, whose higher bits are ignored; bits: 1..60.
    """
    _check_primes(primes)
    check_array("x", x, np.uint64, None)
    check_range("bits", bits, 1, 60)
    shift = np.uint64(64 - bits)
    signed = (x << shift).view(np.int64) >> np.int64(64 - bits)
    return (signed[None] % primes.astype(np.int64)[:, None]).astype(np.uint32)


def crt_signed(x: U32, primes: U32, bits: int) -> U64:
    """The integer `|v| < p_1*..*p_L / 4` with residues x, modulo `2^bits`: `uint64 (n,)`.

    Garner's mixed radix. x: `uint32 (L, n)`; bits: 1..63.
    """
    _check_primes(primes)
    check_array("x", x, np.uint32, len(primes), None)
    check_range("bits", bits, 1, 63)
    p = [int(v) for v in primes]
    total = np.zeros(x.shape[1], np.uint64)
    digits: list[U64] = []
    radix = 1
    for i, modulus in enumerate(p):
        value = x[i].astype(np.uint64)
        for j, digit in enumerate(digits):
            inverse = np.uint64(pow(p[j], -1, modulus))
            difference = value + np.uint64(modulus) - digit % np.uint64(modulus)
            value = difference * inverse % np.uint64(modulus)
        digits.append(value)
        total += value * np.uint64(radix % (1 << 64))
        radix *= modulus
    negative = digits[-1] > np.uint64(p[-1] // 2)
    total -= negative * np.uint64(radix % (1 << 64))
    return total & np.uint64((1 << bits) - 1)


# --- checks ---------------------------------------------------------------------------------------


def _check_prime(prime: int) -> None:
    check_range("a prime", prime, 3, 2**30 - 1)


def _check_primes(primes: U32) -> None:
    check_array("primes", primes, np.uint32, None)
    check_range("the number of primes", len(primes), 1, 8)
    for prime in primes:
        _check_prime(prime)


def _check_residues(name: str, residues: U32, primes: U32) -> None:
    """One public residue of each prime."""
    check_array(name, residues, np.uint32, len(primes))
    for residue, prime in zip(residues, primes, strict=True):
        check_range(name, residue, 0, int(prime) - 1)


def _check_polynomials(x: U32, primes: U32) -> None:
    _check_primes(primes)
    check_array("x", x, np.uint32, len(primes), None, None)
    _check_degree(x.shape[2])


def _check_degree(degree: int) -> None:
    if degree < 256 or degree & (degree - 1):
        raise ValueError(f"the degree must be a power of two, at least 256, got {degree}")
