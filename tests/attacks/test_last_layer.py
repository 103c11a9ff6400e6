"""What no check of correlations stops, and docs/security.md says so: a client that adds to its
share of the last layer's operand reads that layer, a feature a query; and what does stop it, a
quota, since every query is paid for before it runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import I64
from moiety.runtime import program as ir
from moiety.runtime.party import handlers
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handlers import Turn
from moiety.runtime.party.sides import Share
from tests.support.runnable import small
from tests.support.two_party import run_two_party

IMAGE = np.random.default_rng(2).normal(size=(2, 8, 8)).astype(np.float32)


def last_layer(program: ir.Program) -> tuple[int, int]:
    """(its number, by how many bits what it adds up is truncated)."""
    steps = program.steps
    index = max(i for i, step in enumerate(steps) if isinstance(step, ir.Linear))
    linear, truncate = steps[index], steps[index + 1]
    assert isinstance(linear, ir.Linear)
    assert isinstance(truncate, ir.Truncate)
    return index, truncate.shift - linear.guard


@pytest.mark.parametrize("silent_from", [1, 5])
def test_one_query_a_feature_reads_the_last_layer(
    monkeypatch: pytest.MonkeyPatch, silent_from: int
) -> None:
    """Of 24 features in 25 queries, exactly, with either generator: everything that the client
    sends is well formed, so every check passes.
    """
    program, weights = small()
    index, shift = last_layer(program)
    true = weights.tensors[f"linear.{index}.weight"][:, :, 0, 0].astype(np.int64)
    server = ServerExecutor(program, weights)
    server.prepare()
    added = np.zeros((true.shape[1], 1, 1), np.int64)
    kind: type[ir.Step] = ir.Linear
    honest = handlers.HANDLERS[kind]

    def deviating(turn: Turn[Any]) -> Share:
        if turn.session.is_server or turn.index != index:
            return honest(turn)
        bits = program.steps[turn.step.inputs[0]].bits
        moved = ring.reduce(turn.operands[0] + ring.from_signed(added, bits), bits)
        return honest(replace(turn, operands=(moved,)))

    monkeypatch.setitem(handlers.HANDLERS, kind, deviating)
    queries = 0

    def answer() -> I64:
        nonlocal queries
        queries += 1
        client = ClientExecutor(program)
        outcome = run_two_party(
            server.run, lambda session: client.run(session, IMAGE), silent_from=silent_from
        )
        found: I64 = outcome.client[0][0].integers
        return found

    base = answer()
    found = np.zeros_like(true)
    for feature in range(true.shape[1] if silent_from == 5 else 2):
        added[:] = 0
        added[feature] = 1 << shift
        found[:, feature] = answer() - base
    read = queries - 1
    assert np.array_equal(found[:, :read], true[:, :read])
    assert found.any()
    if silent_from == 5:
        assert queries == true.shape[1] + 1 == 25
