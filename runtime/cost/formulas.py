"""What a Program sends, as formulas: bytes each way of every kind of step in its
number of elements n and its widths.

`formulas` makes one row per kind, width and digit plan; substituting every step's sizes and adding
up gives the declared costs of runtime/cost/traffic to the byte (a test holds that). `readable`
leaves out the rounding up to whole bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy

from moiety.protocols import cost as costs
from moiety.protocols.compare.digits import DigitPlan
from moiety.protocols.cost import Cost, Draw, Send
from moiety.protocols.linear import layout as packing
from moiety.protocols.linear.layout import LinearSpec
from moiety.protocols.linear.parameters import message_bits
from moiety.protocols.network import Network
from moiety.runtime import program as ir


def _symbol(name: str) -> sympy.Symbol:
    return sympy.Symbol(name, positive=True, integer=True)


N, OUT, THRESHOLDS = _symbol("n"), _symbol("out_bits"), _symbol("K")
SENT, RESIDUE_BITS = _symbol("residues_sent"), _symbol("residue_bits")
ANSWERS, ANSWER_BITS = _symbol("answer_coefficients"), _symbol("answer_bits")
OUTPUTS, MESSAGE_BITS = _symbol("outputs"), _symbol("message_bits")

Sizes = Mapping[sympy.Symbol, int]


@dataclass
class Formula:
    """One row: the cost in symbols, and the sizes of everything in
    the Program that it stands for.
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
    smooth = sympy.sympify(expression).replace(sympy.ceiling, lambda inner: inner)
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


def formulas(program: ir.Program, specs: Mapping[int, LinearSpec]) -> list[Formula]:
    """All rows, in order of first use. `specs` are runtime.layers.linear_specs."""
    rows: dict[tuple[Any, ...], Formula] = {}
    keys = _symbol("key_residues")
    found = [_keys(list(specs.values()), keys)]
    for index, step in enumerate(program.steps):
        found.extend(_parts(program, step, specs.get(index)))
    for kind, what, cost, sizes in found:
        row = rows.setdefault((kind, what), Formula(kind, what, cost))
        row.sizes.append(sizes)
    return list(rows.values())


Part = tuple[str, str, Cost, Sizes]


def _keys(specs: list[LinearSpec], residues: sympy.Symbol) -> Part:
    sets = packing.parameter_sets(specs)
    cost = Cost.of(*(("C", packing.residues_bytes(degree, primes)) for degree, primes in sets))
    return "keys", f"{len(sets)} rings", cost, {residues: len(sets)}


def _parts(program: ir.Program, step: ir.AnyStep, spec: LinearSpec | None) -> Iterator[Part]:
    n, network = math.prod(step.shape), program.planned_for
    operand = program.steps[step.inputs[0]] if step.inputs else step
    bits = operand.bits
    match step:
        case ir.Linear() if spec is not None:
            yield from _linear(spec)
        case ir.Relu(inputs=(_, _)):
            yield "relu", "multiplexer", costs.multiplex(N, OUT), {N: n, OUT: step.bits}
        case ir.Relu():
            yield _relu("relu", n, bits, step.bits, network)
        case ir.Gates():
            count, n = step.shape[0], math.prod(operand.shape)
            made = costs.comparison_plan(n, bits - 1, count, network)
            what = f"{bits} bits, K thresholds, {_described(made)}"
            yield "gates", what, costs.gates(N, bits, THRESHOLDS, made), {N: n, THRESHOLDS: count}
        case ir.Truncate(rounding="exact") if step.shift:
            made = costs.comparison_plan(n, step.shift, 1, network)
            # The bit conversion's width is what is left of the ring.
            cost = costs.truncate_exact(N, OUT + step.shift, step.shift, made)
            yield (
                "truncate",
                f"by {step.shift}, {_described(made)}",
                cost,
                {N: n, OUT: bits - step.shift},
            )
        case ir.MaxPool():
            shape = (operand.shape[0], operand.shape[1], operand.shape[2])
            for pairs in costs.maxpool_pairs(shape, step.kernel, step.strides, step.pads):
                yield _relu("maxpool", pairs, step.bits, step.bits, network)
        case ir.Extend() if bits != step.bits:
            made = costs.comparison_plan(n, bits, 1, network)
            cost = costs.extend(N, bits, OUT + bits, made)
            yield "extend", f"{bits} bits, {_described(made)}", cost, {N: n, OUT: step.bits - bits}
        case ir.Output():
            yield "output", "", costs.reveal_to_client(N, OUT), {N: n, OUT: step.bits}


def _relu(kind: str, n: int, bits: int, out_bits: int, network: Network) -> Part:
    made = costs.comparison_plan(n, bits - 1, 1, network)
    return (
        kind,
        f"{bits} bits, {_described(made)}",
        costs.relu(N, bits, OUT, made),
        {N: n, OUT: out_bits},
    )


def _described(made: DigitPlan) -> str:
    rounds = len(made.joins)
    return f"digits {'+'.join(map(str, made.digits))}, {rounds} joining round{'s' if rounds != 1 else ''}"


def _linear(spec: LinearSpec) -> Iterator[Part]:
    """One part per tile."""
    layout, primes = spec.layout, len(spec.primes)
    cost = Cost.of(
        ("C", costs.packed(SENT, RESIDUE_BITS)),
        ("S", costs.packed(ANSWERS, ANSWER_BITS)),
        ("S", costs.packed(OUTPUTS, MESSAGE_BITS)),
    )
    for window in layout.windows:
        yield (
            "linear",
            "per tile",
            cost,
            {
                SENT: layout.ciphertexts_per_tile * sum(layout.sent) * primes,
                RESIDUE_BITS: packing.residue_bits(spec.primes),
                ANSWERS: layout.answers_per_tile * spec.degree,
                ANSWER_BITS: spec.answer_bits,
                OUTPUTS: layout.flat.out_shape[0] * window.pixels,
                MESSAGE_BITS: message_bits(spec.bits, spec.answer_bits),
            },
        )
