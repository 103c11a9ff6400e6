"""A whole image between two parties in this process, held against the cleartext executor."""

from __future__ import annotations

import numpy as np

from moiety.protocols.session import Session
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.sides import Revealed
from moiety.runtime.program import Case, Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from tests.support.two_party import run_two_party


def check_whole_run(program: Program, weights: Weights, image: Case) -> None:
    """With exact rounding: every output equal to the oracle's bit for bit, and the traffic as
    declared.
    """

    def server(session: Session) -> RunCost:
        executor = ServerExecutor(program, weights)
        executor.prepare()
        return executor.run(session)

    def client(session: Session) -> tuple[list[Revealed], RunCost]:
        return ClientExecutor(program).run(session, image)

    outputs, cost = run_two_party(server, client).client
    oracle = CleartextExecutor(program, weights).run_integers(image)
    assert len(outputs) == len(program.outputs)
    for index, output in zip(program.outputs, outputs, strict=True):
        np.testing.assert_array_equal(output.integers, oracle[index])
    declared = image_cost(program)
    assert (cost.total.sent, cost.total.received) == (declared.up, declared.down)
