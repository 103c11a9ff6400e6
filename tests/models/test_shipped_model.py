"""The shipped model: what is in its files, and what it computes."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from moiety.compiler.compile import calibration_ranges
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import optimise
from moiety.compiler.planning.ranges import Ranges
from moiety.compiler.planning.responses import biased
from moiety.models import demo_model_path, demo_ranges_path, synthetic
from moiety.models.onnx_file import IMAGENET, get_metadata
from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.runtime.intake.loader import Reader, load
from tests.support.nets import run_onnx

DATA = data_folder() or Path("no-data")
READER = Reader((3, 224, 224), IMAGENET)
LABELS = [
    "no_finding",
    "pneumonia",
    "covid19",
    "Atelectasis",
    "Effusion",
    "Infiltration",
    "Consolidation",
    "Edema",
]


@pytest.fixture(scope="module")
def demo() -> onnx.ModelProto:
    return onnx.load(str(demo_model_path()))


def test_models_is_importable_without_torch_and_light() -> None:
    code = (
        "import sys, moiety.models as m; "
        "print(m.demo_model_path().is_file(), *({'onnx', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_shipped_model_carries_labels_and_preprocessing(demo: onnx.ModelProto) -> None:
    onnx.checker.check_model(demo, full_check=True)
    labels, preprocessing = get_metadata(demo)
    assert labels == LABELS
    assert preprocessing == IMAGENET
    assert demo_model_path().stat().st_size < 15e6


def test_the_shipped_model_stores_matrices_as_half_and_batch_norms_as_float(
    demo: onnx.ModelProto,
) -> None:
    kinds = {tensor.name: (tensor.data_type, len(tensor.dims)) for tensor in demo.graph.initializer}
    assert {kind for kind, rank in kinds.values() if rank >= 2} == {TensorProto.FLOAT16}
    assert {kind for kind, rank in kinds.values() if rank < 2} == {TensorProto.FLOAT}
    assert [node.op_type for node in demo.graph.node].count("BatchNormalization") == 121


def test_the_shipped_model_runs_on_a_synthetic_radiograph(
    demo: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "synthetic.png"
    Image.fromarray(synthetic.synthetic_radiograph(0)).save(path)
    logits = run_onnx(demo, load(path, READER).tensor[None])
    assert logits.shape == (1, 8)
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() < 15


@pytest.mark.skipif(
    not (DATA / "test_logits_float.csv").exists(), reason=f"no data: {HOW_TO_GIVE_DATA}"
)
def test_the_shipped_model_gives_the_published_logits(demo: onnx.ModelProto) -> None:
    """float16 storage moves a logit by at most 0.017 on the whole test split."""
    with (DATA / "test_logits_float.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::110]
    expected = np.array([[float(row[f"logit_{label}"]) for label in LABELS] for row in rows])
    batch = [load(DATA / "images" / "test" / f"{row['id']}.png", READER).tensor for row in rows]
    np.testing.assert_allclose(run_onnx(demo, np.stack(batch)), expected, atol=0.02)


def test_shipped_ranges_fit_the_shipped_model() -> None:
    """They are made by the compiler's passes: when those change the Graph,
    the file has to be made again.
    """
    graph = legalise(optimise(import_onnx(demo_model_path())))
    ranges = calibration_ranges(graph, demo_ranges_path())
    ranges.check(graph)
    assert ranges.images == 200
    for pool in biased(graph):
        assert ranges.bias_responses(pool.output, graph.shapes[pool.output][1]).any()


def test_the_shipped_ranges_say_what_margins_need() -> None:
    """The demo compiles from them with the default options."""
    Ranges.load(demo_ranges_path()).check_spread()
