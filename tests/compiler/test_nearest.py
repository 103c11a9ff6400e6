"""Whatever the planner makes an integer of, it rounds to the nearest, and says nothing of it:
weights that differ within a power of two make one Program, with one list of what is disclosed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from moiety.compiler.compile import CompileOptions, compile_graph
from moiety.compiler.ir.graph import Graph
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.units import gate_thresholds, ideal_weights
from moiety.runtime.program import Program, Rounding
from tests.compiler.test_search import calibrated
from tests.support.graphs import GraphMaker
from tests.support.programs import uncommitted

CHANNELS = 48


def network(seed: int = 1) -> tuple[Graph, Ranges]:
    """Layers, gates and a constant of many channels, calibrated."""
    maker = GraphMaker(2, 6, 6, seed=seed)
    x = maker.conv("x", CHANNELS)
    value = {"value": maker.rng.normal(size=(1, CHANNELS, 1, 1))}
    shifted = maker.add("AddConst", x, consts=value)
    y = maker.conv(maker.affine_relu(maker.add("Add", shifted, x)), CHANNELS)
    maker.conv(maker.add("Relu", y), 3)
    return calibrated(maker.graph(), maker.images(12))


def check_nearest(integers: npt.NDArray[np.int64], real: npt.ArrayLike) -> None:
    """Off by less than a half, on either side, and by nothing in the mean."""
    real = np.broadcast_to(np.asarray(real, np.float64), integers.shape)
    error = integers - real
    assert np.abs(error).max() <= 0.5 + 1e-6
    assert error.size < 30 or error.min() < -0.35 < 0.35 < error.max()
    assert abs(error.mean()) < 5 * np.sqrt(1 / 12 / error.size)


def without_means(ranges: Ranges) -> Ranges:
    """Of values whose mean is zero, so that no bias corrects weights."""

    def zeros(arrays: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
        return {value: np.zeros_like(array) for value, array in arrays.items()}

    return replace(ranges, mean=zeros(ranges.mean), open=zeros(ranges.open))


def planned(rounding: Rounding) -> Plan:
    graph, ranges = network()
    options = PlanOptions(rounding=rounding, activation_bits=9, weight_bits=7)
    return make_plan(graph, without_means(ranges), options)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_weights_and_biases(rounding: Rounding) -> None:
    """An exact truncation rounds down: half of what it drops is in the bias."""
    plan = planned(rounding)
    formats = plan.formats
    first = next(iter(plan.layers))
    for value, layer in plan.layers.items():
        node, scale = formats.graph.producer(value), 2.0**layer.shift
        assert node is not None
        assert layer.shift > 0
        check_nearest(
            layer.weight.astype(np.int64), ideal_weights(formats.graph, formats.units, node) * scale
        )
        if value == first:  # no gate stands before it, whose rounding its bias would make up for
            bias = node.consts["bias"].astype(np.float64) - formats.zero(value)
            real = bias / formats.unit(value) * scale
            half = 2 ** (layer.shift - 1) if rounding == "exact" else 0
            check_nearest(layer.bias.reshape(-1), real.reshape(-1) + half)


def test_thresholds_and_constants() -> None:
    plan = planned("exact")
    formats = plan.formats
    for value, gate in plan.gates.items():
        node = formats.graph.producer(value)
        assert node is not None
        threshold = gate_thresholds(formats.units.scales, formats.units.zero, node)
        assert gate.clamped == 0
        check_nearest(gate.threshold, threshold / formats.unit(node.inputs[0]))
    (constant,) = plan.constants
    node = formats.graph.producer(constant)
    assert node is not None
    real = node.consts["value"].astype(np.float64).reshape(-1) / formats.unit(constant)
    check_nearest(plan.constants[constant].reshape(-1), real)


# --- what follows from weights, and is not said ---------------------------------------------------


def altered(graph: Graph, seed: int) -> Graph:
    """All weights and biases a hundredth larger or smaller, each by itself."""
    rng = np.random.default_rng(seed)
    nodes = [
        node.with_(
            consts={
                name: (array * rng.uniform(0.99, 1.01, array.shape)).astype(np.float32)
                for name, array in node.consts.items()
            }
        )
        for node in graph.nodes
    ]
    return replace(graph, nodes=tuple(nodes))


STYLES = [
    PlanOptions(),
    PlanOptions(rounding="stochastic"),
    PlanOptions(bits=42, scale=10),
    PlanOptions(disclose="minimal"),
]


@pytest.mark.parametrize("options", STYLES, ids=range(len(STYLES)))
def test_weights_within_a_power_of_two_make_one_program(options: PlanOptions) -> None:
    """With the same ranges: what is told of the weights is told in whole bits, and no sentence of
    `disclosed` says more than that.
    """
    graph, ranges = network()
    programs = [
        made(each, ranges, options) for each in (graph, *(altered(graph, n) for n in (1, 2)))
    ]
    assert programs[0] == programs[1] == programs[2]
    assert programs[0].disclosed or options.disclose == "minimal"


def made(graph: Graph, ranges: Ranges, options: PlanOptions) -> Program:
    return uncommitted(compile_graph(legalise(graph), ranges, CompileOptions(options)).program)
