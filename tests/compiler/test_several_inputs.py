"""Models of several inputs, all of them the client's: import, plan, and what they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.description import Described
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel
from moiety.protocols.errors import BadInput, BadModel
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.onnx_models import ModelBuilder
from tests.support.several_inputs import (
    Cases,
    clinical,
    clinical_cases,
    expected,
    fused,
    fused_cases,
    two_views,
    view_cases,
)
from tests.support.whole_run import check_whole_run

WIDE = PlanOptions(activation_bits=16, weight_bits=14)
GREY = ir.Preprocessing(size=(8, 8), channels=1, mean=(0.5,), std=(0.25,))

NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], Callable[[int, int], Cases]]] = {
    "age and sex": (clinical, clinical_cases),
    "two views": (two_views, view_cases),
    "fused": (fused, fused_cases),
}


def compiled(
    model: onnx.ModelProto, cases: Cases, folder: Path, options: PlanOptions | CompileOptions = WIDE
) -> Compiled:
    onnx.save_model(model, folder / "model.onnx")
    made = CompileOptions(options) if isinstance(options, PlanOptions) else options
    return compile_model(folder / "model.onnx", cases, made)


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_give_what_onnxruntime_gives(name: str, tmp_path: Path) -> None:
    build, draw = NETWORKS[name]
    model, cases = build(), draw(24, 0)
    made = compiled(model, cases, tmp_path)
    assert set(made.program.input_names()) == set(cases[0])
    executor = CleartextExecutor(made.program, made.weights)
    found = np.stack([next(iter(executor.run(case).values())).ravel() for case in cases])
    right = expected(model, cases)
    np.testing.assert_allclose(found, right, rtol=0, atol=2e-3 * np.abs(right).max())
    reference = FloatModel(tmp_path / "model.onnx", made.program)
    (value,) = reference(cases[0]).values()
    np.testing.assert_allclose(value, right[0], rtol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_two_parties_bit_for_bit(name: str, tmp_path: Path) -> None:
    build, draw = NETWORKS[name]
    made = compiled(build(), draw(8, 0), tmp_path, PlanOptions())
    check_whole_run(made.program, made.weights, draw(1, 1)[0])


def test_widths_are_searched_for_within_the_bound(tmp_path: Path) -> None:
    model, cases = clinical(), clinical_cases(16)
    made = compiled(model, cases, tmp_path, PlanOptions(target_error=0.01))
    executor = CleartextExecutor(made.program, made.weights)
    found = np.stack([next(iter(executor.run(case).values())).ravel() for case in cases])
    error = np.sqrt(np.mean((found - expected(model, cases)) ** 2))
    assert 1e-4 < error < 0.02


def test_each_input_has_a_scale_of_its_own_which_is_disclosed(tmp_path: Path) -> None:
    program = compiled(clinical(), clinical_cases(8), tmp_path).program
    picture, vector = program.inputs
    assert picture.scale < 1e-3 < vector.scale
    for step in (picture, vector):
        assert np.log2(step.scale) % 1 == 0
        assert any(f"{step.scale:g} of {step.name!r}" in told for told in program.disclosed)


def test_the_preprocessing_tells_the_scale_of_the_picture_alone(tmp_path: Path) -> None:
    options = CompileOptions(PlanOptions(disclose="minimal"), preprocessing=GREY)
    made = compiled(clinical(), clinical_cases(8), tmp_path, options)
    scales = [told for told in made.program.disclosed if told.startswith("input scale")]
    assert len(scales) == 1
    assert "'clinical'" in scales[0]


def test_the_picture_comes_first_wherever_the_model_has_it(tmp_path: Path) -> None:
    model = clinical()
    model.graph.input.insert(0, model.graph.input.pop())
    assert [value.name for value in model.graph.input] == ["clinical", "x"]
    assert compiled(model, clinical_cases(4), tmp_path).program.input_names() == ("x", "clinical")


def test_pictures_that_are_named_come_first_and_are_in_the_program(tmp_path: Path) -> None:
    options = CompileOptions(WIDE, preprocessing=GREY, pictures=("lateral", "x"))
    program = compiled(two_views(), view_cases(4), tmp_path, options).program
    assert program.input_names() == ("lateral", "x")
    assert program.pictures == ("x",)
    with pytest.raises(BadInput, match="picture 'oblique': the model's inputs are 'x', 'lateral'"):
        compiled(two_views(), view_cases(4), tmp_path, CompileOptions(pictures=("oblique",)))


def test_a_second_view_is_a_picture_where_the_vendor_says_so(tmp_path: Path) -> None:
    """From a CSV list of both to a Program that says it, calibrated on what they became."""
    rng, rows = np.random.default_rng(0), ["file,lateral"]
    for number in range(3):
        for name in (f"{number}.png", f"{number}-lateral.png"):
            pixels = rng.integers(0, 255, (8, 8), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name)
        rows.append(f"{number}.png,{number}-lateral.png")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    onnx.save_model(two_views(), tmp_path / "model.onnx")
    given = Pictures([tmp_path / "list.csv"], Described(mean=(0.5,), std=(0.25,)))
    options = CompileOptions(WIDE, pictures=("x", "lateral"))
    program = compile_files(tmp_path / "model.onnx", tmp_path / "out", given, options)
    assert program.pictures == ("lateral",)
    for step in program.inputs:
        assert 1 <= step.limits()[1] / 2 < 4
    with pytest.raises(BadInput, match=r"no preprocessing for pictures"):
        compile_files(tmp_path / "model.onnx", tmp_path / "two", given, CompileOptions(WIDE))


def test_pictures_that_cannot_be(tmp_path: Path) -> None:
    options = CompileOptions(WIDE, pictures=("x", "clinical"), preprocessing=GREY)
    with pytest.raises(BadInput, match=r"'clinical' has the shape \(2,\), 'x' has \(1, 8, 8\)"):
        compiled(clinical(), clinical_cases(2), tmp_path, options)
    with pytest.raises(BadInput, match="'lateral': without preprocessing no input is made of"):
        compiled(two_views(), view_cases(2), tmp_path, CompileOptions(pictures=("x", "lateral")))


def test_sizes_that_are_open_are_given_by_name() -> None:
    model = two_views(("N", 1, "H", "W"))
    with pytest.raises(BadModel, match=r"'lateral' is open.*--input-shape lateral=C,H,W"):
        import_onnx(model)
    with pytest.raises(BadInput, match="for which of the inputs 'x', 'lateral'"):
        import_onnx(model, (1, 8, 8))
    with pytest.raises(BadInput, match="input shape for 'back': the model's data inputs are 'x'"):
        import_onnx(model, {"back": (1, 8, 8)})
    graph = import_onnx(model, {"lateral": (1, 8, 8)})
    assert graph.shapes["lateral"] == (1, 1, 8, 8)


def test_inputs_of_one_batch() -> None:
    assert import_onnx(two_views((3, 1, 8, 8))).shapes["lateral"] == (1, 1, 8, 8)
    model = two_views((3, 1, 8, 8))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(BadModel, match="'x' has a batch of 2, 'lateral' one of 3"):
        import_onnx(model)
    with pytest.raises(BadModel, match="input 'lateral' has 1 dimensions; needs a batch first"):
        import_onnx(two_views(("N",)))


def test_inputs_that_nothing_needs_are_left_out_with_a_word() -> None:
    b = ModelBuilder(["N", 4])
    b.op("Relu", "unused")
    b.op("Relu", b.gemm("x", 4, 3))
    extra = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])
        for name in ("unread", "unused")
    ]
    notes: list[str] = []
    graph = import_onnx(b.model(inputs=extra), note=notes.append)
    assert graph.inputs == ("x",)
    assert notes == [
        "input 'unread': nothing reads it, it is left out",
        "input 'unused': no result depends on it, it is left out",
    ]


def test_calibration_cases_that_do_not_fit(tmp_path: Path) -> None:
    cases = clinical_cases(3)
    with pytest.raises(BadInput, match="calibration image 1: no tensor for the input 'clinical'"):
        compiled(clinical(), [cases[0], {"x": cases[1]["x"]}], tmp_path)
    bad = {**cases[1], "clinical": np.array([50, np.nan], np.float32)}
    with pytest.raises(BadInput, match="calibration image 1: its 'clinical' holds NaN"):
        compiled(clinical(), [cases[0], bad], tmp_path)
