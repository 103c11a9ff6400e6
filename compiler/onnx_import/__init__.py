"""ONNX models (opset 9 to 21) to Graphs.

`load` reads, checks and fixes the shapes of a model, `builder` walks its nodes with constants
folded as they are met, and the importers, one per ONNX op type, are registered with the decorator
`importer` in `layers`, `arithmetic`, `shaping` and `resizing`.
"""

from moiety.compiler.onnx_import import arithmetic, layers, resizing, shaping  # noqa: F401 (they register themselves)
from moiety.compiler.onnx_import.builder import describe, supported_ops
from moiety.compiler.onnx_import.load import import_onnx

__all__ = ["describe", "import_onnx", "supported_ops"]
