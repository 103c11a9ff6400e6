"""Which results tell less than the revealed values that they are computed from."""

from __future__ import annotations

from moiety.runtime.program.expression.base import Array
from moiety.runtime.program.expression.expression import Expression


def told(expression: Expression, revealed: int) -> set[int]:
    """Numbers of the values from which all that they are computed from can be computed again, of
    which so many are revealed. A client that is shown more than such a value learns nothing more.
    """
    found, constants = set(range(revealed)), dict[int, Array]()
    for number, operation in enumerate(expression.operations, revealed):
        fixed = [constants[value] for value in operation.inputs if value in constants]
        if len(fixed) == len(operation.inputs):
            constants[number] = operation.evaluate(fixed)
        elif operation.keeps_all(fixed) and found | constants.keys() >= set(operation.inputs):
            found.add(number)
    return found
