"""What a homomorphic linear layer sends and computes, declared (the algebra: protocols/cost)."""

from __future__ import annotations

from collections.abc import Sequence

from moiety.protocols.cost import Cost, Local, Send, Work, cost_of
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.rlwe import phase_primes
from moiety.protocols.linear.server import linear_server, new_query_server
from moiety.protocols.linear.spec import (
    LinearSpec,
    parameter_sets,
    query_bytes,
    tile_download_bytes,
    upload_bytes,
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
    layout, plan, primes = spec.layout, spec.rlwe, len(spec.rlwe.primes)
    tiles = len(layout.windows)
    ciphertexts, answers = tiles * layout.ciphertexts_per_tile, tiles * layout.answers_per_tile
    outputs = layout.geometry.outputs
    sent = ciphertexts * sum(layout.sent) * primes
    downloads = [tile_download_bytes(spec, window) for window in layout.windows]
    encode = Work("encode_residue", ciphertexts * layout.block * primes)
    encrypt = (
        Work("expand_residue", ciphertexts * plan.degree * primes),
        Work("mask_residue", ciphertexts * plan.degree * primes),
        encode,
        Work("word", sent),
    )
    answer = (
        Work("zero_residue", 2 * answers * plan.degree * primes),
        Work("torus_residue", answers * plan.degree * primes),
        Work("word", answers * plan.degree),
    )
    working = plan.degree * phase_primes(plan.degree, plan.answer_bits)
    phase = (Work("word", answers * plan.degree), Work("phase_residue", answers * working))
    mask = (Work("torus_residue", outputs * primes), Work("word", outputs))
    return Cost(
        (
            Local("C", (Work("layer", tiles),)),
            Local("S", (Work("layer", tiles), *answer)),
            Send("C", upload_bytes(spec), encrypt),
            Send("S", sum(a for a, _ in downloads), (), phase),
            Local("S", (Work("word", sent), encode, *_convolution(spec))),
            Send(
                "S",
                sum(b for _, b in downloads),
                mask,
                (Work("word", outputs), Work("pass", 6 * outputs)),
            ),
        )
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
