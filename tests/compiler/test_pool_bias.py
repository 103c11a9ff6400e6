"""The mean error that stochastic rounding has behind max-pools: its law for one window, and what
the error model makes of it, against the executor.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.ops import OPS
from moiety.compiler.planning.error import error_variances, predicted_error
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.report import plan_report
from moiety.compiler.planning.responses import biased
from moiety.compiler.planning.search.descent import Search
from moiety.compiler.planning.search.objective import Objective
from moiety.compiler.planning.search.searched_plan import searched_plan
from moiety.protocols.arrays import F32, F64
from moiety.protocols.errors import BadInput
from tests.compiler.test_search import calibrated, measured_error
from tests.support.graphs import GraphMaker

SIZE = 48
STOCHASTIC = PlanOptions(rounding="stochastic", weight_bits=16)


# --- one window -----------------------------------------------------------------------------------


def bias(windows: F64, kernel: int) -> F64:
    """Of max-pools over whole planes `(planes, 1, kernel, kernel)`."""
    maker = GraphMaker(1, kernel, kernel)
    maker.pool("MaxPool", "x", kernel, 1)
    (node,) = maker.graph().nodes
    op = OPS["MaxPool"]
    return op.rounding_bias(node, windows, op.evaluate(node, [windows])).ravel()


@pytest.mark.parametrize("kernel", [2, 3])
def test_equal_elements(kernel: int) -> None:
    """Over fractions p of k equal elements, `1 - (1-p)^k - p` has the mean `1/2 - 1/(k+1)`."""
    p = (np.arange(2000) + 0.5) / 2000
    found = bias(np.tile(p[:, None, None, None] - 7, (1, 1, kernel, kernel)), kernel)
    np.testing.assert_allclose(found, 1 - (1 - p) ** kernel**2 - p, atol=1e-12)
    assert found.mean() == pytest.approx(1 / 2 - 1 / (kernel**2 + 1), abs=1e-6)


def test_any_elements() -> None:
    """Against draws: some windows within one step, some within four."""
    rng = np.random.default_rng(3)
    windows = rng.uniform(-1, 1, (40, 1, 2, 2)) * np.where(np.arange(40) % 2, 0.5, 2.0).reshape(
        -1, 1, 1, 1
    )
    floor = np.floor(windows)
    draws = floor + (rng.random((20_000, *windows.shape)) < windows - floor)
    measured = draws.max(axis=(3, 4)).mean(axis=0).ravel() - windows.max(axis=(2, 3)).ravel()
    np.testing.assert_allclose(bias(windows, 2), measured, atol=0.02)


def test_one_element_is_unbiased() -> None:
    """And so is a largest one that is a step above all others."""
    np.testing.assert_allclose(bias(np.array([2.3, -0.5]).reshape(2, 1, 1, 1), 1), 0, atol=1e-12)
    np.testing.assert_allclose(bias(np.array([[2.3, 1.2], [0, -4]])[None, None], 2), 0, atol=1e-12)


# --- networks -------------------------------------------------------------------------------------


def smooth_images(border: float) -> F32:
    """Waves longer than a window, `(8, 2, SIZE, SIZE)`, with a black border of this part of the
    side: what neighbouring pixels of a radiograph are like.
    """
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = (8, 2, 3, 1, 1)
    angle = rng.uniform(1, 6, waves) * x + rng.uniform(1, 6, waves) * y + rng.uniform(0, 6, waves)
    inside = (np.abs(x - 0.5) < 0.5 - border) & (np.abs(y - 0.5) < 0.5 - border)
    images: F32 = ((rng.normal(size=waves) * np.sin(angle)).sum(2) * inside).astype(np.float32)
    return images


def network(kernel: int, pools: int, border: float) -> tuple[Graph, Ranges, F32]:
    """Convolutions with max-pools between them, and the mean over all places at the end."""
    maker = GraphMaker(2, SIZE, SIZE, seed=3)
    value = maker.conv("x", 6)
    for _ in range(pools):
        value = maker.add("Relu", maker.pool("MaxPool", value, kernel))
        value = maker.conv(value, 8)
    value = maker.add("Relu", value)
    left = maker.shapes[value][2]
    maker.gemm(maker.flatten(maker.pool("AvgPool", value, left, left)), 4)
    images = smooth_images(border)
    return (*calibrated(maker.graph(), images, probes=4), images)


@pytest.mark.parametrize("border", [0.0, 0.2])
@pytest.mark.parametrize(("kernel", "pools"), [(3, 1), (2, 1), (3, 2)])
def test_predicted_is_measured(kernel: int, pools: int, border: float) -> None:
    """Within a factor of 2.5, where variances alone were short of it by up to 20."""
    graph, ranges, images = network(kernel, pools, border)
    short = []
    for bits in (8, 10, 12):
        plan = make_plan(graph, ranges, replace(STOCHASTIC, activation_bits=bits))
        measured = measured_error(plan, images)
        assert 0.4 < measured / predicted_error(plan) < 2.5
        parts = error_variances(plan).items()
        short.append(measured**2 / sum(x for name, x in parts if not name.startswith("mean.")))
    assert max(short) > (3 if border else 1.5) ** 2


def test_exact_rounding_has_no_bias() -> None:
    graph, ranges, _ = network(3, 1, 0.0)
    plan = make_plan(graph, ranges, PlanOptions(rounding="exact"))
    assert not any(name.startswith("mean.") for name in error_variances(plan))


def test_what_no_layer_has_rounded_is_not_biased() -> None:
    """A max-pool of the image, whose rounding to nearest keeps the order of its elements."""
    maker = GraphMaker(2, 8, 8)
    maker.pool("MaxPool", maker.conv(maker.pool("MaxPool", "x"), 3))
    first, second = maker.graph().nodes_of("MaxPool")
    assert biased(maker.graph()) == [second]
    assert first not in biased(maker.graph())


def test_the_search_knows_it() -> None:
    """Its terms add up to what real plans are predicted, and its bound holds in the executor."""
    graph, ranges, images = network(3, 1, 0.2)
    objective = Objective(make_plan(graph, ranges, STOCHASTIC).formats)
    search = Search(objective)
    for bits in (8, 11):
        state = objective.variables.state(bits, 12)
        plan = make_plan(graph, ranges, STOCHASTIC, search.widths(state))
        error = np.sqrt(sum(term.evaluate(state)[1] for term in objective.terms))
        assert error == pytest.approx(predicted_error(plan), rel=0.25)
    bound = predicted_error(make_plan(graph, ranges, replace(STOCHASTIC, activation_bits=10)))
    found = searched_plan(graph, ranges, replace(STOCHASTIC, target_error=bound))
    assert measured_error(found, images) < 2.5 * bound


def test_ranges_of_before_do_for_exact_rounding_alone() -> None:
    graph, ranges, _ = network(3, 1, 0.0)
    responses = ranges.required_responses()
    earlier = replace(ranges, responses=replace(responses, pool={}))
    plan = make_plan(graph, earlier, STOCHASTIC)
    with pytest.raises(BadInput, match="round exactly"):
        predicted_error(plan)
    assert plan_report(plan, "digest").predicted_error is None
    exact = make_plan(graph, earlier, PlanOptions(rounding="exact"))
    assert plan_report(exact, "digest").predicted_error == predicted_error(exact)
