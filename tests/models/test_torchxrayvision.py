"""The public architecture of torchxrayvision (DenseNet-121 of one channel at 224x224, eighteen
labels, operating points) with its preset: compiled, it is its float model.

Weights are random, and batch norms fit them as after training; its package has none inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.simulate import FloatModel
from moiety.models.synthetic import synthetic_radiograph
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.presets import preset
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.elementwise import OperatingPoints
from moiety.runtime.program.expression.expression import ResultForm
from moiety.runtime.program.weights import Weights
from tests.support.nets import small_densenet
from tests.support.onnx_models import with_metadata

LABELS = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema"),
    *("Fibrosis", "Effusion", "Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule"),
    *("Mass", "Hernia", "Lung Lesion", "Fracture", "Lung Opacity", "Enlarged Cardiomediastinum"),
)
POINTS = (
    *(0.031, 0.013, 0.081, 0.0013, 0.0026, 0.0036, 0.0023, 0.055, 0.044),
    *(0.043, 0.043, 0.038, 0.0057, 0.0092, None, 0.027, None, None),
)
"""Of the size of those that torchxrayvision has for PadChest, which lacks three labels."""
SHAPE = (1, 224, 224)


@dataclass(frozen=True, eq=False)
class Subject:
    """The compiled network, its float model, and pictures that it has not been calibrated on."""

    program: Program
    weights: Weights
    floats: FloatModel
    files: list[Path]

    @property
    def output(self) -> ResultForm:
        (output,) = self.program.results()
        return output


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("torchxrayvision")
    files = [folder / f"{seed}.png" for seed in range(6)]
    for seed, file in enumerate(files):
        Image.fromarray(synthetic_radiograph(seed)).save(file)
    trained = preset("torchxrayvision", SHAPE)
    network = small_densenet(
        image=224,
        growth=32,
        layers=(6, 12, 24, 16),
        stem=64,
        labels=18,
        output="sigmoid",
        fitted_to=np.stack([load(file, Reader(SHAPE, trained)).tensor for file in files[:4]]),
    )
    described = with_metadata(
        network, preprocessing={"like": "torchxrayvision"}, op_threshs=POINTS, labels=LABELS
    )
    onnx.save(described, folder / "model.onnx")
    compiled = folder / "compiled"
    compile_files(folder / "model.onnx", compiled, Pictures(files[:4]), CompileOptions())
    program, weights = load_vendor(compiled)
    return Subject(program, weights, FloatModel(folder / "model.onnx", program), files[4:])


def test_its_program_says_how_it_was_trained(subject: Subject) -> None:
    said = subject.program.preprocessing
    assert said is not None
    assert (said.size, said.channels, said.scale, said.offset) == ((224, 224), 1, 2048, -1024)
    assert subject.output.labels == LABELS
    *_, last = subject.program.expression.operations
    assert isinstance(last, OperatingPoints)
    assert last.points == POINTS


def test_its_inputs_are_torchxrayvisions(subject: Subject) -> None:
    tensor = load(subject.files[0], Reader.of(subject.program)).tensor
    assert tensor.shape == (1, 224, 224)
    assert -1024 <= tensor.min() < -300
    assert 300 < tensor.max() <= 1024


def test_it_is_its_float_model(subject: Subject) -> None:
    """Probabilities after op_norm, without overflows."""
    executor = CleartextExecutor(subject.program, subject.weights)
    for file in subject.files:
        tensor = load(file, Reader.of(subject.program)).tensor
        (found,) = executor.run(tensor).values()
        (expected,) = subject.floats(tensor).values()
        np.testing.assert_allclose(found, expected, atol=0.02)
        assert (found[[14, 16, 17]] == 0.5).all()
    assert not sum(executor.overflows.values())
