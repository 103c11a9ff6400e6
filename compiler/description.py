"""What a Program says in public about a model, beside its steps: how pictures become its input, and
what its output's values are called and mean.

Each comes from the command line, else from the ONNX file's metadata. Preprocessing is never
guessed: a model of pictures that does not say it is refused.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import msgspec

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.onnx_import.metadata import (
    LABELS,
    OP_THRESHS,
    PREPROCESSING,
    read_metadata,
)
from moiety.protocols.errors import BadInput, BadModel, MoietyError
from moiety.runtime.intake.presets import PRESETS, described, from_json, preset
from moiety.runtime.program import Preprocessing, picture_shape, takes_pictures

NONE = "none"
"""The word for a Program that takes tensors alone."""
WITHOUT = ("nan", "null", "none")
"""The words for a label without an operating point."""

T = TypeVar("T")


@dataclass(frozen=True)
class Described:
    """What the command line says of pictures.

    preprocessing: a preset's name, a JSON file, or "none"; without it, what the model's metadata
    say. mean, std: per channel, of pixels 0 to 1 (before the model's own scale and offset, if it
    has them), instead of those. exact_size: refuse pictures of another size instead of resizing
    them.
    """

    preprocessing: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    exact_size: bool = False

    def of(
        self, model: Path, shape: Sequence[int], chosen_shape: bool = False
    ) -> Preprocessing | None:
        """For an input of `shape`, which the user has chosen or the model fixes; None: it takes
        tensors alone. Raises BadModel, BadInput.
        """
        changes = self._changes()
        if self.preprocessing == NONE or not takes_pictures(shape):
            self._check_tensors(shape, changes)
            return None
        said = self._fields(model, shape, chosen_shape)
        if said is None and not {"mean", "std"} <= changes.keys():
            raise BadInput(_unsaid(model))
        try:
            return described((said or {}) | changes, shape)
        except BadInput as error:
            raise BadInput(f"{self._names(changes)}: {error}") from None

    def _check_tensors(self, shape: Sequence[int], changes: dict[str, Any]) -> None:
        """BadInput where pictures are described, though there are none."""
        given = self._names(changes) if changes else ""
        if self.preprocessing not in (None, NONE):
            given = f"--preprocessing {self.preprocessing}"
        if given and takes_pictures(shape):
            raise BadInput(f"{given}: with --preprocessing none the Program takes no pictures")
        if given:
            raise BadInput(
                f"{given}: for pictures of 1 or 3 channels; the model's input has the shape "
                f"{tuple(shape)}"
            )

    def _changes(self) -> dict[str, Any]:
        """The fields that options of their own give."""
        given: dict[str, Any] = {"mean": self.mean, "std": self.std}
        exact = {"resize": "exact", "resize_to": None} if self.exact_size else {}
        return {name: value for name, value in given.items() if value is not None} | exact

    def _names(self, changes: dict[str, Any]) -> str:
        names = {"mean": "--mean", "std": "--std", "resize": "--exact-size"}
        return ", ".join(names[field] for field in names if field in changes)

    def _fields(
        self, model: Path, shape: Sequence[int], chosen_shape: bool
    ) -> dict[str, Any] | None:
        """What is said, every field of it; None: nothing. Raises BadModel, BadInput."""
        if self.preprocessing is not None and self.preprocessing in PRESETS:
            return msgspec.structs.asdict(preset(self.preprocessing, shape))
        if self.preprocessing is not None:
            return msgspec.structs.asdict(_of_file(Path(self.preprocessing), shape))
        found = read_metadata(model, PREPROCESSING, dict[str, Any])
        if found is None:
            return None
        try:
            made = described(_at_size(found, shape) if chosen_shape else found, shape)
        except BadInput as error:
            raise BadModel(
                f"{model}: its metadata {PREPROCESSING}: {error}; --preprocessing takes their place"
            ) from None
        return msgspec.structs.asdict(made)


def _at_size(found: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A model's description, where the user has chosen another size of its input: the part of the
    picture that is cropped stays the same.
    """
    kept = {name: value for name, value in found.items() if name != "size"}
    try:
        was = msgspec.convert(found.get("size"), tuple[int, int])
        before = msgspec.convert(found.get("resize_to"), int)
    except msgspec.ValidationError:
        return kept
    return kept | {"resize_to": round(before * max(picture_shape(shape)[1:]) / max(1, *was))}


def _of_file(path: Path, shape: Sequence[int]) -> Preprocessing:
    if not os.path.isfile(path):
        raise BadInput(
            f"--preprocessing {path}: no such preset ({', '.join(PRESETS)}, {NONE}) and no such "
            "JSON file"
        )
    try:
        return from_json(path.read_bytes(), shape)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _unsaid(model: Path) -> str:
    return (
        f"{model} does not say how pictures become its input (metadata {PREPROCESSING}). Say what "
        f"it was trained with: --preprocessing {'|'.join(PRESETS)}, or a JSON file; or --mean and "
        f"--std, for pictures resized by their short side and cropped; or --preprocessing {NONE}, "
        "if it is to take NPY tensors alone"
    )


def output_labels(graph: Graph, model: Path, given: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the values of the model's one output, or of the places that they are; of several
    outputs where each has as many. Raises BadInput, BadModel.
    """
    said = _Said.of(given, "--labels", model, LABELS, str)
    outputs = result_forms(graph)
    if len(outputs) > 1 and {form.named for form in outputs} == {len(said.values)}:
        return said.values
    if len(outputs) > 1 and not given:
        return ()
    said.check_count(graph)
    return said.values


def output_op_threshs(
    graph: Graph, model: Path, given: tuple[float | None, ...]
) -> tuple[float | None, ...]:
    """Operating points of the model's one output, probabilities; None for a value without. Raises
    BadInput, BadModel.
    """
    said = _Said.of(given, "--op-thresholds", model, OP_THRESHS, float | None)
    said.check_count(graph)
    for threshold in said.values:
        if threshold is not None and not 0 < threshold < 1:
            said.refuse(f"{threshold} is not a probability between 0 and 1")
    output = result_forms(graph)[0]
    if said.values and not output.probabilities:
        said.refuse(
            f"they are for probabilities, and the output {output.name} is not made by a "
            "Sigmoid; export the model with it (torchxrayvision: apply_sigmoid=True, "
            "op_threshs=None)"
        )
    return said.values


@dataclass(frozen=True)
class _Said(Generic[T]):
    """What is said of the output's values, by whom, and the error if that is wrong."""

    values: tuple[T, ...]
    source: str
    error: type[MoietyError]

    @classmethod
    def of(cls, given: tuple[T, ...], option: str, model: Path, key: str, kind: Any) -> _Said[T]:
        """By an option, else by the model's metadata."""
        if given:
            return cls(given, option, BadInput)
        found = read_metadata(model, key, tuple[kind, ...])
        return cls(found or (), f"{model}, its metadata {key}", BadModel)

    def refuse(self, reason: str) -> NoReturn:
        raise self.error(f"{self.source}: {reason}")

    def check_count(self, graph: Graph) -> None:
        """Refuses another number of them than of the one output's values."""
        if not self.values:
            return
        output, *others = result_forms(graph)
        if others:
            names = ", ".join(form.name for form in (output, *others))
            self.refuse(f"for a model of one output, and this one has {names}")
        if len(self.values) != output.named:
            what = "values" if output.places is None else "places"
            self.refuse(
                f"{len(self.values)} of them, for an output {output.name} of {output.named} {what}"
            )


def parse_op_threshs(text: str | None) -> tuple[float | None, ...]:
    """Of --op-thresholds: numbers between commas or on lines, or a JSON list, or a file of these;
    "nan", "null" and "none" for a label without. Raises BadInput.
    """
    if text is None:
        return ()
    try:
        given = Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else text
        words = re.split(r"\s*,\s*|\s+", given.strip("[] \t\r\n"))
        return tuple(None if word.lower() in WITHOUT else float(word) for word in words)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"--op-thresholds {text[:80]}: cannot be read ({error}); give a number per label, or a "
            "file of them"
        ) from None


def parse_thresholds(text: str | None) -> dict[str, float] | tuple[float, ...]:
    """Of --thresholds: numbers, or LABEL=NUMBER, between commas or on lines, or a file of these.
    Raises BadInput.
    """
    if text is None:
        return ()
    try:
        given = Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else text
        words = [word.strip() for word in re.split(r"[,\n]", given) if word.strip()]
        named = [word.rpartition("=") for word in words]
        if not any(equals for _, equals, _ in named):
            return tuple(map(float, words))
        found = {label.strip(): float(number) for label, _, number in named}
    except OSError as error:
        raise BadInput(f"--thresholds {text[:80]}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise BadInput(
            f"--thresholds {text[:80]}: is no number, no LABEL=NUMBER,... and no file of these"
        ) from None
    if "" in found or len(found) < len(words):
        raise BadInput(f"--thresholds {text[:80]}: a label is missing, or there twice")
    return found
