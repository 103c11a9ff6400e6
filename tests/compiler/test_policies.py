"""Output policies: what a compiled Program reveals, against its scores, bit for bit; and models
that cannot carry one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.compiler.compile import Compiled, CompileOptions, compile_graph, normal_form
from moiety.compiler.description import parse_thresholds
from moiety.compiler.lowering.outputs import least_integers
from moiety.compiler.lowering.revealing import Revealing, revealing_of
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.ranges import Ranges
from moiety.protocols.aggregate.counts import DECISION_BITS
from moiety.protocols.errors import BadInput, BadModel
from moiety.runtime import program as ir
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.artifacts import program_file
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Policy, Reveal
from tests.support.command import moiety
from tests.support.onnx_models import ModelBuilder, build_model, typed
from tests.support.two_party import run_two_party

LABELS = ("a", "b", "c", "d", "e")
SHAPE = (2, 4, 4)
IMAGES = np.random.default_rng(4).standard_normal((12, *SHAPE)).astype(np.float32)
THRESHOLDS = {"a": 0.45, "b": 0.6, "c": 0.55, "d": 0.4, "e": 0.5}
POINTS = (0.3, 0.6, 0.45, None, 0.5)
Result = npt.NDArray[Any]


def network(b: ModelBuilder, *last: str, **attrs: Any) -> str:
    """A layer, a ReLU, a second layer of five scores, and what follows them, one after the other;
    attrs: of the last.
    """
    features = b.op("Flatten", b.op("Relu", b.conv("x", 2, 3, 3)))
    value = b.gemm(features, 12, len(LABELS))
    for op in last[:-1]:
        value = b.op(op, value)
    return b.op(last[-1], value, **attrs) if last else value


def compiled_of(*last: str, **options: Any) -> Compiled:
    attrs = options.pop("attrs", {})
    given = CompileOptions(PlanOptions(), labels=options.pop("labels", LABELS), **options)
    graph = normal_form(model_of(last, **attrs), given)
    return compile_graph(graph, ranges_of(last, **attrs), given)


def model_of(last: tuple[str, ...], **attrs: Any) -> Any:
    return typed(build_model([1, *SHAPE], lambda b: network(b, *last, **attrs)))


@cache
def ranges_of(last: tuple[str, ...], **attrs: Any) -> Ranges:
    """One calibration serves all policies."""
    given = CompileOptions(PlanOptions())
    return compile_graph(normal_form(model_of(last, **attrs), given), list(IMAGES), given).ranges


def revealing(
    reveal: Reveal,
    thresholds: Mapping[str, float] | Sequence[float] = (),
    bits: int | None = None,
) -> Revealing:
    return revealing_of(reveal, thresholds, bits)


def results(found: Compiled) -> list[Result]:
    """Of each image, in the clear."""
    executor = CleartextExecutor(found.program, found.weights)
    (result,) = found.program.results()
    made = [executor.run(image)[result.name] for image in IMAGES]
    assert not executor.overflows
    return made


def revealed_to(found: Compiled, image: Result) -> dict[int, list[int]]:
    """Output -> integers, by two parties; what is declared is what they send."""
    server = ServerExecutor(found.program, found.weights)
    server.prepare()
    client = ClientExecutor(found.program)
    outcome = run_two_party(server.run, lambda session: client.run(session, image))
    outputs, cost = outcome.client
    declared = image_cost(found.program)
    assert (cost.total.sent, cost.total.received) == (declared.up, declared.down)
    assert cost.total.flights == len(declared.flights)
    return {each.index: each.integers.ravel().tolist() for each in outputs}


# --- what is told is what the scores say ----------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "thresholds", "points"),
    [
        ((), (0.1,), ()),
        (("Sigmoid",), THRESHOLDS, ()),
        (("Sigmoid",), (0.5,), POINTS),
        (("Tanh",), (0.2, -0.1, 0.0, 0.4, 0.9), ()),
    ],
)
def test_a_decision_is_whether_the_result_is_above_its_threshold(
    last: tuple[str, ...], thresholds: Any, points: Any
) -> None:
    scores = results(compiled_of(*last, op_threshs=points))
    found = compiled_of(*last, op_threshs=points, revealing=revealing("decision", thresholds))
    limits = np.array([*thresholds.values()] if isinstance(thresholds, dict) else thresholds)
    decisions = results(found)
    assert all(each.dtype == np.bool_ for each in decisions)
    assert [each.tolist() for each in decisions] == [(each > limits).tolist() for each in scores]
    (form,) = found.program.results()
    assert (form.kind, form.labels, form.shape) == ("boolean", LABELS, (5,))


def test_a_threshold_that_is_a_score_is_not_exceeded() -> None:
    scores = results(compiled_of())[3]
    decided = results(compiled_of(revealing=revealing("decision", tuple(scores.tolist()))))[3]
    assert not decided.any()
    below = tuple(np.nextafter(scores, -np.inf).tolist())
    assert results(compiled_of(revealing=revealing("decision", below)))[3].all()


@pytest.mark.parametrize("last", [(), ("Softmax",), ("LogSoftmax",), ("Sigmoid",)])
def test_top_1_is_the_place_of_the_largest_score(last: tuple[str, ...]) -> None:
    scores = results(compiled_of())
    found = compiled_of(*last, revealing=revealing("top-1"))
    assert [each.tolist() for each in results(found)] == [[int(each.argmax())] for each in scores]
    (form,) = found.program.results()
    assert (form.kind, form.places, form.labels) == ("integer", 5, LABELS)


def test_top_1_of_a_model_that_ends_in_argmax() -> None:
    attrs = {"axis": 1, "keepdims": 0}
    shown = results(compiled_of("Softmax", "ArgMax", attrs=attrs))
    found = compiled_of("Softmax", "ArgMax", attrs=attrs, revealing=revealing("top-1"))
    assert [int(each.item()) for each in results(found)] == [int(each) for each in shown]


@pytest.mark.parametrize("bits", [2, 5, 6, 8, 10])
def test_a_probability_is_the_nearest_step_of_the_sigmoid(bits: int) -> None:
    probabilities = results(compiled_of("Sigmoid"))
    found = compiled_of("Sigmoid", revealing=revealing("probabilities", bits=bits))
    steps = (1 << bits) - 1
    for told, exact in zip(results(found), probabilities, strict=True):
        assert np.array_equal(told, np.floor(exact * steps + 0.5) * (1 / steps))
    (form,) = found.program.results()
    assert form.probabilities
    assert form.labels == LABELS


def test_probabilities_of_logits_and_with_operating_points() -> None:
    plain = results(compiled_of("Sigmoid", revealing=revealing("probabilities")))
    logits = results(compiled_of(revealing=revealing("probabilities")))
    assert np.array_equal(plain, logits)
    moved = compiled_of("Sigmoid", op_threshs=POINTS, revealing=revealing("probabilities"))
    assert [word.word() for word in moved.program.expression.operations] == ["operating_points"]
    assert (
        np.abs(np.array(results(moved)) - results(compiled_of("Sigmoid", op_threshs=POINTS))).max()
        < 0.005
    )


def test_an_aggregate_is_of_one_vector_of_scores() -> None:
    found = compiled_of("Sigmoid", revealing=revealing_of("aggregate", positives=5, cohorts=3))
    (output,) = found.program.outputs.values()
    assert (output.shape, output.expected) == ((5,), None)
    assert found.program.policy == Policy(reveal="aggregate", positives=5, cohorts=3)
    assert [form.labels for form in found.program.results()] == [LABELS]
    assert found.program.expression.operations == ()


@pytest.mark.parametrize(
    ("last", "thresholds", "points"),
    [
        ((), (0.1,), ()),
        (("Sigmoid",), THRESHOLDS, ()),
        (("Sigmoid",), (0.5,), POINTS),
    ],
)
def test_what_is_counted_is_the_decision(
    last: tuple[str, ...], thresholds: Any, points: Any
) -> None:
    """In a ring that holds the counts of a cohort; by two parties, whose shares make it."""
    decided = compiled_of(*last, op_threshs=points, revealing=revealing("decision", thresholds))
    chosen = revealing_of("aggregate", thresholds, figures="counts", positives=5)
    found = compiled_of(*last, op_threshs=points, revealing=chosen)
    (output,) = found.program.outputs.values()
    assert (output.shape, output.bits) == ((5,), DECISION_BITS)
    assert found.program.policy == Policy(reveal="aggregate", figures="counts", positives=5)
    assert "above the vendor's secret threshold, from 5 images" in found.program.policy_in_words()
    assert any("counts of right and wrong decisions" in said for said in found.program.disclosed)
    assert [each.tolist() for each in results(found)] == [
        each.tolist() for each in results(decided)
    ]
    server, client = ServerExecutor(found.program, found.weights), ClientExecutor(found.program)
    server.prepare()
    for image in IMAGES[:2]:
        outcome = run_two_party(
            lambda session: server.run_keeping(session)[0],
            partial(client.keep_batch, cases=[image]),
        )
        (expected,) = CleartextExecutor(found.program, found.weights).run_integers(image).values()
        assert (outcome.server + outcome.client[0])[0].tolist() == expected.tolist()


def test_counts_of_a_score_that_is_its_threshold() -> None:
    """It is not above it, as with decisions."""
    scores = results(compiled_of())[3]

    def decided(thresholds: Result) -> Result:
        chosen = revealing_of("aggregate", tuple(thresholds.tolist()), figures="counts")
        return results(compiled_of(revealing=chosen))[3]

    assert not decided(scores).any()
    assert decided(np.nextafter(scores, -np.inf)).all()


@pytest.mark.parametrize(
    "chosen",
    [
        revealing("decision", (0.1,)),
        revealing("top-1"),
        revealing("probabilities", bits=6),
    ],
    ids=lambda chosen: str(chosen.policy.reveal),
)
def test_two_parties_reveal_what_the_cleartext_executor_says(chosen: Revealing) -> None:
    found = compiled_of(revealing=chosen)
    executor = CleartextExecutor(found.program, found.weights)
    for image in IMAGES[:2]:
        expected = executor.run_integers(image)
        assert revealed_to(found, image) == {
            index: values.ravel().tolist() for index, values in expected.items()
        }


def test_the_policy_is_in_the_digest_and_thresholds_are_not() -> None:
    choices = (Revealing(), revealing("decision", (0.1,)), revealing("decision", (0.2,)))
    programs = [compiled_of(revealing=chosen).program for chosen in choices]
    scores, first, second = (ir.Program.decode(each.encode()) for each in programs)
    assert first.steps == second.steps != scores.steps
    assert first.disclosed == second.disclosed
    assert not any("0.1" in text for text in first.disclosed)
    assert len({each.digest() for each in (scores, first, second)}) == 3


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_least_integers(data: st.DataObject) -> None:
    bits = data.draw(st.integers(2, 40))
    half = 1 << (bits - 1)
    limits = np.array(data.draw(st.lists(st.integers(-half - 2, half + 2), min_size=1, max_size=4)))
    found = least_integers(lambda x: x >= limits, limits.shape, bits)
    assert np.array_equal(found, np.clip(limits, -half, half))


# --- models and choices that do not fit -----------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "reveal", "message"),
    [
        (("Softmax",), "probabilities", "softmax, which takes exponentials and a quotient"),
        (("Softmax",), "decision", "softmax, which does not rise with each score by itself"),
        (("Softmax",), "aggregate", "softmax, which does not keep the order"),
        (("Tanh", "Abs"), "aggregate", "abs, which does not keep"),
        (("Tanh", "Abs"), "top-1", "abs, which does not keep the order"),
        (("Tanh",), "probabilities", "tanh, which is no sigmoid"),
        (("Sigmoid", "Round"), "aggregate", "round, which does not keep"),
    ],
)
def test_a_model_that_cannot_carry_the_policy(
    last: tuple[str, ...], reveal: Reveal, message: str
) -> None:
    thresholds = (0.5,) if reveal == "decision" else ()
    with pytest.raises(BadModel, match=message):
        compiled_of(*last, revealing=revealing(reveal, thresholds))


def test_top_1_with_operating_points_is_refused() -> None:
    with pytest.raises(BadModel, match="operating_points, which does not keep the order"):
        compiled_of("Sigmoid", op_threshs=POINTS, revealing=revealing("top-1"))


def test_a_policy_of_two_outputs_is_refused() -> None:
    def two(b: ModelBuilder) -> list[str]:
        scores = network(b)
        return [scores, b.op("Relu", scores)]

    given = CompileOptions(PlanOptions(), revealing=revealing("top-1"))
    graph = normal_form(typed(build_model([1, *SHAPE], two)), given)
    with pytest.raises(BadModel, match="for a model of one output"):
        compile_graph(graph, list(IMAGES), given)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (lambda: revealing("decision"), "takes --thresholds"),
        (lambda: revealing("top-1", (0.5,)), "--thresholds are for --reveal decision"),
        (lambda: revealing("probabilities", bits=1), "2 to 10 are possible"),
        (lambda: revealing("scores", bits=8), "for --reveal probabilities"),
        (lambda: revealing_of("decision", (0.5,), cohorts=2), "--cohorts: for --reveal aggregate"),
        (lambda: revealing_of("aggregate", positives=1), "asks for 1 positives; at least 2"),
        (lambda: revealing_of("aggregate", figures="counts"), "counts takes --thresholds"),
        (lambda: revealing_of("aggregate", (0.5,)), "and it is aggregate --figures auroc"),
        (lambda: revealing_of("decision", (0.5,), figures="counts"), "--figures: for --reveal agg"),
    ],
)
def test_choices_that_do_not_go_together(choices: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        choices()


@pytest.mark.parametrize(
    ("thresholds", "labels", "message"),
    [
        ((0.1, 0.2), LABELS, "2 of them, for 5 values"),
        ({"a": 0.1}, LABELS, "none for 'b', 'c', 'd', 'e'"),
        ({**THRESHOLDS, "x": 0.1}, LABELS, "there is no label 'x'"),
        (THRESHOLDS, (), "the model has no labels"),
        ((float("nan"),), LABELS, "not a finite number"),
    ],
)
def test_thresholds_that_do_not_fit(thresholds: Any, labels: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compiled_of(labels=labels, revealing=revealing("decision", thresholds))


@pytest.mark.parametrize(
    ("last", "threshold", "message"),
    [
        (("Sigmoid",), 50.0, "no result of 'a' is above 50, so .* would always be the same"),
        (("Sigmoid",), -0.1, "every result of 'a' is above -0.1"),
        ((), 1e9, r"no result of 'a' is above 1e\+09"),
    ],
)
def test_a_threshold_that_nothing_passes_or_all(
    last: tuple[str, ...], threshold: float, message: str
) -> None:
    """Percent, most likely."""
    with pytest.raises(BadInput, match=message):
        compiled_of(*last, revealing=revealing("decision", (threshold,)))


def test_thresholds_are_numbers() -> None:
    with pytest.raises(BadInput, match=r"--thresholds high\.txt: is no number, no LABEL=NUMBER"):
        parse_thresholds("high.txt")


@pytest.mark.parametrize(
    ("last", "chosen", "told"),
    [
        ((), revealing("decision", (0.5,)), "in its own units"),
        ((), revealing("probabilities"), "is taken for logits"),
        ((), revealing("top-1"), ""),
        (("Sigmoid",), revealing("decision", (0.5,)), ""),
        (("Sigmoid",), revealing("probabilities"), ""),
    ],
)
def test_the_owner_is_told_how_results_are_taken(
    last: tuple[str, ...], chosen: Revealing, told: str
) -> None:
    notes: list[str] = []
    compiled_of(*last, revealing=chosen, note=notes.append)
    about_results = [note for note in notes if re.search("own units|taken for logits", note)]
    assert [told in note for note in about_results] == [True] * bool(told)


def test_the_search_measures_scores_whatever_is_revealed() -> None:
    plan = PlanOptions(relative_error=0.01)
    graph = normal_form(model_of(()), CompileOptions(plan))
    scored, decided, counted = (
        compile_graph(graph, list(IMAGES), CompileOptions(plan, revealing=chosen)).report
        for chosen in (
            Revealing(),
            revealing("decision", (0.1,)),
            revealing_of("aggregate", (0.1,), figures="counts"),
        )
    )
    assert scored.measured_error is not None
    assert scored.measured_error == decided.measured_error == counted.measured_error


def test_thresholds_are_read_as_numbers_or_by_label(tmp_path: Any) -> None:
    file = tmp_path / "thresholds.txt"
    file.write_text("a=0.5\nb = -1e3\n")
    assert parse_thresholds(None) == ()
    assert parse_thresholds("0.5") == (0.5,)
    assert parse_thresholds("0.5, 1,-2") == (0.5, 1, -2)
    assert parse_thresholds("x=y=1,b=2") == {"x=y": 1, "b": 2}
    assert parse_thresholds(str(file)) == {"a": 0.5, "b": -1000}
    for wrong in ("a=1,0.5", "a=1,a=2", "a=b", "=1"):
        with pytest.raises(BadInput, match="--thresholds"):
            parse_thresholds(wrong)


def test_the_command_compiles_and_inspects_a_policy(tmp_path: Path) -> None:
    onnx.save(model_of(("Sigmoid",)), tmp_path / "model.onnx")
    ranges_of(("Sigmoid",)).save(tmp_path / "ranges.safetensors")
    options = ("--calibration", tmp_path / "ranges.safetensors", "--activation-bits", 12)
    policy = ("--reveal", "decision", "--thresholds", "0.5", "--preprocessing", "none")
    made = moiety("compile", tmp_path / "model.onnx", "-o", tmp_path / "out", *options, *policy)
    assert made.code == 0, made.stderr
    shown = moiety("inspect", tmp_path / "out")
    assert "decision: of each image, which values are above the vendor's secret" in shown.stdout
    assert "decision of" in shown.stdout
    program = ir.Program.load(program_file(tmp_path / "out"))
    assert program.policy == Policy(reveal="decision")
    counted = ("--reveal", "aggregate", "--figures", "counts", *policy[2:])
    moiety(
        "compile", tmp_path / "model.onnx", "-o", tmp_path / "counts", *options, *counted
    ).check()
    shown = moiety("inspect", tmp_path / "counts")
    words = "how many images with and without each label are above the vendor's secret threshold"
    assert words in " ".join(shown.stdout.split())
    program = ir.Program.load(program_file(tmp_path / "counts"))
    assert program.policy == Policy(reveal="aggregate", figures="counts")
