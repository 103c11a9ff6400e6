"""The editable form of a Graph that passes work on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moiety.compiler.ir.graph import Array, Graph, Node, Shape
from moiety.compiler.ir.shapes import infer_shape, rebuilt
from moiety.protocols.errors import ContractViolation


class Rewriter:
    """An editable Graph for the length of one pass.

    Rewrites keep the name of the value they re-make, so that readers and graph outputs need no
    change. A node that nobody reads any more counts as no reader of its operands, and goes when the
    pass ends. Nodes stay in topological order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.shapes: dict[str, Shape] = dict(graph.shapes)
        self.changed = False
        self._nodes = {node.output: node for node in graph.nodes}
        self._readers: dict[str, list[Node]] | None = None

    def nodes(self, *ops: str) -> Iterator[Node]:
        """The live nodes (of the given ops) in order, each as it stands at its turn; rewriting on
        the way is fine.
        """
        for value in list(self._nodes):
            node = self._nodes.get(value)
            if (
                node is not None
                and (not ops or node.op in ops)
                and (value in self.graph.outputs or self.readers(value))
            ):
                yield node

    def producer(self, value: str, *ops: str) -> Node | None:
        """The node that makes `value`, if it is one of `ops` (any when none are given)."""
        node = self._nodes.get(value)
        return node if node is not None and (not ops or node.op in ops) else None

    def readers(self, value: str) -> list[Node]:
        """The live nodes that read `value`, in order."""
        if self._readers is None:
            self._readers = {}
            live = set(self.graph.outputs)
            for node in reversed(self._nodes.values()):
                if node.output in live:
                    live.update(node.inputs)
                    for each in dict.fromkeys(node.inputs):
                        self._readers.setdefault(each, []).insert(0, node)
        return self._readers.get(value, [])

    def sole_reader(self, value: str) -> bool:
        """Is `value` read once, by one node, and no graph output?"""
        readers = self.readers(value)
        return (
            value not in self.graph.outputs
            and len(readers) == 1
            and readers[0].inputs.count(value) == 1
        )

    def make(
        self,
        op: str,
        inputs: Sequence[str],
        like: Node,
        output: str | None = None,
        consts: Mapping[str, Array] | None = None,
        **attrs: Any,
    ) -> Node:
        """A node with the name of `like`, for `replace` to put in place; without `output` its value
        gets a new name.
        """
        value = output or f"{like.output}.{op.lower()}"
        count = 1
        while output is None and value in self.shapes:
            count += 1
            value = f"{like.output}.{op.lower()}{count}"
        node = Node(op, like.name, tuple(inputs), value, attrs, consts or {})
        self.shapes[value] = infer_shape(node, [self.shapes[operand] for operand in node.inputs])
        return node

    def replace(self, old: Node, *new: Node) -> None:
        """Put `new`, whose last node makes `old.output`, where `old` stood."""
        if new[-1].output != old.output:
            raise ContractViolation(f"{new[-1].output!r} cannot stand for {old.output!r}")
        nodes: dict[str, Node] = {}
        for value, node in self._nodes.items():
            nodes.update((each.output, each) for each in (new if value == old.output else (node,)))
        for node in new:
            self.shapes[node.output] = infer_shape(
                node, [self.shapes[value] for value in node.inputs]
            )
        self._set(nodes)

    def bypass(self, node: Node, target: str) -> bool:
        """Let everyone read `target`, equal to the result of `node`; False where both are graph
        outputs or inputs.
        """
        old, new = node.output, target
        if old in self.graph.outputs:
            if target in self.graph.outputs or target not in self._nodes:
                return False
            # The output keeps its name: what made `target` makes it now.
            old, new = target, node.output
        nodes = {}
        for value, each in self._nodes.items():
            if value == node.output:
                continue
            renamed = (
                each.with_(inputs=tuple(new if name == old else name for name in each.inputs))
                if old in each.inputs
                else each
            )
            renamed = renamed.with_(output=new) if value == old else renamed
            nodes[renamed.output] = renamed
        self.shapes[new] = self.shapes[old]
        self._set(nodes)
        return True

    def _set(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self._readers = None
        self.changed = True

    def finish(self) -> Graph:
        """The Graph as rewritten, dead nodes dropped and shapes inferred again; the original when
        nothing changed.
        """
        return rebuilt(self.graph, self._nodes.values()) if self.changed else self.graph


class Chain:
    """Nodes one after another that are to stand for `node`; the first reads `value`."""

    def __init__(self, rewriter: Rewriter, node: Node, value: str) -> None:
        self.value = value
        self._rewriter, self._node = rewriter, node
        self._nodes: list[Node] = []

    @property
    def shape(self) -> Shape:
        """Of what the last node makes."""
        return self._rewriter.shapes[self.value]

    def add(
        self, op: str, consts: Mapping[str, Array] | None = None, copies: int = 1, **attrs: Any
    ) -> None:
        """A node that reads the last one's value, `copies` times."""
        operands = [self.value] * copies
        self._nodes.append(self._rewriter.make(op, operands, self._node, None, consts, **attrs))
        self.value = self._nodes[-1].output

    def put_in_place(self) -> None:
        """Let the last node make what `node` made."""
        *inner, last = self._nodes
        self._rewriter.replace(self._node, *inner, last.with_(output=self._node.output))
