"""What a Program costs on the wire, from its public numbers alone, before anything runs.

The formulas are the protocols' own declarations (protocols/cost, protocols/linear/layout); a test
holds their sum equal to what two parties meter. Beside bytes and flights they name the local work,
from which runtime/cost/clock makes seconds.
"""

from __future__ import annotations

import math

from moiety.protocols import cost as costs
from moiety.protocols.cost import Cost, Local, Send, Work, local
from moiety.protocols.linear import layout as packing
from moiety.protocols.linear.rlwe import phase_primes
from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import linear_specs


def step_costs(program: ir.Program, images: int = 1) -> list[Cost]:
    """Bytes each way and flights of every step, in order, of a run of so many images."""
    specs = linear_specs(program, images)
    return [
        _step_cost(program, step, specs.get(index), images)
        for index, step in enumerate(program.steps)
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


def _step_cost(
    program: ir.Program, step: ir.AnyStep, spec: packing.LinearSpec | None, images: int
) -> Cost:
    n, network = images * math.prod(step.shape), program.planned_for
    operand = program.steps[step.inputs[0]] if step.inputs else step
    match step:
        case ir.Linear() if spec is not None:
            return linear_cost(spec)
        case ir.Relu(inputs=(_, _)):
            return costs.multiplex(n, step.bits)
        case ir.Relu():
            return costs.relu(n, operand.bits, step.bits, network)
        case ir.Gates():
            return costs.gates(
                images * math.prod(operand.shape), operand.bits, step.shape[0], network
            )
        case ir.Truncate(rounding="exact"):
            return costs.truncate_exact(n, operand.bits, step.shift, network)
        case ir.Truncate():
            return costs.truncate_stochastic(n, operand.bits, step.shift)
        case ir.MaxPool():
            channels, height, width = operand.shape
            return costs.maxpool(
                (images * channels, height, width),
                step.bits,
                step.kernel,
                step.strides,
                step.pads,
                network,
            )
        case ir.Extend():
            return costs.extend(n, operand.bits, step.bits, network)
        case ir.Output():
            return costs.reveal_to_client(n, step.bits)
        case ir.Reshape() | ir.Input():
            return Cost()
        case ir.SumPool():
            return local("pass", n * sum(step.kernel))
        case ir.Add() | ir.Concat():
            return (
                local("pass", n * len(step.inputs))
                if isinstance(step, ir.Add)
                else local("pass", n)
            )
        case _:
            return local("pass", n)


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
