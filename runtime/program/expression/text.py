"""An expression as people read it: a line for each result and each value that is read twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from moiety.runtime.program.expression.base import Operation
from moiety.runtime.program.expression.elementwise import Constant
from moiety.runtime.program.expression.expression import Expression

LONGEST = 400
"""Characters of a line; what would be more is cut in two."""
MOST_OPERANDS = 16
"""Of one operation that are named."""
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/"}


def lines(expression: Expression, revealed: Sequence[str]) -> list[str]:
    """`name = formula` of each value that is read twice or is a result, in order. Results that are
    revealed as they are have no line.
    """
    return [f"{name} = {formula}" for name, formula, _ in _named(expression, revealed)]


def formulas(expression: Expression, revealed: Sequence[str]) -> list[str]:
    """Of each result, in order: its formula, or the name of what is revealed."""
    found = {number: formula for _, formula, number in _named(expression, revealed)}
    return [
        found[number] if number >= len(revealed) else revealed[number]
        for number in expression.result_values(len(revealed))
    ]


def _named(expression: Expression, revealed: Sequence[str]) -> list[tuple[str, str, int]]:
    """(name, formula, number) of the values that have a name of their own."""
    uses = Counter(value for each in expression.operations for value in each.inputs)
    results = {result.value: result.name for result in reversed(expression.results)}
    texts, made = list(revealed), list[tuple[str, str, int]]()
    for number, operation in enumerate(expression.operations, len(revealed)):
        text = _formula(operation, [texts[value] for value in operation.inputs])
        constant = isinstance(operation, Constant)
        if number in results or (uses[number] > 1 and not constant) or len(text) > LONGEST:
            name = results.get(number, f"v{number}")
            made.append((name, text, number))
            text = name
        texts.append(text)
    return made


def _formula(operation: Operation, operands: Sequence[str]) -> str:
    if isinstance(operation, Constant):
        return operation.details()
    if operation.word() in _INFIX:
        return f"({f' {_INFIX[operation.word()]} '.join(operands)})"
    more = len(operands) - MOST_OPERANDS
    if more > 0:
        operands = [*operands[:MOST_OPERANDS], f"{more} more"]
    details = operation.details()
    return f"{operation.word()}({', '.join([*operands, *([details] if details else [])])})"
