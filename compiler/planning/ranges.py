"""Ranges of activations, from calibration images run through onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import safetensors
import safetensors.numpy
from onnx import TensorProto, helper

from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.ir.ops import LINEAR, POWERS, PRODUCTS, SPLINES, SUMS
from moiety.compiler.ir.to_onnx import to_onnx
from moiety.compiler.planning.feeds import feeds_of
from moiety.compiler.planning.splines import KNOTS
from moiety.protocols.arrays import F32, F64
from moiety.protocols.errors import BadArtifact, BadInput
from moiety.runtime.program import Case, write_atomically
from moiety.runtime.program.atomic import OWNER_ALONE

Progress = Callable[[str, int, int], None]
"""`progress(stage, done, total)`; total 0 where it is not known."""

FORMAT = "moiety-ranges"
VERSION = "1"
SPREAD = ("second_low", "second_high", "low_image", "high_image")
KINDS = ("low", "high", "mean", "open", "square", *SPREAD)
FINER = tuple(range(-8, 4))
"""Units at which the rounding bias of max-pools is measured, in bits finer than those at the
default widths: beyond them it changes no more, in units, for all elements are equal or none is.
"""
RESPONSES = ("noise", "gate", "weight", "pool", "fit")


@dataclass(frozen=True, eq=False)
class Responses:
    """Mean squared change of the results per squared perturbation, float64 per channel, by value
    name (see `responses`).

    noise: of independent errors in the elements of a value where a scale begins, `(C,)`. gate: of a
    shift of the thresholds of a ReLU that absorbed a batch norm, `(C,)`. weight: of independent
    errors in a linear layer's weights, by input channel, `(C_in,)`, each error in units of the
    layer's output channel at the default widths. pool: of the rounding bias of a max-pool, in its
    units squared, `(len(FINER) * C,)`: for units finer by each of `FINER` bits than those at the
    default widths, one after the other. fit: of what the fit of an activation adds to its elements,
    `(len(KNOTS),)`: for each number of knots.
    """

    noise: dict[str, F64] = field(default_factory=dict)
    gate: dict[str, F64] = field(default_factory=dict)
    weight: dict[str, F64] = field(default_factory=dict)
    pool: dict[str, F64] = field(default_factory=dict)
    fit: dict[str, F64] = field(default_factory=dict)

    def kinds(self) -> dict[str, dict[str, F64]]:
        """By name, in a fixed order."""
        return {kind: getattr(self, kind) for kind in RESPONSES}


@dataclass(frozen=True, eq=False)
class Ranges:
    """Statistics of each channel (axis 1) over images, float64 `(C,)`, by value name.

    low, high: smallest and largest value over all `images` images. mean: of the operands of linear
    layers and activations. open: of ReLUs that absorbed a batch norm, the part of elements above 0.
    square: of the operands of activations, the mean square; all three without images held out.
    responses: what a plan that is searched for needs; None in ranges of earlier versions.

    second_low, second_high: smallest and largest value over all other images than the one, number
    low_image or high_image, that has the smallest or largest; what margins need (`margins`).
    """

    images: int
    low: Mapping[str, F64]
    high: Mapping[str, F64]
    mean: Mapping[str, F64] = field(default_factory=dict)
    open: Mapping[str, F64] = field(default_factory=dict)
    responses: Responses | None = None
    square: Mapping[str, F64] = field(default_factory=dict)
    second_low: Mapping[str, F64] = field(default_factory=dict)
    second_high: Mapping[str, F64] = field(default_factory=dict)
    low_image: Mapping[str, F64] = field(default_factory=dict)
    high_image: Mapping[str, F64] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes a safetensors file, atomically; it tells about the weights, so it is its owner's
        alone.
        """
        tensors = {
            f"{kind}.{value}": array
            for kind in KINDS
            for value, array in getattr(self, kind).items()
        }
        for kind, arrays in (self.responses.kinds() if self.responses is not None else {}).items():
            tensors |= {f"{kind}.{value}": array for value, array in arrays.items()}
        metadata = {"format": FORMAT, "version": VERSION, "images": str(self.images)}
        write_atomically(path, safetensors.numpy.save(tensors, metadata), OWNER_ALONE)

    @classmethod
    def load(cls, path: Path) -> Ranges:
        """BadArtifact if this is not a sound ranges file."""
        metadata, tensors = _read(path)
        found: dict[str, dict[str, F64]] = {kind: {} for kind in (*KINDS, *RESPONSES)}
        for name, array in tensors.items():
            kind, _, value = name.partition(".")
            found.setdefault(kind, {})[value] = array
        images = metadata.get("images", "")
        if not (re.fullmatch("[1-9][0-9]{0,8}", images) and _sound(found)):
            raise BadArtifact(
                f"{path}: the ranges file is damaged: its numbers do not belong together"
            )
        responses = Responses(*(found[kind] for kind in RESPONSES)) if found["noise"] else None
        return cls(int(images), responses=responses, **{kind: found[kind] for kind in KINDS})

    def check_spread(self) -> None:
        """BadInput if there is nothing that says how images differ."""
        if any(getattr(self, kind).keys() != self.low.keys() for kind in SPREAD):
            raise BadInput(
                "these ranges do not say how far images differ, from which margins follow: "
                "calibrate again from images, or give the margin bits"
            )

    def required_responses(self) -> Responses:
        """BadInput if there are none."""
        if self.responses is None:
            raise BadInput(
                "these ranges hold no responses of the results to rounding, which the search for "
                "widths needs: calibrate again from images, or give the widths (activation and "
                "weight bits)"
            )
        return self.responses

    def bias_responses(self, pool: str, channels: int) -> F64:
        """Of a max-pool, `(len(FINER), channels)`. BadInput if there are none."""
        found = self.required_responses().pool.get(pool)
        if found is None or found.size != len(FINER) * channels:
            raise BadInput(
                f"these ranges hold no response of the results to the rounding of {pool!r}, which "
                "stochastic rounding needs: calibrate again from images, or round exactly"
            )
        return found.reshape(len(FINER), channels)

    def fit_responses(self, activation: str) -> F64:
        """Of an activation, `(KNOTS,)`. BadInput if there are none."""
        found = self.required_responses().fit.get(activation)
        if found is None or found.shape != (len(KNOTS),):
            raise BadInput(
                f"these ranges hold no response of the results to the fit of {activation!r}: "
                "calibrate again from images"
            )
        return found

    def check(self, graph: Graph) -> None:
        """BadInput unless there is everything here that a plan of `graph` needs."""
        for kind, value, channels in measurements(graph):
            array = getattr(self, kind).get(value)
            if array is None or array.shape != (channels,):
                raise BadInput(
                    f"the calibration has no {kind} of {channels} channels for {value!r}: it was "
                    "made for another model or other passes; calibrate again from images"
                )


def _read(path: Path) -> tuple[dict[str, str], dict[str, Array]]:
    """Metadata and tensors of a ranges file, not yet looked at. Raises BadArtifact."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                raise BadArtifact(f"{path}: this is not a ranges file of this version of Moiety")
            names = file.keys()
            return metadata, {name: file.get_tensor(name) for name in names}
    except OSError as error:
        raise BadArtifact(f"cannot read the ranges {path}: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise BadArtifact(f"{path}: the ranges file is damaged: {error}") from None


def _sound(found: Mapping[str, Mapping[str, Array]]) -> bool:
    """Do the arrays, by kind and value, make ranges?"""
    low, high = found["low"], found["high"]
    return (
        found.keys() <= {*KINDS, *RESPONSES}
        and all(_finite_vector(array) for arrays in found.values() for array in arrays.values())
        and low.keys() == high.keys()
        and all(found[kind].keys() in (set(), low.keys()) for kind in SPREAD)
        and all(found[kind][v].shape == low[v].shape for kind in SPREAD for v in found[kind])
        and all(low[v].shape == high[v].shape and (low[v] <= high[v]).all() for v in low)
        and all((array >= 0).all() for kind in RESPONSES for array in found[kind].values())
    )


def _finite_vector(array: Array) -> bool:
    return array.dtype == np.float64 and array.ndim == 1 and bool(np.isfinite(array).all())


def measurements(graph: Graph) -> list[tuple[str, str, int]]:
    """(kind, value, channels) of all that the planner needs to know; the ranges of other values are
    parts of these.
    """
    gates, layers = list(graph.nodes_of("AffineRelu")), graph.nodes_of(*LINEAR)
    measured = graph.nodes_of(*LINEAR, *PRODUCTS, *SUMS)
    bounded = [*graph.inputs, *(node.output for node in measured), *graph.outputs]
    bounded += [gate.inputs[0] for gate in gates]
    fitted = list(graph.nodes_of(*SPLINES))
    bounded += [value for node in fitted for value in (node.inputs[0], node.output)]
    spread = [node.inputs[0] for node in fitted if node.op not in POWERS]
    averaged = [*(layer.inputs[0] for layer in layers), *spread]
    gated = [gate.output for gate in gates]
    wanted = [("low", value) for value in bounded] + [("high", value) for value in bounded]
    wanted += [("mean", value) for value in averaged] + [("open", value) for value in gated]
    wanted += [("square", value) for value in spread]
    return [(kind, value, graph.shapes[value][1]) for kind, value in dict.fromkeys(wanted)]


def calibrate(
    graph: Graph,
    images: Iterable[Case],
    progress: Progress | None = None,
    ranged: Collection[int] = (),
) -> Ranges:
    """Statistics of `graph` over images, each float `(C,H,W)` (an array `(n,C,H,W)` is an
    iterable of such), or tensors by the inputs' names. ranged: the numbers of those that are left
    out of means.

    BadInput if there is no image, or one has a wrong shape or holds NaN or infinity, or makes the
    model overflow.
    """
    total = len(images) if isinstance(images, Sized) else 0
    wanted = measurements(graph)
    session = _session(graph, wanted)
    found: dict[tuple[str, str], _Extreme | _Sum] = {
        (kind, value): _Extreme(_SIGNS[kind]) if kind in _SIGNS else _Sum()
        for kind, value, _ in wanted
    }
    count = 0
    for feeds in _checked(images, graph):
        for key, array in zip(found, session.run(None, feeds), strict=True):
            if not np.isfinite(array).all():
                raise BadInput(
                    f"the model gives NaN or infinity at {key[1]!r} for a calibration image"
                )
            if key[0] in _SIGNS or count not in ranged:
                found[key].add(np.asarray(array[0], np.float64), count)
        count += 1
        if progress is not None:
            progress("calibrating, image", count, total)
    if count == 0:
        raise BadInput(
            "calibration needs at least one image; some dozens that look like the real ones are "
            "better"
        )
    of_kind: dict[str, dict[str, F64]] = {kind: {} for kind in KINDS}
    for (kind, value), statistic in found.items():
        for name, array in statistic.result(kind, count).items():
            of_kind[name][value] = array
    return Ranges(count, responses=None, **of_kind)


class _Extreme:
    """Largest value over images by channel, the largest of the other images, and which image has
    the first; of sign -1, smallest.
    """

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.first: F64 = np.array(-np.inf)
        self.second: F64 = np.array(-np.inf)
        self.image: F64 = np.zeros(())

    def add(self, values: F64, image: int) -> None:
        values = self.sign * values
        self.second = np.maximum(self.second, np.minimum(self.first, values))
        self.image = np.where(values > self.first, float(image), self.image)
        self.first = np.maximum(self.first, values)

    def result(self, kind: str, count: int) -> dict[str, F64]:
        second = self.second if count > 1 else self.first
        return {
            kind: self.sign * self.first,
            f"second_{kind}": self.sign * second,
            f"{kind}_image": self.image,
        }


class _Sum:
    """Sum over images, by channel; `result`: their mean."""

    def __init__(self) -> None:
        self.sum: F64 = np.zeros(())
        self.count = 0

    def add(self, values: F64, image: int) -> None:
        self.sum = self.sum + values
        self.count += 1

    def result(self, kind: str, count: int) -> dict[str, F64]:
        return {kind: self.sum / self.count}


_SIGNS = {"low": -1, "high": 1}
_REDUCE = {
    "low": "ReduceMin",
    "high": "ReduceMax",
    "mean": "ReduceMean",
    "open": "ReduceMean",
    "square": "ReduceMean",
}
_FIRST = {"open": ("Sign", 1), "square": ("Mul", 2)}
"""What an element is made before it is averaged: an op of so many times the element."""


def _session(graph: Graph, wanted: Sequence[tuple[str, str, int]]) -> onnxruntime.InferenceSession:
    """The model with the statistics of each image, `(N, C)`, as its outputs: whole activations
    never leave the runtime.
    """
    model = to_onnx(graph)
    del model.graph.output[:]
    for kind, value, channels in wanted:
        name = f"{value}::{kind}"
        source = f"{name} of" if kind in _FIRST else value
        if kind in _FIRST:
            op, count = _FIRST[kind]
            model.graph.node.append(helper.make_node(op, [value] * count, [source]))
        axes = list(range(2, len(graph.shapes[value])))
        if axes:
            node = helper.make_node(_REDUCE[kind], [source], [name], axes=axes, keepdims=0)
        else:
            node = helper.make_node("Identity", [source], [name])
        model.graph.node.append(node)
        model.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels])
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _checked(images: Iterable[Case], graph: Graph) -> Iterator[dict[str, F32]]:
    """The images one by one: in batches the runtime is no faster, and needs more memory."""
    for number, image in enumerate(images):
        yield checked_feeds(number, image, graph)


def checked_feeds(number: int, image: Case, graph: Graph) -> dict[str, F32]:
    """What `feeds_of` makes of a calibration image; its BadInput says which one it was."""
    try:
        return feeds_of(graph, image)
    except BadInput as error:
        raise BadInput(f"calibration image {number}: {error}") from None
