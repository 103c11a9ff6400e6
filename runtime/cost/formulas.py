"""What a Program sends, as formulas: bytes each way of every kind of step in its number of elements
n and its widths.

`formulas` evaluates the calls that runtime/cost/traffic declares on symbols, and makes one row
per kind of step, widths and digit plan; substituting every step's sizes and adding up gives
the declared costs to the byte (a test holds that). `readable` leaves out the rounding up to
whole bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import sympy

from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.compare.joint_plan import JointPlan, SeparatePlan, TreePlan
from moiety.protocols.cost import Cost, Draw, Send, packed
from moiety.protocols.linear.spec import LinearSpec, parameter_sets
from moiety.runtime.cost.traffic import Call, key_cost, protocol_calls
from moiety.runtime.program import Linear, Program
from moiety.runtime.program.linear_layers import linear_specs


def _symbol(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, positive=True, integer=True)


N, OUT, THRESHOLDS = _symbol("n"), _symbol("out_bits"), _symbol("K")
SYMBOLS = {"n": N, "bits": OUT, "out_bits": OUT, "count": THRESHOLDS}
"""Size of a Call -> the symbol that stands for it."""

SENT = _symbol("coefficients_sent")
ANSWERS, ANSWER_BITS = _symbol("answer_coefficients"), _symbol("answer_bits")
OUTPUTS, RESULT_BITS = _symbol("outputs"), _symbol("result_bits")

Sizes = Mapping[sympy.Symbol, int]


@dataclass
class Formula:
    """One row: the cost in symbols, and the sizes of everything in the Program that it
    stands for.
    """

    kind: str
    what: str
    cost: Cost
    sizes: list[Sizes] = field(default_factory=list)

    @property
    def up(self) -> sympy.Expr:
        """Bytes client -> server without the correlations'."""
        return self._sent("C")

    @property
    def down(self) -> sympy.Expr:
        """Bytes server -> client without the correlations'."""
        return self._sent("S")

    def _sent(self, party: str) -> sympy.Expr:
        sent = (e.nbytes for e in self.cost.events if isinstance(e, Send) and e.sender == party)
        return sum(map(sympy.sympify, sent), sympy.Integer(0))

    @property
    def communicates(self) -> bool:
        """Whether a message or a correlation is in it, not local work alone."""
        return any(isinstance(event, Send | Draw) for event in self.cost.events)

    @property
    def elements(self) -> int:
        """All values of n together."""
        return sum(sizes.get(N, 0) for sizes in self.sizes)

    @property
    def draws(self) -> dict[tuple[str, int], sympy.Expr]:
        """(receiver, width) -> correlations."""
        found: dict[tuple[str, int], sympy.Expr] = {}
        for event in self.cost.events:
            if isinstance(event, Draw):
                key = event.receiver, event.k
                found[key] = found.get(key, sympy.Integer(0)) + event.n
        return found

    def with_softspoken(self, sizes: Sizes) -> tuple[int, int]:
        """Bytes up and down at these sizes, SoftSpoken's corrections included."""
        up, down = sympy.sympify(self.cost.up), sympy.sympify(self.cost.down)
        return int(up.subs(dict(sizes))), int(down.subs(dict(sizes)))

    def total(self, expression: sympy.Expr) -> int:
        """Of one of this row's expressions over all it stands for."""
        return sum(int(expression.subs(dict(sizes))) for sizes in self.sizes)


def readable(expression: sympy.Expr) -> str:
    """Bytes as a product with n, if there is one, without rounding up: `n*(3*out_bits + 14)/8`."""
    smooth = sympy.sympify(expression).replace(sympy.floor, lambda inner: inner)
    if smooth == 0:
        return ""
    smooth = sympy.collect(sympy.expand(smooth), N)
    return str(sympy.factor(smooth))


def readable_draws(formula: Formula) -> str:
    """`3 n of 4 bits C, n of 1 bit S`: the letter is the receiver."""
    parts = []
    for (receiver, k), amount in sorted(
        formula.draws.items(), key=lambda item: (item[0][0], -item[0][1])
    ):
        parts.append(f"{str(amount).replace('*', ' ')} of {k} bit{'s' if k > 1 else ''} {receiver}")
    return ", ".join(parts)


def formulas(program: Program) -> list[Formula]:
    """All rows that something is sent or drawn in, in order of first use; of one image."""
    rows: dict[tuple[str, str], Formula] = {}
    for kind, what, cost, sizes in _parts(program):
        if (kind, what) not in rows:
            rows[kind, what] = Formula(kind, what, cost())
        rows[kind, what].sizes.append(sizes)
    return [row for row in rows.values() if row.communicates]


Part = tuple[str, str, Callable[[], Cost], Sizes]
"""Kind, what of it, the cost in symbols, and their sizes; one row stands for all parts that have
the first two in common.
"""


def _parts(program: Program) -> Iterator[Part]:
    specs = linear_specs(program)
    rings = len(parameter_sets(list(specs.values())))
    yield "keys", f"{rings} rings", partial(key_cost, program), {}
    for index, (step, calls) in enumerate(zip(program.steps, protocol_calls(program), strict=True)):
        if isinstance(step, Linear):
            for tile in _tile_sizes(specs[index]):
                primes = len(specs[index].rlwe.primes)
                yield "linear", f"per tile, {primes} primes", partial(_tile_cost, primes), tile
            continue
        for call in calls:
            sizes = {SYMBOLS[name]: size for name, size in call.sizes.items()}
            yield step.kind, _described(call), partial(_in_symbols, call), sizes


def _in_symbols(call: Call) -> Cost:
    return call.cost(**{name: SYMBOLS[name] for name in call.sizes})


def _described(call: Call) -> str:
    return ", ".join(filter(None, (call.what, _digits(call.digits) if call.digits else "")))


def _digits(plan: DigitPlan | TreePlan) -> str:
    if isinstance(plan, SeparatePlan):
        return f"{_digits(plan.low)}, then {_digits(plan.gates)}"
    if isinstance(plan, JointPlan):
        return _widths_and_rounds((*plan.high, *plan.low.digits), len(plan.joins))
    return _widths_and_rounds(plan.digits, len(plan.joins))


def _widths_and_rounds(digits: tuple[int, ...], rounds: int) -> str:
    widths = "+".join(map(str, digits))
    return f"digits {widths}, {rounds} joining round{'s' if rounds != 1 else ''}"


def _residue_bits(number: int) -> sympy.Symbol:
    """Bits of the prime of that number, from 1."""
    return _symbol(f"prime_bits_{number}")


def _tile_cost(primes: int) -> Cost:
    """A Linear step's messages, whose bytes are rounded up tile by tile: what makes up the bytes of
    its declared cost (protocols/linear/spec), not that cost on symbols.
    """
    return Cost.of(
        *(("C", packed(SENT, _residue_bits(i))) for i in range(1, primes + 1)),
        ("S", packed(ANSWERS, ANSWER_BITS)),
        ("S", packed(OUTPUTS, RESULT_BITS)),
    )


def _tile_sizes(spec: LinearSpec) -> Iterator[Sizes]:
    """Of every tile."""
    layout, plan = spec.layout, spec.rlwe
    for window in layout.windows:
        yield {
            SENT: layout.ciphertexts_per_tile * sum(layout.sent),
            **{_residue_bits(i): p.bit_length() for i, p in enumerate(plan.primes, 1)},
            ANSWERS: layout.answers_per_tile * plan.degree,
            ANSWER_BITS: plan.answer_bits,
            OUTPUTS: layout.flat.out_shape[0] * window.pixels,
            RESULT_BITS: spec.result_bits,
        }
