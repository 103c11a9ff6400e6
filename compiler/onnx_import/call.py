"""One ONNX node as its importer sees it, and the registry of importers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import numpy as np
import onnx

from moiety.compiler.ir.graph import Array, Node, Shape
from moiety.compiler.onnx_import.builder import Builder
from moiety.compiler.onnx_import.public import Public, Unsized
from moiety.compiler.onnx_import.room import ELEMENT, TABLE, VALUE, WEIGHT
from moiety.protocols.arrays import F32
from moiety.protocols.errors import BadModel, ContractViolation
from moiety.runtime.program.bounds import check_memory
from moiety.runtime.program.steps.base import MAX_STEPS

LARGEST = 1 << 28
"""Elements of a value, at most."""


class MovesBatch(BadModel):
    """Of secret values, the first axis is the batch: the node would move, cut or reduce it."""


T = TypeVar("T")

Operand = str | Array | Public | Unsized | None


@dataclass
class Call:
    """One ONNX node: its attributes and operands, and how to emit Graph nodes or to fail."""

    builder: Builder
    proto: onnx.NodeProto
    attrs: Mapping[str, Any]
    operands: tuple[Operand, ...]
    """Each a Graph value, a folded constant, a public value, one without a size, or absent."""

    @property
    def label(self) -> str:
        """The node's name, else that of its first output."""
        return self.proto.name or (self.proto.output[0] if self.proto.output else "")

    @property
    def opset(self) -> int:
        return self.builder.opset

    # --- failing -------------------------------------------------------------------------------

    def fail(self, problem: str, advice: str = "") -> NoReturn:
        """Raise BadModel that names the node."""
        raise BadModel(
            f"{self.proto.op_type} {self.label!r}: {problem}" + (f"; {advice}" if advice else "")
        )

    def fail_on_batch(self, problem: str, advice: str) -> NoReturn:
        """Raise MovesBatch that names the node."""
        try:
            self.fail(problem, advice)
        except BadModel as error:
            raise MovesBatch(str(error)) from None

    def only_first_output(self) -> None:
        """Fail where another output of the node is used."""
        extra = [name for name in self.proto.output[1:] if name and name in self.builder.read]
        if extra:
            self.fail(
                f"its extra output {extra[0]!r} is used, which inference does not have",
                "export the model in inference mode",
            )

    def not_in_training(self) -> None:
        """Fail where a Dropout drops."""
        training = self.constant(2)
        if training is not None and bool(np.any(training)):
            self.fail("is in training mode", "export the model in inference mode (model.eval())")

    def weigh(self, shape: Sequence[int]) -> None:
        """Fail where a value of this shape takes more than is allowed."""
        what = f"{self.proto.op_type} {self.label!r}: its value of shape {tuple(shape)}"
        check_memory(what, math.prod(shape) * ELEMENT * VALUE, BadModel)
        if math.prod(shape) > LARGEST:
            self.fail(f"makes a tensor of shape {tuple(shape)}, which is too large")

    def make_room(self, *sizes: int, each: int = TABLE) -> None:
        """Fail where a table of these sizes, of so many bytes each, which an importer is about to
        make, takes more than is allowed beside those that were made.
        """
        entries = math.prod(max(1, size) for size in sizes)
        self.builder.held += each * entries
        what = f"{self.proto.op_type} {self.label!r}: a table of {entries} numbers for it"
        check_memory(what, self.builder.held, BadModel)

    def times(self, value: T, count: int) -> list[T]:
        """A value as often as it is copied."""
        if count > MAX_STEPS:
            self.fail(f"makes {count} copies", f"at most {MAX_STEPS} are supported")
        return [value] * count

    # --- operands ------------------------------------------------------------------------------

    def _operand(self, index: int) -> Operand:
        return self.operands[index] if index < len(self.operands) else None

    def is_value(self, index: int) -> bool:
        """Is operand `index` computed from the input?"""
        return isinstance(self._operand(index), str)

    def is_constant(self, index: int) -> bool:
        """Is operand `index` a folded constant?"""
        return isinstance(self._operand(index), np.ndarray)

    def value(self, index: int = 0) -> str:
        """Operand `index`, which must be computed from the input."""
        operand = self._operand(index)
        if not isinstance(operand, str):
            found = "absent" if operand is None else "a constant"
            self.fail(f"operand {index} must be computed from the input, it is {found}")
        return operand

    def shape(self, index: int = 0) -> Shape:
        """Shape of operand `index`, which must be computed from the input."""
        return self.builder.shapes[self.value(index)]

    def shapes(self) -> list[Shape | None]:
        """Shapes of all operands, None where absent or without a size."""

        def shape(operand: Operand) -> Shape | None:
            if operand is None or isinstance(operand, Unsized):
                return None
            return self.builder.shapes[operand] if isinstance(operand, str) else operand.shape

        return [shape(operand) for operand in self.operands]

    def constant(self, index: int) -> Array | None:
        """Operand `index` as a folded constant, None when absent; fails when it
        depends on the input.
        """
        operand = self._operand(index)
        if operand is not None and not isinstance(operand, np.ndarray):
            self.fail(
                f"operand {self.proto.input[index]!r} must be a constant, "
                "but it depends on the input",
                "export the model with it as a constant",
            )
        return operand

    def weight(self, index: int, what: str) -> F32:
        """A constant operand as finite float32; one array per ONNX tensor, so that sharing
        stays visible.
        """
        array = self.constant(index)
        if array is None:
            self.fail(f"{what} is missing")
        name = self.proto.input[index]
        if name not in self.builder.weights:
            self.builder.weights[name] = self.finite(array, name)
        return self.builder.weights[name]

    def bias(self, index: int, size: int) -> F32:
        """Constant operand `index`, or zeros `(size,)` when absent."""
        absent = self.constant(index) is None
        return self.zeros(size) if absent else self.weight(index, "the bias")

    def zeros(self, size: int) -> F32:
        """The bias of a layer that has none; one array of each size."""
        self.make_room(size, each=WEIGHT)
        return self.builder.weights.setdefault(f"zeros {size}", np.zeros(size, np.float32))

    def finite(self, array: Array, tensor: str) -> F32:
        """`array` as float32; fails, naming `tensor`, where that has no finite numbers."""
        array = np.asarray(array)
        real = np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)
        # bfloat16 is a type of its own, which NumPy does not count as floating.
        if not real and array.dtype.name != "bfloat16":
            self.fail(f"tensor {tensor!r} must hold real numbers, it holds {array.dtype}")
        with np.errstate(over="ignore"):
            result = np.asarray(array, np.float32)
        if not np.isfinite(result).all():
            count = int((~np.isfinite(result)).sum())
            self.fail(
                f"tensor {tensor!r} has {count} NaN or infinite values",
                "export the model from an intact checkpoint",
            )
        return result

    def ints(self, name: str, index: int | None = None) -> tuple[int, ...] | None:
        """Integers given as attribute `name` or, since a later opset, as operand `index`;
        None when absent.
        """
        found = (
            self.attrs.get(name) if name in self.attrs or index is None else self.constant(index)
        )
        if found is None:
            return None
        array = np.atleast_1d(np.asarray(found))
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            self.fail(
                f"{name} must be a list of integers, it is {array.dtype} of shape {array.shape}",
                "export the model again",
            )
        return tuple(array.tolist())

    def flag(self, name: str, default: bool = False) -> bool:
        """Attribute `name`, 0 or 1."""
        found = self.attrs.get(name, int(default))
        if found not in (0, 1):
            self.fail(f"{name}={found} is neither 0 nor 1", "export the model again")
        return bool(found)

    def text(self, name: str, default: str) -> str:
        """Attribute `name`, a string."""
        found: bytes = self.attrs.get(name, default.encode())
        return found.decode()

    # --- results -------------------------------------------------------------------------------

    def emit(self, op: str, inputs: Sequence[str], **fields: Any) -> str:
        """Append a Graph node; array-valued fields become constants, the others attributes. The
        value it makes.
        """
        consts = {key: value for key, value in fields.items() if isinstance(value, np.ndarray)}
        attrs = {key: value for key, value in fields.items() if key not in consts}
        for key, value in {**attrs, **consts}.items():
            if isinstance(value, float | np.ndarray) and not np.isfinite(value).all():
                self.fail(f"its {key} is NaN or infinite", "export the model again")
        output = self.builder.fresh(self.label)
        try:
            made = self.builder.emit(Node(op, self.label, tuple(inputs), output, attrs, consts))
        except ContractViolation as error:
            self.fail(str(error).split(": ", 1)[-1], f"operand shapes {self.shapes()}")
        self.weigh(self.builder.shapes[made])
        return made

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """`value` with another shape; itself where that is its own."""
        if tuple(shape) == self.builder.shapes[value]:
            return value
        return self.emit("Reshape", [value], shape=tuple(shape))

    def transpose(self, value: str, perm: Sequence[int]) -> str:
        """`value` with its axes in the order `perm`; itself where that is the order they have."""
        if list(perm) == sorted(perm):
            return value
        return self.emit("Transpose", [value], perm=tuple(perm))


Importer = Callable[[Call], Sequence[str]]

IMPORTERS: dict[str, Importer] = {}
"""By ONNX op type, once `moiety.compiler.onnx_import` has imported its files."""


def importer(*op_types: str) -> Callable[[Importer], Importer]:
    """Register a function as the importer of ONNX op types; it returns the Graph value of each ONNX
    output. Its docstring says what is supported, in one sentence of docs/onnx-support.md.
    """

    def register(function: Importer) -> Importer:
        IMPORTERS.update(dict.fromkeys(op_types, function))
        return function

    return register
