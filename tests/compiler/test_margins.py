"""Margins: the tail's law, what leaving images out finds, and rings that hold what it promises."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety.compiler.ir.graph import Graph
from moiety.compiler.lowering.lower import lower
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning.margins import (
    LEAST,
    MOST,
    Tail,
    fitted,
    images_wanted,
    overflow_probability,
    with_margins,
)
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.ranges import Ranges, calibrate
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadInput, BadPlan
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import GraphMaker


def gated_network(images: int = 12, seed: int = 4) -> tuple[Graph, F32]:
    """Gates on a convolution and on a residual sum, and a max-pool."""
    maker = GraphMaker(2, 8, 8, seed=seed)
    first = maker.conv("x", 4)
    second = maker.conv(maker.affine_relu(first), 4)
    pooled = maker.pool("MaxPool", maker.add("Add", first, second))
    maker.conv(maker.affine_relu(pooled), 3)
    return legalise(maker.graph()), maker.images(images)


def within(reached: Ranges, ranges: Ranges, factor: float) -> bool:
    """Does one image stay within so many times the calibrated ranges, from their middles?"""
    return all(
        (np.abs(extreme[value] - middle) <= 0.98 * factor * half).all()
        for value in ranges.low
        for middle, half in [
            (
                (ranges.low[value] + ranges.high[value]) / 2,
                (ranges.high[value] - ranges.low[value]) / 2,
            )
        ]
        for extreme in (reached.low, reached.high)
    )


class TestTail:
    @given(
        st.integers(1, 400),
        st.floats(0.01, 10),
        st.floats(1e-9, 1e-2),
    )
    def test_a_quantile_has_its_probability(self, n: int, mean: float, p: float) -> None:
        tail = Tail(n, max(1, n // 2), mean * n)
        assert tail.probability(tail.quantile(p)) == pytest.approx(p, rel=1e-6)

    def test_the_next_of_few_exponentials(self) -> None:
        """How often it exceeds what was found, the scale being an estimate: as often as stated."""
        rng = np.random.default_rng(5)
        drawn = rng.exponential(3.0, (20_000, 9))
        exceeded = [row[8] > Tail.of(row[:8]).quantile(0.02) for row in drawn]
        assert np.mean(exceeded) == pytest.approx(0.02, abs=0.004)

    def test_few_images_pay(self) -> None:
        wanted = [Tail(n, n, 1.0 * n).quantile(1e-6) for n in (4, 8, 24, 100, 10_000)]
        assert wanted == sorted(wanted, reverse=True)
        assert wanted[-1] == pytest.approx(-np.log(1e-6), rel=0.01)

    def test_nothing_known(self) -> None:
        assert Tail.of(np.zeros(5)).quantile(1e-6) == np.inf
        assert Tail.of(np.zeros(5)).probability(1.0) == 1 / 6

    def test_images_wanted(self) -> None:
        """From there on, a tenth of the margin."""
        n = images_wanted(1e-6)
        assert Tail(n, n, 1.0 * n).quantile(1e-6) == pytest.approx(-1.1 * np.log(1e-6), rel=0.01)


class TestLeavingOut:
    def test_it_is_calibrating_without_the_image(self) -> None:
        graph, images = gated_network(6)
        ranges = calibrate(graph, images)
        for left in range(6):
            others = calibrate(graph, np.delete(images, left, axis=0))
            for value in ranges.low:
                low, high = ranges.low_image[value], ranges.high_image[value]
                without = np.where(low == left, ranges.second_low[value], ranges.low[value])
                np.testing.assert_allclose(without, others.low[value], rtol=1e-5, atol=1e-6)
                without = np.where(high == left, ranges.second_high[value], ranges.high[value])
                np.testing.assert_allclose(without, others.high[value], rtol=1e-5, atol=1e-6)

    def test_a_loud_image_widens_the_margins(self) -> None:
        graph, images = gated_network()
        calm = fitted(graph, calibrate(graph, images), PlanOptions(), 1e-3)
        images[3] *= 2
        loud = fitted(graph, calibrate(graph, images), PlanOptions(), 1e-3)
        assert min(loud.headroom.values()) > max(calm.headroom.values())
        assert loud.bits > calm.bits

    def test_one_image_says_nothing(self) -> None:
        graph, images = gated_network(1)
        margins = fitted(graph, calibrate(graph, images), PlanOptions(), 1e-6)
        assert set(margins.headroom.values()) == {MOST}

    def test_stated_probabilities(self) -> None:
        """Met where bits may meet them; of margins given in bits, known."""
        graph, images = gated_network(200)
        ranges = calibrate(graph, images)
        for stated in (1e-2, 1e-6):
            options = with_margins(graph, ranges, PlanOptions(overflow_probability=stated))
            least = min(options.headroom.values()) == LEAST
            found = overflow_probability(graph, ranges, options)
            assert found <= stated * 1.001
            assert least or found == pytest.approx(stated)
        given = [
            overflow_probability(graph, ranges, PlanOptions(margin_bits=bits)) for bits in (1, 2, 3)
        ]
        assert given == sorted(given, reverse=True)

    def test_ranges_that_do_not_say(self, tmp_path: Path) -> None:
        graph, images = gated_network(3)
        ranges = calibrate(graph, images)
        ranges.save(tmp_path / "ranges")
        options = PlanOptions(overflow_probability=1e-3)
        again = with_margins(graph, Ranges.load(tmp_path / "ranges"), options)
        assert again == with_margins(graph, ranges, options)
        bare = replace(ranges, second_low={}, second_high={}, low_image={}, high_image={})
        with pytest.raises(BadInput, match="how far images differ"):
            with_margins(graph, bare, options)


class TestRings:
    @pytest.mark.parametrize("factor", [2.0, 3.3, 7.0])
    def test_they_hold_the_headroom(self, factor: float) -> None:
        """Values as far out as there is headroom for overflow nowhere, thresholds added and pools'
        differences taken; well beyond, they do.
        """
        graph, images = gated_network()
        ranges = calibrate(graph, images)
        margins = fitted(graph, ranges, PlanOptions(), 1e-6)
        headroom = dict.fromkeys(margins.headroom, factor)
        options = PlanOptions(margin_bits=2, headroom=headroom, input_reach=64.0)
        program, weights = lower(make_plan(graph, ranges, options))
        executor, loud = CleartextExecutor(program, weights), images * factor * 0.7
        near = [image for image in loud if within(calibrate(graph, image[None]), ranges, factor)]
        assert near
        for image in near:
            executor.run(image)
        assert not executor.overflows
        for image in loud:
            executor.run(8 * image)
        assert executor.overflows

    def test_one_way_to_say_it(self) -> None:
        with pytest.raises(BadPlan, match="not both"):
            PlanOptions.of_choices(margin_bits=2, overflow_probability=1e-3)
        with pytest.raises(BadPlan, match="minimal"):
            PlanOptions(overflow_probability=1e-3, disclose="minimal")
