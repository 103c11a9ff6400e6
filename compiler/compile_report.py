"""What is said of a compiled model: a table of what was made, what it promises and what it tells,
then where that falls short of what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from moiety.compiler.compile import Compiled
from moiety.compiler.planning.report import PlanReport
from moiety.runtime.cli import ui
from moiety.runtime.cli.options import warn_of
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Program
from moiety.runtime.program.artifacts import VENDOR, file_name
from moiety.runtime.program.expression.text import lines
from moiety.runtime.program.expression.told import told

Row = tuple[str, str]
"""A name, and what there is to say; without a name it goes on with the row before."""

WELL_ABOVE = 2.0
"""So many times the probability of an overflow that was asked for is worth a warning. Below that,
the estimate is no better (docs/decisions/0031-margins-from-tails.md).
"""


def say(compiled: Compiled, folder: Path) -> None:
    """To stderr, what is now in `folder`; warnings last."""
    program, report = compiled.program, compiled.report
    rows = ui.facts()
    for name, value in (
        *_program_rows(program),
        *promise_rows(report),
        *client_rows(program),
        ("next", f"give {folder / file_name(program)} to the hospital"),
        ("", f"{folder / VENDOR} stays with you"),
    ):
        rows.add_row(name, ui.literal(value))
    ui.show(rows, stderr=True)
    for warning in plan_warnings(report):
        ui.warn(warning)
    warn_of(program.rounding)


def _program_rows(program: Program) -> Iterator[Row]:
    yield "Program", f"{file_name(program)}, SHA-256 {program.digest()[:16]}..."
    first, *others = program.input_names()
    if others:
        beside = ", ".join(map(printable, others))
        yield "images", f"are given for {printable(first)}, and beside each: {beside}"
    cost = image_cost(program)
    yield (
        "one image",
        f"{len(program.steps)} steps, {program.rounding} rounding, {ui.megabytes(cost.total)} in "
        f"{len(cost.flights)} flights",
    )


def promise_rows(report: PlanReport) -> Iterator[Row]:
    """How far results may be from the float model's, and how far values from the calibration's."""
    yield from _named("error", _errors(report))
    yield from _named("headroom", _headroom(report))


def _named(name: str, values: Iterable[str]) -> Iterator[Row]:
    """Rows that go on with one another."""
    for value in values:
        yield name, value
        name = ""


def _errors(report: PlanReport) -> Iterator[str]:
    """Of the results, root mean square: measured; predicted, and what was asked for."""
    measured, predicted, asked = (
        report.measured_error,
        report.predicted_error,
        report.asked_error,
    )
    if measured is not None:
        which = "held out" if measured.held_out else "of the calibration"
        yield (
            f"root mean square {measured.error:.3g} on {ui.images(measured.images)} {which}, "
            f"the largest {measured.largest:.3g}"
        )
    else:
        yield "not measured, for want of images"
    told = [] if predicted is None else [f"predicted {predicted:.3g}"]
    if asked is not None:
        by_user = report.options["target_error"] is not None
        told.append(f"{'asked for' if by_user else 'aimed at'} {asked:.3g}")
    if told:
        yield ", ".join(told)


def _headroom(report: PlanReport) -> Iterator[str]:
    """How much room rings have beyond the calibrated ranges, and what that promises."""
    images, probability = report.calibration_images, report.overflow_probability
    least = [row.headroom for row in report.tensors if row.op != "Input"]
    if probability is None or not least:
        return
    yield f"{min(least):.1f} to {max(least):.1f} bits beyond the calibrated ranges"
    yield f"an image overflows with probability {probability:.2g}, by {ui.images(images)}"
    derived = report.options["overflow_probability"] is not None
    if derived and images < report.images_wanted and not _too_few_images(report):
        yield f"with {report.images_wanted} calibration images or more less room would do"


def _too_few_images(report: PlanReport) -> bool:
    """For the probability of an overflow that was asked for."""
    found, wanted = report.overflow_probability, report.options["overflow_probability"]
    return found is not None and wanted is not None and found > WELL_ABOVE * wanted


def client_rows(program: Program) -> Iterator[Row]:
    """What the client is shown, what it computes from that by itself, and what the Program tells
    it beside.
    """
    revealed = program.output_names()
    if program.policy.reveal != "scores":
        yield "policy", program.policy_in_words()
    for index, name in revealed.items():
        if not program.policy.tells_of_images:
            break
        details = program.outputs[index].details()
        yield "revealed", ", ".join([printable(name), *([details] if details else [])])
    enough = told(program.expression, len(revealed))
    less = [printable(result.name) for result in program.results() if result.value not in enough]
    if less:
        yield "", f"which tells more than {', '.join(less)} (docs/security.md)"
    for line in lines(program.expression, tuple(revealed.values())):
        yield "computes", printable(line)
    if facts := len(program.disclosed):
        yield "disclosed", f"{facts} facts about weights and images; moiety inspect lists them"


def plan_warnings(report: PlanReport) -> Iterator[str]:
    """Where a plan falls short of what was asked for."""
    measured, asked = report.measured_error, report.asked_error
    reached = max(report.predicted_error or 0.0, measured.error if measured is not None else 0.0)
    if asked is not None and reached > asked:
        yield (
            f"accuracy: out-of-reach: no widths make an error of {asked:.3g}; the plan is near the "
            f"best that was found, {reached:.3g}"
        )
    if measured is not None and measured.overflows:
        yield (
            f"overflow: {measured.overflows} values of the images measured left their rings (or "
            "pixels were clipped): give more --margin-bits, or calibrate on more images"
        )
    for layer in report.layers:
        if layer.missing_bits and asked is None:
            yield (
                f"weights: {layer.op} {layer.value!r} has weights of {layer.largest_weight_bits} "
                f"bits, {layer.missing_bits} fewer than planned, for its ring is full "
                f"({layer.ring_bits} bits): fewer --activation-bits would leave them more"
            )
    if _too_few_images(report):
        wanted, images = report.options["overflow_probability"], report.calibration_images
        yield (
            "margins: too-few-images: no width keeps overflows to a probability of "
            f"{wanted:g} with {ui.images(images)} of calibration; give {report.images_wanted} or "
            "more, like the ones to come"
        )
