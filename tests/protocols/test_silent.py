"""Silent VOLE: the correlation over many iterations, declared bytes and flights, wire digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels.reference import silent as reference
from moiety.protocols.ot import lpn
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import LpnParameters, Pool
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.transfers import TransferReceiver, TransferSender
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from tests.support.two_party import channel_pair, run_both, run_two_party

BASELINES = Path(__file__).parent / "baselines" / "silent.json"

# Far too small to be secure, small enough to be quick: 400 correlations make 1280, of which 880 are
# released.
TINY = LpnParameters(seeds=160, trees=40, depth=5)
SHALLOW = LpnParameters(seeds=37, trees=101, depth=2)
DEMANDS = ((100, 4), (1, 1), (900, 2), (1, 4), (5000, 3), (64, 4), (3, 2), (1100, 1))


def noise(seed: int, *shape: int) -> U8:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def hash_keys() -> HashKeys:
    """As both parties have them."""
    return HashKeys(np.arange(16, dtype=np.uint8))


Demands = tuple[tuple[int, int], ...]


def endpoints(
    parameters: LpnParameters, batch: int, use: Callable[[Any], Any]
) -> tuple[Callable[[Session], Any], Callable[[Session], Any]]:
    """(server, client): silent generators, server to client, bootstrapped by
    the session's SoftSpoken ones.
    """

    def softspoken(transfers: Any) -> Any:
        return transfers._vole.softspoken

    def server(session: Session) -> Any:
        with session.channel.meter.labelled("case"):
            return use(
                SilentSender(
                    session.channel,
                    softspoken(session.sender),
                    session.prg,
                    hash_keys(),
                    parameters,
                    batch,
                )
            )

    def client(session: Session) -> Any:
        with session.channel.meter.labelled("case"):
            return use(
                SilentReceiver(
                    session.channel,
                    softspoken(session.receiver),
                    session.prg,
                    hash_keys(),
                    parameters,
                    batch,
                )
            )

    return server, client


def drain(demands: Demands) -> Callable[[Any], Any]:
    def use(generator: Any) -> Any:
        made = [generator.extend(n, k) for n, k in demands]
        return getattr(generator, "delta", None), made

    return use


@pytest.mark.parametrize(("parameters", "batch"), [(TINY, 1), (TINY, 3), (SHALLOW, 2)])
def test_the_correlation_holds_over_iterations(parameters: LpnParameters, batch: int) -> None:
    outcome = run_two_party(*endpoints(parameters, batch, drain(DEMANDS)))
    (delta, sent), (_, received) = outcome
    for (n, k), w, (u, v) in zip(DEMANDS, sent, received, strict=True):
        assert w.shape == v.shape == (n, 16)
        assert u.shape == (n,)
        assert u.max() < 1 << k
        expected = v.copy()
        reference.add_multiples(expected, delta, u)
        assert np.array_equal(w, expected)


def test_u_is_uniform_and_nothing_repeats() -> None:
    n = 20_000
    (_, (w,)), (_, ((u, v),)) = run_two_party(*endpoints(TINY, 1, drain(((n, 4),))))
    for values in (u, v & 15, v >> 4, w & 15):
        counts = np.bincount(values.reshape(-1), minlength=16)
        mean = values.size / 16
        assert ((counts - mean) ** 2 / mean).sum() < 15 + 6 * 30**0.5
    for blocks in (v, w):
        assert len(np.unique(blocks, axis=0)) == n


def test_bases_are_never_released() -> None:
    """The correlations that a refill starts from are not among those given out, before or after."""

    def use(generator: Any) -> Any:
        released, bases = [], []
        for _ in range(12):
            made = generator.extend(300, 4)
            released.append(made if isinstance(made, np.ndarray) else made[1])
            bases.append(
                (generator._base if isinstance(made, np.ndarray) else generator._base_v).copy()
            )
        return np.concatenate(released), np.concatenate(bases)

    for released, bases in run_two_party(*endpoints(TINY, 1, use)):
        given_out = {row.tobytes() for row in released}
        assert len(given_out) == len(released)
        # At least four iterations.
        assert len({row.tobytes() for row in bases}) > 3 * TINY.reserved
        assert given_out.isdisjoint(row.tobytes() for row in bases)


@pytest.mark.parametrize(("parameters", "batch"), [(TINY, 1), (TINY, 2), (SHALLOW, 1)])
@pytest.mark.parametrize("demands", [((1, 4),), ((900, 4), (1, 1)), DEMANDS])
def test_declared_bytes_and_flights_are_the_metered_ones(
    parameters: LpnParameters, batch: int, demands: Demands
) -> None:
    pool = Pool(parameters, batch)
    declared = [pool.take(n, k) for n, k in demands]
    flights = "".join(extension.flights for extension in declared)
    merged = "".join(f for i, f in enumerate(flights) if i == 0 or f != flights[i - 1])
    outcome = run_two_party(*endpoints(parameters, batch, drain(demands)))
    server, client = (channel.meter.by_label["case"] for channel in outcome.channels)
    assert client.sent == server.received == sum(extension.forward for extension in declared)
    assert server.sent == client.received == sum(extension.answer for extension in declared)
    assert server.flights == client.flights == len(merged)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 4)), max_size=20), st.integers(1, 4))
def test_the_pool_serves_every_demand_and_stays_small(
    demands: list[tuple[int, int]], batch: int
) -> None:
    pool = Pool(TINY, batch)
    made = 0
    for n, k in demands:
        extension = pool.take(n, k)
        made += extension.iterations * TINY.released
        assert 0 <= pool.available <= batch * TINY.released
        assert extension.iterations == 0 or extension.answer == TINY.answer_bytes(
            extension.iterations
        )
    assert pool.available == made - sum(n for n, _ in demands)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_transfers_run_on_it(k: int) -> None:
    rng = np.random.default_rng(k)
    n = 1500
    table = rng.integers(0, 256, (n, 1 << k), np.uint8)
    words = rng.integers(0, 2**64, (n, 1 << k), np.uint64)
    choices = rng.integers(0, 1 << k, n, np.uint8)

    def use(generator: Any) -> Any:
        if isinstance(generator, SilentSender):
            sender = TransferSender(generator._channel, generator, hash_keys())
            return sender.lookup(sender.accept(n, k), table, 8), sender.additive(
                sender.accept(n, k), words, 64
            )
        receiver = TransferReceiver(generator._channel, generator, hash_keys())
        return receiver.lookup(receiver.choose(choices, k), 8), receiver.additive(
            receiver.choose(choices, k), 64
        )

    (x0, y0), (x1, y1) = run_two_party(*endpoints(TINY, 1, use))
    assert np.array_equal(x0 ^ x1, table[np.arange(n), choices])
    assert np.array_equal(y0 + y1, words[np.arange(n), choices])


def test_every_refill_has_a_code_of_the_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, list[bytes]] = {"encode_blocks": [], "encode_nibbles": []}

    def spied(name: str) -> Callable[..., Any]:
        real = getattr(kernels, name)

        def both(*arguments: Any) -> Any:
            used[name].append(arguments[1].tobytes())
            return real(*arguments)

        return both

    for name in used:
        monkeypatch.setattr(kernels, name, spied(name))
    run_two_party(*endpoints(TINY, 1, drain(((100, 4), (880, 4), (880, 4)))))
    seeds = dict.fromkeys(used["encode_nibbles"])
    assert len(seeds) == 3  # two calls each, at the receiver alone
    assert len(used["encode_nibbles"]) == 6
    assert sorted(used["encode_blocks"]) == sorted([*seeds] * 2)  # both parties


# --- parameters, misuse, wire ---------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [lpn.SMALL, lpn.LARGE])
def test_the_sets_hold_128_bits_by_the_estimate(parameters: LpnParameters) -> None:
    assert parameters.decoding_bits() > 136
    assert parameters.projected_bits() > 256


def test_the_estimate_falls_with_fewer_seeds_and_with_less_noise() -> None:
    full = lpn.SMALL.decoding_bits()
    assert LpnParameters(lpn.SMALL.seeds // 2, 850, 10).decoding_bits() < full - 40
    assert LpnParameters(lpn.SMALL.seeds, 850, 11).decoding_bits() < full - 40


@pytest.mark.parametrize(
    "arguments", [(0, 10, 5), (100, 10, 1), (100, 10, 17), (100, 0, 5), ((1 << 20) + 1, 9999, 16)]
)
def test_parameters_out_of_range(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ContractViolation, match="must be in"):
        LpnParameters(*arguments)


def test_parameters_without_gain() -> None:
    with pytest.raises(ContractViolation, match="uses up 1060 correlations and makes only 320"):
        LpnParameters(1000, 10, 5)


@pytest.mark.parametrize(("n", "k"), [(0, 4), (-1, 4), (10, 0), (10, 5)])
def test_impossible_demands(n: int, k: int) -> None:
    server, client = channel_pair()
    generators = (
        SilentSender(server, IdealSender(), Prg.from_os(), hash_keys(), TINY),
        SilentReceiver(client, IdealReceiver(), Prg.from_os(), hash_keys(), TINY),
    )
    for generator in generators:
        with pytest.raises(ContractViolation, match="no extension"):
            generator.extend(n, k)


def test_a_refill_makes_an_iteration() -> None:
    with pytest.raises(ContractViolation, match="at least one"):
        Pool(TINY, 0)


class IdealSender:
    """Correlations from a fixed seed, so that the digests below depend
    on nothing but the generator.
    """

    def __init__(self) -> None:
        self.delta = noise(20, 16)

    def extend(self, n: int, k: int) -> U8:
        u, w = IdealReceiver().extend(n, k)
        reference.add_multiples(w, self.delta, u)
        return w


class IdealReceiver:
    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return noise(21, n) & np.uint8((1 << k) - 1), noise(22, n, 16)


def test_wire_bytes_and_outputs_match_the_baseline() -> None:
    """A change of what is sent shows here; regenerate with
    MOIETY_WRITE_BASELINES=1 and review the difference.
    """
    channels = channel_pair()
    sender = SilentSender(channels[0], IdealSender(), Prg(b"randomness of S."), hash_keys(), TINY)
    receiver = SilentReceiver(
        channels[1], IdealReceiver(), Prg(b"randomness of R."), hash_keys(), TINY
    )
    use = drain(DEMANDS)
    (_, sent), _ = run_both(lambda: use(sender), lambda: use(receiver), channels)
    digests = {
        "sender": channels[0].digest.hexdigest(),
        "receiver": channels[1].digest.hexdigest(),
        "w": hashlib.sha256(b"".join(w.tobytes() for w in sent)).hexdigest(),
    }
    if os.environ.get("MOIETY_WRITE_BASELINES"):
        BASELINES.write_text(json.dumps(digests, indent=1) + "\n")
    assert digests == json.loads(BASELINES.read_text())
