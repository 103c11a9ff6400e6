"""What docs/security.md says of policies and a client that deviates: adding to its share of the
scores, it finds what it is told little of by bisection, in as many queries as a score has bits, or
in fewer by those that an answer tells anyway. With the program as it is it learns that much,
however often it asks.
"""

from __future__ import annotations

from collections.abc import Callable
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
from moiety.runtime.program.policy import Policy, Reveal
from moiety.runtime.program.weights import Weights
from tests.support.runnable import small
from tests.support.two_party import run_two_party

THRESHOLDS = np.array([[-300, 0, 12_345]])
IMAGE = np.random.default_rng(2).normal(size=(2, 8, 8)).astype(np.float32)


BITS = 24
"""Of a score's ring."""


def scored() -> tuple[ir.Program, Weights, I64]:
    """A network that tells its scores, and these."""
    program, weights = small()
    (scores,) = CleartextExecutor(program, weights).run_integers(IMAGE).values()
    assert program.steps[-1].bits == BITS
    return program, weights, scores


def ending(
    scored: ir.Program, reveal: Reveal, last: Callable[[int, tuple[int, ...]], list[ir.AnyStep]]
) -> ir.Program:
    """Its scores' end replaced: `last` makes the steps from the number and the shape of the
    scores, in a ring of one bit more.
    """
    *steps, output = scored.steps
    at, shape = len(steps), output.shape
    steps += [ir.Extend(inputs=(at - 1,), shape=shape, bits=BITS + 1), *last(at, shape)]
    final = steps[-1]
    scale = 1 / steps[-2].shape[0] if reveal == "probabilities" else 1.0
    output = msgspec.structs.replace(
        output, inputs=(len(steps) - 1,), shape=final.shape, bits=final.bits, scale=scale
    )
    policy = Policy(reveal=reveal)
    changed = msgspec.structs.replace(scored, steps=(*steps, output), policy=policy, commitment="")
    changed.check()
    return changed


def counting(thresholds: I64, reveal: Reveal) -> tuple[ir.Program, Weights, I64]:
    """A network that tells how many of secret thresholds `(K, labels)` each score reaches, and its
    scores.
    """
    program, weights, scores = scored()

    def last(at: int, shape: tuple[int, ...]) -> list[ir.AnyStep]:
        count = len(thresholds)
        gates = ir.Gates(inputs=(at,), shape=(count, *shape), bits=1, compared=BITS + 1)
        return [gates, ir.Count(inputs=(at + 1,), shape=shape, bits=1 + count.bit_length())]

    changed = ending(program, reveal, last)
    where = len(changed.steps) - 3
    secrets = {**weights.tensors, f"gates.{where}.threshold": -thresholds}
    return changed, Weights(secrets), scores


class Deviating:
    """A client of a server of this network that adds `added` to its share of what its last step of
    a kind reads.
    """

    def __init__(
        self, program: ir.Program, weights: Weights, kind: type[ir.Step], patch: pytest.MonkeyPatch
    ) -> None:
        self.program, self.queries = program, 0
        self._server = ServerExecutor(program, weights)
        self._server.prepare()
        last = max(i for i, step in enumerate(program.steps) if isinstance(step, kind))
        self.added = np.zeros(program.steps[program.steps[last].inputs[0]].shape, np.int64)
        honest = handlers.HANDLERS[kind]

        def deviating(turn: Turn[Any]) -> Share:
            if turn.session.is_server or turn.index != last:
                return honest(turn)
            moved = turn.operands[0] + ring.from_signed(self.added, BITS + 1)
            return honest(replace(turn, operands=(ring.reduce(moved, BITS + 1),)))

        patch.setitem(handlers.HANDLERS, kind, deviating)

    def answer(self, added: I64 | int) -> I64:
        """One query of the image, with this added."""
        self.added[:] = added
        self.queries += 1
        client = ClientExecutor(self.program)
        outcome = run_two_party(self._server.run, lambda session: client.run(session, IMAGE))
        found: I64 = outcome.client[0][0].integers
        return found


def test_a_deviating_client_finds_scores_by_bisection(monkeypatch: pytest.MonkeyPatch) -> None:
    program, weights, scores = counting(THRESHOLDS, "decision")
    client = Deviating(program, weights, ir.Gates, monkeypatch)
    assert np.array_equal(client.answer(0), scores >= THRESHOLDS[0])
    low, high = np.full(scores.shape, -(1 << 23)), np.full(scores.shape, 1 << 23)
    client.queries = 0
    while (high - low > 1).any():
        added = (low + high) >> 1
        reached = client.answer(added) == 1
        low, high = np.where(reached, low, added), np.where(reached, added, high)
    assert client.queries == BITS
    assert np.array_equal(-high, scores - THRESHOLDS[0])


def test_a_deviating_client_finds_scores_behind_probabilities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of four bits, whose steps are those of a sigmoid: after the first answer in 20 more, each of
    which moves the middle of what is left to the middle of the steps. The client knows them.
    """
    half = np.arange(15) + 0.5
    steps = np.rint(np.log(half / (15 - half)) * (1 << 12)).astype(np.int64)
    program, weights, scores = counting(np.repeat(steps[:, None], 3, axis=1), "probabilities")
    client = Deviating(program, weights, ir.Gates, monkeypatch)
    ends = np.array([-(1 << 30), *steps, 1 << 30])
    low, high = np.full(scores.shape, -(1 << 23)), np.full(scores.shape, 1 << 23)
    added = np.zeros(scores.shape, np.int64)
    while (high - low > 1).any():
        counted = client.answer(added)
        if client.queries == 1:
            assert np.array_equal(counted, (scores >= steps[:, None]).sum(axis=0))
        low = np.maximum(low, ends[counted] - added)
        high = np.minimum(high, ends[counted + 1] - added)
        added = steps[7] - ((low + high) >> 1)
    assert np.array_equal(low, scores)
    assert client.queries <= 1 + BITS - 4


def test_a_deviating_client_finds_differences_behind_the_largest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two scores; the first of equal ones is the largest."""
    program, weights, scores = scored()

    def last(at: int, shape: tuple[int, ...]) -> list[ir.AnyStep]:
        two = ir.Slice(
            inputs=(at,), shape=(2,), bits=BITS + 1, starts=(0,), stops=(2,), strides=(1,)
        )
        return [two, ir.Argmax(inputs=(at + 1,), shape=(1,), bits=2)]

    changed = ending(program, "top-1", last)
    client = Deviating(changed, weights, ir.Argmax, monkeypatch)
    assert client.answer(0) == np.argmax(scores[:2])
    low, high = -(1 << 23), 1 << 23
    client.queries = 0
    while high - low > 1:
        added = (low + high) >> 1
        first = client.answer(np.array([added, 0])) == 0
        low, high = (low, added) if first else (added, high)
    assert client.queries == BITS
    assert -high == scores[0] - scores[1]
