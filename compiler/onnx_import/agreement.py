"""Does the imported Graph compute what the ONNX model computes? onnxruntime is asked, once per
import, about every node.

Each value of the Graph or of the client's expression that stands for an ONNX value is computed from
onnxruntime's own operands and compared with onnxruntime's own result, so that rounding does not add
up over the network, nor move anything across a step, and the first node that differs is the one
that was imported wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from moiety.compiler.ir.evaluate import one_thread, random_feeds
from moiety.compiler.ir.graph import Array, Graph
from moiety.compiler.ir.onnx_session import RunningModel
from moiety.compiler.ir.ops import OPS
from moiety.protocols.errors import BadInput, BadModel, ContractViolation

TOLERANCE = 1e-4
"""Largest difference at a node, in units of the largest magnitude there: float32 sums of some
thousand terms are off by 1e-5.
"""

TOLERANCE_HALF = 1e-2
"""The same where the model has float16 or bfloat16: results are rounded to 2^-11, and so are some
kernels' sums and the constants that the model computes.
"""

NOISE = 64
"""Or in units of what float32's rounding makes of this very node: sums that cancel."""

AT_ONCE = 1 << 24
"""Elements that onnxruntime hands over in one run; it runs as often as that takes."""

PART = 1 << 20
"""Elements that are compared at once."""


def check_against_onnxruntime(
    model: onnx.ModelProto,
    graph: Graph,
    values: Mapping[str, str | int],
    approximate: Collection[str],
) -> None:
    """ContractViolation names the first ONNX value that the Graph or its expression computes
    otherwise, on a random input; BadModel where onnxruntime cannot run the model, or both say NaN
    or infinity.

    model: its outputs are replaced. values: what the Graph calls the ONNX values, and the numbers
    that the expression has for those that are the client's. approximate: ONNX values that the
    import means to change a little.
    """
    traced: dict[str | int, list[str]] = {}
    for name in (name for node in model.graph.node for name in node.output):
        if name in values:
            traced.setdefault(values[name], []).append(name)
    feeds = _as_held(model, random_feeds(graph, np.random.default_rng(0)))
    with one_thread(), np.errstate(all="ignore"):
        _Comparison(model, graph, traced, approximate).run(feeds)


def _as_held(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds as inputs of the model's types hold them, float16 for one."""
    kinds = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    return {name: feed.astype(kinds[name]).astype(feed.dtype) for name, feed in feeds.items()}


@dataclass
class _Comparison:
    """model: the ONNX model; traced: the ONNX values that each value of the Graph, or number of the
    expression, stands for.
    """

    model: onnx.ModelProto
    graph: Graph
    traced: Mapping[str | int, Sequence[str]]
    approximate: Collection[str]

    def __post_init__(self) -> None:
        self.rounded = False
        self.makers = {name: node for node in self.model.graph.node for name in node.output}
        images = [each for each in self.model.graph.input if each.name in self.graph.inputs]
        batches = [each.type.tensor_type.shape.dim for each in images]  # not of weights (IR 3)
        self.batch = max((dims[0].dim_value for dims in batches if dims), default=1)

    def run(self, feeds: Mapping[str, Array]) -> None:
        theirs = self._answers(feeds)
        last_use = self._last_use()
        known = dict(feeds)
        for index, node in enumerate(self.graph.nodes):
            own = OPS[node.op].evaluate(node, [known[value] for value in node.inputs])
            for name in self.traced.get(node.output, ()):
                own = self._settled(name, node.output, own, next(theirs), known)
            known[node.output] = own
            for value in [value for value in known if last_use.get(value, index) <= index]:
                if value not in self.graph.outputs:
                    del known[value]
        self._run_expression([known[value] for value in self.graph.outputs], theirs)

    def _run_expression(self, revealed: Sequence[Array], theirs: Iterator[Array]) -> None:
        """The client's part, on the revealed values."""
        values: list[Array] = []
        for number in range(len(revealed) + len(self.graph.expression.operations)):
            operation = self.graph.expression.operation(number, len(revealed))
            if operation is None:
                own = rounded = revealed[number].astype(np.float64)
            else:
                operands = [values[value] for value in operation.inputs]
                own, rounded = operation.evaluate(operands), operation.evaluate(_single(operands))
            for name in self.traced.get(number, ()):
                own = self._settled_result(name, own, rounded, next(theirs))
            values.append(own)

    def _answers(self, feeds: Mapping[str, Array]) -> Iterator[Array]:
        """onnxruntime's results of all traced ONNX values, in the Graph's order."""
        for names in self._portions():
            del self.model.graph.output[:]
            self.model.graph.output.extend(map(helper.make_empty_tensor_value_info, names))
            yield from self._run(feeds)

    def _run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The model's outputs."""
        running = RunningModel(self.model, repr(self.graph.name), as_written=True)
        self.rounded = running.converted
        try:
            return running(feeds)
        except BadInput as error:
            raise BadModel(f"onnxruntime cannot run the model: {error}") from error

    def _portions(self) -> Iterator[list[str]]:
        """The traced ONNX values, as many together as may be in memory."""
        names: list[str] = []
        elements = 0
        for value, size in self._sizes():
            for name in self.traced.get(value, ()):
                elements += size * self.batch
                if names and elements > AT_ONCE:
                    yield names
                    names, elements = [], size * self.batch
                names.append(name)
        if names:
            yield names

    def _sizes(self) -> Iterator[tuple[str | int, int]]:
        """The values of the Graph and then the numbers of the expression, with their elements."""
        for node in self.graph.nodes:
            yield node.output, math.prod(self.graph.shapes[node.output])
        shown = [self.graph.shapes[value][1:] for value in self.graph.outputs]
        for number, form in enumerate(self.graph.expression.forms(shown)):
            yield number, form.size

    def _last_use(self) -> dict[str, int]:
        """The last node that a settled value is needed at, be it for computing one that is not
        settled again.
        """
        last: dict[str, int] = {}
        roots: dict[str, set[str]] = {}
        for index, node in enumerate(self.graph.nodes):
            needed = set().union(*(roots.get(value, {value}) for value in node.inputs))
            if node.output not in self.traced:
                roots[node.output] = needed
            last.update(dict.fromkeys((*needed, *node.inputs), index))
        return last

    def _settled(
        self, name: str, value: str, own: Array, theirs: Array, known: Mapping[str, Array]
    ) -> Array:
        """onnxruntime's result of the ONNX value `name`, once the Graph's `own` agrees with it."""
        if not np.issubdtype(theirs.dtype, np.floating):
            return own  # the integers of a quantised value
        if own.shape != theirs.shape:
            raise self._differs(name, f"its shape is {own.shape}, onnxruntime's {theirs.shape}")
        if name in self.approximate:
            return theirs.astype(np.float32)
        finite = np.isfinite(theirs)
        if not np.isfinite(own).all() and not finite.all():
            raise BadModel(
                f"{self._label(name)}: gives NaN or infinity on a random input: are the weights "
                "before it intact?"
            )
        half = theirs.dtype == np.float16
        tolerance = TOLERANCE_HALF if half or self.rounded else TOLERANCE
        if half:  # which overflows where float32 does not
            theirs = np.where(finite, theirs, own)
        theirs = theirs.astype(np.float32, copy=False)
        size = float(np.abs(theirs).max(initial=0.0))
        difference = _largest(own, theirs)
        if not difference <= tolerance * size:
            precise = self._again(value, known, np.float64)
            noise = _largest(precise, self._again(value, known, np.float32))
            difference = _largest(precise, theirs)
            if not difference <= tolerance * size + NOISE * noise:
                raise self._differs(
                    name, f"it is off by {difference:.3g}, its largest value is {size:.3g}"
                )
        return theirs

    def _settled_result(self, name: str, own: Array, rounded: Array, theirs: Array) -> Array:
        """As `_settled`, of the client's values; rounded: made from operands of float32. Where the
        model's type holds none of what comes out, whatever it has instead is no difference.
        """
        if own.shape != theirs.shape:
            raise self._differs(name, f"its shape is {own.shape}, onnxruntime's {theirs.shape}")
        settled = theirs.astype(own.dtype)
        if name in self.approximate:
            return settled
        if not np.issubdtype(theirs.dtype, np.floating):
            if np.any((settled != own) & _is_held(own, theirs.dtype)):
                raise self._differs(name, f"its {theirs.dtype} values are others")
            return settled
        both = np.isfinite(own) & np.isfinite(theirs)
        if np.any(~both & ~np.isinf(theirs) & ~(np.isnan(own) & np.isnan(theirs))):
            raise self._differs(name, "it is NaN or infinite elsewhere")
        half = theirs.dtype == np.float16 or self.rounded
        size = float(np.abs(settled[both]).max(initial=0.0))
        difference = _largest(own[both], settled[both])
        allowed = (TOLERANCE_HALF if half else TOLERANCE) * size
        if not difference <= allowed:
            noise = _largest(own[both], rounded[both])
            if not difference <= allowed + NOISE * noise:
                raise self._differs(
                    name, f"it is off by {difference:.3g}, its largest value is {size:.3g}"
                )
        return settled

    def _again(self, value: str, known: Mapping[str, Array], kind: type[np.floating]) -> Array:
        """A value from the settled ones in another precision."""
        node = self.graph.producer(value)
        assert node is not None
        operands = [
            known[each].astype(kind)
            if each in self.traced or each in self.graph.inputs
            else self._again(each, known, kind)
            for each in node.inputs
        ]
        return np.asarray(OPS[node.op].evaluate(node, operands))

    def _label(self, name: str) -> str:
        node = self.makers[name]
        return f"{node.op_type} {node.name or name!r}"

    def _differs(self, name: str, how: str) -> ContractViolation:
        return ContractViolation(
            f"{self._label(name)}: the import of this node is not what onnxruntime makes of it: "
            f"{how}. This is a defect of the compiler"
        )


def _single(values: Sequence[Array]) -> list[Array]:
    """Real numbers in float32."""
    return [x.astype(np.float32) if x.dtype == np.float64 else x for x in values]


def _largest(a: Array, b: Array) -> float:
    """Difference; NaN where either is not finite."""
    a, b = a.reshape(-1), b.reshape(-1)
    parts = [slice(start, start + PART) for start in range(0, a.size, PART)]
    with np.errstate(invalid="ignore"):
        found = [np.abs(a[part].astype(np.float64) - b[part]).max() for part in parts]
    return float(np.max(found, initial=0.0))


def _is_held(values: Array, kind: np.dtype[Any]) -> Array:
    """Which of some integers or truth values a type of the model holds."""
    if kind == np.bool_ or values.dtype == np.bool_:
        return np.ones(values.shape, bool)
    limits = np.iinfo(kind)
    return (limits.min <= values) & (values <= limits.max)
