"""Kernels that threads share: the same bytes whatever the number of threads, and a pool that
survives errors, its closing, a fork and several callers.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.kernels import Pool
from tests.protocols.kernel_calls import Arguments, Cases

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

pytestmark = pytest.mark.skipif(
    _native is None or not _native.symmetric_supported(), reason="the native kernels do not run"
)

GRAIN = 512


def pool_of(threads: int) -> Pool:
    """Cuts whatever can be cut."""
    made: Pool = _native.Pool(threads, hand_over=1)
    return made


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = pool_of(3)
    yield made
    made.close()


def results(name: str, arguments: Arguments, pool: Pool | None) -> list[np.ndarray]:
    """What the compiled kernel returns, and what it leaves in its arguments."""
    own = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
    made = getattr(_native, name)(*own, pool)
    returned = made if isinstance(made, tuple) else () if made is None else (made,)
    return [*returned, *(each for each in own if isinstance(each, np.ndarray))]


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_cases_are_all_kernels_with_a_pool() -> None:
    shared = {
        name
        for name in kernels.kernel_names()
        if "pool" in inspect.signature(kernels.twin("reference", name)).parameters
    }
    assert Cases(1, 1, 1, 0).pooled().keys() == shared


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 9 * GRAIN),
    st.integers(1, 4),
    st.integers(1, 60),
    st.integers(2, 9),
    st.integers(0, 2**32),
)
def test_no_kernel_depends_on_threads(n: int, k: int, bits: int, threads: int, seed: int) -> None:
    pool = pool_of(threads)
    try:
        for name, arguments in Cases(n, k, bits, seed).pooled().items():
            alone = results(name, arguments, None)
            assert same(results(name, arguments, pool), alone), name
    finally:
        pool.close()


@pytest.mark.parametrize("isa", _native.symmetric_isa_names() if _native else ())
def test_every_instruction_set_keeps_to_its_range(isa: str) -> None:
    before, pool = _native.symmetric_isa(), pool_of(4)
    _native.set_symmetric_isa(isa)
    try:
        for k in (1, 2, 3, 4):
            for name, arguments in Cases(5 * GRAIN + 100, k, 3 * k, k).pooled().items():
                assert same(results(name, arguments, pool), results(name, arguments, None)), name
    finally:
        _native.set_symmetric_isa(before)
        pool.close()


def packing(n: int = 1 << 16) -> tuple[Arguments, list[np.ndarray]]:
    arguments = Cases(n, 1, 17, 5).passes()["pack"]
    return arguments, results("pack", arguments, None)


def test_seconds_count_what_is_cut_while_they_are_measured(pool: Pool) -> None:
    arguments, _ = packing()
    results("pack", arguments, pool)
    assert pool.seconds == 0
    pool.measured = True
    results("pack", packing(GRAIN)[0], pool)
    assert pool.seconds == 0, "one range is no reason for threads"
    started = time.process_time()
    results("pack", arguments, pool)
    assert 0 < pool.seconds <= time.process_time() - started + 1e-3


def test_a_refused_call_leaves_the_pool_as_it_was(pool: Pool) -> None:
    arguments, expected = packing()
    with pytest.raises(ValueError, match="bits"):
        _native.pack(arguments[0], 65, pool)
    assert same(results("pack", arguments, pool), expected)


@pytest.mark.parametrize("make", [Pool, getattr(_native, "Pool", None)])
@pytest.mark.parametrize("threads", [0, 257])
def test_both_twins_refuse_senseless_pools(make: Callable[..., Pool], threads: int) -> None:
    with pytest.raises(ValueError, match="threads must be"):
        make(threads)


def test_a_closed_pool_leaves_the_work_to_the_caller(pool: Pool) -> None:
    arguments, expected = packing()
    assert same(results("pack", arguments, pool), expected)
    for _ in range(2):
        pool.close()
        assert same(results("pack", arguments, pool), expected)


def test_several_callers_share_a_pool(pool: Pool) -> None:
    arguments, expected = packing()
    wrong = []

    def call() -> None:
        for _ in range(200):
            if not same(results("pack", arguments, pool), expected):
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_it_can_be_closed_while_others_call(pool: Pool) -> None:
    arguments, expected = packing()
    calling = threading.Event()
    right = []

    def call() -> None:
        for _ in range(100):
            right.append(same(results("pack", arguments, pool), expected))
            calling.set()

    caller = threading.Thread(target=call)
    caller.start()
    calling.wait()
    pool.close()
    caller.join()
    assert right == [True] * 100


def test_a_forked_child_works_alone(pool: Pool) -> None:
    arguments, expected = packing()
    assert same(results("pack", arguments, pool), expected)  # its threads run
    child = os.fork()
    if not child:
        right = same(results("pack", arguments, pool), expected)
        pool.close()
        os._exit(0 if right else 1)
    ended, patience = 0, time.monotonic() + 20
    while not ended and time.monotonic() < patience:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, 9)
    assert ended, "the child waits for ever"
    assert os.waitstatus_to_exitcode(status) == 0
    assert same(results("pack", arguments, pool), expected)
