"""A value that one step has made is read by others: no step writes to it, in the clear or on
shares, whatever is left of it to be read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moiety.protocols.arrays import I64
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.party import handlers as parties
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handlers import Turn, execute, truncate_with_gates
from moiety.runtime.party.sides import Share
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from tests.runtime.test_step_facets import EXAMPLES
from tests.support.programs import random_weights
from tests.support.runnable import runnable
from tests.support.two_party import run_two_party

KINDS = {step.kind for program in EXAMPLES for step in program.steps}


def frozen_weights(program: ir.Program, flips: bool = True) -> Weights:
    weights = random_weights(program, np.random.default_rng(4))
    for name, array in weights.tensors.items():
        if name.endswith("flip"):
            array *= flips
        array.flags.writeable = False
    return weights


def image_of(program: ir.Program) -> Any:
    rng = np.random.default_rng(3)
    image = (rng.integers(-100, 100, program.input.shape) * program.input.scale).astype(np.float32)
    image.flags.writeable = False
    return image


def frozen(value: Share) -> Share:
    """The value, which then cannot be written to, nor what it is a view of."""
    owner = value
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    owner.flags.writeable = value.flags.writeable = False
    return value


def test_all_kinds_are_tried() -> None:
    assert {kind.__struct_config__.tag for kind in ir.KINDS} == KINDS


@pytest.mark.parametrize("program", EXAMPLES, ids=range(len(EXAMPLES)))
@pytest.mark.parametrize("flips", [False, True])
def test_no_meaning_writes_to_its_operands(program: ir.Program, flips: bool) -> None:
    executor = CleartextExecutor(program, frozen_weights(program, flips), np.random.default_rng(1))
    executor.run_integers(image_of(program), freeze)


def freeze(_: int, values: I64) -> None:
    frozen(values)


@pytest.mark.parametrize("program", EXAMPLES, ids=range(len(EXAMPLES)))
def test_no_party_writes_to_a_share(program: ir.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """All shares of both parties are frozen as soon as they are made."""
    made: list[str] = []

    def freezing(turn: Turn[Any]) -> Share:
        made.append(turn.step.kind)
        return frozen(execute(turn))

    def freezing_both(turn: Turn[Any], compare: Turn[ir.Gates]) -> tuple[Share, Share]:
        value, bits = truncate_with_gates(turn, compare)
        made.extend((turn.step.kind, compare.step.kind))
        return frozen(value), frozen(bits)

    monkeypatch.setattr(parties, "execute", freezing)
    monkeypatch.setattr(parties, "truncate_with_gates", freezing_both)
    program = runnable(program)
    server = ServerExecutor(program, frozen_weights(program))
    server.prepare()

    def client(session: Session) -> None:
        ClientExecutor(program).run(session, image_of(program))

    run_two_party(server.run, client)
    assert sorted(made) == sorted(2 * [step.kind for step in program.steps])
