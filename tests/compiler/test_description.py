"""What a Program says of its model in public: from options, from the ONNX file, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from moiety.compiler.commands.compile import names
from moiety.compiler.compile import CompileOptions, compile_graph, normal_form
from moiety.compiler.compile_files import Pictures, with_description
from moiety.compiler.description import Described, parse_op_threshs
from moiety.compiler.simulate import FloatModel
from moiety.protocols.errors import BadArtifact, BadInput, BadModel
from moiety.runtime.intake.presets import preset
from moiety.runtime.program import Preprocessing, Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.elementwise import OperatingPoints
from tests.support.command import Compiled, moiety
from tests.support.nets import random_images, small_densenet
from tests.support.onnx_models import ModelBuilder, build_model, typed, with_metadata

SHAPE = (3, 16, 16)


def saved(path: Path, **metadata: object) -> Path:
    """A model of one small layer that says these things of itself."""
    model = build_model(("N", *SHAPE), lambda b: b.conv("x", 3, 2, 3))
    onnx.save(with_metadata(model, **metadata), path)
    return path


def test_nothing_is_assumed(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.onnx")
    for described in (
        Described(),
        Described(mean=(0.5,)),
        Described(std=(0.5,)),
        Described(exact_size=True),
    ):
        with pytest.raises(BadInput) as caught:
            described.of(model, SHAPE)
        for word in ("m.onnx", "--preprocessing", "imagenet", "--mean", "--std", "none"):
            assert word in str(caught.value)


def test_what_is_no_picture_needs_nothing(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.onnx")
    for shape in ((2, 16, 16), (10,), (4, 4, 4, 1)):
        assert Described().of(model, shape) is None
        assert Described("none").of(model, shape) is None
        with pytest.raises(BadInput, match="--mean: for pictures of 1 or 3 channels"):
            Described(mean=(0.5,)).of(model, shape)
        with pytest.raises(BadInput, match="--preprocessing monai: for pictures"):
            Described("monai").of(model, shape)
    assert Described("none").of(model, SHAPE) is None
    with pytest.raises(BadInput, match="--std: with --preprocessing none"):
        Described("none", std=(1.0,)).of(model, SHAPE)


def test_options_in_order(tmp_path: Path) -> None:
    """--mean and --std change what --preprocessing says, which stands before the metadata."""
    model = saved(tmp_path / "m.onnx", preprocessing={"like": "torchvision"})
    assert Described().of(model, SHAPE) == preset("torchvision", SHAPE)
    assert Described("monai").of(model, SHAPE) == preset("monai", SHAPE)
    (tmp_path / "p.json").write_text(json.dumps({"like": "monai", "transposed": False}))
    found = Described(str(tmp_path / "p.json"), mean=(0.25,), exact_size=True).of(model, SHAPE)
    assert found is not None
    assert (found.stretch, found.transposed, found.mean) == ("min-max", False, (0.25,) * 3)
    assert (found.resize, found.std) == ("exact", (1.0,) * 3)
    exact = Described(exact_size=True).of(model, SHAPE)
    assert exact is not None
    assert (exact.resize, exact.resize_to) == ("exact", None)


def test_mean_and_std_are_enough(tmp_path: Path) -> None:
    found = Described(mean=(0.5,), std=(0.1, 0.2, 0.3)).of(saved(tmp_path / "m.onnx"), SHAPE)
    assert found == Preprocessing(size=(16, 16), channels=3, mean=(0.5,) * 3, std=(0.1, 0.2, 0.3))
    for wrong in ((1.0, 2.0), (float("nan"),), (1e300,)):
        with pytest.raises(BadInput, match="--mean, --std: unusable preprocessing"):
            Described(mean=wrong, std=(1.0,)).of(tmp_path / "m.onnx", SHAPE)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no such preset"), ("{", "not a JSON object"), ('{"std": 1}', "`mean`")],
)
def test_a_file_that_describes_nothing(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "p.json").write_text(text)
    with pytest.raises(BadInput, match=rf"p\.json: .*{message}"):
        Described(str(tmp_path / "p.json")).of(saved(tmp_path / "m.onnx"), SHAPE)


def test_metadata_that_contradicts_the_model(tmp_path: Path) -> None:
    """Another size is an error, but where the user chose the size of an open input."""
    said = {"size": [224, 224], "channels": 3, "mean": [0, 0, 0], "std": [1, 1, 1]}
    model = saved(tmp_path / "m.onnx", preprocessing=said | {"resize_to": 256})
    with pytest.raises(BadModel, match=r"moiety\.preprocessing: .*makes \(3, 224, 224\)"):
        Described().of(model, SHAPE)
    found = Described().of(model, (3, 112, 112), chosen_shape=True)
    assert found is not None
    assert (found.size, found.resize_to) == ((112, 112), 128)
    with pytest.raises(BadModel, match="makes"):
        Described().of(model, (1, 112, 112), chosen_shape=True)
    with pytest.raises(BadModel, match="cannot be read"):
        Described().of(saved(tmp_path / "list.onnx", preprocessing=[1]), SHAPE)


def test_compile_refuses_what_it_would_have_to_guess(compiled: Compiled, tmp_path: Path) -> None:
    onnx.save(small_densenet(), tmp_path / "m.onnx")
    calibration = ("--calibration", compiled.pictures, "-o", tmp_path / "c")
    done = moiety("compile", tmp_path / "m.onnx", *calibration)
    done.refused(BadInput.exit_code, "does not say", "--preprocessing imagenet|torchvision|")
    assert not (tmp_path / "c").exists()


# --- what the output's values are called and mean -------------------------------------------------


def described(model: Path, **options: Any) -> CompileOptions:
    given = CompileOptions(**options)
    graph = normal_form(model, given)
    return with_description(model, graph, Pictures([], Described("imagenet")), given)


def classifier(path: Path, final: str | None = "Sigmoid", **metadata: Any) -> Path:
    """Three values, of a Sigmoid."""

    def build(b: ModelBuilder) -> str:
        pooled = b.op("GlobalAveragePool", b.conv("x", 3, 8, 3))
        logits = b.gemm(b.op("Flatten", pooled, axis=1), 8, 3)
        return b.op(final, logits) if final else logits

    onnx.save(with_metadata(build_model(("N", *SHAPE), build), **metadata), path)
    return path


def test_a_wrong_count_says_both_numbers(tmp_path: Path) -> None:
    model = classifier(tmp_path / "m.onnx")
    assert described(model, labels=("a", "b", "c")).labels == ("a", "b", "c")
    wrongs: dict[str, tuple[str, Any]] = {
        "labels": ("--labels", ("a", "b")),
        "op_threshs": ("--op-thresholds", (0.1,) * 4),
    }
    for name, (option, wrong) in wrongs.items():
        with pytest.raises(BadInput, match=rf"{option}: {len(wrong)} of them, .* of 3 values"):
            described(model, **{name: wrong})
        said: dict[str, Any] = {name: wrong}
        telling = classifier(tmp_path / f"{name}.onnx", **said)
        with pytest.raises(BadModel, match=rf"moiety\.{name}: {len(wrong)} of them, .* of 3 val"):
            described(telling)


def test_labels_of_places_name_what_they_are_among(tmp_path: Path) -> None:
    """Of an ArgMax alone, and of one beside what it is of."""

    def build(b: ModelBuilder) -> list[str]:
        pooled = b.op("Flatten", b.op("GlobalAveragePool", b.conv("x", 3, 4, 3)))
        return [pooled, b.op("Squeeze", b.op("ArgMax", pooled, axis=1), b.ints(1))]

    labels = ("a", "b", "c", "d")
    for name, keep in (("one", 1), ("two", 0)):
        model = typed(build_model(("N", *SHAPE), build))
        del model.graph.output[:keep]
        onnx.save(with_metadata(model, labels=labels), tmp_path / name)
        assert described(tmp_path / name).labels == labels
    with pytest.raises(BadInput, match=r"--labels: 1 of them, .* of 4 places"):
        described(tmp_path / "one", labels=("a",))


def test_operating_points_are_probabilities_of_a_sigmoid(tmp_path: Path) -> None:
    logits = classifier(tmp_path / "logits.onnx", final=None)
    with pytest.raises(BadInput, match="not made by a Sigmoid; export the model with it"):
        described(logits, op_threshs=(0.5,) * 3)
    model = classifier(tmp_path / "m.onnx", op_threshs=[0.25, None, 0.75])
    assert described(model).op_threshs == (0.25, None, 0.75)
    for wrong in (0.0, 1.0, -0.1, 1.5, float("inf")):
        with pytest.raises(BadInput, match="not a probability between 0 and 1"):
            described(model, op_threshs=(0.5, wrong, 0.5))


def test_several_outputs_have_no_labels_of_one(tmp_path: Path) -> None:
    model = build_model(("N", *SHAPE), lambda b: [b.conv("x", 3, 2, 3), b.conv("x", 3, 4, 3)])
    onnx.save(with_metadata(model, labels=["a"]), tmp_path / "two.onnx")
    assert described(tmp_path / "two.onnx").labels == ()
    with pytest.raises(BadInput, match="--labels: for a model of one output, and this one has"):
        described(tmp_path / "two.onnx", labels=("a",))


@pytest.mark.parametrize("text", ["0.25,nan,0.75", "[0.25, NaN, 0.75]\n", "0.25\nnull\n0.75\n"])
def test_operating_points_as_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "points").write_text(text)
    assert parse_op_threshs(text) == (0.25, None, 0.75)
    assert parse_op_threshs(str(tmp_path / "points")) == (0.25, None, 0.75)


def test_text_that_is_too_long_for_a_files_name(tmp_path: Path) -> None:
    """Eighteen labels, as torchxrayvision's, are."""
    assert len(names(",".join(["Enlarged Cardiomediastinum"] * 18))) == 18
    assert len(parse_op_threshs(",".join(["0.05015312345678901"] * 18))) == 18
    with pytest.raises(BadInput, match="no such preset"):
        Described("long" * 100).of(saved(tmp_path / "m.onnx"), SHAPE)


@pytest.mark.parametrize("text", ["", "0.1,,0.2", "half", "{}", "absent.json"])
def test_text_without_operating_points(text: str) -> None:
    with pytest.raises(BadInput, match="--op-thresholds"):
        parse_op_threshs(text)


def op_norm(probability: float, threshold: float | None) -> float:
    """torchxrayvision's, for one value."""
    if threshold is None:
        return 0.5
    if probability < threshold:
        return probability / (threshold * 2)
    return 1.0 - ((1.0 - probability) / ((1 - threshold) * 2))


def test_operating_points_become_one_half() -> None:
    points = (0.01, 0.5, 0.99, None)
    moved = OperatingPoints(inputs=(0,), points=points)
    at_points = moved.evaluate([np.array([0.01, 0.5, 0.99, 0.2])])
    np.testing.assert_allclose(at_points, 0.5, atol=1e-12)
    np.testing.assert_allclose(moved.evaluate([np.zeros(4)]), [0, 0, 0, 0.5])
    np.testing.assert_allclose(moved.evaluate([np.ones(4)]), [1, 1, 1, 0.5])
    for probability in np.linspace(0, 1, 41).tolist():
        found = moved.evaluate([np.full(4, probability)])
        np.testing.assert_allclose(found, [op_norm(probability, t) for t in points], atol=1e-12)


def test_operating_points_in_results_and_in_the_float_model(tmp_path: Path) -> None:
    """Through the compiler and the cleartext executor, against the float model."""
    points = (0.1, None, 0.8)
    model = classifier(tmp_path / "m.onnx", op_threshs=list(points))
    images = random_images(SHAPE, 6, seed=5)
    options = described(model)
    done = compile_graph(normal_form(model, options), images, options)
    executor = CleartextExecutor(done.program, done.weights)
    reference = FloatModel(model, done.program)
    *_, last = done.program.expression.operations
    assert isinstance(last, OperatingPoints)
    assert last.points == points
    for image in images:
        (found,) = executor.run(image).values()
        (expected,) = reference(image).values()
        np.testing.assert_allclose(found, expected, atol=0.01)
        assert found[1] == 0.5


def test_a_program_with_senseless_operating_points_is_refused(tmp_path: Path) -> None:
    options = described(classifier(tmp_path / "m.onnx"), op_threshs=(0.1, 0.2, 0.3))
    images = random_images(SHAPE, 2, seed=5)
    program = compile_graph(normal_form(tmp_path / "m.onnx", options), images, options).program
    for change, message in (
        ({"points": [0.1]}, "1 operating points for 3 values"),
        ({"points": [0.1, 0.2, 1.0]}, "not between 0 and 1"),
    ):
        tree = json.loads(program.encode())
        tree["expression"]["operations"][-1] |= change
        with pytest.raises(BadArtifact, match=message):
            Program.decode(json.dumps(tree).encode())


def test_a_program_with_too_few_labels_is_refused(tmp_path: Path) -> None:
    options = described(classifier(tmp_path / "m.onnx"))
    images = random_images(SHAPE, 2, seed=5)
    program = compile_graph(normal_form(tmp_path / "m.onnx", options), images, options).program
    tree = json.loads(program.encode())
    tree["expression"]["results"][0]["labels"] = ["a"]
    with pytest.raises(BadArtifact, match="1 labels for 3 values"):
        Program.decode(json.dumps(tree).encode())
