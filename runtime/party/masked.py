"""How the parties execute each kind of step in a prepared run, where the client's share of every
value is a mask (runtime/party/masks). Kinds that have no protocol of their own for it run as on
demand (handlers), and the client's share of the result is then fixed.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare import fixing, masked
from moiety.protocols.compare.masked import TruncationMasks
from moiety.protocols.compare.maxpool import pool
from moiety.protocols.lanes import each_lane, in_lanes
from moiety.protocols.session import Session
from moiety.runtime.party import handlers
from moiety.runtime.party.handlers import Handler, Turn
from moiety.runtime.party.masks import elements, random_bits
from moiety.runtime.party.sides import Share
from moiety.runtime.program import Gates, MaxPool, Relu, Step, Truncate
from moiety.runtime.program.beforehand import is_drawn

M = TypeVar("M", U8, U64)


def execute(turn: Turn[Any]) -> Share:
    """One step."""
    if not is_drawn(turn.step):
        return handlers.execute(turn)
    handler = MASKED.get(type(turn.step))
    return handler(turn) if handler else _fixed(turn, handlers.execute(turn))


def _fixed(turn: Turn[Any], share: Share) -> Share:
    """The client's share becomes its mask."""
    mask = turn.masks.result(turn.step) if turn.masks else None
    return fixing.fix(turn.session, share, turn.step.bits, mask)


def _truncation_masks(turn: Turn[Truncate]) -> TruncationMasks | None:
    """Of all elements."""
    if turn.masks is None:
        return None
    result = turn.masks.result(turn.step).reshape(-1)
    return TruncationMasks(random_bits(turn.masks.inner(), result.size), result)


def _gate_mask(turn: Turn[Any], count: int, n: int) -> U8 | None:
    """Of n elements' bits, `(count, n)`."""
    if turn.masks is None:
        return None
    return random_bits(turn.masks.inner(), count * n).reshape(count, n)


def _of(masks: M | None, at: slice) -> M | None:
    """Those of a lane's elements, which lie along the last axis."""
    return None if masks is None else masks[..., at]


def _truncate(turn: Turn[Truncate]) -> U64:
    bits, shift, operand = turn.operand_bits, turn.step.shift, turn.operands[0]
    x, masks = operand.reshape(-1), _truncation_masks(turn)

    def protocol(lane: Session, at: slice) -> U64:
        return masked.truncate(lane, x[at], bits, shift, masks and masks.of(at))

    return in_lanes(turn.session, x.size, protocol).reshape(operand.shape)


def _gates(turn: Turn[Gates]) -> Share:
    step, shape = turn.step, turn.operands[0].shape
    x = ring.reduce(turn.operands[0].reshape(-1), step.compared)
    count, thresholds = step.shape[0], handlers.thresholds_of(turn, shape)
    mask = _gate_mask(turn, count, x.size)

    def protocol(lane: Session, at: slice) -> U8:
        return masked.gates(lane, x[at], step.compared, count, _of(thresholds, at), _of(mask, at))

    return handlers.by_image(in_lanes(turn.session, x.size, protocol), shape)


def truncate_with_gates(turn: Turn[Any], compare: Turn[Gates]) -> tuple[U64, Share]:
    """The results of a truncation and of the Gates that are joint with it."""
    if not is_drawn(turn.step):
        y = handlers.execute(turn)
        return y, _gates(compare.reading(y))
    step, shape, x = turn.step, turn.operands[0].shape, turn.operands[0].reshape(-1)
    count, compared = compare.step.shape[0], compare.step.compared
    thresholds, masks = handlers.thresholds_of(compare, shape), _truncation_masks(turn)
    mask = _gate_mask(compare, count, x.size)

    def protocol(lane: Session, at: slice) -> tuple[U64, U8]:
        return masked.truncate_with_gates(
            lane,
            x[at],
            turn.operand_bits,
            step.shift,
            compared,
            count,
            _of(thresholds, at),
            masks and masks.of(at),
            _of(mask, at),
        )

    values, bits = zip(*each_lane(turn.session, x.size, protocol), strict=True)
    made = np.concatenate(bits, axis=1)
    return np.concatenate(values).reshape(shape), handlers.by_image(made, shape)


def _relu(turn: Turn[Relu]) -> U64:
    x, *shared = (operand.reshape(-1) for operand in turn.operands)
    secrets, bits, out_bits = handlers.gate_secrets(turn), turn.operand_bits, turn.step.bits
    mask = turn.masks.result(turn.step).reshape(-1) if turn.masks else None
    gate_mask = None if shared else _gate_mask(turn, 1, x.size)

    def protocol(lane: Session, at: slice) -> U64:
        mine, of_lane = secrets.of(at) if secrets else None, _of(mask, at)
        if shared:
            return masked.multiplex(lane, x[at], shared[0][at], bits, out_bits, mine, of_lane)
        of_gate = None if gate_mask is None else gate_mask[0, at]
        return masked.relu(lane, x[at], bits, out_bits, mine, of_gate, of_lane)

    return in_lanes(turn.session, x.size, protocol).reshape(turn.operands[0].shape)


def _maxpool(turn: Turn[MaxPool]) -> U64:
    """Images are further channels. Its inner maxima are masked, too."""
    step, x = turn.step, turn.operands[0]
    prg = turn.masks.inner() if turn.masks else None

    def positive(session: Session, difference: U64, bits: int) -> U64:
        flat, gate_mask, mask = difference.reshape(-1), None, None
        if prg is not None:
            gate_mask, mask = random_bits(prg, flat.size), elements(prg, flat.size, bits)

        def protocol(lane: Session, at: slice) -> U64:
            return masked.relu(lane, flat[at], bits, bits, None, _of(gate_mask, at), _of(mask, at))

        return in_lanes(session, flat.size, protocol).reshape(difference.shape)

    planes = x.reshape(-1, *x.shape[2:])
    pooled = pool(
        turn.session, planes, turn.operand_bits, step.kernel, step.strides, step.pads, positive
    )
    return _fixed(turn, pooled.reshape(*x.shape[:2], *pooled.shape[1:]))


MASKED: dict[type[Step], Handler] = {
    Truncate: _truncate,
    Gates: _gates,
    Relu: _relu,
    MaxPool: _maxpool,
}
