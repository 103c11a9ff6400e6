"""What the linear layers refuse, each at the last value that is accepted and the first that is not;
and the bounds behind it, restated with the numbers of the documents.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import BadArtifact, BadPlan, ContractViolation, NetworkFailure
from moiety.protocols.linear import parameters
from moiety.protocols.linear.layout import Geometry, Layout
from moiety.protocols.linear.parameters import RlwePlan, check_parameters, is_prime, ntt_primes
from moiety.protocols.linear.placement import to_plane
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import ClientKey, Ring, ciphertext_a, phase_primes
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import LinearSpec, check_spec, residues_bytes
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role
from tests.support.convolutions import SEED, Conv, bare_session, replanned
from tests.support.two_party import channel_pair

CONV = Conv(3, (5, 5), 4, (3, 3), (1, 1, 1, 1))


# --- parameters -----------------------------------------------------------------------------------


def test_the_constants_are_those_of_the_documents() -> None:
    assert parameters.FAILURE_BITS == 64
    assert parameters.MAX_LOG2_Q == {2048: 53, 4096: 106, 8192: 214}
    assert (parameters.ERROR_PARAMETER, parameters.ERROR_VARIANCE) == (21, 10.5)
    assert (parameters.MAX_GUARD, parameters.MAX_WEIGHT_BITS, parameters.MAX_ANSWER_BITS) == (
        8,
        20,
        56,
    )


@pytest.mark.parametrize(
    "degree", [0, 1, 256, 512, 1024, 1536, 3000, 16384, 32768], ids="degree {}".format
)
def test_rings_outside_the_table_are_refused(degree: int) -> None:
    for refuse in (check_parameters, Ring.of):
        with pytest.raises(BadPlan, match="not supported"):
            refuse(degree, ntt_primes(17, 1, 2048))


def test_primes_outside_the_kernels_range_are_refused() -> None:
    composite = next(n for n in range(8193, 1 << 27, 4096) if not is_prime(n))
    half = next(n for n in range(2049 + (1 << 20), 1 << 27, 4096) if is_prime(n))
    for p in (composite, half, *ntt_primes(28, 1, 2048)):
        with pytest.raises(BadPlan, match="NTT prime"):
            check_parameters(2048, (p,))
    for p in (*ntt_primes(14, 1, 2048), *ntt_primes(27, 1, 2048)):
        check_parameters(2048, (p,))
    with pytest.raises(BadPlan, match="at least one"):
        check_parameters(2048, ())
    with pytest.raises(BadPlan, match="distinct"):
        check_parameters(2048, ntt_primes(20, 1, 2048) * 2)


def bound(spec: LinearSpec) -> tuple[float, float]:
    """Deviation of an answer's noise, and what none of the layer exceeds but with probability 2^-64
    (docs/protocols.md), out of 1; with the numbers themselves.
    """
    geometry, plan = spec.geometry, spec.rlwe
    terms = geometry.in_shape[0] // geometry.groups * geometry.kernel[0] * geometry.kernel[1]
    outputs = geometry.images * math.prod(geometry.out_shape)
    of_inputs = terms * 4.0 ** (spec.weight_bits - 1) * (plan.filters_per_answer * 10.5 + 0.5)
    of_zero = (2 * plan.degree + 1) * 10.5
    of_rounding = plan.degree / 12 / 4.0**plan.answer_bits
    deviation = math.sqrt((of_inputs + of_zero) / math.prod(plan.primes) ** 2 + of_rounding)
    tail = math.sqrt(2 * math.log(2) * (64 + 1 + math.log2(outputs)))
    return deviation, tail * deviation + (plan.degree + 1) * 8 * 2.0**-64


def decrypts(spec: LinearSpec) -> bool:
    """Whether noise of that bound leaves the result right."""
    deviation, worst = bound(spec)
    step = 2.0 ** -(spec.bits + spec.guard)
    if spec.guard < 0:
        return deviation <= step
    return worst < (2 ** (spec.guard - 1) - 0.5 if spec.guard else 1) * step


@pytest.mark.parametrize("guard", [-3, -1, 0, 1, 2, 5, 8])
def test_a_spec_is_accepted_exactly_while_it_decrypts(guard: int) -> None:
    """Plans for fewer bits of weights, images, or filters an answer, and fewer bits of answers,
    than a layer has: refused where the restated bound says so.
    """
    seen = set()
    for images, filters, bits, width in itertools.product(
        (1, 40), (1, 4), (22, 27, 34), range(1, 21, 2)
    ):
        for primes, degree in ((ntt_primes(26, 2), 2048), (ntt_primes(26, 3), 4096)):
            widest = min(56, math.floor(math.log2(math.prod(primes))))
            for answer_bits in (bits + guard + 8, 45, widest):
                plan = RlwePlan(
                    degree=degree,
                    primes=primes,
                    channels_per_ciphertext=1,
                    filters_per_answer=filters,
                    tile=(5, 5),
                    answer_bits=answer_bits,
                )
                geometry = replace(CONV.geometry, images=images)
                spec = LinearSpec(geometry, plan, bits, width, guard)
                try:
                    check_spec(spec)
                except BadPlan:
                    assert not decrypts(spec) or answer_bits <= bits + guard, spec
                    seen.add(False)
                else:
                    assert decrypts(spec), spec
                    seen.add(True)
    assert seen == {False, True}


@pytest.mark.parametrize("guard", [-3, 0, 1, 3, 8])
@pytest.mark.parametrize("images", [1, 30])
def test_planned_layers_decrypt_and_a_bit_less_would_not(images: int, guard: int) -> None:
    for conv in (CONV, Conv(200, (1, 1), 30), Conv(16, (8, 8), 16, (3, 3), (1,) * 4, groups=16)):
        for width in (3, 11, 17):
            spec = plan_linear(replace(conv.geometry, images=images), 24, width, guard)
            check_spec(spec)
            assert decrypts(spec)
            log_q = math.log2(math.prod(spec.rlwe.primes))
            noise = spec.layout.noise(width)
            found = [f(log_q, spec.rlwe.answer_bits) for f in (noise.deviation, noise.bound)]
            assert found == pytest.approx(bound(spec), rel=1e-10, abs=0)
            short = replanned(spec, answer_bits=spec.rlwe.answer_bits - 1)
            assert not decrypts(short) or spec.rlwe.answer_bits == 25 + guard
            with pytest.raises(BadPlan, match="answers need"):
                check_spec(short)


def test_widths_outside_their_range_are_refused() -> None:
    spec = CONV.spec(2, bits=20, weight_bits=4, degree=4096, primes=ntt_primes(26, 3))
    for change in (
        {"weight_bits": 0},
        {"weight_bits": 21},
        {"weight_bits": 64},
        {"guard": 9},
        {"guard": -19},
        {"guard": -40},
    ):
        with pytest.raises(BadPlan, match=r"weights of|guard bits on"):
            check_spec(replace(spec, **cast(Any, change)))
    check_spec(replace(spec, guard=8))
    check_spec(replace(spec, guard=-18))
    check_spec(replanned(spec, answer_bits=56))
    with pytest.raises(BadPlan, match="answers need"):
        check_spec(replanned(spec, answer_bits=57))
    for width in (0, 21):
        with pytest.raises(BadPlan, match="1 to 20"):
            plan_linear(CONV.geometry, 20, width, 2)


@pytest.mark.parametrize("degree", [2048, 8192])
@pytest.mark.parametrize("bits", [44, 45, 46, 47, 48, 49, 56])
def test_the_largest_phase_is_exact(bits: int, degree: int) -> None:
    """All of a at the end of its ring and all of the secret 1: `N * 2^(bits-1)` at the last
    coefficient.
    """
    ring = Ring.of(degree, ntt_primes(26, 1))
    ones = np.ones(degree, np.int8)
    key = ClientKey(ring, ones, ring.forward(ring.lift(ones)[:, None])[:, 0])
    for a in (-(1 << bits - 1), (1 << bits - 1) - 1):
        whole = np.full((1, degree), a % (1 << bits), np.uint64)
        got = key.phase_product(whole, bits)[0]
        for k in (0, degree // 2 - 1, degree - 1):
            assert int(got[k]) == (2 * (k + 1) - degree) * a % (1 << bits)
    with pytest.raises(ContractViolation, match="need more than 3 primes"):
        phase_primes(degree, 78)


# --- shapes ---------------------------------------------------------------------------------------

GOOD = Geometry((4, 6, 6), (8, 6, 6), (3, 3), (1, 1, 1, 1), (1, 1), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pads": (-1, 1, 1, 1), "out_shape": (8, 4, 6)}, "pads >= 0"),
        ({"pads": (1, 1, 1, -1), "out_shape": (8, 6, 4)}, "pads >= 0"),
        ({"kernel": (0, 3), "out_shape": (8, 9, 6)}, "kernel"),
        ({"kernel": (3, -1), "out_shape": (8, 6, 10)}, "kernel"),
        ({"dilations": (0, 1), "out_shape": (8, 8, 6)}, "dilations"),
        ({"dilations": (1, 0), "out_shape": (8, 6, 8)}, "dilations"),
        ({"groups": -2}, "groups"),
        ({"groups": 0}, "groups"),
        ({"groups": 8}, "groups"),
        ({"groups": 4, "out_shape": (6, 6, 6)}, "groups"),
        ({"images": 0}, "images"),
        ({"images": -1}, "images"),
        ({"out_shape": (8, 6, 5)}, "does not follow"),
        ({"out_shape": (8, 7, 6)}, "does not follow"),
        ({"in_shape": (4, 0, 6), "out_shape": (8, 0, 6)}, "does not follow"),
    ],
)
def test_impossible_geometries_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadPlan, match=message):
        replace(GOOD, **change)


def test_packings_that_do_not_fit_are_refused() -> None:
    size = Layout.unit(GOOD, (6, 6)).channel_size
    assert Layout(GOOD, 4 * 3 * size, 4, 3, (6, 6)).block == 4 * size
    for degree, cp, mp, tile in (
        (4 * 3 * size - 1, 4, 3, (6, 6)),
        (2048, 0, 1, (6, 6)),
        (2048, 1, 0, (6, 6)),
        (2048, 1, -1, (6, 6)),
        (2048, 1, 1, (0, 6)),
        (2048, 1, 1, (6, 0)),
    ):
        with pytest.raises(BadPlan, match=r"fit into degree|positive numbers"):
            Layout(GOOD, degree, cp, mp, tile)


def test_shares_of_another_shape_are_refused() -> None:
    geometry = replace(CONV.geometry, images=2)
    good = np.zeros((2, 3, 5, 5), np.uint64)
    assert to_plane(good, geometry).shape == geometry.flat.in_shape
    for x in (
        good[:1],
        good[0],
        good.reshape(2, 5, 3, 5),
        good.reshape(1, 2, 3, 25),
        np.concatenate([good, good]),
        cast(Any, good.astype(np.int64)),
        cast(Any, good.astype(np.uint32)),
    ):
        with pytest.raises(ContractViolation, match="expects uint64"):
            to_plane(x, geometry)


# --- the vendor's own files -----------------------------------------------------------------------


def test_weights_and_biases_of_other_sizes_are_refused() -> None:
    spec = CONV.spec(1, weight_bits=8)
    good, bias = np.zeros((4, 3, 3, 3), np.int32), np.zeros(4, np.int64)
    for end in (-128, 128):
        ServerLinear(spec, 0, SEED, good + end, bias)
    for beyond in (-129, 129, -(1 << 31), (1 << 31) - 1):
        weight = good.copy()
        weight[3, 2, 2, 2] = beyond
        with pytest.raises(BadArtifact, match="exceeds the 8 bits"):
            ServerLinear(spec, 0, SEED, weight, bias)
    for shape in ((3, 4, 3, 3), (4, 3, 9, 1), (4, 27), (5, 3, 3, 3)):
        with pytest.raises(BadArtifact, match="weights of linear layer 7 have shape"):
            ServerLinear(spec, 7, SEED, np.zeros(shape, np.int32), bias)
    for kind in ((4,), (4, 1, 1), (4, 5, 5)):
        ServerLinear(spec, 0, SEED, good, np.zeros(kind, np.int64))
    for other in ((5,), (1,), (4, 1), (4, 5, 1), (4, 25), (1, 5, 5), (4, 5, 5, 1)):
        with pytest.raises(BadArtifact, match="the bias of linear layer 7"):
            ServerLinear(spec, 7, SEED, good, np.zeros(other, np.int64))


def test_a_layer_of_a_plan_that_does_not_decrypt_is_not_made() -> None:
    spec = CONV.spec(1, weight_bits=8)
    weight, bias = np.zeros((4, 3, 3, 3), np.int32), np.zeros(4, np.int64)
    with pytest.raises(BadPlan, match="answers need"):
        ServerLinear(replanned(spec, answer_bits=spec.rlwe.answer_bits - 1), 0, SEED, weight, bias)


def test_hints_of_another_layer_are_refused() -> None:
    spec = CONV.spec(1, degree=4096, primes=ntt_primes(27, 3))
    layer = ServerLinear(spec, 9, SEED, np.ones((4, 3, 3, 3), np.int32), np.zeros(4, np.int64))
    good = np.zeros(layer.hint_shape, np.uint32)
    for i, p in enumerate(spec.rlwe.primes):
        hint = good.copy()
        hint[-1, i, -1, -1] = p - 1
        layer.load_hint(hint)
        hint[-1, i, -1, -1] = p
        with pytest.raises(BadArtifact, match="layer 9 is damaged"):
            layer.load_hint(hint)
    for other in (
        good[..., :2048],
        good[0],
        good.reshape(-1),
        good.swapaxes(1, 2),
        cast(Any, good.astype(np.int32)),
        cast(Any, good.astype(np.uint64)),
    ):
        with pytest.raises(BadArtifact, match="expected uint32"):
            layer.load_hint(other)


# --- a client's messages --------------------------------------------------------------------------


def packed(residues: list[int], p: int) -> U8:
    return kernels.pack(np.array(residues, np.uint64), p.bit_length())


@pytest.mark.parametrize("where", ["key", "upload"])
def test_residues_that_are_none_are_refused(where: str) -> None:
    """Each prime itself, at the last coefficient of the last polynomial modulo each prime; one less
    is taken.
    """
    spec = Conv(40, (1, 300), 3).spec(
        0,
        20,
        4,
        degree=2048,
        primes=ntt_primes(26, 2),
        channels_per_ciphertext=1,
        filters_per_answer=1,
        tile=(1, 300),
    )
    layer = ServerLinear(spec, 0, SEED, np.zeros((3, 40, 1, 1), np.int32), np.zeros(3, np.int64))
    layer.prepare()
    primes, x0 = spec.rlwe.primes, np.zeros((40, 1, 300), np.uint64)

    def serve(wrong: int, value: int) -> None:
        ends = channel_pair()
        for kind, count in (("key", 2048), ("upload", 40 * sum(spec.layout.sent))):
            for i, p in enumerate(primes):
                last = value if (kind, i) == (where, wrong) else p - 1
                ends[1].send(packed([*([0] * (count - 1)), last], p))
                assert len(packed([0] * count, p)) == residues_bytes(count, (p,))
        ends[1].flush()
        session = bare_session(Role.SERVER, ends[0])
        new_query_server(session, [spec], SEED)
        linear_server(session, layer, x0)

    for i, p in enumerate(primes):
        serve(i, p - 1)
        for value in (p, (1 << p.bit_length()) - 1):
            with pytest.raises(NetworkFailure, match="residues out of range"):
                serve(i, value)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 32])
def test_public_seeds_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(ContractViolation, match="16 bytes"):
        ciphertext_a(Ring.of(2048, ntt_primes(26, 1)), bytes(length), 0, 0, 1)


# --- biases whose low bits are left behind --------------------------------------------------------


def test_biases_are_rounded_for_every_output_anew() -> None:
    """Up as often as their fraction says, of either sign, in every filter; no output's rounding has
    to do with its neighbour's, another filter's, image's or run's.
    """
    bits, guard, rows = 20, -4, 96
    conv = Conv(1, (rows, rows), 6)
    spec = conv.spec(guard, bits, 2)
    bias = np.array([5, -5, 8, 24, -16, 1 << 40 | 3])
    layer = ServerLinear(spec, 0, SEED, np.zeros((6, 1, 1, 1), np.int32), bias)
    prg, shares = Prg.from_os(), np.zeros((2, *conv.out_shape), np.uint64)
    width = spec.result_bits
    runs = np.stack([layer.add_bias(shares, prg) for _ in range(2)]).astype(np.int64)
    assert runs.max() < 1 << width
    floors = (bias >> 4).reshape(-1, 1, 1)
    up = (runs - floors) % (1 << width)
    assert set(np.unique(up)) == {0, 1}
    fraction = (bias % 16 / 16).reshape(-1, 1, 1)
    assert not up[..., 4, :, :].any()
    apart = (up - fraction)[..., [0, 1, 2, 3, 5], :, :]
    spread = np.sqrt(fraction * (1 - fraction))[[0, 1, 2, 3, 5]]
    unit = apart / spread
    size = rows * rows
    assert np.abs(unit.mean(axis=(-2, -1))).max() < 7 / math.sqrt(size)
    flat = unit.reshape(-1, size)
    like = flat @ flat.T / size
    np.fill_diagonal(like, 0)
    assert np.abs(like).max() < 7 / math.sqrt(size)
    for step in (1, 2, rows):
        assert abs((flat[:, step:] * flat[:, :-step]).mean()) < 7 / math.sqrt(flat.size)
