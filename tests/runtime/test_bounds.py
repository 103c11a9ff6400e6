"""What a stranger's file may make a party allocate: predicted from shapes, refused before, with the
size, the limit and how to raise it.
"""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from moiety.compiler.onnx_import.load import import_onnx
from moiety.protocols.arrays import U8
from moiety.protocols.errors import BadArtifact, BadInput, BadModel
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import open_session
from moiety.runtime import program as ir
from moiety.runtime.cli.app import app
from moiety.runtime.cost.memory import preparing_memory, run_memory
from moiety.runtime.intake.dicom import read_dicom
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.resampling import resample
from moiety.runtime.party.client import Client
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.program.bounds import DEFAULT, VARIABLE, in_words, memory_limit
from moiety.runtime.program.program import MAX_TILES
from moiety.runtime.program.weights import Weights, commit
from tests.fuzz.target import room
from tests.support.dicom import radiograph, saved
from tests.support.onnx_models import ModelBuilder, build_model
from tests.support.programs import make_program, random_weights, rlwe_plan
from tests.support.runnable import small
from tests.support.two_party import channel_pair, run_both

TOLD = rf"would take about .* GiB of memory, and the limit is 2 GiB; .*{VARIABLE}=\d+G"


@pytest.fixture(autouse=True)
def _default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_the_limit_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_limit() == DEFAULT == 2 * 1024**3
    for said, meant in (("8G", 8 << 30), ("512MiB", 512 << 20), (" 3K ", 3 << 10), ("77", 77)):
        monkeypatch.setenv(VARIABLE, said)
        assert memory_limit() == meant
    for said in ("0", "-1", "8X", "1e9", "a lot", "1" * 50):
        monkeypatch.setenv(VARIABLE, said)
        with pytest.raises(BadInput, match=f"{VARIABLE}=.* is no size; write for example"):
            memory_limit()


def test_sizes_in_words() -> None:
    assert [in_words(n) for n in (0, 999, 3 << 20, 3 << 40)] == [
        "0 bytes",
        "999 bytes",
        "3 MiB",
        "3 TiB",
    ]


# --- Programs -------------------------------------------------------------------------------------


def padded(size: int) -> ir.Program:
    """A pixel that becomes a large map."""
    return make_program(
        ir.Input(inputs=(), shape=(1, 1, 1), bits=26, scale=1.0, value_bits=10),
        ir.Pad(
            inputs=(0,),
            shape=(1, size, size),
            bits=26,
            pads=((0, 0), (0, size - 1), (0, size - 1)),
        ),
        ir.SumPool(
            inputs=(1,),
            shape=(1, 1, 1),
            bits=26,
            kernel=(size, size),
            strides=(size, size),
            pads=(0, 0, 0, 0),
        ),
    )


def test_a_program_of_a_kilobyte_cannot_take_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = padded(1 << 14).encode()
    assert len(data) < 1000
    with room(256 << 20):
        program = ir.Program.decode(data)
        with pytest.raises(BadArtifact, match=f"an image's run of the Program 'test' {TOLD}"):
            ClientExecutor(program)
        monkeypatch.setenv(VARIABLE, "64G")
        ClientExecutor(program)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect",),
        ("inspect", "--html", "program.html"),
        ("infer", "no-such-image.png"),
        ("evaluate", "no-such-list.csv", "-o", "study"),
    ],
    ids=" ".join,
)
def test_a_command_refuses_a_program_of_gigabytes_before_anything_else(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither images nor the server are looked for."""
    monkeypatch.chdir(tmp_path)
    padded(1 << 14).save(tmp_path / "model.moiety")
    command, *others = arguments
    with room(256 << 20):
        error = CliRunner().invoke(app, [command, "model.moiety", *others]).exception
    assert isinstance(error, BadArtifact)
    assert re.search(TOLD, str(error))
    assert [path.name for path in tmp_path.iterdir()] == ["model.moiety"]


def test_a_server_refuses_to_prepare_what_it_may_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    program, weights = small()
    monkeypatch.setenv(VARIABLE, "1K")
    with pytest.raises(BadArtifact, match=r"run of the Program .* and the limit is 1 KiB"):
        ServerExecutor(program, weights)


def test_a_client_refuses_it_before_it_connects() -> None:
    with pytest.raises(BadArtifact, match=TOLD):
        Client(padded(1 << 14)).connect("nowhere.invalid", 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "no-such.moiety"),
        ("infer", "no-such.moiety", "x.png"),
        ("serve", "no-such-folder"),
        ("simulate", "no-such-folder", "x.png"),
        ("compile", "no-such.onnx", "--calibration", "x", "-o", "out"),
        ("receive", "--calling", "A", "-o", "out"),
    ],
    ids=" ".join,
)
def test_a_limit_that_is_no_size_is_said_before_anything_is_done(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "8X")
    runner = CliRunner()
    error = runner.invoke(app, arguments).exception
    assert isinstance(error, BadInput)
    assert str(error) == f"{VARIABLE}='8X' is no size; write for example {VARIABLE}=8G"
    assert not [*tmp_path.iterdir()]
    assert runner.invoke(app, [arguments[0], "--help"]).exit_code == 0


def test_what_is_exchanged_counts_too() -> None:
    """A squaring of 2^23 elements: its shares are small, its correlations are not."""
    shape = (1, 1 << 11, 1 << 12)
    program = make_program(
        ir.Input(inputs=(), shape=shape, bits=16, scale=1.0, value_bits=10),
        ir.Square(inputs=(0,), shape=shape, bits=40),
    )
    with room(256 << 20), pytest.raises(BadArtifact, match=TOLD):
        ClientExecutor(program)


def test_a_plan_of_millions_of_tiles_is_refused_before_it_is_made() -> None:
    size = 1 << 13
    shape = (1, size, size)
    program = make_program(
        ir.Input(inputs=(), shape=shape, bits=26, scale=1.0, value_bits=10),
        ir.Linear(
            inputs=(0,),
            shape=shape,
            bits=28,
            weight_bits=8,
            guard=2,
            kernel=(3, 3),
            pads=(1, 1, 1, 1),
            rlwe=rlwe_plan(26),
        ),
        ir.Truncate(inputs=(1,), shape=shape, bits=16, shift=12, rounding="exact"),
    )
    with room(64 << 20), pytest.raises(BadArtifact, match=f"67108864 tiles; at most {MAX_TILES}"):
        ir.Program.decode(program.encode())


SHAPE = (1, 256, 256)


def relu() -> ir.Program:
    return make_program(
        ir.Input(inputs=(), shape=SHAPE, bits=26, scale=1.0, value_bits=10),
        ir.Relu(inputs=(0,), shape=SHAPE, bits=26, affine=False),
    )


def square() -> ir.Program:
    return make_program(
        ir.Input(inputs=(), shape=SHAPE, bits=16, scale=1.0, value_bits=10),
        ir.Square(inputs=(0,), shape=SHAPE, bits=40),
    )


def transposed() -> ir.Program:
    return make_program(
        ir.Input(inputs=(), shape=SHAPE, bits=26, scale=1.0, value_bits=10),
        ir.Transpose(inputs=(0,), shape=SHAPE, bits=26, perm=(0, 2, 1)),
        ir.Add(inputs=(0, 1), shape=SHAPE, bits=26, signs=(1, 1)),
    )


def deep() -> ir.Program:
    """Many layers, of which a run holds one at a time, and a preparation something of each."""
    shape = (1, 64, 64)
    plan = msgspec.structs.replace(rlwe_plan(28), degree=8192, tile=shape[1:])
    steps: list[ir.AnyStep] = [ir.Input(inputs=(), shape=shape, bits=26, scale=1.0, value_bits=10)]
    for at in range(0, 16, 2):
        steps += [
            ir.Linear(
                inputs=(at,),
                shape=shape,
                bits=28,
                weight_bits=8,
                guard=2,
                kernel=(1, 1),
                pads=(0, 0, 0, 0),
                rlwe=plan,
            ),
            ir.Truncate(inputs=(at + 1,), shape=shape, bits=26, shift=2, rounding="exact"),
        ]
    return make_program(*steps)


def without_weights(program: ir.Program) -> tuple[ir.Program, Weights]:
    return commit(program, random_weights(program, np.random.default_rng(1)).tensors)


MODELS: dict[str, Callable[[], tuple[ir.Program, Weights]]] = {
    "relu": lambda: without_weights(relu()),
    "square": lambda: without_weights(square()),
    "local": lambda: without_weights(transposed()),
    "deep": lambda: without_weights(deep()),
    "small": small,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_run_stays_below_what_was_predicted(name: str) -> None:
    """Both parties together below twice the bound of one; and the bound is no wild guess."""
    program, peak = peak_of(
        name,
        lambda server, session: server.run(session),
        lambda client, session: client.run(
            session, np.zeros(client.program.input.shape, np.float32)
        ),
    )
    predicted = run_memory(program)
    assert peak <= 2 * predicted, (peak, predicted)
    assert predicted <= 8 * peak


@pytest.mark.parametrize("name", MODELS)
def test_a_preparation_stays_below_what_was_predicted(name: str) -> None:
    """The same; of many layers it takes more than the run."""
    program, peak = peak_of(
        name,
        lambda server, session: server.prepare_item(session, Nowhere()),
        lambda client, session: client.prepare_item(session, Nowhere()),
    )
    predicted = preparing_memory(program)
    assert peak <= 2 * predicted, (peak, predicted)
    assert predicted <= 8 * peak
    if name == "deep":
        assert peak > 2 * run_memory(program)


def test_a_client_refuses_to_prepare_what_takes_more_than_it_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = deep()
    monkeypatch.setenv(VARIABLE, str(preparing_memory(program) - 1))
    client = ClientExecutor(program)
    with pytest.raises(BadArtifact, match=r"preparing an image's run of .* would take"):
        client.check_preparing()
    monkeypatch.setenv(VARIABLE, str(preparing_memory(program)))
    client.check_preparing()


class Nowhere:
    """A `Sink`."""

    def write(self, name: str, data: U8) -> None:
        """Keeps nothing."""


def peak_of(
    name: str,
    served: Callable[[ServerExecutor, Session], object],
    asked: Callable[[ClientExecutor, Session], object],
) -> tuple[ir.Program, int]:
    """A model, and bytes of what both parties together allocate for this."""
    program, weights = MODELS[name]()
    server, client = ServerExecutor(program, weights), ClientExecutor(program)
    server.prepare()
    ends = channel_pair()
    sessions = run_both(
        lambda: open_session(Role.SERVER, ends[0]),
        lambda: open_session(Role.CLIENT, ends[1]),
        (_Open(ends[0]), _Open(ends[1])),  # type: ignore[arg-type]
    )
    tracemalloc.start()
    try:
        run_both(lambda: served(server, sessions[0]), lambda: asked(client, sessions[1]), ends)
        return program, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class _Open:
    """A channel that the end of a session's set-up does not close."""

    def __init__(self, channel: object) -> None:
        self.channel = channel

    def close(self) -> None:
        """Not yet."""


# --- pictures -------------------------------------------------------------------------------------

READER = Reader((1, 8, 8), ir.Preprocessing(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,)))


def test_a_png_of_a_hundred_bytes_cannot_take_gigabytes(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    path = tmp_path / "large.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )
    with room(256 << 20), pytest.raises(BadInput, match=f"a picture of 9000 x 9000 pixels {TOLD}"):
        load(path, READER)


@pytest.mark.parametrize("interpolation", ["area", "box", "bilinear", "bicubic"])
def test_a_strip_cannot_take_gigabytes_of_weights(interpolation: Any) -> None:
    """Within what a picture may take: 32 MiB of pixels, for which 224 rows of weights are 8 GiB."""
    strip = np.zeros((1 << 22, 8), np.uint8)
    with room(256 << 20), pytest.raises(BadInput, match=f"resizing 4194304 pixels in a .*{TOLD}"):
        resample(strip, (224, 8), interpolation, "none")


def test_a_dicom_header_cannot_take_gigabytes(tmp_path: Path) -> None:
    path = saved(radiograph(Rows=6000, Columns=7000), tmp_path / "large.dcm")
    with room(256 << 20), pytest.raises(BadInput, match=f"a picture of 7000 x 6000 pixels {TOLD}"):
        read_dicom(path)


# --- ONNX -----------------------------------------------------------------------------------------


def constant_of_shape(b: ModelBuilder) -> str:
    return b.op("Add", "x", b.op("ConstantOfShape", b.ints(1, 1, 1 << 16, 1 << 16)))


def expanded(b: ModelBuilder) -> str:
    ones = b.constant([[1.0]], np.float32)
    return b.op("Add", "x", b.op("Expand", ones, b.ints(1 << 16, 1 << 16)))


def counted(b: ModelBuilder) -> str:
    numbers = b.op("Range", *(b.constant(n, np.int64) for n in (0, 1 << 34, 1)))
    return b.op("Add", "x", b.op("Cast", numbers, to=onnx.TensorProto.FLOAT))


def feature_map(b: ModelBuilder) -> str:
    wide = b.op("Pad", b.conv("x", 1, 1, 1), b.ints(0, 0, 0, 0, 0, 0, 10_000, 10_000))
    return b.op("GlobalAveragePool", wide)


def framed(b: ModelBuilder) -> str:
    ones = b.constant(1.0, np.float32)
    return b.op("GlobalAveragePool", b.op("Pad", "x", b.ints(0, 0, 0, 0, 0, 0, 9000, 9000), ones))


def many_constants(b: ModelBuilder) -> str:
    sizes = [b.op("ConstantOfShape", b.ints(1, 1 << 24)) for _ in range(64)]
    return b.op("Add", "x", b.op("Size", b.op("Concat", *sizes, axis=0)))


def many_maps(b: ModelBuilder) -> str:
    x = b.op("Resize", "x", "", b.constant([1, 1, 224, 224], np.float32), mode="nearest")
    maps = [b.op("Relu", x) for _ in range(64)]
    for other in maps[1:]:
        maps[0] = b.op("Add", maps[0], other)
    return maps[0]


def running_sum(b: ModelBuilder) -> str:
    tall = b.op("Reshape", b.op("Tile", "x", b.ints(1, 1, 16, 16)), b.ints(1, 1, -1, 1))
    return b.op("CumSum", tall, b.constant(2, np.int64))


def long_windows(b: ModelBuilder) -> str:
    long = b.op("Resize", "x", "", b.constant([1, 1, 1 << 14, 1], np.float32), mode="nearest")
    return b.op("AveragePool", long, kernel_shape=[1 << 14, 1])


def large_map(b: ModelBuilder) -> str:
    return b.op("Resize", "x", "", b.constant([1, 1, 1 << 23, 1], np.float32), mode="linear")


def many_matrices(b: ModelBuilder) -> str:
    rows = b.op("Reshape", b.op("Tile", "x", b.ints(1, 1 << 14, 1, 1)), b.ints(1, 1 << 20, 1, 1))
    weight = b.op("Expand", b.constant([[[1.0]]], np.float32), b.ints(2, 1, 1 << 10))
    return b.op("MatMul", b.op("Reshape", rows, b.ints(1, 1 << 19, 2, 1, 1)), weight)


@pytest.mark.parametrize(
    "build",
    [
        constant_of_shape,
        expanded,
        counted,
        feature_map,
        framed,
        many_maps,
        running_sum,
        long_windows,
        large_map,
        many_matrices,
    ],
)
def test_a_model_of_a_kilobyte_cannot_take_gigabytes(build: Callable[[ModelBuilder], str]) -> None:
    model = build_model([1, 1, 8, 8], build, opset=18)
    assert len(model.SerializeToString()) < 10_000
    with room(512 << 20), pytest.raises(BadModel, match=TOLD):
        import_onnx(model)


def test_constants_are_weighed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "512M")
    model = build_model([1, 1, 8, 8], many_constants)
    with room(1 << 30), pytest.raises(BadModel, match=r"would take .* limit is 512 MiB"):
        import_onnx(model)
