"""`small_program` with lattice parameters that really decrypt, saved as `moiety compile` would save
it: the runtime's tests need no compiler.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.parameters import fit, q_primes
from moiety.runtime import program as ir
from moiety.runtime.program import artifacts
from moiety.runtime.program.steps.linear import Shape3
from moiety.runtime.program.weights import Weights, commit
from tests.support.programs import products, random_weights, small_program

DEGREE = 4096


def runnable(program: ir.Program) -> ir.Program:
    """The same Program with one channel per ciphertext, one filter per answer, and a noise budget
    that `fit` computed.
    """
    steps = []
    for step in program.steps:
        if isinstance(step, ir.Linear):
            in_shape = cast(Shape3, program.steps[step.inputs[0]].shape)
            geometry = Geometry(
                in_shape,
                cast(Shape3, step.shape),
                step.kernel,
                step.pads,
                step.dilations,
                step.groups,
            )
            primes = q_primes(50, DEGREE)
            noise = geometry.noise(DEGREE, step.weight_bits, 1)
            answer_bits = fit(math.log2(math.prod(primes)), step.operand_bits, step.guard, noise)
            assert answer_bits is not None
            plan = msgspec.structs.replace(
                step.rlwe,
                degree=DEGREE,
                primes=primes,
                tile=step.shape[1:],
                answer_bits=answer_bits,
            )
            step = msgspec.structs.replace(step, rlwe=plan)
        steps.append(step)
    return msgspec.structs.replace(program, steps=tuple(steps))


def small(rounding: ir.Rounding = "exact", name: str = "small") -> tuple[ir.Program, Weights]:
    """A Program with a step of almost every kind, input (2, 8, 8) floats, and random Weights."""
    program = runnable(msgspec.structs.replace(small_program(rounding), name=name))
    return commit(program, random_weights(program, np.random.default_rng(5)).tensors)


def multiplying() -> tuple[ir.Program, Weights]:
    """Products and squares, with no weight at all; input (6, 4, 4)."""
    return commit(products(), {})


def save(folder: Path, program: ir.Program, weights: Weights) -> None:
    """The folder's layout of runtime/program/artifacts."""
    (folder / artifacts.VENDOR).mkdir(parents=True, exist_ok=True)
    weights.save(artifacts.weights_file(folder), program)
    program.save(folder / artifacts.file_name(program))


def save_small(
    folder: Path, rounding: ir.Rounding = "exact", name: str = "small"
) -> tuple[ir.Program, Weights]:
    program, weights = small(rounding, name)
    save(folder, program, weights)
    return program, weights


def save_images(folder: Path, count: int, shape: Shape3 = (2, 8, 8)) -> list[Path]:
    """Float32 NPY tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(6)
    files = [folder / f"image{i}.npy" for i in range(count)]
    for file in files:
        np.save(file, rng.normal(size=shape).astype(np.float32))
    return files
