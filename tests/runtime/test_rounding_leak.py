"""What stochastic rounding gives away and exact rounding does not: an honest client asks for one
image again and again, and does sums on what it is shown.

The client writes down its own share x1 of the hidden layer's result x, and the answers. A
stochastic truncation by s bits rounds up where `low(x1) <= low(x)`; low(x) is the same in every
query, low(x1) is uniform and new. So up to one threshold per unit the client knows in which queries
a hidden value was one larger, and a regression of the answers on that gives both the thresholds and
the weights behind (docs/security.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from moiety.compiler.compile import Compiled, CompileOptions, compile_model
from moiety.compiler.planning.options import PlanOptions
from moiety.protocols import ring
from moiety.protocols.arrays import F32, F64, I64
from moiety.protocols.session import Session
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handlers import HANDLERS, Turn
from moiety.runtime.party.sides import Share
from moiety.runtime.program import Linear, Rounding, Step
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.onnx_models import ModelBuilder
from tests.support.two_party import run_two_party

HIDDEN, OUTPUTS = 16, 4
TOGETHER = 60
"""Queries of one run."""

SWEEPS = 8
"""Of the thresholds, all of them each time."""

EDGE = 5
"""Queries on either side of a threshold: fewer than that would fit noise."""


# --- the network, and what is true of it ----------------------------------------------------------


def network(folder: Path, rounding: Rounding) -> tuple[Compiled, F32]:
    """16 hidden units and 4 outputs, whose answers lie within 10 as logits do; and an image."""
    builder = ModelBuilder((1, 3, 4, 4), seed=3)
    flat = builder.op("Flatten", "x")
    hidden = builder.op("Relu", builder.gemm(flat, 48, HIDDEN))
    builder.op("Mul", builder.gemm(hidden, HIDDEN, OUTPUTS), builder.constant(4, np.float32))
    onnx.save(builder.model(), folder / "model.onnx")
    images = np.random.default_rng(5).normal(size=(16, 3, 4, 4)).astype(np.float32)
    options = CompileOptions(PlanOptions(rounding=rounding))
    return compile_model(folder / "model.onnx", images, options), images[0]


@dataclass(frozen=True, eq=False)
class Truth:
    """Of the units that are active for the image (`active`, their numbers): `weights` float64
    `(units, OUTPUTS)`, by how many of its last places each output grows for one of the unit's;
    `low` float64 `(units,)`, what the truncation after the hidden layer drops, as a part of one.
    """

    active: I64
    weights: F64
    low: F64


def truth(compiled: Compiled, image: F32) -> Truth:
    """What the vendor alone can know."""
    program = compiled.program
    values: dict[int, I64] = {}
    executor = CleartextExecutor(program, compiled.weights, np.random.default_rng(0))
    executor.run_integers(image, values.__setitem__)
    hidden, last = linear_steps(compiled)
    shift, last_shift = (layer.shift for layer in compiled.report.layers)
    x = values[hidden].ravel() / 2.0**shift
    active = np.flatnonzero(x >= 1)
    weight = compiled.weights.by_step(program)[last]["weight"].reshape(OUTPUTS, HIDDEN)
    return Truth(active, weight.T[active] / 2.0**last_shift, (x % 1)[active])


def linear_steps(compiled: Compiled) -> list[int]:
    steps = compiled.program.steps
    return [index for index, step in enumerate(steps) if isinstance(step, Linear)]


# --- what an honest client sees -------------------------------------------------------------------


@dataclass
class Notes:
    """What the client writes down, by query: `answers` int64 `(queries, OUTPUTS)`, and its shares
    of the hidden layer's result modulo the unit, `faults` float64 `(queries, HIDDEN)` in [0, 1).
    """

    answers: I64
    faults: F64


def ask(compiled: Compiled, image: F32, queries: int, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """One image, again and again, between two real parties."""
    program, hidden = compiled.program, linear_steps(compiled)[0]
    shares: list[Share] = []

    def noting(turn: Turn[Linear]) -> Share:
        share = execute(turn)
        if turn.index == hidden and not turn.session.is_server:
            shares.append(share)
        return share

    def server(session: Session) -> None:
        executor = ServerExecutor(program, compiled.weights, (1, TOGETHER))
        executor.prepare()
        for _ in range(queries // TOGETHER):
            executor.run(session, images=TOGETHER)

    def client(session: Session) -> list[I64]:
        executor = ClientExecutor(program)
        return [
            revealed[0].integers
            for _ in range(queries // TOGETHER)
            for revealed in executor.run_batch(session, [image] * TOGETHER)[0]
        ]

    kind: type[Step] = Linear
    execute = HANDLERS[kind]
    monkeypatch.setitem(HANDLERS, kind, noting)
    answers = np.stack(run_two_party(server, client).client).reshape(queries, OUTPUTS)
    shift = compiled.report.layers[0].shift  # the Program says it too
    low = ring.reduce(np.concatenate(shares).reshape(queries, HIDDEN), shift)
    return Notes(answers, low / 2.0**shift)


# --- and makes of it ------------------------------------------------------------------------------


@dataclass
class Estimate:
    """By unit: the threshold below which its share's low bits round up, `low` float64 `(HIDDEN,)`,
    and the responses of the answers to that, `weights` float64 `(HIDDEN, OUTPUTS)`.
    """

    low: F64
    weights: F64


def estimate(notes: Notes) -> Estimate:
    """Least squares over one step function per unit: thresholds one after the other, each against
    what the others leave unexplained, then all weights together.
    """
    answers = notes.answers - notes.answers.mean(axis=0)
    low, weights = np.zeros(HIDDEN), np.zeros((HIDDEN, OUTPUTS))
    for _ in range(SWEEPS):
        for unit in range(HIDDEN):
            ups = rounded_up(notes, low)
            ups[:, unit] = 0
            low[unit] = best_threshold(notes.faults[:, unit], answers - ups @ weights)
            weights = responses(rounded_up(notes, low), answers)
    return Estimate(low, weights)


def rounded_up(notes: Notes, low: F64) -> F64:
    """In which queries each unit was one larger, without its mean, `(queries, HIDDEN)`."""
    ups = (notes.faults <= low).astype(np.float64)
    return np.asarray(ups - ups.mean(axis=0))


def responses(ups: F64, answers: F64) -> F64:
    """Of the answers to every unit's rounding, by least squares."""
    return np.asarray(np.linalg.lstsq(ups, answers, rcond=None)[0])


def best_threshold(faults: F64, left: F64) -> float:
    """Where a step function of one unit's share explains most of what is left, float64 `(queries,
    OUTPUTS)`, of mean 0: midway between the shares on either side.
    """
    order = np.argsort(faults)
    below = np.arange(EDGE, len(faults) - EDGE)
    sums = left[order].cumsum(axis=0)[below - 1]
    explained = (sums**2).sum(axis=1) / (below * (len(faults) - below))
    cut = below[explained.argmax()]
    return float(faults[order][cut - 1 : cut + 1].mean())


# --- the experiment -------------------------------------------------------------------------------


def relative_error(found: F64, true: F64) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


@pytest.mark.parametrize(("queries", "error"), [(300, 0.03), (600, 0.01)])
def test_stochastic_rounding_gives_the_last_layer_away(
    queries: int, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the median to 0.2 %, and what hidden values have below their last place to within a few
    parts in `queries`.
    """
    compiled, image = network(tmp_path, "stochastic")
    known = truth(compiled, image)
    assert len(known.active) >= HIDDEN // 4
    found = estimate(ask(compiled, image, queries, monkeypatch))
    assert relative_error(found.weights[known.active], known.weights) < error
    assert np.abs(found.low[known.active] - known.low).max() < 20 / queries


def test_exact_rounding_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, image = network(tmp_path, "exact")
    notes = ask(compiled, image, 300, monkeypatch)
    assert notes.faults.std() > 0.25  # its shares are as random as ever
    assert (notes.answers == notes.answers[0]).all()
    assert not estimate(notes).weights.any()
