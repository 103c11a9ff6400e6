"""A Program in tables, for `moiety inspect`."""

from __future__ import annotations

import math
from collections import Counter

from rich.table import Table
from rich.text import Text

from moiety.protocols.cost import Cost
from moiety.protocols.setup import open_session_cost
from moiety.runtime.cli.ui import megabytes, table
from moiety.runtime.cost import traffic as costing
from moiety.runtime.program import Linear, Program, Relu

COLUMNS_OF_COST = ("up", "down", "flights")


def summary(program: Program) -> Table:
    """Name, digest, ends and totals."""
    made = Table(
        show_header=False,
        box=None,
        title=Text(f"Program {program.name}"),
        title_justify="left",
        title_style="bold",
    )
    picture = program.preprocessing
    elements = sum(math.prod(step.shape) for step in program.steps if isinstance(step, Relu))
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in Counter(step.kind for step in program.steps).most_common()
    )
    rows = {
        "digest (SHA-256)": program.digest(),
        "rounding": program.rounding,
        "input": f"{shape(program.input.shape)}, scale {program.input.scale:.3g}",
        "pictures": "none: NPY tensors only"
        if picture is None
        else (
            f"{picture.size[1]}x{picture.size[0]}, {picture.channels} channels, {picture.resize}, "
            "mean "
            f"{joined(picture.mean)}, std {joined(picture.std)}"
        ),
        "steps": f"{len(program.steps)} ({kinds})",
        "ReLU elements": f"{elements:,}",
        "multiply-adds": f"{sum(multiply_adds(program, i) for i in range(len(program.steps))):,}",
    }
    for name, value in rows.items():
        made.add_row(name, value)
    for index, step in program.outputs.items():
        labels = f": {', '.join(step.labels)}" if step.labels else ""
        made.add_row(
            "output",
            f"{program.output_names()[index]} {shape(step.shape)}, {step.postprocess}{labels}",
        )
    return made


def steps(program: Program) -> Table:
    """One row per step."""
    made = table(
        "Steps",
        "step",
        "kind",
        "name",
        "from",
        "shape",
        "bits",
        "details",
        *COLUMNS_OF_COST,
        right=3,
    )
    for index, (step, cost) in enumerate(
        zip(program.steps, costing.step_costs(program), strict=True)
    ):
        operands = ",".join(map(str, step.inputs))
        made.add_row(
            str(index),
            step.kind,
            Text(step.name),
            operands,
            shape(step.shape),
            str(step.bits),
            step.details(),
            *shown(cost),
        )
    return made


def lattices(program: Program) -> Table:
    """RLWE parameters in use, and by how many layers."""
    groups: dict[tuple[object, ...], list[Linear]] = {}
    for step in program.steps:
        if isinstance(step, Linear):
            plan = step.rlwe
            groups.setdefault(
                (
                    plan.degree,
                    len(plan.primes),
                    round(math.log2(math.prod(plan.primes)), 1),
                    plan.masking,
                ),
                [],
            ).append(step)
    made = table(
        "RLWE parameters",
        "N",
        "primes",
        "log2 q",
        "masking",
        "layers",
        "flooding bits",
        "answer bits",
        right=7,
    )
    for key, layers in groups.items():
        floods, answers = {x.rlwe.flood_bits for x in layers}, {x.rlwe.answer_bits for x in layers}
        made.add_row(*map(str, key), str(len(layers)), spread(floods), spread(answers))
    return made


def costs(program: Program) -> Table:
    """Bytes and flights of one image by step kind, as declared by the protocols:
    exactly what a run will meter.
    """
    made = table(
        "Cost of one image, by step kind", "kind", "steps", *COLUMNS_OF_COST, "share", right=5
    )
    kinds: dict[str, list[Cost]] = {"keys": [costing.key_cost(program)]}
    for step, cost in zip(program.steps, costing.step_costs(program), strict=True):
        kinds.setdefault(step.kind, []).append(cost)
    total = costing.image_cost(program)
    for kind, found in sorted(kinds.items(), key=lambda item: -sum(cost.total for cost in item[1])):
        part = sum(found, Cost())
        if part.total:
            made.add_row(
                kind,
                str(len(found)),
                megabytes(part.up),
                megabytes(part.down),
                str(sum(len(c.flights) for c in found)),
                f"{part.total / total.total:.1%}",
            )
    made.add_section()
    made.add_row("one image", "", *shown(total), megabytes(total.total))
    made.add_row("set-up, once per connection", "", *shown(open_session_cost()), "")
    return made


def disclosed(program: Program) -> Text:
    """Everything the Program tells about the weights beyond the architecture."""
    if not program.disclosed:
        return Text("Disclosed about the weights: nothing but the architecture and the sizes above")
    return Text(
        "\n".join(("Disclosed about the weights:", *(f"  {entry}" for entry in program.disclosed)))
    )


def multiply_adds(program: Program, index: int) -> int:
    step = program.steps[index]
    if not isinstance(step, Linear):
        return 0
    channels = program.first_operand(step).shape[0]
    return math.prod(step.shape) * channels // step.groups * math.prod(step.kernel)


def shown(cost: Cost) -> tuple[str, str, str]:
    if not cost.total:
        return "", "", ""
    return megabytes(cost.up), megabytes(cost.down), str(len(cost.flights))


def shape(dimensions: tuple[int, ...]) -> str:
    return "x".join(map(str, dimensions))


def joined(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def spread(values: set[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}..{high}"
