"""What a Program's check refuses: every field of every kind of step is changed in every way that
it can be wrong in, alone and with shape and ring made to follow. What is refused, and why, and how
much is let through, is compared with the lists in refusals.py: a check that is dropped, or that
lets more through, changes one of them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.program.steps.base import Claim
from tests.runtime.refusals import ACCEPTED, REASONS
from tests.runtime.test_step_facets import EXAMPLES
from tests.support.programs import expecting, gate_bits, make_program

PROGRAMS = [
    *EXAMPLES,
    expecting(),
    gate_bits(ir.Slice(
        inputs=(1,), shape=(1, 2, 3), bits=1, starts=(0, 0, 0), stops=(1, 2, 3), strides=(1, 1, 1)
    )),
    gate_bits(ir.Concat(inputs=(1, 1), shape=(2, 4, 3), bits=1, axis=0)),
    make_program(
        ir.Input(inputs=(), shape=(4, 3), bits=16, scale=1.0),
        ir.Input(inputs=(), shape=(1, 3), bits=16, name="b", scale=1.0),
        ir.Add(inputs=(0, 1), shape=(4, 3), bits=16, signs=(1, 1)),
    ),
    make_program(
        ir.Input(inputs=(), shape=(2, 3), bits=60, scale=1.0),
        ir.Combine(inputs=(0,), shape=(3,), bits=60, factors=(3, 4)),
    ),
    make_program(
        ir.Input(inputs=(), shape=(2, 3), bits=62, scale=1.0),
        ir.Argmax(inputs=(0,), shape=(1, 3), bits=2),
    ),
]  # fmt: skip
"""All kinds of steps, and what none of the examples of facets has."""


class Trusting(Claim):
    """Believes all that is said of a step, so that it can be asked what follows from it."""

    def require(self, holds: bool, reason: str) -> None:
        pass


def others(value: Any, index: int) -> Iterator[Any]:
    """What may stand in a field of the step at `index` instead: neighbours, ends, far too much."""
    if isinstance(value, bool) or value is None:
        yield not value
    elif isinstance(value, str):
        yield {"exact": "stochastic", "stochastic": "exact"}.get(value, "exact")
    elif isinstance(value, int):
        yield from sorted({-1, 0, 1, index, value - 1, value + 1, 65, 1 << 20} - {value})
    elif isinstance(value, float):
        yield from (0.0, -value, float("nan"), float("inf"), 2 * value)
    elif isinstance(value, tuple):
        if value:
            yield from (value[:-1], (*value, value[-1]))
        for at, each in enumerate(value):
            for other in others(each, index):
                yield (*value[:at], other, *value[at + 1 :])
    else:
        for field in value.__struct_fields__:
            for other in others(getattr(value, field), index):
                yield msgspec.structs.replace(value, **{field: other})


def readable(step: ir.AnyStep) -> bool:
    """Whether the types of its fields are right, which reading a file sees to."""
    try:
        msgspec.json.decode(msgspec.json.encode(step), type=ir.AnyStep)
    except msgspec.ValidationError:
        return False
    return True


def following(program: ir.Program, index: int, step: ir.AnyStep) -> ir.AnyStep:
    """The step with shape and ring that follow from its operands and fields, where any do."""
    claim = Trusting(index, step, program.operands(step), program.rounding)
    try:
        shape, bits = step.result_shape(claim), step.result_bits(claim)
    except (IndexError, ValueError, ZeroDivisionError, KeyError):
        return step
    return msgspec.structs.replace(step, shape=shape, bits=bits)


def changes(program: ir.Program, index: int) -> Iterator[tuple[str, ir.AnyStep]]:
    """(field, the step with something else there), with what follows from it and without."""
    step = program.steps[index]
    for field in step.__struct_fields__:
        if field == "name":
            continue
        operands = field == "inputs"
        for other in others(getattr(step, field), index):
            changed = msgspec.structs.replace(step, **{field: other})
            if not readable(changed):
                continue
            yield field, changed
            if operands and not all(0 <= i < index for i in changed.inputs):
                continue
            adapted = following(program, index, changed)
            if adapted != changed and getattr(adapted, field) == other:
                yield field, adapted


def template(error: BadArtifact) -> str:
    """Why, without numbers, and without the step and its place."""
    reason = re.sub(r"^step \d+ \(\w+( '.*?')?\): ", "", str(error))
    reason = re.sub(r"\([^a-zA-Z]*\)|\[[\d, ]+\]", "()", reason)
    return re.sub(r"-?(\d[\d.e+/]*|inf|nan)\b", "#", reason)


@cache
def judged() -> tuple[dict[str, int], dict[str, set[str]]]:
    """How many changes of each "kind.field" are let through; why the others are refused, of which
    kinds.
    """
    accepted, reasons = Counter[str](), defaultdict[str, set[str]](set)
    for program in PROGRAMS:
        for index in range(len(program.steps)):
            for field, step in changes(program, index):
                steps = (*program.steps[:index], step, *program.steps[index + 1 :])
                changed = msgspec.structs.replace(program, steps=steps)
                try:
                    changed._check_step(index)
                except BadArtifact as error:
                    reasons[template(error)].add(step.kind)
                else:
                    accepted[f"{step.kind}.{field}"] += 1
    return accepted, reasons


def test_every_reason_to_refuse_a_step_is_met() -> None:
    """And every one that is met is listed, by kind."""
    assert judged()[1] == {why: set(kinds.split()) for why, kinds in REASONS.items()}


def test_no_more_is_let_through() -> None:
    assert judged()[0] == ACCEPTED
