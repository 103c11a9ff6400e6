"""What one party of the linear layers sends, taken apart into everything that it drew: the other
party is a script of bytes, chosen so that nothing hides the draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import F64, I64, U32, U64
from moiety.protocols.linear import server as server_side
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import Window
from moiety.protocols.linear.parameters import RlwePlan, ntt_primes
from moiety.protocols.linear.placement import by_filter, pack_tile
from moiety.protocols.linear.rlwe import ClientKey, Ring, ciphertext_a, public_key_a
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import (
    LinearSpec,
    download_bytes,
    parameter_sets,
    residues_bytes,
    upload_bytes,
)
from moiety.protocols.session import Role, Session
from tests.support.convolutions import SEED, Conv, bare_session
from tests.support.two_party import MemoryChannel, channel_pair

T = TypeVar("T")

PRIMES = ntt_primes(26, 2)
Q = math.prod(PRIMES)
EXACT = 54
"""Bits that hold every residue modulo q apart, also when one more says where to round: what is
rounded to them is not rounded.
"""
FACTOR = 1000
"""A public key of this constant, both parts: `FACTOR*u + e` of an encryption of zero, which gives u
and e.
"""


def wide(
    degree: int, channels: int, pixels: int, tile: int, primes: tuple[int, ...] = PRIMES
) -> LinearSpec:
    """A pointwise layer of as many filters as channels, one of each per polynomial."""
    conv = Conv(channels, (1, pixels), channels)
    plan = RlwePlan(
        degree=degree,
        primes=primes,
        channels_per_ciphertext=1,
        filters_per_answer=1,
        tile=(1, tile),
        answer_bits=EXACT + 1,
    )
    return LinearSpec(conv.geometry, plan, EXACT, 2, 0)


SPECS = (
    wide(2048, 70, 1400, 500),
    wide(2048, 70, 1400, 500),
    wide(4096, 35, 1200, 600),
)
"""Three layers over two rings, of 3, 3 and 2 tiles, the last ones not full; 70 ciphertexts and
answers a tile, which are encrypted and made in three pieces, and 35 in as many.
"""


def prepared(spec: LinearSpec, layer: int) -> ServerLinear:
    """A layer whose output is its input; its noise is not hidden, so that no check lets it pass."""
    filters = spec.geometry.out_shape[0]
    weight = np.eye(filters, dtype=np.int32).reshape(filters, filters, 1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_side, "check_spec", lambda spec: None)
        made = ServerLinear(spec, layer, SEED, weight, np.zeros(filters, np.int64))
    made.prepare()
    return made


def joined(residues: U32) -> U64:
    """The integers below q of residues modulo two primes, `(2, ...)`."""
    first, second = (int(p) for p in PRIMES)
    low, high = residues.astype(np.uint64)
    difference = (high + np.uint64(second) - low % np.uint64(second)) % np.uint64(second)
    return low + np.uint64(first) * (
        difference * np.uint64(pow(first, -1, second)) % np.uint64(second)
    )


def centred(values: U64) -> I64:
    """Integers modulo q, of least magnitude."""
    reduced = (values % np.uint64(Q)).astype(np.int64)
    return np.where(reduced > Q // 2, reduced - Q, reduced)


def scaled(values: U64, bits: int = EXACT) -> tuple[U64, F64]:
    """`q*x / 2^bits` of x in Z_{2^bits}: floors and fractions."""
    low_half, half = np.uint64((1 << 32) - 1), np.uint64(32)
    low, high = values & low_half, values >> half
    cross = high * np.uint64(Q & 0xFFFFFFFF) + (low * np.uint64(Q & 0xFFFFFFFF) >> half)
    rest = low * np.uint64(Q >> 32) + (cross & low_half)
    upper = high * np.uint64(Q >> 32) + (cross >> half) + (rest >> half)
    lower = values * np.uint64(Q)
    floors = upper << np.uint64(64 - bits) | lower >> np.uint64(bits)
    return floors, (lower & np.uint64((1 << bits) - 1)).astype(np.float64) / 2.0**bits


def unrounded(values: U64, bits: int) -> U64:
    """The residues modulo q that were rounded to Z_{2^bits}."""
    floors, fractions = scaled(values, bits)
    return floors + (fractions >= 0.5)


# --- the client -----------------------------------------------------------------------------------


@dataclass
class Uploaded:
    """What a client drew and sent in one run: by ring its secret and public key's error; by layer
    and tile the errors of the ciphertexts at the coefficients that are sent, with the rounding of
    messages, and the fractions that were rounded.
    """

    secrets: list[I64]
    key_errors: list[I64]
    errors: list[list[I64]]
    fractions: list[list[F64]]


def uploaded(inputs: Sequence[U64], session: Session, peer: MemoryChannel) -> Uploaded:
    """One run of a client on its shares of the layers' inputs; what is answered is zeros."""
    for spec in SPECS:
        peer.send(bytes(download_bytes(spec)))
    peer.flush()
    new_query_client(session, SPECS, SEED)
    keys = {spec: session.secret_keys.of(spec.rlwe.degree, PRIMES) for spec in SPECS}
    for layer, (spec, x1) in enumerate(zip(SPECS, inputs, strict=True)):
        linear_client(session, spec, layer, SEED, x1)
    session.channel.flush()
    distinct = [session.secret_keys.of(degree, primes) for degree, primes in parameter_sets(SPECS)]
    seen = Uploaded([key.secret.astype(np.int64) for key in distinct], [], [], [])
    for key in distinct:
        pb = _residues(peer, 1, key.ring.degree)
        seen.key_errors.append(_phase(key, public_key_a(key.ring, SEED)[:, None], pb)[0])
    for layer, (spec, x1) in enumerate(zip(SPECS, inputs, strict=True)):
        tiles = [
            _tile_errors(peer, keys[spec], spec, (layer, tile), pack_tile(spec.layout, x1, window))
            for tile, window in enumerate(spec.layout.windows)
        ]
        seen.errors.append([errors for errors, _ in tiles])
        seen.fractions.append([fractions for _, fractions in tiles])
    return seen


def _tile_errors(
    peer: MemoryChannel, key: ClientKey, spec: LinearSpec, at: tuple[int, int], messages: U64
) -> tuple[I64, F64]:
    layout = spec.layout
    head, tail = layout.sent
    assert tail == 0
    assert head == messages.shape[1]
    count = layout.ciphertexts_per_tile
    a = ciphertext_a(key.ring, SEED, *at, count)
    floors, fractions = scaled(messages)
    phase = _phase(key, a, _residues(peer, count, head))
    return centred((phase % Q).astype(np.uint64) + np.uint64(Q) - floors), fractions


def _phase(key: ClientKey, a_hat: U32, b: U32) -> I64:
    """`b - a*s`, centred, at the coefficients of b `(2, n, length)`."""
    product = key.ring.inverse(kernels.multiply_mod(a_hat, key.hat, key.ring.p))
    return centred(joined(b) + np.uint64(Q) - joined(product[..., : b.shape[-1]]))


def _residues(peer: MemoryChannel, count: int, length: int) -> U32:
    """The next polynomials from the wire."""
    rows = []
    for p in PRIMES:
        data = peer.recv(residues_bytes(count * length, (p,)))
        rows.append(kernels.unpack(data, count * length, p.bit_length()))
    return np.stack(rows).astype(np.uint32).reshape(len(PRIMES), count, length)


# --- the server -----------------------------------------------------------------------------------


@dataclass
class Answered:
    """What a server drew in one run, by layer and tile: of each answer's encryption of zero the u
    and e2, whole, and at the outputs' coefficients e1 with the rounding of messages; the fractions
    that were rounded; the masks.
    """

    u: list[list[I64]]
    second: list[list[I64]]
    first: list[list[I64]]
    fractions: list[list[F64]]
    masks: list[list[U64]]


def answered(
    layers: Sequence[ServerLinear], inputs: Sequence[U64], session: Session, peer: MemoryChannel
) -> Answered:
    """One run of a server on its shares of the layers' inputs, for a client whose public key is
    FACTOR and whose ciphertexts are zero.
    """
    for degree, _ in parameter_sets(SPECS):
        constant = np.zeros(degree, np.uint64)
        constant[0] = FACTOR
        for p in PRIMES:
            peer.send(kernels.pack(constant, p.bit_length()))
    for spec in SPECS:
        peer.send(bytes(upload_bytes(spec)))
    peer.flush()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server_side, "public_key_a", _constant)
        new_query_server(session, SPECS, SEED)
    shares = [linear_server(session, *one) for one in zip(layers, inputs, strict=True)]
    session.channel.flush()
    seen = Answered([], [], [], [], [])
    for layer, x0, y0 in zip(layers, inputs, shares, strict=True):
        a_parts = [_a_part(peer, layer, tile) for tile in range(len(layer.spec.layout.windows))]
        seen.u.append([u for u, _ in a_parts])
        seen.second.append([second for _, second in a_parts])
        seen.masks.append([])
        seen.first.append([])
        seen.fractions.append([])
        for (u, _), window in zip(a_parts, layer.spec.layout.windows, strict=True):
            masks = _at(y0, window)
            first, fractions = _b_part(peer, layer, masks, _at(x0, window))
            seen.first[-1].append(
                first - FACTOR * by_filter(layer.spec.layout, u[:, : window.pixels])
            )
            seen.fractions[-1].append(fractions)
            seen.masks[-1].append(masks)
    return seen


def _constant(ring: Ring, public_seed: bytes) -> U32:
    constant = np.zeros((len(ring.primes), 1, ring.degree), np.uint32)
    constant[..., 0] = FACTOR
    return ring.forward(constant)[:, 0]


def _at(x: U64, window: Window) -> U64:
    """`(C, pixels)` of a tile of the one row."""
    return np.ascontiguousarray(x[:, 0, window.x0 : window.x1])


def _a_part(peer: MemoryChannel, layer: ServerLinear, tile: int) -> tuple[I64, I64]:
    """u and e2 of one tile's answers."""
    shape, bits = (layer.spec.layout.answers_per_tile, layer.spec.rlwe.degree), EXACT + 1
    data = peer.recv(math.prod(shape) * bits // 8)
    rounded = unrounded(kernels.unpack(data, math.prod(shape), bits), bits)
    hint = joined(layer.hint_array()[tile]).reshape(-1)
    zero = centred(rounded + np.uint64(Q) - hint).reshape(shape)
    u = (zero + FACTOR // 2) // FACTOR
    return u, zero - FACTOR * u


def _b_part(peer: MemoryChannel, layer: ServerLinear, masks: U64, messages: U64) -> tuple[I64, F64]:
    """`FACTOR*u + e1` and the rounding of messages, where weights let these through."""
    data = peer.recv(-(-masks.size * EXACT // 8))
    sent = kernels.unpack(data, masks.size, EXACT).reshape(masks.shape)
    rounded = (sent + masks) & np.uint64((1 << EXACT) - 1)
    floors, fractions = scaled(messages)
    return centred(unrounded(rounded, EXACT) + np.uint64(Q) - floors), fractions


# --- both -----------------------------------------------------------------------------------------


def alone(role: Role) -> tuple[Session, MemoryChannel]:
    """A party's session, and the other end of its channel for a script."""
    ends = channel_pair()
    return bare_session(role, ends[role]), ends[role.peer]


def random_inputs(seed: int) -> list[U64]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << EXACT, spec.geometry.in_shape, np.uint64) for spec in SPECS]


def no_inputs() -> list[U64]:
    return [np.zeros(spec.geometry.in_shape, np.uint64) for spec in SPECS]


def flat(parts: Sequence[Sequence[T]]) -> Iterator[T]:
    """Of all layers and tiles."""
    for layer in parts:
        yield from layer
