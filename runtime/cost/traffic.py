"""What a Program costs on the wire, from its public numbers alone, before anything runs.

The formulas are the protocols' own declarations (protocols/cost, protocols/linear/layout); a test
holds their sum equal to what two parties meter. Beside bytes and flights they name the local work,
from which runtime/cost/clock makes seconds.

Which protocols a step calls, and on what sizes, is declared once per kind of step, by a function
registered with `@cost_of`. The costs here are these calls at the Program's sizes;
runtime/cost/formulas evaluates the same calls on symbols. A new step adds one function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from moiety.protocols.compare.digits import DigitPlan, plan_digits
from moiety.protocols.cost import (
    Cost,
    Local,
    Send,
    Work,
    extend,
    gates,
    local,
    maxima,
    maxpool_pairs,
    multiplex,
    relu,
    reveal_to_client,
    truncate_exact,
    truncate_stochastic,
)
from moiety.protocols.linear import layout as packing
from moiety.protocols.linear.rlwe import phase_primes
from moiety.protocols.network import Network
from moiety.runtime import program as ir
from moiety.runtime.program.layers import linear_specs

# --- costs of a Program --------------------------------------------------------------------------


def step_costs(program: ir.Program, images: int = 1) -> list[Cost]:
    """Bytes each way and flights of every step, in order, of a run of so many images."""
    return [
        sum((call.at_its_sizes for call in calls), Cost())
        for calls in protocol_calls(program, images)
    ]


def key_cost(program: ir.Program, images: int = 1) -> Cost:
    """The fresh RLWE public keys that come with every run."""
    specs = list(linear_specs(program, images).values())
    residues = sum(degree * len(primes) for degree, primes in packing.parameter_sets(specs))
    made = (
        Work("expand_residue", residues),
        Work("mask_residue", residues),
        Work("word", residues),
    )
    return Cost((Send("C", packing.query_bytes(specs), made, (Work("word", residues),)),))


def image_cost(program: ir.Program) -> Cost:
    """One whole inference; set-up and control messages are not in it."""
    return run_cost(program, 1)


def run_cost(program: ir.Program, images: int) -> Cost:
    """One run of `images` images together, likewise."""
    return sum(step_costs(program, images), key_cost(program, images))


# --- what a step calls ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A protocol that a step runs, or a part of its local work.

    cost: the protocol's declaration, as a function of `sizes` by keyword: `n` elements, `bits` or
    `out_bits` of the result, `count` thresholds. They are numbers here and symbols in a formula;
    whatever else the cost depends on is bound to it, and named in `what` or by `digits`.
    """

    cost: Callable[..., Cost]
    sizes: Mapping[str, int]
    what: str = ""
    digits: DigitPlan | None = None

    @property
    def at_its_sizes(self) -> Cost:
        return self.cost(**self.sizes)


@dataclass(frozen=True)
class Setting:
    """What a step's cost depends on besides the step. operand: the step that makes
    its first operand (an Input: itself). specs: what the homomorphic protocol must
    know of the Linear steps, by index.
    """

    index: int
    operand: ir.AnyStep
    network: Network
    images: int
    specs: Mapping[int, packing.LinearSpec]

    def elements(self, step: ir.Step) -> int:
        """Of the step's result, over all images."""
        return self.images * math.prod(step.shape)


def protocol_calls(program: ir.Program, images: int = 1) -> Iterator[list[Call]]:
    """The calls of every step, in order, of a run of so many images."""
    specs = linear_specs(program, images)
    for index, step in enumerate(program.steps):
        operand = program.steps[step.inputs[0]] if step.inputs else step
        setting = Setting(index, operand, program.planned_for, images, specs)
        yield list(COSTS[type(step)](step, setting))


S = TypeVar("S", bound=ir.Step)
Declaration = Callable[[S, Setting], Iterable[Call]]

COSTS: dict[type[ir.Step], Declaration[Any]] = {}
"""Kind of step -> its declared cost. A test holds that every kind is there."""


def cost_of(*kinds: type[S]) -> Callable[[Declaration[S]], Declaration[S]]:
    """Registers the decorated function as what these kinds of step call, in order."""

    def register(declaration: Declaration[S]) -> Declaration[S]:
        COSTS.update(dict.fromkeys(kinds, declaration))
        return declaration

    return register


# --- the declared cost of every kind of step ------------------------------------------------------


@cost_of(ir.Linear)
def _linear(step: ir.Linear, at: Setting) -> Iterator[Call]:
    yield Call(partial(linear_cost, at.specs[at.index]), {})


@cost_of(ir.Truncate)
def _truncate(step: ir.Truncate, at: Setting) -> Iterator[Call]:
    n, bits, shift = at.elements(step), at.operand.bits, step.shift
    if step.rounding == "stochastic":
        yield Call(partial(truncate_stochastic, bits_in=bits, shift=shift), {"n": n})
    elif shift:
        digits = plan_digits(shift, 1, n, at.network)

        def cost(n: int, out_bits: int) -> Cost:
            # The bit conversion's width is what is left of the ring.
            return truncate_exact(n, out_bits + shift, shift, digits)

        yield Call(cost, {"n": n, "out_bits": bits - shift}, f"by {shift}", digits)


@cost_of(ir.Relu)
def _relu(step: ir.Relu, at: Setting) -> Iterator[Call]:
    """With a second operand, which holds the gates, the multiplexer alone."""
    n, bits = at.elements(step), at.operand.bits
    sizes = {"n": n, "out_bits": step.bits}
    if len(step.inputs) == 2:
        yield Call(multiplex, sizes, "multiplexer")
    else:
        digits = plan_digits(bits - 1, 1, n, at.network)
        yield Call(partial(relu, bits=bits, network=digits), sizes, f"{bits} bits", digits)


@cost_of(ir.Gates)
def _gates(step: ir.Gates, at: Setting) -> Iterator[Call]:
    n, bits, count = at.elements(at.operand), at.operand.bits, step.shape[0]
    digits = plan_digits(bits - 1, count, n, at.network)
    cost = partial(gates, bits=bits, network=digits)
    yield Call(cost, {"n": n, "count": count}, f"{bits} bits, K thresholds", digits)


@cost_of(ir.MaxPool)
def _maxpool(step: ir.MaxPool, at: Setting) -> Iterator[Call]:
    channels, height, width = at.operand.shape
    shape = (at.images * channels, height, width)
    for pairs in maxpool_pairs(shape, step.kernel, step.strides, step.pads):
        digits = plan_digits(step.bits - 1, 1, pairs, at.network)
        sizes = {"n": pairs, "bits": step.bits}
        yield Call(partial(maxima, network=digits), sizes, f"{step.bits} bits", digits)


@cost_of(ir.Extend)
def _extend(step: ir.Extend, at: Setting) -> Iterator[Call]:
    n, bits = at.elements(step), at.operand.bits
    if bits != step.bits:
        digits = plan_digits(bits, 1, n, at.network)

        def cost(n: int, out_bits: int) -> Cost:
            return extend(n, bits, bits + out_bits, digits)

        yield Call(cost, {"n": n, "out_bits": step.bits - bits}, f"{bits} bits", digits)


@cost_of(ir.Output)
def _output(step: ir.Output, at: Setting) -> Iterator[Call]:
    yield Call(reveal_to_client, {"n": at.elements(step), "bits": step.bits})


@cost_of(ir.Input, ir.Reshape)
def _nothing(step: ir.Step, at: Setting) -> Iterator[Call]:
    yield from ()


@cost_of(ir.Reduce, ir.AddConst, ir.Concat, ir.Slice, ir.Transpose, ir.Pad)
def _one_pass(step: ir.Step, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step))


@cost_of(ir.Add)
def _add(step: ir.Add, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * len(step.inputs))


@cost_of(ir.SumPool)
def _sumpool(step: ir.SumPool, at: Setting) -> Iterator[Call]:
    yield _passes(at.elements(step) * sum(step.kernel))


def _passes(elements: int) -> Call:
    """Both parties go over so many elements; nothing is sent, so no formula is asked for."""
    return Call(partial(local, "pass", elements), {})


def linear_cost(spec: packing.LinearSpec) -> Cost:
    """One homomorphic layer, in the order of protocols/linear/protocol: the server makes
    the a parts while the client encrypts, and the client multiplies them by its secret
    while the server makes the b parts.
    """
    layout, primes, degree = spec.layout, len(spec.primes), spec.degree
    tiles = len(layout.windows)
    ciphertexts, answers = tiles * layout.ciphertexts_per_tile, tiles * layout.answers_per_tile
    outputs = layout.geometry.outputs
    sent = ciphertexts * sum(layout.sent) * primes
    a_bytes = sum(packing.tile_download_bytes(spec, window)[0] for window in layout.windows)
    b_bytes = sum(packing.tile_download_bytes(spec, window)[1] for window in layout.windows)
    encode = Work("encode_residue", ciphertexts * layout.block * primes)
    encrypt = (
        Work("expand_residue", ciphertexts * degree * primes),
        Work("mask_residue", ciphertexts * degree * primes),
        encode,
        Work("word", sent),
    )
    answer = (
        Work("zero_residue", 2 * answers * degree * primes),
        Work("torus_residue", answers * degree * primes),
        Work("word", answers * degree),
    )
    phase = (
        Work("word", answers * degree),
        Work("phase_residue", answers * degree * phase_primes(degree, spec.answer_bits)),
    )
    mask = [Work("torus_residue", outputs * primes), Work("word", outputs)]
    if spec.masking == "flooded":
        mask += [Work("flood_residue", outputs * primes), Work("encode_residue", outputs * primes)]
    return Cost(
        (
            Local("C", (Work("layer", tiles),)),
            Local("S", (Work("layer", tiles), *answer)),
            Send("C", packing.upload_bytes(spec), encrypt),
            Send("S", a_bytes, (), phase),
            Local("S", (Work("word", sent), encode, *_convolution(spec))),
            Send("S", b_bytes, tuple(mask), (Work("word", outputs), Work("pass", 6 * outputs))),
        )
    )


def _convolution(spec: packing.LinearSpec) -> tuple[Work, ...]:
    """As protocols/linear/product does it: one product per tap, source and target block,
    on rows copied once per shift.
    """
    layout, primes = spec.layout, len(spec.primes)
    taps, terms = len(layout.tap_offsets), layout.ciphertexts * layout.cp
    products = rows = sums = 0
    for window in layout.windows:
        length = (window.y1 - window.y0 - 1) * layout.pitch + window.x1 - window.x0
        added = layout.mp**2 * taps * layout.bundles * layout.answers * length * primes
        sums += added
        products += added * terms
        rows += (
            (2 * layout.mp - 1)
            * layout.bundles
            * terms
            * (length + layout.tap_offsets[-1])
            * primes
        )
    return Work("product", products), Work("row", rows), Work("sum", sums)
