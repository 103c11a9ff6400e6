"""Lowering: a planned Graph to a Program and its Weights.

The Graph is walked in order, the Inputs before and the Outputs after it; then the steps are
rewritten: constants before ReLUs become thresholds (`fuse_shifts`), what nobody needs goes
(`dead_steps`), and comparisons of one tensor run together (`share_gates`).
"""

from __future__ import annotations

import msgspec

from moiety.compiler.ir.graph import Graph
from moiety.compiler.ir.queries import result_forms
from moiety.compiler.lowering.dead_steps import drop_dead_steps
from moiety.compiler.lowering.disclosure import disclosed
from moiety.compiler.lowering.emitter import Emitter
from moiety.compiler.lowering.fuse_shifts import fuse_shifts
from moiety.compiler.lowering.outputs import emit_outputs
from moiety.compiler.lowering.revealing import AS_SCORES, Revealing
from moiety.compiler.lowering.share_gates import share_gates
from moiety.compiler.lowering.steps_of_ops import lower_node
from moiety.compiler.planning.plan import Plan
from moiety.runtime.program import Expression, Input, Preprocessing, Program, Result
from moiety.runtime.program.expression.elementwise import OperatingPoints
from moiety.runtime.program.weights import Weights, check_weights


def lower(
    plan: Plan,
    name: str = "",
    preprocessing: Preprocessing | None = None,
    labels: tuple[str, ...] = (),
    op_threshs: tuple[float | None, ...] = (),
    pictures: tuple[str, ...] = (),
    revealing: Revealing = AS_SCORES,
) -> tuple[Program, Weights]:
    """The Program and Weights of a plan; both are checked before they are returned. `labels` name
    the values of the one output, `op_threshs` are their operating points. pictures: the inputs
    beside the first that `preprocessing` makes. revealing: what the client may learn of the
    results; BadModel where the model cannot carry it.
    """
    out = Emitter(plan)
    for source in out.graph.inputs:
        _input(out, source)
    for node in plan.graph.nodes:
        lower_node(out, node)
    expression = emit_outputs(out, results_of(plan.graph, labels, op_threshs), revealing)
    fused = fuse_shifts(out.steps, out.tensors)
    steps, tensors, compared = drop_dead_steps(*fused, out.compared)
    if plan.options.share_gates:
        steps, tensors = share_gates(steps, tensors, compared)
    program = Program(
        name=name or plan.graph.name,
        rounding=plan.options.rounding,
        preprocessing=preprocessing,
        steps=steps,
        expression=expression,
        disclosed=disclosed(plan, revealing.policy),
        network=plan.options.network,
        pictures=pictures,
        policy=revealing.policy,
    )
    program.check()
    check_weights(program, tensors)
    return program, Weights(tensors)


def _input(out: Emitter, source: str) -> None:
    """An input, in the widest ring that a layer asks for."""
    bits = out.widest(source)
    out.emit(
        source,
        Input(
            inputs=(),
            shape=out.shape(source),
            bits=bits,
            name=source,
            scale=out.formats.input_unit(source),
            value_bits=min(out.formats.input_bits, bits),
        ),
    )


def results_of(
    graph: Graph, labels: tuple[str, ...], op_threshs: tuple[float | None, ...]
) -> Expression:
    """What the client computes from the scores: the Graph's expression, with what is said of its
    results' values; operating points are of one result.
    """
    operations, forms = graph.expression.operations, result_forms(graph)
    results = [Result(name=form.name, value=form.value, labels=labels) for form in forms]
    if op_threshs:
        (result,) = results
        operations = (*operations, OperatingPoints(inputs=(result.value,), points=op_threshs))
        value = len(graph.outputs) + len(operations) - 1
        results = [msgspec.structs.replace(result, value=value)]
    return Expression(operations=operations, results=tuple(results))
