"""One family of kernels as each twin computes it: the NumPy reference, then the compiled kernels
once for every instruction set that runs here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Literal

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

REFERENCE = "reference"


class KernelFamily:
    """The kernels of some modules of the reference, under the name by which the compiled module
    chooses their instruction set.
    """

    def __init__(self, name: Literal["symmetric", "silent", "rlwe"], *modules: ModuleType) -> None:
        self._name = name
        self.reference = SimpleNamespace(
            **{kernel: getattr(module, kernel) for module in modules for kernel in module.__all__}
        )
        self.isas: tuple[str, ...] = ()
        if _native is not None:
            self.isas = tuple(getattr(_native, f"{name}_isa_names")())
        self.twins = (REFERENCE, *self.isas)

    @property
    def native(self) -> SimpleNamespace:
        """The compiled twin, with the instruction set in use."""
        return SimpleNamespace(**{name: getattr(_native, name) for name in vars(self.reference)})

    @contextmanager
    def twin(self, which: str) -> Iterator[SimpleNamespace]:
        """One of `twins`; a compiled one leaves the instruction set that was in use."""
        if which == REFERENCE:
            yield self.reference
            return
        choose = getattr(_native, f"set_{self._name}_isa")
        before = getattr(_native, f"{self._name}_isa")()
        choose(which)
        try:
            yield self.native
        finally:
            choose(before)
