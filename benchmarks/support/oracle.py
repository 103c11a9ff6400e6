"""What must come out of a secure run: the cleartext executor's outputs, exactly or within the
spread of its stochastic roundings, and the declared bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.support import harness
from moiety.protocols.arrays import F64
from moiety.protocols.ot.generators import NEVER_SILENT, Mixed
from moiety.runtime.cost import traffic
from moiety.runtime.cost.prepared import prepared_run
from moiety.runtime.program import Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.record import ImageResult, Results

BYTES = ("bytes_sent", "bytes_received")
SIGMAS = 8.0
"""A stochastic result may be this many standard deviations from the simulated mean."""


@dataclass(frozen=True)
class Expected:
    """What the cleartext executor says of each output, in order: mean logits, how far a secure one
    may be from them; and the overflows of one run.
    """

    mean: list[F64]
    tolerance: list[F64]
    overflows: int

    def require(self, logits: Sequence[npt.ArrayLike], of: str) -> float:
        """The largest difference of a logit from the mean. Raises `VerificationFailed` where one is
        larger than it may be.
        """
        worst = 0.0
        for number, (found, mean, tolerance) in enumerate(
            zip(logits, self.mean, self.tolerance, strict=True)
        ):
            difference = np.abs(np.asarray(found).ravel() - mean)
            wrong = int(np.count_nonzero(~(difference <= tolerance)))
            harness.require(
                wrong == 0,
                f"{of}, output {number}: {wrong} of {mean.size} logits differ from the cleartext "
                f"executor, by up to {difference.max():.3g} where {tolerance.max():.3g} is allowed",
            )
            worst = max(worst, float(difference.max()))
        return worst


def simulate(
    program: Program, weights: Weights, tensor: npt.ArrayLike, simulations: int, seed: int
) -> Expected:
    """One run of the executor for an exact Program (tolerance 0), several for a stochastic one."""
    exact = program.rounding == "exact"
    executor = CleartextExecutor(program, weights, None if exact else np.random.default_rng(seed))
    runs = [executor.run_integers(tensor) for _ in range(1 if exact else max(2, simulations))]
    mean, tolerance = [], []
    for index, step in program.outputs.items():
        logits = np.stack([run[index].ravel() * step.scale for run in runs])
        mean.append(logits.mean(axis=0))
        # Outputs of one layer have much the same spread, and together they say more about it than a
        # few runs of one.
        spread = (
            0.0
            if exact
            else SIGMAS * float(np.sqrt(logits.var(axis=0, ddof=1).mean())) + 2 * step.scale
        )
        tolerance.append(np.full(logits.shape[1], spread))
    return Expected(mean, tolerance, sum(executor.overflows.values()) // len(runs))


def verify(program: Program, expected: Sequence[Expected], results: Results) -> list[float]:
    """All images of one connection, and what is expected of each. Raises `VerificationFailed`;
    returns, per image, the largest difference of a logit from the executor's (mean).
    """
    generator = Mixed(NEVER_SILENT if results.silent_from is None else results.silent_from)
    for run in runs(results):
        cost = traffic.run_cost(program, len(run))
        if run[0].prepared_item is not None:
            cost = prepared_run(program, len(run)).online
        declared = cost.on(generator)
        up, down = (sum(getattr(image, way) for image in run) for way in BYTES)
        harness.require(
            (up, down) == (declared.up, declared.down),
            f"{up} bytes up and {down} down, declared are {declared.up} and {declared.down}",
        )
    return [
        one.require(
            [each.values for each in image.revealed],
            f"{image.file}, {program.rounding} rounding",
        )
        for one, image in zip(expected, results.images, strict=True)
    ]


def runs(results: Results) -> Iterator[Sequence[ImageResult]]:
    """The images that went through one run together."""
    start = 0
    while start < len(results.images):
        end = start + results.images[start].batch
        yield results.images[start:end]
        start = end
