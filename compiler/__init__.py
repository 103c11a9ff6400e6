"""The compiler: an ONNX model to a public Program and secret Weights.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moiety.compiler.compile import Compiled, CompileOptions, compile_graph, compile_model
    from moiety.compiler.lowering.revealing import Revealing
    from moiety.compiler.onnx_import.load import import_onnx
    from moiety.compiler.passes.manager import optimise
    from moiety.compiler.planning.options import PlanOptions
    from moiety.compiler.planning.ranges import Ranges

__all__ = [
    "CompileOptions",
    "Compiled",
    "PlanOptions",
    "Ranges",
    "Revealing",
    "compile_graph",
    "compile_model",
    "import_onnx",
    "optimise",
]

_HOMES = {
    "CompileOptions": "compile",
    "Compiled": "compile",
    "PlanOptions": "planning.options",
    "Ranges": "planning.ranges",
    "Revealing": "lowering.revealing",
    "compile_graph": "compile",
    "compile_model": "compile",
    "import_onnx": "onnx_import.load",
    "optimise": "passes.manager",
}

EXTRAS = "moiety.runtime.intake.extras"
"""Says what to install; loaded where something is missing."""


def __getattr__(name: str) -> object:
    """Loaded when asked for: who imports one room loads none of the others. Raises `BadInput` where
    the extra `compiler` is not installed.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        raise import_module(EXTRAS).missing(f"moiety.compiler.{name}", error) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__
