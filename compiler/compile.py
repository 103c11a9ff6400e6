"""Compiling a model: ONNX file and calibration images in, a folder of artifacts out.

out_dir/NAME.moiety           the Program, all that the client gets
out_dir/vendor/               secret, its owner's alone: the Weights, the plan's report, and the
                              calibrated ranges, which are the calibration of another plan

`compile_model` is `normal_form` and `compile_graph` after it. Who needs the model's input shape
before there are calibration images, as `moiety compile` does, calls the two one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from moiety.compiler.ir.graph import Graph
from moiety.compiler.lowering.lower import lower, results_of
from moiety.compiler.lowering.revealing import AS_SCORES, Revealing, Shown, left_to_client
from moiety.compiler.measure import Measurement
from moiety.compiler.onnx_import.fix_input import InputShape
from moiety.compiler.onnx_import.load import import_onnx, no_note
from moiety.compiler.passes.legalise import legalise
from moiety.compiler.passes.manager import DumpAfter, optimise
from moiety.compiler.passes.pipeline import DEFAULT_PIPELINE
from moiety.compiler.planning.margins import with_margins
from moiety.compiler.planning.options import PlanOptions
from moiety.compiler.planning.plan import Plan, make_plan
from moiety.compiler.planning.ranges import Progress, Ranges, calibrate
from moiety.compiler.planning.report import Measured, PlanReport, plan_report
from moiety.compiler.planning.responses import measure_responses
from moiety.compiler.planning.search.searched_plan import Measure, error_bound, searched_plan
from moiety.compiler.planning.starved import average_widths, fully_relieved, relieved
from moiety.compiler.samples import Samples
from moiety.protocols.errors import BadInput
from moiety.runtime.program import (
    Case,
    Preprocessing,
    Program,
    artifacts,
    takes_pictures,
    write_atomically,
)
from moiety.runtime.program.artifacts import PLAN, RANGES, VENDOR, WEIGHTS
from moiety.runtime.program.atomic import OWNER_ALONE
from moiety.runtime.program.program import MAX_WORDS
from moiety.runtime.program.weights import Weights, commit

Calibration = Ranges | Path | Iterable[Case]
"""Ranges, the file they were saved in, or images, float `(C,H,W)` each, or tensors by the inputs'
names.
"""


@dataclass(frozen=True)
class CompileOptions:
    """How to compile.

    plan: what the planner may do. input_shape `(C,H,W)`: of a model whose input size is open; by
    name where it has several inputs. batch_axis: whether the model has one. preprocessing: how
    pictures become its input, kept in the Program. pictures: of several inputs those that pictures
    become, first the one that names a case; if none is named, the first that can be a picture, else
    the largest. labels: names of its one output's values, or of the places that they are, for
    people. op_threshs: operating points of these values, see `Output`. name, version: the model's,
    for people, kept in the Program; its graph's name if there is none. pipeline: the passes, as
    `passes.manager` reads them. dump_after: called with the Graph after every pass, see there.
    revealing: what the client may learn of the results.
    note: told what the model's owner should know of the import.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    input_shape: InputShape | None = None
    batch_axis: bool = True
    preprocessing: Preprocessing | None = None
    pictures: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    name: str = ""
    version: str = ""
    op_threshs: tuple[float | None, ...] = ()
    pipeline: str = DEFAULT_PIPELINE
    dump_after: DumpAfter | None = None
    revealing: Revealing = AS_SCORES
    note: Callable[[str], None] = no_note


@dataclass(frozen=True, eq=False)
class Compiled:
    """The artifacts of one compilation."""

    program: Program
    weights: Weights
    report: PlanReport
    ranges: Ranges

    def save(self, out_dir: Path, force: bool = False) -> None:
        """Writes the folder, all of it or nothing; with `force` in place of a compiled model there.
        BadInput if there is one without `force`, or it cannot be written.
        """
        if not force:
            artifacts.check_free(out_dir)
        try:
            with artifacts.replacing_compiled(out_dir) as folder:
                self.weights.save(folder / VENDOR / WEIGHTS, self.program)
                self.ranges.save(folder / VENDOR / RANGES)
                write_atomically(folder / VENDOR / PLAN, self.report.encode(), OWNER_ALONE)
                self.program.save(folder / artifacts.file_name(self.program))
        except OSError as error:
            raise BadInput(f"cannot write to {out_dir}: {error.strerror or error}") from None


def compile_model(
    model: Path | str,
    calibration: Calibration,
    options: CompileOptions | None = None,
    out_dir: Path | None = None,
    *,
    progress: Progress | None = None,
) -> Compiled:
    """Import, optimise, calibrate, plan and lower an ONNX model; write the artifacts to `out_dir`
    if given.

    calibration: some dozens of images as the network takes them, float `(C,H,W)` each, so an array
    `(N,C,H,W)` will do; dicts of tensors by the inputs' names where there are several; or ranges
    that an earlier compilation saved. progress: told what is being done, how much of it is done,
    and of how much.

    Raises BadModel for what cannot be compiled, with the node and what could be done; BadPlan where
    no plan meets the options, or one would not be secure; BadInput for files and images.
    """
    options = options or CompileOptions()
    graph = normal_form(model, options, progress)
    return compile_graph(graph, calibration, options, out_dir, progress=progress)


def normal_form(
    model: Path | str, options: CompileOptions, progress: Progress | None = None
) -> Graph:
    """The Graph of an ONNX model, imported and optimised, its inputs in the order of the Program's.
    Raises BadModel, BadInput.
    """
    note = progress or _silent
    note("importing", 0, 1)
    graph = import_onnx(model, options.input_shape, options.note, options.batch_axis)
    graph = _pictures_first(graph, options.pictures)
    note("optimising", 0, 1)
    return optimise(graph, options.pipeline, dump_after=options.dump_after)


def _pictures_first(graph: Graph, pictures: tuple[str, ...]) -> Graph:
    """The Graph with the inputs that are pictures in front: those named, else the first that can be
    one, else the largest. BadInput where those that are named are not there, or not alike.
    """
    shapes = {name: graph.shapes[name][1:] for name in graph.inputs}
    for name in pictures:
        if name not in shapes:
            raise BadInput(
                f"picture {name!r}: the model's inputs are {', '.join(map(repr, shapes))}"
            )
        if shapes[name] != shapes[pictures[0]]:
            raise BadInput(
                f"picture {name!r} has the shape {shapes[name]}, {pictures[0]!r} has "
                f"{shapes[pictures[0]]}: one preprocessing cannot make both"
            )
    possible = [name for name in shapes if takes_pictures(shapes[name])]
    largest = max(shapes, key=lambda name: math.prod(shapes[name]))
    first = pictures or (*possible, largest)[:1]
    return replace(graph, inputs=tuple(dict.fromkeys((*first, *graph.inputs))))


def compile_graph(
    graph: Graph,
    calibration: Calibration,
    options: CompileOptions | None = None,
    out_dir: Path | None = None,
    *,
    progress: Progress | None = None,
    force: bool = False,
) -> Compiled:
    """As `compile_model`, from a Graph in normal form. force: in place of a compiled model in
    `out_dir`. Raises BadModel, BadPlan, BadInput.
    """
    note, options = progress or _silent, options or CompileOptions()
    if options.pictures[1:] and options.preprocessing is None:
        raise BadInput(
            f"picture {options.pictures[1]!r}: without preprocessing no input is made of pictures"
        )
    _check_revealing(graph, options)
    graph, plan_options = legalise(graph), _with_reach(options)
    ranges, measurement = _calibrated(graph, calibration, progress, plan_options.searching)
    note("planning", 0, 1)
    plan_options = with_margins(fully_relieved(graph), ranges, plan_options)
    lowering = _Lowering(options, measurement)
    plan = _plan(graph, ranges, plan_options, progress, lowering.error)
    program, weights, measured = lowering.of(plan)
    asked = error_bound(graph, ranges, plan_options) if plan_options.searching else None
    report = plan_report(plan, program.digest(), measured, asked)
    compiled = Compiled(program, weights, report, ranges)
    if out_dir is not None:
        note("writing", 0, 1)
        compiled.save(out_dir, force)
    return compiled


TAKEN_AS: Final = {
    "decision": "--thresholds are compared with the result '{}' in its own units; where these are "
    "logits, that of a probability p is log(p / (1 - p))",
    "probabilities": "the result '{}' is taken for logits, and its sigmoid is revealed",
}
"""What the owner of a model is told whose result is not made of probabilities."""


def _check_revealing(graph: Graph, options: CompileOptions) -> None:
    """BadModel, BadInput, before the work, where the model cannot carry the output policy."""
    reveal = options.revealing.policy.reveal
    if reveal != "scores":
        expression = results_of(graph, options.labels, options.op_threshs)
        shapes = [graph.shapes[value][1:] for value in graph.outputs]
        shown = Shown.of(expression, graph.outputs, shapes, reveal)
        left_to_client(shown, options.revealing)
        probable = any(operation.makes_probabilities() for operation in shown.operations)
        taken = "decision" if options.revealing.policy.decides else reveal
        if taken in TAKEN_AS and not probable:
            options.note(TAKEN_AS[taken].format(shown.form.name))


Lowered = tuple[Program, Weights, Measured | None]


class _Lowering:
    """Lowers plans, with all that the options say of the Program, and measures what comes out."""

    def __init__(self, options: CompileOptions, measurement: Measurement | None) -> None:
        self.options, self.measurement = options, measurement
        self._last: tuple[Plan, Lowered] | None = None

    def of(self, plan: Plan) -> Lowered:
        """The Program and its Weights, committed to, and the measured error if there are images."""
        if self._last is None or self._last[0] is not plan:
            self._last = plan, self._made(plan)
        return self._last[1]

    @property
    def error(self) -> Measure | None:
        """Measures a plan, if there are images."""
        return None if self.measurement is None else self._error

    def _error(self, plan: Plan) -> Measured:
        measured = self.of(plan)[2]
        assert measured is not None
        return measured

    def _made(self, plan: Plan) -> Lowered:
        bare, made = self._lowered(plan, self.options.revealing)
        described = msgspec.structs.replace(bare, model_version=_words(self.options.version))
        program, weights = commit(described, made.tensors)
        return program, weights, self._measured(plan, program, weights)

    def _lowered(self, plan: Plan, revealing: Revealing) -> tuple[Program, Weights]:
        options = self.options
        return lower(
            plan,
            _words(options.name or plan.graph.name),
            options.preprocessing,
            options.labels,
            options.op_threshs,
            options.pictures[1:],
            revealing,
        )

    def _measured(self, plan: Plan, program: Program, weights: Weights) -> Measured | None:
        """The error of the scores, whatever is revealed of them."""
        if self.measurement is None:
            return None
        policy = program.policy
        if policy.counts or policy.reveal not in ("scores", "aggregate"):
            program, weights = self._lowered(plan, AS_SCORES)
        return self.measurement.of(program, weights)


def _words(text: str) -> str:
    """Fit for a Program, where people read them: printable, and not too many."""
    return "".join(c if c.isprintable() else " " for c in text)[:MAX_WORDS]


def _with_reach(options: CompileOptions) -> PlanOptions:
    """The planner's options; with minimal disclosure, the image's scale follows from the
    preprocessing where there is one.
    """
    plan, preprocessing = options.plan, options.preprocessing
    if plan.disclose == "minimal" and plan.input_reach is None and preprocessing is not None:
        return replace(plan, input_reach=preprocessing.reach())
    return plan


def _plan(
    graph: Graph,
    ranges: Ranges,
    options: PlanOptions,
    progress: Progress | None,
    measure: Measure | None,
) -> Plan:
    if options.searching:
        return searched_plan(graph, ranges, options, progress, measure)
    graph = relieved(graph, ranges, options)
    return make_plan(graph, ranges, options, average_widths(graph, options))


def _calibrated(
    graph: Graph, calibration: Calibration, progress: Progress | None, responses: bool
) -> tuple[Ranges, Measurement | None]:
    """Ranges for a legalised Graph, and where there are images, the measurement of errors on some
    of them.
    """
    if isinstance(calibration, (Ranges, Path)):
        return calibration_ranges(graph, calibration), None
    samples = Samples(calibration, graph)
    ranges = calibration_ranges(graph, samples, progress, responses)
    return ranges, Measurement(graph, samples.measured, bool(samples.held_out))


def calibration_ranges(
    graph: Graph,
    calibration: Calibration,
    progress: Progress | None = None,
    responses: bool = False,
) -> Ranges:
    """Ranges for a legalised Graph from whatever form of calibration is given; `responses`: with
    what a search for widths needs, where there are images to measure it on.
    """
    if isinstance(calibration, Ranges):
        return calibration
    if isinstance(calibration, Path):
        return Ranges.load(calibration)
    if not isinstance(calibration, Samples):
        calibration = Samples(calibration, graph)
    graph = fully_relieved(graph)
    ranges = calibrate(graph, calibration, progress, calibration.ranged)
    if not responses:
        return ranges
    measured = measure_responses(graph, ranges, calibration.kept, progress=progress)
    return replace(ranges, responses=measured)


def _silent(stage: str, done: int, total: int) -> None:
    """No progress display."""
