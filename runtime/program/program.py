"""The Program: what both parties know. A linear list of fixed-point steps, with its file
format, validation and digest.

A value is named by the index of the step that makes it. All values are shared, shape without
batch dimension, `(C, H, W)` or `(C,)`, elements of the ring `Z_{2^bits}`. The Program holds
no weight, no bias, no threshold, no activation range: only what both parties must know to
run it. What it does tell about the weights (for example a shift that was chosen from their
size) is listed in `disclosed`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from moiety.protocols.errors import BadArtifact, BadInput
from moiety.protocols.linear.parameters import RlwePlan
from moiety.protocols.network import NETWORKS, Network, NetworkName

FORMAT = "moiety-program"
VERSION = 1

Rounding = Literal["exact", "stochastic"]


class Step(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True, kw_only=True):
    """Common fields: operand step indices, shape and ring width (bits) of the
    result, the layer's name for people.
    """

    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    bits: int
    name: str = ""


class Input(Step, frozen=True, tag="input", kw_only=True):
    """The client's tensor, quantised to integers `round(x / scale)`; the client's share is
    the value, the server's is 0.

    The client clips to `[-2^(value_bits-1), 2^(value_bits-1))`, which is what the planner's
    headroom was computed for (None: the whole ring).
    """

    scale: float
    value_bits: int | None = None


class Linear(Step, frozen=True, tag="linear", kw_only=True):
    """Stride-1 convolution with secret integer weights and bias: `(C,H,W) -> (M,H',W')` in one
    ring; fully connected is H=W=1.

    Weights file: `linear.{step}.weight` int32 `(M, C/groups, kh, kw)`, `linear.{step}.bias` int64
    `(M,1,1)` or `(M,H',W')` (added modulo 2^bits; holds the rounding half of the truncation that
    follows where the planner wants one). weight_bits bounds `|w| < 2^(weight_bits-1)` and is what
    the noise budget is computed from.
    """

    kernel: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    weight_bits: int
    rlwe: RlwePlan


class Truncate(Step, frozen=True, tag="truncate", kw_only=True):
    """Truncate-and-reduce by `shift` bits: `Z_{2^(bits+shift)} -> Z_{2^bits}`; exact is
    floor, stochastic is the local one.
    """

    shift: int
    rounding: Rounding


class Relu(Step, frozen=True, tag="relu", kw_only=True):
    """`z = [±(x+c) > 0] * (x+c)` extended from the operand's ring to `bits`.

    With `affine`, the server's per-channel secrets are `relu.{step}.threshold` int64 `(C,)` (the c)
    and `relu.{step}.flip` uint8 `(C,)` (1 where the gate opens for `x+c < 0`). Without, c = 0 and
    no flip. Flip 0: `z = x+c if x+c >= 0 else 0`; flip 1: `z = x+c if x+c < 0 else 0`.

    A second operand, if there is one, holds the bits `[x+c >= 0]` that Gates steps have made
    already; the Relu then only multiplexes. They must be those of the same c.
    """

    affine: bool


class Gates(Step, frozen=True, tag="gates", kw_only=True):
    """Comparisons of one tensor with several secret thresholds: `[x + c_k >= 0]`, k <
    K, `(C, ...) -> (K, C, ...)`.

    The result is XOR-shared bits, not ring elements: `bits` is 1, and only Slice, Reshape and
    Concat may follow, up to the Relu that takes it as its second operand. Weights file:
    `gates.{step}.threshold` int64 `(K, C)`.
    """


class MaxPool(Step, frozen=True, tag="maxpool", kw_only=True):
    """Maximum over windows; every operand must lie in `[-2^(bits-2), 2^(bits-2))` (one headroom
    bit); padding counts as -2^(bits-2).
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


class SumPool(Step, frozen=True, tag="sumpool", kw_only=True):
    """Sum over windows modulo 2^bits (the division is in the next layer's
    weights); padding counts as 0.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


class Extend(Step, frozen=True, tag="extend", kw_only=True):
    """Signed extension to a wider ring."""


class Reduce(Step, frozen=True, tag="reduce", kw_only=True):
    """Reduction modulo a smaller `2^bits`; local."""


class Add(Step, frozen=True, tag="add", kw_only=True):
    """Sum of the operands with public signs (+1 or -1); same shape and ring."""

    signs: tuple[int, ...]


class AddConst(Step, frozen=True, tag="addconst", kw_only=True):
    """Adds the server's secret constant `const.{step}` int64, broadcastable to the shape; local."""


class Concat(Step, frozen=True, tag="concat", kw_only=True):
    axis: int


class Slice(Step, frozen=True, tag="slice", kw_only=True):
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    strides: tuple[int, ...]


class Reshape(Step, frozen=True, tag="reshape", kw_only=True):
    """Row-major reshape to `shape`."""


class Transpose(Step, frozen=True, tag="transpose", kw_only=True):
    perm: tuple[int, ...]


class Pad(Step, frozen=True, tag="pad", kw_only=True):
    """Zero padding: `(before, after)` per axis."""

    pads: tuple[tuple[int, int], ...]


class Output(Step, frozen=True, tag="output", kw_only=True):
    """Reveal to the client: signed integers times `scale`, then the public `postprocess`.
    Shape and ring of the operand.
    """

    scale: float
    postprocess: Literal["none", "sigmoid", "softmax"] = "none"
    labels: tuple[str, ...] = ()


AnyStep = (
    Input
    | Linear
    | Truncate
    | Relu
    | Gates
    | MaxPool
    | SumPool
    | Extend
    | Reduce
    | Add
    | AddConst
    | Concat
    | Slice
    | Reshape
    | Transpose
    | Pad
    | Output
)


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the client makes the input tensor from an image file: `x[c] =
    (gray_or_rgb / 255 - mean[c]) / std[c]`.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: Literal["exact", "short-side-crop"] = "short-side-crop"


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything public about a run. `steps[i].inputs < i`; exactly one Input first; Outputs last.

    `network` is the class of network that comparisons are cut into digits
    for (protocols/compare/digits).
    """

    format: Literal["moiety-program"] = "moiety-program"
    version: int = VERSION
    name: str
    rounding: Rounding
    preprocessing: Preprocessing | None
    steps: tuple[AnyStep, ...]
    disclosed: tuple[str, ...]
    network: NetworkName = "lan"

    def encode(self) -> bytes:
        """Canonical bytes: JSON with fields in declaration order. The digest is over these."""
        return msgspec.json.encode(self)

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Writes indented JSON atomically: a reader sees the old file or the whole new one."""
        write_atomically(path, msgspec.json.format(self.encode(), indent=1) + b"\n")

    @classmethod
    def load(cls, path: Path) -> Program:
        """Reads and validates a Program file. BadArtifact, naming the file, if it is not a
        sound Program of this version.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadArtifact(
                f"cannot read the Program {path}: {error.strerror or error}"
            ) from None
        try:
            return cls.decode(data)
        except BadArtifact as error:
            raise BadArtifact(f"{path}: {error}") from None

    @classmethod
    def decode(cls, data: bytes) -> Program:
        """The inverse of `encode` for untrusted bytes: BadArtifact unless every field
        and every step is consistent.
        """
        from moiety.runtime.program.validate import check_program

        try:
            header = msgspec.json.decode(data, type=_Header)
        except msgspec.MsgspecError as error:
            raise BadArtifact(f"this is not a Moiety Program: {error}") from None
        if header.format != FORMAT:
            raise BadArtifact(
                f"this is not a Moiety Program: its format is {header.format!r}, not {FORMAT!r}"
            )
        if header.version != VERSION:
            raise BadArtifact(
                f"the Program has version {header.version}, this Moiety reads {VERSION}; compile the model again"
            )
        try:
            program = msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise BadArtifact(f"the Program is damaged: {error}") from None
        check_program(program)
        return program

    @property
    def input(self) -> Input:
        """The one Input, step 0 of every valid Program."""
        first = self.steps[0]
        if not isinstance(first, Input):
            raise BadArtifact("the Program's first step is not its input")
        return first

    @property
    def planned_for(self) -> Network:
        """What `network` stands for."""
        return NETWORKS[self.network]

    @property
    def outputs(self) -> dict[int, Output]:
        """Step index -> Output, in order."""
        return {index: step for index, step in enumerate(self.steps) if isinstance(step, Output)}

    def output_names(self) -> dict[int, str]:
        """Step index -> a name that is unique among the outputs."""
        names = [step.name for step in self.outputs.values()]
        return {
            index: step.name
            if step.name and names.count(step.name) == 1
            else f"{step.name or 'output'}.{index}"
            for index, step in self.outputs.items()
        }

    def last_uses(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the operands that no later step reads: an
        executor may forget them after it.
        """
        last = {operand: index for index, step in enumerate(self.steps) for operand in step.inputs}
        return tuple(
            tuple(operand for operand in dict.fromkeys(step.inputs) if last[operand] == index)
            for index, step in enumerate(self.steps)
        )


def picture_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """(C, H, W) of a picture for an input of `shape`, which may be (H, W, C) as TensorFlow's
    exporters have it: where the last axis, and not the first, can be the colours (1 or 3).
    """
    last = len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3)
    return (shape[2], shape[0], shape[1]) if last else tuple(shape)


class _Header(msgspec.Struct, frozen=True):
    format: str
    version: int


def quantise_input(program: Program, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The client's integers for an image `x`, float `(C,H,W)`: `clip(round(x /
    scale))`, int64 of the same shape.

    BadInput on a wrong shape or on NaN and infinity.
    """
    step = program.input
    image = np.asarray(x, np.float64)
    if image.shape != step.shape:
        raise BadInput(f"the image has shape {image.shape}, the Program takes {step.shape}")
    if not np.isfinite(image).all():
        raise BadInput("the image holds NaN or infinite values")
    half = 1 << (min(step.value_bits or step.bits, step.bits) - 1)
    return np.clip(np.rint(image / step.scale), -half, half - 1).astype(np.int64)


def dequantise_output(step: Output, values: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """What the client reads from the revealed signed integers: times `scale`, then the
    postprocess (softmax along axis 0).
    """
    real = values.astype(np.float64) * step.scale
    match step.postprocess:
        case "none":
            return real
        case "sigmoid":
            return 0.5 * (1.0 + np.tanh(0.5 * real))
        case "softmax":
            exponent = np.exp(real - real.max(axis=0, keepdims=True))
            return np.asarray(exponent / exponent.sum(axis=0, keepdims=True))


def write_atomically(path: Path, data: bytes) -> None:
    """Writes beside `path`, flushes to disk and renames over it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
