"""Formulas: real functions of one variable as data, in postfix order: "x" is the variable, a number
is a constant, anything else an operation on what is before it. `("x", "x", "sigmoid", "mul")` is
x * sigmoid(x).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from moiety.compiler.ir.graph import Array
from moiety.protocols.arrays import F64

Formula = tuple[str | float, ...]

T = TypeVar("T")

VARIABLE: Final = "x"

MAX_TOKENS = 64
"""What composition makes is no longer than this; activations of real models have at most 20."""


@dataclass(frozen=True)
class Operation:
    """operands: 1 or 2. onnx: the op type that computes it. partials: from operands and result, the
    derivatives by each operand.
    """

    operands: int
    onnx: str
    evaluate: Callable[..., Array]
    partials: Callable[..., tuple[Array | float, ...]]


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


_ERF_STEP = 1 / 256
_ERF_GRID: F64 = np.arange(0, 6 + _ERF_STEP / 2, _ERF_STEP)
_ERF: F64 = np.array([math.erf(at) for at in _ERF_GRID])


def _erf_slope(x: Array) -> Array:
    return np.asarray(2 / math.sqrt(math.pi) * np.exp(-(x**2)))


def _erf(x: Array) -> Array:
    """By its Taylor series of third order around the nearest point of a table: exact to 1e-11."""
    size = np.minimum(np.abs(x), 6.0)
    nearest = np.rint(size / _ERF_STEP).astype(np.int64)
    at = _ERF_GRID[nearest]
    h = size - at
    series = _ERF[nearest] + _erf_slope(at) * h * (1 - at * h + (2 * at**2 - 1) * h**2 / 3)
    return np.asarray(np.sign(x) * series).astype(x.dtype)


OPERATIONS: Final[dict[str, Operation]] = {
    "neg": Operation(1, "Neg", np.negative, lambda x, y: (-1.0,)),
    "abs": Operation(1, "Abs", np.abs, lambda x, y: (np.sign(x),)),
    "exp": Operation(1, "Exp", np.exp, lambda x, y: (y,)),
    "log": Operation(1, "Log", np.log, lambda x, y: (1 / x,)),
    "sqrt": Operation(1, "Sqrt", np.sqrt, lambda x, y: (0.5 / y,)),
    "reciprocal": Operation(1, "Reciprocal", lambda x: 1 / x, lambda x, y: (-(y**2),)),
    "tanh": Operation(1, "Tanh", np.tanh, lambda x, y: (1 - y**2,)),
    "sigmoid": Operation(1, "Sigmoid", _sigmoid, lambda x, y: (y * (1 - y),)),
    "erf": Operation(1, "Erf", _erf, lambda x, y: (_erf_slope(x),)),
    "add": Operation(2, "Add", np.add, lambda a, b, y: (1.0, 1.0)),
    "sub": Operation(2, "Sub", np.subtract, lambda a, b, y: (1.0, -1.0)),
    "mul": Operation(2, "Mul", np.multiply, lambda a, b, y: (b, a)),
    "div": Operation(2, "Div", np.divide, lambda a, b, y: (1 / b, -y / b)),
    "max": Operation(2, "Max", np.maximum, lambda a, b, y: (a > b, a <= b)),
    "min": Operation(2, "Min", np.minimum, lambda a, b, y: (a < b, a >= b)),
}


def operations(formula: Formula) -> set[str]:
    """Those that it applies."""
    return {token for token in formula if isinstance(token, str) and token != VARIABLE}


def check(formula: Formula) -> None:
    """ValueError unless it is one."""
    depth = 0
    for token in formula:
        operands = OPERATIONS[token].operands if token in OPERATIONS else 0
        known = token in OPERATIONS or token == VARIABLE or isinstance(token, float)
        if not known or depth < operands:
            raise ValueError(f"{token!r} is out of place in the formula {formula}")
        depth += 1 - operands
    if depth != 1 or len(formula) > MAX_TOKENS:
        raise ValueError(f"{formula} is no formula")


def evaluate(formula: Formula, x: Array) -> Array:
    """In the dtype of x; infinite or NaN outside its domain."""
    stack: list[Array] = []
    for token in formula:
        stack.append(_applied(token, stack, x))
    return np.broadcast_to(stack[0], x.shape)


def is_defined(formula: Formula, x: Array) -> bool:
    """Is it finite at all points of x, and nothing that it divides by of both signs on them?"""
    stack: list[Array] = []
    for token in formula:
        if token in ("div", "reciprocal") and stack[-1].min() < 0 < stack[-1].max():
            return False
        stack.append(_applied(token, stack, x))
    return bool(np.isfinite(stack[0]).all())


def _applied(token: str | float, stack: list[Array], x: Array) -> Array:
    """What a token makes of the operands that it takes off the stack."""
    if isinstance(token, float):
        return np.full((1,) * x.ndim, token, x.dtype)
    if token == VARIABLE:
        return x
    operation = OPERATIONS[token]
    with np.errstate(all="ignore"):
        return np.asarray(operation.evaluate(*_popped(stack, operation.operands)), x.dtype)


def derivative(formula: Formula, x: Array) -> Array:
    """By forward differentiation, in the dtype of x; at a corner one of the two slopes."""
    stack: list[tuple[Array, Array]] = []
    with np.errstate(all="ignore"):
        for token in formula:
            if isinstance(token, float):
                constant = np.full((1,) * x.ndim, token, x.dtype)
                stack.append((constant, np.zeros_like(constant)))
            elif token == VARIABLE:
                stack.append((x, np.ones((1,) * x.ndim, x.dtype)))
            else:
                operation = OPERATIONS[token]
                duals = _popped(stack, operation.operands)
                operands = [value for value, _ in duals]
                result = np.asarray(operation.evaluate(*operands), x.dtype)
                partials = operation.partials(*operands, result)
                total = sum(p * slope for p, (_, slope) in zip(partials, duals, strict=True))
                stack.append((result, np.asarray(total, x.dtype)))
    return np.broadcast_to(stack[0][1], x.shape)


def _popped(stack: list[T], count: int) -> list[T]:
    operands = stack[-count:]
    del stack[-count:]
    return operands


def compose(outer: Formula, inner: Formula) -> Formula:
    """outer(inner(x))."""
    tokens: list[str | float] = []
    for token in outer:
        tokens.extend(inner if token == VARIABLE else (token,))
    return tuple(tokens)


def affine(inner: Formula, scale: float, shift: float) -> Formula:
    """scale * inner(x) + shift."""
    scaled = inner if scale == 1 else (*inner, scale, "mul")
    return scaled if shift == 0 else (*scaled, shift, "add")


def describe(formula: Formula) -> str:
    """For people."""
    known = {tokens: name for name, tokens in NAMED.items()}
    if formula in known:
        return known[formula]
    return " ".join(f"{token:g}" if isinstance(token, float) else token for token in formula)


def _softplus() -> Formula:
    """log(1 + exp(-|x|)) + max(x, 0): nothing overflows."""
    return ("x", "abs", "neg", "exp", 1.0, "add", "log", "x", 0.0, "max", "add")


def _gelu() -> Formula:
    return ("x", 0.5, "mul", "x", math.sqrt(0.5), "mul", "erf", 1.0, "add", "mul")


def _gelu_tanh() -> Formula:
    cubic: Formula = ("x", "x", "x", "mul", "x", "mul", 0.044715, "mul", "add")
    inner = (*cubic, math.sqrt(2 / math.pi), "mul", "tanh", 1.0, "add")
    return ("x", 0.5, "mul", *inner, "mul")


NAMED: Final[dict[str, Formula]] = {
    "tanh": ("x", "tanh"),
    "sigmoid": ("x", "sigmoid"),
    "erf": ("x", "erf"),
    "exp": ("x", "exp"),
    "log": ("x", "log"),
    "sqrt": ("x", "sqrt"),
    "reciprocal": ("x", "reciprocal"),
    "rsqrt": ("x", "sqrt", "reciprocal"),
    "silu": ("x", "x", "sigmoid", "mul"),
    "hardswish": ("x", "x", 1 / 6, "mul", 0.5, "add", 0.0, "max", 1.0, "min", "mul"),
    "softplus": _softplus(),
    "softsign": ("x", "x", "abs", 1.0, "add", "div"),
    "mish": ("x", *_softplus(), "tanh", "mul"),
    "gelu": _gelu(),
    "gelu-tanh": _gelu_tanh(),
}
"""Activations without parameters."""


def exponential_unit(scale: float, alpha: float, stretch: float) -> Formula:
    """`scale * (max(x, 0) + alpha * (exp(min(x, 0) / stretch) - 1))`: ELU, SELU and CELU."""
    negative: Sequence[str | float] = ("x", 0.0, "min")
    if stretch != 1:
        negative = (*negative, stretch, "div")
    curve = (*negative, "exp", -1.0, "add", alpha, "mul")
    return affine(("x", 0.0, "max", *curve, "add"), scale, 0.0)
