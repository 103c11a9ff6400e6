"""Homomorphic linear layers: shares of x in, shares of `conv(x, w) + bias`
out; weights stay with the server.

Functionality: `F(x0, w, bias; x1) -> (y0, y1)`, `y0 + y1 = conv(x0 + x1, w) + bias mod 2^l`, y1
uniform; with *uniform* masking plus -1, 0 or 1 per output. The client encrypts its share with
coefficient packing (protocols/linear/layout); the server adds its own share, convolves the b parts
as plain integers, adds the a part's convolution, which depends on nothing but weights and public
polynomials and is computed once (`ServerLinear.prepare`; the hint of SimplePIR, USENIX Security
2023), an encryption of zero of each answer's own, and a mask:

* *flooded*: noise uniform in `[-2^f, 2^f)` on every b coefficient that is sent, and a mask r
  uniform in Z_{2^l} at message scale; y0 = r. Exact.
* *uniform*: b is rounded to `Z_{2^(l+4)}` and r uniform in it subtracted; y0 = round(r / 2^4).
  Nothing of the noise remains visible.

What is sent is rounded (public post-processing): a to `Z_{2^k}`, all N coefficients; b to
`Z_{2^(l+4)}`, only where it carries outputs.

The server learns nothing (RLWE). The client learns nothing about the weights: a' + pa*u + e2 is
pseudo-random by RLWE with secret u, and b is masked as above (statistical distance at most 2^-40
per layer when flooded). Flights: client -> server, server -> client; bytes: packing.upload_bytes,
packing.download_bytes. Noise: rlwe_params.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from moiety.protocols import kernels, ring
from moiety.protocols.errors import BadArtifact, BadPlan, ContractViolation, NetworkFailure
from moiety.protocols.linear import layout as packing
from moiety.protocols.linear.layout import Layout, LinearSpec, Window
from moiety.protocols.linear.parameters import MAX_ANSWER_BITS, MAX_WEIGHT_BITS, fit, message_bits
from moiety.protocols.linear.product import correlate
from moiety.protocols.linear.rlwe import (
    U8,
    U32,
    ClientKey,
    Ring,
    ServerKey,
    ciphertext_a,
    public_key_a,
)
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.ring import U64
from moiety.protocols.session import Session

__all__ = [
    "LinearSpec",
    "ServerLinear",
    "check_spec",
    "linear_client",
    "linear_server",
    "new_query_client",
    "new_query_server",
]

T = TypeVar("T", bound=np.generic)
K = TypeVar("K", ClientKey, ServerKey)

_CHUNK = 1 << 16
"""Coefficients per prime that are worked on at once: what stays in the
second-level cache, and one thread's job.
"""


def check_spec(spec: LinearSpec) -> None:
    """Raises `BadPlan` unless the spec is secure, fits, and decrypts: nothing in a
    peer's Program is taken on trust.
    """
    what = f"linear layer {spec.in_shape} -> {spec.out_shape}"
    Ring.of(spec.degree, spec.primes)
    if not 1 <= spec.weight_bits <= MAX_WEIGHT_BITS:
        raise BadPlan(
            f"{what}: weights of {spec.weight_bits} bits; 1 to {MAX_WEIGHT_BITS} are supported"
        )
    noise = spec.layout.geometry.noise(spec.degree, spec.weight_bits, spec.filters_per_answer)
    if spec.masking == "flooded" and spec.flood_bits < noise.flood_bits:
        raise BadPlan(
            f"{what}: hiding the noise takes flooding of {noise.flood_bits} bits, the plan has {spec.flood_bits}"
        )
    need = fit(spec.primes, spec.masking, spec.bits, noise, spec.flood_bits)
    if need is None:
        raise BadPlan(
            f"{what}: the noise does not fit into q for {spec.bits}-bit outputs; more primes or fewer bits are needed"
        )
    if not need.answer_bits <= spec.answer_bits <= MAX_ANSWER_BITS:
        raise BadPlan(
            f"{what}: answers need {need.answer_bits} to {MAX_ANSWER_BITS} bits, the plan has {spec.answer_bits}"
        )


class ServerLinear:
    """The server's side of one layer: weights, bias and the hint.

    weight int32 `(M, C/groups, kh, kw)` with `|w| <= 2^(weight_bits-1)`; bias int64 `(M,)`,
    `(M,1,1)` or `(M,H',W')`. `layer` is the index that separates the public polynomials of this
    layer from all others of the model.
    """

    def __init__(
        self,
        spec: LinearSpec,
        layer: int,
        public_seed: bytes,
        weight: npt.NDArray[np.int32],
        bias: npt.NDArray[np.int64],
    ) -> None:
        check_spec(spec)
        filters = spec.out_shape[0]
        expected = (filters, spec.in_shape[0] // spec.groups, *spec.kernel)
        if weight.shape != expected:
            raise BadArtifact(
                f"weights of linear layer {layer} have shape {weight.shape}, the Program says {expected}"
            )
        if weight.size and int(np.abs(weight.astype(np.int64)).max()) > 1 << (spec.weight_bits - 1):
            raise BadArtifact(
                f"a weight of linear layer {layer} exceeds the {spec.weight_bits} bits that the Program allows"
            )
        if bias.shape not in ((filters,), (filters, 1, 1), spec.out_shape):
            raise BadArtifact(
                f"the bias of linear layer {layer} has shape {bias.shape}, which does not fit output {spec.out_shape}"
            )
        self.spec = spec
        self.layer = layer
        self.ring = Ring.of(spec.degree, spec.primes)
        self._seed = public_seed
        self._weights = _pack_weights(spec.layout, weight)
        self._bias = ring.from_signed(
            bias.reshape(filters, 1, 1) if bias.ndim == 1 else bias, spec.bits
        )
        self._hint: U32 | None = None

    @property
    def hint_shape(self) -> tuple[int, int, int, int]:
        """(tiles, primes, answers per tile, N)."""
        spec, layout = self.spec, self.spec.layout
        return len(layout.windows), len(spec.primes), layout.answers_per_tile, spec.degree

    @property
    def hint_products(self) -> int:
        """Multiplications that `prepare` takes."""
        return (
            len(self.spec.layout.windows)
            * len(self.spec.primes)
            * self._weights.size
            * self.spec.degree
        )

    def prepare(self, workers: Workers | None = None) -> None:
        """Compute the hint: the a part of every answer but its encryption of zero.
        Once per model and public seed.
        """
        layout, workers = self.spec.layout, workers or Workers()
        hint = np.empty(self.hint_shape, np.uint32)
        shifts = [[-block * layout.block for block in range(layout.mp)]]
        for tile in range(len(layout.windows)):
            a = self.ring.inverse(
                ciphertext_a(self.ring, self._seed, self.layer, tile, layout.ciphertexts_per_tile)
            )
            whole = self._correlate(a, shifts, self.spec.degree, workers)
            for i, parts in enumerate(whole):
                hint[tile, i] = parts.reshape(layout.answers_per_tile, self.spec.degree)
        self._hint = hint

    def hint_array(self) -> U32:
        """The hint, for keeping it on disk beside the weights.
        Secret: it determines the weights.
        """
        if self._hint is None:
            raise ContractViolation("prepare() or load_hint() comes before the hint can be used")
        return self._hint

    def load_hint(self, hint: U32) -> None:
        """Take a hint computed before, with the same seed. Raises `BadArtifact` for another
        shape or values out of range.
        """
        if hint.shape != self.hint_shape or hint.dtype != np.uint32:
            raise BadArtifact(
                f"the hint of linear layer {self.layer} is {hint.dtype} {hint.shape}, expected uint32 {self.hint_shape}"
            )
        if any(int(hint[:, i].max()) >= p for i, p in enumerate(self.spec.primes)):
            raise BadArtifact(f"the hint of linear layer {self.layer} is damaged")
        self._hint = hint

    def convolve(self, b: U32, window: Window, workers: Workers | None = None) -> U32:
        """The b part of one tile's answers at the message positions: b `(L,
        ciphertexts, N)` -> `(L, M, pixels)`.
        """
        layout = self.spec.layout
        shifts = [
            [(target - source) * layout.block for source in range(layout.mp)]
            for target in range(layout.mp)
        ]
        positions = _pixel_positions(layout, window)
        whole = self._correlate(b, shifts, int(positions[-1]) + 1, workers or Workers())
        return np.stack(
            [_by_filter(layout, np.ascontiguousarray(blocks[..., positions])) for blocks in whole]
        )

    def _correlate(
        self, polynomials: U32, shifts: Sequence[Sequence[int]], length: int, workers: Workers
    ) -> list[U32]:
        """Prime after prime, `(bundles, answers, targets, length)`. Threads share
        the primes, then the answers.
        """
        spec, layout = self.spec, self.spec.layout
        primes = len(spec.primes)
        ways = min(-(-workers.threads // primes), layout.answers)
        cuts = [layout.answers * way // ways for way in range(ways + 1)]
        jobs = [(i, slice(*ends)) for i in range(primes) for ends in itertools.pairwise(cuts)]

        def part(job: tuple[int, slice]) -> U32:
            prime, answers = job
            return correlate(
                polynomials[prime].reshape(layout.bundles, layout.ciphertexts, spec.degree),
                self._weights[:, :, :, answers],
                prime=spec.primes[prime],
                weight_bits=spec.weight_bits,
                stride=layout.channel_size,
                taps=layout.tap_offsets,
                shifts=shifts,
                length=length,
            )

        parts = list(workers.map(part, jobs))
        if ways == 1:
            return parts
        return [np.concatenate(parts[i * ways : (i + 1) * ways], axis=1) for i in range(primes)]

    def add_bias(self, share: U64) -> U64:
        return ring.reduce(share + self._bias, self.spec.bits)


def new_query_client(session: Session, specs: Sequence[LinearSpec], public_seed: bytes) -> None:
    """Fresh secrets for one run, one per distinct (N, q) of `specs`, and their public keys to the
    server (packing.query_bytes).
    """
    session.rlwe.clear()
    for degree, primes in packing.parameter_sets(specs):
        ring_q = Ring.of(degree, primes)
        key = ClientKey.generate(ring_q, session.prg)
        pb = key.mask(public_key_a(ring_q, public_seed)[:, None], session.prg)
        session.channel.send(_pack_residues(pb, primes))
        session.rlwe[degree, primes] = key


def new_query_server(session: Session, specs: Sequence[LinearSpec], public_seed: bytes) -> None:
    """The server's side of `new_query_client`."""
    session.rlwe.clear()
    for degree, primes in packing.parameter_sets(specs):
        ring_q = Ring.of(degree, primes)
        pb = _parse_residues(
            session.channel.recv(packing.residues_bytes(degree, primes)), primes, 1, degree
        )
        session.rlwe[degree, primes] = ServerKey(
            ring_q, public_key_a(ring_q, public_seed), ring_q.forward(pb)[:, 0]
        )


def linear_client(
    session: Session, spec: LinearSpec, layer: int, public_seed: bytes, x1: U64
) -> U64:
    """The client's share of the result, uint64 `(..., M, H', W')`; x1 uint64 `(..., C, H, W)` in
    Z_{2^bits}, the leading axes, if there are any, together of `spec.images` images.

    Raises `ContractViolation` without a key for this run, or when the key
    has served this layer before.
    """
    key = _key(session, spec, ClientKey)
    key.claim(layer)
    plane = _to_plane(x1, spec)
    for tile in range(len(spec.layout.windows)):
        for part in _encrypt_tile(session, key, spec, layer, public_seed, tile, plane):
            session.channel.send(part)
    products = [_phase_products(session, key, spec, window) for window in spec.layout.windows]
    out = np.empty(spec.layout.flat.out_shape, np.uint64)
    width = message_bits(spec.bits, spec.answer_bits)
    for window, product in zip(spec.layout.windows, products, strict=True):
        data = session.channel.recv(packing.tile_download_bytes(spec, window)[1])
        b = kernels.unpack(data, product.size, width).reshape(product.shape)
        phase = (b << np.uint64(spec.answer_bits - width)) - product
        _place(out, window, _round(phase, spec.answer_bits, spec.bits))
    return _from_plane(out, spec, x1.shape[:-3])


def _encrypt_tile(
    session: Session,
    key: ClientKey,
    spec: LinearSpec,
    layer: int,
    public_seed: bytes,
    tile: int,
    plane: U64,
) -> list[U8]:
    """The message that carries one tile's ciphertexts, in parts."""
    layout, ring_q, workers = spec.layout, key.ring, session.workers
    head, tail = layout.sent
    a = ciphertext_a(ring_q, public_seed, layer, tile, layout.ciphertexts_per_tile)
    messages = _pack_tile(layout, plane, layout.windows[tile])
    b = np.empty((len(spec.primes), layout.ciphertexts_per_tile, head + tail), np.uint32)

    def encrypt(job: tuple[slice, Prg]) -> None:
        part, prg = job
        fresh = key.mask(a[:, part], prg)
        _add_messages(ring_q, fresh, messages[part], spec.bits, prg)
        b[:, part, :head] = fresh[..., :head]
        if tail:
            b[:, part, head:] = fresh[..., spec.degree - tail :]

    jobs = [
        (part, session.prg.fork()) for part in _chunks(layout.ciphertexts_per_tile, spec.degree)
    ]
    for _ in workers.map(encrypt, jobs):
        pass
    flat = b.reshape(-1)
    return list(
        workers.map(lambda part: _pack_residues(flat[part], spec.primes), workers.ranges(flat.size))
    )


def _phase_products(session: Session, key: ClientKey, spec: LinearSpec, window: Window) -> U64:
    """Receives one tile's a parts; `a*s mod 2^k` at the message positions, `(M, pixels)`."""
    layout, count = spec.layout, spec.layout.answers_per_tile
    where = _block_positions(layout, window)
    product = np.empty((count, where.size), np.uint64)

    def multiply(job: tuple[slice, U8]) -> None:
        part, data = job
        size = part.stop - part.start
        a = kernels.unpack(data, size * spec.degree, spec.answer_bits).reshape(size, spec.degree)
        product[part] = key.phase_product(a, spec.answer_bits)[:, where]

    def arriving() -> Iterator[tuple[slice, U8]]:
        for part in _chunks(count, spec.degree):
            # Whole bytes: N is a multiple of 8.
            yield (
                part,
                session.channel.recv(
                    (part.stop - part.start) * spec.degree * spec.answer_bits // 8
                ),
            )

    for _ in session.workers.map(multiply, arriving()):
        pass
    return _by_filter(
        layout, product.reshape(layout.bundles, layout.answers, layout.mp, window.pixels)
    )


def _chunks(count: int, degree: int) -> list[slice]:
    """`count` polynomials in pieces of about `_CHUNK` coefficients; the same whatever the number of
    threads, because each piece has its own stream of randomness.
    """
    step = max(1, _CHUNK // degree)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def linear_server(session: Session, layer: ServerLinear, x0: U64) -> U64:
    """The server's share of the result, uint64 `(..., M, H', W')`; x0 uint64 `(..., C, H, W)`
    in Z_{2^bits}, as the client's.
    """
    spec, layout = layer.spec, layer.spec.layout
    key = _key(session, spec, ServerKey)
    plane = _to_plane(x0, spec)
    hint = layer.hint_array()
    a_parts, b_zeros, uploads = [], [], []
    # The a parts do not depend on the upload, so they are made while the client encrypts; and they
    # leave before the b parts are made, so that the client multiplies them by its secret meanwhile.
    # Nothing is sent before everything is received: two flights.
    for tile, window in enumerate(layout.windows):
        a, b_zero = _answer_a(session, key, hint[tile], layout, window, spec.answer_bits)
        a_parts += a
        b_zeros.append(b_zero)
        uploads.append(session.channel.recv(packing.tile_upload_bytes(spec)))
    for a_part in a_parts:
        session.channel.send(a_part)
    session.channel.flush()
    out = np.empty(layout.flat.out_shape, np.uint64)
    for window, b_zero, upload in zip(layout.windows, b_zeros, uploads, strict=True):
        b = _parse_ciphertexts(upload, spec)
        _add_messages(key.ring, b, _pack_tile(layout, plane, window), spec.bits, session.prg)
        answer = key.ring.add(layer.convolve(b, window, session.workers), b_zero)
        masked, share = _mask(key.ring, spec, answer, session.prg)
        session.channel.send(
            kernels.pack(masked.reshape(-1), message_bits(spec.bits, spec.answer_bits))
        )
        _place(out, window, share)
    return layer.add_bias(_from_plane(out, spec, x0.shape[:-3]))


def _answer_a(
    session: Session, key: ServerKey, hint: U32, layout: Layout, window: Window, answer_bits: int
) -> tuple[list[U8], U32]:
    """Re-randomised a parts in Z_{2^k} `(answers, N)` as a message in parts, and the encryptions' b
    parts at the message positions `(L, M, pixels)`.
    """
    primes, count, _ = hint.shape
    where = _block_positions(layout, window)
    b = np.empty((primes, count, where.size), np.uint32)

    def randomise(job: tuple[slice, Prg]) -> U8:
        part, prg = job
        zero_a, zero_b = key.zeros(part.stop - part.start, prg)
        a = key.ring.to_torus(key.ring.add(hint[:, part], zero_a), answer_bits)
        b[:, part] = zero_b[..., where]
        return kernels.pack(a.reshape(-1), answer_bits)

    jobs = [(part, session.prg.fork()) for part in _chunks(count, layout.degree)]
    messages = list(session.workers.map(randomise, jobs))
    shape = (layout.bundles, layout.answers, layout.mp, window.pixels)
    return messages, np.stack([_by_filter(layout, residues.reshape(shape)) for residues in b])


def _mask(ring_q: Ring, spec: LinearSpec, b: U32, prg: Prg) -> tuple[U64, U64]:
    """The masked b part, rounded to `message_bits`, and the server's share
    in Z_{2^l}, both `(M, pixels)`.
    """
    shape, count = b.shape[1:], b[0].size
    width = message_bits(spec.bits, spec.answer_bits)
    if spec.masking == "flooded":
        flood = kernels.flood_residues(
            prg.uint64(2 * count).reshape(count, 2), spec.flood_bits, ring_q.p
        )
        share = prg.uint64(count, spec.bits).reshape(shape)
        negated = ring_q.encode(ring.reduce(-share, spec.bits), spec.bits, prg)
        hidden = ring_q.add(ring_q.add(b, flood.reshape(b.shape)), negated)
        return ring_q.to_torus(hidden, width), share
    r = prg.uint64(count, width).reshape(shape)
    return ring.reduce(ring_q.to_torus(b, width) - r, width), _round(r, width, spec.bits)


def _round(x: U64, width: int, bits: int) -> U64:
    """From Z_{2^width} to the nearest element of Z_{2^bits}; bits of
    x above `width` do not matter.
    """
    extra = width - bits
    return ring.reduce((x + np.uint64(1 << (extra - 1))) >> np.uint64(extra), bits)


def _pack_weights(layout: Layout, weight: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """`(M, C/groups, kh, kw)` to `(bundles, mp, taps, answers, ciphertexts * cp)`.

    Zero where there is no filter, no channel or another group.
    """
    flat, taps = layout.flat, len(layout.tap_offsets)
    filters, channels = flat.out_shape[0] // flat.groups, flat.in_shape[0] // flat.groups
    dense = np.zeros(
        (layout.bundles, layout.answers * layout.mp, layout.ciphertexts * layout.cp, taps), np.int32
    )
    by_group = weight.reshape(layout.bundles, layout.bundle, filters, channels, taps)
    for g in range(layout.bundle):
        dense[:, g * filters : (g + 1) * filters, g * channels : (g + 1) * channels] = by_group[
            :, g
        ]
    split = dense.reshape(
        layout.bundles, layout.answers, layout.mp, layout.ciphertexts * layout.cp, taps
    )
    return np.ascontiguousarray(split.transpose(0, 2, 4, 1, 3))


def _pack_tile(layout: Layout, plane: U64, window: Window) -> U64:
    """Messages of one tile's ciphertexts, `(ciphertexts per tile, B)`, zero-padded;
    `plane` is the flat `(C, H, W)`.
    """
    rows, columns, inner_rows, inner_columns = layout.input_slices(window)
    tile = np.zeros(
        (layout.bundles, layout.ciphertexts * layout.cp, layout.rows, layout.pitch), np.uint64
    )
    channels = plane.reshape(layout.bundles, layout.bundle_channels, *plane.shape[1:])
    tile[:, : layout.bundle_channels, inner_rows, inner_columns] = channels[:, :, rows, columns]
    return tile.reshape(layout.ciphertexts_per_tile, layout.block)


def _add_messages(ring_q: Ring, b: U32, messages: U64, bits: int, prg: Prg) -> None:
    """`b[:, :, :B] += encode(messages)`, in place."""
    width = messages.shape[1]
    b[:, :, :width] = ring_q.add(
        np.ascontiguousarray(b[:, :, :width]), ring_q.encode(messages, bits, prg)
    )


def _pixel_positions(layout: Layout, window: Window) -> npt.NDArray[np.int64]:
    """Coefficients of a tile's outputs relative to their filter's
    block, row-major and increasing.
    """
    rows = (np.array(window.rows) - window.y0) * layout.pitch
    return (rows[:, None] + np.arange(window.x1 - window.x0)).reshape(-1)


def _block_positions(layout: Layout, window: Window) -> npt.NDArray[np.int64]:
    """Coefficients of the outputs of all blocks of an answer, `(mp * pixels,)`."""
    return (
        np.arange(layout.mp)[:, None] * layout.block + _pixel_positions(layout, window)
    ).reshape(-1)


def _by_filter(layout: Layout, blocks: npt.NDArray[T]) -> npt.NDArray[T]:
    """`(bundles, answers, mp, pixels)` to `(M, pixels)`: drops the blocks of the
    last answer that have no filter.
    """
    pixels = blocks.shape[-1]
    filters = blocks.reshape(layout.bundles, layout.answers * layout.mp, pixels)[
        :, : layout.bundle_filters
    ]
    return filters.reshape(layout.bundles * layout.bundle_filters, pixels)


def _place(out: U64, window: Window, share: U64) -> None:
    columns = slice(window.x0, window.x1)
    out[:, window.rows, columns] = share.reshape(len(out), len(window.rows), -1)


def _to_plane(x: U64, spec: LinearSpec) -> U64:
    """The images `(..., C, H, W)` in the one plane `(C, ...)` of `Geometry.flat`."""
    if (
        x.shape[-3:] != spec.in_shape
        or x.size != spec.images * math.prod(spec.in_shape)
        or x.dtype != np.uint64
    ):
        wanted = f"{spec.images} x {spec.in_shape}"
        raise ContractViolation(f"linear layer expects uint64 {wanted}, got {x.dtype} {x.shape}")
    geometry, flat = spec.geometry, spec.layout.flat
    channels, height, width = spec.in_shape
    images = x.reshape(spec.images, *spec.in_shape).transpose(1, 0, 2, 3)
    if geometry.pointwise or spec.images == 1:
        return np.ascontiguousarray(images).reshape(flat.in_shape)
    plane = np.zeros((channels, spec.images, geometry.period, width), np.uint64)
    plane[:, :, :height] = images
    return plane.reshape(channels, -1, width)[:, : flat.in_shape[1]]


def _from_plane(out: U64, spec: LinearSpec, leading: tuple[int, ...]) -> U64:
    """The images' outputs `(*leading, M, H', W')` out of the plane."""
    geometry = spec.geometry
    filters, height, width = spec.out_shape
    if not geometry.pointwise and spec.images > 1:
        out = out[:, np.arange(spec.images)[:, None] * geometry.period + np.arange(height)]
    images = out.reshape(filters, spec.images, height, width).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(images).reshape(*leading, *spec.out_shape)


def _key(session: Session, spec: LinearSpec, kind: type[K]) -> K:
    key = session.rlwe.get((spec.degree, spec.primes))
    if not isinstance(key, kind):
        raise ContractViolation(
            f"no RLWE key for N = {spec.degree} and {len(spec.primes)} primes: new_query comes first"
        )
    return key


def _pack_residues(x: U32, primes: tuple[int, ...]) -> U8:
    return kernels.pack(x.reshape(-1).astype(np.uint64), packing.residue_bits(primes))


def _parse_ciphertexts(data: U8, spec: LinearSpec) -> U32:
    """One tile's b parts `(L, ciphertexts, N)`; zero where the client does
    not send, which nothing reads.
    """
    layout = spec.layout
    head, tail = layout.sent
    sent = _parse_residues(data, spec.primes, layout.ciphertexts_per_tile, head + tail)
    if head == spec.degree:
        return sent
    b = np.zeros((*sent.shape[:2], spec.degree), np.uint32)
    b[..., :head] = sent[..., :head]
    b[..., spec.degree - tail :] = sent[..., head:]
    return b


def _parse_residues(data: U8, primes: tuple[int, ...], count: int, length: int) -> U32:
    """`(L, count, length)` from the wire; raises `NetworkFailure` for
    values that are no residues.
    """
    size = len(primes) * count * length
    x = (
        kernels.unpack(data, size, packing.residue_bits(primes))
        .astype(np.uint32)
        .reshape(len(primes), count, length)
    )
    if any(int(x[i].max()) >= p for i, p in enumerate(primes)):
        raise NetworkFailure("the client sent a ciphertext with residues out of range")
    return x
