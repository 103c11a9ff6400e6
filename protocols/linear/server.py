"""Homomorphic linear layers: shares of x in, shares of `conv(x, w) + bias` out; weights stay with
the server. This file has the server's side.

Functionality: `F(x0, w, bias; x1) -> (y0, y1)`, x0, x1 shares of x modulo 2^l, y1 uniform, and
`y0 + y1 = X mod 2^(l+g)` where `X - 2^g * (conv(x, w) + bias mod 2^l)` lies in 0 .. 2^g - 1: the
result with `g` *guard bits* below it, which hold the noise. With g = 0 it is off by -1, 0 or 1;
with g < 0 X is the result without its low bits, rounded, and noise of a standard deviation of at
most one step.

The client encrypts its share with coefficient packing (protocols/linear/layout); the server adds
its own share, convolves the b parts as plain integers, adds the a part's convolution, which depends
on nothing but weights and public polynomials and is computed once (`ServerLinear.prepare`; the hint
of SimplePIR, USENIX Security 2023), an encryption of zero of each answer's own, rounds b to
`Z_{2^(l+g)}`, and subtracts a mask r uniform there: y0 = r + 2^g*bias. The a part, all N
coefficients, is rounded to `Z_{2^k}`; of b, only coefficients that carry outputs are sent.

The client multiplies a by its secret, adds half a message step to the phase and drops the bits
below `Z_{2^(l+g)}` (client.rounded_phase). In steps of that ring, with e the noise of the answer
and of the rounding of a, d0 in [-1/2, 1/2] the server's rounding of b and d1 in [0, 1) what the
client drops,

    X - 2^g*x = 2^(g-1) + e + d0 - d1,

an integer; it is above -1 and below 2^g, thus within the guard bits, if `|e| < 2^(g-1) - 1/2`
(parameters.noise_budget). So `floor(X / 2^(s+g)) = floor(x / 2^s)`: the exact truncation that
follows removes the noise, and the sum of several results, or an opened one, would not.

This holds but for probability 2^-64 per layer (parameters.FAILURE_BITS), for every x and the worst
weights that `weight_bits` admits; check_spec holds a plan to that.

The server learns nothing (RLWE). The client learns nothing about the weights: a' + pa*u + e2 is
pseudo-random by RLWE with secret u, and b minus r is uniform, whatever its noise is. Flights C S;
bytes: spec.upload_bytes, spec.download_bytes. Noise: protocols/linear/parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import I32, I64, U8, U32, U64
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.convolution import Convolution, WordConvolution, in_words
from moiety.protocols.linear.layout import Window
from moiety.protocols.linear.placement import (
    add_messages,
    block_positions,
    by_filter,
    byte_chunks,
    check_weights,
    chunks,
    from_plane,
    pack_tile,
    pack_weights,
    pixel_positions,
    place,
    to_plane,
)
from moiety.protocols.linear.product import Monomials, correlate
from moiety.protocols.linear.residues import parse_residues, residue_rows
from moiety.protocols.linear.rlwe import Ring, ServerKey, ciphertext_a, public_key_a
from moiety.protocols.linear.spec import (
    LinearSpec,
    check_spec,
    heaviest,
    parameter_sets,
    residues_bytes,
    tile_upload_bytes,
)
from moiety.protocols.parallel import HANDED_PASSED, Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session

_COEFFICIENTS = 64
"""Fewer at once make a product slower than they make it shorter."""


class ServerLinear:
    """The server's side of one layer: weights, bias and the hint.

    weight int32 `(M, C/groups, kh, kw)` with `|w| <= 2^(weight_bits-1)`; bias int64 `(M,)`,
    `(M,1,1)` or `(M,H',W')`. `layer` is the index that separates the public polynomials of this
    layer from all others of the model.
    """

    def __init__(
        self, spec: LinearSpec, layer: int, public_seed: bytes, weight: I32, bias: I64
    ) -> None:
        """Raises `BadPlan` for a spec that is not secure or does not decrypt, `BadArtifact` for
        weights that are not the Program's.
        """
        check_spec(spec)
        check_weights(spec, layer, weight, bias)
        self.spec = spec
        self.layer = layer
        self.ring = Ring.of(spec.rlwe.degree, spec.rlwe.primes)
        self._seed = public_seed
        self._weight = weight
        self._weights = pack_weights(spec.layout, weight)
        per_filter = bias.reshape(-1, 1, 1) if bias.ndim == 1 else bias
        self._bias = per_filter
        self._hint: U32 | None = None
        self._memory: U32 | None = None

    @property
    def hint_shape(self) -> tuple[int, int, int, int]:
        """(tiles, primes, answers per tile, N)."""
        layout, plan = self.spec.layout, self.spec.rlwe
        return len(layout.windows), len(plan.primes), layout.answers_per_tile, plan.degree

    @property
    def hint_products(self) -> int:
        """Multiplications that `prepare` takes."""
        tiles, primes, _, degree = self.hint_shape
        return tiles * primes * degree * self._weights.size

    def prepare(self, workers: Workers | None = None) -> None:
        """Compute the hint: the a part of every answer but its encryption of zero. Once per model
        and public seed.
        """
        layout, degree = self.spec.layout, self.spec.rlwe.degree
        hint = np.empty(self.hint_shape, np.uint32) if self._memory is None else self._memory
        shifts = [[-block * layout.block for block in range(layout.mp)]]
        for tile in range(len(layout.windows)):
            a = self.ring.inverse(
                ciphertext_a(self.ring, self._seed, self.layer, tile, layout.ciphertexts_per_tile)
            )
            whole = self._correlate(a, shifts, degree, workers or Workers())
            hint[tile] = whole.reshape(hint.shape[1:])
        self._hint = hint

    def place_hint(self, memory: U32) -> None:
        """The hint lies in `memory`, of the hint's shape, from now on: `prepare` and `load_hint`
        write it there, here or in another process that has the memory in common with this one.
        """
        self._hint = self._memory = memory

    def hint_array(self) -> U32:
        """The hint, for keeping it on disk beside the weights. Secret: it determines
        the weights.
        """
        if self._hint is None:
            raise ContractViolation("prepare() or load_hint() comes before the hint can be used")
        return self._hint

    def load_hint(self, hint: U32) -> None:
        """Take a hint computed before, with the same seed. Raises `BadArtifact` for another shape
        or values out of range.
        """
        if hint.shape != self.hint_shape or hint.dtype != np.uint32:
            raise BadArtifact(
                f"the hint of linear layer {self.layer} is {hint.dtype} {hint.shape}, "
                f"expected uint32 {self.hint_shape}"
            )
        if any(int(hint[:, i].max()) >= p for i, p in enumerate(self.spec.rlwe.primes)):
            raise BadArtifact(f"the hint of linear layer {self.layer} is damaged")
        if self._memory is None:
            self._hint = hint
        else:
            self._memory[...] = hint

    def convolve(self, b: U32, window: Window, workers: Workers | None = None) -> U32:
        """The b part of one tile's answers at the message positions: b
        `(L, ciphertexts, N)` -> `(L, M, pixels)`.
        """
        layout = self.spec.layout
        shifts = [
            [(target - source) * layout.block for source in range(layout.mp)]
            for target in range(layout.mp)
        ]
        workers = workers or Workers()
        positions = pixel_positions(layout, window)
        whole = self._correlate(b, shifts, int(positions[-1]) + 1, workers)
        out = np.empty((len(whole), layout.flat.out_shape[0], positions.size), np.uint32)

        def pick(prime: int) -> None:
            blocks = np.take(whole[prime], positions, axis=-1)
            out[prime] = by_filter(layout, blocks.reshape(-1, positions.size))

        if out[0].size < HANDED_PASSED:
            for prime in range(len(whole)):
                pick(prime)
        else:
            workers.each(pick, range(len(whole)))
        return out

    def _correlate(
        self, polynomials: U32, shifts: Sequence[Sequence[int]], length: int, workers: Workers
    ) -> U32:
        """`(primes, bundles, answers, targets, length)`. Threads share the primes, then the
        coefficients: each makes the rows that it multiplies, and no other.
        """
        layout, plan = self.spec.layout, self.spec.rlwe
        primes = len(plan.primes)
        monomials = Monomials(layout.channel_size, layout.tap_offsets, shifts, length)
        out = np.empty((primes, layout.bundles, layout.answers, len(shifts), length), np.uint32)
        ways = max(1, min(-(-workers.threads // primes), length // _COEFFICIENTS))
        cuts = [length * way // ways for way in range(ways + 1)]

        def part(job: tuple[int, tuple[int, int]]) -> None:
            prime, (start, stop) = job
            out[prime, ..., start:stop] = correlate(
                polynomials[prime].reshape(layout.bundles, layout.ciphertexts, plan.degree),
                self._weights,
                monomials.part(start, stop),
                prime=plan.primes[prime],
                weight_bits=self.spec.weight_bits,
            )

        workers.each(part, list(itertools.product(range(primes), itertools.pairwise(cuts))))
        return out

    @cached_property
    def in_the_clear(self) -> Convolution:
        """The layer's convolution of integers that the server knows. It takes the same time for
        all weights of `weight_bits`.
        """
        geometry, bound = self.spec.geometry, heaviest(self.spec)
        return Convolution(self._weight, geometry.pads, geometry.dilations, geometry.groups, bound)

    @cached_property
    def _in_words(self) -> WordConvolution:
        geometry = self.spec.geometry
        return WordConvolution(self._weight, geometry.pads, geometry.dilations, geometry.groups)

    def add_known(self, share: U64, prg: Prg, x: U64, workers: Workers | None = None) -> None:
        """Add the convolution of x `(C, H, W)`, which the server knows modulo 2^bits, and the bias
        to an image's outputs `(M, H', W')`, in place: rounded as by `add_bias`. Which way is taken,
        and its time, is the same for all weights of `weight_bits`.
        """
        bits, guard = self.spec.bits, self.spec.guard
        if in_words(bits, self.spec.weight_bits):
            known = self._bias if guard >= 0 else self._dithered(self._bias, share, prg)
            self._in_words.add(x, known, bits, guard, share, workers)
        else:
            sums, _ = self.in_the_clear(ring.to_signed(x, bits), 1 << (bits - 1), workers)
            share[...] = self.add_bias(share, prg, sums)

    def _dithered(self, known: I64, share: U64, prg: Prg) -> I64:
        """And what rounds every output up or down where a negative guard drops low bits."""
        left = -self.spec.guard
        dither = prg.uint64(share.size, left).reshape(share.shape).astype(np.int64)
        total: I64 = known + dither
        return total

    def add_bias(self, share: U64, prg: Prg, sums: I64 | None = None) -> U64:
        """And `sums`, both of which the server knows, to the outputs `(..., M, H', W')`, modulo
        2^(bits+guard). For a negative guard they are rounded up or down at random, anew for every
        output: rounded once, a bias would move a whole channel by the same amount, which no average
        over outputs removes.
        """
        known, left = self._bias if sums is None else sums + self._bias, -self.spec.guard
        if left > 0:
            known = self._dithered(known, share, prg) >> np.int64(left)
        else:
            known = known << np.int64(-left)
        total: U64 = share + known.view(np.uint64)
        total &= ring.mask(self.spec.result_bits)
        return total


def new_query_server(session: Session, specs: Sequence[LinearSpec], public_seed: bytes) -> None:
    """The server's side of `new_query_client`."""
    session.public_keys.forget()
    for degree, primes in parameter_sets(specs):
        ring_q = Ring.of(degree, primes)
        pb = parse_residues(session.channel.recv(residues_bytes(degree, primes)), primes, degree)
        pa_hat, pb_hat = public_key_a(ring_q, public_seed), ring_q.forward(pb)[:, 0]
        session.public_keys.add(ServerKey(ring_q, pa_hat, pb_hat))


def linear_server(session: Session, layer: ServerLinear, x0: U64) -> U64:
    """The server's share of the result in Z_{2^(bits+guard)}, uint64 `(..., M, H', W')`; x0 uint64
    `(..., C, H, W)` in Z_{2^bits}, as the client's.
    """
    plane = to_plane(x0, layer.spec.geometry)
    request = read_request(session, layer)
    out = send_answer(session, layer, request, session.prg, plane)
    return layer.add_bias(from_plane(out, layer.spec.geometry, x0.shape[:-3]), session.prg)


class Request(NamedTuple):
    """A layer's uploads, by tile, and what was made of its answers while they came: the messages of
    the a parts, and by tile the b parts of the encryptions of zero, `(L, M, pixels)`.
    """

    uploads: list[U8]
    a_parts: list[U8]
    b_zeros: list[U32]


def read_request(session: Session, layer: ServerLinear) -> Request:
    """The first flight. The a parts of the answers do not depend on it, so they are made while the
    client encrypts.
    """
    spec, hint = layer.spec, layer.hint_array()
    key = session.public_keys.of(spec.rlwe.degree, spec.rlwe.primes)
    request = Request([], [], [])
    for tile, window in enumerate(spec.layout.windows):
        a, b_zero = _answer_a(session, key, spec, hint[tile], window)
        request.a_parts.extend(a)
        request.b_zeros.append(b_zero)
        request.uploads.append(session.channel.recv(tile_upload_bytes(spec)))
    return request


def send_answer(
    session: Session, layer: ServerLinear, request: Request, masks: Prg, plane: U64 | None = None
) -> U64:
    """The second flight; returns the masks, which are drawn from `masks`, in the flat plane
    `(M, ...)`. `plane` is the server's share in its own (None: zero).

    The a parts leave before the b parts are made, so that the client multiplies them by its secret
    meanwhile.
    """
    spec, layout = layer.spec, layer.spec.layout
    ring_q = session.public_keys.of(spec.rlwe.degree, spec.rlwe.primes).ring
    for a_part in request.a_parts:
        session.channel.send(a_part)
    session.channel.flush()
    out = np.empty(layout.flat.out_shape, np.uint64)
    for window, b_zero, upload in zip(
        layout.windows, request.b_zeros, request.uploads, strict=True
    ):
        messages = None if plane is None else pack_tile(layout, plane, window)
        b = _received(session, ring_q, spec, upload, messages)
        answer = layer.convolve(b, window, session.workers)
        place(out, window, _send_masked(session, ring_q, spec, answer, b_zero, masks))
    return out


def _answer_a(
    session: Session, key: ServerKey, spec: LinearSpec, hint: U32, window: Window
) -> tuple[list[U8], U32]:
    """Re-randomised a parts in Z_{2^k} `(answers, N)` as a message in parts, and the encryptions' b
    parts at the message positions `(L, M, pixels)`.
    """
    layout, answer_bits = spec.layout, spec.rlwe.answer_bits
    primes, count, _ = hint.shape
    where = block_positions(layout, window)
    b = np.empty((primes, count, where.size), np.uint32)

    def randomise(job: tuple[slice, Prg]) -> U8:
        part, prg = job
        zero_a, zero_b = key.zeros(part.stop - part.start, prg)
        a = key.ring.to_torus(key.ring.add(hint[:, part], zero_a), answer_bits)
        b[:, part] = zero_b[..., where]
        return kernels.pack(a.reshape(-1), answer_bits)

    jobs = [(part, session.prg.fork()) for part in chunks(count, layout.degree)]
    messages = list(session.workers.map(randomise, jobs))
    return messages, by_filter(layout, b.reshape(primes, -1, window.pixels))


def _received(
    session: Session, ring_q: Ring, spec: LinearSpec, upload: U8, messages: U64 | None
) -> U32:
    """One tile's b parts `(L, ciphertexts, N)` with the server's share `(ciphertexts, B)`, if there
    is any, added; zero where the client does not send, which nothing reads. Raises as
    `residue_rows`.
    """
    plan, layout, (head, tail) = spec.rlwe, spec.layout, spec.layout.sent
    count, block, sent = layout.ciphertexts_per_tile, layout.block, head + tail
    make = np.empty if head == plan.degree else np.zeros
    b = make((len(plan.primes), count, plan.degree), np.uint32)
    ends = np.cumsum([residues_bytes(count * sent, (p,)) for p in plan.primes])
    streams = np.split(upload, ends[:-1])

    def parse(job: tuple[slice, Prg]) -> None:
        part, prg = job
        for i, (stream, p) in enumerate(zip(streams, plan.primes, strict=True)):
            rows = residue_rows(stream, p, part, sent)
            b[i, part, :head] = rows[:, :head]
            b[i, part, plan.degree - tail :] = rows[:, head:]
        if messages is not None:
            add_messages(ring_q, b[:, part], messages[part], spec.bits, prg)

    parts = byte_chunks(count, plan.degree)
    prgs = [session.prg.part(8 * block * (part.stop - part.start)) for part in parts]
    session.workers.each(parse, list(zip(parts, prgs, strict=True)))
    return b


def _send_masked(
    session: Session, ring_q: Ring, spec: LinearSpec, b: U32, b_zero: U32, stream: Prg
) -> U64:
    """Sends one tile's b parts, both `(L, M, pixels)`, rounded and masked; returns the masks
    `(M, pixels)`, which are the stream's next.
    """
    bits, shape = spec.result_bits, b.shape[1:]
    b, b_zero = b.reshape(len(b), -1), b_zero.reshape(len(b), -1)
    masks = np.empty(b.shape[1], np.uint64)

    def mask(job: tuple[slice, Prg]) -> U8:
        at, prg = job
        rounded = ring_q.to_torus(ring_q.add(b[:, at], b_zero[:, at]), bits)
        masks[at] = prg.uint64(rounded.size, bits)
        return kernels.pack(ring.reduce(rounded - masks[at], bits), bits)

    ranges = session.workers.ranges(masks.size)
    prgs = [stream.part(8 * (at.stop - at.start)) for at in ranges]
    for message in session.workers.map(mask, list(zip(ranges, prgs, strict=True))):
        session.channel.send(message)
    return masks.reshape(shape)
