"""Homomorphic linear layers: two parties against an integer convolution, the
planner, and what must be refused.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.arrays import U64
from moiety.protocols.errors import BadArtifact, BadPlan, ContractViolation, NetworkFailure
from moiety.protocols.linear import rlwe
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import Geometry, Layout, Window
from moiety.protocols.linear.parameters import MAX_LOG2_Q, ntt_primes
from moiety.protocols.linear.placement import (
    add_messages,
    block_positions,
    byte_chunks,
    chunks,
    pack_tile,
    pack_weights,
    place,
)
from moiety.protocols.linear.product import Monomials, correlate
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import (
    LinearSpec,
    check_spec,
    download_bytes,
    query_bytes,
    upload_bytes,
)
from moiety.protocols.prg import Prg
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
    layer_parties,
    replanned,
)
from tests.support.two_party import channel_pair, share


def run_layer(
    spec: LinearSpec, conv: Conv, weight: np.ndarray, x: U64, bias: np.ndarray
) -> np.ndarray:
    """The result's deviation from the integer convolution above its guard bits; checks the declared
    traffic.
    """
    x0, x1 = share(x, spec.bits, np.random.default_rng(0))
    layer = ServerLinear(spec, 5, SEED, weight, bias)
    layer.prepare()
    y0, y1, (channel, _) = both(*layer_parties(layer, x0, x1))
    assert channel.meter.total.received == query_bytes([spec]) + upload_bytes(spec)
    assert channel.meter.total.sent == download_bytes(spec)
    assert channel.meter.total.flights == 2
    mask = np.uint64(2**spec.result_bits - 1)
    assert y0.shape == y1.shape == conv.out_shape
    assert (y0 <= mask).all()
    assert (y1 <= mask).all()
    added = bias.reshape(-1, 1, 1) if bias.ndim == 1 else bias
    expected = convolve(x, weight, conv) + added.view(np.uint64)
    return deviation(spec, (y0, y1), expected)


def check_layer(spec: LinearSpec, conv: Conv, weight: np.ndarray | None = None) -> None:
    rng = np.random.default_rng(conv.channels * 1000 + conv.filters)
    limit = 2 ** (spec.weight_bits - 1)
    if weight is None:
        weight = rng.integers(
            -limit, limit + 1, (conv.filters, conv.channels // conv.groups, *conv.kernel)
        )
    x = rng.integers(0, 2**spec.bits, conv.in_shape, np.uint64)
    bias = rng.integers(
        -(2**40), 2**40, [(conv.filters,), (conv.filters, 1, 1), conv.out_shape][conv.filters % 3]
    )
    check_deviation(spec, run_layer(spec, conv, weight.astype(np.int32), x, bias))


GRID = {
    "1x1": Conv(20, (6, 6), 8),
    "1x1 many tiles": Conv(3, (75, 75), 2),
    "1x1 padded": Conv(3, (5, 4), 3, pads=(1, 0, 0, 2)),
    "3x3": Conv(5, (9, 8), 7, (3, 3), (1, 1, 1, 1)),
    "3x3 valid": Conv(2, (9, 8), 3, (3, 3)),
    "3x3 tiles": Conv(2, (70, 66), 3, (3, 3), (1, 1, 1, 1)),
    "4x4 asymmetric": Conv(12, (20, 20), 8, (4, 4), (2, 2, 1, 1)),
    "3x2 lopsided": Conv(4, (7, 9), 5, (3, 2), (0, 3, 2, 1)),
    "7x7": Conv(3, (16, 17), 4, (7, 7), (3, 3, 3, 3)),
    "dilated": Conv(6, (8, 8), 5, (3, 3), (2, 2, 2, 2), (2, 2)),
    "dilated unevenly": Conv(3, (11, 12), 4, (2, 3), (1, 0, 2, 3), (3, 2)),
    "groups": Conv(12, (7, 7), 6, (3, 3), (1, 1, 1, 1), groups=3),
    "grouped 1x1": Conv(8, (5, 5), 16, groups=4),
    "depthwise": Conv(10, (7, 7), 10, (3, 3), (1, 1, 1, 1), groups=10),
    "depthwise multiplier": Conv(6, (9, 9), 12, (3, 3), (1, 1, 1, 1), groups=6),
    "fully connected": Conv(300, (1, 1), 11),
    "one pixel 3x3": Conv(4, (1, 1), 4, (3, 3), (1, 1, 1, 1)),
    "one of each": Conv(1, (1, 1), 1),
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", GRID)
def test_two_parties_convolve(name: str, guard: int) -> None:
    conv = GRID[name]
    check_layer(conv.spec(guard), conv)


PACKINGS = {
    "one by one": (Conv(5, (9, 8), 7, (3, 3), (1, 1, 1, 1)), 1, 1, (9, 8)),
    "full polynomial": (
        Conv(9, (7, 7), 8, (3, 3), (1, 1, 1, 1)),
        4,
        8,
        (7, 7),
    ),  # 4 * 8 * 64 = N: wraps with a sign
    "full, one filter": (Conv(40, (7, 7), 3, (3, 3), (1, 1, 1, 1)), 32, 1, (7, 7)),
    "full, one channel": (Conv(3, (7, 7), 33, (3, 3), (1, 1, 1, 1)), 1, 32, (7, 7)),
    "tiles both ways": (Conv(3, (13, 11), 5, (3, 3), (1, 1, 1, 1)), 2, 3, (5, 4)),
    "tiles of rows": (Conv(3, (13, 11), 5, (4, 4), (2, 2, 1, 1)), 2, 3, (6, 11)),
    "tiles of columns": (Conv(3, (13, 11), 5, (4, 4), (1, 1, 2, 2)), 2, 3, (13, 4)),
    "tile larger than the image": (Conv(3, (5, 6), 5, (3, 3), (1, 1, 1, 1)), 3, 2, (9, 7)),
    "1x1 chunks": (Conv(7, (10, 10), 6), 4, 5, (1, 27)),
    "1x1 exactly full": (Conv(9, (8, 8), 6), 8, 4, (1, 64)),
    "bundled depthwise": (Conv(12, (6, 6), 12, (3, 3), (1, 1, 1, 1), groups=12), 3, 4, (6, 6)),
    "groups apart": (Conv(12, (6, 6), 12, (3, 3), (1, 1, 1, 1), groups=3), 2, 3, (6, 6)),
    "groups astride": (Conv(12, (6, 6), 12, (3, 3), (1, 1, 1, 1), groups=3), 5, 7, (6, 6)),
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", PACKINGS)
def test_any_packing_that_fits_is_correct(name: str, guard: int) -> None:
    conv, cp, mp, tile = PACKINGS[name]
    degree, primes = (2048, ntt_primes(26, 2)) if guard < 2 else (4096, ntt_primes(26, 4))
    spec = conv.spec(guard, bits=24, weight_bits=6)
    spec = replanned(
        spec,
        degree=degree,
        primes=primes,
        channels_per_ciphertext=cp,
        filters_per_answer=mp,
        tile=tile,
        answer_bits=40,
    )
    check_layer(spec, conv)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("bits", [5, 28, 34, 41])
def test_rings_and_extreme_weights(guard: int, bits: int) -> None:
    conv = Conv(16, (6, 6), 5, (3, 3), (1, 1, 1, 1))
    weight_bits = 13
    spec = conv.spec(guard, bits, weight_bits)
    assert math.prod(spec.rlwe.primes) < 1 << MAX_LOG2_Q[spec.rlwe.degree]
    weight = np.full((5, 16, 3, 3), 2 ** (weight_bits - 1))
    weight[1] *= -1
    weight[2, ::2] *= -1
    weight[3] = 0
    check_layer(spec, conv, weight)


@pytest.mark.parametrize("filters_per_answer", [1, 5])
def test_noise_keeps_to_its_budget_and_uses_it(filters_per_answer: int) -> None:
    """Noise of unmasked answers under the worst weights, measured exactly: below the bound, its
    deviation near the declared one.
    """
    bits, weight_bits, prg = 20, 13, Prg(SEED)
    conv = Conv(24, (6, 6), 5, (3, 3), (1, 1, 1, 1))
    spec = conv.spec(0, bits, weight_bits, degree=4096, primes=ntt_primes(26, 4))
    spec = replanned(
        spec, filters_per_answer=filters_per_answer, channels_per_ciphertext=7, tile=(6, 6)
    )
    layout, ring = spec.layout, rlwe.Ring.of(spec.rlwe.degree, spec.rlwe.primes)
    weight = np.full((5, 24, 3, 3), 2 ** (weight_bits - 1), np.int32)
    layer = ServerLinear(spec, 0, SEED, weight, np.zeros(5, np.int64))
    layer.prepare()
    key = rlwe.ClientKey.generate(ring, prg)
    pa_hat = rlwe.public_key_a(ring, SEED)
    server_key = rlwe.ServerKey(ring, pa_hat, ring.forward(key.mask(pa_hat[:, None], prg))[:, 0])

    x = np.random.default_rng(0).integers(0, 2**bits, conv.in_shape, np.uint64)
    shares = share(x, bits, np.random.default_rng(1))
    window = layout.windows[0]
    b = key.mask(rlwe.ciphertext_a(ring, SEED, 0, 0, layout.ciphertexts_per_tile), prg)
    for part in shares:
        add_messages(ring, b, pack_tile(layout, part, window), bits, prg)
    zero_a, zero_b = server_key.zeros(layout.answers, prg)
    phase = ring.add(
        zero_b, ring.p[:, None, None] - ring.times(ring.add(layer.hint_array()[0], zero_a), key.hat)
    )
    phase = phase[..., block_positions(layout, window)].reshape(4, -1, 36)[:, :5]
    phase = ring.add(np.ascontiguousarray(phase), layer.convolve(b, window))

    q = math.prod(spec.rlwe.primes)
    basis = [q // p * pow(q // p, -1, p) for p in spec.rlwe.primes]
    message = (convolve(x, weight, conv) & np.uint64(2**bits - 1)).reshape(-1).tolist()
    noise = []
    for residues, m in zip(phase.reshape(4, -1).T.tolist(), message, strict=True):
        value = sum(r * c for r, c in zip(residues, basis, strict=True))
        noise.append(((value - (q * m >> bits) + q // 2) % q) - q // 2)
    declared = spec.layout.flat.noise(spec.rlwe.degree, weight_bits, filters_per_answer)
    assert max(map(abs, noise)) < declared.bound(math.log2(q), 64) * q
    # Neighbouring outputs share most of their inputs, hence the wide margins.
    assert 0.2 < np.std(noise) / math.sqrt(declared.variance) < 2


def test_stochastic_error_is_small_and_unbiased() -> None:
    conv = Conv(4, (32, 32), 4)
    rng = np.random.default_rng(2)
    spec = conv.spec(0)
    weight = rng.integers(-512, 512, (4, 4, 1, 1)).astype(np.int32)
    error = run_layer(
        spec, conv, weight, rng.integers(0, 2**28, conv.in_shape, np.uint64), np.zeros(4, np.int64)
    )
    assert set(np.unique(error)) == {-1, 0, 1}
    assert abs(error.mean()) < 0.05


def test_several_layers_and_images_in_one_session() -> None:
    convs = [Conv(4, (6, 6), 4, (3, 3), (1, 1, 1, 1)), Conv(4, (6, 6), 4), Conv(4, (6, 6), 4)]
    specs = [conv.spec(guard) for conv, guard in zip(convs, (1, 0, 2), strict=True)]
    rng = np.random.default_rng(3)
    weights = [rng.integers(-512, 512, (4, 4, *c.kernel)).astype(np.int32) for c in convs]
    layers = [
        ServerLinear(s, i, SEED, w, np.zeros(4, np.int64))
        for i, (s, w) in enumerate(zip(specs, weights, strict=True))
    ]
    for layer in layers:
        layer.prepare()
    images = [share(rng.integers(0, 2**28, (4, 6, 6), np.uint64), 28, rng) for _ in range(2)]

    def server(session: Session) -> list[list[U64]]:
        out = []
        for x0, _ in images:
            new_query_server(session, specs, SEED)
            out.append([linear_server(session, layer, x0) for layer in layers])
        return out

    def client(session: Session) -> list[list[U64]]:
        out = []
        for _, x1 in images:
            new_query_client(session, specs, SEED)
            out.append([linear_client(session, spec, i, SEED, x1) for i, spec in enumerate(specs)])
        return out

    y0, y1, _ = both(server, client)
    for i, (x0, x1) in enumerate(images):
        for k, (conv, weight) in enumerate(zip(convs, weights, strict=True)):
            expected = convolve(x0 + x1, weight, conv)
            check_deviation(specs[k], deviation(specs[k], (y0[i][k], y1[i][k]), expected))


def test_a_key_never_serves_a_layer_twice() -> None:
    conv = Conv(2, (4, 4), 2)
    spec = conv.spec(0)
    session = bare_session(Role.CLIENT, channel_pair()[1])
    x = np.zeros(conv.in_shape, np.uint64)
    with pytest.raises(ContractViolation, match="new_query"):
        linear_client(session, spec, 0, SEED, x)
    new_query_client(session, [spec], SEED)
    first = session.secret_keys.of(spec.rlwe.degree, spec.rlwe.primes)
    first.claim(0)
    with pytest.raises(ContractViolation, match="already encrypted for layer 0"):
        linear_client(session, spec, 0, SEED, x)
    new_query_client(session, [spec], SEED)
    second = session.secret_keys.of(spec.rlwe.degree, spec.rlwe.primes)
    assert not np.array_equal(first.secret, second.secret)
    second.claim(0)


def test_the_hint_can_be_kept() -> None:
    conv = Conv(3, (5, 5), 4, (3, 3), (1, 1, 1, 1))
    spec = conv.spec(2)
    weight = np.ones((4, 3, 3, 3), np.int32)
    layer, other = (ServerLinear(spec, 0, SEED, weight, np.zeros(4, np.int64)) for _ in range(2))
    with pytest.raises(ContractViolation, match="prepare"):
        other.hint_array()
    layer.prepare()
    other.load_hint(layer.hint_array())
    assert other.hint_array() is layer.hint_array()
    assert layer.hint_array().shape == layer.hint_shape
    with pytest.raises(BadArtifact, match="expected uint32"):
        other.load_hint(layer.hint_array()[..., :100])
    with pytest.raises(BadArtifact, match="damaged"):
        other.load_hint(np.full(layer.hint_shape, 2**32 - 1, np.uint32))


def test_weights_that_break_the_program_are_refused() -> None:
    conv = Conv(3, (5, 5), 4, (3, 3), (1, 1, 1, 1))
    spec = conv.spec(2, weight_bits=8)
    good, bias = np.zeros((4, 3, 3, 3), np.int32), np.zeros(4, np.int64)
    ServerLinear(spec, 0, SEED, good + 128, bias)
    with pytest.raises(BadArtifact, match="exceeds the 8 bits"):
        ServerLinear(spec, 0, SEED, good - 129, bias)
    with pytest.raises(BadArtifact, match="have shape"):
        ServerLinear(spec, 0, SEED, good[:3], bias)
    with pytest.raises(BadArtifact, match="bias"):
        ServerLinear(spec, 0, SEED, good, bias[:3])


def test_unsafe_specs_are_refused() -> None:
    spec = Conv(3, (5, 5), 4, (3, 3), (1, 1, 1, 1)).spec(2)
    check_spec(spec)
    for change, message in (
        ({"answer_bits": spec.rlwe.answer_bits - 1}, "answers need"),
        ({"answer_bits": 64}, "answers need"),
        ({"primes": ntt_primes(27, 3), "degree": 2048}, "128-bit security"),
        ({"primes": spec.rlwe.primes[:1]}, "does not fit into q"),
        ({"channels_per_ciphertext": 100}, "do not fit into degree"),
    ):
        with pytest.raises(BadPlan, match=message):
            check_spec(replanned(spec, **cast(Any, change)))
    with pytest.raises(BadPlan, match="weights of 30 bits"):
        check_spec(replace(spec, weight_bits=30))
    for geometry, message in (
        ({"out_shape": (4, 5, 6)}, "does not follow"),
        ({"groups": 2}, "groups"),
    ):
        with pytest.raises(BadPlan, match=message):
            check_spec(replace(spec, geometry=replace(spec.geometry, **cast(Any, geometry))))
    with pytest.raises(BadPlan, match="use fewer bits"):
        Conv(3, (5, 5), 4).spec(2, bits=60, weight_bits=20)


@pytest.mark.parametrize("guard", [-27, -5000, 9, 5000])
def test_absurd_guards_are_refused(guard: int) -> None:
    with pytest.raises(BadPlan, match="guard bits"):
        check_spec(replace(GRID["3x3"].spec(2), guard=guard))


def test_garbage_ciphertexts_are_refused() -> None:
    spec = Conv(2, (4, 4), 2).spec(0)
    ends = channel_pair()
    ends[1].send(bytes([255]) * query_bytes([spec]))
    with pytest.raises(NetworkFailure, match="out of range"):
        new_query_server(bare_session(Role.SERVER, ends[0]), [spec], SEED)


# --- planner and layout ---------------------------------------------------------------------------


def test_plans_of_a_deep_network_are_cheap() -> None:
    """DenseNet-121's shapes; the figures are what this planner
    reaches, so that a regression shows.
    """
    convs = [Conv(12, (112, 112), 64, (4, 4), (2, 2, 1, 1)), Conv(1024, (1, 1), 8)]
    channels = 64
    for repeats, size in ((6, 56), (12, 28), (24, 14), (16, 7)):
        for _ in range(repeats):
            convs += [
                Conv(channels, (size, size), 128),
                Conv(128, (size, size), 32, (3, 3), (1, 1, 1, 1)),
            ]
            channels += 32
        if size > 7:
            convs.append(Conv(channels, (size // 2, size // 2), channels // 2))
            channels //= 2
    limits = {-10: 141e6, 0: 208e6, 1: 218e6, 2: 215e6}
    for guard, limit in limits.items():
        specs = [conv.spec(guard, 28, 11) for conv in convs]
        assert sum(map(upload_bytes, specs)) + sum(map(download_bytes, specs)) < limit
        for spec in specs:
            check_spec(spec)


def test_depthwise_work_is_linear_in_the_groups() -> None:
    conv = Conv(256, (14, 14), 256, (3, 3), (1, 1, 1, 1), groups=256)
    layout = conv.spec(0).layout
    weights = layout.bundles * layout.answers * layout.mp * layout.ciphertexts * layout.cp
    assert weights <= 16 * 256


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 6),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.data(),
)
def test_plaintext_layout_computes_the_convolution(
    channels: int,
    height: int,
    width: int,
    filters: int,
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    data: st.DataObject,
) -> None:
    """The packed polynomials times the packed weights give the convolution for every geometry, tile
    and packing, without encryption.
    """
    conv = Conv(channels, (height, width), filters, kernel, pads, dilations)
    if min(conv.out_shape) < 1:
        return
    rows, columns = conv.out_shape[1:]
    tile = (data.draw(st.integers(1, rows)), data.draw(st.integers(1, columns)))
    if kernel == (1, 1) and not any(pads):
        tile = (1, data.draw(st.integers(1, rows * columns)))
    cp, mp = data.draw(st.integers(1, channels)), data.draw(st.integers(1, filters))
    # The smallest degree that fits, rather than a power of two: everything wraps that can.
    size = Layout.unit(conv.geometry, tile).channel_size
    spec = replanned(
        replace(Conv(1, (1, 1), 1).spec(0, bits=20), geometry=conv.geometry),
        degree=cp * mp * size,
        channels_per_ciphertext=cp,
        filters_per_answer=mp,
        tile=tile,
    )
    check_plain(spec, conv)


def check_plain(spec: LinearSpec, conv: Conv) -> None:
    rng = np.random.default_rng(0)
    layout = spec.layout
    prime = spec.rlwe.primes[0]
    weight = rng.integers(-100, 100, (conv.filters, conv.channels, *conv.kernel)).astype(np.int32)
    layer = ServerLinear.__new__(ServerLinear)
    layer.spec, layer._weights = spec, pack_weights(layout, weight)
    x = rng.integers(0, 50, conv.in_shape, np.uint64)
    out = np.empty(layout.flat.out_shape, np.uint64)
    for window in layout.windows:
        polynomials = np.zeros(
            (len(spec.rlwe.primes), layout.ciphertexts_per_tile, spec.rlwe.degree), np.uint32
        )
        polynomials[:, :, : layout.block] = pack_tile(
            layout, x.reshape(layout.flat.in_shape), window
        )
        head, tail = layout.sent
        # What is not sent is not read.
        polynomials[:, :, head : spec.rlwe.degree - tail] = prime // 2
        result = layer.convolve(polynomials, window)[0]
        place(out, window, result.astype(np.uint64))
    expected = convolve(x, weight, conv).view(np.int64) % prime
    assert np.array_equal(out.reshape(conv.out_shape).astype(np.int64), expected)


def test_windows_cover_the_output_once() -> None:
    layout = Layout(
        Geometry((2, 13, 11), (3, 13, 11), (3, 3), (1, 1, 1, 1), (1, 1), 1),
        4096,
        1,
        1,
        (5, 4),
    )
    seen = np.zeros((13, 11), int)
    for window in layout.windows:
        seen[window.y0 : window.y1, window.x0 : window.x1] += 1
    assert (seen == 1).all()
    assert sum(w.pixels for w in layout.windows) == 13 * 11
    assert layout.windows[-1] == Window(10, 13, 8, 11, (10, 11, 12))


@pytest.mark.parametrize("weight_bits", [4, 16, 20])
def test_correlate_stays_exact_when_sums_outgrow_float64(weight_bits: int) -> None:
    rng = np.random.default_rng(weight_bits)
    prime, degree, channels = ntt_primes(27, 1)[0], 512, 256
    # Odd, so that sums beyond 2^53 lose their last bit.
    x = np.full((1, 2, degree), prime - 2, np.uint32)
    weight = np.full((1, 1, 2, 3, 2 * channels), 2 ** (weight_bits - 1) - 1, np.int32)
    weight[..., 0] = rng.integers(-5, 5, 3)
    monomials = Monomials(stride=1, taps=(0, 1), shifts=[[0]], length=100)
    got = correlate(x, weight, monomials, prime=prime, weight_bits=weight_bits)
    # No wrap: coefficients up to 99 + 255 + 1 are below N.
    total = weight[0, 0].astype(object).sum(axis=(0, 2)) * (prime - 2)
    assert got.shape == (1, 3, 1, 100)
    for answer in range(3):
        assert (got[0, answer, 0] == int(total[answer]) % prime).all()


@pytest.mark.parametrize("guard", GUARDS)
def test_reference_kernels_give_the_same_result(guard: int) -> None:
    before = kernels.backend_name()
    kernels.set_backend("reference")
    try:
        conv = Conv(5, (6, 5), 4, (3, 3), (1, 1, 1, 1))
        check_layer(conv.spec(guard), conv)
    finally:
        kernels.set_backend(before)


@given(st.integers(1, 400), st.sampled_from([2048, 4096, 8192]))
def test_pieces_of_polynomials(count: int, degree: int) -> None:
    for cut, grain in ((chunks, 1), (byte_chunks, 8)):
        made = cut(count, degree)
        assert [i for part in made for i in range(part.start, part.stop)] == list(range(count))
        assert all(part.start % grain == 0 for part in made)
        enough = count * degree >= 1 << 14 and count > grain
        assert (len(made) > 1) == enough
