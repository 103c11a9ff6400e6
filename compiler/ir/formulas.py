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
from moiety.runtime.program.expression.elementwise import BINARY, UNARY, erf_slope

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


_PARTIALS: Final[dict[str, Callable[..., tuple[Array | float, ...]]]] = {
    "neg": lambda x, y: (-1.0,),
    "abs": lambda x, y: (np.sign(x),),
    "exp": lambda x, y: (y,),
    "log": lambda x, y: (1 / x,),
    "sqrt": lambda x, y: (0.5 / y,),
    "reciprocal": lambda x, y: (-(y**2),),
    "tanh": lambda x, y: (1 - y**2,),
    "sigmoid": lambda x, y: (y * (1 - y),),
    "erf": lambda x, y: (erf_slope(x),),
    "add": lambda a, b, y: (1.0, 1.0),
    "sub": lambda a, b, y: (1.0, -1.0),
    "mul": lambda a, b, y: (b, a),
    "div": lambda a, b, y: (1 / b, -y / b),
    "max": lambda a, b, y: (a > b, a <= b),
    "min": lambda a, b, y: (a < b, a >= b),
}

OPERATIONS: Final[dict[str, Operation]] = {
    name: Operation(
        operands=1 if name in UNARY else 2,
        onnx=name.capitalize(),
        evaluate=(UNARY if name in UNARY else BINARY)[name].meaning,
        partials=partials,
    )
    for name, partials in _PARTIALS.items()
}
"""Each is an operation of the client's expression, whose meaning it has."""


def interpreted(
    formula: Formula,
    variable: T,
    constant: Callable[[float], T],
    apply: Callable[[str, Sequence[T]], T],
) -> T:
    """What a formula comes to where its variable, numbers and operations are these."""
    stack: list[T] = []
    for token in formula:
        if isinstance(token, float):
            stack.append(constant(token))
        elif token == VARIABLE:
            stack.append(variable)
        else:
            first = len(stack) - OPERATIONS[token].operands
            stack[first:] = [apply(token, stack[first:])]
    return stack[0]


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
    with np.errstate(all="ignore"):
        value = interpreted(formula, x, _constant_like(x), _applied)
    return np.broadcast_to(value, x.shape)


def is_defined(formula: Formula, x: Array) -> bool:
    """Is it finite at all points of x, and nothing that it divides by of both signs on them?"""
    one_sign = True

    def apply(name: str, operands: Sequence[Array]) -> Array:
        nonlocal one_sign
        if name in ("div", "reciprocal") and operands[-1].min() < 0 < operands[-1].max():
            one_sign = False
        return _applied(name, operands)

    with np.errstate(all="ignore"):
        value = interpreted(formula, x, _constant_like(x), apply)
    return one_sign and bool(np.isfinite(value).all())


def _constant_like(x: Array) -> Callable[[float], Array]:
    return lambda value: np.full((1,) * x.ndim, value, x.dtype)


def _applied(name: str, operands: Sequence[Array]) -> Array:
    """An operation, in its operands' dtype."""
    return np.asarray(OPERATIONS[name].evaluate(*operands), operands[0].dtype)


def derivative(formula: Formula, x: Array) -> Array:
    """By forward differentiation, in the dtype of x; at a corner one of the two slopes."""
    constant_like = _constant_like(x)

    def apply(name: str, duals: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
        operands = [value for value, _ in duals]
        result = _applied(name, operands)
        partials = OPERATIONS[name].partials(*operands, result)
        total = sum(p * slope for p, (_, slope) in zip(partials, duals, strict=True))
        return result, np.asarray(total, x.dtype)

    with np.errstate(all="ignore"):
        _, slope = interpreted(
            formula,
            (x, constant_like(1.0)),
            lambda value: (constant_like(value), constant_like(0.0)),
            apply,
        )
    return np.broadcast_to(slope, x.shape)


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


def _number(value: float) -> float:
    """As ONNX models hold it, so that a formula is the same whether it was one node or several."""
    return float(np.float32(value))


def _gelu() -> Formula:
    return ("x", 0.5, "mul", "x", _number(math.sqrt(0.5)), "mul", "erf", 1.0, "add", "mul")


def _gelu_tanh() -> Formula:
    cubic: Formula = ("x", "x", "x", "mul", "x", "mul", _number(0.044715), "mul", "add")
    inner = (*cubic, _number(math.sqrt(2 / math.pi)), "mul", "tanh", 1.0, "add")
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
    "hardswish": ("x", "x", _number(1 / 6), "mul", 0.5, "add", 0.0, "max", 1.0, "min", "mul"),
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
