"""Guard bits: whatever a linear layer's noise is within its budget, it ends below the integer, and
the exact truncation that follows gives the floor of the true result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U32, U64
from moiety.protocols.compare.truncate import truncate_exact
from moiety.protocols.linear import client as client_side
from moiety.protocols.linear.client import rounded_phase
from moiety.protocols.linear.parameters import MAX_GUARD, noise_budget, ntt_primes
from moiety.protocols.linear.placement import add_messages
from moiety.protocols.linear.rlwe import Ring
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec, check_spec
from moiety.protocols.prg import Prg
from tests.support.convolutions import (
    SEED,
    Conv,
    Party,
    both,
    check_deviation,
    convolve,
    deviation,
    layer_parties,
    replanned,
)
from tests.support.two_party import run_two_party, share

CONV = Conv(9, (5, 4), 6, (3, 3), (1, 1, 1, 1))
GUARDS = (1, 2, 4, MAX_GUARD)


def prepared(spec: LinearSpec, weight: np.ndarray, bias: I64) -> ServerLinear:
    layer = ServerLinear(spec, 4, SEED, weight.astype(np.int32), bias)
    layer.prepare()
    return layer


# --- the rounding of both parties, every case of a small ring -------------------------------------


def deviations(bits: int, guard: int, noises: range) -> Iterator[I64]:
    """Of every message of `Z_{2^bits}`, every phase of the client's and every noise, which is in
    units of 2^-3 of the result's ring: by the server's rounding of b, and the client's of a*s.
    """
    spec = replanned(CONV.spec(guard, bits=bits, weight_bits=2), answer_bits=bits + guard + 3)
    width = spec.result_bits + 3
    phases = np.arange(1 << width, dtype=np.uint64)
    for x in range(1 << bits):
        for noise in noises:
            apart = ((x << guard + 3) + noise) % (1 << width)
            b = ring.reduce(phases + np.uint64(apart), width)
            rounded = (b + np.uint64(4)) >> np.uint64(3)
            mine = rounded_phase(spec, (rounded << np.uint64(3)) - phases)
            yield deviation(spec, (np.zeros_like(mine), mine), np.full_like(mine, x))


@pytest.mark.parametrize("guard", [0, 1, 2, 3])
def test_every_noise_within_the_budget_ends_in_the_guard_bits(guard: int) -> None:
    budget = math.ceil(noise_budget(guard) * 8)
    spec = CONV.spec(guard, bits=3, weight_bits=2)
    for found in deviations(3, guard, range(1 - budget, budget)):
        check_deviation(spec, found)


@pytest.mark.parametrize("guard", [1, 2, 3])
def test_the_budget_is_not_idle(guard: int) -> None:
    """With noise of one sixteenth of a step more, some result is wrong, in both directions."""
    beyond = math.ceil(noise_budget(guard) * 8) + 1
    assert max(f.max() for f in deviations(3, guard, range(beyond, beyond + 1))) == 1 << guard
    assert min(f.min() for f in deviations(3, guard, range(-beyond - 3, -beyond - 2))) == -1


@pytest.mark.parametrize("guard", [-3, -2, -1, 0])
def test_what_is_left_behind_is_rounded_without_bias(guard: int) -> None:
    """On average over all phases the parties' roundings together neither add nor take, but for half
    of the last place that the phases here have, at each.
    """
    bits = 5
    found = np.stack(list(deviations(bits, guard, range(1)))).astype(float)
    dropped = np.arange(1 << bits) % (1 << -guard) / (1 << -guard)
    mean = found.mean(axis=1) - dropped
    assert np.abs(mean).max() <= 1 / 8


# --- two parties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("bits", [8, 28, 40])
def test_extreme_values_at_the_planned_parameters(bits: int, guard: int) -> None:
    """Both ends of the ring, both signs of the largest weights, sums that wrap many times."""
    spec = CONV.spec(guard, bits, weight_bits=10)
    check_spec(spec)
    weight = np.full((6, 9, 3, 3), 1 << 9)
    weight[1::2] *= -1
    weight[2, ::2] *= -1
    bias = np.array([0, -1, 1 << 62, -(1 << 62), (1 << bits - 1) - 1, -(1 << bits - 1)])
    layer = prepared(spec, weight, bias)
    half = 1 << bits - 1
    ends = np.array([0, 1, half - 1, half, half + 1, 2 * half - 1], np.uint64)
    for seed in range(2):
        rng = np.random.default_rng(seed)
        x = rng.choice(ends, CONV.in_shape)
        x0 = x if seed else rng.choice(ends, CONV.in_shape)
        x1 = ring.reduce(x - x0, bits)
        y0, y1, _ = both(*layer_parties(layer, x0, x1))
        expected = convolve(x, weight.astype(np.int32), CONV) + bias.view(np.uint64).reshape(
            -1, 1, 1
        )
        check_deviation(spec, deviation(spec, (y0, y1), expected))


@pytest.mark.parametrize(("guard", "shift"), [(1, 0), (1, 7), (3, 1), (4, 12)])
def test_the_truncation_that_follows_is_exact(guard: int, shift: int) -> None:
    bits = 20
    spec = CONV.spec(guard, bits, weight_bits=10)
    rng = np.random.default_rng(shift)
    weight = rng.integers(-512, 513, (6, 9, 3, 3)).astype(np.int32)
    bias = rng.integers(-(1 << 18), 1 << 18, 6)
    x = rng.integers(0, 1 << bits, CONV.in_shape, np.uint64)
    serve, ask = layer_parties(prepared(spec, weight, bias), *share(x, bits, rng))

    def truncated(layer: Party) -> Party:
        return lambda session: truncate_exact(
            session, layer(session), spec.result_bits, shift + guard
        )

    run = run_two_party(truncated(serve), truncated(ask))
    exact = ring.reduce(convolve(x, weight, CONV) + bias.view(np.uint64).reshape(-1, 1, 1), bits)
    floor = ring.reduce(
        (ring.to_signed(exact, bits) >> np.int64(shift)).view(np.uint64), bits - shift
    )
    assert np.array_equal(ring.reduce(run.server + run.client, bits - shift), floor)


# --- a client whose noise is extreme --------------------------------------------------------------

IDENTITY = Conv(1, (6, 6), 1)


def with_noise(monkeypatch: pytest.MonkeyPatch, noise: int) -> None:
    """The client adds this to every coefficient that it encrypts, out of q."""

    def noisy(ring_q: Ring, b: U32, messages: U64, bits: int, prg: Prg) -> None:
        add_messages(ring_q, b, messages, bits, prg)
        p = ring_q.p.astype(np.int64)[:, None, None]
        b[:] = (b.astype(np.int64) + noise) % p

    monkeypatch.setattr(client_side, "add_messages", noisy)


@pytest.mark.parametrize("guard", GUARDS)
def test_noise_at_the_edge_of_the_budget(monkeypatch: pytest.MonkeyPatch, guard: int) -> None:
    """The weight is 1, so that the client's noise is the answer's: as much as the fit allows, of
    either sign, does no harm, and a bit more than the whole budget does.
    """
    bits = 12
    spec = IDENTITY.spec(
        guard, bits, weight_bits=2, degree=2048, primes=ntt_primes(26, 2), answer_bits=50
    )
    log_q = math.log2(math.prod(spec.rlwe.primes))
    rest = spec.layout.noise(2).bound(log_q, 50)
    budget = noise_budget(guard) / 2.0**spec.result_bits
    assert rest < budget / 8
    layer = prepared(spec, np.ones((1, 1, 1, 1)), np.zeros(1, np.int64))
    x = np.random.default_rng(guard).integers(0, 1 << bits, IDENTITY.in_shape, np.uint64)
    shares = share(x, bits, np.random.default_rng(0))
    for sign in (-1, 1):
        with_noise(monkeypatch, sign * math.floor((budget - rest) * 2.0**log_q))
        y0, y1, _ = both(*layer_parties(layer, *shares))
        check_deviation(spec, deviation(spec, (y0, y1), x))
        # Beyond the budget by a step, and by what both parties' roundings may give back.
        with_noise(
            monkeypatch, sign * math.ceil((budget + 3 * 2.0**-spec.result_bits) * 2.0**log_q)
        )
        y0, y1, _ = both(*layer_parties(layer, *shares))
        found = deviation(spec, (y0, y1), x)
        assert ((found < 0) if sign < 0 else (found >= 1 << guard)).all()
