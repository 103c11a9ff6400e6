"""The client's side of the homomorphic linear layers; protocols/linear/server says what they
compute and why it is safe.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U32, U64
from moiety.protocols.cost import packed
from moiety.protocols.linear.layout import Window
from moiety.protocols.linear.placement import (
    add_messages,
    block_positions,
    by_filter,
    chunks,
    from_plane,
    pack_tile,
    place,
    to_plane,
)
from moiety.protocols.linear.residues import packed_residues
from moiety.protocols.linear.rlwe import ClientKey, Ring, ciphertext_a, public_key_a
from moiety.protocols.linear.spec import (
    LinearSpec,
    parameter_sets,
)
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session


def new_query_client(session: Session, specs: Sequence[LinearSpec], public_seed: bytes) -> None:
    """Fresh secrets for one run, one per distinct (N, q) of `specs`, and their public keys to the
    server (spec.query_bytes).
    """
    session.secret_keys.forget()
    for degree, primes in parameter_sets(specs):
        ring_q = Ring.of(degree, primes)
        key = ClientKey.generate(ring_q, session.prg)
        pb = key.mask(public_key_a(ring_q, public_seed)[:, None], session.prg)
        for residues, p in zip(pb, primes, strict=True):
            session.channel.send(packed_residues(residues.reshape(-1), p))
        session.secret_keys.add(key)


def linear_client(
    session: Session, spec: LinearSpec, layer: int, public_seed: bytes, x1: U64
) -> U64:
    """The client's share of the result in Z_{2^(bits+guard)}, uint64 `(..., M, H', W')`; x1 uint64
    `(..., C, H, W)` in Z_{2^bits}, the leading axes, if there are any, together of the geometry's
    images.

    Raises `ContractViolation` without a key for this run, or when the key has served this
    layer before.
    """
    send_request(session, spec, layer, public_seed, x1)
    return read_answer(session, spec, x1.shape[:-3])


def send_request(
    session: Session, spec: LinearSpec, layer: int, public_seed: bytes, x1: U64
) -> None:
    """The first flight: x1, encrypted. Raises as `linear_client`."""
    layout, plan = spec.layout, spec.rlwe
    key = session.secret_keys.of(plan.degree, plan.primes)
    key.claim(layer)
    plane = to_plane(x1, spec.geometry)
    for tile, window in enumerate(layout.windows):
        a = ciphertext_a(
            key.ring, public_seed, layer, tile, layout.ciphertexts_per_tile, session.workers
        )
        for part in _encrypt(session, key, spec, a, pack_tile(layout, plane, window)):
            session.channel.send(part)


def read_answer(session: Session, spec: LinearSpec, leading: tuple[int, ...]) -> U64:
    """The second flight: this party's share of the result `(*leading, M, H', W')`."""
    layout, plan = spec.layout, spec.rlwe
    key = session.secret_keys.of(plan.degree, plan.primes)
    products = [_phase_products(session, key, spec, window) for window in layout.windows]
    out = np.empty(layout.flat.out_shape, np.uint64)
    for window, product in zip(layout.windows, products, strict=True):
        place(out, window, _opened(session, spec, product))
    return from_plane(out, spec.geometry, leading)


def _encrypt(session: Session, key: ClientKey, spec: LinearSpec, a: U32, messages: U64) -> list[U8]:
    """The message that carries one tile's ciphertexts, in parts; a `(L, ciphertexts, N)` in the NTT
    domain, messages `(ciphertexts, B)`.
    """
    degree, primes, workers = spec.rlwe.degree, spec.rlwe.primes, session.workers
    count, (head, tail) = len(messages), spec.layout.sent
    b = np.empty((len(primes), count, head + tail), np.uint32)

    def encrypt(job: tuple[slice, Prg]) -> None:
        part, prg = job
        fresh = key.mask(a[:, part], prg)
        add_messages(key.ring, fresh, messages[part], spec.bits, prg)
        b[:, part, :head] = fresh[..., :head]
        if tail:
            b[:, part, head:] = fresh[..., degree - tail :]

    jobs = [(part, session.prg.fork()) for part in chunks(count, degree)]
    workers.each(encrypt, jobs)
    rows = b.reshape(len(primes), -1)
    parts = [(i, part) for i in range(len(primes)) for part in workers.ranges(rows[i].size)]
    return list(
        workers.map(lambda job: packed_residues(rows[job[0], job[1]], primes[job[0]]), parts)
    )


def _phase_products(session: Session, key: ClientKey, spec: LinearSpec, window: Window) -> U64:
    """Receives one tile's a parts; `a*s mod 2^k` at the message positions, `(M, pixels)`."""
    layout, degree, bits = spec.layout, spec.rlwe.degree, spec.rlwe.answer_bits
    count, where = layout.answers_per_tile, block_positions(layout, window)
    product = np.empty((count, where.size), np.uint64)

    def multiply(job: tuple[slice, U8]) -> None:
        part, data = job
        size = part.stop - part.start
        a = kernels.unpack(data, size * degree, bits).reshape(size, degree)
        product[part] = key.phase_product(a, bits)[:, where]

    def arrived(part: slice) -> tuple[slice, U8]:
        # Whole bytes: N is a multiple of 8.
        return part, session.channel.recv((part.stop - part.start) * degree * bits // 8)

    session.workers.each(multiply, chunks(count, degree), arrived)
    return by_filter(layout, product.reshape(-1, window.pixels))


def _opened(session: Session, spec: LinearSpec, product: U64) -> U64:
    """Receives one tile's b parts; the client's share `(M, pixels)`, from its `product` of the a
    parts by the secret.
    """
    bits, flat = spec.result_bits, product.reshape(-1)
    scale = np.uint64(spec.rlwe.answer_bits - bits)
    share = np.empty_like(flat)

    def arrived(at: slice) -> tuple[slice, U8]:
        return at, session.channel.recv(int(packed(at.stop - at.start, bits)))

    def open_part(job: tuple[slice, U8]) -> None:
        at, data = job
        b = kernels.unpack(data, at.stop - at.start, bits)
        share[at] = rounded_phase(spec, (b << scale) - flat[at])

    session.workers.each(open_part, session.workers.ranges(flat.size), arrived)
    return share.reshape(product.shape)


def rounded_phase(spec: LinearSpec, phase: U64) -> U64:
    """The client's share: the phase of the masked answers, in Z_{2^k}, with half a step added and
    its bits below Z_{2^(bits+guard)} dropped; bits above k do not matter.

    With guard bits it is half a message step, which centres the noise within them. Without, it is
    half a step of the result's ring: rounding to nearest.
    """
    k = spec.rlwe.answer_bits
    half = np.uint64(1 << (k - min(spec.bits, spec.result_bits) - 1))
    return ring.reduce((phase + half) >> np.uint64(k - spec.result_bits), spec.result_bits)
