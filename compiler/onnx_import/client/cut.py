"""Where the secret part of a model ends and the client's begins.

The client's part begins at nodes that no protocol computes (a Softmax, an ArgMax), or none exactly
(a Sigmoid), from which no way leads to a node that must stay secret (a Conv: its weights are the
vendor's). All that follows such a node is the client's. What both compute exactly (a Relu, a
Reshape, a square) stays secret before it. What moves the batch axis,
which every secret value has first, begins the client's part, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import onnx

from moiety.compiler.onnx_import.call import Call
from moiety.compiler.onnx_import.client.call import TRANSLATORS
from moiety.compiler.onnx_import.folding import OF_SHAPES


class Cut:
    """The nodes of one model, those of branches too: names are unique throughout."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        self._passed_on: dict[str, list[str]] = defaultdict(list)
        self._collect(graph)

    def _collect(self, graph: onnx.GraphProto) -> None:
        for node in graph.node:
            for name in filter(None, node.input):
                self._readers[name].append(node)
            for inner in _subgraphs(node):
                if node.op_type == "If":
                    self._collect(inner)
                    for made, name in zip(inner.output, node.output, strict=False):
                        self._passed_on[made.name].append(name)
                else:
                    for name in _reads(inner):
                        self._readers[name].append(node)

    def begins(self, call: Call) -> bool:
        """Does the client's part begin with this node, of secret operands?"""
        entry = TRANSLATORS.get(call.proto.op_type)
        if entry is None:
            return False
        begins = entry.begins(call) if callable(entry.begins) else entry.begins
        return begins and self.may_begin(call.proto)

    def may_begin(self, node: onnx.NodeProto) -> bool:
        """Could the client's part begin with this node?"""
        return node.op_type in TRANSLATORS and self.blocker(node) is None

    def blocker(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """A node behind this one that must stay secret; None where there is none."""
        pending, seen = [name for name in node.output if name], set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            for reader in self._readers[name]:
                if reader.op_type in OF_SHAPES:
                    continue
                if reader.op_type not in TRANSLATORS:
                    return reader
                pending.extend(filter(None, reader.output))
            pending.extend(self._passed_on[name])
        return None


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    """All names that a subgraph's nodes read, its own among them."""
    for node in graph.node:
        yield from filter(None, node.input)
        for inner in _subgraphs(node):
            yield from _reads(inner)
