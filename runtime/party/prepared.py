"""A run whose work was done before its images were there: what an item holds, how two executors
make one together, and what they do otherwise when they use it.

An item is one run of so many images. Of its streams `linear` has what this party keeps of all
linear layers (protocols/linear/split), the others are the transfers' (protocols/ot/prepared). Both
parties agree on an item by a digest of the connection that made it, its index, and what the run
will ask for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from moiety.protocols.arrays import U8, U64
from moiety.protocols.linear.split import (
    ClientMaterial,
    ServerMaterial,
    online_client,
    online_server,
)
from moiety.protocols.ot.prepared import Sink, Source
from moiety.protocols.session import Session
from moiety.runtime.party.sides import ClientSide, ServerSide
from moiety.runtime.program import Case, Input, Program
from moiety.runtime.store.item import ItemReader, ItemWriter

LINEAR = "linear"


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
        """Raises `BadArtifact` where the file is damaged."""
        out = np.empty(nbytes, np.uint8)
        self.item.stream(name).read_into(out.data)
        return out

    @property
    def index(self) -> int:
        """Its number."""
        return self.item.index

    def close(self) -> None:
        """Nothing more is read."""
        self.item.close()


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

    def exchange_keys(self, session: Session) -> None:
        """None are needed."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return online_server(session, self.layers[index], x, self.material)


@dataclass
class PreparedClientSide(ClientSide):
    """It knows its share of every linear layer's result, and says how its share of the operand
    differs from the mask that this was made for.
    """

    material: ClientMaterial = field(kw_only=True)

    def exchange_keys(self, session: Session) -> None:
        """None are needed."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return online_client(session, self.specs[index], index, x, self.material)


# --- recording ------------------------------------------------------------------------------------


@dataclass
class RecordedServerSide(ServerSide):
    """Sends nothing; values are zero."""

    def exchange_keys(self, session: Session) -> None:
        """None."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return np.zeros((self.images, *self.layers[index].spec.geometry.out_shape), np.uint64)


@dataclass
class RecordedClientSide(ClientSide):
    """Sends nothing; values are zero."""

    def exchange_keys(self, session: Session) -> None:
        """None."""

    def linear(self, session: Session, index: int, x: U64) -> U64:
        return np.zeros((self.images, *self.specs[index].geometry.out_shape), np.uint64)


def blank(program: Program) -> Case:
    """A case of zeros."""
    inputs = [step for step in program.steps if isinstance(step, Input)]
    return {step.name: np.zeros(step.shape, np.float32) for step in inputs}
