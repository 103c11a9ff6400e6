"""Everything a user, a network or a peer can get wrong: one clear message, the right exit
code, and a server that goes on.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from moiety.protocols.errors import (
    BadArtifact,
    BadInput,
    BadModel,
    BadPlan,
    NetworkFailure,
    PeerMismatch,
)
from moiety.runtime.party.client import Client
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.program.artifacts import load_program, program_file, weights_file
from tests.support.command import Compiled, Done, ServerProcess, many_images, moiety, serving
from tests.support.nets import small_densenet
from tests.support.runnable import save_small


@pytest.fixture(scope="module")
def server(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the whole file: it must survive all of it."""
    with serving(compiled.folder) as running:
        yield running
        done = running.infer(
            compiled.public,
            compiled.pictures / "0.png",
            "-o",
            tmp_path_factory.mktemp("last") / "r.json",
        )
        done.check()
        running.end().check()


@pytest.fixture
def copy(compiled: Compiled, tmp_path: Path) -> Path:
    """The compiled folder, to be damaged."""
    return Path(shutil.copytree(compiled.folder, tmp_path / "copy"))


# --- compile --------------------------------------------------------------------------------------


def conv_model(weight: Any, op: str = "Relu", size: Any = 8) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c"], ["y"], name="second"),
    ]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, size, size])
    graph = helper.make_graph(
        nodes,
        "bad",
        [image],
        [result],
        [numpy_helper.from_array(np.asarray(weight, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ordinary_weight() -> np.ndarray[Any, Any]:
    return np.ones((2, 3, 3, 3), np.float32)


def not_a_number() -> np.ndarray[Any, Any]:
    weight = ordinary_weight()
    weight[0, 1, 2, 0] = np.nan
    return weight


MODELS: dict[str, tuple[Callable[[], bytes], int, tuple[str, ...]]] = {
    "truncated": (
        lambda: small_densenet().SerializeToString()[:3000],
        BadModel.exit_code,
        ("truncated",),
    ),
    "foreign": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(100), BadModel.exit_code, ("no ONNX model",)),
    "empty": (lambda: b"", BadModel.exit_code, ("no ONNX model",)),
    "NaN weights": (
        lambda: conv_model(not_a_number()).SerializeToString(),
        BadModel.exit_code,
        ("NaN", "w"),
    ),
    "unsupported op": (
        lambda: conv_model(ordinary_weight(), op="Hardmax").SerializeToString(),
        BadModel.exit_code,
        ("Hardmax", "second"),
    ),
    "dynamic shape": (
        lambda: conv_model(ordinary_weight(), size="S").SerializeToString(),
        BadModel.exit_code,
        ("input-shape",),
    ),
}


@pytest.mark.parametrize("what", MODELS)
def test_model_that_cannot_be_compiled(what: str, compiled: Compiled, tmp_path: Path) -> None:
    make, code, messages = MODELS[what]
    (tmp_path / "m.onnx").write_bytes(make())
    done = moiety(
        "compile", tmp_path / "m.onnx", "--calibration", compiled.pictures, "-o", tmp_path / "out"
    )
    done.refused(code, *messages)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--calibration", "absent"), BadInput.exit_code, "absent does not exist"),
        (("--calibration", "{folder}"), BadInput.exit_code, "no image in the folder"),
        (("--calibration", "{ranges}"), BadArtifact.exit_code, "ranges"),
        (("--weight-bits", 99), BadPlan.exit_code, "weight bits"),
        (("--bits", 41), BadPlan.exit_code, "scale"),
        (("--pipeline", "fold-everything"), BadInput.exit_code, "no pass 'fold-everything'"),
        (("--dump-after", "nothing"), BadInput.exit_code, "'nothing' is not in the pipeline"),
        (("--mean", "1,2"), BadInput.exit_code, "--mean: "),
        (("--labels", "one,two"), BadInput.exit_code, "--labels: 2 of them, for an output"),
        (("--input-shape", "3,99,99"), BadInput.exit_code, "99"),
    ],
)
def test_compile_options_that_make_no_sense(
    compiled: Compiled, tmp_path: Path, arguments: tuple[Any, ...], code: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "r.safetensors").write_bytes(b"nothing")
    given = [
        str(a).format(folder=tmp_path / "empty", ranges=tmp_path / "r.safetensors")
        for a in arguments
    ]
    if "--calibration" not in given:
        given += ["--calibration", str(compiled.pictures)]
    done = moiety("compile", compiled.model, "-o", tmp_path / "out", *given)
    done.refused(code, message)


def test_compile_into_a_file(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = moiety(
        "compile", compiled.model, "--calibration", compiled.pictures, "-o", tmp_path / "file"
    )
    done.refused(BadInput.exit_code, "file")


@pytest.mark.parametrize(
    "options",
    [("--save-ranges", "{file}/ranges"), ("--dump-after", "all", "--dump-folder", "{file}")],
)
def test_what_compile_writes_beside_cannot_be_written(
    options: tuple[str, ...], compiled: Compiled, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    given = [option.format(file=tmp_path / "file") for option in options]
    calibration = ("--calibration", compiled.pictures, "--activation-bits", 12)
    done = moiety("compile", compiled.model, *calibration, "-o", tmp_path / "out", *given)
    done.refused(BadInput.exit_code, "cannot write", str(tmp_path / "file"))


# --- images ---------------------------------------------------------------------------------------


def test_wrong_images(server: ServerProcess, compiled: Compiled, tmp_path: Path) -> None:
    np.save(tmp_path / "size.npy", np.zeros((3, 20, 16), np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 16, 16), np.nan, np.float32))
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "scan.dcm").write_bytes(b"DICM")
    Image.new("L", (2, 2)).save(tmp_path / "tiny.png")
    whole = (compiled.pictures / "0.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, message in {
        "size.npy": "(3, 20, 16)",
        "nan.npy": "NaN",
        "text.png": "not a picture or tensor",
        "scan.dcm": "DICOM",
        "tiny.png": "too few",
        "half.png": "damaged picture",
        "absent.png": "does not exist",
    }.items():
        # A good image first: the bad one must be found before anything is sent.
        done = server.infer(
            compiled.public, compiled.pictures / "0.png", tmp_path / name, "-o", tmp_path / "r.json"
        )
        done.refused(BadInput.exit_code, name, message)
    assert not (tmp_path / "r.json").exists()


def test_results_that_cannot_be_written(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    done = server.infer(
        compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "no" / "such" / "r.json"
    )
    done.refused(BadInput.exit_code, "cannot write the results")


# --- artifacts ------------------------------------------------------------------------------------


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


PROGRAMS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (shorten, "not a Moiety Program"),
    "not JSON": (lambda path: path.write_bytes(b"\x00\x01"), "not a Moiety Program"),
    "foreign": (
        lambda path: path.write_text('{"format":"other","version":1}'),
        "not a Moiety Program",
    ),
    "newer": (lambda path: edit(path, lambda d: d.update(version=99)), "version 99"),
    "unknown field": (lambda path: edit(path, lambda d: d.update(code="import os")), "damaged"),
    "shape that does not follow": (
        lambda path: edit(path, lambda d: d["steps"][1].update(shape=[1, 1, 1])),
        "step 1",
    ),
    "forward reference": (
        lambda path: edit(path, lambda d: d["steps"][1].update(inputs=[7])),
        "step 1",
    ),
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_corrupt_program(
    what: str, server: ServerProcess, compiled: Compiled, copy: Path, tmp_path: Path
) -> None:
    damage, message = PROGRAMS[what]
    program = program_file(copy)
    damage(program)
    done = server.infer(program, compiled.pictures / "0.png", "-o", tmp_path / "r.json")
    done.refused(BadArtifact.exit_code, program.name, message)


def test_corrupt_weights(copy: Path, tmp_path: Path) -> None:
    weights = weights_file(copy)
    whole = weights.read_bytes()
    for data, message in {
        whole[:-100]: "damaged",
        b"": "damaged",
        b"\xff" * 100: "damaged",
    }.items():
        weights.write_bytes(data)
        moiety("serve", copy, "--listen", "127.0.0.1:0").refused(
            BadArtifact.exit_code, "weights.safetensors", message
        )
    save_small(tmp_path / "other")
    shutil.copy(weights_file(tmp_path / "other"), weights)
    moiety("serve", copy, "--listen", "127.0.0.1:0").refused(
        BadArtifact.exit_code, "belongs to the Program"
    )
    weights.unlink()
    moiety("serve", copy, "--listen", "127.0.0.1:0").refused(
        BadArtifact.exit_code, "no vendor/weights.safetensors"
    )


def test_folders_that_are_not_compiled_models(tmp_path: Path, compiled: Compiled) -> None:
    for command in (
        ("inspect", tmp_path),
        ("serve", tmp_path),
        ("infer", tmp_path, compiled.pictures),
        ("simulate", tmp_path, compiled.pictures),
    ):
        moiety(*command).refused(BadArtifact.exit_code, str(tmp_path), "no .moiety file")
    shutil.copy(compiled.public, tmp_path)
    moiety("serve", tmp_path).refused(BadArtifact.exit_code, "needs the whole folder")


def test_simulate_with_a_negative_seed(compiled: Compiled) -> None:
    done = moiety("simulate", compiled.folder, compiled.pictures, "--seed", "-1")
    assert done.code == 2  # a misuse of options, which typer words
    assert "--seed" in done.stderr
    assert "Traceback" not in done.stderr


def test_simulate_with_another_model(compiled: Compiled, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    done = moiety(
        "simulate", compiled.folder, compiled.pictures, "--model", tmp_path / "broken.onnx"
    )
    done.refused(BadModel.exit_code, "broken.onnx")


# --- network --------------------------------------------------------------------------------------


def test_peers_with_different_programs(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    save_small(tmp_path / "other")
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8), np.float32))
    done = server.infer(tmp_path / "other", tmp_path / "x.npy", "-o", tmp_path / "r.json")
    ours, theirs = (load_program(each).digest() for each in (tmp_path / "other", compiled.folder))
    done.refused(PeerMismatch.exit_code, "the Program", ours[:16], theirs[:16], "the file that")
    wait_for(
        lambda: any("refused: the two sides differ in the Program" in line for line in server.log)
    )


def infer_from(address: str, compiled: Compiled, tmp_path: Path) -> Done:
    """A client of whatever there is at `address`."""
    where = ("--connect", address, "-o", tmp_path / "r.json")
    return moiety("infer", compiled.public, compiled.pictures / "0.png", *where)


def test_nobody_listens(compiled: Compiled, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = infer_from(f"127.0.0.1:{port}", compiled, tmp_path)
    done.refused(NetworkFailure.exit_code, "connection refused", "moiety serve")


def test_wrong_addresses(compiled: Compiled, server: ServerProcess, tmp_path: Path) -> None:
    for address in ("localhost", "localhost:http", "1.2.3.4:99999"):
        done = infer_from(address, compiled, tmp_path)
        done.refused(BadInput.exit_code, "is not an address")
    moiety("serve", compiled.folder, "--listen", server.address).refused(
        NetworkFailure.exit_code, "cannot listen"
    )


def test_server_that_speaks_something_else(compiled: Compiled, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def web_server() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=web_server)
        thread.start()
        port = listener.getsockname()[1]
        done = infer_from(f"127.0.0.1:{port}", compiled, tmp_path)
        thread.join()
    done.refused(NetworkFailure.exit_code, "does not speak this protocol", "HTTP")


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 5000, bytes(range(256)), b""]
)
def test_garbage_on_the_socket(
    server: ServerProcess, compiled: Compiled, tmp_path: Path, garbage: bytes
) -> None:
    def dropped() -> int:
        return sum("dropped before the handshake" in line for line in server.log)

    before = dropped()
    host, port = parse_address(server.address)
    with socket.create_connection((host, port)) as sock:
        sock.sendall(garbage)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(100):
                pass
    wait_for(lambda: dropped() > before)
    server.infer(compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "r.json").check()
    assert dropped() == before + 1


def test_client_that_dies_in_the_middle(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    before = len(server.log)
    process = many_images(server, compiled, tmp_path / "r.json")
    process.kill()
    process.wait()
    wait_for(lambda: any("ended early" in line for line in server.log[before:]))
    server.infer(
        compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "again.json"
    ).check()


SHUTTING_DOWN = "the peer ended the connection: the server is shutting down"


def test_server_that_dies_in_the_middle(compiled: Compiled, tmp_path: Path) -> None:
    """Its sessions, processes of their own, outlive it for as long as it takes to say so."""
    with serving(compiled.folder) as server:
        process = many_images(server, compiled, tmp_path / "r.json")
        server.process.kill()
        assert process.stderr is not None
        message = process.stderr.read()
        assert process.wait(timeout=30) == NetworkFailure.exit_code
    assert "error: " in message
    assert "closed the connection" in message or "the server is shutting down" in message
    assert "their results are in" in message
    assert "Traceback" not in message
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["images"]
    assert results["complete"] is False
    assert results["error"] in message


def test_server_that_is_stopped_tells_its_client(compiled: Compiled, tmp_path: Path) -> None:
    with serving(compiled.folder) as server:
        process = many_images(server, compiled, tmp_path / "r.json")
        server.end().check()
        assert process.stderr is not None
        message = process.stderr.read()
        assert process.wait(timeout=30) == NetworkFailure.exit_code
    assert "the server is shutting down" in message


def test_two_clients_at_once(server: ServerProcess, compiled: Compiled, tmp_path: Path) -> None:
    """The second one says that it waits, and gets its result when the first one is done."""
    host, port = parse_address(server.address)
    first = Client(load_program(compiled.public)).connect(host, port)
    second = server.start_infer(compiled.public, compiled.pictures, tmp_path / "r.json")
    assert second.stderr is not None
    assert second.stderr.readline() == "the server is busy, waiting: 1 ahead\n"
    first.close()
    second.stderr.read()
    assert second.wait(timeout=30) == 0
    assert json.loads((tmp_path / "r.json").read_text())["complete"]


def test_a_full_queue_refuses(compiled: Compiled, tmp_path: Path) -> None:
    with serving(compiled.folder, "--waiting", 0) as server:
        host, port = parse_address(server.address)
        first = Client(load_program(compiled.public)).connect(host, port)
        done = server.infer(compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "r.json")
        done.refused(NetworkFailure.exit_code, "the server is busy", "try again later")
        first.close()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)
