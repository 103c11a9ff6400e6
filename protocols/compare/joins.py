"""How neighbouring parts of a comparison become one part, as lookups: pure arithmetic on the
positions of bits.

A part is shares of `lt = [server's < client's]` and `eq` of some neighbouring digits; the least
significant part of a comparison needs no eq. Of a group of parts, most significant first,

    lt = lt_1 ^ eq_1*lt_2 ^ eq_1*eq_2*lt_3 ^ eq_1*eq_2*eq_3*lt_4        eq = eq_1*eq_2*eq_3*eq_4

(at most one of the terms of lt is 1, so the sum may be an XOR). lt_1 is linear: each party adds its
own share of it. Every other product is looked up by the two parties' shares of its factors, several
products in one lookup where their factors fit a choice together. The lookups of a group, and of all
groups of a round, share their flights, and a bit that several of them look up is their XOR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels
from moiety.protocols.arrays import U8

LT, EQ = 1, 2
"""The bits of a part that hold the shares of lt and of eq."""
WIDEST = 4
"""Bits of a choice: a transfer has at most 16 entries."""
LARGEST = 4
"""Parts of a group: the product of a fifth one's lt would have five factors."""


class Product(NamedTuple):
    """A term of a group's lt or eq. result: LT or EQ. factors: (index of a part, its LT or EQ), in
    order.
    """

    result: int
    factors: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class JoinLookup:
    """Products that are looked up together."""

    products: tuple[Product, ...]

    @cached_property
    def factors(self) -> tuple[tuple[int, int], ...]:
        """The bits of a choice, the lowest first: those of one part are neighbours, lt below eq."""
        return tuple(sorted({factor for product in self.products for factor in product.factors}))

    @property
    def width(self) -> int:
        """Bits of a choice."""
        return len(self.factors)

    @cached_property
    def fields(self) -> tuple[tuple[int, int], ...]:
        """(index of a part, which of its bits), in the choice's order."""
        bits: dict[int, int] = {}
        for index, bit in self.factors:
            bits[index] = bits.get(index, 0) | bit
        return tuple(bits.items())

    @cached_property
    def results(self) -> int:
        """LT, EQ or both: what an entry has a bit of, lt below eq."""
        return LT * any(p.result == LT for p in self.products) | EQ * any(
            p.result == EQ for p in self.products
        )

    @property
    def entry_bits(self) -> int:
        return self.results.bit_count()

    @cached_property
    def function(self) -> U8:
        """Entries by choice on open bits, uint8 `(2^width,)`."""
        choices = np.arange(1 << self.width, dtype=np.uint8)
        bits = {factor: (choices >> np.uint8(at)) & 1 for at, factor in enumerate(self.factors)}
        entries = np.zeros_like(choices)
        for result, factors in self.products:
            value = np.bitwise_and.reduce([bits[factor] for factor in factors])
            entries ^= value << np.uint8(result == EQ and self.results == LT | EQ)
        return entries

    def choice(self, parts: Sequence[U8]) -> U8:
        """A party's shares of the factors as one choice, from its group's parts uint8 `(n,)`."""
        indices, masks = zip(*self.fields, strict=True)
        return kernels.gather_bits([parts[index] for index in indices], masks)

    def placed(self, entries: U8) -> U8:
        """Looked up entries with their bits where a part has them."""
        return entries << np.uint8(1) if self.results == EQ else entries


class Join(NamedTuple):
    """A group of `size` neighbours that become one part; one of a single part stays as it is.
    last: the comparison's least significant group, which needs no eq.
    """

    size: int
    last: bool

    @property
    def lookups(self) -> tuple[JoinLookup, ...]:
        return _lookups(self)

    @property
    def products(self) -> list[Product]:
        """All but the linear term."""
        eq = [(index, EQ) for index in range(self.size)]
        terms = [Product(LT, (*eq[:index], (index, LT))) for index in range(1, self.size)]
        return terms if self.last or self.size == 1 else [*terms, Product(EQ, tuple(eq))]


@lru_cache
def _lookups(join: Join) -> tuple[JoinLookup, ...]:
    """Each product in the first lookup whose choice has room for its factors."""
    lookups: list[JoinLookup] = []
    for product in join.products:
        alone = JoinLookup((product,))
        for at, lookup in enumerate(lookups):
            together = JoinLookup((*lookup.products, product))
            if together.width <= WIDEST:
                lookups[at] = together
                break
        else:
            lookups.append(alone)
    return tuple(lookups)


def round_joins(groups: Sequence[int], last: bool = True) -> list[Join]:
    """The joins of one round by the sizes of its groups, most significant first; `last`: the last
    group is the comparison's least significant one.
    """
    return [Join(size, last and at == len(groups) - 1) for at, size in enumerate(groups)]
