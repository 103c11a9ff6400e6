"""Every kind of step has every facet: a missing one is named here, before a KeyError finds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import msgspec
import numpy as np
import pytest

from moiety.protocols.cost import Cost
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import step_costs
from moiety.runtime.party.handlers import HANDLERS
from moiety.runtime.program.steps.evaluation import Evaluation
from moiety.runtime.program.weights import step_secrets
from tests.support.programs import (
    counted,
    largest,
    make_program,
    products,
    random_weights,
    small_program,
)

UNREMARKABLE = {"input", "output", "extend", "reduce", "addconst", "concat", "slice", "reshape"} | {
    "transpose",
    "pad",
    "product",
    "square",
    "count",
    "argmax",
}
"""Kinds of which `inspect` has no more to say than ring and shape do."""


def overrides(kind: type[ir.Step], facet: str) -> bool:
    """Some class below the common ones says it for this kind."""
    common = (ir.Step, ir.LocalStep)
    own = kind.__mro__[: min(kind.__mro__.index(each) for each in common if each in kind.__mro__)]
    return any(facet in vars(each) for each in own)


def missing(kind: type[ir.Step]) -> Iterator[str]:
    """The facets that this kind lacks."""
    if not kind.__doc__:
        yield "docstring"
    if not overrides(kind, "meaning"):
        yield "meaning"
    if issubclass(kind, ir.LocalStep) and not overrides(kind, "on_shares"):
        yield "on_shares"
    if kind not in HANDLERS:
        yield "handler"
    tag = kind.__struct_config__.tag
    if not overrides(kind, "details") and tag not in UNREMARKABLE:
        yield "details"
    examples = [
        (program, index)
        for program in EXAMPLES
        for index, step in enumerate(program.steps)
        if type(step) is kind
    ]
    if not examples:
        yield "example"
        return
    for program, index in examples:
        yield from missing_in(program, index)


def missing_in(program: ir.Program, index: int) -> Iterator[str]:
    """The facets that only a step shows: a check that refuses, secrets that its meaning reads, a
    meaning of its own shape, and a declared cost.
    """
    step = program.steps[index]
    try:
        program.check()
    except Exception as error:
        yield f"check ({error})"
    for wrong in ({"shape": (7, *step.shape)}, {"bits": 1 if step.bits > 1 else 2}):
        steps = list(program.steps)
        steps[index] = msgspec.structs.replace(step, **wrong)
        changed = msgspec.structs.replace(program, steps=tuple(steps))
        try:
            changed.check()
        except Exception:
            continue
        yield f"check of {', '.join(wrong)}"
    secrets = list(step_secrets(program))[index]
    weights = random_weights(program, np.random.default_rng(1)).by_step(program)[index]
    if {secret.role for secret in secrets} != weights.keys():
        yield "secrets"
    operands = program.operands(step) or (step,)
    values = [np.zeros(x.shape, np.int64) for x in operands]
    at = Evaluation(tuple(x.bits for x in operands), weights, False, np.random.default_rng(1))
    try:
        if step.meaning(values, at).shape != step.shape:
            yield "meaning of this shape"
    except Exception as error:
        yield f"meaning ({error!r})"
    try:
        if not isinstance(step_costs(program)[index], Cost):
            yield "declared cost"
    except Exception as error:
        yield f"declared cost ({error!r})"


def gated() -> ir.Program:
    """Gates, and a ReLU that they open."""
    shape = (4, 3, 3)
    return make_program(
        ir.Input(inputs=(), shape=shape, bits=16, scale=1.0),
        ir.Gates(inputs=(0,), shape=(1, *shape), bits=1, compared=16),
        ir.Reshape(inputs=(1,), shape=shape, bits=1),
        ir.Relu(inputs=(0, 2), shape=shape, bits=20, affine=True),
    )


def joined() -> ir.Program:
    """Gates that are made together with the truncation before them."""
    shape = (4, 3, 3)
    return make_program(
        ir.Input(inputs=(), shape=shape, bits=24, scale=1.0),
        ir.Truncate(inputs=(0,), shape=shape, bits=16, shift=8, rounding="exact"),
        ir.Gates(inputs=(1,), shape=(1, *shape), bits=1, compared=16, joint=True),
        ir.Reshape(inputs=(2,), shape=shape, bits=1),
        ir.Relu(inputs=(1, 3), shape=shape, bits=20, affine=False),
    )


def mapped() -> ir.Program:
    """A linear map along an axis."""
    return make_program(
        ir.Input(inputs=(), shape=(2, 3, 4), bits=16, scale=1.0),
        ir.LinearMap(
            inputs=(0,),
            shape=(2, 2, 4),
            bits=16,
            axis=1,
            starts=(0, 1),
            taps=((3, 1), (-1, 2)),
        ),
    )


def combined() -> ir.Program:
    """A sum with public factors."""
    return make_program(
        ir.Input(inputs=(), shape=(2, 3, 3), bits=16, scale=1.0),
        ir.Combine(inputs=(0,), shape=(3, 3), bits=16, factors=(3, -5)),
    )


EXAMPLES = [
    small_program("exact"),
    small_program("stochastic"),
    gated(),
    joined(),
    mapped(),
    combined(),
    products(),
    counted(),
    largest(),
]


@pytest.mark.parametrize("kind", ir.KINDS, ids=lambda kind: kind.__name__)
def test_no_facet_is_missing(kind: type[ir.Step]) -> None:
    assert not list(missing(kind))


def test_a_kind_without_facets_is_found_out() -> None:
    class Fake(ir.LocalStep, frozen=True, tag="fake", kw_only=True):
        pass

    assert set(missing(Fake)) == {
        "docstring",
        "meaning",
        "on_shares",
        "handler",
        "details",
        "example",
    }


def test_a_step_without_facets_is_found_out() -> None:
    class Careless(ir.Step, frozen=True, tag="careless", kw_only=True):
        """Its check refuses nothing, it means nothing and costs what nobody has declared."""

        def check(self, claim: object) -> None:
            pass

    source = ir.Input(inputs=(), shape=(3,), bits=16, scale=1.0)
    program = make_program(source, Careless(inputs=(0,), shape=(3,), bits=16))
    found = list(missing_in(program, 1))
    assert any(each.startswith("meaning (NotImplementedError") for each in found)


def test_the_file_format_knows_exactly_the_kinds() -> None:
    """A fake kind of the test above is none of them."""
    assert set(get_args(ir.AnyStep)) == set(ir.KINDS)
    tags = [kind.__struct_config__.tag for kind in ir.KINDS]
    assert tags == [kind.__name__.lower() for kind in ir.KINDS]
    assert len(set(tags)) == 23
