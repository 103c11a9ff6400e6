"""Operations on one element at a time, with NumPy's broadcasting; and constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from moiety.protocols.arrays import F64
from moiety.runtime.program.expression.base import (
    DTYPES,
    Array,
    Form,
    Kind,
    Operation,
    Shape,
    broadcast,
    is_kind,
    is_shape,
    require,
    same_kind,
)

__all__ = ["Binary", "Cast", "Constant", "OperatingPoints", "Unary", "Where"]

EXACT_INTEGER = 1 << 53
"""Beyond it, not every integer is a float64."""

Number = float | Literal["nan", "inf", "-inf"]


@dataclass(frozen=True)
class _Function:
    """Of one or two elements. kinds: of its operands, which are of one kind. one_to_one: its
    operand can be computed from its result (of two operands: if the other is a constant, not 0).
    """

    meaning: Callable[..., Array]
    kinds: tuple[Kind, ...]
    one_to_one: bool = False
    truth: bool = False
    """It makes truth values; else its result is of its operands' kind."""
    rises: bool = False
    """It never falls."""


_REAL: Final[tuple[Kind, ...]] = ("real",)
_NUMBER: Final[tuple[Kind, ...]] = ("real", "integer")
_TRUTH: Final[tuple[Kind, ...]] = ("boolean",)
_ANY: Final[tuple[Kind, ...]] = ("real", "integer", "boolean")


def sigmoid(x: Array) -> Array:
    """By tanh: no overflow for large negative arguments."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


_ERF_STEP = 1 / 256
_ERF_GRID: F64 = np.arange(0, 6 + _ERF_STEP / 2, _ERF_STEP)
_ERF: F64 = np.array([math.erf(at) for at in _ERF_GRID])


def erf_slope(x: Array) -> Array:
    """The error function's derivative."""
    return np.asarray(2 / math.sqrt(math.pi) * np.exp(-(x**2)))


_ERF_PART = 1 << 18
"""Elements at once, for each of which a dozen numbers are made."""


def _erf(x: Array) -> Array:
    parts = np.array_split(x.reshape(-1), x.size // _ERF_PART + 1)
    return np.concatenate([_erf_of(part) for part in parts]).reshape(x.shape)


def _erf_of(x: Array) -> Array:
    """By its Taylor series of third order around the nearest point of a table: exact to 1e-11."""
    size = np.minimum(np.abs(x), 6.0)
    nearest = np.rint(np.nan_to_num(size) / _ERF_STEP).astype(np.int64)
    at = _ERF_GRID[nearest]
    h = size - at
    series = _ERF[nearest] + erf_slope(at) * h * (1 - at * h + (2 * at**2 - 1) * h**2 / 3)
    return np.asarray(np.sign(x) * series).astype(x.dtype)


UnaryName = (
    Literal["sigmoid", "tanh", "exp", "log", "sqrt", "reciprocal", "softplus", "erf", "isnan"]
    | Literal["floor", "ceil", "round", "neg", "abs", "sign", "relu", "not"]
)
UNARY: Final[dict[str, _Function]] = {
    "sigmoid": _Function(sigmoid, _REAL, True, rises=True),
    "tanh": _Function(np.tanh, _REAL, True, rises=True),
    "exp": _Function(np.exp, _REAL, True, rises=True),
    "log": _Function(np.log, _REAL),
    "sqrt": _Function(np.sqrt, _REAL),
    "reciprocal": _Function(lambda x: 1.0 / x, _REAL, True),
    "softplus": _Function(lambda x: np.logaddexp(0.0, x), _REAL, True, rises=True),
    "erf": _Function(_erf, _REAL, True, rises=True),
    "floor": _Function(np.floor, _REAL, rises=True),
    "ceil": _Function(np.ceil, _REAL, rises=True),
    "round": _Function(np.rint, _REAL, rises=True),
    "neg": _Function(np.negative, _NUMBER, True),
    "abs": _Function(np.abs, _NUMBER),
    "sign": _Function(np.sign, _NUMBER),
    "relu": _Function(lambda x: np.maximum(x, 0), _NUMBER, rises=True),
    "not": _Function(np.logical_not, _TRUTH, True),
    "isnan": _Function(np.isnan, _REAL, truth=True),
}

BinaryName = (
    Literal["add", "sub", "mul", "div", "pow", "max", "min", "and", "or", "xor"]
    | Literal["less", "less_or_equal", "greater", "greater_or_equal", "equal"]
)
BINARY: Final[dict[str, _Function]] = {
    "add": _Function(np.add, _NUMBER, True),
    "sub": _Function(np.subtract, _NUMBER, True),
    "mul": _Function(np.multiply, _NUMBER, True),
    "div": _Function(np.divide, _REAL, True),
    "pow": _Function(np.power, _REAL),
    "max": _Function(np.maximum, _NUMBER),
    "min": _Function(np.minimum, _NUMBER),
    "less": _Function(np.less, _NUMBER, truth=True),
    "less_or_equal": _Function(np.less_equal, _NUMBER, truth=True),
    "greater": _Function(np.greater, _NUMBER, truth=True),
    "greater_or_equal": _Function(np.greater_equal, _NUMBER, truth=True),
    "equal": _Function(np.equal, _ANY, truth=True),
    "and": _Function(np.logical_and, _TRUTH, truth=True),
    "or": _Function(np.logical_or, _TRUTH, truth=True),
    "xor": _Function(np.logical_xor, _TRUTH, truth=True),
}


class Constant(Operation, frozen=True, tag="constant", kw_only=True):
    """Public numbers, row-major. JSON has no word for three of them."""

    inputs: tuple[int, ...] = ()
    shape: Shape
    kind: Kind = "real"
    values: tuple[Number, ...]

    ARITY: ClassVar[tuple[int, int]] = (0, 0)

    def form(self, operands: Sequence[Form]) -> Form:
        is_shape(self.shape)
        require(
            math.prod(self.shape) == len(self.values),
            f"{len(self.values)} numbers for the shape {self.shape}",
        )
        if self.kind != "real":
            most = 1 if self.kind == "boolean" else EXACT_INTEGER
            least = 0 if self.kind == "boolean" else -EXACT_INTEGER
            require(
                all(_is_integer(each) and least <= float(each) <= most for each in self.values),
                f"it holds a number that is no {self.kind}",
            )
        return Form(self.shape, self.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        numbers = [float(each) for each in self.values]
        return np.array(numbers, np.float64).reshape(self.shape).astype(DTYPES[self.kind])

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return True

    def details(self) -> str:
        if len(self.values) == 1:
            return f"{float(self.values[0]):g}"
        return f"{len(self.values)} constants"


def _is_integer(number: Number) -> bool:
    return float(number).is_integer()


class Unary(Operation, frozen=True, tag="unary", kw_only=True):
    """A function of each element. `round` goes to even; `softplus` is `log(1 + exp(x))`."""

    function: UnaryName

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, *UNARY[self.function].kinds)
        return Form(x.shape, "boolean" if UNARY[self.function].truth else x.kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return np.asarray(UNARY[self.function].meaning(operands[0]))

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return UNARY[self.function].one_to_one

    def makes_probabilities(self) -> bool:
        return self.function == "sigmoid"

    def rises(self) -> bool:
        return UNARY[self.function].rises

    def keeps_order(self) -> bool:
        return UNARY[self.function].rises and UNARY[self.function].one_to_one

    def word(self) -> str:
        return self.function


class Binary(Operation, frozen=True, tag="binary", kw_only=True):
    """A function of two elements of one kind. `max` and `min` are NaN where an operand is."""

    function: BinaryName

    ARITY: ClassVar[tuple[int, int]] = (2, 2)

    def form(self, operands: Sequence[Form]) -> Form:
        kind = same_kind(operands)
        is_kind(operands[0], *BINARY[self.function].kinds)
        return Form(broadcast(operands), "boolean" if BINARY[self.function].truth else kind)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return np.asarray(BINARY[self.function].meaning(*operands))

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        if not BINARY[self.function].one_to_one or len(constants) != 1:
            return False
        return self.function in ("add", "sub") or bool(np.all(constants[0]))

    def word(self) -> str:
        return self.function


class Where(Operation, frozen=True, tag="where", kw_only=True):
    """The second operand's element where the first's is true, else the third's."""

    ARITY: ClassVar[tuple[int, int]] = (3, 3)

    def form(self, operands: Sequence[Form]) -> Form:
        is_kind(operands[0], "boolean")
        return Form(broadcast(operands), same_kind(operands[1:]))

    def evaluate(self, operands: Sequence[Array]) -> Array:
        return np.where(*operands)


class Cast(Operation, frozen=True, tag="cast", kw_only=True):
    """To another kind. Real to integer drops the fraction; what no int64 holds becomes the nearest
    that one does, and NaN 0. To boolean: not 0.
    """

    to: Kind

    def form(self, operands: Sequence[Form]) -> Form:
        return Form(operands[0].shape, self.to)

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (x,) = operands
        if self.to != "integer" or x.dtype != np.float64:
            return x.astype(DTYPES[self.to])
        most = float(np.nextafter(2.0**63, 0.0))
        return np.clip(np.nan_to_num(np.trunc(x)), -(2.0**63), most).astype(np.int64)

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return self.to == "real"

    def details(self) -> str:
        return self.to


class OperatingPoints(Operation, frozen=True, tag="operating_points", kw_only=True):
    """Each of the probabilities, row-major, with its operating point t moved to 0.5: `p / 2t` below
    it, `1 - (1 - p) / 2(1 - t)` above; one without a point (None) is 0.5. torchxrayvision's
    `op_norm`.
    """

    points: tuple[float | None, ...]

    def form(self, operands: Sequence[Form]) -> Form:
        (x,) = operands
        is_kind(x, "real")
        require(
            x.size == len(self.points),
            f"{len(self.points)} operating points for {x.size} values",
        )
        require(
            all(point is None or 0 < point < 1 for point in self.points),
            "an operating point is not between 0 and 1",
        )
        return x

    def evaluate(self, operands: Sequence[Array]) -> Array:
        (p,) = operands
        t = np.array(self.points, np.float64).reshape(p.shape)
        moved = np.where(p < t, p / (2 * t), 1 - (1 - p) / (2 * (1 - t)))
        return np.where(np.isnan(t), 0.5, moved)

    def keeps_all(self, constants: Sequence[Array]) -> bool:
        return all(point is not None for point in self.points)

    def rises(self) -> bool:
        return True
