"""What a product of two values costs, in nanoseconds, as declared in protocols/compare/product: a
1-of-2 transfer for every bit of the narrow factor's shares, of either party.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from moiety.protocols.compare.digits import Batch
from moiety.protocols.network import Network
from moiety.protocols.prices import FORMAT_2


@lru_cache(maxsize=1 << 12)
def product_price(values: int, gates: int, bits: int, narrow: int, network: Network) -> float:
    """Of `values` values in a ring of `bits` bits by `gates` ones of `narrow` bits, each of which
    serves several values.
    """
    entries = [*range(bits - narrow + 1, bits + 1)] * 2
    return _price(values, gates, entries, network)


@lru_cache(maxsize=1 << 12)
def square_price(values: int, bits: int, narrow: int, network: Network) -> float:
    """Of the squares of `values` values of `narrow` bits, in a ring of `bits` bits: the bits of one
    party's shares, and one of the other's.
    """
    entries = [*range(bits - narrow, bits), bits - narrow - 1]
    return _price(values, values, entries, network)


def _price(values: int, gates: int, entries: Sequence[int], network: Network) -> float:
    """A choice of every gate and an answer to every value for each entry, of so many bits."""
    batch = Batch(1, None, network)
    choices = gates * len(entries) * (batch.correlation(1) + batch.bit)
    answers = values * (len(entries) * FORMAT_2["transfer_1"] + sum(entries) * network.bit)
    return (choices + answers) / 1000
