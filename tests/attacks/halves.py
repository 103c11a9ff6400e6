"""Items of prepared runs outside of any store: halves that can be copied, used twice and paired
with others, which no party's code allows; and what each party hears in such a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import F32, I64, U8, U64
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.masks import StepMasks
from moiety.runtime.party.prepared import LINEAR
from moiety.runtime.program.weights import Weights, commit
from tests.support.prepared import StreamsInMemory
from tests.support.programs import make_program, random_weights, rlwe_plan
from tests.support.runnable import runnable
from tests.support.two_party import run_two_party

FEATURES, HIDDEN, OUTPUTS = 12, 40, 3
GUARD = 2
SHIFT = 6
"""Bits that the truncation after the hidden layer drops."""
HIDDEN_RING, WIDE_RING = 26 - SHIFT, 26
Message = tuple[str, bytes]
"""A label of the meter, and what was sent under it."""


def two_layers() -> tuple[ir.Program, Weights]:
    """12 features, 40 hidden ReLUs and 3 outputs; exact."""

    def linear(source: int, filters: int) -> ir.Linear:
        return ir.Linear(
            inputs=(source,),
            shape=(filters, 1, 1),
            bits=26 + GUARD,
            weight_bits=8,
            guard=GUARD,
            rlwe=rlwe_plan(26),
            kernel=(1, 1),
            pads=(0, 0, 0, 0),
        )

    def truncate(source: int, filters: int, shift: int) -> ir.Truncate:
        return ir.Truncate(
            inputs=(source,),
            shape=(filters, 1, 1),
            bits=26 - shift,
            shift=shift + GUARD,
            rounding="exact",
        )

    program = make_program(
        ir.Input(inputs=(), shape=(FEATURES, 1, 1), bits=26, scale=1.0, value_bits=8),
        linear(0, HIDDEN),
        truncate(1, HIDDEN, SHIFT),
        ir.Relu(inputs=(2,), shape=(HIDDEN, 1, 1), bits=26, affine=False),
        linear(3, OUTPUTS),
        truncate(4, OUTPUTS, 8),
    )
    program = runnable(program)
    return commit(program, random_weights(program, np.random.default_rng(5)).tensors)


def image_of(program: ir.Program, seed: int) -> F32:
    return np.random.default_rng(seed).integers(-60, 60, program.input.shape).astype(np.float32)


@dataclass
class Halves:
    """Of one item."""

    server: StreamsInMemory
    client: StreamsInMemory

    def copied(self) -> Halves:
        """As a copy of both stores would have them."""
        return copy.deepcopy(self)

    @property
    def seed(self) -> bytes:
        """Of the client's masks; its half begins with it."""
        return bytes(self.client.streams[LINEAR][:32])

    def masks(self, index: int, images: int = 1) -> StepMasks:
        """The client's, of a step."""
        return StepMasks(self.seed, index, images)


@dataclass
class Heard:
    """In one run, what came out, and every message in order, with the label of its sender."""

    by_server: list[Message] = field(default_factory=list)
    by_client: list[Message] = field(default_factory=list)
    outputs: I64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def said(self, kind: str) -> list[bytes]:
        """What the client sent in steps of a kind."""
        return [data for label, data in self.by_server if label.startswith(f"{kind}/")]

    def told(self, kind: str) -> list[bytes]:
        """What the server did."""
        return [data for label, data in self.by_client if label.startswith(f"{kind}/")]


@dataclass
class Parties:
    """Two executors of one Program, and as many runs as are wanted, each on a session of its
    own.
    """

    program: ir.Program
    weights: Weights
    server: ServerExecutor = field(init=False)
    client: ClientExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.server = ServerExecutor(self.program, self.weights)
        self.server.prepare()
        self.client = ClientExecutor(self.program)

    def prepared(
        self,
        count: int,
        silent_from: int = NEVER_SILENT,
        begin: Callable[[Session], None] = lambda session: None,
    ) -> list[Halves]:
        """So many items. `begin` may change either end."""

        def side(executor: ServerExecutor | ClientExecutor) -> Callable[[Session], Any]:
            def body(session: Session) -> list[StreamsInMemory]:
                begin(session)
                made = [StreamsInMemory() for _ in range(count)]
                for each in made:
                    executor.prepare_item(session, each)
                return made

            return body

        outcome = run_two_party(side(self.server), side(self.client), silent_from=silent_from)
        return [Halves(*pair) for pair in zip(*outcome, strict=True)]

    def run(
        self,
        item: Halves,
        image: Any,
        on_server: Callable[[Session], None] = lambda session: None,
    ) -> Heard:
        """With copies of these halves: they stay as they are. `on_server` may change the server's
        end.
        """
        return self.runs([item], [image], on_server)[0]

    def runs(
        self,
        items: Sequence[Halves],
        images: Sequence[Any],
        on_server: Callable[[Session], None] = lambda session: None,
    ) -> list[Heard]:
        """One after the other."""
        found = [Heard() for _ in items]
        used = [item.copied() for item in items]

        def server(session: Session) -> None:
            on_server(session)
            for item, heard in zip(used, found, strict=True):
                tapped(session, heard.by_client)
                self.server.run_keeping(session, item=item.server)

        def client(session: Session) -> None:
            for item, image, heard in zip(used, images, found, strict=True):
                tapped(session, heard.by_server)
                revealed, _ = self.client.run_batch(session, [image], item=item.client)
                heard.outputs = revealed[0][0].integers

        run_two_party(server, client)
        return found


def tapped(session: Session, into: list[Message]) -> None:
    """What this end sends from now on."""
    channel = session.channel
    write = type(channel)._write

    def tap(data: memoryview) -> None:
        into.append((channel.meter.label, bytes(data)))
        write(channel, data)

    channel._write = tap  # type: ignore[method-assign]


def fields(message: bytes, count: int, bits: int) -> U64:
    """Numbers of a message."""
    return kernels.unpack(np.frombuffer(message, np.uint8), count, bits)


def octets(messages: Sequence[Message]) -> U8:
    return np.frombuffer(b"".join(data for _, data in messages), np.uint8)


class Opened(NamedTuple):
    """Of one run: the server's answers of the ReLU's multiplexer, `y*(1-2g) + p0 - p1`, where y is
    its share of the operand, g that of the gate, modulo 2^HIDDEN_RING; and its e, `g ^ mu`.
    """

    answers: U64
    e: U8


def opened(messages: Sequence[bytes]) -> Opened:
    """From what the server sends in the ReLU."""
    at = [len(data) for data in messages].index(HIDDEN * WIDE_RING // 8)
    answers = fields(messages[at], HIDDEN, WIDE_RING)
    return Opened(
        ring.reduce(answers, HIDDEN_RING), fields(messages[at + 1], HIDDEN, 1).astype(np.uint8)
    )
