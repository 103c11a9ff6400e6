"""What a Program discloses: all that it tells about the weights or the calibration images beyond
the architecture and the options.
"""

from __future__ import annotations

from collections.abc import Iterator

from moiety.compiler.planning.plan import Plan
from moiety.compiler.planning.rings import RESULT_INTEGER_BITS


def disclosed(plan: Plan) -> tuple[str, ...]:
    """One sentence for each thing that is told."""
    return tuple(_facts(plan))


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
            f"{min(shifts, default=0)} to {max(shifts, default=0)}; it sets the layer's "
            "ring, too): the size of its largest weight relative to the ranges before and after "
            "it, up to a power of two"
        )
    if formats.widths.activation:
        yield (
            "ring widths of activations: how much rounding a tensor moves the results over the "
            "calibration images, against what its bits cost"
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
    constant = options.output_frac + RESULT_INTEGER_BITS
    if any(bits > constant for bits in formats.output_bits.values()):
        yield "ring width of an output: the range of the model's results, up to a power of two"
