"""Programs that are refused for more than a field of one step: steps that do not fit each other,
limits and what is one beyond them, words, inputs, pictures and policies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.program.policy import Policy
from tests.runtime.test_step_facets import EXAMPLES, joined
from tests.support.programs import (
    counted,
    expecting,
    gate_bits,
    largest,
    make_program,
    small_program,
    with_output,
)

# --- what takes more than one field to be wrong ---------------------------------------------------


def edited(program: ir.Program, index: int, **fields: Any) -> ir.Program:
    """With other fields of one step."""
    step = msgspec.structs.replace(program.steps[index], **fields)
    steps = (*program.steps[:index], step, *program.steps[index + 1 :])
    return msgspec.structs.replace(program, steps=steps)


def vector(
    *steps: ir.AnyStep, shape: tuple[int, ...] = (4,), bits: int = 16, **fields: Any
) -> ir.Program:
    """Steps after an input."""
    return make_program(ir.Input(inputs=(), shape=shape, bits=bits, scale=1.0), *steps, **fields)


def pool(kind: type[ir.MaxPool] | type[ir.SumPool]) -> ir.AnyStep:
    """A pool of a vector."""
    window = {"kernel": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    return kind(inputs=(0,), shape=(4,), bits=16, **window)  # type: ignore[arg-type]


def added(inputs: tuple[int, ...], shape: tuple[int, ...]) -> ir.AnyStep:
    return ir.Add(inputs=inputs, shape=shape, bits=16, signs=(1,) * len(inputs))


def replaced(program: ir.Program, **fields: Any) -> ir.Program:
    return msgspec.structs.replace(program, **fields)


def distant() -> ir.Program:
    """A truncation, something else, and gates of the truncation."""
    return vector(
        ir.Truncate(inputs=(0,), shape=(4,), bits=12, shift=4, rounding="exact"),
        ir.Reduce(inputs=(1,), shape=(4,), bits=8),
        ir.Gates(inputs=(1,), shape=(1, 4), bits=1, compared=12),
        ir.Reshape(inputs=(3,), shape=(4,), bits=1),
        ir.Relu(inputs=(1, 4), shape=(4,), bits=12, affine=True),
    )


SMALL, OUTPUT = small_program(), len(small_program().steps) - 1
WRONG = [
    (vector(pool(ir.MaxPool)), "a pool takes three axes"),
    (vector(pool(ir.SumPool)), "a pool takes three axes"),
    (gate_bits(added((0, 1), (4, 3))), "gate bits have ring width 1"),
    (
        vector(ir.Reshape(inputs=(0,), shape=(2, 2), bits=16), added((0, 1), (4,))),
        "an operand of shape (2, 2) does not spread over (4,)",
    ),
    (
        vector(
            ir.Slice(inputs=(0,), shape=(1,), bits=16, starts=(0,), stops=(1,), strides=(1,)),
            added((1, 0), (1,)),
        ),
        "an operand of shape (4,) does not spread over (1,)",
    ),
    (
        vector(ir.Combine(inputs=(0,), shape=(), bits=16, factors=(1,) * 4)),
        "shape () has an impossible rank",
    ),
    (vector(shape=(1,) * 9), "has an impossible rank"),
    (
        vector(ir.Combine(inputs=(0,), shape=(1,), bits=16, factors=(1,) * 4)),
        "an operand of shape (4,) has no axis to sum over",
    ),
    (
        gate_bits(ir.Gates(inputs=(1,), shape=(1, 1, 4, 3), bits=1, compared=1)),
        "gates of gates",
    ),
    (
        gate_bits(
            ir.Reshape(inputs=(1,), shape=(12,), bits=1), ir.Count(inputs=(2,), shape=(1,), bits=9)
        ),
        "an operand of shape (12,) has no axis to count along",
    ),
    (
        gate_bits(
            ir.Reshape(inputs=(1,), shape=(4, 3), bits=1),
            ir.Product(inputs=(0, 2), shape=(4, 3), bits=16),
        ),
        "a product of gate bits",
    ),
    (
        gate_bits(
            ir.Reshape(inputs=(1,), shape=(4, 3), bits=1),
            ir.Product(inputs=(2, 2), shape=(4, 3), bits=16),
        ),
        "a product of gate bits",
    ),
    (
        gate_bits(ir.Transpose(inputs=(1,), shape=(4, 1, 3), bits=1, perm=(1, 0, 2))),
        "gate bits can only be reindexed",
    ),
    (
        vector(ir.Argmax(inputs=(0,), shape=(1,), bits=1), shape=(1,)),
        "ring width 1 is not within",
    ),
    (
        vector(ir.Argmax(inputs=(0,), shape=(1,), bits=2), shape=(1,)),
        "the largest of a single value",
    ),
    (
        vector(ir.Argmax(inputs=(0,), shape=(1,), bits=3), bits=62),
        "4 values of 62 bits and their places take a ring of 65",
    ),
    (
        make_program(
            *SMALL.steps[:2],
            ir.Extend(inputs=(0,), shape=(2, 8, 8), bits=28),
            ir.Concat(inputs=(2, 1), shape=(6, 8, 8), bits=28, axis=0),
        ),
        "step 3 (concat): it reads a linear layer",
    ),
    (edited(SMALL, 0, shape=(1 << 14, 1 << 14, 2)), "too many elements"),
    (edited(SMALL, OUTPUT, inputs=(OUTPUT,)), "are not all earlier steps"),
    (
        msgspec.structs.replace(
            expecting(), steps=(*expecting().steps, edited(expecting(), 1, inputs=(1,)).steps[1])
        ),
        "an output is not an operand",
    ),
    (
        edited(joined(), 1, rounding="stochastic", inputs=(0,)),
        "a stochastic truncation in a Program that promises exact rounding",
    ),
    (
        replaced(edited(joined(), 1, rounding="stochastic"), rounding="stochastic"),
        "joint with something else than the exact truncation right before it",
    ),
    (
        edited(distant(), 3, joint=True),
        "joint with something else than the exact truncation right before it",
    ),
    (
        edited(SMALL, 2, rounding="stochastic"),
        "a stochastic truncation in a Program that promises exact rounding",
    ),
]


@pytest.mark.parametrize(("program", "why"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_together_is_refused(program: ir.Program, why: str) -> None:
    with pytest.raises(BadArtifact, match=re.escape(why)):
        program.check()


# --- limits ---------------------------------------------------------------------------------------


def thresholds(count: int) -> ir.Program:
    return counted(count, bits=16)


def images(most: int, least: int = 10) -> ir.Program:
    policy = Policy(reveal="aggregate", images=most, positives=least, negatives=least)
    return vector(policy=policy)


def factors(bits: int, *numbers: int) -> ir.Program:
    combine = ir.Combine(inputs=(0,), shape=(3,), bits=bits, factors=numbers)
    return vector(combine, shape=(len(numbers), 3), bits=bits)


def row(*taps: int) -> ir.Program:
    taps_of = {"axis": 0, "starts": (0,), "taps": (taps,)}
    return vector(ir.LinearMap(inputs=(0,), shape=(1,), bits=16, **taps_of))  # type: ignore[arg-type]


def answers(bits: int) -> ir.Program:
    """Of the first layer of `small_program`, in a ring of 28 bits and a modulus of 103.9."""
    plan = SMALL.steps[1]
    assert isinstance(plan, ir.Linear)
    return edited(SMALL, 1, rlwe=msgspec.structs.replace(plan.rlwe, answer_bits=bits))


def squared(bits: int) -> ir.Program:
    return vector(ir.Square(inputs=(0,), shape=(4,), bits=bits))


def multiplied(bits: int) -> ir.Program:
    """Of 16 bits, by a value of so many."""
    wide = ir.Extend(inputs=(0,), shape=(4,), bits=bits)
    return vector(wide, ir.Product(inputs=(0, 1), shape=(4,), bits=16))


COUNTS = Policy(reveal="aggregate", figures="counts")


def tallied(thresholds: int, bits: int = 3) -> ir.Program:
    """Counted in a ring of so many bits."""
    return with_output(edited(counted(thresholds), 2, bits=bits), bits=bits)


LIMITS = [
    ("characters of a name", 200, lambda n: vector(name="n" * n), lambda n: n + 1),
    ("bits of a ring", 64, lambda n: vector(bits=n), lambda n: n + 1),
    ("bits of a ring, least", 2, lambda n: vector(bits=n), lambda n: n - 1),
    ("axes", 8, lambda n: vector(shape=(1,) * n), lambda n: n + 1),
    ("elements", 1 << 28, lambda n: vector(shape=(n,)), lambda n: n + 1),
    ("bits of an answer", 104, answers, lambda n: n + 1),
    ("bits of an answer, least", 28, answers, lambda n: n - 1),
    ("bits of a square, least", 18, squared, lambda n: n - 1),
    ("bits of a second factor", 16, multiplied, lambda n: n + 1),
    ("counted thresholds", 3, tallied, lambda n: n + 1),
    ("thresholds", 32, thresholds, lambda n: n + 1),
    ("a row's weights", 65_536, lambda n: row(n - 4, -4), lambda n: n + 1),
    ("factors", 63, lambda n: factors(n - 8, 127, -128), lambda n: n + 1),
    ("images of a cohort", 4096, images, lambda n: n + 1),
    ("images of a cohort, least", 20, images, lambda n: n - 1),
    ("labels of a class, least", 2, lambda n: images(1024, n), lambda n: n - 1),
    ("operands", 64, lambda n: vector(added((0,) * n, (4,))), lambda n: n + 1),
    ("scores' bits of an aggregate", 63, lambda n: aggregate(n), lambda n: n + 1),
]
"""What, how far it may go, a Program that goes so far, and what is one too far."""


def aggregate(bits: int) -> ir.Program:
    return vector(bits=bits, policy=Policy(reveal="aggregate"))


@pytest.mark.parametrize(("what", "limit", "make", "beyond"), LIMITS, ids=[x[0] for x in LIMITS])
def test_limits_are_these(
    what: str,
    limit: int,
    make: Callable[[int], ir.Program],
    beyond: Callable[[int], int],
) -> None:
    make(limit).check()
    with pytest.raises(BadArtifact):
        make(beyond(limit)).check()


def test_a_program_has_at_most_so_many_steps() -> None:
    source, output = vector().steps
    many = msgspec.structs.replace(vector(), steps=(source,) * 99_999 + (output,))
    with pytest.raises(BadArtifact, match=r"need names"):
        many.check()
    more = msgspec.structs.replace(vector(), steps=(source,) * 100_000 + (output,))
    with pytest.raises(BadArtifact, match="100001 steps"):
        more.check()


# --- the whole Program ----------------------------------------------------------------------------


def other_input(name: str) -> ir.Program:
    """Two inputs, of which the second has this name; the first is called "a"."""
    one, two = (ir.Input(inputs=(), shape=(4,), bits=16, name=n, scale=1.0) for n in ("a", name))
    return make_program(one, two, added((0, 1), (4,)))


PICTURE = ir.Preprocessing(size=(1, 4), channels=1, mean=(0.0,), std=(1.0,))
TWO_OUTPUTS = replaced(vector(), steps=(*vector().steps, vector().steps[-1]))
WHOLE = [
    (replaced(vector(), steps=vector().steps[:1]), "1 steps; 2 to 100000 are possible"),
    (replaced(vector(), steps=vector().steps[::-1]), "outputs must be its last steps"),
    (vector(name="a\x1b[2J"), "name is longer than 200 characters, or has some"),
    (vector(model_version="v" * 201), "model version is longer"),
    (vector(commitment="0" * 63), "no SHA-256"),
    (vector(commitment="0" * 65), "no SHA-256"),
    (vector(commitment="G" * 64), "no SHA-256"),
    (vector(commitment="A" * 64), "no SHA-256"),
    (other_input(""), "inputs 'a', '' need names"),
    (other_input("a"), "inputs 'a', 'a' need names"),
    (replaced(other_input("b"), pictures=("c",)), "are not all inputs beside the first"),
    (replaced(other_input("b"), pictures=("a",)), "are not all inputs beside the first"),
    (replaced(other_input("b"), pictures=("b", "b")), "are not all inputs beside the first"),
    (replaced(other_input("b"), pictures=("b",)), "has pictures and no preprocessing"),
    (vector(preprocessing=PICTURE), "preprocessing makes"),
    (vector(policy=Policy(reveal="top-1")), "reveals what a step of kind input makes"),
    (vector(policy=Policy(reveal="decision")), "reveals what a step of kind input makes"),
    (vector(policy=Policy(reveal="probabilities")), "reveals what a step of kind input makes"),
    (replaced(largest(), policy=Policy()), "reveals what a step of kind argmax makes"),
    (replaced(counted(), policy=Policy()), "reveals what a step of kind count makes"),
    (
        replaced(counted(), policy=Policy(reveal="aggregate")),
        "reveals what a step of kind count makes",
    ),
    (replaced(largest(), policy=Policy(reveal="decision")), "kind argmax makes"),
    (vector(policy=COUNTS), "reveals what a step of kind input makes"),
    (replaced(largest(), policy=COUNTS), "kind argmax makes"),
    (replaced(counted(), policy=COUNTS), "has 2 bits; decisions that are counted have 64"),
    (replaced(tallied(3, 64), policy=COUNTS), "how many of 3 thresholds"),
    (with_output(replaced(tallied(1, 64), policy=COUNTS), scale=0.5), "which is not 1/1"),
    (replaced(counted(), policy=Policy(reveal="decision", figures="counts")), "names figures of"),
    (replaced(counted(), policy=Policy(reveal="top-1")), "kind count makes"),
    (replaced(counted(3), policy=Policy(reveal="decision")), "how many of 3 thresholds"),
    (replaced(TWO_OUTPUTS, policy=Policy(reveal="aggregate")), "is of one output, and it has 2"),
    (vector(shape=(2, 2), policy=Policy(reveal="aggregate")), "and is no vector"),
    (with_output(counted(), scale=0.5), "scale 0.5, which is not 1/1"),
    (with_output(counted(7), scale=1 / 8), "which is not 1/7"),
    (with_output(largest(), expected=(0, 1)), "says where scores are expected"),
    (vector(policy=Policy(positives=1)), "1 positives; at least 2"),
    (vector(policy=Policy(negatives=1)), "1 negatives; at least 2"),
    (vector(policy=Policy(cohorts=0)), "allows no cohort"),
]


@pytest.mark.parametrize(("program", "why"), WHOLE, ids=range(len(WHOLE)))
def test_unsound_as_a_whole_is_refused(program: ir.Program, why: str) -> None:
    with pytest.raises(BadArtifact, match=re.escape(why)):
        program.check()


# --- nothing reads a layer's noise ----------------------------------------------------------------


def refusal(program: ir.Program, index: int) -> str:
    """Why a step is refused; empty where it is not."""
    try:
        program._check_step(index)
    except BadArtifact as error:
        return str(error)
    return ""


def test_nothing_reads_a_layer_but_its_truncation() -> None:
    """Whatever reads ring elements, an Output too, with a layer of two guard bits put in the place
    of what it reads. The Program alone says so, and both parties have it.
    """
    layer = next(step for step in small_program().steps if isinstance(step, ir.Linear))
    reading = [
        (program, index, at)
        for program in EXAMPLES
        for index, step in enumerate(program.steps)
        for at in set(step.inputs)
        if program.steps[at].bits > 1
    ]
    refused = set()
    for program, index, at in reading:
        operand, step = program.steps[at], program.steps[index]
        noisy = msgspec.structs.replace(layer, shape=operand.shape, bits=operand.bits)
        steps = (*program.steps[:at], noisy, *program.steps[at + 1 :])
        why = refusal(replaced(program, steps=steps), index)
        if isinstance(step, ir.Truncate) and step.rounding == "exact":
            assert step.shift >= layer.guard == 2
            assert not why
        else:
            assert why
            if "does not truncate its 2 guard bits exactly" in why:
                refused.add(step.kind)
    kinds = {str(kind.__struct_config__.tag) for kind in ir.KINDS}
    assert refused == kinds - {"input", "count"}, "these read nothing, and gate bits alone"
