"""What a pass is, and the registry of passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from moiety.compiler.ir.graph import Graph


@dataclass(frozen=True)
class Pass(ABC):
    """A pure function Graph -> Graph. Its fields are its options; its docstring states the
    identity it uses.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, graph: Graph) -> Graph:
        """The rewritten Graph; `graph` itself when nothing applies."""


PASSES: dict[str, type[Pass]] = {}
"""Every pass by name, once `moiety.compiler.passes` has imported its files."""

PassClass = TypeVar("PassClass", bound=type[Pass])


def register(definition: PassClass) -> PassClass:
    """Let pipelines name a pass."""
    PASSES[definition.name] = definition
    return definition
