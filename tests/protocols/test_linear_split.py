"""Linear layers offline and online: the result is the layer's, whatever was prepared; the online
message is uniform, and what was prepared serves once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import U64
from moiety.protocols.channel import Traffic
from moiety.protocols.cost import Cost, packed
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.client import new_query_client
from moiety.protocols.linear.cost import offline_cost, online_cost
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.server import ServerLinear, new_query_server
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.linear.split import (
    SEED_BYTES,
    ClientMaterial,
    ServerMaterial,
    client_bytes,
    input_masks,
    online_client,
    online_server,
    output_masks,
)
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Role, Session
from tests.support.convolutions import (
    GUARDS,
    SEED,
    Conv,
    bare_session,
    both,
    check_deviation,
    convolve,
    deviation,
    replanned,
)
from tests.support.offline import offline_client, offline_server
from tests.support.two_party import channel_pair, share

CONVS = {
    "1x1": Conv(20, (6, 6), 8),
    "3x3": Conv(5, (9, 8), 7, (3, 3), (1, 1, 1, 1)),
    "3x3 tiles": Conv(2, (70, 66), 3, (3, 3), (1, 1, 1, 1)),
    "3x2 lopsided": Conv(4, (7, 9), 5, (3, 2), (0, 3, 2, 1)),
    "dilated unevenly": Conv(3, (11, 12), 4, (2, 3), (1, 0, 2, 3), (3, 2)),
    "groups": Conv(12, (7, 7), 6, (3, 3), (1, 1, 1, 1), groups=3),
    "depthwise": Conv(10, (7, 7), 10, (3, 3), (1, 1, 1, 1), groups=10),
    "fully connected": Conv(300, (1, 1), 11),
    "wide": Conv(2, (20, 1), 3, (1, 1), (0, 4, 0, 9)),
}


class Layer(NamedTuple):
    """One layer, its input's shares, and what comes out, modulo 2^bits."""

    served: ServerLinear
    x: tuple[U64, U64]
    expected: U64

    @property
    def spec(self) -> LinearSpec:
        return self.served.spec


def made(conv: Conv, spec: LinearSpec, index: int, seed: int = 0, extreme: bool = False) -> Layer:
    rng = np.random.default_rng(seed)
    limit = 1 << (spec.weight_bits - 1)
    shape = (conv.filters, conv.channels // conv.groups, *conv.kernel)
    weight = rng.integers(-limit, limit + 1, shape).astype(np.int32)
    x = rng.integers(0, 1 << spec.bits, (spec.geometry.images, *conv.in_shape), np.uint64)
    if extreme:
        weight = np.where(weight < 0, -limit, limit).astype(np.int32)
        x = np.where(x & np.uint64(1), np.uint64(1 << (spec.bits - 1)), x)
    bias = rng.integers(-(1 << 40), 1 << 40, [(conv.filters, 1, 1), conv.out_shape][seed % 2])
    served = ServerLinear(spec, index, SEED, weight, bias)
    served.prepare()
    expected = np.stack([convolve(image, weight, conv) for image in x]) + bias.view(np.uint64)
    return Layer(served, share(x, spec.bits, rng), expected)


class Run(NamedTuple):
    """Shares by layer, both parties' materials, and the traffic of both parts, as each party's
    meter has it.
    """

    shares: tuple[list[U64], list[U64]]
    materials: tuple[ServerMaterial, ClientMaterial]
    traffic: tuple[list[Traffic], list[Traffic]]


def run(layers: Sequence[Layer], threads: int = 1) -> Run:
    specs = {layer.served.layer: layer.spec for layer in layers}

    def side(
        keys: Callable[[Session], None],
        offline: Callable[[Session], Any],
        online: Callable[[Session, Any, Layer], U64],
    ) -> Callable[[Session], Any]:
        def body(bare: Session) -> Any:
            with Workers(threads) as workers:
                session = replace(bare, workers=workers)
                meter = session.channel.meter
                keys(session)
                with meter.labelled("offline"):
                    material = offline(session)
                with meter.labelled("online"):
                    shares = [online(session, material, layer) for layer in layers]
            return shares, material, [meter.by_label[part] for part in ("offline", "online")]

        return body

    server, client, _ = both(
        side(
            lambda s: new_query_server(s, list(specs.values()), SEED),
            lambda s: offline_server(s, [layer.served for layer in layers]),
            lambda s, material, layer: online_server(s, layer.served, layer.x[0], material),
        ),
        side(
            lambda s: new_query_client(s, list(specs.values()), SEED),
            lambda s: offline_client(s, specs, SEED),
            lambda s, material, layer: online_client(
                s, layer.spec, layer.served.layer, layer.x[1], material
            ),
        ),
    )
    return Run(*zip(server, client, strict=True))


def check(layers: Sequence[Layer], found: Run) -> None:
    for layer, *shares in zip(layers, *found.shares, strict=True):
        assert all(each.shape == layer.expected.shape for each in shares)
        assert all(each.max() <= ring.mask(layer.spec.result_bits) for each in shares)
        check_deviation(layer.spec, deviation(layer.spec, shares, layer.expected))
    specs = [layer.spec for layer in layers]
    parts = offline_cost(specs), sum((online_cost(spec) for spec in specs), start=Cost())
    for cost, server, client in zip(parts, *found.traffic, strict=True):
        assert (client.sent, client.received) == (cost.up, cost.down)
        assert (server.received, server.sent) == (cost.up, cost.down)
    # The keys are a flight of the client's, which the first request goes on with.
    flights = len(parts[0].flights) - 1, 1
    assert [part.flights for part in found.traffic[0]] == list(flights)
    assert parts[1].flights == "C"


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", CONVS)
def test_both_parts_are_the_layer(name: str, guard: int) -> None:
    layer = made(CONVS[name], CONVS[name].spec(guard), 5, seed=guard + 2)
    check([layer], run([layer]))


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", ["1x1", "3x2 lopsided", "groups"])
def test_images_of_a_batch(name: str, guard: int) -> None:
    conv = CONVS[name]
    spec = plan_linear(replace(conv.geometry, images=3), 28, 10, guard)
    layer = made(conv, spec, 0)
    check([layer], run([layer], threads=3))


@settings(max_examples=40)
@given(
    bits=st.integers(5, 41),
    weight_bits=st.integers(2, 14),
    guard=st.sampled_from(GUARDS),
    extreme=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_widths(bits: int, weight_bits: int, guard: int, extreme: bool, seed: int) -> None:
    conv = Conv(6, (5, 4), 3, (3, 2), (1, 0, 1, 1))
    layer = made(conv, conv.spec(guard, bits, weight_bits), seed, seed, extreme)
    check([layer], run([layer]))


def test_layers_share_flights() -> None:
    """Every layer has masks of its own."""
    conv = CONVS["3x3"]
    layers = [made(conv, conv.spec(1), index, index) for index in (2, 3, 5, 7, 11)]
    check(layers, run(layers))


def test_what_is_left_behind_is_rounded_without_bias() -> None:
    """Weights of zero, so that nothing but the bias and the noise is rounded, and odd ones: the
    deviation of no filter is off, and its variance is what the docstring says at most.
    """
    conv = Conv(2, (48, 48), 4)
    spec = conv.spec(-4, bits=24, weight_bits=4)
    weight = np.array([[0, 0], [0, 0], [1, 0], [7, -5]], np.int32).reshape(4, 2, 1, 1)
    bias = np.array([5, -8, 3, 1 << 40 | 9])
    served = ServerLinear(spec, 0, SEED, weight, bias)
    served.prepare()
    x = np.random.default_rng(1).integers(0, 1 << 24, (1, *conv.in_shape), np.uint64)
    expected = convolve(x[0], weight, conv) + bias.reshape(-1, 1, 1).view(np.uint64)
    layer = Layer(served, share(x, 24, np.random.default_rng(2)), expected[None])
    y0, y1 = (shares[0] for shares in run([layer]).shares)
    steps = ring.to_signed(ring.reduce(((y0 + y1) << np.uint64(4)) - layer.expected, 24), 24) / 16
    count = steps[0, 0].size
    assert np.abs(steps.mean(axis=(0, 2, 3))).max() < 7 * math.sqrt(1.5 / count)
    variance = steps.var(axis=(0, 2, 3))
    assert variance.max() < (1 + 2 / 12 + 1 / 4) * (1 + 7 * math.sqrt(2 / count))
    # Not less either: a rounding once for all outputs would leave no variance of the bias's.
    assert variance.min() > 3 / 12


# --- what goes over the wire ----------------------------------------------------------------------


def sent_online(spec: LinearSpec, x1: U64, material: ClientMaterial) -> U64:
    ends = channel_pair()
    online_client(bare_session(Role.CLIENT, ends[1]), spec, 4, x1, material)
    nbytes = int(packed(x1.size, spec.bits))
    values = kernels.unpack(ends[0].recv(nbytes), x1.size, spec.bits)
    return values.reshape(x1.shape)


def material_of(spec: LinearSpec, seed: bytes) -> ClientMaterial:
    shares = np.zeros(client_bytes([spec]) - SEED_BYTES, np.uint8)
    return ClientMaterial(seed, {4}, {4: shares})


def test_the_online_message_is_uniform() -> None:
    """Whatever the share, and of every seed, layer and party another stream."""
    spec = Conv(40, (30, 30), 2).spec(1, bits=20)
    zero = np.zeros((1, *spec.geometry.in_shape), np.uint64)
    seeds = [bytes([n]) * SEED_BYTES for n in range(3)]
    messages = [sent_online(spec, zero, material_of(spec, seed)) for seed in seeds]
    for seed, message in zip(seeds, messages, strict=True):
        assert np.array_equal(message, ring.reduce(-input_masks(seed, 4, spec), 20))
        bits = message.reshape(-1, 1) >> np.arange(20, dtype=np.uint64) & np.uint64(1)
        assert np.abs(bits.mean(axis=0) - 0.5).max() < 7 / math.sqrt(4 * message.size)
    streams = [*messages, ring.reduce(-input_masks(seeds[0], 5, spec), 20)]
    same = replace(spec, geometry=replace(spec.geometry, out_shape=spec.geometry.in_shape))
    streams.append(ring.reduce(output_masks(seeds[0], 4, same), 20))
    for n, one in enumerate(streams):
        for other in streams[:n]:
            for sign in (one, ring.reduce(-one, 20)):
                assert np.count_nonzero(sign.ravel() == other.ravel()) < 40


def test_both_parties_shares_come_from_masks() -> None:
    """The server's is its masks and what it knows; the client's, what it has kept."""
    conv = CONVS["3x3 tiles"]
    spec = replanned(conv.spec(3), tile=(16, 66), channels_per_ciphertext=1, filters_per_answer=1)
    layer = made(conv, spec, 9)
    found = run([layer], threads=2)
    server, client = found.materials
    again = ServerMaterial.from_bytes(server.to_bytes(), [9])
    masks = again.take(9, spec)
    v = found.shares[0][0] - masks
    mine, theirs = input_masks(client.seed, 9, spec), layer.x[0] + layer.x[1]
    known = made_sums(layer, ring.reduce(theirs - mine, spec.bits))
    assert np.array_equal(ring.reduce(v, spec.result_bits), known)
    kept = ClientMaterial.from_bytes(client.to_bytes(), {9: spec})
    r, y1 = kept.take(9, spec)
    assert np.array_equal(r, mine)
    assert np.array_equal(y1, found.shares[1][0])


def made_sums(layer: Layer, opened: U64) -> U64:
    """`2^guard * (conv(opened, w) + bias)` of a positive guard."""
    zero = np.zeros(layer.expected.shape, np.uint64)
    sums = layer.served.in_the_clear(opened[0].view(np.int64))[0][None]
    prg: Any = None  # which a positive guard does not need
    return layer.served.add_bias(zero, prg, sums)


# --- used once ------------------------------------------------------------------------------------


def test_material_serves_once() -> None:
    conv = CONVS["1x1"]
    layer = made(conv, conv.spec(1), 5)
    server, client = run([layer]).materials
    ends = channel_pair()
    for index in (5, 6):
        with pytest.raises(ContractViolation, match=f"nothing is prepared of linear layer {index}"):
            online_client(bare_session(Role.CLIENT, ends[1]), layer.spec, index, layer.x[1], client)
    assert ends[1].meter.total.sent == 0
    with pytest.raises(ContractViolation, match="nothing is prepared of linear layer 5"):
        online_server(bare_session(Role.SERVER, ends[0]), layer.served, layer.x[0], server)


def test_a_share_of_another_shape_uses_nothing_up() -> None:
    spec = CONVS["1x1"].spec(1)
    material, ends = material_of(spec, bytes(SEED_BYTES)), channel_pair()
    good = np.zeros((1, *spec.geometry.in_shape), np.uint64)
    wrong: Any
    for wrong in (good[:, 1:], good.reshape(1, 20, 4, 9), good.astype(np.int64), good[:0]):
        with pytest.raises(ContractViolation, match="linear layer expects uint64"):
            online_client(bare_session(Role.CLIENT, ends[1]), spec, 4, wrong, material)
        layer = ServerLinear(
            spec, 4, SEED, np.zeros((8, 20, 1, 1), np.int32), np.zeros(8, np.int64)
        )
        kept = ServerMaterial(bytes(SEED_BYTES), {4})
        with pytest.raises(ContractViolation, match="linear layer expects uint64"):
            online_server(bare_session(Role.SERVER, ends[0]), layer, wrong, kept)
        assert kept.left == {4}
    assert material.left == {4}
    assert ends[1].meter.total.sent == 0


def test_material_of_another_size_is_refused() -> None:
    specs: Mapping[int, LinearSpec] = {4: CONVS["1x1"].spec(1), 6: CONVS["3x3"].spec(1)}
    whole = bytes(client_bytes(list(specs.values())))
    assert ClientMaterial.from_bytes(whole, specs).left == {4, 6}
    for data in (whole[1:], whole + b"0", b""):
        with pytest.raises(BadArtifact, match="prepared linear layers of"):
            ClientMaterial.from_bytes(data, specs)
    for data in (b"", bytes(SEED_BYTES - 1), bytes(SEED_BYTES + 1)):
        with pytest.raises(BadArtifact, match="seed of prepared linear layers has 32 bytes"):
            ServerMaterial.from_bytes(data, specs)


def test_material_does_not_show_its_secrets() -> None:
    material = material_of(CONVS["1x1"].spec(1), b"\xab" * SEED_BYTES)
    assert "xab" not in repr(material)
    assert "array" not in repr(material)
