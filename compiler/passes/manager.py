"""Runs pipelines of passes: checked before and after every pass, dumped on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moiety.compiler.ir.evaluate import (
    evaluate,
    precise_difference,
    random_feeds,
    worst_difference,
)
from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.ir.text import format_graph
from moiety.compiler.ir.verify import verify
from moiety.compiler.passes.base import Pass
from moiety.compiler.passes.normal_form import check_normal_form
from moiety.compiler.passes.pipeline import DEFAULT_PIPELINE, format_pipeline, parse_pipeline
from moiety.protocols.errors import BadModel, ContractViolation, MoietyError

DumpAfter = Callable[[int, Pass, Graph], None]


@dataclass(frozen=True)
class PassManager:
    """Runs a pipeline. The Graph is verified before the first and after every pass.

    With `check_numerics`, every pass that changed the Graph must leave its float function as it
    was, on one random input, within `tolerance` of each output's largest magnitude.
    `dump_after(index, pass, graph)` is called after every pass; index 0 is before the first, where
    `pass` is the one to come.
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
        """The Graph after all passes. ContractViolation, or the pass's own MoietyError, names the
        passes run so far.
        """
        verify(graph)
        reference = _Reference.of(graph, self.seed) if self.check_numerics else None
        if self.dump_after is not None and self.passes:
            self.dump_after(0, self.passes[0], graph)
        for index, each in enumerate(self.passes):
            try:
                graph = self._checked(each, graph, reference)
            except MoietyError as error:
                done = format_pipeline(self.passes[:index]) or "none"
                raise type(error)(
                    f"pass {format_pipeline([each])} on {graph.name!r}: {error} "
                    f"(passes already run: {done})"
                ) from error
            if self.dump_after is not None:
                self.dump_after(index + 1, each, graph)
        return graph

    def _checked(self, each: Pass, before: Graph, reference: _Reference | None) -> Graph:
        """The Graph after one pass, verified and compared with the reference if it changed."""
        graph = each.run(before)
        if graph is before:
            return graph
        verify(graph)
        if reference is not None:
            difference = reference.difference(graph, self.tolerance)
            if not difference <= self.tolerance:
                raise ContractViolation(
                    "it changes the function: "
                    f"outputs differ by {difference:.2g} of their magnitude"
                )
        return graph


@dataclass(frozen=True, eq=False)
class _Reference:
    """What the original Graph makes of one random input."""

    graph: Graph
    feeds: Mapping[str, Array]
    outputs: Sequence[Array]

    @classmethod
    def of(cls, graph: Graph, seed: int) -> _Reference:
        """BadModel where the outputs are not finite."""
        feeds = random_feeds(graph, np.random.default_rng(seed))
        outputs = evaluate(graph, feeds)
        if not all(np.isfinite(array).all() for array in outputs):
            raise BadModel(
                f"model {graph.name!r} gives NaN or infinite outputs on a random input: "
                "are its weights intact?"
            )
        return cls(graph, feeds, outputs)

    def difference(self, graph: Graph, tolerance: float) -> float:
        """How far `graph` is from the original; where float32 says more than `tolerance`, float64
        decides: a softmax of huge equal logits shows nothing but float32's noise.
        """
        found = worst_difference(self.outputs, evaluate(graph, self.feeds))
        return found if found <= tolerance else precise_difference(self.graph, graph, self.feeds)


def optimise(graph: Graph, pipeline: str = DEFAULT_PIPELINE, **options: Any) -> Graph:
    """Run a pipeline and check that its result is in normal form; `options` are the fields
    of PassManager.
    """
    result = PassManager.parse(pipeline, **options).run(graph)
    check_normal_form(result)
    return result


def dump_to(directory: Path) -> DumpAfter:
    """A `dump_after` that writes `00-import.txt`, `01-<pass>.txt`, ... into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)

    def dump(index: int, each: Pass, graph: Graph) -> None:
        name = f"{index:02d}-{each.name if index else 'import'}.txt"
        (directory / name).write_text(format_graph(graph))

    return dump
