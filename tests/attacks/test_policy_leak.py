"""What docs/security.md says of decisions and a client that deviates: adding to its share of the
scores, it finds each by bisection, from its secret threshold on, in as many queries as they have
bits. With the program as it is it learns a bit of each, however often it asks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import I64
from moiety.runtime import program as ir
from moiety.runtime.party import handlers
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handlers import Turn
from moiety.runtime.party.sides import Share
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.weights import Weights
from tests.support.runnable import small
from tests.support.two_party import run_two_party

THRESHOLDS = np.array([[-300, 0, 12_345]])
IMAGE = np.random.default_rng(2).normal(size=(2, 8, 8)).astype(np.float32)


def deciding() -> tuple[ir.Program, Weights, I64]:
    """A network that tells decisions alone, and its scores."""
    program, weights = small()
    (scores,) = CleartextExecutor(program, weights).run_integers(IMAGE).values()
    *steps, output = program.steps
    last, shape = len(steps) - 1, output.shape
    steps += [
        ir.Extend(inputs=(last,), shape=shape, bits=25),
        ir.Gates(inputs=(last + 1,), shape=(1, *shape), bits=1, compared=25),
        ir.Count(inputs=(last + 2,), shape=shape, bits=2),
        msgspec.structs.replace(output, inputs=(last + 3,), bits=2),
    ]
    policy = Policy(reveal="decision")
    changed = msgspec.structs.replace(program, steps=tuple(steps), policy=policy, commitment="")
    changed.check()
    secrets = {**weights.tensors, f"gates.{last + 2}.threshold": -THRESHOLDS}
    return changed, Weights(secrets), scores


def test_a_deviating_client_finds_scores_by_bisection(monkeypatch: pytest.MonkeyPatch) -> None:
    program, weights, scores = deciding()
    server = ServerExecutor(program, weights)
    server.prepare()
    added = np.zeros(scores.shape, np.int64)
    kind: type[ir.Step] = ir.Gates
    honest = handlers.HANDLERS[kind]

    def deviating(turn: Turn[Any]) -> Share:
        """The last Gates, with a client that has moved what it compares."""
        if turn.session.is_server or turn.step.shape[1:] != scores.shape:
            return honest(turn)
        moved = ring.reduce(turn.operands[0] + ring.from_signed(added, 25), 25)
        return honest(replace(turn, operands=(moved,)))

    def decisions() -> I64:
        client = ClientExecutor(program)
        outcome = run_two_party(server.run, lambda session: client.run(session, IMAGE))
        found: I64 = outcome.client[0][0].integers
        return found

    above = decisions()
    assert np.array_equal(above, scores >= THRESHOLDS[0])
    monkeypatch.setitem(handlers.HANDLERS, kind, deviating)
    low, high = np.full(scores.shape, -(1 << 23)), np.full(scores.shape, 1 << 23)
    queries = 0
    while (high - low > 1).any():
        added = (low + high) >> 1
        reached = decisions() == 1
        low, high = np.where(reached, low, added), np.where(reached, added, high)
        queries += 1
    assert queries == 24
    assert np.array_equal(-high, scores - THRESHOLDS[0])
