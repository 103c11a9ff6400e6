"""Trains a DenseNet on a folder of labelled images.

    python -m moiety.models.train FOLDER/labels.csv -o checkpoint.pt [--labels a,b,c]
        [--epochs 40] [--seed 0]

The CSV has a column `file` (path relative to the CSV), a column `split` (train, val; others are
left alone) and one column per label with 0, 1 or nothing: an empty cell is unknown and takes no
part in loss or AUROC. From scratch: AdamW, warm-up and cosine rate, binary cross-entropy with
positives weighted sqrt(negatives/positives), geometric and contrast augmentation. The weights saved
are an exponential moving average, those of the epoch with the best mean AUROC on `val`.
"""

from __future__ import annotations

import argparse
import copy
import csv
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from moiety.models.densenet import DENSENET121, DenseNet
from moiety.models.onnx_file import IMAGENET
from moiety.protocols.errors import BadInput, MoietyError
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program import Preprocessing


@dataclass(frozen=True)
class Options:
    """What decides a run; the same options and data on the same machine give the
    same checkpoint.
    """

    epochs: int = 40
    batch: int = 32
    rate: float = 1.2e-3
    weight_decay: float = 0.05
    average: float = 0.997
    size: int = 224
    layers: tuple[int, ...] = DENSENET121
    growth: int = 32
    seed: int = 0
    bfloat16: bool = False


@dataclass(frozen=True)
class Split:
    """`images` uint8 (n, H, W); `targets` float32 (n, labels), NaN where unknown."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.images)


def load_grey(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """An image file as 8-bit grey, uint8 (size, size), by the very code a client
    runs (`moiety.runtime.intake.loader`).
    """
    grey = Preprocessing(size=(size, size), channels=1, mean=(0.0,), std=(1.0,))
    tensor = load(path, Reader((1, size, size), grey)).tensor
    return np.asarray(np.rint(tensor[0] * 255), dtype=np.uint8)


def load_folder(
    path: str | Path, labels: Sequence[str] | None, size: int
) -> tuple[list[str], dict[str, Split]]:
    """The label names and the splits of a CSV file; without `labels`, every column that holds only
    0, 1 and nothing.

    Raises BadInput for missing columns, cells other than 0, 1 or nothing, or an empty
    train or val split.
    """
    source = Path(path)
    rows = _read_rows(source, labels or ())
    labels = list(labels or _label_columns(rows))
    if not labels:
        raise BadInput(
            f"{source}: no column holds only 0, 1 and empty cells; name the labels with --labels"
        )
    for line, row in enumerate(rows, start=2):
        for label in labels:
            if row[label] not in ("", "0", "1"):
                raise BadInput(
                    f"{source}, line {line}, {label}: {row[label]!r} is not 0, 1 or empty"
                )
    splits = {}
    for name in ("train", "val"):
        chosen = [row for row in rows if row["split"] == name]
        if not chosen:
            raise BadInput(f"{source}: no row has split {name}")
        images = np.stack([load_grey(source.parent / row["file"], size) for row in chosen])
        targets = [[float(row[label] or "nan") for label in labels] for row in chosen]
        splits[name] = Split(torch.from_numpy(images), torch.tensor(targets))
    return labels, splits


def _read_rows(source: Path, labels: Sequence[str]) -> list[dict[str, str]]:
    """The lines of a CSV file that has `file`, `split` and the labels. Raises BadInput."""
    try:
        with source.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{source}: cannot be read ({error})") from error
    columns = list(rows[0]) if rows else []
    if missing := {"file", "split", *labels} - set(columns):
        raise BadInput(
            f"{source}: no column {', '.join(sorted(missing))}; needed are file, split and the "
            "labels"
        )
    return rows


def _label_columns(rows: Sequence[dict[str, str]]) -> list[str]:
    """Every column that holds only 0, 1 and nothing."""
    columns = [name for name in rows[0] if name not in ("file", "split")]
    return [name for name in columns if {row[name] for row in rows} - {""} == {"0", "1"}]


def normalised(grey: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Float images 0 to 255, (n, H, W), to the network's input (n, channels, H, W)."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    return (grey[:, None] / 255 - mean) / std


def augmented(grey: Tensor, generator: torch.Generator) -> Tensor:
    """Random flip, rotation (12 degrees), scale, shift, contrast and gamma; float (n, H, W), 0 to
    255, in and out.
    """
    n = len(grey)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    angle, scale = uniform(-math.pi / 15, math.pi / 15), uniform(0.85, 1.1)
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [flip * cosine, -sine, uniform(-0.08, 0.08), flip * sine, cosine, uniform(-0.08, 0.08)]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(n, 2, 3), [n, 1, *grey.shape[1:]], align_corners=False
    )
    moved = functional.grid_sample(grey[:, None], grid, align_corners=False)[:, 0]
    unit = (moved / 255).clamp(0, 1) ** uniform(0.75, 1.33)[:, None, None]
    contrast, brightness = uniform(0.8, 1.2)[:, None, None], uniform(-0.08, 0.08)[:, None, None]
    return ((unit - 0.5) * contrast + 0.5 + brightness).clamp(0, 1) * 255


def masked_loss(logits: Tensor, targets: Tensor, positive_weight: Tensor) -> Tensor:
    """Mean binary cross-entropy over the known targets (not NaN); 0 when none is known."""
    known = ~targets.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits, targets.nan_to_num(), pos_weight=positive_weight, reduction="none"
    )
    return (each * known).sum() / known.sum().clamp(min=1)


def positive_weights(targets: Tensor) -> Tensor:
    """sqrt(negatives / positives) per label, between 1/10 and 10."""
    positives, negatives = (targets == 1).sum(0), (targets == 0).sum(0)
    return ((negatives + 1) / (positives + 1)).sqrt().clamp(0.1, 10)


def auroc(logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> list[float]:
    """Area under the ROC curve per label over the known targets; NaN where they
    are of one class.
    """
    areas = []
    for scores, truth in zip(logits.T, targets.T, strict=True):
        known = ~np.isnan(truth)
        both = len(np.unique(truth[known])) == 2
        areas.append(float(roc_auc_score(truth[known], scores[known])) if both else math.nan)
    return areas


@torch.no_grad()
def follow(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    """Moves every weight and statistic of `average` to `decay * average + (1 - decay) * model`."""
    for mean, current in zip(
        average.state_dict().values(), model.state_dict().values(), strict=True
    ):
        if mean.is_floating_point():
            mean.lerp_(current, 1 - decay)
        else:
            mean.copy_(current)


@torch.no_grad()
def predict(
    model: torch.nn.Module, split: Split, preprocessing: Preprocessing, batch: int
) -> npt.NDArray[Any]:
    """Logits of a split in evaluation mode, float32 (n, labels)."""
    model.eval()
    parts = [
        model(normalised(images.float(), preprocessing))
        for images in torch.split(split.images, batch)
    ]
    logits: npt.NDArray[Any] = torch.cat(parts).numpy()
    return logits


class _Run:
    """A network while it is trained, with the moving average that is kept of it."""

    def __init__(self, train: Split, labels: int, options: Options) -> None:
        torch.manual_seed(options.seed)
        self.options, self.data = options, train
        self.generator = torch.Generator().manual_seed(options.seed)
        self.preprocessing = msgspec.structs.replace(IMAGENET, size=(options.size, options.size))
        self.model = DenseNet(labels, options.layers, options.growth, stem=2 * options.growth)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = copy.deepcopy(self.model)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.rate, weight_decay=options.weight_decay
        )
        self.weights = positive_weights(train.targets)
        self.batch = min(options.batch, len(train))
        self.per_epoch = len(train) // self.batch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._rate)
        self.done = 0

    def _rate(self, step: int) -> float:
        """Of the highest rate: a warm-up, then a cosine down to nothing."""
        steps = self.options.epochs * self.per_epoch
        warm_up = max(1, min(200, steps // 10))
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * step / steps))

    def epoch(self) -> float:
        """All images once, in random order; the mean loss."""
        self.model.train()
        total = 0.0
        order = torch.randperm(len(self.data), generator=self.generator)
        for chosen in torch.split(order[: self.per_epoch * self.batch], self.batch):
            total += self._step(chosen)
        return total / self.per_epoch

    def _step(self, chosen: Tensor) -> float:
        """One batch; its loss."""
        grey = augmented(self.data.images[chosen].float(), self.generator)
        images = normalised(grey, self.preprocessing)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.options.bfloat16):
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = masked_loss(logits.float(), self.data.targets[chosen], self.weights)
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        decay = min(self.options.average, (self.done + 1) / (self.done + 10))
        follow(self.averaged, self.model, decay)
        self.done += 1
        return loss.item()


def train(
    splits: dict[str, Split], labels: Sequence[str], options: Options
) -> Iterator[dict[str, Any]]:
    """Trains and yields one record per epoch: epoch, loss, auroc (per label), mean_auroc, seconds,
    and checkpoint.

    The checkpoint holds plain values and tensors: state_dict, labels, preprocessing, options,
    epoch.
    """
    run = _Run(splits["train"], len(labels), options)
    for epoch in range(1, options.epochs + 1):
        began = time.perf_counter()
        loss = run.epoch()
        logits = predict(run.averaged, splits["val"], run.preprocessing, options.batch)
        areas = auroc(logits, splits["val"].targets.numpy())
        state = run.averaged.state_dict()
        yield {
            "epoch": epoch,
            "loss": loss,
            "auroc": areas,
            "mean_auroc": float(np.nanmean(areas)) if np.isfinite(areas).any() else math.nan,
            "seconds": time.perf_counter() - began,
            "checkpoint": {
                "state_dict": {name: value.detach().clone() for name, value in state.items()},
                "labels": list(labels),
                "preprocessing": msgspec.to_builtins(run.preprocessing),
                "options": asdict(options),
                "epoch": epoch,
            },
        }


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m moiety.models.train", description="Train a DenseNet on a folder."
    )
    parser.add_argument(
        "csv", type=Path, help="CSV with columns file, split and the labels, beside the images"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument(
        "--labels", help="comma-separated label columns (default: all columns of 0, 1 and nothing)"
    )
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--rate", type=float, default=default.rate, help="highest learning rate")
    parser.add_argument(
        "--size", type=int, default=default.size, help="side of the input in pixels"
    )
    parser.add_argument(
        "--layers", type=_numbers, default=default.layers, help="per dense block, as 6,12,24,16"
    )
    parser.add_argument("--growth", type=int, default=default.growth)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument(
        "--bfloat16", action="store_true", help="mixed precision, faster on recent CPUs"
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """The command line; ends with the error's exit code after a user's mistake."""
    parser = _parser()
    given: Any = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    options = Options(
        epochs=given.epochs,
        batch=given.batch,
        rate=given.rate,
        size=given.size,
        layers=given.layers,
        growth=given.growth,
        seed=given.seed,
        bfloat16=given.bfloat16,
    )
    try:
        labels, splits = load_folder(
            given.csv, given.labels.split(",") if given.labels else None, options.size
        )
    except MoietyError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(f"{len(splits['train'])} train, {len(splits['val'])} val; labels {', '.join(labels)}")
    best = -math.inf
    for record in train(splits, labels, options):
        areas = " ".join(
            f"{label} {area:.3f}" for label, area in zip(labels, record["auroc"], strict=True)
        )
        print(
            f"epoch {record['epoch']:3d}  loss {record['loss']:.4f}  {record['seconds']:.0f} s  "
            f"AUROC {areas}",
            flush=True,
        )
        score = record["mean_auroc"] if math.isfinite(record["mean_auroc"]) else -math.inf
        if score >= best:
            best = score
            torch.save(record["checkpoint"], given.output)
    print(f"{given.output}: best mean AUROC on val {best:.3f}")


if __name__ == "__main__":
    main()
