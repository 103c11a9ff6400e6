"""What a compilation writes: Programs, Weights, hints, ranges."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import safetensors.numpy

from moiety.compiler.planning import ranges
from moiety.compiler.planning.ranges import Ranges
from moiety.protocols.errors import BadInput
from moiety.runtime import program as ir
from moiety.runtime.cli import program_tables
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.party.executor import ClientExecutor
from moiety.runtime.party.hints import HintFile
from moiety.runtime.program import Program, artifacts
from moiety.runtime.program.expression.axes import Arg, Normalise, Reduce, Top
from moiety.runtime.program.expression.elementwise import Binary, Constant, Unary, Where
from moiety.runtime.program.expression.expression import Expression
from moiety.runtime.program.expression.layout import Expand
from moiety.runtime.program.weights import Weights
from tests.fuzz.mutation import of_bytes, of_json
from tests.fuzz.target import Target, laid, scratch
from tests.fuzz.targets.pictures import png
from tests.support.programs import clinical_program, counted, largest, products, small_program
from tests.support.runnable import runnable, save, small

# --- Program --------------------------------------------------------------------------------------


def run_program(data: bytes) -> None:
    """All that a hospital does with a Program before it connects: looks at it, plans a run, prices
    it, prepares an image for it, and computes results from what would be revealed.
    """
    program = Program.load(laid("model.moiety", data))
    for _ in program_tables.summary_rows(program):
        pass
    ClientExecutor(program)
    image_cost(program)
    with contextlib.suppress(BadInput):  # the picture need not fit
        load(laid("picture.png", png()), Reader.of(program))
    program.compute({at: np.ones(step.shape, np.int64) for at, step in program.outputs.items()})


def program_seeds() -> Iterator[bytes]:
    yield runnable(small_program("exact")).encode()
    yield runnable(small_program("stochastic")).encode()
    yield products().encode()
    yield counted(3).encode()
    yield largest().encode()
    yield runnable(_of_pictures()).encode()
    yield _expressive().encode()


def _of_pictures() -> Program:
    """Of a picture and a vector."""
    plain = ir.Preprocessing(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))
    return clinical_program(preprocessing=plain)


def _expressive() -> Program:
    """Its results are computed by an expression of several kinds of operations."""
    operations = (
        Normalise(inputs=(0,), function="softmax", axis=1),
        Arg(inputs=(1,), function="max", axis=1),
        Constant(shape=(1, 1), values=(0.5,)),
        Expand(inputs=(3,), shape=(1, 3)),
        Binary(inputs=(1, 4), function="greater"),
        Where(inputs=(5, 1, 4)),
        Unary(inputs=(6,), function="sqrt"),
        Top(inputs=(7,), part="values", axis=1, count=2),
        Reduce(inputs=(8,), function="mean", axes=(1,)),
    )
    results = tuple(ir.Result(name=f"r{value}", value=value) for value in (1, 2, 5, 9))
    return msgspec.structs.replace(
        runnable(small_program()), expression=Expression(operations=operations, results=results)
    )


PROGRAM = Target("program", run_program, program_seeds, of_json, longest=1 << 15)

# --- Weights --------------------------------------------------------------------------------------

DIGEST = b"@program" * 8
"""Stands in inputs where a file has the Program's digest, which differs from run to run; as long as
one.
"""


@cache
def _compiled() -> tuple[Program, Path]:
    """A Program, and its Weights' file."""
    folder = scratch() / "compiled"
    program, weights = small()
    save(folder, program, weights)
    return program, artifacts.weights_file(folder)


def run_weights(data: bytes) -> None:
    program, _ = _compiled()
    data = data.replace(DIGEST, program.digest().encode())
    Weights.load(laid("weights.safetensors", data), program)


def weights_seeds() -> Iterator[bytes]:
    program, path = _compiled()
    yield path.read_bytes().replace(program.digest().encode(), DIGEST)


def of_safetensors(data: bytes, rng: random.Random) -> bytes:
    """The header is JSON behind its length."""
    (length,) = struct.unpack_from("<Q", data)
    header, body = data[8 : 8 + length], data[8 + length :]
    if rng.randrange(4) == 0:
        return data[: 8 + length] + of_bytes(body, rng)
    made = of_json(header, rng)
    return struct.pack("<Q", len(made)) + made + body


WEIGHTS = Target("weights", run_weights, weights_seeds, of_safetensors)

# --- hints ----------------------------------------------------------------------------------------

TIES = ("1" * 64, "2" * 64, "3" * 64)


def run_hints(data: bytes) -> None:
    """A file that does not fit is not used; nothing is raised."""
    HintFile(laid("hints.safetensors", data), *TIES).load()


def hint_seeds() -> Iterator[bytes]:
    made = {index: np.arange(24, dtype=np.uint32).reshape(2, 3, 4) for index in (1, 5)}
    path = scratch() / "made.safetensors"
    HintFile(path, *TIES).save(made)
    yield path.read_bytes()


HINTS = Target("hints", run_hints, hint_seeds, of_safetensors, longest=1 << 12)

# --- ranges ---------------------------------------------------------------------------------------


def run_ranges(data: bytes) -> None:
    found = Ranges.load(laid("ranges.safetensors", data))
    with contextlib.suppress(BadInput):
        found.check_spread()
        found.bias_responses("p", 4)


def range_seeds() -> Iterator[bytes]:
    tensors = {
        f"{kind}.{value}": np.arange(4.0) * (kind not in ("low", "second_low"))
        for kind in (*ranges.KINDS, *ranges.RESPONSES)
        for value in ("x", "p")
    }
    metadata = {"format": ranges.FORMAT, "version": ranges.VERSION, "images": "3"}
    yield safetensors.numpy.save(tensors, metadata)
    yield safetensors.numpy.save({}, metadata)


RANGES = Target("ranges", run_ranges, range_seeds, of_safetensors, longest=1 << 13)
