"""The hospital's side of a cohort whose scores stay shared, and a small Program that keeps them."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from moiety.protocols.aggregate.auroc import Sums, auroc_of
from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.aggregate.quorum import Quorum
from moiety.protocols.arrays import F32, U8
from moiety.runtime import program as ir
from moiety.runtime.party.client import Connection
from moiety.runtime.party.cohorts import AggregateResult, Kept
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.policy import Policy
from moiety.runtime.program.weights import Weights, commit
from tests.support.cohorts import sums_of
from tests.support.programs import random_weights, small_program
from tests.support.runnable import runnable

LABELS = 3
LEAST = Quorum(5, 5)
BATCH = 8
POLICY = Policy(reveal="aggregate", positives=5, negatives=5, images=60, cohorts=3)


def keeping(policy: Policy = POLICY) -> tuple[ir.Program, Weights]:
    """The small Program, whose three scores stay shared."""
    program = runnable(msgspec.structs.replace(small_program(), policy=policy))
    return commit(program, random_weights(program, np.random.default_rng(5)).tensors)


@dataclass
class Study:
    """The hospital's side of a cohort: images, some of them twice, labels, and what is kept."""

    images: F32
    marks: U8
    cohort: str
    kept: list[Kept]

    @classmethod
    def of(cls, count: int) -> Study:
        rng = np.random.default_rng(count)
        images = rng.normal(size=(count, 2, 8, 8)).astype(np.float32)
        images[count // 2 :: 5] = images[0]
        marks = rng.integers(0, 3, (LABELS, count)).astype(np.uint8)
        marks[-1] = np.where(np.cumsum(marks[-1] == POSITIVE) < LEAST.positives, marks[-1], 0)
        return cls(images, marks, secrets.token_hex(16), [])

    def run(self, connection: Connection, count: int) -> None:
        """The next so many images."""
        while count:
            begin = len(self.kept)
            size = next(each for each in connection.sizes if each <= count)
            cases = list(self.images[begin : begin + size])
            self.kept += connection.keep_batch(cases, self.cohort)[0]
            count -= size

    def aggregate(self, connection: Connection, **changes: Any) -> tuple[AggregateResult, ...]:
        given = {
            "cohort": self.cohort,
            "runs": [each.run for each in self.kept],
            "shares": np.array([each.share for each in self.kept], np.uint64),
            "positives": self.marks.T[: len(self.kept)] == POSITIVE,
            "negatives": self.marks.T[: len(self.kept)] == NEGATIVE,
        }
        return connection.aggregate(**(given | changes))

    def expected(self, program: ir.Program, weights: Weights) -> list[AggregateResult]:
        cleartext = CleartextExecutor(program, weights)
        (index,) = program.outputs
        scores = np.stack([cleartext.run_integers(image)[index] for image in self.images], axis=1)
        told = sums_of(scores, self.marks, LEAST)
        return [
            self._expected(label, sums, row)
            for label, (sums, row) in enumerate(zip(told, self.marks, strict=True))
        ]

    @staticmethod
    def _expected(label: int, sums: Sums | None, marks: U8) -> AggregateResult:
        m, k = (int(np.sum(marks == mark)) for mark in (POSITIVE, NEGATIVE))
        if sums is None:
            return AggregateResult(f"output {label}", m, k, None, None)
        found = auroc_of(sums, m, k)
        error = math.sqrt(found.variance)
        return AggregateResult(f"output {label}", m, k, float(found.area), error)
