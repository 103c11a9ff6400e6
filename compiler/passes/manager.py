"""Pipelines of passes: written and read as one string, checked before and after
every pass, dumped on request.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moiety.compiler.ir.evaluate import evaluate, precise_difference, random_feeds, worst_difference
from moiety.compiler.ir.graph import Array, Graph, Node
from moiety.compiler.ir.verify import verify
from moiety.compiler.passes import DEFAULT_PIPELINE, PASSES, Pass
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.protocols.errors import BadInput, BadModel, ContractViolation, MoietyError

DumpAfter = Callable[[int, Pass, Graph], None]


def format_pipeline(passes: Sequence[Pass]) -> str:
    """`name,name{option=value,option=value}`; options that have their default are left out."""
    parts = []
    for each in passes:
        options = [
            f"{field.name}={getattr(each, field.name)!r}"
            for field in dataclasses.fields(each)
            if getattr(each, field.name) != field.default
        ]
        parts.append(each.name + (f"{{{','.join(options)}}}" if options else ""))
    return ",".join(parts)


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The inverse of `format_pipeline`. Raises BadInput naming the unknown pass or option."""
    passes: list[Pass] = []
    position = 0
    text = text.strip()
    pattern = re.compile(r"\s*([a-z0-9-]+)\s*(?:\{([^}]*)\})?\s*(,|$)")
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise BadInput(
                f"pipeline: cannot read {text[position:]!r}; write name,name{{option=value}}"
            )
        passes.append(_make(match[1], match[2] or ""))
        position = match.end()
        if match[3] == "," and position == len(text):
            raise BadInput("pipeline ends with a comma")
    return tuple(passes)


def _make(name: str, text: str) -> Pass:
    if name not in PASSES:
        raise BadInput(f"pipeline: no pass {name!r}; there are {', '.join(sorted(PASSES))}")
    known = {field.name: field for field in dataclasses.fields(PASSES[name])}
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = part.partition("=")
        if key not in known:
            raise BadInput(
                f"pipeline: pass {name!r} has no option {key!r}; it has {', '.join(known) or 'none'}"
            )
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise BadInput(f"pipeline: {name}{{{part}}}: {value!r} is no value") from None
        if type(options[key]) is not type(known[key].default):
            raise BadInput(
                f"pipeline: {name}{{{part}}}: needs a {type(known[key].default).__name__}"
            )
    return PASSES[name](**options)


@dataclass(frozen=True)
class PassManager:
    """Runs a pipeline. The Graph is verified before the first and after every pass.

    With `check_numerics`, every pass that changed the Graph must leave its float function as it
    was, on one random input, within `tolerance` of each output's largest magnitude.
    `dump_after(index, pass, graph)` is called after every pass; index 0 is before the first,
    where `pass` is the one to come.
    """

    passes: tuple[Pass, ...]
    check_numerics: bool = True
    tolerance: float = 1e-3
    seed: int = 0
    dump_after: DumpAfter | None = None

    @classmethod
    def parse(cls, pipeline: str = DEFAULT_PIPELINE, **options: Any) -> PassManager:
        """A manager of the pipeline written as one string."""
        return cls(parse_pipeline(pipeline), **options)

    def __str__(self) -> str:
        return format_pipeline(self.passes)

    def run(self, graph: Graph) -> Graph:
        """The Graph after all passes. ContractViolation, or the pass's own MoietyError,
        names the passes run so far.
        """
        verify(graph)
        original, feeds = graph, dict[str, Array]()
        expected: list[Array] = []
        if self.check_numerics:
            feeds = random_feeds(graph, np.random.default_rng(self.seed))
            expected = evaluate(graph, feeds)
            if not all(np.isfinite(array).all() for array in expected):
                raise BadModel(
                    f"model {graph.name!r} gives NaN or infinite outputs on a random input: are its weights intact?"
                )
        if self.dump_after is not None and self.passes:
            self.dump_after(0, self.passes[0], graph)
        for index, each in enumerate(self.passes):
            before = graph
            try:
                graph = each.run(before)
                if graph is not before:
                    verify(graph)
                    if self.check_numerics:
                        difference = worst_difference(expected, evaluate(graph, feeds))
                        if not difference <= self.tolerance:
                            # A softmax of huge equal logits shows nothing but float32's noise.
                            difference = precise_difference(original, graph, feeds)
                        if not difference <= self.tolerance:
                            raise ContractViolation(
                                f"it changes the function: outputs differ by {difference:.2g} of their magnitude"
                            )
            except MoietyError as error:
                done = format_pipeline(self.passes[:index]) or "none"
                raise type(error)(
                    f"pass {format_pipeline([each])} on {graph.name!r}: {error} (passes already run: {done})"
                ) from error
            if self.dump_after is not None:
                self.dump_after(index + 1, each, graph)
        return graph


def optimise(graph: Graph, pipeline: str = DEFAULT_PIPELINE, **options: Any) -> Graph:
    """Run a pipeline and check that its result is in normal form; `options`
    are the fields of PassManager.
    """
    result = PassManager.parse(pipeline, **options).run(graph)
    check_normal_form(result)
    return result


def dump_to(directory: Path) -> DumpAfter:
    """A `dump_after` that writes `00-import.txt`, `01-<pass>.txt`, ... into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)

    def dump(index: int, each: Pass, graph: Graph) -> None:
        (directory / f"{index:02d}-{each.name if index else 'import'}.txt").write_text(
            format_graph(graph)
        )

    return dump


_UNSAID = {
    "strides": (1, 1),
    "dilations": (1, 1),
    "pads": (0, 0, 0, 0),
    "groups": 1,
    "count_include_pad": False,
}


def format_graph(graph: Graph) -> str:
    """One line per node: value, shape, op, operands, attributes other than the
    usual ones, shapes of constants.
    """
    lines = [f"graph {graph.name}"]
    lines += [f"  {value}: {_shape(graph.shapes[value])} = input" for value in graph.inputs]
    lines += [
        f"  {node.output}: {_shape(graph.shapes[node.output])} = {_call(node)}"
        for node in graph.nodes
    ]
    return "\n".join([*lines, f"  return {', '.join(graph.outputs)}", ""])


def _call(node: Node) -> str:
    attrs = [
        f"{name}={_plain(value)}"
        for name, value in node.attrs.items()
        if _UNSAID.get(name) != value
    ]
    consts = [f"{name}[{_shape(array.shape)}]" for name, array in node.consts.items()]
    return f"{node.op}({', '.join([*node.inputs, *attrs, *consts])})"


def _plain(value: object) -> str:
    return str(value).replace(" ", "")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
