"""Kernels: the local hot loops, each in two twins that compute the same bytes.

`reference.py` and `rlwe_reference.py` (NumPy) are the specification; `_native` (C++, see `native/`) is what normally
runs. Every function named in a reference module's `__all__` is a kernel and has a native twin of the same name. Call
them through this module,

    from moiety.protocols import kernels
    messages, share = kernels.leaf_send(w, delta, 4, tweak, shifts, digits, with_eq=True)

because `set_backend` rebinds the names here: a function imported by name stays on the twin it was taken from.

The choice is made once, at import: `MOIETY_KERNELS=native|reference` if set, otherwise native where the compiled module
is importable and the processor has AES instructions, otherwise the reference with a warning. No kernel changes twin by
itself.
"""

import os
import warnings
from types import ModuleType
from typing import Literal, cast

from moiety.protocols.kernels import reference
from moiety.protocols.kernels.reference import *  # noqa: F403  (static types; set_backend rebinds the names)

try:  # DEV
    from moiety.protocols.kernels import rlwe_reference
    from moiety.protocols.kernels.rlwe_reference import *  # noqa: F403
except ImportError:
    rlwe_reference = ModuleType("rlwe_reference")
    rlwe_reference.__all__ = []

Backend = Literal["native", "reference"]

_FAMILIES: tuple[ModuleType, ...] = (reference, rlwe_reference)
_active: Backend = "reference"

try:
    from moiety.protocols.kernels import _native
except ImportError as error:
    _native = None
    _refusal = f"the compiled module is not importable ({error})"
else:
    _refusal = (
        "" if getattr(_native, "symmetric_supported", lambda: False)() else "this processor has no AES instructions that the compiled kernels know"
    )


def kernel_names() -> tuple[str, ...]:
    """Names of all kernels, both families: the callables that the reference modules export."""
    return tuple(name for family in _FAMILIES for name in family.__all__ if callable(getattr(family, name)))


def twin(backend: Backend, name: str) -> object:
    """The given twin of one kernel, whatever is active (for tests and benchmarks). Raises RuntimeError as
    `set_backend` does."""
    if backend == "native":
        if _refusal:
            raise RuntimeError(f"native kernels are not available: {_refusal}; use the reference kernels")
        if hasattr(_native, name):  # DEV
            return getattr(_native, name)
    return next(getattr(family, name) for family in _FAMILIES if name in family.__all__)


def set_backend(backend: Backend) -> None:
    """Make every kernel of this module the given twin, for the whole process.

    Raises ValueError for an unknown name, RuntimeError where the native kernels cannot run here.
    """
    global _active
    if backend not in ("native", "reference"):
        raise ValueError(f"kernels: unknown backend {backend!r}; choose 'native' or 'reference'")
    globals().update({name: twin(backend, name) for name in kernel_names()})
    _active = backend


def backend_name() -> Backend:
    """Which twin runs: "native" or "reference"."""
    return _active


def native_available() -> bool:
    """Whether `set_backend("native")` would succeed."""
    return not _refusal


def _choose() -> None:
    asked = os.environ.get("MOIETY_KERNELS")
    if asked is not None:
        set_backend(cast(Backend, asked))
    elif _refusal:
        warnings.warn(
            f"moiety runs on its NumPy reference kernels, many times slower: {_refusal}. "
            "Set MOIETY_KERNELS=reference to choose this knowingly.",
            RuntimeWarning,
            stacklevel=2,
        )
    else:
        set_backend("native")


_choose()
