"""What a Program discloses: two sets of weights of one architecture, calibrated on the same images,
make Programs that differ in nothing but the fields that their `disclosed` lists name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols.errors import BadPlan
from moiety.runtime.program import AnyStep, Gates, Preprocessing, Program, Reduce, Reshape
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support import nets
from tests.support.programs import uncommitted

FAMILIES = (
    "small_densenet",
    "small_resnet",
    "small_inception",
    "small_mobilenet",
    "small_senet",
    "small_squeezenet",
    "small_unet",
)
SMOOTH = "mobilenet-silu"
"""A network of `nets.NETWORKS` with smooth activations."""
PREPROCESSING = Preprocessing(
    size=(16, 16), channels=3, mean=(0.5, 0.5, 0.5), std=(0.19, 0.19, 0.19)
)

# Kind of step and field -> the beginning of the sentences in `disclosed` that account for it.
SHIFT = "shift of each of the"
WIDTHS = "ring widths of activations"
WEIGHTS = "weight_bits of each linear layer"
RESULT = "ring width of an output"
RESCALED = "the rescaling layers behind"
EXPECTED = "where the revealed values are expected"
PIECES = "number and slopes of the straight pieces"
HEADROOM = "headroom of each of"
RINGS = (SHIFT, WIDTHS, RESULT, PIECES, HEADROOM)
ACCOUNTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("program", "steps"): (RESCALED,),
    ("input", "scale"): ("input scale",),
    ("input", "value_bits"): (WIDTHS,),
    ("truncate", "shift"): RINGS,
    ("combine", "factors"): (PIECES,),
    **{(kind, "shape"): (PIECES,) for kind in ("concat", "gates", "relu", "reshape")},
    **{(kind, "inputs"): (PIECES,) for kind in ("concat", "relu")},
    ("linear", "weight_bits"): (SHIFT, WEIGHTS),
    ("linear", "guard"): (*RINGS, WEIGHTS),
    ("linear", "rlwe"): (*RINGS, WEIGHTS),
    ("gates", "compared"): (WIDTHS, PIECES),
    ("output", "bits"): (RESULT, WIDTHS),
    ("output", "scale"): (WIDTHS,),
    ("output", "expected"): (EXPECTED,),
}


def network(family: str) -> Callable[..., onnx.ModelProto]:
    found: Callable[..., onnx.ModelProto] = (
        nets.NETWORKS[family] if family == SMOOTH else getattr(nets, family)
    )
    return found


def compiled(folder: Path, family: str, seed: int, gammas: str, options: PlanOptions) -> Compiled:
    model = network(family)(seed=seed, gammas=gammas)
    onnx.save(model, folder / "model.onnx")
    size = model.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    images = nets.random_images((3, size, size), 12, seed=3)
    preprocessing = msgspec.structs.replace(PREPROCESSING, size=(size, size))
    described = CompileOptions(options, preprocessing=preprocessing)
    return compile_model(folder / "model.onnx", images, described)


def without_what_follows(program: Program) -> Program:
    """Less the steps that say no more than what stands around them. Where two rings follow from
    the shifts, a Reduce stands between them; knots that one comparison does not carry get further
    Gates of the same value, which are joined to the first ones.
    """
    where: dict[int, int] = {}
    steps: list[AnyStep] = []
    further: set[int] = set()
    compared: set[int] = set()
    for index, step in enumerate(program.steps):
        if (isinstance(step, Gates) and step.inputs[0] in compared) or (
            isinstance(step, Reshape) and step.inputs[0] in further
        ):
            further.add(index)
        elif isinstance(step, Reduce) or further.intersection(step.inputs):
            where[index] = where[step.inputs[0]]
        else:
            where[index] = len(steps)
            inputs = tuple(where[i] for i in step.inputs)
            steps.append(msgspec.structs.replace(step, inputs=inputs))
        if isinstance(step, Gates):
            compared.update(step.inputs)
    return msgspec.structs.replace(program, steps=tuple(steps))


def differences(one: Program, other: Program) -> set[tuple[str, str]]:
    """(kind of step, field) of all that differs, apart from the lists themselves and the
    commitment, which hides what it commits to; ("program", field) outside steps.
    """
    found = set()
    one, other = without_what_follows(one), without_what_follows(other)
    for field in Program.__struct_fields__:
        if field not in ("steps", "disclosed", "commitment") and getattr(one, field) != getattr(
            other, field
        ):
            found.add(("program", field))
    if [type(step) for step in one.steps] != [type(step) for step in other.steps]:
        return found | {("program", "steps")}
    for a, b in zip(one.steps, other.steps, strict=True):
        kind = str(type(a).__struct_config__.tag)
        found |= {
            (kind, field) for field in a.__struct_fields__ if getattr(a, field) != getattr(b, field)
        }
    return found


def unaccounted(one: Program, other: Program) -> set[tuple[str, str]]:
    """What differs though neither list says so."""
    said = (*one.disclosed, *other.disclosed)

    def accounted(difference: tuple[str, str]) -> bool:
        # The ring of any step follows from the shifts and widths around it.
        sentences = ACCOUNTS.get(difference, RINGS if difference[1] == "bits" else ())
        return any(sentence.startswith(beginning) for beginning in sentences for sentence in said)

    return {difference for difference in differences(one, other) if not accounted(difference)}


@pytest.mark.parametrize("family", [*FAMILIES, SMOOTH])
@pytest.mark.parametrize(
    "options", [PlanOptions(), PlanOptions(bits=42, scale=10)], ids=["mixed", "uniform"]
)
def test_only_what_is_listed_differs(family: str, options: PlanOptions, tmp_path: Path) -> None:
    ordinary = compiled(tmp_path, family, 1, "ordinary", options).program
    hostile = compiled(tmp_path, family, 2, "hostile", options).program
    assert not unaccounted(ordinary, hostile)


def test_a_searched_plan_lists_its_widths(tmp_path: Path) -> None:
    options = PlanOptions(target_error=0.1)
    one = compiled(tmp_path, "small_resnet", 1, "ordinary", options).program
    other = compiled(tmp_path, "small_resnet", 2, "ordinary", options).program
    assert any(sentence.startswith(WIDTHS) for sentence in one.disclosed)
    assert not unaccounted(one, other)


@pytest.mark.parametrize("probability", [1e-6, None])
def test_headroom_that_follows_from_images_is_listed(
    probability: float | None, tmp_path: Path
) -> None:
    """Sets of images with the same ranges, of which one set differs little and one much."""
    onnx.save(nets.small_resnet(), tmp_path / "model.onnx")
    images = nets.random_images((3, 16, 16), 6, seed=3)
    programs = []
    for contrasts in ((0.99, 0.98, 0.97), (0.5, 0.2, 0.1)):
        calibration = np.concatenate([images, *(images * np.float32(each) for each in contrasts)])
        options = CompileOptions(PlanOptions(overflow_probability=probability))
        programs.append(compile_model(tmp_path / "model.onnx", calibration, options).program)
    listed = [any(each.startswith(HEADROOM) for each in made.disclosed) for made in programs]
    assert listed == [probability is not None] * 2
    rings = [{step.name: step.bits for step in made.steps} for made in programs]
    assert (rings[0] != rings[1]) == (probability is not None)


def test_the_comparison_notices_what_is_not_listed(tmp_path: Path) -> None:
    program = compiled(tmp_path, "small_resnet", 1, "ordinary", PlanOptions()).program
    other = compiled(tmp_path, "small_resnet", 2, "ordinary", PlanOptions()).program
    silent = [msgspec.structs.replace(each, disclosed=()) for each in (program, other)]
    assert ("truncate", "shift") in unaccounted(*silent)
    assert unaccounted(program, msgspec.structs.replace(program, rounding="stochastic")) == {
        ("program", "rounding")
    }
    shorter = msgspec.structs.replace(program, steps=program.steps[:-1])
    assert unaccounted(program, shorter) == {("program", "steps")}


MINIMAL = PlanOptions(disclose="minimal")


@pytest.mark.parametrize("family", [*FAMILIES, SMOOTH])
def test_minimal_disclosure_makes_equal_programs(family: str, tmp_path: Path) -> None:
    """But for the salted commitment; and as accurate as a logit of a few units needs."""
    ordinary = compiled(tmp_path, family, 1, "ordinary", MINIMAL)
    hostile = compiled(tmp_path, family, 2, "hostile", MINIMAL)
    assert ordinary.program.disclosed == ()
    assert uncommitted(ordinary.program) == uncommitted(hostile.program)
    for each, seed, gammas in ((ordinary, 1, "ordinary"), (hostile, 2, "hostile")):
        model = network(family)(seed=seed, gammas=gammas)
        images = nets.random_images(each.program.input.shape, 12, seed=3)
        executor = CleartextExecutor(each.program, each.weights, np.random.default_rng(1))
        expected = nets.run_onnx(model, images)
        results = np.stack([next(iter(executor.run(image).values())) for image in images]).reshape(
            expected.shape
        )
        assert np.abs(results - expected).max() < 0.1 * max(1.0, float(np.abs(expected).max()))


def test_minimal_disclosure_without_preprocessing_lists_the_images_scale(tmp_path: Path) -> None:
    onnx.save(nets.small_resnet(), tmp_path / "model.onnx")
    images = nets.random_images((3, 16, 16), 4, seed=3)
    compiled = compile_model(tmp_path / "model.onnx", images, CompileOptions(MINIMAL))
    (sentence,) = compiled.program.disclosed
    assert sentence.startswith("input scale")


@pytest.mark.parametrize(
    "options", [partial(PlanOptions, target_error=0.1), partial(PlanOptions, bits=41, scale=12)]
)
def test_minimal_disclosure_has_widths_of_its_own(options: Callable[..., PlanOptions]) -> None:
    with pytest.raises(BadPlan, match="follow from the architecture"):
        options(disclose="minimal")
