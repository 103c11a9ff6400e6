"""What a Program costs on the wire, from its public numbers alone, before anything runs.

The formulas are the protocols' own declarations (the algebra: protocols/cost); a test holds their
sum equal to what two parties meter. Beside bytes and flights they name the local work, from which
runtime/cost/clock makes seconds.

What a protocol costs is declared beside it, with `@cost_of` (protocols/cost). Which protocols a
step calls, and on what sizes, is declared here, once per kind of step, by a function registered
with `@calls_of`. The costs here are these calls at the Program's sizes; runtime/cost/formulas
evaluates the same calls on symbols. A new step adds one function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from moiety.protocols.aggregate import counts
from moiety.protocols.aggregate.auroc import reveal_cost, sum_up_cost
from moiety.protocols.compare.argmax import argmax_passes, place_bits
from moiety.protocols.compare.convert import bit_to_ring_cost
from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.compare.extend import extend_cost, extend_with_headroom_cost
from moiety.protocols.compare.joint import truncate_with_gates_cost
from moiety.protocols.compare.joint_plan import TreePlan, plan_joint
from moiety.protocols.compare.maxpool import maxima_cost, maxpool_pairs
from moiety.protocols.compare.product import product_cost, square_cost
from moiety.protocols.compare.relu import gates_cost, multiplex_cost, relu_cost
from moiety.protocols.compare.reveal import reveal_to_client_cost
from moiety.protocols.compare.truncate import truncate_exact_cost, truncate_stochastic_cost
from moiety.protocols.cost import Cost, local
from moiety.protocols.lanes import in_lanes_cost
from moiety.protocols.linear.cost import linear_cost, query_cost
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.network import Network
from moiety.protocols.session import Role
from moiety.protocols.settlement import settle_cost
from moiety.runtime.program import (
    Add,
    AddConst,
    AnyStep,
    Argmax,
    Combine,
    Concat,
    Count,
    Extend,
    Gates,
    Input,
    Linear,
    LinearMap,
    MaxPool,
    Output,
    Pad,
    Product,
    Program,
    Reduce,
    Relu,
    Reshape,
    Slice,
    Square,
    Step,
    SumPool,
    Transpose,
    Truncate,
)
from moiety.runtime.program.linear_layers import linear_specs

# --- costs of a Program ---------------------------------------------------------------------------


def step_costs(program: Program, images: int = 1) -> list[Cost]:
    """Bytes each way and flights of every step, in order, of a run of so many images."""
    return [
        sum((call.at_its_sizes() for call in calls), Cost())
        for calls in protocol_calls(program, images)
    ]


def key_cost(program: Program, images: int = 1) -> Cost:
    """The fresh RLWE public keys that come with every run."""
    return query_cost(list(linear_specs(program, images).values()))


def image_cost(program: Program) -> Cost:
    """One whole inference; set-up and control messages are not in it."""
    return run_cost(program, 1)


def run_cost(program: Program, images: int) -> Cost:
    """One run of `images` images together, likewise."""
    return sum(step_costs(program, images), key_cost(program, images))


def aggregate_cost(program: Program, images: int) -> Cost:
    """What an `aggregate` policy reveals of a cohort of so many images, beside their runs."""
    output = next(iter(program.outputs.values()))
    labels = math.prod(output.shape)
    if program.policy.counts:
        return counts.count_up_cost(labels, images) + counts.reveal_cost(labels)
    summed = sum_up_cost(labels, images, output.bits, program.planned_for)
    return summed + reveal_cost(labels)


# --- what a step calls ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A protocol that a step runs, or a part of its local work.

    cost: the protocol's declaration, as a function of `sizes` by keyword: `n` elements, `bits` or
    `out_bits` of the result, `count` thresholds. They are numbers here and symbols in a formula;
    whatever else the cost depends on is bound to it, and named in `what` or by `digits`. in_lanes:
    a large n is run in lanes (protocols/lanes).
    """

    cost: Callable[..., Cost]
    sizes: Mapping[str, int]
    what: str = ""
    digits: DigitPlan | TreePlan | None = None
    in_lanes: bool = False

    def at_its_sizes(self, prepared: bool = False) -> Cost:
        """The cost in numbers, in a `prepared` run or another."""
        if not self.in_lanes:
            return self.cost(**self.sizes)

        def of_lane(n: int) -> Cost:
            return self.cost(**{**self.sizes, "n": n})

        return in_lanes_cost(self.sizes["n"], of_lane, prepared)


@dataclass(frozen=True)
class Setting:
    """What a step's cost depends on besides the step. operands: the steps that make its operands
    (an Input's: itself). joint: the Gates that are made together with it (Gates.joint).
    specs: what the homomorphic protocol must know of the Linear steps, by index. keeps: the outputs
    stay shared.
    """

    index: int
    operands: Sequence[AnyStep]
    joint: Gates | None
    network: Network
    images: int
    specs: Mapping[int, LinearSpec]
    keeps: bool = False

    @property
    def operand(self) -> AnyStep:
        """The first of them."""
        return self.operands[0]

    def elements(self, step: Step) -> int:
        """Of the step's result, over all images."""
        return self.images * math.prod(step.shape)


def protocol_calls(
    program: Program, images: int = 1, prepared: bool = False
) -> Iterator[list[Call]]:
    """The calls of every step, in order, of a run of so many images; `prepared`: with comparisons
    cut for a prepared run.
    """
    for step, setting in zip(program.steps, settings(program, images, prepared), strict=True):
        yield list(CALLS[type(step)](step, setting))


def settings(program: Program, images: int = 1, prepared: bool = False) -> Iterator[Setting]:
    """What the costs of every step depend on, in order; arguments as in `protocol_calls`."""
    specs = linear_specs(program, images)
    network = program.planned_for.ahead if prepared else program.planned_for
    keeps = not program.policy.tells_of_images
    for index, step in enumerate(program.steps):
        operands = program.operands(step) or (step,)
        joint = program.joint_gates(index)
        yield Setting(index, operands, joint, network, images, specs, keeps)


S = TypeVar("S", bound=Step)
Declaration = Callable[[S, Setting], Iterable[Call]]

CALLS: dict[type[Step], Declaration[Any]] = {}
"""Kind of step -> what it calls. A test holds that every kind is there."""


def calls_of(*kinds: type[S]) -> Callable[[Declaration[S]], Declaration[S]]:
    """Registers the decorated function as what these kinds of step call, in order."""

    def register(declaration: Declaration[S]) -> Declaration[S]:
        CALLS.update(dict.fromkeys(kinds, declaration))
        return declaration

    return register


# --- the calls of every kind of step --------------------------------------------------------------


@calls_of(Linear)
def _linear(step: Linear, at: Setting) -> Iterator[Call]:
    yield Call(partial(linear_cost, at.specs[at.index]), {})


@calls_of(Truncate)
def _truncate(step: Truncate, at: Setting) -> Iterator[Call]:
    n, bits, shift = at.elements(step), at.operand.bits, step.shift
    if step.rounding == "stochastic":
        yield Call(partial(truncate_stochastic_cost, bits_in=bits, shift=shift), {"n": n})
    elif at.joint is not None:
        yield _truncate_with_gates(n, bits - shift, shift, at.joint, at.network)
    else:
        digits = plan_digits(shift, 1, n, at.network)

        def cost(n: int, out_bits: int) -> Cost:
            # The bit conversion's width is what is left of the ring.
            return truncate_exact_cost(n, out_bits + shift, shift, digits)

        yield Call(cost, {"n": n, "out_bits": bits - shift}, f"by {shift}", digits, True)


def _truncate_with_gates(n: int, out_bits: int, shift: int, gates: Gates, network: Network) -> Call:
    count, compared = gates.shape[0], gates.compared
    plan = plan_joint(shift, compared - 1, count, n, network)

    def cost(n: int, out_bits: int, count: int) -> Cost:
        return truncate_with_gates_cost(n, out_bits + shift, shift, compared, count, plan)

    what = f"by {shift}, with gates of {compared} bits, K thresholds"
    return Call(cost, {"n": n, "out_bits": out_bits, "count": count}, what, plan, True)


@calls_of(Relu)
def _relu(step: Relu, at: Setting) -> Iterator[Call]:
    """With a second operand, which holds the gates, the multiplexer alone."""
    n, bits = at.elements(step), at.operand.bits
    sizes, rings, what = {"n": n}, {"bits": bits}, f"{bits} bits"
    if step.bits == bits:
        rings["out_bits"] = bits
        what += ", not extended"
    else:
        sizes["out_bits"] = step.bits
    if step.multiplexes:
        yield Call(partial(multiplex_cost, **rings), sizes, f"multiplexer, {what}", None, True)
    else:
        digits = plan_digits(bits - 1, 1, n, at.network)
        yield Call(partial(relu_cost, **rings, network=digits), sizes, what, digits, True)


@calls_of(Gates)
def _gates(step: Gates, at: Setting) -> Iterator[Call]:
    """Nothing more where they are made with the truncation before."""
    if step.joint:
        return
    n, bits, count = at.elements(at.operand), step.compared, step.shape[0]
    if bits < at.operand.bits:
        yield _passes(n)
    digits = plan_digits(bits - 1, count, n, at.network)
    cost = partial(gates_cost, bits=bits, network=digits)
    yield Call(cost, {"n": n, "count": count}, f"{bits} bits, K thresholds", digits, True)


@calls_of(Product)
def _product(step: Product, at: Setting) -> Iterator[Call]:
    y = at.operands[1]
    n = at.elements(y)
    group = at.elements(step) // n
    cost = partial(product_cost, group=group, y_bits=y.bits)
    what = f"by {y.bits} bits" + (f", each for {group}" if group > 1 else "")
    yield Call(cost, {"n": n, "bits": step.bits}, what, None, True)


@calls_of(Square)
def _square(step: Square, at: Setting) -> Iterator[Call]:
    sizes = {"n": at.elements(step), "out_bits": step.bits}
    bits = at.operand.bits
    yield Call(partial(square_cost, bits=bits), sizes, f"{bits} bits", None, True)


@calls_of(MaxPool)
def _maxpool(step: MaxPool, at: Setting) -> Iterator[Call]:
    channels, height, width = at.operand.shape
    shape = (at.images * channels, height, width)
    for pairs in maxpool_pairs(shape, step.kernel, step.strides, step.pads):
        yield _maxima(pairs, step.bits, at.network)


def _maxima(pairs: int, bits: int, network: Network) -> Call:
    """One level of the trees."""
    digits = plan_digits(bits - 1, 1, pairs, network)
    sizes = {"n": pairs, "bits": bits}
    return Call(partial(maxima_cost, network=digits), sizes, f"{bits} bits", digits, True)


@calls_of(Argmax)
def _argmax(step: Argmax, at: Setting) -> Iterator[Call]:
    """The levels of a max-pool over all values."""
    n, count = at.elements(step), at.operand.shape[0]
    yield Call(partial(argmax_passes, n, count), {})
    for pairs in maxpool_pairs((n, 1, count), (1, count), (1, 1), (0, 0, 0, 0)):
        yield _maxima(pairs, at.operand.bits + place_bits(count), at.network)


@calls_of(Count)
def _count(step: Count, at: Setting) -> Iterator[Call]:
    """A bit conversion of each."""
    n = at.elements(at.operand)
    cost = partial(bit_to_ring_cost, sender=Role.SERVER)
    yield Call(cost, {"n": n, "bits": step.bits}, "bits to numbers", None, True)
    yield _passes(n)


@calls_of(Extend)
def _extend(step: Extend, at: Setting) -> Iterator[Call]:
    """The size that counts is that of the bits which are added."""
    n, bits = at.elements(step), at.operand.bits
    if bits == step.bits:
        return
    what, digits = f"{bits} bits, with headroom", None
    if not step.headroom:
        what, digits = f"{bits} bits", plan_digits(bits, 1, n, at.network)

    def cost(n: int, out_bits: int) -> Cost:
        if digits is None:
            return extend_with_headroom_cost(n, bits, bits + out_bits)
        return extend_cost(n, bits, bits + out_bits, digits)

    yield Call(cost, {"n": n, "out_bits": step.bits - bits}, what, digits, True)


@calls_of(Output)
def _output(step: Output, at: Setting) -> Iterator[Call]:
    if at.keeps:
        yield Call(settle_cost, {})
    else:
        yield Call(reveal_to_client_cost, {"n": at.elements(step), "bits": step.bits})


@calls_of(Input, Reshape)
def _nothing(step: Step, at: Setting) -> Iterator[Call]:
    yield from ()


@calls_of(Reduce, AddConst, Concat, Slice, Transpose, Pad)
def _one_pass(step: Step, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step))


@calls_of(Add)
def _add(step: Add, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * len(step.inputs))


@calls_of(LinearMap)
def _linear_map(step: LinearMap, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * len(step.taps[0]))


@calls_of(Combine)
def _combine(step: Combine, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * len(step.factors))


@calls_of(SumPool)
def _sumpool(step: SumPool, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * sum(step.kernel))


def _passes(elements: int) -> Call:
    """Both parties go over so many elements; nothing is sent, so no formula is asked for."""
    return Call(partial(local, "pass", elements), {})
