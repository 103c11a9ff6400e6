"""The cases that a model is calibrated on, as arrays for its Graph's inputs."""

from __future__ import annotations

import numpy as np

from moiety.compiler.ir.graph import Graph
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput
from moiety.runtime.program import Case, tensors_of


def feeds_of(graph: Graph, case: Case) -> dict[str, F32]:
    """float32 `(1, ...)` by input. BadInput where the case does not fit the Graph's inputs, or
    holds NaN or infinity.
    """
    feeds = {}
    for name, given in tensors_of(case, graph.inputs).items():
        shape, tensor = graph.shapes[name][1:], np.asarray(given, np.float32)
        what = "it" if len(graph.inputs) == 1 else f"its {name!r}"
        if tensor.shape != shape:
            raise BadInput(f"{what} has shape {tensor.shape}, the model takes {shape}")
        if not np.isfinite(tensor).all():
            raise BadInput(f"{what} holds NaN or infinite values")
        feeds[name] = tensor[None]
    return feeds
