"""Products of two values: legalisation, units, shifts and rings; the executor against the float
meaning; the error model, and the search.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import OPS
from moiety.compiler.ir.scales import propagate
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.error import error_variances, predicted_error
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Ranges, calibrate
from moiety.compiler.planning.responses import measure_responses
from moiety.compiler.planning.search.descent import Search
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.protocols.errors import BadPlan, ContractViolation
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import PRECISE, GraphMaker, compile_and_compare
from tests.support.programs import uncommitted

STYLES = {
    "precise": (PRECISE, 2e-3),
    "exact": (PlanOptions(), 0.05),
    "stochastic": (PlanOptions(rounding="stochastic"), 0.05),
    "uniform": (PlanOptions(bits=42, scale=14), 0.02),
    "minimal": (PlanOptions(disclose="minimal"), 0.05),
}


def channel_gate(seed: int = 0) -> GraphMaker:
    """Squeeze and excite, with a ReLU as the gate, in a residual block."""
    maker = GraphMaker(3, 8, 8, seed=seed)
    x = maker.add("Relu", maker.conv("x", 6))
    gate = maker.add("Relu", maker.conv(maker.pool("AvgPool", x, 8, 8), 3, 1))
    gate = maker.add("Relu", maker.conv(gate, 6, 1))
    total = maker.add("Add", maker.add("Mul", x, gate), maker.conv("x", 6))
    maker.conv(maker.add("Relu", total), 2)
    return maker


def pixel_gate(seed: int = 0) -> GraphMaker:
    """One gate for all channels of a pixel."""
    maker = GraphMaker(3, 8, 8, seed=seed)
    x = maker.conv("x", 4)
    gate = maker.add("Relu", maker.conv(maker.add("Relu", x), 1, 1))
    maker.conv(maker.add("Mul", x, gate), 2)
    return maker


def square(seed: int = 0) -> GraphMaker:
    """Of a value that has two signs and no ReLU; pooled, and compared."""
    maker = GraphMaker(2, 6, 6, seed=seed)
    x = maker.conv("x", 4)
    z = maker.add("Mul", x, x)
    x = maker.conv(maker.add("Relu", maker.pool("MaxPool", z)), 3, 1)
    maker.conv(maker.add("Relu", x), 2)
    return maker


def both_wide(seed: int = 0) -> GraphMaker:
    """Of one shape, in a ring with others, and the cube of the image."""
    maker = GraphMaker(2, 6, 6, seed=seed)
    a, b = maker.conv("x", 3), maker.add("Relu", maker.conv("x", 3))
    cube = maker.add("Mul", maker.add("Mul", "x", "x"), "x")
    joined = maker.concat(maker.add("Mul", a, b), a, cube)
    x = maker.conv(maker.add("Relu", joined), 2)
    maker.conv(maker.add("Relu", x), 2)
    return maker


MAKERS = {each.__name__: each for each in (channel_gate, pixel_gate, square, both_wide)}


def calibrated(maker: GraphMaker, images: int = 16) -> tuple[Graph, Ranges]:
    graph, calibration = legalise(maker.graph()), maker.images(images)
    ranges = calibrate(graph, calibration)
    return graph, replace(ranges, responses=measure_responses(graph, ranges, list(calibration), 4))


def measured_error(plan: Plan, seed: int = 7) -> float:
    """Root mean square over images and results."""
    from moiety.compiler.lowering.lower import lower

    program, weights = lower(plan)
    images = np.random.default_rng(seed).normal(size=(8, *plan.graph.shapes["x"][1:]))
    executor = CleartextExecutor(program, weights, np.random.default_rng(1))
    (output,) = plan.graph.outputs
    expected = run_graph(plan.graph, {"x": images})[output]
    found = np.stack([executor.run(image)[output] for image in images])
    return float(np.sqrt(np.mean((found.reshape(expected.shape) - expected) ** 2)))


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", MAKERS)
def test_the_program_is_the_float_graph(name: str, style: str) -> None:
    options, tolerance = STYLES[style]
    compile_and_compare(MAKERS[name](), options=options, tolerance=tolerance)
