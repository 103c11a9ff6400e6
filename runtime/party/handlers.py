"""How the parties execute each kind of step: one handler per kind, the same at both parties.

A run's values have the images as their first axis; steps without weights treat them as more
elements. The parties differ only in what `Side` names: input, linear layers, output, and the
secrets that they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare import joint
from moiety.protocols.compare.argmax import argmax
from moiety.protocols.compare.convert import bit_to_ring
from moiety.protocols.compare.extend import extend, extend_with_headroom
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.product import product, square
from moiety.protocols.compare.relu import GateSecrets, gates, multiplex, relu
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.errors import ContractViolation
from moiety.protocols.lanes import each_lane, in_lanes
from moiety.protocols.session import Role, Session
from moiety.protocols.settlement import settle
from moiety.runtime.party.masks import StepMasks
from moiety.runtime.party.sides import Secrets, Share, Side
from moiety.runtime.program import (
    KINDS,
    AddConst,
    Argmax,
    Count,
    Extend,
    Gates,
    Input,
    Linear,
    LocalStep,
    MaxPool,
    Output,
    Product,
    Relu,
    Square,
    Step,
    Truncate,
)

S = TypeVar("S", bound=Step)
V = TypeVar("V", np.uint8, np.uint64)


@dataclass(frozen=True)
class Turn(Generic[S]):
    """One step's turn in a run, as its handler sees it. rings: those of the operands (of an Input:
    its own).
    """

    session: Session
    side: Side
    index: int
    step: S
    rings: tuple[int, ...]
    operands: Sequence[Share]

    @property
    def operand_bits(self) -> int:
        """Ring of the first operand."""
        return self.rings[0]

    @property
    def secrets(self) -> Secrets:
        return self.side.secrets(self.index)

    @property
    def masks(self) -> StepMasks | None:
        """The client's, of a prepared run; the server has none."""
        return self.side.masks(self.index)

    def reading(self, *operands: Share) -> Turn[S]:
        """The same on these operands."""
        return replace(self, operands=operands)


Handler = Callable[[Turn[Any]], Share]
HANDLERS: dict[type[Step], Handler] = {}

COUNTS = Role.SERVER
"""Who answers when bits become numbers: the party that reveals them next."""


def executes(*kinds: type[Step]) -> Callable[[Handler], Handler]:
    """Registers the decorated function as how both parties execute these kinds of step: it returns
    this party's share of the result, `(images, *step.shape)`.
    """

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def execute(turn: Turn[Any]) -> Share:
    """One step, by the handler of its kind."""
    handler = HANDLERS.get(type(turn.step))
    if handler is None:
        raise ContractViolation(f"no execution for step kind {turn.step.kind}")
    return handler(turn)


@executes(Input)
def _input(turn: Turn[Input]) -> U64:
    return turn.side.input(turn.step)


@executes(Linear)
def _linear(turn: Turn[Linear]) -> U64:
    return turn.side.linear(turn.session, turn.index, turn.operands[0])


@executes(Output)
def _output(turn: Turn[Output]) -> U64:
    if turn.side.keeps:
        settle(turn.session)
        return turn.side.keep(turn.operands[0])
    return turn.side.output(turn.session, turn.index, turn.step, turn.operands[0])


@executes(*(kind for kind in KINDS if issubclass(kind, LocalStep)))
def _local(turn: Turn[LocalStep]) -> Share:
    return turn.step.on_shares(turn.operands)


@executes(AddConst)
def _add_constant(turn: Turn[AddConst]) -> U64:
    """The server alone knows the constant, and its share alone takes it up."""
    x, constant = turn.operands[0], turn.secrets.get("constant")
    if constant is None:
        return x
    return ring.reduce(x + ring.from_signed(constant, turn.step.bits), turn.step.bits)


@executes(Truncate)
def _truncate(turn: Turn[Truncate]) -> U64:
    bits, shift = turn.operand_bits, turn.step.shift
    if turn.step.rounding == "stochastic":
        return truncate_stochastic(turn.session, turn.operands[0], bits, shift)
    return _in_lanes(turn, lambda lane, x: truncate_exact(lane, x, bits, shift))


@executes(Extend)
def _extend(turn: Turn[Extend]) -> U64:
    bits, out_bits = turn.operand_bits, turn.step.bits
    protocol = extend_with_headroom if turn.step.headroom else extend
    return _in_lanes(turn, lambda lane, x: protocol(lane, x, bits, out_bits))


def _in_lanes(turn: Turn[Any], protocol: Callable[[Session, U64], U64]) -> U64:
    """A protocol on the elements of the first operand alone."""
    operand = turn.operands[0]
    flat = operand.reshape(-1)
    made = in_lanes(turn.session, flat.size, lambda lane, at: protocol(lane, flat[at]))
    return made.reshape(operand.shape)


@executes(Product)
def _product(turn: Turn[Product]) -> U64:
    """The axes over which an element of y serves many of x come last: a row of them for each."""
    x, y = turn.operands
    bits, y_bits = turn.rings
    order = sorted(range(x.ndim), key=lambda axis: y.shape[axis] < x.shape[axis])
    factors, rows = y.reshape(-1), x.transpose(order).reshape(y.size, -1)

    def protocol(lane: Session, at: slice) -> U64:
        return product(lane, rows[at], factors[at], bits, y_bits)

    made = np.concatenate(each_lane(turn.session, y.size, protocol))
    in_order = made.reshape([x.shape[axis] for axis in order])
    return np.ascontiguousarray(in_order.transpose(np.argsort(order)))


@executes(Square)
def _square(turn: Turn[Square]) -> U64:
    bits, out_bits = turn.operand_bits, turn.step.bits
    return _in_lanes(turn, lambda lane, x: square(lane, x, bits, out_bits))


@executes(MaxPool)
def _maxpool(turn: Turn[MaxPool]) -> U64:
    """Images are further channels."""
    step, x = turn.step, turn.operands[0]
    planes = x.reshape(-1, *x.shape[2:])
    pooled = maxpool(turn.session, planes, turn.operand_bits, step.kernel, step.strides, step.pads)
    return pooled.reshape(*x.shape[:2], *pooled.shape[1:])


@executes(Relu)
def _relu(turn: Turn[Relu]) -> U64:
    """A whole ReLU, or the multiplexer alone where Gates have made the comparisons."""
    x, *shared = (operand.reshape(-1) for operand in turn.operands)
    secrets, bits, out_bits = gate_secrets(turn), turn.operand_bits, turn.step.bits

    def protocol(lane: Session, at: slice) -> U64:
        mine = secrets.of(at) if secrets else None
        if not shared:
            return relu(lane, x[at], bits, out_bits, mine)
        return multiplex(lane, x[at], shared[0][at], bits, out_bits, mine)

    return in_lanes(turn.session, x.size, protocol).reshape(turn.operands[0].shape)


def gate_secrets(turn: Turn[Relu]) -> GateSecrets | None:
    """Of every element; none at the client, and none of a ReLU that is not affine."""
    if not turn.secrets:
        return None
    channelwise = (-1,) + (1,) * (len(turn.step.shape) - 1)
    threshold = ring.from_signed(turn.secrets["threshold"], turn.operand_bits)

    def spread(values: npt.NDArray[V]) -> npt.NDArray[V]:
        """Per channel -> `(n,)`."""
        shape = turn.operands[0].shape
        return np.broadcast_to(values.reshape(channelwise), shape).reshape(-1)

    return GateSecrets(spread(threshold), spread(turn.secrets["flip"]))


@executes(Gates)
def _gates(turn: Turn[Gates]) -> Share:
    """Bits `(images, K, C, ...)`."""
    step, x = turn.step, ring.reduce(turn.operands[0].reshape(-1), turn.step.compared)
    count, thresholds = step.shape[0], thresholds_of(turn, turn.operands[0].shape)

    def protocol(lane: Session, at: slice) -> U8:
        return gates(lane, x[at], step.compared, count, _of(thresholds, at))

    return by_image(in_lanes(turn.session, x.size, protocol), turn.operands[0].shape)


def truncate_with_gates(turn: Turn[Any], compare: Turn[Gates]) -> tuple[U64, Share]:
    """The results of a truncation and of the Gates that are joint with it."""
    step, shape, x = turn.step, turn.operands[0].shape, turn.operands[0].reshape(-1)
    count, compared = compare.step.shape[0], compare.step.compared
    thresholds = thresholds_of(compare, shape)

    def protocol(lane: Session, at: slice) -> tuple[U64, U8]:
        return joint.truncate_with_gates(
            lane, x[at], turn.operand_bits, step.shift, compared, count, _of(thresholds, at)
        )

    values, bits = zip(*each_lane(turn.session, x.size, protocol), strict=True)
    return np.concatenate(values).reshape(shape), by_image(np.concatenate(bits, axis=1), shape)


def thresholds_of(turn: Turn[Gates], shape: tuple[int, ...]) -> U64 | None:
    """The server's, `(K, n)` for the n elements of an operand `(images, C, ...)`; None at the
    client.
    """
    step, thresholds = turn.step, turn.secrets.get("threshold")
    if thresholds is None:
        return None
    channelwise = (*step.shape[:1], 1, *step.shape[1:2]) + (1,) * (len(step.shape) - 2)
    elements = ring.from_signed(thresholds, step.compared).reshape(channelwise)
    return np.broadcast_to(elements, (*step.shape[:1], *shape)).reshape(len(elements), -1)


def _of(thresholds: U64 | None, at: slice) -> U64 | None:
    """Those of a lane's elements."""
    return None if thresholds is None else thresholds[:, at]


def by_image(bits: U8, shape: tuple[int, ...]) -> Share:
    """`(K, n)` -> `(images, K, C, ...)`."""
    bits = bits.reshape(-1, *shape)
    return np.ascontiguousarray(bits.swapaxes(0, 1))


@executes(Count)
def _count(turn: Turn[Count]) -> U64:
    """The server answers, for it is the one to reveal."""
    step, operand = turn.step, turn.operands[0]
    flat = operand.reshape(-1)
    numbers = in_lanes(
        turn.session, flat.size, lambda lane, at: bit_to_ring(lane, COUNTS, flat[at], step.bits)
    )
    return ring.reduce(numbers.reshape(operand.shape).sum(axis=1, dtype=np.uint64), step.bits)


@executes(Argmax)
def _argmax(turn: Turn[Argmax]) -> U64:
    """Images are further places to look at."""
    x, step = turn.operands[0], turn.step
    rows = np.ascontiguousarray(x.swapaxes(0, 1)).reshape(x.shape[1], -1)
    return argmax(turn.session, rows, turn.operand_bits).reshape(len(x), *step.shape)
