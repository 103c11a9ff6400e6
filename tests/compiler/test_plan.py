"""Calibration, scale fields, units, thresholds: the planner against the
float meaning of small graphs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph
from moiety.compiler.ir.evaluate import run_graph
from moiety.compiler.ir.ops.pooling import window_factors
from moiety.compiler.ir.scale_fields import Classes
from moiety.compiler.ir.scales import propagate
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.planning import shifts
from moiety.compiler.planning.options import USUAL_ERROR, USUAL_OVERFLOW, PlanOptions
from moiety.compiler.planning.plan import make_plan
from moiety.compiler.planning.ranges import KINDS, SPREAD, Ranges, calibrate, measurements
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadArtifact, BadInput, BadModel, BadPlan
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.graphs import PRECISE, GraphMaker, compile_and_compare
from tests.support.programs import uncommitted


class TestOptions:
    def test_defaults(self) -> None:
        options = PlanOptions()
        assert options.ring_bits == options.activation_bits + options.margin_bits
        assert options.rounding == "exact"
        assert PlanOptions(bits=41, scale=12).ring_bits == 29

    @pytest.mark.parametrize(
        "options",
        [
            partial(PlanOptions, activation_bits=3),
            partial(PlanOptions, weight_bits=40),
            partial(PlanOptions, margin_bits=0),
            partial(PlanOptions, rounding=cast(ir.Rounding, "nearest")),
            partial(PlanOptions, bits=41),
            partial(PlanOptions, scale=12),
            partial(PlanOptions, bits=12, scale=12),
            partial(PlanOptions, bits=70, scale=12),
            partial(PlanOptions, floor_fraction=1.5),
            partial(PlanOptions, target_error=0.0),
            partial(PlanOptions, target_error=0.1, relative_error=0.1),
            partial(PlanOptions, relative_error=0.1, bits=41, scale=12),
        ],
    )
    def test_impossible_options(self, options: Callable[[], PlanOptions]) -> None:
        with pytest.raises(BadPlan):
            options()

    def test_choices_leave_the_rest_to_the_planner(self) -> None:
        """Widths are searched for where none are given."""
        usual = PlanOptions(relative_error=USUAL_ERROR, overflow_probability=USUAL_OVERFLOW)
        assert PlanOptions.of_choices(bits=None, rounding=None) == usual
        chosen = PlanOptions.of_choices(weight_bits=9, margin_bits=2, scale=None)
        assert chosen == PlanOptions(weight_bits=9, margin_bits=2)
        assert not chosen.searching
        bounded = PlanOptions.of_choices(target_error=0.1)
        assert bounded == PlanOptions(target_error=0.1, overflow_probability=USUAL_OVERFLOW)
        assert not PlanOptions.of_choices(disclose="minimal").searching


class TestShifts:
    @given(st.floats(-30, 30), st.integers(3, 20), st.integers(5, 40))
    def test_the_largest_weight_fits(self, log_peak: float, wanted: int, ring: int) -> None:
        """And with one bit more of shift it would not, unless something else is at its limit."""
        shift, bits = shifts.by_peak(log_peak, wanted, ring)
        largest = 2.0 ** (bits - 1) - 1
        assert 2.0 ** (log_peak + shift) <= largest * (1 + 1e-9)
        assert ring + shift <= max(shifts.MAX_LAYER_BITS, ring)
        limited = shift == wanted + shifts.MAX_EXTRA_SHIFT or ring + shift >= shifts.MAX_LAYER_BITS
        assert limited or shift == 0 or 2.0 ** (log_peak + shift + 1) > largest * (1 - 1e-9)
        assert bits == wanted or shift == 0

    def test_no_weight_at_all(self) -> None:
        assert shifts.by_peak(-math.inf, 10, 13) == (10 + shifts.MAX_EXTRA_SHIFT, 10)


class TestCalibration:
    def graph(self) -> GraphMaker:
        maker = GraphMaker(2, 4, 4)
        maker.conv(maker.add("Relu", maker.conv("x", 3)), 2)
        return maker

    def test_ranges_are_the_extremes_over_all_images(self) -> None:
        maker = self.graph()
        graph, images = legalise(maker.graph()), maker.images(7)
        ranges = calibrate(graph, images)
        assert ranges.images == 7
        kinds = [kind for kind in KINDS if kind not in SPREAD]
        found = {(kind, value) for kind in kinds for value in getattr(ranges, kind)}
        assert found == {(kind, value) for kind, value, _ in measurements(graph)}
        np.testing.assert_allclose(ranges.low["x"], images.min((0, 2, 3)))
        np.testing.assert_allclose(ranges.high["x"], images.max((0, 2, 3)))
        np.testing.assert_allclose(ranges.mean["x"], images.mean((0, 2, 3)), atol=1e-6)

    def test_round_trip(self, tmp_path: Path) -> None:
        maker = self.graph()
        graph, images = legalise(maker.graph()), maker.images(3)
        ranges = calibrate(graph, iter(images))
        ranges.save(tmp_path / "ranges")
        loaded = Ranges.load(tmp_path / "ranges")
        assert loaded.images == 3
        for value in ranges.low:
            np.testing.assert_array_equal(loaded.low[value], ranges.low[value])
            np.testing.assert_array_equal(loaded.high[value], ranges.high[value])
        again = compile_graph(maker.graph(), tmp_path / "ranges")
        first = compile_graph(maker.graph(), images)
        assert uncommitted(again.program) == uncommitted(first.program)

    def test_bad_images(self) -> None:
        maker = self.graph()
        graph, images = legalise(maker.graph()), maker.images(2)
        with pytest.raises(BadInput, match="at least one image"):
            calibrate(graph, [])
        with pytest.raises(BadInput, match="shape"):
            calibrate(graph, images[:, :1])
        images[1, 0, 0, 0] = np.nan
        with pytest.raises(BadInput, match="image 1: it holds NaN"):
            calibrate(graph, images)

    def test_overflow_of_the_float_model(self) -> None:
        maker = GraphMaker(2, 4, 4)
        big = maker.add("Scale", "x", consts={"scale": [1e30, 1e30], "shift": [0, 0]})
        maker.conv(maker.add("Scale", big, consts={"scale": [1e30, 1e30], "shift": [0, 0]}), 2)
        with pytest.raises(BadInput, match="infinity"):
            calibrate(legalise(maker.graph()), maker.images(2))

    def test_damaged_and_foreign_files(self, tmp_path: Path) -> None:
        maker = self.graph()
        calibrate(legalise(maker.graph()), maker.images(2)).save(tmp_path / "r")
        data = (tmp_path / "r").read_bytes()
        for broken in (b"", data[:50], data[:-1], b"not a file"):
            (tmp_path / "b").write_bytes(broken)
            with pytest.raises(BadArtifact):
                Ranges.load(tmp_path / "b")
        with pytest.raises(BadArtifact, match="cannot read"):
            Ranges.load(tmp_path / "absent")
        low = {"x": np.array([1.0])}
        Ranges(1, low, {"x": np.array([0.0])}).save(tmp_path / "b")
        with pytest.raises(BadArtifact, match="belong together"):
            Ranges.load(tmp_path / "b")

    def test_ranges_of_another_model(self) -> None:
        maker, other = self.graph(), GraphMaker(2, 4, 4)
        other.conv("x", 5)
        ranges = calibrate(legalise(maker.graph()), maker.images(2))
        with pytest.raises(BadInput, match="another model"):
            compile_graph(other.graph(), ranges)


class TestFields:
    def test_union_find(self) -> None:
        classes = Classes()
        ids = classes.fresh(6)
        classes.tie(ids[[0, 2]])
        classes.tie(ids[[4, 2]])
        assert len({classes.root(i) for i in (0, 2, 4)}) == 1
        assert len(set(classes.roots())) == 4

    def test_space_to_depth_keeps_each_channels_class(self) -> None:
        maker = GraphMaker(2, 4, 4)
        x = maker.conv("x", 3)
        x = maker.add("Reshape", x, shape=(1, 3, 2, 2, 2, 2))
        x = maker.add("Transpose", x, perm=(0, 1, 3, 5, 2, 4))
        x = maker.add("Reshape", x, shape=(1, 12, 2, 2))
        scales = propagate(maker.graph())
        ids = np.broadcast_to(scales.fields[x].ids, (1, 12, 1, 1)).ravel()
        np.testing.assert_array_equal(ids, np.repeat(scales.sources["conv0"], 4))

    def test_reindexing_is_the_ops_own(self) -> None:
        """Run the graph on the ids instead of values: the field of the result is the result."""
        maker = GraphMaker(1, 4, 4)
        a, b = maker.conv("x", 3), maker.conv("x", 2)
        x = maker.concat(a, b)
        x = maker.add("Slice", x, starts=(0, 1, 0, 0), stops=(1, 5, 4, 4), steps=(1, 2, 1, 2))
        x = maker.add("Transpose", x, perm=(0, 1, 3, 2))
        x = maker.flatten(x)
        scales = propagate(maker.graph())
        full = np.broadcast_to(
            np.concatenate([scales.sources[a], scales.sources[b]]).reshape(1, 5, 1, 1), (1, 5, 4, 4)
        )
        expected = full[:, 1:5:2, :, ::2].transpose(0, 1, 3, 2).reshape(1, -1)
        np.testing.assert_array_equal(
            np.broadcast_to(scales.fields[x].ids, expected.shape), expected
        )

    def test_residuals_tie_channels(self) -> None:
        maker = GraphMaker(1, 4, 4)
        a = maker.add("Relu", maker.conv("x", 3))
        b = maker.conv(a, 3)
        total = maker.add("Add", a, b)
        scales = propagate(maker.graph())
        roots = scales.classes.roots()
        np.testing.assert_array_equal(roots[scales.sources["conv0"]], roots[scales.sources[b]])
        np.testing.assert_array_equal(roots[scales.sources["conv0"]], roots[scales.sources[total]])
        assert len(set(roots[scales.sources[b]])) == 3

    @given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 2), st.integers(6, 12))
    def test_window_factors_make_the_average(
        self, kernel: int, stride: int, pad: int, size: int
    ) -> None:
        pad = min(pad, kernel - 1)
        maker = GraphMaker(1, size, size)
        x = maker.pool("AvgPool", "x", kernel, stride, pad, include=False)
        graph = maker.graph()
        (pool,) = graph.nodes
        factors = window_factors(graph, pool)
        for axis, per_axis in enumerate(factors.per_axis):
            ones = np.pad(np.ones(size), pad)
            counts = [
                ones[i * stride : i * stride + kernel].sum()
                for i in range(graph.shapes[x][2 + axis])
            ]
            np.testing.assert_allclose(np.array(per_axis) * counts, np.sqrt(factors.divisor))


class TestGates:
    def layer(self, gain: F64, shift: F64, pad: int) -> Compiled:
        maker = GraphMaker(2, 6, 6, seed=4)
        x = maker.conv("x", len(gain))
        maker.conv(maker.affine_relu(x, gain, shift), 3, pad=pad)
        compiled, _ = compile_and_compare(maker)
        return compiled

    @pytest.mark.parametrize("pad", [0, 1])
    def test_negative_tiny_zero_and_huge(self, pad: int) -> None:
        gain = np.array([1.0, -1.0, 0.0, 0.0, 1e-7, -1e-7, 1e-7, -1e-7, 0.01, -0.01, 1e-30, 5.0])
        shift = np.array([0.1, 0.1, 0.5, -0.5, 0.7, 0.7, -0.7, -0.7, 3.0, 3.0, 1.0, -2.0])
        compiled = self.layer(gain, shift, pad)
        (gate,) = compiled.report.gates
        assert gate.flipped == 4
        assert gate.clamped >= 6

    def test_padding_makes_the_bias_spatial(self) -> None:
        """A constant channel ends where the padding begins."""
        gain, shift = np.array([1.0, 0.0]), np.array([0.0, 0.5])
        assert [row.spatial_bias for row in self.layer(gain, shift, pad=1).report.layers] == [
            False,
            True,
        ]
        assert [row.spatial_bias for row in self.layer(gain, shift, pad=0).report.layers] == [
            False,
            False,
        ]

    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.floats(-8, 3).map(lambda e: 10.0**e),
                st.sampled_from([-1, 1]),
                st.floats(-3, 3, allow_subnormal=False),
            ),
            min_size=2,
            max_size=5,
        )
    )
    def test_any_affine(self, channels: list[tuple[float, int, float]]) -> None:
        gain = np.array([size * sign for size, sign, _ in channels])
        shift = np.array([offset for _, _, offset in channels])
        maker = GraphMaker(2, 5, 5, seed=9)
        maker.conv(maker.affine_relu(maker.conv("x", len(gain)), gain, shift), 3)
        # A gain of 1000 on one channel leaves the other channels' results at its rounding error.
        compile_and_compare(maker, tolerance=5e-3)

    def test_dead_channels_are_frozen(self) -> None:
        """A channel that hardly moves, blown up by a batch norm: its gate would
        only amplify rounding errors.
        """
        maker = GraphMaker(2, 6, 6, seed=5)
        x = maker.conv("x", 4)
        dead = maker.nodes[0].with_(
            consts={
                "weight": maker.nodes[0].consts["weight"]
                * np.array([1, 1, 1e-7, 1]).reshape(-1, 1, 1, 1),
                "bias": np.array([0, 0, 0.7, 0], np.float32),
            }
        )
        maker.nodes[0] = dead
        x = maker.add("Relu", x)
        maker.conv(
            maker.affine_relu(x, np.array([1, 1, 300.0, 1]), np.array([0.1, -0.1, -210.0, 0])), 3
        )
        compiled, _ = compile_and_compare(
            maker, options=PlanOptions(activation_bits=14, weight_bits=12), tolerance=5e-3
        )
        assert [row.constant for row in compiled.report.gates] == [1]
        assert all(row.shift > 6 for row in compiled.report.layers)

    def test_thresholds_stay_within_half_the_ring(self) -> None:
        maker = GraphMaker(2, 5, 5)
        maker.conv(
            maker.affine_relu(
                maker.conv("x", 4), np.full(4, 1e-3), np.array([5.0, -5.0, 1e6, 0.0])
            ),
            2,
        )
        graph = legalise(maker.graph())
        plan = make_plan(graph, calibrate(graph, maker.images()), PRECISE)
        (gate,) = plan.gates.values()
        assert np.abs(gate.threshold).max() < 1 << (PRECISE.ring_bits - 2)


class TestBiasCorrection:
    @pytest.mark.parametrize(
        ("gate", "activation_bits", "weight_bits"), [(False, 14, 3), (True, 6, 12)]
    )
    def test_rounding_has_no_mean(self, gate: bool, activation_bits: int, weight_bits: int) -> None:
        """Coarse weights, or coarse thresholds: what is left of the error
        averages out over places and images.
        """
        maker = GraphMaker(24, 8, 8, seed=6)
        x = (
            maker.affine_relu(maker.conv("x", 24), shift=np.full(24, 0.8))
            if gate
            else maker.add("Relu", "x")
        )
        y = maker.conv(x, 6, kernel=1)
        graph, images = maker.graph(), maker.images(24)
        options = PlanOptions(
            activation_bits=activation_bits, weight_bits=weight_bits, rounding="exact"
        )
        compiled = compile_graph(graph, images, CompileOptions(options))
        executor = CleartextExecutor(compiled.program, compiled.weights)
        actual = np.stack([executor.run(image)[y] for image in images])
        error = actual - run_graph(graph, {"x": images.astype(np.float64)})[y]
        scatter = error.std(axis=(0, 2, 3))
        assert np.abs(error.mean(axis=(0, 2, 3))).mean() < 0.25 * scatter.mean()


class TestUniform:
    def test_is_cryptflow2(self) -> None:
        maker = GraphMaker(2, 6, 6)
        maker.conv(maker.add("Relu", maker.conv("x", 3)), 2)
        compiled, _ = compile_and_compare(
            maker, options=PlanOptions(bits=41, scale=12, rounding="exact"), tolerance=5e-3
        )
        for step in compiled.program.steps:
            if isinstance(step, ir.Linear):
                guard = step.guard
                assert step.operand_bits == 41
            elif isinstance(step, ir.Truncate):
                assert (step.shift - guard, step.bits) == (12, 29)
            elif isinstance(step, ir.Output | ir.Input):
                assert step.scale == 2.0**-12
        fractions = {row.frac for row in compiled.report.tensors}
        assert fractions == {(12.0, 12.0)}

    def test_says_how_many_bits_are_missing(self) -> None:
        maker = GraphMaker(2, 6, 6)
        x = maker.add("Scale", "x", consts={"scale": [1000, 1000], "shift": [0, 0]})
        maker.conv(x, 2)
        with pytest.raises(BadPlan, match=r"more bits are needed \(bits 2\d"):
            compile_graph(
                maker.graph(), maker.images(), CompileOptions(PlanOptions(bits=20, scale=10))
            )


class TestDisclosure:
    def compiled(self, seed: int) -> ir.Program:
        maker = GraphMaker(2, 6, 6, seed=seed)
        x = maker.conv(maker.affine_relu(maker.conv("x", 4)), 3)
        maker.gemm(maker.flatten(maker.pool("AvgPool", maker.add("Relu", x), 6, 6)), 2)
        return compile_graph(
            maker.graph(), np.random.default_rng(0).normal(size=(8, 2, 6, 6))
        ).program

    def test_two_weight_sets_differ_in_nothing_undisclosed(self) -> None:
        """Shifts and what follows from them (ring widths, lattice parameters), results' ranges."""

        def public(program: ir.Program) -> dict[str, object]:
            tree = msgspec.to_builtins(program)
            for step in tree["steps"]:
                for field in ("bits", "shift", "guard", "rlwe", "expected"):
                    step.pop(field, None)
            del tree["disclosed"], tree["commitment"]
            return tree

        one, two = self.compiled(1), self.compiled(2)
        assert public(one) == public(two)
        assert any("shift" in fact for fact in one.disclosed)
        widths = [
            [s.bits for s in p.steps if isinstance(s, ir.Truncate | ir.MaxPool | ir.Output)]
            for p in (one, two)
        ]
        assert widths[0] == widths[1]


class TestBadGraphs:
    def test_average_without_a_small_common_divisor(self) -> None:
        maker = GraphMaker(1, 20, 20)
        maker.conv(
            maker.pool("AvgPool", maker.add("Relu", maker.conv("x", 2)), 11, 1, 5, include=False), 2
        )
        with pytest.raises(BadModel, match="count_include_pad"):
            legalise(maker.graph())

    def test_affine_relu_into_a_sum(self) -> None:
        maker = GraphMaker(1, 4, 4)
        x = maker.conv("x", 2)
        maker.add("Add", maker.affine_relu(x), x)
        with pytest.raises(BadModel, match="convolutions and fully connected"):
            legalise(maker.graph())

    def test_ops_that_the_passes_rewrite(self) -> None:
        maker = GraphMaker(1, 4, 4)
        maker.add("Clip", "x", min=0.0, max=6.0)
        with pytest.raises(BadModel, match="Clip"):
            legalise(maker.graph())
        maker = GraphMaker(1, 4, 4)
        weight = np.ones((1, 1, 1, 1))
        consts = {"weight": weight, "bias": np.zeros(1)}
        maker.add(
            "Conv", "x", consts=consts, strides=(2, 2), pads=(0,) * 4, dilations=(1, 1), groups=1
        )
        with pytest.raises(BadModel, match="strides"):
            legalise(maker.graph())

    def test_output_is_the_input(self) -> None:
        """The client's expression may read the image: it comes back by way of a layer."""
        graph = legalise(GraphMaker(1, 4, 4).graph("x"))
        assert [node.op for node in graph.nodes] == ["Scale"]
        assert graph.outputs == (graph.nodes[0].output,)
