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


def __getattr__(name: str) -> object:
    """Loaded when asked for: who imports one room loads none of the others."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
