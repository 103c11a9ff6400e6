"""Linear layers in two parts: offline, before there is an image, all encryption; online one message
of the client's and a plain convolution.

Functionality, both parts together: that of protocols/linear/server, on shares of x that come
online. *Offline* the client draws r uniform in `Z_{2^l}` and both run the homomorphic layer on
shares (0, r) without bias: `y0 + y1 = 2^g*conv(r, w) + D mod 2^(l+g)` with its deviation D.
*Online* the client sends `c = x1 - r mod 2^l` and takes y1 as its share; the server computes `v =
conv(x0 + c, w) + bias` exactly, on integers that it knows, and takes y0 with v added. As `x0 + c +
r = x0 + x1` and convolution is linear,

    g > 0    y0 + 2^g*v + y1 = 2^g*(conv(x0 + x1, w) + bias mod 2^l) + D, 0 <= D < 2^g;
    g = 0    the same with D in -1, 0, 1;
    g < 0    y0 + y1 is conv(r, w)/2^-g with the layer's noise and roundings, and v/2^-g is rounded
             up or down by a dither of each output's own, as the layer rounds its bias
             (`ServerLinear.add_bias`): error and variance of both, no bias.

D depends on r, the weights and the parties' randomness, and not on x. What is dropped of a dithered
value with fraction f has variance f(1-f): at most 1/4, as for a bias; on average 1/6, since v is
uniform modulo 2^-g where a weight is odd. The cleartext executor's 1 + 3/12 for all that a layer
adds stands against at most 1 + 2/12 + 1/4 either way: 3% to 6% of a deviation, within every bound
that is checked.

Where the client's share of the operand is known offline (compare/masked), it is r itself: then c is
zero and is not sent, and the server convolves its own share (`known_client`, `known_server`).

Online the server sees c, which is uniform: r, pseudo-random, is used for one c alone. The client
sees nothing. Two values under one r would tell their difference, so `claim` gives out r, y1 and y0
once per layer, as `ClientKey.claim` does a secret; whoever keeps material must see to it that it is
loaded once. Offline nobody sees more than in the homomorphic layer.

Flights: offline C S, of as many layers together as the caller likes; online C, in front of
whatever the client sends next. Bytes: offline spec.upload_bytes and spec.download_bytes, online l
bits per input element. Keys of a query (new_query_client, new_query_server) come before the offline
part, and serve one material.

y1 is what the client decrypts, and must be kept; r and y0 are drawn from a seed of each party.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.cost import packed
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.client import read_answer, send_request
from moiety.protocols.linear.placement import check_images, from_plane, place
from moiety.protocols.linear.server import ServerLinear, read_request, send_answer
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session

SEED_BYTES = 32
"""Of the seed from which a party's masks are drawn."""


# --- what is kept ---------------------------------------------------------------------------------


def _stream(seed: bytes, party: str, layer: int) -> Prg:
    """The masks of one layer, apart from all others under the seed."""
    return Prg.derived(seed, f"moiety split/{party}/{layer}")


def input_masks(seed: bytes, layer: int, spec: LinearSpec) -> U64:
    """r, uniform in Z_{2^bits}: uint64 `(images, C, H, W)`."""
    shape = (spec.geometry.images, *spec.geometry.in_shape)
    drawn = _stream(seed, "client", layer).uint64(int(np.prod(shape)), spec.bits)
    return drawn.reshape(shape)


def output_masks(seed: bytes, layer: int, spec: LinearSpec) -> U64:
    """y0, uniform in Z_{2^(bits+guard)}: uint64 `(images, M, H', W')`, the masks of the layer's
    answers, tile after tile.
    """
    masks = _stream(seed, "server", layer)
    out = np.empty(spec.layout.flat.out_shape, np.uint64)
    for window in spec.layout.windows:
        place(out, window, masks.uint64(len(out) * window.pixels, spec.result_bits))
    return from_plane(out, spec.geometry, (spec.geometry.images,))


@dataclass
class _Material:
    """What a party keeps of the offline part, secret. Each layer's is given out once: `left` are
    those that were not.
    """

    seed: bytes = field(repr=False)
    left: set[int]

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise BadArtifact(
                f"the seed of prepared linear layers has {SEED_BYTES} bytes, not {len(self.seed)}"
            )

    def claim(self, layer: int) -> None:
        """Call before anything of a layer is used. Raises `ContractViolation` the second time, and
        for a layer that was not prepared.
        """
        if layer not in self.left:
            raise ContractViolation(
                f"nothing is prepared of linear layer {layer}, or it has been used: two messages "
                "under one mask tell the difference of two shares"
            )
        self.left.remove(layer)


@dataclass
class ServerMaterial(_Material):
    """The server's: the seed alone, for all layers of a run."""

    def take(self, layer: int, spec: LinearSpec) -> U64:
        """y0 `(images, M, H', W')`. Raises as `claim`."""
        self.claim(layer)
        return output_masks(self.seed, layer, spec)

    def to_bytes(self) -> bytes:
        return self.seed

    @classmethod
    def from_bytes(cls, data: bytes, layers: Iterable[int]) -> ServerMaterial:
        """What `to_bytes` made for these layers. Raises `BadArtifact` for another length."""
        return cls(data, set(layers))


@dataclass
class ClientMaterial(_Material):
    """The client's: its seed, and y1 by layer, `result_bits` per element."""

    shares: Mapping[int, U8] = field(repr=False)

    def take(self, layer: int, spec: LinearSpec) -> tuple[U64, U64]:
        """r `(images, C, H, W)` and y1 `(images, M, H', W')`. Raises as `claim`."""
        return input_masks(self.seed, layer, spec), self.take_share(layer, spec)

    def take_share(self, layer: int, spec: LinearSpec) -> U64:
        """y1 alone. Raises as `claim`."""
        self.claim(layer)
        geometry = spec.geometry
        share = kernels.unpack(self.shares[layer], geometry.outputs, spec.result_bits)
        return share.reshape(geometry.images, *geometry.out_shape)

    def to_bytes(self) -> bytes:
        return self.seed + b"".join(share.tobytes() for share in self.shares.values())

    @classmethod
    def from_bytes(cls, data: bytes, specs: Mapping[int, LinearSpec]) -> ClientMaterial:
        """What `to_bytes` made for these layers, in this order. Raises `BadArtifact` for another
        length.
        """
        if len(data) != (expected := client_bytes(list(specs.values()))):
            raise BadArtifact(
                f"prepared linear layers of {expected} bytes were expected, not {len(data)}"
            )
        shares, start, rest = {}, SEED_BYTES, np.frombuffer(data, np.uint8)
        for layer, spec in specs.items():
            shares[layer] = rest[start : start + _share_bytes(spec)]
            start += _share_bytes(spec)
        return cls(data[:SEED_BYTES], set(shares), shares)


def _share_bytes(spec: LinearSpec) -> int:
    return int(packed(spec.geometry.outputs, spec.result_bits))


def client_bytes(specs: Sequence[LinearSpec]) -> int:
    """What a client keeps of one run."""
    return SEED_BYTES + sum(map(_share_bytes, specs))


# --- offline --------------------------------------------------------------------------------------


@dataclass
class OfflineClient:
    """The client's part of the layers of one run, by their indices in the model; `seed` of its
    masks. `known`: the client's share of a layer's operand, which then is its r; asked once, in the
    order of the requests. `shares`: what was opened so far. Raises as `linear_client`.
    """

    specs: Mapping[int, LinearSpec]
    public_seed: bytes
    seed: bytes = field(repr=False)
    known: Callable[[int], U64 | None] = lambda _: None
    shares: dict[int, U8] = field(default_factory=dict, repr=False)

    def request(self, session: Session, layers: Sequence[int]) -> None:
        """These layers' first flight."""
        for layer in layers:
            spec, r = self.specs[layer], self.known(layer)
            mine = input_masks(self.seed, layer, spec) if r is None else r
            send_request(session, spec, layer, self.public_seed, mine)

    def open(self, session: Session, layers: Sequence[int]) -> None:
        """Their second one."""
        for layer in layers:
            spec = self.specs[layer]
            share = read_answer(session, spec, (spec.geometry.images,))
            self.shares[layer] = kernels.pack(share.reshape(-1), spec.result_bits)

    def material(self) -> ClientMaterial:
        """Of all layers, in their order. What is opened later belongs to it, too."""
        return ClientMaterial(self.seed, set(self.specs), self.shares)


@dataclass
class OfflineServer:
    """The server's part, likewise. Raises as `linear_server`."""

    layers: Mapping[int, ServerLinear]
    seed: bytes = field(repr=False)

    def answer(self, session: Session, layers: Sequence[int]) -> None:
        """Both flights of these layers: all requests, then all answers."""
        asked = [(layer, read_request(session, self.layers[layer])) for layer in layers]
        while asked:
            layer, request = asked.pop(0)
            send_answer(session, self.layers[layer], request, _stream(self.seed, "server", layer))

    def material(self) -> ServerMaterial:
        """Of all layers."""
        return ServerMaterial(self.seed, set(self.layers))


# --- online ---------------------------------------------------------------------------------------


def online_client(
    session: Session, spec: LinearSpec, layer: int, x1: U64, material: ClientMaterial
) -> U64:
    """The client's share of the result in Z_{2^(bits+guard)}, uint64 `(..., M, H', W')`; x1 uint64
    `(..., C, H, W)` in Z_{2^bits}. Raises `ContractViolation` for material that was used.
    """
    check_images(x1, spec.geometry)
    masks, share = material.take(layer, spec)
    values, masks = x1.reshape(-1), masks.reshape(-1)

    def correction(at: slice) -> U8:
        return kernels.pack(ring.reduce(values[at] - masks[at], spec.bits), spec.bits)

    for message in session.workers.map(correction, session.workers.ranges(values.size)):
        session.channel.send(message)
    return share.reshape(*x1.shape[:-3], *spec.geometry.out_shape)


def online_server(session: Session, layer: ServerLinear, x0: U64, material: ServerMaterial) -> U64:
    """The server's share, as the client's. Raises `ContractViolation` for material that was
    used.
    """
    spec = layer.spec
    check_images(x0, spec.geometry)
    shares = material.take(layer.layer, spec)
    values, known = x0.reshape(-1), np.empty(x0.size, np.uint64)

    def arrived(at: slice) -> tuple[slice, U8]:
        return at, session.channel.recv(int(packed(at.stop - at.start, spec.bits)))

    def add(job: tuple[slice, U8]) -> None:
        at, data = job
        correction = kernels.unpack(data, at.stop - at.start, spec.bits)
        np.add(values[at], correction, out=known[at])

    session.workers.each(add, session.workers.ranges(values.size), arrived)
    return _evaluated(session, layer, known.reshape(x0.shape), shares)


def known_client(spec: LinearSpec, layer: int, x1: U64, material: ClientMaterial) -> U64:
    """As `online_client`, where x1 is the r that the layer was prepared for: nothing is sent."""
    check_images(x1, spec.geometry)
    return material.take_share(layer, spec).reshape(*x1.shape[:-3], *spec.geometry.out_shape)


def known_server(session: Session, layer: ServerLinear, x0: U64, material: ServerMaterial) -> U64:
    """Likewise."""
    check_images(x0, layer.spec.geometry)
    shares = material.take(layer.layer, layer.spec)
    return _evaluated(session, layer, x0, shares)


def _evaluated(session: Session, layer: ServerLinear, known: U64, shares: U64) -> U64:
    """The server's share of the result, where it knows that r and `known`, modulo 2^bits or beyond,
    make up the operand.
    """
    geometry = layer.spec.geometry
    for image, x in enumerate(known.reshape(geometry.images, *geometry.in_shape)):
        layer.add_known(shares[image], session.prg, x, session.workers)
    return shares.reshape(*known.shape[:-3], *geometry.out_shape)
