"""Silent VOLE: the correlation over many iterations, declared bytes and flights, wire digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
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
from moiety.protocols.ot.generators import ALWAYS_SILENT
from moiety.protocols.ot.keys import HashKeys
from moiety.protocols.ot.lpn import LpnParameters, Pool
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.ot.silent import SilentReceiver, SilentSender
from moiety.protocols.ot.vole import VoleReceiver, VoleSender
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from tests.support.two_party import channel_pair, run_both, run_two_party, vole

Demands = tuple[tuple[int, int], ...]

BASELINES = Path(__file__).parent / "baselines" / "silent.json"

# Far too small to be secure, small enough to be quick: 360 or 400 correlations make 1280, of which
# 896 or 864 are released.
TINY = LpnParameters(seeds=160, trees=40, depth=5)
TINY_BITS = LpnParameters(seeds=160, trees=40, depth=5, width=1)
SHALLOW = LpnParameters(seeds=37, trees=101, depth=2)
SHALLOW_BITS = LpnParameters(seeds=37, trees=101, depth=2, width=1)
DEMANDS = ((100, 4), (1, 1), (900, 2), (1, 4), (5000, 3), (64, 4), (3, 2), (1100, 1))
EVERY_SET = pytest.mark.parametrize(
    ("parameters", "batch"),
    [(TINY, 1), (TINY, 3), (SHALLOW, 2), (TINY_BITS, 1), (TINY_BITS, 3), (SHALLOW_BITS, 2)],
)


def served(parameters: LpnParameters, demands: Demands = DEMANDS) -> Demands:
    """The demands, none wider than the field."""
    return tuple((n, min(k, parameters.width)) for n, k in demands)


def noise(seed: int, *shape: int) -> U8:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def hash_keys() -> HashKeys:
    """As both parties have them."""
    return HashKeys(np.arange(16, dtype=np.uint8))


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


def next_flight(generator: Any) -> None:
    """One byte of the sender's: what refills have promised the receiver comes in front of it."""
    if isinstance(generator, SilentSender):
        generator._channel.send(b"0")
    else:
        generator._channel.recv(1)


def extended(generator: Any, demands: Demands) -> list[Any]:
    """All demands in one flight, as a transfer makes them: v after the sender's next one."""
    if isinstance(generator, SilentSender):
        sent = [generator.extend(n, k) for n, k in demands]
        next_flight(generator)
        return sent
    begun = [generator.begin(n, k) for n, k in demands]
    next_flight(generator)
    return [(u, make()) for u, make in begun]


def drain(demands: Demands) -> Callable[[Any], Any]:
    def use(generator: Any) -> Any:
        made = extended(generator, demands)
        return getattr(generator, "delta", None), made

    return use


@EVERY_SET
def test_the_correlation_holds_over_iterations(parameters: LpnParameters, batch: int) -> None:
    demands = served(parameters)
    outcome = run_two_party(*endpoints(parameters, batch, drain(demands)))
    (delta, sent), (_, received) = outcome
    for (n, k), w, (u, v) in zip(demands, sent, received, strict=True):
        assert w.shape == v.shape == (n, 16)
        assert u.shape == (n,)
        assert u.max() < 1 << k
        expected = v.copy()
        reference.add_multiples(expected, delta, u)
        assert np.array_equal(w, expected)


@pytest.mark.parametrize("late_first", [True, False])
def test_rows_may_be_asked_for_in_any_order(late_first: bool) -> None:
    """A receiver that opens its batches in another order still has the sender's rows."""
    demands = ((300, 4), (7, 1), (2000, 4))

    def use(generator: Any) -> Any:
        if isinstance(generator, SilentSender):
            return generator.delta, [generator.extend(n, k) for n, k in demands]
        begun = [generator.begin(n, k) for n, k in demands]
        order = range(len(begun))[:: -1 if late_first else 1]
        rows = {i: begun[i][1]() for i in order}
        return [(begun[i][0], rows[i]) for i in range(len(begun))]

    (delta, sent), received = run_two_party(*endpoints(TINY, 1, use))
    for w, (u, v) in zip(sent, received, strict=True):
        reference.add_multiples(v, delta, u)
        assert np.array_equal(w, v)


@pytest.mark.parametrize("parameters", [TINY, TINY_BITS])
def test_u_is_uniform_and_nothing_repeats(parameters: LpnParameters) -> None:
    n, width = 20_000, parameters.width
    (_, (w,)), (_, ((u, v),)) = run_two_party(*endpoints(parameters, 1, drain(((n, width),))))
    for values, cells in ((u, 1 << width), (v & 15, 16), (v >> 4, 16), (w & 15, 16)):
        counts = np.bincount(values.reshape(-1), minlength=cells)
        mean = values.size / cells
        assert ((counts - mean) ** 2 / mean).sum() < cells + 6 * (2 * cells) ** 0.5
    for blocks in (v, w):
        assert len(np.unique(blocks, axis=0)) == n


@pytest.mark.parametrize("parameters", [TINY, TINY_BITS])
def test_bases_are_never_released(parameters: LpnParameters) -> None:
    """The correlations that a refill starts from are not among those given out, before or after."""

    def use(generator: Any) -> Any:
        released, bases = [], []
        for _ in range(12):
            (made,) = extended(generator, ((300, parameters.width),))
            released.append(made if isinstance(made, np.ndarray) else made[1])
            bases.append(
                (generator._base if isinstance(made, np.ndarray) else generator._base_v).copy()
            )
        return np.concatenate(released), np.concatenate(bases)

    for released, bases in run_two_party(*endpoints(parameters, 1, use)):
        given_out = {row.tobytes() for row in released}
        assert len(given_out) == len(released)
        # At least four iterations.
        assert len({row.tobytes() for row in bases}) > 3 * parameters.reserved
        assert given_out.isdisjoint(row.tobytes() for row in bases)


@EVERY_SET
@pytest.mark.parametrize("demands", [((1, 4),), ((900, 4), (1, 1)), DEMANDS])
def test_declared_bytes_and_flights_are_the_metered_ones(
    parameters: LpnParameters, batch: int, demands: Demands
) -> None:
    pool, demands = Pool(parameters, batch), served(parameters, demands)
    declared = [pool.take(n, k) for n, k in demands]
    outcome = run_two_party(*endpoints(parameters, batch, drain(demands)))
    server, client = (channel.meter.by_label["case"] for channel in outcome.channels)
    assert client.sent == server.received == sum(extension.forward for extension in declared)
    answers = sum(extension.answer for extension in declared)
    assert server.sent == client.received == answers + 1  # of `next_flight`
    assert server.flights == client.flights == 2  # all demands, all answers


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

    parameters = TINY_BITS if k == 1 else TINY
    (x0, y0), (x1, y1) = run_two_party(*endpoints(parameters, 1, use))
    assert np.array_equal(x0 ^ x1, table[np.arange(n), choices])
    assert np.array_equal(y0 + y1, words[np.arange(n), choices])


def test_every_refill_has_a_code_of_the_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver draws it for its u; both parties' rows are made with it."""
    used: dict[str, set[bytes]] = {}

    def spied(name: str, place: int) -> Callable[..., Any]:
        real, codes = getattr(kernels, name), used.setdefault(name, set())

        def both(*arguments: Any) -> Any:
            codes.add(arguments[place].tobytes())
            return real(*arguments)

        return both

    for name, place in (("encode_elements", 1), ("expand_full", 6), ("expand_punctured", 6)):
        monkeypatch.setattr(kernels, name, spied(name, place))
    run_two_party(*endpoints(TINY, 1, drain(((100, 4), (880, 4), (880, 4)))))
    assert len(used["encode_elements"]) == 3
    assert used["encode_elements"] == used["expand_full"] == used["expand_punctured"]


# --- parameters, misuse, wire ---------------------------------------------------------------------


def test_the_sets_are_the_documented_ones() -> None:
    """docs/security.md: (870400, 81920, 850), over F_2 and F_16, and 128-bit nonces."""
    for parameters, width in ((lpn.BITS, 1), (lpn.NIBBLES, 4)):
        sizes = (parameters.length, parameters.seeds, parameters.trees, parameters.width)
        assert sizes == (870_400, 81_920, 850, width)
    assert [lpn.parameters_for(k).width for k in (1, 2, 3, 4)] == [1, 4, 4, 4]
    assert lpn.NONCE_BYTES == 16


def test_the_sets_hold_128_bits_by_the_estimate() -> None:
    """And no more than it says: an estimate that is too high is as wrong."""
    assert 131.7 < lpn.BITS.decoding_bits() < 131.8
    assert 139.0 < lpn.NIBBLES.decoding_bits() < 139.1
    assert 311 < lpn.NIBBLES.projected_bits() < 312


@pytest.mark.parametrize("full", [lpn.BITS, lpn.NIBBLES])
def test_the_estimate_falls_with_fewer_seeds_and_with_less_noise(full: LpnParameters) -> None:
    for fewer in (replace(full, seeds=full.seeds // 2), replace(full, depth=11)):
        assert fewer.decoding_bits() < full.decoding_bits() - 40


@pytest.mark.parametrize(
    "arguments", [(0, 10, 5), (100, 10, 1), (100, 10, 17), (100, 0, 5), ((1 << 20) + 1, 9999, 16)]
)
def test_parameters_out_of_range(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ContractViolation, match="must be in"):
        LpnParameters(*arguments)


def test_fields_are_of_two_or_of_sixteen() -> None:
    with pytest.raises(ContractViolation, match="width must be 1 or 4"):
        LpnParameters(160, 40, 5, width=2)


def test_parameters_without_gain() -> None:
    with pytest.raises(ContractViolation, match="uses up 1060 correlations and makes only 320"):
        LpnParameters(1000, 10, 5)


@pytest.mark.parametrize(
    ("n", "k", "parameters"),
    [(0, 4, TINY), (-1, 4, TINY), (10, 0, TINY), (10, 5, TINY), (10, 2, TINY_BITS)],
)
def test_impossible_demands(n: int, k: int, parameters: LpnParameters) -> None:
    server, client = channel_pair()
    generators = (
        SilentSender(server, IdealSender(), Prg.from_os(), hash_keys(), parameters),
        SilentReceiver(client, IdealReceiver(), Prg.from_os(), hash_keys(), parameters),
    )
    for generator in generators:
        with pytest.raises(ContractViolation, match="no extension"):
            generator.extend(n, k)


def test_a_refill_makes_an_iteration() -> None:
    with pytest.raises(ContractViolation, match="at least one"):
        Pool(TINY, 0)


class IdealSender(VoleSender):
    """Correlations from a fixed seed, so that the digests below depend
    on nothing but the generator.
    """

    def __init__(self) -> None:
        self.delta = noise(20, 16)

    def extend(self, n: int, k: int) -> U8:
        u, w = IdealReceiver().extend(n, k)
        reference.add_multiples(w, self.delta, u)
        return w


class IdealReceiver(VoleReceiver):
    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return noise(21, n) & np.uint8((1 << k) - 1), noise(22, n, 16)


@pytest.mark.parametrize("parameters", [TINY_BITS, TINY], ids=["F_2", "F_16"])
def test_wire_bytes_and_outputs_match_the_baseline(parameters: LpnParameters) -> None:
    """A change of what is sent shows here; regenerate with
    MOIETY_WRITE_BASELINES=1 and review the difference.
    """
    channels = channel_pair()
    seeds, keys = (b"randomness of S.", b"randomness of R."), hash_keys
    sender = SilentSender(channels[0], IdealSender(), Prg(seeds[0]), keys(), parameters)
    receiver = SilentReceiver(channels[1], IdealReceiver(), Prg(seeds[1]), keys(), parameters)
    use = drain(served(parameters))
    (_, sent), _ = run_both(lambda: use(sender), lambda: use(receiver), channels)
    digests = {
        "sender": channels[0].digest.hexdigest(),
        "receiver": channels[1].digest.hexdigest(),
        "w": hashlib.sha256(b"".join(w.tobytes() for w in sent)).hexdigest(),
    }
    expect(f"F_{1 << parameters.width}", digests)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("sender", Role)
def test_rows_that_nobody_opened_are_settled_too(sender: Role, k: int) -> None:
    """The sender has them already; the receiver's are made late, or here."""

    def body(session: Session) -> None:
        if session.role is sender:
            session.sender.accept(300, k)
        else:
            session.receiver.choose(np.zeros(300, np.uint8), k)
        settle(session)

    run_two_party(body, body, 1, silent_from=ALWAYS_SILENT)


def test_what_settling_sends_matches_the_baseline() -> None:
    """After draws over both fields and in both directions, as above."""

    def body(session: Session) -> None:
        for server_sends in (True, False):
            for n, k in ((100, 1), (70_001, 4), (17, 2)):
                if session.is_server is server_sends:
                    vole(session.sender).extend(n, k)
                    session.channel.send(b"0")
                else:
                    _, later = vole(session.receiver).begin(n, k)
                    session.channel.recv(1)
                    later()
        session.channel.digest = hashlib.sha256()  # type: ignore[attr-defined]
        settle(session)

    server, client = run_two_party(body, body, 1, silent_from=ALWAYS_SILENT).channels
    digests = {"server": server.digest.hexdigest(), "client": client.digest.hexdigest()}
    expect("settled", digests)


def expect(field: str, digests: dict[str, str]) -> None:
    """Those of the baseline."""
    baselines = json.loads(BASELINES.read_text()) if BASELINES.exists() else {}
    if os.environ.get("MOIETY_WRITE_BASELINES"):
        BASELINES.write_text(json.dumps(baselines | {field: digests}, indent=1) + "\n")
        return
    assert digests == baselines[field]
