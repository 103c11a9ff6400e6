"""What an ONNX file carries beside its graph: label names, preprocessing, and weights stored in
half precision.

Two entries of its metadata (`moiety.compiler.onnx_import.metadata`) make a model file
self-contained; `moiety compile` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from moiety.compiler.onnx_import.metadata import LABELS, PREPROCESSING
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.presets import IMAGENET_MEAN, IMAGENET_STD
from moiety.runtime.program import Preprocessing

IMAGENET = Preprocessing(size=(224, 224), channels=3, mean=IMAGENET_MEAN, std=IMAGENET_STD)
"""The normalisation of torchvision's networks, which the shipped model uses too."""


def set_metadata(
    model: onnx.ModelProto, labels: Sequence[str], preprocessing: Preprocessing
) -> None:
    """Writes both entries into `model`, replacing any that are there; other entries stay."""
    entries = {prop.key: prop.value for prop in model.metadata_props}
    entries[LABELS] = msgspec.json.encode(list(labels)).decode()
    entries[PREPROCESSING] = msgspec.json.encode(preprocessing).decode()
    helper.set_model_props(model, entries)


def get_metadata(model: onnx.ModelProto) -> tuple[list[str], Preprocessing]:
    """The label names and the preprocessing in `model`.

    Raises KeyError with the name of the entry that is missing, msgspec.DecodeError for one that
    does not read.
    """
    entries = {prop.key: prop.value for prop in model.metadata_props}
    labels = msgspec.json.decode(entries[LABELS], type=list[str])
    return labels, msgspec.json.decode(entries[PREPROCESSING], type=Preprocessing)


def store_half(model: onnx.ModelProto) -> None:
    """Stores every float32 weight of two or more dimensions as float16, followed by a
    Cast to float32.

    Halves the file and rounds each weight to 11 significant bits; arithmetic stays float32. Vectors
    (biases, batch norm statistics: 2 % of a DenseNet) stay float32, so no variance can overflow and
    no epsilon is lost. Raises BadInput for a weight beyond 65504, which float16 cannot hold.
    """
    casts: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        weight = numpy_helper.to_array(tensor)
        if np.abs(weight).max(initial=0) > np.finfo(np.float16).max:
            raise BadInput(
                f"weight {tensor.name} has an element beyond float16's range; keep the file in "
                "float32"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(weight.astype(np.float16), f"{name}.half"))
        casts.append(
            helper.make_node(
                "Cast", [f"{name}.half"], [name], name=f"/{name}/Cast", to=TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
