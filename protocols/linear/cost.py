"""What a homomorphic linear layer sends and computes, declared (the algebra: protocols/cost)."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.protocols.cost import Cost, Local, Send, Work, cost_of, local, packed
from moiety.protocols.linear.client import (
    linear_client,
    new_query_client,
    read_answer,
    send_request,
)
from moiety.protocols.linear.convolution import halves, in_words, limbs, row_pitch
from moiety.protocols.linear.rlwe import phase_primes
from moiety.protocols.linear.server import (
    linear_server,
    new_query_server,
    read_request,
    send_answer,
)
from moiety.protocols.linear.spec import (
    LinearSpec,
    heaviest,
    parameter_sets,
    query_bytes,
    tile_download_bytes,
    upload_bytes,
)
from moiety.protocols.linear.split import (
    OfflineClient,
    OfflineServer,
    known_server,
    online_client,
    online_server,
)


@cost_of(new_query_client, new_query_server)
def query_cost(specs: Sequence[LinearSpec]) -> Cost:
    """The fresh RLWE public keys that come with every run."""
    residues = sum(degree * len(primes) for degree, primes in parameter_sets(specs))
    made = (
        Work("expand_residue", residues),
        Work("mask_residue", residues),
        Work("word", residues),
    )
    return Cost((Send("C", query_bytes(specs), made, (Work("word", residues),)),))


@cost_of(linear_client, linear_server)
def linear_cost(spec: LinearSpec) -> Cost:
    """One layer, in the order of server.py: the server makes the a parts while the client encrypts,
    and the client multiplies them by its secret while the server makes the b parts.
    """
    return request_cost(spec) + answer_cost(spec)


@cost_of(send_request, read_request)
def request_cost(spec: LinearSpec) -> Cost:
    """Its first flight."""
    layout, plan, primes = spec.layout, spec.rlwe, len(spec.rlwe.primes)
    tiles = len(layout.windows)
    ciphertexts, answers = tiles * layout.ciphertexts_per_tile, tiles * layout.answers_per_tile
    encrypt = (
        Work("expand_residue", ciphertexts * plan.degree * primes),
        Work("mask_residue", ciphertexts * plan.degree * primes),
        Work("encode_residue", ciphertexts * layout.block * primes),
        Work("word", ciphertexts * sum(layout.sent) * primes),
    )
    answer = (
        Work("zero_residue", 2 * answers * plan.degree * primes),
        Work("torus_residue", answers * plan.degree * primes),
        Work("word", answers * plan.degree),
    )
    return Cost(
        (
            Local("C", (Work("layer", tiles),)),
            Local("S", (Work("layer", tiles), *answer)),
            Send("C", upload_bytes(spec), encrypt),
        )
    )


@cost_of(read_answer, send_answer)
def answer_cost(spec: LinearSpec, adds_share: bool = True) -> Cost:
    """Its second flight; `adds_share`: the server's share is not zero."""
    layout, plan, primes = spec.layout, spec.rlwe, len(spec.rlwe.primes)
    tiles = len(layout.windows)
    ciphertexts, answers = tiles * layout.ciphertexts_per_tile, tiles * layout.answers_per_tile
    outputs = layout.geometry.outputs
    downloads = [tile_download_bytes(spec, window) for window in layout.windows]
    working = plan.degree * phase_primes(plan.degree, plan.answer_bits)
    phase = (Work("word", answers * plan.degree), Work("phase_residue", answers * working))
    added = (Work("encode_residue", ciphertexts * layout.block * primes),) if adds_share else ()
    sent = Work("word", ciphertexts * sum(layout.sent) * primes)
    mask = (Work("torus_residue", outputs * primes), Work("word", outputs))
    return Cost(
        (
            Send("S", sum(a for a, _ in downloads), (), phase),
            Local("S", (sent, *added, *_convolution(spec))),
            Send(
                "S",
                sum(b for _, b in downloads),
                mask,
                (Work("word", outputs), Work("pass", 6 * outputs)),
            ),
        )
    )


@cost_of(OfflineClient, OfflineServer)
def offline_cost(specs: Sequence[LinearSpec]) -> Cost:
    """Layers that are prepared together (protocols/linear/split): requests, then answers."""
    asked = (offline_request_cost(spec) for spec in specs)
    return sum((*asked, *(offline_answer_cost(spec) for spec in specs)), Cost())


def offline_request_cost(spec: LinearSpec) -> Cost:
    """One layer's request."""
    return local("pass", 2 * spec.geometry.inputs, "C") + request_cost(spec)


def offline_answer_cost(spec: LinearSpec) -> Cost:
    """Its answer."""
    return answer_cost(spec, adds_share=False) + local("word", spec.geometry.outputs, "C")


@cost_of(online_client, online_server)
def online_cost(spec: LinearSpec) -> Cost:
    """One layer: the client's correction; then a convolution in the clear
    (protocols/linear/convolution).
    """
    inputs, outputs = spec.geometry.inputs, spec.geometry.outputs
    corrected = (Work("pass", 4 * inputs), Work("word", inputs))
    known = (Work("word", inputs), Work("pass", inputs))
    return Cost(
        (
            Local("S", (Work("pass", 2 * outputs),)),
            Send("C", packed(inputs, spec.bits), corrected, known),
            Local("C", (Work("word", outputs),)),
            Local("S", _in_the_clear(spec)),
        )
    )


@cost_of(known_server)
def known_cost(spec: LinearSpec) -> Cost:
    """One layer whose operand's share was known: the convolution alone."""
    outputs = spec.geometry.outputs
    server = (Work("pass", 2 * outputs), *_in_the_clear(spec))
    return Cost((Local("C", (Work("word", outputs),)), Local("S", server)))


def _in_the_clear(spec: LinearSpec) -> tuple[Work, ...]:
    """The convolution of known integers, and what makes it the server's share. By words: products
    of halves, and a pass over what comes in and goes out. Otherwise tap by tap: products, sums that
    they are added to, rows, and NumPy's passes.
    """
    geometry = spec.geometry
    filters, height, width = geometry.out_shape
    computed = geometry.images * filters * height
    computed *= row_pitch(geometry.in_shape[2], width, geometry.pads)
    if in_words(spec.bits, spec.weight_bits):
        dithered = 0 if spec.guard >= 0 else 3 * geometry.outputs
        passed = geometry.inputs + geometry.outputs + dithered
        products = halves(spec.bits) * computed * geometry.terms
        return Work("half_product", products), Work("pass", passed)
    count, _ = limbs(heaviest(spec), 1 << (spec.bits - 1))
    return (
        Work("product", count * computed * geometry.terms),
        Work("sum", count * computed * geometry.kernel[0] * geometry.kernel[1]),
        Work("row", count * geometry.inputs),
        Work("pass", 2 * geometry.inputs + 5 * geometry.outputs),
    )


def _convolution(spec: LinearSpec) -> tuple[Work, ...]:
    """As protocols/linear/product does it: one product per tap, source and target block, on rows
    copied once per shift.
    """
    layout, primes = spec.layout, len(spec.rlwe.primes)
    taps, terms = len(layout.tap_offsets), layout.ciphertexts * layout.cp
    products = rows = sums = 0
    for window in layout.windows:
        length = (window.y1 - window.y0 - 1) * layout.pitch + window.x1 - window.x0
        added = layout.mp**2 * taps * layout.bundles * layout.answers * length * primes
        shifts, width = 2 * layout.mp - 1, length + layout.tap_offsets[-1]
        sums += added
        products += added * terms
        rows += shifts * layout.bundles * terms * width * primes
    return Work("product", products), Work("row", rows), Work("sum", sums)
