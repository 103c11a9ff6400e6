"""The error of a plan as measured: the cleartext executor on images, against the float model.

The error model (`planning.error`) predicts to first order, over the distribution of roundings; what
is promised of a plan is what it does on images. The executor takes a fifth of a second for an image
of a DenseNet-121.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.to_onnx import to_onnx
from moiety.compiler.planning.feeds import feeds_of
from moiety.compiler.planning.report import Measured
from moiety.protocols.arrays import F64
from moiety.runtime.program import Case, Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights


class Measurement:
    """Images, and the results of a Graph on them before the client's own steps. held_out: were the
    images kept out of the calibration?
    """

    def __init__(self, graph: Graph, images: Sequence[Case], held_out: bool) -> None:
        self.images, self.held_out = images, held_out
        self._expected = _float_results(graph, images)

    def of(self, program: Program, weights: Weights) -> Measured:
        """The error of what a plan of that Graph was lowered to."""
        # The executor's generator draws what stochastic rounding does; nothing of it is secret.
        executor = CleartextExecutor(program, weights, np.random.default_rng(0))
        errors = [
            _results(executor, image) - expected
            for image, expected in zip(self.images, self._expected, strict=True)
        ]
        return Measured(
            error=float(np.sqrt(np.mean(np.square(errors)))),
            largest=float(np.abs(errors).max()),
            images=len(self.images),
            held_out=self.held_out,
            overflows=sum(executor.overflows.values()),
        )


def _results(executor: CleartextExecutor, image: Case) -> F64:
    """All that is revealed of one image, in real numbers, one output after the other."""
    outputs, integers = executor.program.outputs, executor.run_integers(image)
    return np.concatenate([integers[i].ravel() * step.scale for i, step in outputs.items()])


def _float_results(graph: Graph, images: Sequence[Case]) -> list[F64]:
    """The same of the Graph's float meaning."""
    values = list(graph.outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        to_onnx(graph, values).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    found = []
    for image in images:
        results = dict(zip(names, session.run(None, feeds_of(graph, image)), strict=True))
        arrays = [np.asarray(results[value], np.float64) for value in values]
        found.append(np.concatenate([array.ravel() for array in arrays]))
    return found
