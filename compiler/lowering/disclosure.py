"""What a Program discloses: all that it tells about the weights or the calibration images beyond
the architecture and the options.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.result_ranges import expected_integers
from moiety.compiler.planning.rings import RESULT_INTEGER_BITS
from moiety.compiler.planning.starved import averages_rescaled
from moiety.runtime.program.expression.elementwise import Constant
from moiety.runtime.program.expression.told import told
from moiety.runtime.program.policy import ALL_SCORES, Policy, Reveal


def disclosed(plan: Plan, policy: Policy = ALL_SCORES) -> tuple[str, ...]:
    """One sentence for each thing that is told."""
    return (*_facts(plan), *_of_results(plan, policy))


def _facts(plan: Plan) -> Iterator[str]:
    options, formats = plan.options, plan.formats
    usual = options.uniform is None and options.disclose == "usual"
    for source in plan.graph.inputs[0 if options.input_reach is None else 1 :]:
        named = f" of {source!r}" if len(plan.graph.inputs) > 1 else ""
        yield (
            f"input scale {formats.input_unit(source):g}{named}: the range of the calibration "
            "images, up to a power of two"
        )
    if usual:
        shifts = [layer.shift for layer in plan.layers.values()]
        yield (
            f"shift of each of the {len(shifts)} linear layers (the bits dropped after it, "
            f"{_spread(shifts)}; it sets the layer's "
            "ring, too): the size of its largest weight relative to the ranges before and after "
            "it, up to a power of two"
        )
        if rescaled := averages_rescaled(plan.graph):
            yield (
                f"the rescaling layers behind {len(rescaled)} average pools: the size of the "
                "largest weight of a layer behind each, likewise"
            )
    if usual and formats.units.shifts:
        dropped = formats.units.shifts.values()
        yield (
            f"shift of each of the {len(dropped)} products of two values (the bits dropped after "
            f"it, {_spread(dropped)}; it sets the product's ring, too): the range of "
            "the product relative to those of its operands, up to a power of two"
        )
    if formats.widths.activation and (options.searching or formats.widths.weight):
        yield (
            "ring widths of activations, the image and the results among them: how much rounding a "
            "tensor moves the results over the calibration images, against what its bits cost"
        )
    if options.headroom and options.uniform is None:
        times = options.headroom.values()
        yield (
            f"headroom of each of {len(times)} tensors above its calibrated range "
            f"({min(times):.3g} to {max(times):.3g} times, which rings hold): how far the "
            "calibration images differ in it, up to a power of two"
        )
    # Two of them follow from the options: that of most layers, and that of those of the results.
    several = len({layer.weight_bits for layer in plan.layers.values()}) > 2
    if formats.widths.weight:
        yield (
            "weight_bits of each linear layer: how much rounding its weights moves the results, "
            "likewise"
        )
    elif options.uniform is not None or (usual and several):
        yield (
            "weight_bits of each linear layer: the size of its largest weight, up to a power of two"
        )
    if plan.splines and options.disclose == "usual":
        pieces = [len(spline.factors) for spline in plan.splines.values()]
        yield (
            f"number and slopes of the straight pieces of each of the {len(pieces)} activations "
            f"({_spread(pieces)}), and the grid of its knots: where its operand's "
            "values lie over the calibration images, and their unit"
        )
    constant = options.output_frac + RESULT_INTEGER_BITS
    if any(bits > constant for bits in formats.output_bits.values()):
        yield "ring width of an output: the range of the model's results, up to a power of two"


OF_POLICIES: Final[dict[Reveal, str]] = {
    "probabilities": "probabilities in few bits: each answer, as much as they hold of its scores",
    "top-1": "the largest score's place: each answer, on which side of the model's boundaries an "
    "image lies",
    "decision": "decisions: each answer, a bit for each score, of the model and its thresholds",
    "aggregate": "AUROC and standard error of each label: each cohort, how its scores order images",
}
"""What the results tell of the model, where they are no scores."""
OF_COUNTS: Final = (
    "counts of right and wrong decisions by label: each cohort, how many of its images are above "
    "the thresholds"
)


def _of_results(plan: Plan, policy: Policy) -> Iterator[str]:
    """What the results tell; of scores, what they tell beyond them."""
    if policy.counts:
        yield OF_COUNTS
    elif policy.reveal in OF_POLICIES:
        yield OF_POLICIES[policy.reveal]
    else:
        yield from _of_expression(plan.graph)
        if any(expected_integers(plan.formats, value) for value in plan.graph.outputs):
            yield (
                "where the revealed values are expected: their range over the calibration images "
                "and the margin beyond it, to two significant bits"
            )


def _spread(numbers: Collection[int]) -> str:
    """Smallest and largest."""
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _of_expression(graph: Graph) -> Iterator[str]:
    """What the client is shown in place of outputs, and the constants that it needs."""
    expression, revealed = graph.expression, len(graph.outputs)
    enough = told(expression, revealed)
    for form in result_forms(graph):
        if form.value not in enough:
            shown = " and ".join(graph.outputs[value] for value in form.reads)
            yield (
                f"{shown}, of which the client computes the output {form.name} by itself: it tells "
                "more than that output does"
            )
    constants = [each for each in expression.operations if isinstance(each, Constant)]
    if constants:
        yield (
            f"{sum(len(each.values) for each in constants)} numbers of the model that stand behind "
            "its last secret layer, in the client's expression"
        )
