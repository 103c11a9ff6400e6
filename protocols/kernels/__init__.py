"""Kernels: the local hot loops, each in two twins that compute the same bytes.

`reference.py`, `rlwe_reference.py` and `silent_reference.py` (NumPy) are the specification;
`_native` (C++, see `native/`) is what normally runs. Every function named in a reference module's
`__all__` is a kernel and has a native twin of the same name. Call them through this module,

    from moiety.protocols import kernels
    messages, share = kernels.leaves_send(w, delta, 4, tweak, shifts, digits, with_eq=True)

because `set_backend` rebinds the names here: a function imported by name stays
on the twin it was taken from.

The choice is made once, at import: `MOIETY_KERNELS=native|reference` if set, otherwise native where
the compiled module is importable and the processor has AES instructions, otherwise the reference
with a warning. No kernel changes twin by itself.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, cast

from moiety.protocols.kernels.reference import gates as gates_reference
from moiety.protocols.kernels.reference import rlwe as rlwe_reference
from moiety.protocols.kernels.reference import silent as silent_reference
from moiety.protocols.kernels.reference import symmetric as reference
from moiety.protocols.kernels.reference.gates import *  # noqa: F403
from moiety.protocols.kernels.reference.rlwe import *  # noqa: F403
from moiety.protocols.kernels.reference.silent import *  # noqa: F403
from moiety.protocols.kernels.reference.symmetric import *  # noqa: F403 - for their static types; set_backend rebinds the names

Backend = Literal["native", "reference"]

_FAMILIES: tuple[ModuleType, ...] = (reference, gates_reference, rlwe_reference, silent_reference)
_active: Backend = "reference"

_native: Any
try:
    _native = import_module("moiety.protocols.kernels._native")
except ImportError as error:
    _native = None
    _refusal = f"the compiled module is not importable ({error})"
else:
    _refusal = ""


def kernel_names() -> tuple[str, ...]:
    """Names of all kernels, all families: the functions that the reference modules export."""
    return tuple(
        name for family in _FAMILIES for name in family.__all__ if callable(getattr(family, name))
    )


if not _refusal and not _native.symmetric_supported():
    _refusal = "this processor has no AES instructions that the compiled kernels know"
if not _refusal and (_missing := [name for name in kernel_names() if not hasattr(_native, name)]):
    _refusal = f"the compiled module is older than the sources, and lacks {', '.join(_missing)}: rebuild it"


def twin(backend: Backend, name: str) -> Callable[..., Any]:
    """One kernel of the given twin, whatever is active. Raises as `set_backend` does."""
    if backend not in ("native", "reference"):
        raise ValueError(f"kernels: unknown backend {backend!r}; choose 'native' or 'reference'")
    if backend == "native":
        if _refusal:
            raise RuntimeError(
                f"the native kernels cannot run: {_refusal}; 'reference' is the slow alternative"
            )
        return cast(Callable[..., Any], getattr(_native, name))
    return next(getattr(family, name) for family in _FAMILIES if name in family.__all__)


def set_backend(backend: Backend) -> None:
    """Make every kernel of this module the given twin, for the whole process.

    Raises ValueError for an unknown backend, RuntimeError where the native kernels cannot run.
    """
    global _active
    globals().update({name: twin(backend, name) for name in kernel_names()})
    _active = backend


def backend_name() -> Backend:
    """Which twin runs: "native" or "reference"."""
    return _active


def description() -> str:
    """The backend and, for the native one, the instruction sets in use: what a
    measurement should be filed under.
    """
    if _active == "reference":
        return "reference"
    return f"native (symmetric: {_native.symmetric_isa()}, RLWE: {_native.rlwe_isa()})"


def _choose() -> None:
    asked = os.environ.get("MOIETY_KERNELS")
    if asked is not None:
        set_backend(cast(Backend, asked))
    elif not _refusal:
        set_backend("native")
    else:
        warnings.warn(
            f"the NumPy reference kernels run, many times slower than the native ones: {_refusal}. "
            "Set MOIETY_KERNELS=reference to choose them knowingly.",
            RuntimeWarning,
            stacklevel=2,
        )


_choose()
