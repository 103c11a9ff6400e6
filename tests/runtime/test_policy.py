"""Output policies in a Program: what is revealed, bit for bit; and Programs whose steps reveal
something else than their policy says.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handshake import Served
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.elementwise import Cast
from moiety.runtime.program.policy import MAX_COHORT, Policy
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.record import ImageResult, image_result
from tests.support.programs import counted, largest, make_program, with_output
from tests.support.two_party import Outcome, run_two_party

LABELS = ("a", "b", "c", "d")


def run_once(program: ir.Program, weights: Weights, image: Any) -> Outcome:
    server = ServerExecutor(program, weights)
    server.prepare()
    return run_two_party(server.run, lambda session: ClientExecutor(program).run(session, image))


def integers_of(program: ir.Program, weights: Weights, image: Any) -> list[int]:
    """What two parties reveal: what the cleartext executor says, at the cost that is declared."""
    (revealed,), cost = run_once(program, weights, image).client
    total = image_cost(program)
    assert (cost.total.sent, cost.total.received, cost.total.flights) == (
        total.up,
        total.down,
        len(total.flights),
    )
    (expected,) = CleartextExecutor(program, weights).run_integers(image).values()
    assert revealed.integers.tolist() == expected.tolist()
    found: list[int] = revealed.integers.ravel().tolist()
    return found


def named(program: ir.Program) -> ir.Program:
    """With labels."""
    results = (ir.Result(name="out", value=0, labels=LABELS),)
    return msgspec.structs.replace(program, expression=ir.Expression(results=results))


def result_of(program: ir.Program, weights: Weights, image: Any) -> ImageResult:
    (revealed,), cost = run_once(program, weights, image).client
    return image_result(
        "x", program, [revealed], cost, Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    )


# --- what is revealed -----------------------------------------------------------------------------


def test_thresholds_are_counted() -> None:
    program = counted(3)
    thresholds = np.array([[-5, 0, 10, 7], [-6, 1, 10, 8], [-7, 2, 11, 9]])
    weights = Weights({"gates.1.threshold": -thresholds})
    assert integers_of(program, weights, np.array([-6, 2, 10, 3], np.float32)) == [2, 3, 2, 0]


def test_a_decision_at_the_ends_of_the_ring() -> None:
    program, half = counted(bits=16), 1 << 14
    weights = Weights({"gates.1.threshold": np.array([[-half, half, half, 1 - half]])})
    values = np.array([half - 1, -half, half - 1, half - 1], np.float32)
    assert integers_of(program, weights, values) == [0, 1, 1, 1]


def test_the_first_of_equal_values_is_the_largest() -> None:
    for values, place in (([3, 7, 7, 7], 1), ([5, 5, 5, 5], 0), ([-9, -9, -9, -8], 3)):
        assert integers_of(largest(), Weights({}), np.array(values, np.float32)) == [place]


def test_the_largest_of_each_pixel_of_a_batch() -> None:
    """Along the first axis of a map, for two images in one run."""
    program = make_program(
        ir.Input(inputs=(), shape=(3, 2, 2), bits=12, scale=1.0, value_bits=11),
        ir.Argmax(inputs=(0,), shape=(1, 2, 2), bits=3),
        policy=Policy(reveal="top-1"),
    )
    images = np.random.default_rng(1).integers(-2, 3, (2, 3, 2, 2)).astype(np.float32)
    server = ServerExecutor(program, Weights({}), (1, 2))
    server.prepare()
    client = ClientExecutor(program)
    outcome = run_two_party(
        lambda session: server.run(session, images=2),
        lambda session: client.run_batch(session, list(images)),
    )
    revealed, _ = outcome.client
    for image, (found,) in zip(images, revealed, strict=True):
        assert np.array_equal(found.integers[0], image.argmax(axis=0))


@given(stn.arrays(np.int64, st.integers(2, 9), elements=st.integers(-(1 << 14), (1 << 14) - 1)))
@settings(max_examples=100, deadline=None)
def test_the_cleartext_meaning_is_numpys(values: Any) -> None:
    program = largest(len(values))
    (found,) = CleartextExecutor(program, Weights({})).run_quantised(values).values()
    assert found.tolist() == [int(np.argmax(values))]


def test_values_without_a_headroom_bit_are_counted_as_overflows() -> None:
    program = msgspec.structs.replace(
        largest(2, 8),
        steps=(ir.Input(inputs=(), shape=(2,), bits=8, scale=1.0), *largest(2, 8).steps[1:]),
    )
    executor = CleartextExecutor(program, Weights({}))
    executor.run(np.array([100, 1], np.float32))
    assert executor.overflows == {1: 1}


# --- as results -----------------------------------------------------------------------------------


def test_a_decision_is_truth_values_with_labels() -> None:
    program = named(counted())
    weights = Weights({"gates.1.threshold": np.array([[0, 0, -5, -5]])})
    image = result_of(program, weights, np.array([1, -1, 4, 5], np.float32))
    (output,) = image.outputs
    assert (output.kind, output.labels, output.values) == ("boolean", LABELS, [1, 0, 0, 1])
    assert image.doubts() == ()


def test_top_1_is_a_label() -> None:
    (output,) = result_of(named(largest()), Weights({}), np.array([1, 5, 4, 5], np.float32)).outputs
    assert (output.kind, output.values, output.chosen) == ("integer", [1], ("b",))


def test_probabilities_are_such() -> None:
    program = named(counted(3))
    weights = Weights({"gates.1.threshold": np.array([[1] * 4, [0] * 4, [-1] * 4])})
    (output,) = result_of(program, weights, np.array([-9, -1, 0, 9], np.float32)).outputs
    assert (output.kind, output.labels) == ("probability", LABELS)
    assert output.values == pytest.approx([0, 1 / 3, 2 / 3, 1])


# --- what both parties refuse ---------------------------------------------------------------------


def scores(**fields: Any) -> ir.Program:
    return make_program(ir.Input(inputs=(), shape=(4,), bits=16, scale=1.0), **fields)


def under(reveal: Any, program: ir.Program) -> ir.Program:
    return msgspec.structs.replace(program, policy=Policy(reveal=reveal))


def with_two_outputs(program: ir.Program) -> ir.Program:
    return msgspec.structs.replace(program, steps=(*program.steps, program.steps[-1]))


def through_scores() -> ir.Program:
    """The scores beside the decision."""
    program = counted()
    source = ir.Output(inputs=(0,), shape=(4,), bits=16, name="scores", scale=1.0)
    return msgspec.structs.replace(program, steps=(*program.steps, source))


def of_a_map() -> ir.Program:
    return make_program(ir.Input(inputs=(), shape=(4, 2), bits=16, scale=1.0))


HOSTILE = {
    "scores for decisions": (under("decision", scores()), "what a step of kind input makes"),
    "scores for top-1": (under("top-1", scores()), "what a step of kind input makes"),
    "scores for probabilities": (under("probabilities", scores()), "what a step of kind input"),
    "scores beside decisions": (through_scores(), "'scores' reveals what a step of kind input"),
    "a decision for scores": (under("scores", counted()), "what a step of kind count makes"),
    "a place for an aggregate": (under("aggregate", largest()), "what a step of kind argmax"),
    "a place for a decision": (under("decision", largest()), "what a step of kind argmax makes"),
    "a count for a decision": (under("decision", counted(7)), "how many of 7 thresholds"),
    "two decisions": (with_two_outputs(counted()), "which is of one output, and it has 2"),
    "a scale": (with_output(counted(), scale=0.5), "the scale 0.5, which is not 1/1"),
    "another step": (with_output(counted(7), scale=1 / 8), "which is not 1/7"),
    "a range": (with_output(counted(), expected=(0, 1)), "says where scores are expected"),
    "a map": (under("aggregate", of_a_map()), r"the shape \(4, 2\), and is no vector"),
    "numbers": (
        msgspec.structs.replace(scores(), policy=Policy(reveal="aggregate", positives=1)),
        "asks for 1 positives",
    ),
    "a huge cohort": (
        msgspec.structs.replace(scores(), policy=Policy(reveal="aggregate", images=MAX_COHORT + 1)),
        "4097 images in a cohort",
    ),
    "another result of an aggregate": (
        msgspec.structs.replace(
            under("aggregate", scores()),
            expression=ir.Expression(
                operations=(Cast(inputs=(0,), to="real"),),
                results=(ir.Result(name="a", value=0), ir.Result(name="b", value=1)),
            ),
        ),
        "an aggregate is of one result with a value for each of its scores",
    ),
}


@pytest.mark.parametrize(("program", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_program_that_contradicts_its_policy_is_refused(
    program: ir.Program, message: str
) -> None:
    with pytest.raises(BadArtifact, match=message):
        ir.Program.decode(program.encode())


def values(labels: int, bits: int) -> ir.Input:
    return ir.Input(inputs=(), shape=(labels,), bits=bits, scale=1.0)


def place(bits: int, shape: tuple[int, ...] = (1,), of: int = 0) -> ir.Argmax:
    return ir.Argmax(inputs=(of,), shape=shape, bits=bits)


def count(bits: int, of: int = 1) -> ir.Count:
    return ir.Count(inputs=(of,), shape=(4,), bits=bits)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((values(4, 9), count(4, of=0)), "something else than gate bits"),
        ((*counted(3).steps[:2], count(2)), "a ring of 2 bits does not hold a count of 3"),
        ((values(1, 9), place(2)), "the largest of a single value"),
        ((values(4, 62), place(3)), "take a ring of 65"),
        ((*counted().steps[:2], place(2, (1, 4), of=1)), "gate bits"),
    ],
)
def test_steps_that_do_not_follow_from_their_operands(
    steps: tuple[ir.AnyStep, ...], message: str
) -> None:
    with pytest.raises(BadArtifact, match=message):
        make_program(*steps).check()


def test_every_policy_has_words() -> None:
    words = {
        program.policy.reveal: program.policy_in_words()
        for program in (scores(), counted(), counted(7), largest(), under("aggregate", scores()))
    }
    assert words["probabilities"].endswith("in steps of 1/7; no scores")
    assert "which of 4 values is the largest" in words["top-1"]
    assert "secret thresholds; nothing else" in words["decision"]
    assert "from 10 images with the label and 10 without on" in words["aggregate"]
    assert len(set(words.values())) == 5
