"""Wrong arguments: both twins refuse the same, by a ValueError or TypeError, and none crashes.

`python -m tests.native sanitizers` runs this file with the compiled kernels under ASan and UBSan.
"""

from __future__ import annotations

import numpy as np
import pytest

from moiety.protocols import kernels
from tests.native.secrets import SECRETS
from tests.protocols.kernel_calls import Cases
from tests.protocols.wrong_calls import Call, wrong_calls

BACKENDS: tuple[kernels.Backend, ...] = ("native", "reference")
REFUSED = "refused"
TYPED = ("pool", "with_eq", "complement")
"""Arguments of the reference whose type is the type checker's business alone."""


def outcome(backend: kernels.Backend, name: str, call: Call) -> object:
    """`REFUSED`, or what the kernel returns and leaves in its arguments, which are then put back:
    a copy would lie elsewhere in memory.
    """
    arrays = [x for x in call.values() if isinstance(x, np.ndarray)]
    before = [x.copy() for x in arrays]
    try:
        made = kernels.twin(backend, name)(**call)
    except (ValueError, TypeError, MemoryError):
        return REFUSED
    after = [x.copy() for x in arrays]
    for array, old in zip(arrays, before, strict=True):
        array[...] = old
    return [*(made if isinstance(made, tuple) else (made,)), *after]


def same(ours: object, theirs: object) -> bool:
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return ours is theirs
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_tables_have_all_kernels() -> None:
    assert sorted(Cases(1, 1, 1, 0).all()) == sorted(kernels.kernel_names())
    assert sorted(SECRETS) == sorted(kernels.kernel_names())


@pytest.mark.parametrize("name", kernels.kernel_names())
@pytest.mark.parametrize(("n", "k", "bits"), [(0, 1, 8), (7, 2, 13), (67, 4, 60)])
def test_right_calls_are_answered_alike(name: str, n: int, k: int, bits: int) -> None:
    call = Cases(n, k, bits, 5).all()[name]
    ours, theirs = (outcome(backend, name, call) for backend in BACKENDS)
    assert ours is not REFUSED
    assert same(ours, theirs)


@pytest.mark.parametrize("name", kernels.kernel_names())
@pytest.mark.parametrize(("n", "k", "bits"), [(0, 1, 8), (7, 2, 13)])
def test_twins_refuse_the_same(name: str, n: int, k: int, bits: int) -> None:
    refused = 0
    for what, call in wrong_calls(Cases(n, k, bits, 5).all()[name]):
        ours = outcome("native", name, call)
        refused += ours is REFUSED
        if what.split()[0] not in TYPED:
            assert same(ours, outcome("reference", name, call)), what
    assert refused > 10
