"""Threads of one party: the same bytes on the wire and the same shares, whatever their number."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.protocols import kernels, parallel
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.relu import gates, relu
from moiety.protocols.compare.truncate import truncate_exact
from moiety.protocols.errors import BadInput
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.ot import softspoken
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Session
from tests.support.convolutions import (
    GUARDS,
    SEED,
    Conv,
    check_deviation,
    convolve,
    deviation,
    layer_parties,
)
from tests.support.two_party import run_two_party, share


@given(
    st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([1, 64, 128]), st.integers(1, 10**4)
)
def test_ranges_cut_everything_once_at_whole_bytes(
    n: int, threads: int, grain: int, handed: int
) -> None:
    cuts = Workers(threads).ranges(n, grain, handed)
    assert [c.start for c in cuts] == [0, *(c.stop for c in cuts[:-1])]
    assert cuts[-1].stop == n
    assert all(c.start % grain == 0 for c in cuts)
    assert len(cuts) == max(1, min(threads, math.isqrt(n // handed)), -(-n // parallel.STREAMED))
    if n <= parallel.STREAMED and len(cuts) > 1:  # no range takes less than handing it over
        assert min(c.stop - c.start for c in cuts) > len(cuts) * handed - grain


@given(st.integers(0, 10**6))
def test_pieces_are_the_ranges_of_one_thread(n: int) -> None:
    assert list(parallel.pieces(n)) == Workers(1).ranges(n)


def test_results_come_in_order_and_errors_come_through() -> None:
    with Workers(2) as workers:
        assert list(workers.map(lambda x: x * x, range(20))) == [x * x for x in range(20)]
        barrier = threading.Barrier(2, timeout=20)
        # Two jobs that wait for one another end only if they run side by side.
        assert sorted(workers.map(lambda _: barrier.wait(), range(2))) == [0, 1]
        with pytest.raises(ZeroDivisionError):
            list(workers.map(lambda x: 1 // x, [1, 0]))
    assert list(workers.map(lambda x: -x, [1, 2])) == [-1, -2]
    workers.close()


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_senseless_numbers_of_threads_are_refused(threads: int) -> None:
    with pytest.raises(BadInput, match="--threads"):
        Workers(threads)


def comparisons(session: Session, x: U64) -> list[U64 | U8]:
    """Every kind of transfer: leaves for one and several thresholds, joins, both
    multiplexers, additive lookups.
    """
    thresholds = np.arange(3, dtype=np.uint64)[:, None] if session.is_server else None
    return [
        relu(session, x, 15, 22),
        truncate_exact(session, x, 15, 6),
        gates(session, x, 15, 3, thresholds),
    ]


@pytest.mark.parametrize("silent_from", [1, 3, 5])
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_transfers_do_not_depend_on_threads(
    silent_from: int, backend: kernels.Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "reference" and silent_from < 5:
        pytest.skip(
            "the refill of the reference twin takes a minute; its ranges are the native one's"
        )
    before = kernels.backend_name()
    kernels.set_backend(backend)
    monkeypatch.setattr(parallel.Workers.ranges, "__defaults__", (parallel.GRAIN, 50))
    pool = type(kernels.open_pool(1))
    monkeypatch.setattr(kernels, "open_pool", lambda threads: pool(threads, hand_over=1))
    monkeypatch.setattr(softspoken, "STREAMED", 256)
    try:
        x = np.random.default_rng(1).integers(0, 2**15, 1100, np.uint64)
        shares = share(x, 15, np.random.default_rng(2))
        runs = [
            run_two_party(
                lambda s: comparisons(s, shares[0]),
                lambda s: comparisons(s, shares[1]),
                seed=7,
                threads=threads,
                silent_from=silent_from,
            )
            for threads in (1, 3)
        ]
    finally:
        kernels.set_backend(before)
    one, three = runs
    for ours, theirs in zip(
        (*one.server, *one.client), (*three.server, *three.client), strict=True
    ):
        assert np.array_equal(ours, theirs)
    assert [c.digest.digest() for c in one.channels] == [c.digest.digest() for c in three.channels]
    assert [c.meter.total for c in one.channels] == [c.meter.total for c in three.channels]


@pytest.mark.parametrize("guard", GUARDS)
def test_linear_layers_do_not_depend_on_threads(guard: int) -> None:
    conv = Conv(24, (20, 18), 40, (3, 3), (1, 1, 1, 1))
    spec = conv.spec(guard, channels_per_ciphertext=1, filters_per_answer=1, tile=(10, 18))
    rng = np.random.default_rng(3)
    weight = rng.integers(-511, 512, (40, 24, 3, 3)).astype(np.int32)
    x = rng.integers(0, 2**28, conv.in_shape, np.uint64)
    layers = []
    for threads in (1, 7):
        layers.append(ServerLinear(spec, 2, SEED, weight, np.zeros(40, np.int64)))
        with Workers(threads) as workers:
            layers[-1].prepare(workers)
    assert np.array_equal(layers[0].hint_array(), layers[1].hint_array())
    parties = layer_parties(layers[0], *share(x, 28, np.random.default_rng(4)))
    one, seven = (run_two_party(*parties, seed=9, threads=threads) for threads in (1, 7))
    assert np.array_equal(one.server, seven.server)
    assert np.array_equal(one.client, seven.client)
    assert [c.digest.digest() for c in one.channels] == [c.digest.digest() for c in seven.channels]
    check_deviation(spec, deviation(spec, (one.server, one.client), convolve(x, weight, conv)))
