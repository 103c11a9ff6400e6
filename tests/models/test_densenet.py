"""DenseNet in PyTorch: checkpoints, export, training; only where PyTorch is."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from PIL import Image

from moiety.models import demo_model_path
from moiety.models.onnx_file import IMAGENET, get_metadata
from moiety.protocols.arrays import U8
from moiety.protocols.errors import BadInput
from tests.support.nets import random_images, run_onnx

torch = pytest.importorskip("torch")

from moiety.models import export, train  # noqa: E402  (they need torch)
from moiety.models.densenet import DenseNet, load_densenet  # noqa: E402


def state_of(model: DenseNet) -> dict[str, Any]:
    """A network's weights with the batch norms of one that has seen data, not the
    neutral ones of initialisation.
    """
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
    path = tmp_path / "checkpoint.pt"
    torch.save(state_of(DenseNet(labels=3, layers=(2, 2), growth=4, stem=8)), path)
    return path


def test_densenet121_has_the_published_parameters() -> None:
    ours = {
        k: tuple(v.shape)
        for k, v in DenseNet(8).state_dict().items()
        if not k.endswith("num_batches_tracked")
    }
    shipped = {
        tensor.name.removesuffix(".half"): tuple(tensor.dims)
        for tensor in onnx.load(str(demo_model_path())).graph.initializer
    }
    assert ours == shipped
    assert (
        sum(int(np.prod(shape)) for name, shape in ours.items() if "running" not in name)
        == 6_962_056
    )


def test_both_export_styles_are_the_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    model, _ = load_densenet(checkpoint, labels=3)
    batch = random_images((3, 64, 64), 2, seed=3)
    with torch.no_grad():
        expected = model(torch.from_numpy(batch)).numpy()
    norms = {}
    for style in get_args(export.Style):
        path = tmp_path / f"{style}.onnx"
        export.export_checkpoint(checkpoint, path, export.Form(style), label_names=["a", "b", "c"])
        exported = onnx.load(str(path))
        norms[style] = sum(node.op_type == "BatchNormalization" for node in exported.graph.node)
        assert get_metadata(exported) == (["a", "b", "c"], IMAGENET)
        for dim in exported.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = 64
        np.testing.assert_allclose(run_onnx(exported, batch), expected, atol=1e-4)
    assert norms == {"folded": 6, "separate-batchnorm": 11}


def test_old_and_wrapped_checkpoints_load(checkpoint: Path, tmp_path: Path) -> None:
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
            grey: U8 = rng.integers(0, 90, (36, 40), dtype=np.uint8)
            Image.fromarray(grey + np.uint8(160 * (bright == "1"))).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", split, bright, rare, number + 20])
    return folder / "labels.csv"


def test_training_learns_and_its_checkpoint_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    train.main([str(table), "-o", str(output), *options])
    printed = capsys.readouterr().out
    assert printed.startswith("16 train, 16 val; labels bright, rare\n")
    assert float(re.findall(r"best mean AUROC on val ([\d.]+)", printed)[0]) > 0.9
    train.main([str(table), "-o", str(tmp_path / "again.pt"), *options])
    first, second = (
        torch.load(tmp_path / name, weights_only=True) for name in ("trained.pt", "again.pt")
    )
    assert all(
        torch.equal(value, second["state_dict"][name])
        for name, value in first["state_dict"].items()
    )
    exported = export.export_checkpoint(output, tmp_path / "trained.onnx")
    labels, preprocessing = get_metadata(exported)
    assert labels == ["bright", "rare"]
    assert preprocessing.size == (32, 32)


def test_unknown_targets_take_no_part_in_loss_and_auroc() -> None:
    nan = float("nan")
    logits = torch.tensor([[0.3, -2.0], [-1.0, 5.0], [2.0, 1.0]], requires_grad=True)
    targets = torch.tensor([[0.0, nan], [1.0, nan], [nan, 1.0]])
    loss = train.masked_loss(logits, targets, torch.ones(2))
    known = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor([0.3, -1.0, 1.0]), torch.tensor([0.0, 1.0, 1.0])
    )
    torch.testing.assert_close(loss, known)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, targets.isnan())
    areas = train.auroc(logits.detach().numpy(), targets.numpy())
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
    with pytest.raises(BadInput, match=message):
        train.load_folder(write_folder(tmp_path, rows), labels, 32)
