"""What the two parties do differently in a run: keys, the input, the linear layers, the output, and
the secrets that they hold. All else is handlers, the same at both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.arrays import F64, I64, U64
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.session import Session
from moiety.runtime.party.masks import StepMasks
from moiety.runtime.program import Case, Input, Output, Program, tensors_of

Share = npt.NDArray[Any]
"""One party's share of a value: ring elements (uint64), or what Gates makes, XOR-shared
bits (uint8).
"""
Secrets = Mapping[str, npt.NDArray[Any]]
"""Of one step, role -> tensor; at the client there are none."""


class Side(ABC):
    """What one party does in its own way. `images` go through the run together. `keeps`: nothing of
    them is revealed; `kept`, `(images, ...)`, is then this party's share of the output.
    """

    images: int
    keeps: bool
    kept: U64 | None = None
    prepared: ClassVar[bool] = False
    """Whether the client's shares are masks (runtime/party/masks)."""

    @abstractmethod
    def exchange_keys(self, session: Session) -> None:
        """The query keys of this run."""

    @abstractmethod
    def secrets(self, index: int) -> Secrets:
        """What this party holds for the step at `index`."""

    def masks(self, index: int) -> StepMasks | None:
        """This party's for the step at `index`."""
        return None

    @abstractmethod
    def input(self, step: Input) -> U64:
        """This party's share of one input of all images."""

    @abstractmethod
    def linear(self, session: Session, index: int, x: U64) -> U64:
        """The linear layer at `index` on this party's share x."""

    @abstractmethod
    def output(self, session: Session, index: int, step: Output, x: U64) -> U64:
        """Reveal to the client the value of which x is this party's share."""

    def keep(self, x: U64) -> U64:
        """Instead of `output`, where nothing is revealed."""
        if self.kept is not None:
            raise ContractViolation("a Program that keeps its output has one alone")
        self.kept = x
        return x


@dataclass
class ServerSide(Side):
    """The vendor's: it alone has secrets, and its share of the images is zero. `layers` and
    `tensors` are those of the Program's steps, by index.
    """

    images: int
    layers: dict[int, ServerLinear]
    tensors: list[dict[str, npt.NDArray[Any]]]
    seed: bytes
    keeps: bool = False

    def exchange_keys(self, session: Session) -> None:
        specs = [layer.spec for layer in self.layers.values()]
        new_query_server(session, specs, self.seed)

    def secrets(self, index: int) -> Secrets:
        return self.tensors[index]

    def input(self, step: Input) -> U64:
        return np.zeros((self.images, *step.shape), np.uint64)

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return linear_server(session, self.layers[index], x)

    def output(self, session: Session, index: int, step: Output, x: U64) -> U64:
        reveal_to_client(session, x, step.bits)
        return x


@dataclass(frozen=True)
class Revealed:
    """What the client reads of the Output step at `index`: the revealed integers, and `values` =
    integers * scale.
    """

    index: int
    name: str
    integers: I64
    values: F64

    @classmethod
    def of(cls, index: int, program: Program, elements: U64) -> Revealed:
        """Of one image."""
        step = program.outputs[index]
        integers = ring.to_signed(elements, step.bits)
        name = program.output_names()[index]
        return cls(index, name, integers, step.dequantise(integers))


@dataclass
class ClientSide(Side):
    """The hospital's: it has the images, a case each, and reads the results. `revealed`: of each
    image, what it has read so far.
    """

    program: Program
    cases: Sequence[Case]
    specs: dict[int, LinearSpec]
    seed: bytes
    revealed: list[list[Revealed]] = field(init=False)
    images: int = field(init=False)
    keeps: bool = field(init=False)

    def __post_init__(self) -> None:
        self.images = len(self.cases)
        self.keeps = not self.program.policy.tells_of_images
        self.revealed = [[] for _ in self.cases]
        names = self.program.input_names()
        self._tensors = [tensors_of(case, names) for case in self.cases]

    def exchange_keys(self, session: Session) -> None:
        new_query_client(session, list(self.specs.values()), self.seed)

    def secrets(self, index: int) -> Secrets:
        return {}

    def input(self, step: Input) -> U64:
        integers = np.stack([step.quantise(tensors[step.name]) for tensors in self._tensors])
        return ring.from_signed(integers, step.bits)

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return linear_client(session, self.specs[index], index, self.seed, x)

    def output(self, session: Session, index: int, step: Output, x: U64) -> U64:
        elements = reveal_to_client(session, x, step.bits)
        if elements is None:
            raise ContractViolation("a client's executor on a server's session")
        for of_image, result in zip(elements, self.revealed, strict=True):
            result.append(Revealed.of(index, self.program, of_image))
        return elements
