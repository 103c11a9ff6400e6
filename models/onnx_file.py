"""What an ONNX file carries beside its graph: label names, preprocessing, and weights stored in half precision.

Two `metadata_props` entries make a model file self-contained; `moiety compile` reads them:

    moiety.labels         JSON list of strings, one per output, in order
    moiety.preprocessing  JSON object with the fields of `Preprocessing`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LABELS_KEY = "moiety.labels"
PREPROCESSING_KEY = "moiety.preprocessing"


@dataclass(frozen=True)
class Preprocessing:
    """From an 8-bit grey image to the network's input: `x[c] = (grey / 255 - mean[c]) / std[c]`, NCHW float32.

    `size` is (height, width). `resize="short-side-crop"`: the short side is resized to `size` (antialiased bilinear), then the
    centre is cut out. A grey image is repeated over the `channels`.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "short-side-crop"


IMAGENET = Preprocessing((224, 224), 3, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The normalisation of torchvision's networks, which the shipped model uses too."""


def set_metadata(model: onnx.ModelProto, labels: Sequence[str], preprocessing: Preprocessing) -> None:
    """Writes both entries into `model`, replacing any that are there; other entries stay."""
    entries = {prop.key: prop.value for prop in model.metadata_props}
    entries[LABELS_KEY] = json.dumps(list(labels))
    entries[PREPROCESSING_KEY] = json.dumps(asdict(preprocessing))
    helper.set_model_props(model, entries)


def get_metadata(model: onnx.ModelProto) -> tuple[list[str], Preprocessing]:
    """The label names and the preprocessing in `model`; KeyError names the entry that is missing."""
    entries = {prop.key: prop.value for prop in model.metadata_props}
    fields = json.loads(entries[PREPROCESSING_KEY])
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return list(json.loads(entries[LABELS_KEY])), Preprocessing(**tuples)


def store_half(model: onnx.ModelProto) -> None:
    """Stores every float32 weight of two or more dimensions as float16, followed by a Cast to float32.

    Halves the file and rounds each weight to 11 significant bits; arithmetic stays float32. Vectors (biases, batch norm
    statistics: 2 % of a DenseNet) stay float32, so no variance can overflow and no epsilon is lost. Raises ValueError for a
    weight beyond 65504, which float16 cannot hold.
    """
    casts: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        weight = numpy_helper.to_array(tensor)
        if np.abs(weight).max(initial=0) > np.finfo(np.float16).max:
            raise ValueError(f"weight {tensor.name} has an element beyond float16's range; keep the file in float32")
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"/{name}/Cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
