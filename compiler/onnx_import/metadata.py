"""What an ONNX file says of itself beside its graph, as entries of its `metadata_props` in JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import onnx

from moiety.protocols.errors import BadModel
from moiety.runtime.program.decoding import UNREADABLE

LABELS = "moiety.labels"
"""A list of strings: the names of the output's values, in order."""

PREPROCESSING = "moiety.preprocessing"
"""An object with the fields of `moiety.runtime.program.Preprocessing`, of which
`moiety.runtime.intake.presets` says what may be left out.
"""

OP_THRESHS = "moiety.op_threshs"
"""A list of numbers between 0 and 1, or null: the operating points of the output's values, which
are probabilities (`moiety.runtime.program.Output`).
"""

VERSION = "moiety.version"
"""The model's version, in its vendor's words."""

T = TypeVar("T")


def read_metadata(model: Path, key: str, kind: type[T]) -> T | None:
    """An entry of an ONNX file, None if there is none. BadModel if it cannot be read as `kind`."""
    entries = onnx.load(model, load_external_data=False).metadata_props
    text = next((entry.value for entry in entries if entry.key == key), None)
    try:
        return None if text is None else msgspec.json.decode(text, type=kind)
    except UNREADABLE as error:
        raise BadModel(f"{model}: its metadata {key} cannot be read: {error}") from error


def read_version(model: Path) -> str:
    """The model's version: what its metadata say, else its `model_version` field where it has one,
    else nothing.
    """
    stated = read_metadata(model, VERSION, str)
    number = onnx.load(model, load_external_data=False).model_version
    return stated or (str(number) if number else "")
