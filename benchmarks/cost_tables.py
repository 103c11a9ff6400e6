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
from pathlib import Path

import sympy

from benchmarks.support import command_line
from benchmarks.support.documents import Section
from benchmarks.support.harness import ROOT
from moiety.protocols.compare.extend import extend_cost
from moiety.protocols.compare.millionaires import less_than_cost
from moiety.protocols.compare.relu import gates_cost, multiplex_cost, relu_cost
from moiety.protocols.compare.reveal import reveal_to_client_cost
from moiety.protocols.compare.truncate import truncate_exact_cost, truncate_stochastic_cost
from moiety.protocols.cost import Cost, Size
from moiety.protocols.ot.generators import Silent
from moiety.protocols.ot.transfers import Lookup, lookups_cost
from moiety.protocols.setup import open_session_cost

DOCUMENT = ROOT / "docs" / "protocols.md"
SECTION = Section("costs")

MANY = 1 << 24

Formula = Callable[[Size], Cost]
PROTOCOLS: dict[str, Formula] = {
    "1-of-2 lookup, 1-bit entries": lambda n: lookups_cost([Lookup.xor(n, 1, 1)]),
    "1-of-4 lookup, 2-bit entries": lambda n: lookups_cost([Lookup.xor(n, 2, 2)]),
    "1-of-16 lookup, 2-bit entries": lambda n: lookups_cost([Lookup.xor(n, 4, 2)]),
    "comparison, 12 bits": lambda n: less_than_cost(n, 12),
    "comparison, 15 bits (DReLU of 16)": lambda n: less_than_cost(n, 15),
    "comparison, 31 bits (DReLU of 32)": lambda n: less_than_cost(n, 31),
    "comparison, 40 bits (DReLU of 41)": lambda n: less_than_cost(n, 40),
    "ReLU, 13 bits to 24": lambda n: relu_cost(n, 13, 24),
    "ReLU, 16 bits to 16": lambda n: relu_cost(n, 16, 16),
    "ReLU, 16 bits to 28": lambda n: relu_cost(n, 16, 28),
    "ReLU, 32 bits to 32": lambda n: relu_cost(n, 32, 32),
    "ReLU, 41 bits to 41": lambda n: relu_cost(n, 41, 41),
    "gates, 13 bits, 1 threshold": lambda n: gates_cost(n, 13, 1),
    "gates, 13 bits, 8 thresholds": lambda n: gates_cost(n, 13, 8),
    "multiplexer alone, to 24 bits": lambda n: multiplex_cost(n, 24),
    "extension, 16 bits to 28": lambda n: extend_cost(n, 16, 28),
    "exact truncation, 28 bits by 12": lambda n: truncate_exact_cost(n, 28, 12),
    "stochastic truncation": lambda n: truncate_stochastic_cost(n, 28, 12),
    "reveal, 24 bits": lambda n: reveal_to_client_cost(n, 24),
}


def per_element(formula: Formula) -> tuple[sympy.Rational, sympy.Rational, Cost]:
    """Bits per element up and down (exact for n a multiple of 128), and the cost as
    formulas in n.
    """
    batches = sympy.Symbol("m", positive=True, integer=True)
    cost = formula(128 * batches)
    up, down = (
        sympy.simplify(8 * sympy.sympify(side) / (128 * batches)) for side in (cost.up, cost.down)
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
