"""A classifier that ends in an ArgMax, from its ONNX file through two parties to the results that a
hospital reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import CompileOptions
from moiety.compiler.compile_files import Pictures, compile_files
from moiety.compiler.description import Described
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.simulate import FloatModel, simulate
from moiety.protocols.session import Session
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handshake import Served
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.results.outputs import encode_json
from moiety.runtime.results.record import image_result
from tests.support.nets import random_images
from tests.support.onnx_models import ModelBuilder, build_model, run_model, typed, with_metadata
from tests.support.results import some_results
from tests.support.two_party import run_two_party

LABELS = ["atelectasis", "effusion", "pneumonia", "none"]


def classes(b: ModelBuilder) -> list[str]:
    """Probabilities and the largest one's place; the logits between are revealed."""
    maps = b.op("Relu", b.conv("x", 3, 8, 3, bias=True))
    logits = b.gemm(b.op("Flatten", b.op("GlobalAveragePool", maps)), 8, 4)
    return [b.op("Softmax", logits, axis=1), b.op("ArgMax", logits, axis=1, keepdims=0)]


@dataclass(frozen=True)
class Classifier:
    model: Path
    folder: Path
    files: list[Path]

    def images(self) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        return [np.load(file) for file in self.files]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    folder = tmp_path_factory.mktemp("classes")
    made = Classifier(
        folder / "m.onnx", folder / "compiled", [folder / f"{n}.npy" for n in range(5)]
    )
    onnx.save(with_metadata(typed(build_model(["N", 3, 8, 8], classes)), labels=LABELS), made.model)
    for file, image in zip(made.files, random_images((3, 8, 8), 5, seed=3), strict=True):
        np.save(file, image)
    options = CompileOptions(PlanOptions(activation_bits=14, weight_bits=12))
    compile_files(made.model, made.folder, Pictures(made.files, Described("none")), options)
    return made


def test_two_parties_name_the_class(classifier: Classifier) -> None:
    program, weights = load_vendor(classifier.folder)
    image = classifier.images()[0]

    def server(session: Session) -> RunCost:
        executor = ServerExecutor(program, weights)
        executor.prepare()
        return executor.run(session)

    def client(session: Session) -> tuple[list[Revealed], RunCost]:
        return ClientExecutor(program).run(session, image)

    revealed, cost = run_two_party(server, client).client
    served = Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    results = some_results(image_result("0.npy", program, revealed, cost, served))
    probabilities, chosen = json.loads(encode_json(results))["images"][0]["outputs"]
    expected, (place,) = run_model(onnx.load(classifier.model), image[None])
    np.testing.assert_allclose(probabilities["values"], expected[0], atol=0.02)
    assert (probabilities["kind"], probabilities["labels"]) == ("probability", LABELS)
    assert (chosen["kind"], chosen["shape"]) == ("integer", [])
    assert chosen["values"] == [place]
    assert chosen["chosen"] == [LABELS[place]]


def test_the_float_model_has_the_revealed_values_too(classifier: Classifier) -> None:
    program, weights = load_vendor(classifier.folder)
    reference, executor = FloatModel(classifier.model, program), CleartextExecutor(program, weights)
    (index,) = program.outputs
    for image in classifier.images():
        logits = program.outputs[index].dequantise(executor.run_integers(image)[index])
        assert 0 < np.abs(reference.run(image).revealed[0] - logits.ravel()).max() < 0.05


def test_simulate_compares_both(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    simulate(classifier.folder, Given(classifier.files), classifier.model, seed=0)
    said = capsys.readouterr().out
    assert "of the revealed values, which its results are computed from: " in said
    assert any(label in said for label in LABELS)
