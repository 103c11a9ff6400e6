"""The shipped model, synthetic radiographs, the networks of the other tests; where
PyTorch is, training and export.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from moiety.models import demo_model_path, demo_ranges_path, synthetic
from moiety.models.onnx_file import IMAGENET, get_metadata, set_metadata, store_half
from moiety.protocols.errors import BadInput
from moiety.runtime.intake import pictures as images
from tests.support.nets import NETWORKS, random_images, run_onnx, small_densenet, small_resnet

DATA = Path(os.environ.get("MOIETY_DATA", Path(__file__).parents[3] / "shared" / "data"))
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


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


# Synthetic radiographs


def test_a_synthetic_radiograph_is_a_full_range_grey_image_fixed_by_its_seed() -> None:
    image = synthetic.synthetic_radiograph(3, size=96)
    assert (image.shape, image.dtype) == ((96, 96), np.uint8)
    assert image.min() < 40
    assert image.max() > 200
    assert image.std() > 30
    np.testing.assert_array_equal(image, synthetic.synthetic_radiograph(3, size=96))
    assert np.mean(image != synthetic.synthetic_radiograph(4, size=96)) > 0.5


def test_lungs_are_darker_than_the_spine_between_them() -> None:
    for seed in range(5):
        image = synthetic.synthetic_radiograph(seed).astype(float)
        left, spine, right = (image[80:120, x : x + 20].mean() for x in (55, 102, 150))
        assert max(left, right) + 30 < spine


def test_the_command_writes_images_that_the_client_can_load(tmp_path: Path) -> None:
    synthetic.main(["-n", "2", "-o", str(tmp_path / "new"), "--seed", "5"])
    files = sorted((tmp_path / "new").iterdir())
    assert [file.name for file in files] == ["synthetic-0005.png", "synthetic-0006.png"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(files[0])), synthetic.synthetic_radiograph(5)
    )
    assert images.load(files[1], (3, 224, 224), IMAGENET).shape == (3, 224, 224)


# The shipped model


def test_models_is_importable_without_torch_and_light() -> None:
    code = "import sys, moiety.models as m; print(m.demo_model_path().is_file(), *({'onnx', 'torch'} & {*sys.modules}))"
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
    assert ops(demo).count("BatchNormalization") == 121


def test_the_shipped_model_runs_on_a_synthetic_radiograph(
    demo: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "synthetic.png"
    Image.fromarray(synthetic.synthetic_radiograph(0)).save(path)
    logits = run_onnx(demo, images.load(path, (3, 224, 224), IMAGENET)[None])
    assert logits.shape == (1, 8)
    assert np.isfinite(logits).all()
    assert np.abs(logits).max() < 15


@pytest.mark.skipif(
    not (DATA / "test_logits_float.csv").exists(), reason="no data: set MOIETY_DATA"
)
def test_the_shipped_model_gives_the_published_logits(demo: onnx.ModelProto) -> None:
    """float16 storage moves a logit by at most 0.017 on the whole test split."""
    with (DATA / "test_logits_float.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::110]
    expected = np.array([[float(row[f"logit_{label}"]) for label in LABELS] for row in rows])
    batch = [
        images.load(DATA / "images" / "test" / f"{row['id']}.png", (3, 224, 224), IMAGENET)
        for row in rows
    ]
    np.testing.assert_allclose(run_onnx(demo, np.stack(batch)), expected, atol=0.02)


# Files


def test_metadata_is_read_back_and_replaced_and_leaves_other_entries() -> None:
    model = small_resnet()
    helper.set_model_props(model, {"author": "someone"})
    set_metadata(model, ["a"], IMAGENET)
    set_metadata(model, ["naïve, or not", "b"], IMAGENET)
    assert get_metadata(model) == (["naïve, or not", "b"], IMAGENET)
    assert len(model.metadata_props) == 3


def test_reading_metadata_names_the_entry_that_is_missing() -> None:
    with pytest.raises(KeyError, match=re.escape("moiety.labels")):
        get_metadata(small_resnet())


def test_half_storage_rounds_the_weights_and_nothing_else() -> None:
    model, batch = small_densenet(), random_images((3, 16, 16), 4, seed=2)
    before = run_onnx(model, batch)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim >= 2:
            tensor.CopyFrom(
                numpy_helper.from_array(array.astype(np.float16).astype(np.float32), tensor.name)
            )
    store_half(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run_onnx(model, batch), run_onnx(rounded, batch))
    assert 0 < np.abs(run_onnx(model, batch) - before).max() < 0.02


def test_half_storage_refuses_what_it_cannot_hold() -> None:
    model = small_densenet()
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), weight.name)
    )
    with pytest.raises(BadInput, match=re.escape(weight.name)):
        store_half(model)


# The small networks of the other tests


@pytest.mark.parametrize("gammas", ["ordinary", "hostile"])
@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_fold_to_the_same_function_and_tell_images_apart(
    name: str, gammas: str
) -> None:
    batch = random_images((3, 16, 16), 4, seed=7)
    separate = run_onnx(NETWORKS[name](gammas=gammas), batch)
    folded = run_onnx(NETWORKS[name](gammas=gammas, batch_norm="folded", opset=13), batch)
    np.testing.assert_allclose(separate, folded, atol=1e-4)
    assert separate.std(0).max() > 0.05
    assert np.abs(separate).max() < 30


def test_hostile_batch_norms_hold_every_kind_of_gamma() -> None:
    model = small_densenet(stem=28, gammas="hostile")
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    norm = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    gamma, beta = found[norm.input[1]], found[norm.input[2]]
    assert (gamma < -0.4).any()
    for kind in (gamma == 0, (gamma != 0) & (np.abs(gamma) < 1e-5)):
        assert {*np.sign(beta[kind])} == {-1.0, 1.0}
    small = (np.abs(gamma) < 0.1) & (np.abs(gamma) > 1e-3)
    assert {*np.sign(gamma[small])} == {-1.0, 1.0}
    assert np.abs(beta[small] / gamma[small]).min() > 30


# PyTorch


def state_of(model: Any) -> dict[str, Any]:
    """A network's weights with the batch norms of one that has seen data, not the
    neutral ones of initialisation.
    """
    import torch

    generator = torch.Generator().manual_seed(4)
    state = model.state_dict()
    for name, value in state.items():
        if re.search(r"norm\d?\.(weight|running_var)$", name):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif re.search(r"norm\d?\.(bias|running_mean)$", name):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    return dict(state)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch = pytest.importorskip("torch")
    from moiety.models.densenet import DenseNet

    path = tmp_path / "checkpoint.pt"
    torch.save(state_of(DenseNet(labels=3, layers=(2, 2), growth=4, stem=8)), path)
    return path


def test_densenet121_has_the_published_parameters(demo: onnx.ModelProto) -> None:
    pytest.importorskip("torch")
    from moiety.models.densenet import DenseNet

    ours = {
        k: tuple(v.shape)
        for k, v in DenseNet(8).state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    shipped = {
        tensor.name.removesuffix(".half"): tuple(tensor.dims) for tensor in demo.graph.initializer
    }
    assert ours == shipped
    assert (
        sum(int(np.prod(shape)) for name, shape in ours.items() if "running" not in name)
        == 6_962_056
    )


def test_both_export_styles_are_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from moiety.models.densenet import load_densenet
    from moiety.models.export import export_checkpoint

    model, _ = load_densenet(checkpoint, labels=3)
    batch = random_images((3, 64, 64), 2, seed=3)
    with torch.no_grad():
        expected = model(torch.from_numpy(batch)).numpy()
    norms = {}
    for style in ("folded", "separate-batchnorm"):
        path = tmp_path / f"{style}.onnx"
        export_checkpoint(checkpoint, path, style, label_names=["a", "b", "c"])  # type: ignore[arg-type]
        exported = onnx.load(str(path))
        norms[style] = ops(exported).count("BatchNormalization")
        assert get_metadata(exported) == (["a", "b", "c"], IMAGENET)
        for dim in exported.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 64
        np.testing.assert_allclose(run_onnx(exported, batch), expected, atol=1e-4)
    assert norms == {"folded": 6, "separate-batchnorm": 11}


def test_old_and_wrapped_checkpoints_load(checkpoint: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from moiety.models.densenet import load_densenet

    plain = torch.load(checkpoint, weights_only=True)
    old = {}
    for name, value in plain.items():
        if name.endswith("num_batches_tracked"):
            continue
        name = re.sub(r"(denselayer\d\.(?:norm|conv))(\d)", r"\1.\2", name)
        old["module.densenet121." + name.replace("classifier.", "classifier.0.")] = value
    torch.save({"epoch": 5, "state_dict": old, "optimizer": {"lr": 1.0}}, tmp_path / "old.pt")
    model, extra = load_densenet(tmp_path / "old.pt")
    assert extra == {"epoch": 5}
    for name, value in plain.items():
        assert torch.equal(model.state_dict()[name], value) or name.endswith("num_batches_tracked")


def test_bad_checkpoints_are_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from moiety.models.densenet import DenseNet, load_densenet

    with pytest.raises(BadInput, match="3 outputs, but 4 labels"):
        load_densenet(checkpoint, labels=4)
    with pytest.raises(BadInput, match=r"missing\.pt.*cannot be read"):
        load_densenet(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    torch.save(DenseNet(labels=3, layers=(1, 1), growth=4, stem=8), tmp_path / "pickled.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "resnet.pt")
    state = torch.load(checkpoint, weights_only=True)
    del state["features.norm5.weight"]
    torch.save(state, tmp_path / "incomplete.pt")
    for name in ("text", "pickled", "list", "resnet", "incomplete"):
        with pytest.raises(BadInput, match=f"{name}.pt"):
            load_densenet(tmp_path / f"{name}.pt")


def write_folder(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Images of two kinds, `bright` 1 and 0, and a CSV of (split, bright, rare) cells."""
    rng = np.random.default_rng(0)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "bright", "rare", "age"])
        for number, (split, bright, rare) in enumerate(rows):
            grey: npt.NDArray[np.uint8] = rng.integers(0, 90, (36, 40), dtype=np.uint8)
            Image.fromarray(grey + np.uint8(160 * (bright == "1"))).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", split, bright, rare, number + 20])
    return folder / "labels.csv"


def test_training_learns_and_its_checkpoint_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    from moiety.models.export import export_checkpoint
    from moiety.models.train import main

    kinds = [
        (split, str(i % 2), "" if i % 3 else str(i % 2))
        for split in ("train", "val")
        for i in range(16)
    ]
    table, output = write_folder(tmp_path, [*kinds, ("test", "1", "1")]), tmp_path / "trained.pt"
    options = [
        "--size",
        "32",
        "--layers",
        "1,1",
        "--growth",
        "4",
        "--batch",
        "4",
        "--epochs",
        "12",
        "--rate",
        "0.01",
    ]
    options += ["--threads", "1"]
    main([str(table), "-o", str(output), *options])
    printed = capsys.readouterr().out
    assert printed.startswith("16 train, 16 val; labels bright, rare\n")
    assert float(re.findall(r"best mean AUROC on val ([\d.]+)", printed)[0]) > 0.9
    main([str(table), "-o", str(tmp_path / "again.pt"), *options])
    first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("trained.pt", "again.pt")
    )
    assert all(
        torch.equal(value, second["state_dict"][name])
        for name, value in first["state_dict"].items()
    )
    exported = export_checkpoint(output, tmp_path / "trained.onnx")
    labels, preprocessing = get_metadata(exported)
    assert labels == ["bright", "rare"]
    assert preprocessing.size == (32, 32)


def test_unknown_targets_take_no_part_in_loss_and_auroc() -> None:
    torch = pytest.importorskip("torch")
    from moiety.models.train import auroc, masked_loss

    nan = float("nan")
    logits = torch.tensor([[0.3, -2.0], [-1.0, 5.0], [2.0, 1.0]], requires_grad=True)
    targets = torch.tensor([[0.0, nan], [1.0, nan], [nan, 1.0]])
    loss = masked_loss(logits, targets, torch.ones(2))
    known = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([0.3, -1.0, 1.0]), torch.tensor([0.0, 1.0, 1.0])
    )
    torch.testing.assert_close(loss, known)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, targets.isnan())
    areas = auroc(logits.detach().numpy(), targets.numpy())
    assert areas[0] == 0.0
    assert np.isnan(areas[1])


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        (
            [("train", "1", "2"), ("val", "0", "0")],
            ["rare"],
            "line 2, rare: '2' is not 0, 1 or empty",
        ),
        ([("train", "1", "1"), ("train", "0", "0")], None, "no row has split val"),
        ([("train", "1", "1"), ("val", "0", "0")], ["weight"], "no column weight"),
        ([("train", "1", "1"), ("val", "1", "1")], None, "name the labels with --labels"),
    ],
)
def test_bad_tables_are_refused(
    tmp_path: Path, rows: list[tuple[str, str, str]], labels: list[str] | None, message: str
) -> None:
    pytest.importorskip("torch")
    from moiety.models.train import load_folder

    with pytest.raises(BadInput, match=message):
        load_folder(write_folder(tmp_path, rows), labels, 32)


def test_shipped_ranges_fit_the_shipped_model() -> None:
    """They are made by the compiler's passes: when those change the Graph,
    the file has to be made again.
    """
    from moiety.compiler.compile import calibration_ranges
    from moiety.compiler.onnx_import.load import import_onnx
    from moiety.compiler.passes.legalise import legalise
    from moiety.compiler.passes.manager import optimise

    graph = legalise(optimise(import_onnx(demo_model_path())))
    ranges = calibration_ranges(graph, demo_ranges_path())
    ranges.check(graph)
    assert ranges.images == 200
