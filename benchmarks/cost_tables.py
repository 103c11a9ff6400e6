"""The table of protocol costs in docs/protocols.md, from the declared formulas.

    python -m benchmarks.cost_tables             print it
    python -m benchmarks.cost_tables --write     put it into the document
    python -m benchmarks.cost_tables --check     exit 1 if the document has another one

A test checks the document.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import sympy

from benchmarks.support import command_line
from benchmarks.support.documents import Section
from benchmarks.support.harness import ROOT
from moiety.protocols.compare import fixing, masked
from moiety.protocols.compare.argmax import argmax_cost
from moiety.protocols.compare.convert import bit_to_ring_cost, carry_to_ring_cost
from moiety.protocols.compare.extend import extend_cost, extend_with_headroom_cost
from moiety.protocols.compare.joint import one_tree_cost, truncate_with_gates_cost
from moiety.protocols.compare.joint_plan import plan_one_tree, plan_separate
from moiety.protocols.compare.maxpool import maxpool_cost
from moiety.protocols.compare.millionaires import (
    join_round_cost,
    less_than_cost,
    share_digits_cost,
    wrap_cost,
)
from moiety.protocols.compare.product import product_cost, square_cost
from moiety.protocols.compare.relu import drelu_cost, gates_cost, multiplex_cost, relu_cost
from moiety.protocols.compare.reveal import reveal_to_client_cost
from moiety.protocols.compare.truncate import truncate_exact_cost, truncate_stochastic_cost
from moiety.protocols.cost import Cost, Size
from moiety.protocols.network import LAN
from moiety.protocols.ot.generators import Silent
from moiety.protocols.ot.lookups import Lookup, lookups_cost
from moiety.protocols.setup import open_session_cost

DOCUMENT = ROOT / "docs" / "protocols.md"
SECTION = Section("costs")

MANY = 1 << 24
FEW = 1000
"""Elements that a plan is made for where a row says which of two it is."""

Formula = Callable[[Size], Cost]
PROTOCOLS: dict[str, Formula] = {
    "1-of-2 lookup, 1-bit entries": lambda n: lookups_cost("S", [Lookup.xor(n, 1, 1)]),
    "1-of-4 lookup, 2-bit entries": lambda n: lookups_cost("S", [Lookup.xor(n, 2, 2)]),
    "1-of-16 lookup, 2-bit entries": lambda n: lookups_cost("S", [Lookup.xor(n, 4, 2)]),
    "comparison, 12 bits": partial(less_than_cost, bits=12),
    "comparison, 15 bits (DReLU of 16)": partial(less_than_cost, bits=15),
    "comparison, 31 bits (DReLU of 32)": partial(less_than_cost, bits=31),
    "comparison, 40 bits (DReLU of 41)": partial(less_than_cost, bits=40),
    "ReLU, 13 bits to 24": partial(relu_cost, bits=13, out_bits=24),
    "ReLU, 16 bits to 16": partial(relu_cost, bits=16, out_bits=16),
    "ReLU, 16 bits to 28": partial(relu_cost, bits=16, out_bits=28),
    "ReLU, 32 bits to 32": partial(relu_cost, bits=32, out_bits=32),
    "ReLU, 41 bits to 41": partial(relu_cost, bits=41, out_bits=41),
    "gates, 13 bits, 1 threshold": partial(gates_cost, bits=13, count=1),
    "gates, 13 bits, 8 thresholds": partial(gates_cost, bits=13, count=8),
    "multiplexer alone, 13 bits to 24": partial(multiplex_cost, bits=13, out_bits=24),
    "multiplexer alone, 13 bits": partial(multiplex_cost, bits=13, out_bits=13),
    "extension, 16 bits to 28": partial(extend_cost, bits=16, out_bits=28),
    "extension, 16 bits to 28, with headroom": partial(
        extend_with_headroom_cost, bits=16, out_bits=28
    ),
    "exact truncation, 28 bits by 12": partial(truncate_exact_cost, bits_in=28, shift=12),
    **{
        f"exact truncation, 30 bits by 15, with {gates}, {way}": partial(
            truncate_with_gates_cost,
            bits_in=30,
            shift=15,
            gate_bits=14,
            count=count,
            network=plan(15, 13, count, FEW, LAN),
        )
        for count, gates in ((1, "1 gate of 14 bits"), (12, "12 gates"))
        for plan, way in ((plan_one_tree, "one tree"), (plan_separate, "one after the other"))
    },
    "masked exact truncation, 28 bits by 12": partial(masked.truncate_cost, bits_in=28, shift=12),
    "masked exact truncation, 30 bits by 15, with 12 gates": partial(
        masked.truncate_with_gates_cost, bits_in=30, shift=15, gate_bits=14, count=12
    ),
    "masked gates, 13 bits, 8 thresholds": partial(masked.gates_cost, bits=13, count=8),
    "masked multiplexer alone, 13 bits to 24": partial(masked.multiplex_cost, bits=13, out_bits=24),
    "masked ReLU, 13 bits to 24": partial(masked.relu_cost, bits=13, out_bits=24),
    "a share fixed, 24 bits": partial(fixing.fix_cost, bits=24),
    "stochastic truncation": partial(truncate_stochastic_cost, bits_in=28, shift=12),
    "product, 20 bits by 9": partial(product_cost, group=1, bits=20, y_bits=9),
    "product, 24 bits by 13": partial(product_cost, group=1, bits=24, y_bits=13),
    "products, 20 bits by 9, of 49 values and one": partial(
        product_cost, group=49, bits=20, y_bits=9
    ),
    "square, 13 bits to 24": partial(square_cost, bits=13, out_bits=24),
    "reveal, 24 bits": partial(reveal_to_client_cost, bits=24),
}

WITHOUT_ROW: dict[Callable[..., Cost], str] = {
    argmax_cost: "a ReLU in a wider ring for each value but one, in ceil(log2(values)) levels",
    bit_to_ring_cost: "one lookup inside an extension or a truncation",
    carry_to_ring_cost: "all that an exact truncation sends",
    drelu_cost: "the comparison of one bit less",
    join_round_cost: "one round of a comparison",
    fixing.fix_bits_cost: "a bit of each from the client",
    one_tree_cost: "a truncation with gates in one tree",
    maxpool_cost: "a ReLU for each maximum of two; how many depends on the window",
    share_digits_cost: "the digits of a comparison",
    wrap_cost: "one comparison inside an extension or a truncation",
}
"""Protocols of `protocols/compare` that the table leaves out, and why. A test holds that all others
have a row.
"""


def per_element(formula: Formula) -> tuple[sympy.Rational, sympy.Rational, Cost]:
    """Bits per element up and down for many elements, and the cost as formulas in n."""
    batches = sympy.Symbol("m", positive=True, integer=True)
    cost = formula(128 * batches)
    up, down = (
        sympy.limit(8 * sympy.sympify(side) / (128 * batches), batches, sympy.oo)
        for side in (cost.up, cost.down)
    )
    return up, down, cost


def silent(formula: Formula) -> float:
    """Bits per element, both ways, for many elements with silent correlations alone, from a
    fresh session on.
    """
    return 8 * formula(MANY).on(Silent()).total / MANY


def table() -> Iterator[str]:
    yield (
        "| protocol | bits per element, client to server | server to client | together | silent "
        "| flights |"
    )
    yield "|---|---|---|---|---|---|"
    for name, formula in PROTOCOLS.items():
        up, down, cost = per_element(formula)
        flights = f"{len(cost.flights)} ({cost.flights})" if cost.flights else "0"
        yield f"| {name} | {up} | {down} | {up + down} | {silent(formula):.0f} | {flights} |"
    setup = open_session_cost()
    sides = " | ".join(f"{nbytes} bytes" for nbytes in (setup.up, setup.down, setup.total))
    yield f"| set-up, once per connection | {sides} | | {len(setup.flights)} ({setup.flights}) |"


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("cost_tables", __doc__)
    action = p.add_mutually_exclusive_group()
    action.add_argument("--write", action="store_true", help="put the table into the document")
    action.add_argument("--check", action="store_true", help="compare with the document")
    p.add_argument(
        "--document", type=Path, default=DOCUMENT, help="the document (default docs/protocols.md)"
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if not options.write and not options.check:
        print("\n".join(table()))
        return 0
    text = options.document.read_text()
    updated = SECTION.replaced(text, table())
    if options.write:
        options.document.write_text(updated)
    elif updated != text:
        print(
            f"{options.document}: the table is out of date; run python -m benchmarks.cost_tables "
            "--write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
