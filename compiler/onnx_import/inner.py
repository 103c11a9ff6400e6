"""What the client computes before an output, in the middle of a model: an Activation there."""

from __future__ import annotations

from moiety.compiler.ir.formulas import NAMED
from moiety.compiler.ir.graph import Graph, Node
from moiety.compiler.ir.shapes import rebuilt


def inner_activations(graph: Graph) -> Graph:
    """The same function with an Activation for whoever reads a Sigmoid; one that is an output
    itself stays for that.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        node = node.with_(inputs=tuple(renamed.get(value, value) for value in node.inputs))
        if node.op == "Sigmoid" and graph.consumers(node.output):
            if node.output in graph.outputs:
                nodes.append(node)
                renamed[node.output] = f"{node.output}::inner"
            output = renamed.get(node.output, node.output)
            node = Node("Activation", node.name, node.inputs, output, {"formula": NAMED["sigmoid"]})
        nodes.append(node)
    return rebuilt(graph, nodes) if renamed or nodes != list(graph.nodes) else graph
