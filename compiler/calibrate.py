"""Ranges of activations, from calibration images run through onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import safetensors
import safetensors.numpy

from moiety.compiler.fields import LINEAR, SUMS
from moiety.compiler.graph import Graph
from moiety.compiler.to_onnx import to_onnx
from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.program import write_atomically

F64 = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`; total 0 where it is not known."""

FORMAT = "moiety-ranges"
VERSION = "1"
BATCH = 4


@dataclass(frozen=True, eq=False)
class Ranges:
    """Smallest and largest real value of each channel (axis 1), float64 `(C,)`, by value name; over `images` images."""

    images: int
    low: Mapping[str, F64]
    high: Mapping[str, F64]

    def save(self, path: Path) -> None:
        """Writes a safetensors file, atomically."""
        tensors = {f"low.{value}": array for value, array in self.low.items()}
        tensors |= {f"high.{value}": array for value, array in self.high.items()}
        metadata = {"format": FORMAT, "version": VERSION, "images": str(self.images)}
        write_atomically(path, safetensors.numpy.save(tensors, metadata))

    @classmethod
    def load(cls, path: Path) -> Ranges:
        """BadArtifact if this is not a sound ranges file."""
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                    raise BadArtifact(f"{path}: this is not a ranges file of this version of Moiety")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except OSError as error:
            raise BadArtifact(f"cannot read the ranges {path}: {error.strerror or error}") from None
        except safetensors.SafetensorError as error:
            raise BadArtifact(f"{path}: the ranges file is damaged: {error}") from None
        low = {name.removeprefix("low."): array for name, array in tensors.items() if name.startswith("low.")}
        high = {name.removeprefix("high."): array for name, array in tensors.items() if name.startswith("high.")}
        images = metadata.get("images", "")
        sound = images.isdigit() and int(images) > 0 and low.keys() == high.keys()
        for value in low if sound else ():
            pair = low[value], high[value]
            sound &= all(a.dtype == np.float64 and a.ndim == 1 and bool(np.isfinite(a).all()) for a in pair)
            sound = sound and pair[0].shape == pair[1].shape and bool((pair[0] <= pair[1]).all())
        if not sound:
            raise BadArtifact(f"{path}: the ranges file is damaged: low and high do not belong together")
        return cls(int(images), low, high)

    def check(self, graph: Graph) -> None:
        """BadInput unless there is a range for every value of `graph` that needs one."""
        for value, channels in measured_values(graph).items():
            if value not in self.low or self.low[value].shape != (channels,):
                raise BadInput(
                    f"the calibration has no range of {channels} channels for {value!r}: it was made for another model "
                    "or other passes; calibrate again from images"
                )


def measured_values(graph: Graph) -> dict[str, int]:
    """Value -> number of channels, for the values whose range the planner needs: the rest are copies or parts of
    these.
    """
    made = [node.output for node in graph.nodes if node.op in LINEAR | SUMS]
    compared = [node.inputs[0] for node in graph.nodes if node.op == "AffineRelu"]
    return {value: graph.shapes[value][1] for value in (*graph.inputs, *made, *compared)}


def calibrate(graph: Graph, images: Iterable[npt.ArrayLike], progress: Progress | None = None) -> Ranges:
    """Ranges of `graph` over images, each float `(C,H,W)` (an array `(n,C,H,W)` is an iterable of such).

    BadInput if there is no image, or one has a wrong shape or holds NaN or infinity, or makes the model overflow.
    """
    (source,) = graph.inputs
    shape = graph.shapes[source][1:]
    values = list(measured_values(graph))
    total = len(images) if isinstance(images, Sized) else 0
    session = _session(graph, values)
    low = {value: np.full(channels, np.inf) for value, channels in measured_values(graph).items()}
    high = {value: np.full(channels, -np.inf) for value, channels in measured_values(graph).items()}
    count = 0
    for batch in _batches(images, shape):
        for value, array in zip(values, session.run(None, {source: batch}), strict=True):
            axes = tuple(axis for axis in range(array.ndim) if axis != 1)
            least, most = array.min(axes).astype(np.float64), array.max(axes).astype(np.float64)
            if not (np.isfinite(least).all() and np.isfinite(most).all()):
                raise BadInput(f"the model gives NaN or infinity at {value!r} for a calibration image")
            np.minimum(low[value], least, out=low[value])
            np.maximum(high[value], most, out=high[value])
        count += len(batch)
        if progress is not None:
            progress("calibrating", count, total)
    if count == 0:
        raise BadInput("calibration needs at least one image; some dozens that look like the real ones are better")
    return Ranges(count, low, high)


def _session(graph: Graph, values: list[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = to_onnx(graph, values)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _batches(images: Iterable[npt.ArrayLike], shape: tuple[int, ...]) -> Iterator[Any]:
    batch: list[npt.NDArray[np.float32]] = []
    for number, image in enumerate(images):
        array = np.asarray(image, np.float32)
        if array.shape != shape:
            raise BadInput(f"calibration image {number} has shape {array.shape}, the model takes {shape}")
        if not np.isfinite(array).all():
            raise BadInput(f"calibration image {number} holds NaN or infinite values")
        batch.append(array)
        if len(batch) == BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)
