"""What stochastic rounding gives away and exact rounding does not: an honest client asks for one
image again and again, and does sums on what it is shown.

The client writes down its own share x1 of the hidden layer's result x, and the answers. A
stochastic truncation by s bits rounds up where `low(x1) < low(x)`, but for a layer's noise; low(x)
is the same in every query, low(x1) is uniform and new. So up to one threshold per unit the client
knows how likely a hidden value was one larger, and a regression of the answers on that gives the
weights behind (docs/security.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

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
from moiety.runtime.program import Linear, Rounding, Step, Truncate
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.onnx_models import ModelBuilder
from tests.support.two_party import run_two_party

HIDDEN, OUTPUTS = 16, 4
TOGETHER = 60
"""Queries of one run."""

SWEEPS = 8
"""Of the thresholds, all of them each time."""


# --- the network, and what is true of it ----------------------------------------------------------


def network(folder: Path, rounding: Rounding) -> tuple[Compiled, F32]:
    """16 hidden units and 4 outputs, whose answers lie within 10 as logits do; and an image."""
    builder = ModelBuilder((1, 3, 4, 4), seed=3)
    flat = builder.op("Flatten", "x")
    hidden = builder.op("Relu", builder.gemm(flat, 48, HIDDEN))
    builder.op("Mul", builder.gemm(hidden, HIDDEN, OUTPUTS), builder.constant(4, np.float32))
    onnx.save(builder.model(), folder / "model.onnx")
    images = np.random.default_rng(5).normal(size=(24, 3, 4, 4)).astype(np.float32)
    options = CompileOptions(PlanOptions(rounding=rounding))
    return compile_model(folder / "model.onnx", images, options), images[0]


@dataclass(frozen=True, eq=False)
class Truth:
    """Of the units that are active for the image (`active`, their numbers): `weights` float64
    `(units, OUTPUTS)`, by how many of its last places each output grows for one of the unit's.
    """

    active: I64
    weights: F64


def truth(compiled: Compiled, image: F32) -> Truth:
    """What the vendor alone can know."""
    program = compiled.program
    values: dict[int, I64] = {}
    executor = CleartextExecutor(program, compiled.weights, np.random.default_rng(0))
    executor.run_integers(image, values.__setitem__)
    hidden, last = linear_steps(compiled)
    last_shift = compiled.report.layers[1].shift
    x = values[hidden].ravel() / 2.0 ** dropped(compiled)
    active = np.flatnonzero(x >= 1)
    weight = compiled.weights.by_step(program)[last]["weight"].reshape(OUTPUTS, HIDDEN)
    return Truth(active, weight.T[active] / 2.0**last_shift)


def dropped(compiled: Compiled) -> int:
    """Bits that the truncation after the hidden layer drops; the Program says it."""
    steps = compiled.program.steps
    return next(step.shift for step in steps if isinstance(step, Truncate))


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
    shift = dropped(compiled)
    low = ring.reduce(np.concatenate(shares).reshape(queries, HIDDEN), shift)
    return Notes(answers, low / 2.0**shift)


# --- and makes of it ------------------------------------------------------------------------------

THRESHOLDS = np.arange(64) / 64
"""That are tried for what is dropped of a hidden value."""

NOISE = 0.04
"""Standard deviation of a layer's noise, as a part of the result's last place; the one that leaves
the least unexplained.
"""


def steps(levels: int) -> F64:
    """`[t, k]`: how often a value of which THRESHOLDS[t] is dropped is rounded up when the client's
    share is `k / levels`, but for a constant; float64 `(thresholds, levels)`.
    """
    shares = np.arange(levels) / levels
    ahead = THRESHOLDS[:, None] - shares + 1 / (2 * levels)
    return np.asarray(
        sum(np.vectorize(NormalDist(0, NOISE).cdf)(ahead + whole) for whole in (-1, 0, 1, 2))
    )


def estimate(notes: Notes, levels: int) -> F64:
    """The responses of the answers to every unit's rounding up, float64 `(HIDDEN, OUTPUTS)`, by
    least squares: thresholds one after the other, each against what the others leave unexplained,
    then all responses together.
    """
    answers = notes.answers - notes.answers.mean(axis=0)
    places = np.rint(notes.faults * levels).astype(int)
    chances = steps(levels)[:, places]  # (thresholds, queries, HIDDEN)
    chances -= chances.mean(axis=1, keepdims=True)
    spread = (chances**2).sum(axis=1) + 1e-9
    ups, weights = chances[0].copy(), np.zeros((HIDDEN, OUTPUTS))
    for _ in range(SWEEPS):
        for unit in range(HIDDEN):
            others = np.delete(ups, unit, axis=1) @ np.delete(weights, unit, axis=0)
            fits = ((chances[:, :, unit] @ (answers - others)) ** 2).sum(axis=1)
            ups[:, unit] = chances[np.argmax(fits / spread[:, unit]), :, unit]
            weights = np.linalg.lstsq(ups, answers, rcond=None)[0]
    return weights


# --- the experiment -------------------------------------------------------------------------------


def relative_error(found: F64, true: F64) -> float:
    return float(np.linalg.norm(found - true) / np.linalg.norm(true))


@pytest.mark.parametrize(("queries", "error"), [(300, 0.15), (1200, 0.075)])
def test_stochastic_rounding_gives_the_last_layer_away(
    queries: int, error: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the median to 7 and to 4 %."""
    compiled, image = network(tmp_path, "stochastic")
    known = truth(compiled, image)
    assert len(known.active) >= HIDDEN // 4
    found = estimate(ask(compiled, image, queries, monkeypatch), 1 << dropped(compiled))
    assert relative_error(found[known.active], known.weights) < error


def test_exact_rounding_gives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, image = network(tmp_path, "exact")
    notes = ask(compiled, image, 300, monkeypatch)
    assert notes.faults.std() > 0.25  # its shares are as random as ever
    assert (notes.answers == notes.answers[0]).all()
    assert not estimate(notes, 1 << dropped(compiled)).any()
