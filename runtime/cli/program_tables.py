"""`moiety inspect`: a Program's summary, traffic and disclosures; its steps and RLWE parameters.
Formulas and seconds are in cost_tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import msgspec
from rich.table import Table
from rich.text import Text

from moiety.protocols.cost import Cost
from moiety.protocols.setup import open_session_cost
from moiety.runtime.cli.ui import TRAFFIC_COLUMNS, facts, megabytes, table, traffic_cells
from moiety.runtime.cost.traffic import image_cost, key_cost, step_costs
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Input, Linear, Preprocessing, Program, Relu
from moiety.runtime.program.expression.text import lines
from moiety.runtime.program.linear_layers import linear_specs


def report(program: Program, steps: bool) -> Iterator[Table | Text]:
    """Everything that is printed after the summary, in order."""
    if steps:
        yield _steps(program)
        yield _lattices(program)
    yield _traffic_by_kind(program)
    yield _disclosed(program)


def summary(program: Program) -> Table:
    """Name, digest, ends and totals."""
    shown = facts(f"Program {printable(program.name)}")
    elements = sum(math.prod(step.shape) for step in program.steps if isinstance(step, Relu))
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in Counter(step.kind for step in program.steps).most_common()
    )
    rows = {
        "version": program.model_version or "not stated",
        "SHA-256": program.digest(),
        "rounding": f"{program.rounding}; comparisons planned for {program.network}",
        "input": "; ".join(_input(step, len(program.inputs)) for step in program.inputs),
        "pictures": _pictures(program),
        "steps": f"{len(program.steps)} ({kinds})",
        "ReLU elements": f"{elements:,}",
        "multiply-adds": f"{_multiply_adds(program):,}",
        "widths, bits": _widths(program),
        "policy": program.policy_in_words(),
    }
    for name, value in (*rows.items(), *_revealed_and_computed(program)):
        shown.add_row(name, Text(value))
    return shown


def _revealed_and_computed(program: Program) -> Iterator[tuple[str, str]]:
    """A row for each value that is revealed, each result and each formula."""
    for index, name in program.output_names().items():
        step = program.outputs[index]
        details = f", {step.details()}" if step.details() else ""
        verb = "revealed" if program.policy.tells_of_images else "kept shared"
        yield verb, f"{printable(name)} {_shape(step.shape)}{details}"
    for result in program.results():
        labels = f": {', '.join(map(printable, result.labels))}" if result.labels else ""
        kind = "" if result.kind == "real" else f", {result.kind}"
        yield "output", f"{printable(result.name)} {_shape(result.shape)}{kind}{labels}"
    for line in lines(program.expression, tuple(program.output_names().values())):
        yield "computes", printable(line)


def _widths(program: Program) -> str:
    """Least and largest ring of all steps, and weight of all layers."""
    weights = {step.weight_bits for step in program.steps if isinstance(step, Linear)}
    rings = f"rings {_spread({step.bits for step in program.steps})}"
    return f"{rings}; weights {_spread(weights)}" if weights else rings


def _steps(program: Program) -> Table:
    """A row per step."""
    shown = table(
        "Steps",
        "step",
        "kind",
        "name",
        "from",
        "shape",
        "bits",
        "details",
        *TRAFFIC_COLUMNS,
        right=3,
    )
    for index, (step, cost) in enumerate(zip(program.steps, step_costs(program), strict=True)):
        operands = ",".join(map(str, step.inputs))
        shown.add_row(
            str(index),
            step.kind,
            Text(printable(step.name)),
            operands,
            _shape(step.shape),
            str(step.bits),
            step.details(),
            *_cells(cost),
        )
    return shown


def _lattices(program: Program) -> Table:
    """RLWE parameters in use, and by how many layers."""
    groups: dict[tuple[object, ...], list[Linear]] = {}
    for step in (step for step in program.steps if isinstance(step, Linear)):
        log_q = round(math.log2(math.prod(step.rlwe.primes)), 1)
        key: tuple[object, ...] = (step.rlwe.degree, len(step.rlwe.primes), log_q)
        groups.setdefault(key, []).append(step)
    shown = table(
        "RLWE parameters",
        "N",
        "primes",
        "log2 q",
        "layers",
        "guard bits",
        "answer bits",
        right=6,
    )
    for key, layers in groups.items():
        guards, answers = {x.guard for x in layers}, {x.rlwe.answer_bits for x in layers}
        shown.add_row(*map(str, key), str(len(layers)), _spread(guards), _spread(answers))
    return shown


def _traffic_by_kind(program: Program) -> Table:
    """Bytes and flights of one image by step kind, as declared by the protocols: exactly what a run
    will meter.
    """
    shown = table(
        "Cost of one image, by step kind", "kind", "steps", *TRAFFIC_COLUMNS, "share", right=5
    )
    kinds: dict[str, list[Cost]] = {"keys": [key_cost(program)]}
    for step, cost in zip(program.steps, step_costs(program), strict=True):
        kinds.setdefault(step.kind, []).append(cost)
    total = image_cost(program)
    for kind, found in sorted(kinds.items(), key=lambda item: -sum(cost.total for cost in item[1])):
        part = sum(found, Cost())
        if part.total:
            shown.add_row(
                kind,
                str(len(found)),
                *traffic_cells(part.up, part.down, sum(len(cost.flights) for cost in found)),
                f"{part.total / total.total:.1%}",
            )
    shown.add_section()
    shown.add_row("one image", "", *_cells(total), megabytes(total.total))
    shown.add_row("set-up of a connection", "", *_cells(open_session_cost()), "")
    return shown


def _disclosed(program: Program) -> Table | Text:
    """Everything the Program tells about the weights beyond the architecture."""
    if not program.disclosed:
        return Text("Disclosed about the weights: nothing but the architecture and the sizes above")
    shown = facts("Disclosed about the weights")
    for entry in program.disclosed:
        shown.add_row("-", Text(printable(entry)))
    return shown


def _input(step: Input, inputs: int) -> str:
    """Where there are several, with its name."""
    shown = f"{_shape(step.shape)}, scale {step.scale:.3g}"
    return shown if inputs == 1 else f"{printable(step.name)} {shown}"


def _pictures(program: Program) -> str:
    preprocessing = program.preprocessing
    if preprocessing is None:
        return "none: NPY tensors only"
    height, width = preprocessing.size
    names = ", ".join(map(printable, (program.input.name, *program.pictures)))
    of = f"{names}: " if program.pictures else ""
    return (
        f"{of}{width}x{height}, {preprocessing.channels} channels, {preprocessing.resize}, "
        f"mean {_joined(preprocessing.mean)}, std {_joined(preprocessing.std)}"
        + "".join(f", {name} {value}" for name, value in _unusual(preprocessing))
    )


def _unusual(preprocessing: Preprocessing) -> Iterator[tuple[str, object]]:
    """The fields that have a default, and another value than that."""
    for field in msgspec.structs.fields(Preprocessing):
        value = getattr(preprocessing, field.name)
        if field.name != "resize" and not field.required and value != field.default:
            yield field.name, value


def _multiply_adds(program: Program) -> int:
    geometries = (spec.geometry for spec in linear_specs(program).values())
    return sum(geometry.outputs * geometry.terms for geometry in geometries)


def _cells(cost: Cost) -> tuple[str, str, str]:
    return traffic_cells(cost.up, cost.down, len(cost.flights))


def _shape(dimensions: tuple[int, ...]) -> str:
    return "x".join(map(str, dimensions)) or "scalar"


def _joined(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _spread(values: set[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}..{high}"
