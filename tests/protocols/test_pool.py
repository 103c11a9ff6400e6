"""Kernels that threads share: the same bytes whatever the number of threads, and a pool that
survives errors, its closing, a fork and several callers.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.kernels import Pool

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

pytestmark = pytest.mark.skipif(
    _native is None or not _native.symmetric_supported(), reason="the native kernels do not run"
)

GRAIN = 512
DEPTH = 5
Arguments = tuple[Any, ...]


def pool_of(threads: int) -> Pool:
    """Cuts whatever can be cut."""
    made: Pool = _native.Pool(threads, hand_over=1)
    return made


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = pool_of(3)
    yield made
    made.close()


class Cases:
    """Arguments of every kernel that takes a pool, for n elements; what is written to is last."""

    def __init__(self, n: int, k: int, bits: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.n, self.k, self.bits = n, k, bits
        self.block, self.key = self.bytes(16), self.bytes(16)

    def bytes(self, *shape: int, below: int = 256) -> np.ndarray:
        return self.rng.integers(0, below, shape, np.uint8)

    def words(self, *shape: int) -> np.ndarray:
        return self.rng.integers(0, 1 << self.bits, shape, np.uint64)

    def sent(self, k: int) -> Arguments:
        """w, delta, key and shifts."""
        return self.bytes(self.n, 16), self.block, self.key, self.bytes(self.n, below=1 << k)

    def received(self, k: int, bits: int) -> Arguments:
        """v, key, choices, u and messages."""
        size = (self.n * ((1 << k) - 1) * bits + 7) // 8
        choices, u = self.bytes(self.n, below=1 << k), self.bytes(self.n, below=1 << k)
        return self.bytes(self.n, 16), self.key, choices, u, self.bytes(size)

    def lookups(self) -> dict[str, Arguments]:
        n, k, bits = self.n, self.k, self.bits
        few, count = 1 + bits % 8, 1 + bits % 3
        w, delta, key, shifts = self.sent(k)
        send = (w, delta, k, key, shifts)
        made: dict[str, Arguments] = {
            "lookup_send": (*send, self.bytes(n, 1 << k), few),
            "arith_send": (*send, self.words(n, 1 << k), bits),
            "leaves_send": (*send, self.bytes(count, n, below=1 << k), bool(bits % 2)),
            "join_send": (*send, self.bytes(n, below=1 << k), self.bytes(1 << k), few),
        }
        for name, width, rest in (
            ("lookup_recv", few, (few,)),
            ("arith_recv", bits, (bits,)),
            ("leaves_recv", 2 * count, (count, True)),
        ):
            v, key, choices, u, messages = self.received(k, width)
            made[name] = (v, k, key, choices, u, *rest, messages)
        return made

    def words_gated(self) -> dict[str, Arguments]:
        n, bits = self.n, self.bits
        bit = self.bytes(n, below=2)
        x, theirs, send = self.words(n), self.words(n), self.sent(1)
        v, key, choices, u, messages = self.received(1, 64 - bits)
        return {
            "mux_send": (*send, x, bit, bits),
            "mux_send_adding": (*send, x, bit, theirs, bit[::-1].copy(), bits),
            "widen_send": (*send, x, theirs, bits, 64),
            "widen_recv": (v, key, choices, u, x, bit, bits, 64, messages),
        }

    def passes(self) -> dict[str, Arguments]:
        n, bits, few = self.n, self.bits, 1 + self.bits % 8
        return {
            "pack": (self.words(n), bits),
            "unpack": (self.bytes((n * bits + 7) // 8), n, bits),
            "unpack8": (self.bytes((n * few + 7) // 8), n, few),
            "cut_digits": (self.words(n), self.words(3, n), bits % 7, [3, 1, 4], True),
            "add_multiples": (self.bytes(n, 16), self.block, self.bytes(n, below=16)),
        }

    def silent(self) -> dict[str, Arguments]:
        width = 1 if self.k == 1 else 4
        side = 1 + self.n % 2
        trees = side * (1 + self.n // 64 // side)
        keys, roots = self.bytes(trees, 16), self.bytes(trees, 16)
        seeds, rows = self.bytes(77, 16 * side), self.bytes(trees << DEPTH, 16)
        holes = self.rng.integers(0, 1 << DEPTH, trees, np.uint16)
        sums = self.bytes(trees, DEPTH + (width == 4), 16)
        code = (seeds, self.key, 3)
        noise = -(-(self.n + 3) >> DEPTH)
        return {
            "tree_sums": (keys, self.block, roots, DEPTH, width),
            "expand_full": (keys, self.block, roots, DEPTH, width, *code, rows),
            "expand_punctured": (keys, holes, sums, DEPTH, width, *code, rows.copy()),
            "encode_elements": (
                *(self.bytes(77, below=1 << width), self.key, 3, self.n, DEPTH, width),
                self.rng.integers(0, 1 << DEPTH, (2, noise), np.uint16),
                self.bytes(2, noise, below=1 << width),
            ),
        }

    def all(self) -> dict[str, Arguments]:
        return self.lookups() | self.words_gated() | self.passes() | self.silent()


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
    assert Cases(1, 1, 1, 0).all().keys() == shared


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
        for name, arguments in Cases(n, k, bits, seed).all().items():
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
            for name, arguments in Cases(5 * GRAIN + 100, k, 3 * k, k).all().items():
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
