"""Prepared pads: every transfer kernel gives the same bytes from a stream of pads that were made
beforehand as from the correlations, on both twins and by any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.kernels import Pool
from moiety.protocols.kernels.reference import gates, symmetric
from tests.protocols.kernel_calls import Cases
from tests.protocols.test_symmetric_kernels import hash_low
from tests.protocols.twins import KernelFamily

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

FAMILY = KernelFamily("symmetric", symmetric, gates)
NONE = np.zeros(0, np.uint8)
SIZES = (0, 1, 7, 8, 63, 64, 65, 129, 191, 512, 1153)
WIDTHS = (1, 2, 3, 4)
BITS = (1, 2, 13, 24, 40, 57, 60)
Call = dict[str, Any]
FIELD: dict[str, Callable[[Call], int]] = {
    "lookup": lambda call: call["bits"],
    "arith": lambda call: call["bits"],
    "join": lambda call: call["bits"],
    "mux": lambda call: call["bits"],
    "widen": lambda call: call["out_bits"] - call["bits"],
    "leaves": lambda call: (1 + call["with_eq"]) * call.get("count", len(call.get("digits", ()))),
}
"""Bits of a field of what a kernel answers or opens, by the first word of its name."""


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


def transfers(n: int, k: int, bits: int) -> Iterator[tuple[str, Call, int]]:
    """Calls of all kernels that answer or open, with the bits of their fields."""
    for name, call in Cases(n, k, bits, 1000 * n + bits).all().items():
        word = name.partition("_")[0]
        if word in FIELD:
            yield name, call, FIELD[word](call)


def prepared(call: Call, bits: int) -> Call:
    """The same call, of pads that the reference made."""
    k = call.get("k", 1)
    if "w" in call:
        pads = symmetric.pads_send(call["w"], call["delta"], k, call["key"], bits)
        return {**call, "w": pads, "delta": NONE, "key": NONE}
    return {**call, "v": symmetric.pads_recv(call["v"], k, call["key"], bits), "key": NONE}


def arrays(made: Any) -> list[np.ndarray]:
    return list(made) if isinstance(made, tuple) else [made]


def same(ours: Any, theirs: Any) -> bool:
    pairs = zip(arrays(ours), arrays(theirs), strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


def test_all_transfer_kernels_are_here() -> None:
    named = {name for name, _, _ in transfers(1, 1, 8)}
    names = (*symmetric.__all__, *gates.__all__)
    told = {name for name in names if {"send", "recv"} & set(name.split("_"))}
    assert named == told - {"pads_send", "pads_recv"}


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_prepared_pads_give_what_hashed_ones_give(twin: SimpleNamespace, k: int, n: int) -> None:
    for bits in BITS:
        for name, call, field in transfers(n, k, bits):
            hashed = getattr(FAMILY.reference, name)(**call)
            assert same(getattr(twin, name)(**prepared(call, field)), hashed), (name, field)


@settings(deadline=None, max_examples=150)
@given(
    k=st.integers(1, 4),
    n=st.integers(0, 300),
    count=st.integers(1, 32),
    with_eq=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_digits_of_any_number_are_compared_alike(
    k: int, n: int, count: int, with_eq: bool, seed: int
) -> None:
    """Fields of 1 to 64 bits, of hashed pads and of prepared ones."""
    cases = Cases(n, k, 8, seed)
    field = (1 + with_eq) * count
    send: Call = dict(zip(("w", "delta", "key", "shifts"), cases.sent(k), strict=True))
    send |= {"k": k, "digits": cases.bytes(count, n, below=1 << k), "with_eq": with_eq}
    names = ("v", "key", "choices", "u", "messages")
    recv: Call = dict(zip(names, cases.received(k, field), strict=True))
    recv |= {"k": k, "count": count, "with_eq": with_eq}
    same_of_all("leaves_send", send, field)
    same_of_all("leaves_recv", recv, field)


@settings(deadline=None, max_examples=100)
@given(
    k=st.integers(1, 4), n=st.integers(0, 300), bits=st.integers(1, 8), seed=st.integers(0, 2**32)
)
def test_functions_of_any_width_are_joined_alike(k: int, n: int, bits: int, seed: int) -> None:
    cases = Cases(n, k, bits, seed)
    call: Call = dict(zip(("w", "delta", "key", "shifts"), cases.sent(k), strict=True))
    call |= {"k": k, "own": cases.bytes(n, below=1 << k), "function": cases.bytes(1 << k)}
    same_of_all("join_send", {**call, "bits": bits}, bits)


def same_of_all(name: str, call: Call, field: int) -> None:
    """Every compiled twin answers as the reference does, with both kinds of pads."""
    expected = getattr(FAMILY.reference, name)(**call)
    for which in FAMILY.isas:
        with FAMILY.twin(which) as kernels:
            for each in (call, prepared(call, field)):
                assert same(getattr(kernels, name)(**each), expected), which


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("n", SIZES)
def test_twins_make_the_same_pads(twin: SimpleNamespace, k: int, n: int) -> None:
    for bits in (*BITS, *range(3, 10), 56, 63, 64):
        calls = Cases(n, k, bits, n + bits).all()
        for name in ("pads_send", "pads_recv"):
            call = {**calls[name], "bits": bits}
            assert same(getattr(twin, name)(**call), getattr(FAMILY.reference, name)(**call))


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("bits", [3, 8, 20, 64])
def test_pads_are_the_low_bits_of_the_hash(twin: SimpleNamespace, k: int, bits: int) -> None:
    """As evaluated elsewhere, one value at a time, beyond a key's last block."""
    n = (1024 >> k) + 3
    key = np.frombuffer((2**64 - 3).to_bytes(8, "little") + bytes(range(8)), np.uint8)
    v = Cases(n, k, bits, k).bytes(n, 16)
    stream = int.from_bytes(twin.pads_recv(v, k, key, bits).tobytes(), "little")
    for i in (0, 1, n - 4, n - 3, n - 1):
        pad = hash_low(k, i, v[i].tobytes()) % 2**bits
        assert stream >> i * bits & (2**bits - 1) == pad
    # Without a difference all options of an element have the pad of its block.
    zero = np.zeros(16, np.uint8)
    stream = int.from_bytes(twin.pads_send(v, zero, k, key, bits).tobytes(), "little")
    for i in (0, 1, n - 4, n - 3, n - 1):
        for j in range(1 << k):
            pad = hash_low(k, i, v[i].tobytes()) % 2**bits
            assert stream >> ((i << k) + j) * bits & (2**bits - 1) == pad


@pytest.mark.skipif(not FAMILY.isas, reason="no compiled kernels")
@pytest.mark.parametrize("k", WIDTHS)
def test_threads_share_prepared_pads(k: int) -> None:
    """Ranges begin within a stream; what is written ends where another's begins."""
    pool: Pool = _native.Pool(3, hand_over=1)
    try:
        for bits in (1, 13, 60):
            for name, call, field in transfers(2500, k, bits):
                given = prepared(call, field)
                alone = getattr(_native, name)(**given)
                assert same(getattr(_native, name)(**given, pool=pool), alone)
            for name in ("pads_send", "pads_recv"):
                call = Cases(2500, k, bits, bits).all()[name]
                assert same(
                    getattr(_native, name)(**call, pool=pool), getattr(_native, name)(**call)
                )
    finally:
        pool.close()


@pytest.mark.parametrize("k", WIDTHS)
def test_pads_of_another_length_are_refused(twin: SimpleNamespace, k: int) -> None:
    for name, call, field in transfers(67, k, 13):
        right = prepared(call, field)
        place = "w" if "w" in right else "v"
        wrong = [{place: right[place][:-1]}, {place: np.append(right[place], np.uint8(0))}]
        wrong += [{"key": call["key"]}, *({"delta": call["delta"]} for _ in right if _ == "delta")]
        for change in wrong:
            with pytest.raises(ValueError, match="must have shape"):
                getattr(twin, name)(**{**right, **change})
