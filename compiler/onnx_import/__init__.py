"""ONNX models (opset 7 to 25) to Graphs: `load` reads, checks and fixes the shapes of a model,
`walk` goes through its nodes and folds constants, an `@importer` function per ONNX op type emits
Graph nodes. A new importer is one function in one file.
"""

from moiety.compiler.registry import import_all

import_all(__name__, __path__)
