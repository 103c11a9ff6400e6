"""A run whose work was done before its images were there: what an item holds, how two executors
make one together, and what they do otherwise when they use it.

An item is one run of so many images. Of its streams `made for`, the first, says what run, `linear`
has what this party keeps of all linear layers (protocols/linear/split), the others are the
transfers' (protocols/ot/prepared). Both parties agree on an item by a digest of the connection that
made it, its index, and what the run will ask for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.errors import BadArtifact, ContractViolation
from moiety.protocols.linear.split import (
    SEED_BYTES,
    ClientMaterial,
    ServerMaterial,
    known_client,
    known_server,
    online_client,
    online_server,
)
from moiety.protocols.ot.demand import Demand
from moiety.protocols.ot.prepared import Sink, Source
from moiety.protocols.session import Session
from moiety.runtime.party.masks import StepMasks
from moiety.runtime.party.sides import ClientSide, ServerSide
from moiety.runtime.program import Case, Input, Program
from moiety.runtime.store.item import ItemReader, ItemWriter

LINEAR, MADE_FOR = "linear", "made for"
_FORM = b"moiety prepared run 1"
"""Of the streams, and of what is drawn for which step: another number where either changes."""


@dataclass(frozen=True)
class ItemSink(Sink):
    """Writes to an item of a store."""

    item: ItemWriter

    def write(self, name: str, data: U8) -> None:
        self.item.stream(name).write(np.ascontiguousarray(data).data)


@dataclass(frozen=True)
class ItemSource(Source):
    """Reads one that is marked as used."""

    item: ItemReader

    def read(self, name: str, nbytes: int) -> U8:
        """Read-only. Raises `DamagedItem`."""
        return np.frombuffer(self.item.stream(name).take(nbytes), np.uint8)

    @property
    def index(self) -> int:
        """Its number."""
        return self.item.index


def write_demand(sink: Sink, demand: Demand) -> None:
    """What run the item is made for: it comes first."""
    sink.write(MADE_FOR, _made_for(demand))


def check_demand(source: Source, demand: Demand) -> None:
    """Before anything of an item is used: that it was made for the run that would use it. Pads of
    other sizes would be read at the wrong places. Raises `BadArtifact`.
    """
    wanted = _made_for(demand)
    if not np.array_equal(source.read(MADE_FOR, len(wanted)), wanted):
        raise BadArtifact(
            "what is prepared was made for runs of another form, as another release makes them; "
            "nothing of it was used. `moiety prepare --anew` gives it up at both sides; until then "
            "--on-demand runs without"
        )


def _made_for(demand: Demand) -> U8:
    return np.frombuffer(hashlib.sha256(_FORM + demand.digest()).digest(), np.uint8)


def item_digest(binding: bytes, index: int, images: int, *parts: bytes) -> bytes:
    """What both parties hold item `index` to be, 32 bytes: made on the connection of this
    `binding`, which no other has.
    """
    numbers = index.to_bytes(8, "big") + images.to_bytes(4, "big")
    return hashlib.sha256(b"moiety prepared item" + binding + numbers + b"".join(parts)).digest()


# --- sides ----------------------------------------------------------------------------------------


@dataclass
class PreparedServerSide(ServerSide):
    """Its linear layers have been evaluated on the client's masks; what is left is plain."""

    material: ServerMaterial = field(kw_only=True)
    corrected: frozenset[int] = field(kw_only=True)
    prepared: ClassVar[bool] = True

    def exchange_keys(self, session: Session) -> None:
        """None are needed."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        evaluate = online_server if index in self.corrected else known_server
        return evaluate(session, self.layers[index], x, self.material)


@dataclass
class PreparedClientSide(ClientSide):
    """It knows its share of every linear layer's result, for its share of the operand is the one
    that this was made for; of a layer that is corrected, it says how it differs.
    """

    material: ClientMaterial = field(kw_only=True)
    corrected: frozenset[int] = field(kw_only=True)
    prepared: ClassVar[bool] = True

    def exchange_keys(self, session: Session) -> None:
        """None are needed."""

    def masks(self, index: int) -> StepMasks | None:
        return StepMasks(self.material.seed, index, self.images)

    def linear(self, session: Session, index: int, x: U64) -> U64:
        if index in self.corrected:
            return online_client(session, self.specs[index], index, x, self.material)
        return known_client(self.specs[index], index, x, self.material)


# --- recording ------------------------------------------------------------------------------------


@dataclass
class RecordedServerSide(ServerSide):
    """Sends nothing; values are zero."""

    prepared: ClassVar[bool] = True

    def exchange_keys(self, session: Session) -> None:
        """None."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return np.zeros((self.images, *self.layers[index].spec.geometry.out_shape), np.uint64)


@dataclass
class Operands:
    """The client's shares of the layers' operands (masks.operand_masks), drawn before the run gets
    there, and then compared with those that it finds.
    """

    masks: Iterator[tuple[int, U64 | None]] = field(repr=False)
    _waiting: dict[int, U64 | None] = field(default_factory=dict, repr=False)

    def drawn(self, layer: int) -> U64 | None:
        """That of the next layer; None where it is corrected in the run."""
        index, r = next(self.masks)
        if index != layer:
            raise ContractViolation(f"linear layer {layer} is asked for, due is {index}")
        self._waiting[layer] = r
        return r

    def check(self, layer: int, x: U64) -> None:
        """Raises `ContractViolation` where the layer was asked for with another one."""
        if not ((r := self._waiting.pop(layer)) is None or np.array_equal(r, x)):
            raise ContractViolation(f"linear layer {layer} was prepared for another operand")


@dataclass
class RecordedClientSide(ClientSide):
    """Sends nothing; its shares are those of the run of this `material`, whose layers are asked for
    with these `operands`. Without, all that is recorded is what the run asks for.
    """

    material: ClientMaterial | None = None
    operands: Operands | None = None
    prepared: ClassVar[bool] = True

    def exchange_keys(self, session: Session) -> None:
        """None."""

    def masks(self, index: int) -> StepMasks | None:
        seed = self.material.seed if self.material else bytes(SEED_BYTES)
        return StepMasks(seed, index, self.images)

    def linear(self, session: Session, index: int, x: U64) -> U64:
        """Raises `ContractViolation` where the layer was not prepared for this x."""
        if self.material is None or self.operands is None:
            return np.zeros((self.images, *self.specs[index].geometry.out_shape), np.uint64)
        self.operands.check(index, x)
        return self.material.take_share(index, self.specs[index])


def blank(program: Program) -> Case:
    """A case of zeros."""
    inputs = [step for step in program.steps if isinstance(step, Input)]
    return {step.name: np.zeros(step.shape, np.float32) for step in inputs}
