"""What a product of two values costs, in nanoseconds, as declared in protocols/compare/product: a
1-of-2 transfer for every bit of the narrow factor's shares, of either party, and for its carry.
"""

from __future__ import annotations

from functools import lru_cache

from moiety.compiler.planning.guards import comparison_price
from moiety.protocols.compare.digits import Batch
from moiety.protocols.network import Network
from moiety.protocols.prices import FORMAT_2


@lru_cache(maxsize=1 << 12)
def product_price(values: int, gates: int, bits: int, narrow: int, network: Network) -> float:
    """Of `values` values in a ring of `bits` bits by `gates` ones of `narrow` bits, each of which
    serves several values.
    """
    transfers = 2 * (narrow + 1)
    return _price(values, gates, transfers, 2 * _entry_bits(bits, narrow), narrow, network)


@lru_cache(maxsize=1 << 12)
def square_price(values: int, bits: int, narrow: int, network: Network) -> float:
    """Of the squares of `values` values of `narrow` bits, in a ring of `bits` bits: the bits of one
    party's shares alone.
    """
    entry_bits = _entry_bits(bits - 1, narrow) + bits - 1 - narrow
    return _price(values, values, narrow + 2, entry_bits, narrow, network)


def _entry_bits(bits: int, narrow: int) -> int:
    """Of the transfers of one party's bits, the least significant first, and of the carry."""
    return sum(range(bits - narrow + 1, bits + 1)) + bits - narrow


def _price(
    values: int, gates: int, transfers: int, entry_bits: int, narrow: int, network: Network
) -> float:
    """For each gate its carry, and the choices; for each value the transfers, whose answers are
    entries of so many bits together.
    """
    choices = gates * transfers * Batch(1, None, network).choice(1)
    answers = values * (transfers * FORMAT_2["transfer_1"] + entry_bits * network.bit)
    return comparison_price(gates, narrow, 1, network) + (choices + answers) / 1000
