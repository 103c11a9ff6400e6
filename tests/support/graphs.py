"""Hand-made Graphs for tests of the compiler, and the comparison of a compiled Graph with its float
meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.shapes import infer_shapes, rebuilt
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.arrays import F32
from moiety.runtime.program.cleartext import CleartextExecutor

PRECISE = PlanOptions(activation_bits=20, weight_bits=16, rounding="stochastic")
"""Rounding errors far below anything that a wrong formula would do."""


class GraphMaker:
    """Adds nodes to a Graph one by one; every method returns the new value's name. Weights are
    drawn from a seed.
    """

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = {"x": (1, *shape)}

    def add(
        self,
        op: str,
        *inputs: str,
        consts: Mapping[str, npt.ArrayLike] | None = None,
        **attrs: object,
    ) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        arrays = {name: np.asarray(array, np.float32) for name, array in (consts or {}).items()}
        node = Node(op, output, inputs, output, attrs, arrays)
        self.nodes.append(node)
        self.shapes |= infer_shapes([node], {value: self.shapes[value] for value in inputs})
        return output

    def conv(
        self,
        x: str,
        filters: int,
        kernel: int = 3,
        pad: int | None = None,
        groups: int = 1,
        bias: float = 0.3,
    ) -> str:
        depth = self.shapes[x][1] // groups
        weight = self.rng.normal(size=(filters, depth, kernel, kernel)) / np.sqrt(
            depth * kernel * kernel
        )
        pads = (kernel // 2 if pad is None else pad,) * 4
        consts = {"weight": weight, "bias": self.rng.normal(size=filters) * bias}
        return self.add(
            "Conv", x, consts=consts, strides=(1, 1), pads=pads, dilations=(1, 1), groups=groups
        )

    def gemm(self, x: str, filters: int) -> str:
        depth = self.shapes[x][1]
        weight = self.rng.normal(size=(filters, depth)) / np.sqrt(depth)
        return self.add(
            "Gemm", x, consts={"weight": weight, "bias": self.rng.normal(size=filters) * 0.3}
        )

    def affine_relu(
        self, x: str, gain: npt.ArrayLike | None = None, shift: npt.ArrayLike | None = None
    ) -> str:
        channels = self.shapes[x][1]
        gain = self.rng.uniform(0.5, 1.5, channels) if gain is None else gain
        shift = self.rng.normal(size=channels) * 0.5 if shift is None else shift
        return self.add("AffineRelu", x, consts={"scale": gain, "shift": shift})

    def pool(
        self, op: str, x: str, kernel: int = 2, stride: int = 2, pad: int = 0, include: bool = True
    ) -> str:
        window, strides, pads = (kernel, kernel), (stride, stride), (pad,) * 4
        if op != "AvgPool":
            return self.add(op, x, kernel=window, strides=strides, pads=pads)
        return self.add(op, x, kernel=window, strides=strides, pads=pads, count_include_pad=include)

    def concat(self, *inputs: str) -> str:
        return self.add("Concat", *inputs, axis=1)

    def flatten(self, x: str) -> str:
        return self.add("Reshape", x, shape=(1, int(np.prod(self.shapes[x][1:]))))

    def graph(self, *outputs: str) -> Graph:
        chosen = outputs or (self.nodes[-1].output,)
        empty = Graph("test", ("x",), chosen, (), {"x": self.shapes["x"]})
        return rebuilt(empty, self.nodes)

    def images(self, n: int = 16) -> F32:
        return self.rng.normal(size=(n, *self.shapes["x"][1:])).astype(np.float32)


def compile_and_compare(
    maker: GraphMaker, *outputs: str, options: PlanOptions = PRECISE, tolerance: float = 2e-3
) -> tuple[Compiled, CleartextExecutor]:
    """Compile, run the executor on the calibration images, and hold it against the float meaning
    (relative to the largest result).
    """
    graph, images = maker.graph(*outputs), maker.images()
    compiled = compile_graph(graph, images, CompileOptions(options))
    executor = CleartextExecutor(compiled.program, compiled.weights, np.random.default_rng(1))
    results = [executor.run(image) for image in images]
    values = run_graph(graph, {"x": images.astype(np.float64)})
    for name in graph.outputs:
        expected, actual = values[name], np.stack([result[name] for result in results])
        error = np.abs(actual.reshape(expected.shape) - expected).max() / np.abs(expected).max()
        assert error < tolerance, f"{name}: relative error {error:.2g}"
    assert not executor.overflows
    return compiled, executor
