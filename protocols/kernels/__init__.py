"""Kernels: the local hot loops, each in two twins that compute the same bytes.

`reference` (NumPy) is the specification; `_native` (C++, see `native/`) is what normally runs.
Every function named in the `__all__` of a family of `reference` is a kernel and has a native twin
of the same name. Call them through this module,

    from moiety.protocols import kernels
    messages, share = kernels.leaves_send(w, delta, 4, key, shifts, digits, with_eq=True)

because `set_backend` rebinds the names here: a function imported by name stays on the twin it was
taken from.

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

from moiety.protocols.errors import BadInput
from moiety.protocols.kernels.reference import (
    columns,
    digits,
    gates,
    masked,
    polynomials,
    rlwe,
    silent,
    streams,
    symmetric,
)

# The kernels by name, for their static types: `set_backend` rebinds each to the twin in use.
from moiety.protocols.kernels.reference.columns import *  # noqa: F403
from moiety.protocols.kernels.reference.digits import *  # noqa: F403
from moiety.protocols.kernels.reference.gates import *  # noqa: F403
from moiety.protocols.kernels.reference.masked import *  # noqa: F403
from moiety.protocols.kernels.reference.polynomials import *  # noqa: F403
from moiety.protocols.kernels.reference.pool import Pool as Pool
from moiety.protocols.kernels.reference.rlwe import *  # noqa: F403
from moiety.protocols.kernels.reference.silent import *  # noqa: F403
from moiety.protocols.kernels.reference.streams import *  # noqa: F403
from moiety.protocols.kernels.reference.symmetric import *  # noqa: F403

VARIABLE = "MOIETY_KERNELS"
"""Of the environment: the twin that is asked for."""

Backend = Literal["native", "reference"]

FAMILIES: tuple[ModuleType, ...] = (
    symmetric,
    gates,
    digits,
    streams,
    masked,
    columns,
    polynomials,
    silent,
    rlwe,
)
"""The modules whose `__all__` names the kernels."""

_active: Backend = "reference"
_native: Any = None
_refusal = ""
"""Why the native kernels cannot run; empty where they can."""


def kernel_names() -> tuple[str, ...]:
    """Names of all kernels, family after family."""
    return tuple(name for family in FAMILIES for name in family.__all__)


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
    return next(getattr(family, name) for family in FAMILIES if name in family.__all__)


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


def open_pool(threads: int) -> Pool:
    """Threads for the kernels, 1..256 with the caller's. Close it."""
    if _refusal:
        return Pool(threads)
    return cast(Pool, _native.Pool(threads))


def description() -> str:
    """What a measurement is filed under: the backend and, if native, its instruction sets."""
    if _active == "reference":
        return "reference"
    return f"native (symmetric: {_native.symmetric_isa()}, RLWE: {_native.rlwe_isa()})"


def _load_native() -> tuple[Any, str]:
    """The compiled module (None where there is none) and why it cannot run, if so."""
    try:
        native: Any = import_module("moiety.protocols.kernels._native")
    except ImportError as error:
        return None, f"the compiled module is not importable ({error})"
    if not native.symmetric_supported():
        return native, "this processor has no AES instructions that the compiled kernels know"
    missing = [name for name in ("Pool", *kernel_names()) if not hasattr(native, name)]
    if missing:
        lacks = ", ".join(missing)
        return native, f"the compiled module is older than the sources: rebuild it (lacks {lacks})"
    return native, ""


def _choose() -> None:
    """The twin asked for by `MOIETY_KERNELS`, or the best that runs. Raises `BadInput` where there
    is no such twin, or it cannot run.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked:
        try:
            set_backend(cast(Backend, asked))
        except (ValueError, RuntimeError) as error:
            raise BadInput(f"{VARIABLE}={asked[:40]}: {error}") from None
    elif not _refusal:
        set_backend("native")
    else:
        warnings.warn(
            f"the NumPy reference kernels run, many times slower than the native ones: {_refusal}. "
            f"Set {VARIABLE}=reference to choose them knowingly.",
            RuntimeWarning,
            stacklevel=2,
        )


_native, _refusal = _load_native()
_choose()
