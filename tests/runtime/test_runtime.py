"""Both executors on one Program: against the cleartext executor, against the declared costs; and
the server's ways with its clients.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadArtifact, BadPlan, NetworkFailure, PeerMismatch
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.cost import traffic as costing
from moiety.runtime.party import client
from moiety.runtime.party import handshake as wire
from moiety.runtime.party import transport as tcp
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.server import Server, ServerOptions, Summary
from moiety.runtime.program import folder as artifacts
from moiety.runtime.program.cleartext import Executor
from moiety.runtime.program.layers import kind_of, linear_specs
from moiety.runtime.program.weights import Weights
from tests.support.programs import make_program, random_weights
from tests.support.runnable import save, save_images, small
from tests.support.two_party import Outcome, run_two_party


def run_once(program: ir.Program, weights: Weights, image: Any) -> Outcome:
    server = ServerExecutor(program, weights)
    server.prepare()
    return run_two_party(server.run, lambda session: ClientExecutor(program).run(session, image))


def test_exact_run_equals_the_cleartext_executor_bit_for_bit() -> None:
    program, weights = small("exact")
    image = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    expected = Executor(program, weights).run_integers(image)
    assert [o.integers.tolist() for o in outputs] == [
        values.tolist() for values in expected.values()
    ]
    assert np.ptp(outputs[0].integers) > 0


def test_stochastic_run_stays_in_the_cleartext_executors_range() -> None:
    program, weights = small("stochastic")
    image = np.random.default_rng(1).normal(size=(2, 8, 8)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    samples = np.stack(
        [
            next(
                iter(
                    Executor(program, weights, np.random.default_rng(i))
                    .run_integers(image)
                    .values()
                )
            )
            for i in range(200)
        ]
    )
    spread = np.ptp(samples, axis=0) + 2
    assert np.all(abs(outputs[0].integers - samples.mean(axis=0)) <= spread)


@pytest.mark.parametrize("rounding", ["exact", "stochastic"])
def test_declared_costs_equal_the_metered_ones(rounding: ir.Rounding) -> None:
    program, weights = small(rounding)
    run = run_once(program, weights, np.zeros((2, 8, 8), np.float32))
    _, cost = run.client
    declared = costing.step_costs(program)
    for step, metered, formula in zip(program.steps, cost.steps, declared, strict=True):
        assert (metered.sent, metered.received) == (formula.up, formula.down), kind_of(step)
    total = costing.image_cost(program)
    assert (cost.total.sent, cost.total.received) == (total.up, total.down)
    assert (run.server.total.received, run.server.total.sent) == (total.up, total.down)
    # The set-up's last flight is the server's; an image begins with the client's.
    assert cost.total.flights == total.rounds


def test_costs_are_recorded_per_kind_and_labelled_per_layer() -> None:
    program, weights = small()
    run = run_once(program, weights, np.zeros((2, 8, 8), np.float32))
    _, cost = run.client
    assert set(cost.by_kind) == {kind_of(step) for step in program.steps} | {"keys"}
    assert sum(c.sent for c in cost.by_kind.values()) == cost.total.sent
    labels = run.channels[1].meter.by_label
    assert labels["linear/1/"].sent == cost.steps[1].sent
    assert cost.peak_rss > 1 << 20


LOCAL = {
    "reduce": (ir.Reduce(inputs=(1,), shape=(4, 6, 6), bits=9),),
    "add": (ir.Add(inputs=(1, 0, 1), shape=(4, 6, 6), bits=16, signs=(1, -1, 1)),),
    "concat": (ir.Concat(inputs=(1, 0), shape=(4, 12, 6), bits=16, axis=1),),
    "slice": (
        ir.Slice(
            inputs=(1,),
            shape=(2, 3, 2),
            bits=16,
            starts=(1, 0, 1),
            stops=(4, 6, 4),
            strides=(2, 2, 2),
        ),
    ),
    "reshape": (ir.Reshape(inputs=(1,), shape=(9, 16), bits=16),),
    "transpose": (ir.Transpose(inputs=(1,), shape=(6, 4, 6), bits=16, perm=(2, 0, 1)),),
    "pad": (ir.Pad(inputs=(1,), shape=(5, 6, 9), bits=16, pads=((1, 0), (0, 0), (1, 2))),),
    "sumpool": (
        ir.SumPool(
            inputs=(1,), shape=(4, 3, 2), bits=16, kernel=(3, 2), strides=(2, 3), pads=(1, 0, 1, 0)
        ),
    ),
    "addconst": (ir.AddConst(inputs=(1,), shape=(4, 6, 6), bits=16),),
}


@pytest.mark.parametrize("kind", LOCAL)
def test_local_step(kind: str) -> None:
    front = (
        ir.Input(inputs=(), shape=(4, 6, 6), bits=16, scale=1.0),
        ir.AddConst(inputs=(0,), shape=(4, 6, 6), bits=16),
    )
    program = make_program(*front, *LOCAL[kind])
    weights = random_weights(program, np.random.default_rng(2))
    image = np.random.default_rng(3).integers(-900, 900, (4, 6, 6)).astype(np.float32)
    outputs, _ = run_once(program, weights, image).client
    (expected,) = Executor(program, weights).run_integers(image).values()
    assert np.array_equal(outputs[0].integers, expected)


def test_shared_gates() -> None:
    """One tensor compared with three secret thresholds at once; two of the answers
    open a ReLU each, one flipped.
    """
    shape, count = (4, 6, 6), 3
    thresholds = np.array([[0, 50, -70, 300], [-20, 0, 5, -5], [7, 8, 9, -900]])
    steps: list[ir.AnyStep] = [
        ir.Input(inputs=(), shape=shape, bits=14, scale=1.0),
        ir.Gates(inputs=(0,), shape=(count, *shape), bits=1),
    ]
    weights: dict[str, Any] = {"gates.1.threshold": thresholds}
    for which in (0, 2):
        at = len(steps)
        window = {"starts": (which, 0, 0, 0), "stops": (which + 1, *shape), "strides": (1, 1, 1, 1)}
        steps.append(ir.Slice(inputs=(1,), shape=(1, *shape), bits=1, **window))
        steps.append(ir.Reshape(inputs=(at,), shape=shape, bits=1))
        steps.append(ir.Relu(inputs=(0, at + 1), shape=shape, bits=20, affine=True))
        weights |= {
            f"relu.{at + 2}.threshold": thresholds[which],
            f"relu.{at + 2}.flip": np.array([0, which // 2, 0, 1], np.uint8),
        }
    steps.append(ir.Concat(inputs=(4, 7), shape=(8, 6, 6), bits=20, axis=0))
    program = make_program(*steps)
    image = np.random.default_rng(3).integers(-900, 900, shape).astype(np.float32)
    run = run_once(program, Weights(weights), image)
    outputs, cost = run.client
    (expected,) = Executor(program, Weights(weights)).run_integers(image).values()
    assert np.array_equal(outputs[0].integers, expected)
    total = costing.image_cost(program)
    assert (cost.total.sent, cost.total.received, cost.total.flights) == (
        total.up,
        total.down,
        total.rounds,
    )


@pytest.mark.parametrize("postprocess", ["none", "sigmoid", "softmax"])
def test_outputs_carry_logits_and_values(postprocess: Any) -> None:
    steps = (
        ir.Input(inputs=(), shape=(3,), bits=16, scale=0.25),
        ir.Output(
            inputs=(0,),
            shape=(3,),
            bits=16,
            scale=0.25,
            name="y",
            postprocess=postprocess,
            labels=("a", "b", "c"),
        ),
    )
    program = ir.Program(
        name="identity", rounding="exact", preprocessing=None, steps=steps, disclosed=()
    )
    outputs, _ = run_once(program, Weights({}), np.array([-1.5, 0.25, 3.0], np.float32)).client
    (output,) = outputs
    assert output.logits.tolist() == [-1.5, 0.25, 3.0]
    assert output.labels == ("a", "b", "c")
    assert output.values.tolist() == ir.dequantise_output(steps[1], output.integers).tolist()


def test_client_refuses_a_program_whose_layers_would_not_be_secure() -> None:
    program, _ = small()
    index, step = next((i, s) for i, s in enumerate(program.steps) if isinstance(s, ir.Linear))
    weak = msgspec.structs.replace(step, rlwe=msgspec.structs.replace(step.rlwe, flood_bits=1))
    steps = (*program.steps[:index], weak, *program.steps[index + 1 :])
    with pytest.raises(BadPlan, match="flooding"):
        ClientExecutor(msgspec.structs.replace(program, steps=steps))


def test_every_layer_has_its_own_polynomials() -> None:
    program, _ = small()
    assert (
        len(linear_specs(program))
        == sum(isinstance(step, ir.Linear) for step in program.steps)
        == 3
    )


# --- server and client over TCP -------------------------------------------------------------------


class Running:
    """A server in a thread of this process, and how to reach it."""

    def __init__(self, executor: ServerExecutor, options: ServerOptions) -> None:
        self.listener = tcp.listen(
            "127.0.0.1", 0, tcp.Limits(silence=5, patience=30, keepalive=0.5)
        )
        self.server = Server(executor, self.listener, options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self.server:
            self.server.run()

    def connect(self) -> tcp.TcpChannel:
        return tcp.connect(
            "127.0.0.1",
            self.listener.port,
            limits=tcp.Limits(silence=10, patience=60, keepalive=0.5),
        )

    def end(self) -> Summary:
        self.server.stop()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.server.summary


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    made = ServerExecutor(*small())
    made.prepare()
    return made


@pytest.fixture
def serve(executor: ServerExecutor) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(executor, ServerOptions(**options)))
        return started[-1]

    yield start
    for running in started:
        running.end()


def test_many_images_and_sequential_clients(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve(max_clients=2)
    files = save_images(tmp_path, 2)
    for _ in range(2):
        results = client.run_images(running.connect(), executor.program, files, tmp_path / "r.json")
        assert results.complete
        cleartext = Executor(executor.program, executor.weights)
        for file, image in zip(files, results.images, strict=True):
            (expected,) = cleartext.run(np.load(file)).values()
            assert image.outputs[0].values == expected.tolist()
            assert image.server.seconds > 0
    summary = running.end()
    assert (summary.clients, summary.images, summary.failed_clients, summary.refused) == (
        2,
        4,
        0,
        0,
    )


def test_results_file(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve()
    (file,) = save_images(tmp_path, 1)
    client.run_images(running.connect(), executor.program, [file], tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["program"] == executor.program.digest()
    assert written["complete"] is True
    assert written["images"][0]["file"] == str(file)
    cost = costing.image_cost(executor.program)
    assert (written["images"][0]["bytes_sent"], written["images"][0]["bytes_received"]) == (
        cost.up,
        cost.down,
    )
    assert written["wire_bytes_sent"] > written["bytes_sent"] >= cost.up
    assert (
        msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=client.Results)
        .images[0]
        .outputs[0]
        .name
        == "out"
    )


def test_second_client_waits_its_turn(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    running = serve()
    first = client.join(running.connect(), executor.program)
    waited: list[int] = []
    finished = threading.Event()
    (file,) = save_images(tmp_path, 1)

    def second() -> None:
        client.run_images(
            running.connect(),
            executor.program,
            [file],
            tmp_path / "second.json",
            on_wait=waited.append,
        )
        finished.set()

    thread = threading.Thread(target=second)
    thread.start()
    until = time.monotonic() + 10
    while not waited and time.monotonic() < until:
        time.sleep(0.02)
    assert waited == [1]
    assert not finished.is_set()
    first.infer(np.load(file))
    first.channel.close()
    thread.join(timeout=30)
    assert finished.is_set()


def test_a_full_queue_refuses_politely(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    running = serve(waiting=0)
    first = client.join(running.connect(), executor.program)
    with pytest.raises(NetworkFailure, match="the server is busy"):
        client.join(running.connect(), executor.program)
    first.channel.close()


def test_waiting_client_is_sent_away_when_the_server_stops(
    serve: Callable[..., Running], executor: ServerExecutor
) -> None:
    running = serve()
    first = client.join(running.connect(), executor.program)
    channel = running.connect()
    with pytest.raises(NetworkFailure, match="shutting down"):
        client.join(channel, executor.program, on_wait=lambda ahead: running.server.stop())
    first.channel.abort()


@pytest.mark.parametrize(
    "dies", ["after the handshake", "while waiting", "in the middle of an inference"]
)
def test_server_survives_a_client_that_vanishes(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path, dies: str
) -> None:
    running = serve()
    if dies == "after the handshake":
        client.shake_hands((channel := running.connect()), executor.program, lambda ahead: None)
        channel.abort()
    elif dies == "while waiting":
        first = client.join(running.connect(), executor.program)
        channel = running.connect()
        wire.send(channel, wire.hello(client.Role.CLIENT, executor.program))
        wire.receive(channel, wire.Hello)
        wire.receive(channel, wire.Waiting)
        channel.abort()
        first.channel.close()
    else:
        connection = client.join(running.connect(), executor.program)

        def stop_half_way(done: int, total: int, what: str) -> None:
            if done > total // 2:
                connection.channel.abort()

        with pytest.raises(NetworkFailure):
            connection.infer(np.zeros((2, 8, 8), np.float32), stop_half_way)
    files = save_images(tmp_path, 1)
    assert client.run_images(
        running.connect(), executor.program, files, tmp_path / "r.json"
    ).complete
    summary = running.end()
    assert (summary.images, summary.failed_clients) == (1, 1)


def test_client_keeps_finished_results_when_the_server_dies(
    executor: ServerExecutor, tmp_path: Path
) -> None:
    """The server's machine goes away in the middle of the second of three images."""
    running = Running(executor, ServerOptions())
    channels: list[tcp.TcpChannel] = []
    original = running.server._serve

    def remember(channel: tcp.TcpChannel) -> None:
        channels.append(channel)
        original(channel)

    running.server._serve = remember  # type: ignore[method-assign]
    done: list[client.ImageResult] = []

    def kill_in_second_image(step: int, total: int, what: str) -> None:
        if done and step == total // 2:
            channels[0].abort()

    with pytest.raises(NetworkFailure):
        client.run_images(
            running.connect(),
            executor.program,
            save_images(tmp_path, 3),
            tmp_path / "r.json",
            on_image=done.append,
            progress=kill_in_second_image,
        )
    written = json.loads((tmp_path / "r.json").read_text())
    assert len(written["images"]) == 1
    assert written["complete"] is False
    assert written["error"]
    running.end()


def test_internal_failure_ends_one_session_and_tells_no_secret(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = serve()
    files = save_images(tmp_path, 1)

    def broken(session: Session, **options: object) -> None:
        raise ValueError("weight 123 is odd")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "moiety.server"):
        patch.setattr(executor, "run", broken)
        with pytest.raises(NetworkFailure, match="internal failure at the server") as caught:
            client.run_images(running.connect(), executor.program, files, tmp_path / "r.json")
    assert "123" not in str(caught.value)
    assert "weight 123" in caplog.text
    assert client.run_images(
        running.connect(), executor.program, files, tmp_path / "r.json"
    ).complete


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 64,
        b"",
        b"MOI\x02\x02\x00\x00\x00{}",
        b"MOI\x02\x05\x00\x00\x00hello",
        b"MOI\x01\xff\xff\xff\xff",
    ],
)
def test_server_survives_garbage(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    garbage: bytes,
) -> None:
    import socket

    running = serve()
    with caplog.at_level(logging.WARNING, "moiety.server"):
        with socket.create_connection(("127.0.0.1", running.listener.port)) as sock:
            sock.sendall(garbage)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(5)
                while sock.recv(100):
                    pass
        files = save_images(tmp_path, 1)
        assert client.run_images(
            running.connect(), executor.program, files, tmp_path / "r.json"
        ).complete
    assert len([r for r in caplog.records if "dropped before the handshake" in r.message]) == 1


def test_slow_handshake_is_dropped_and_delays_nobody(
    serve: Callable[..., Running], executor: ServerExecutor, tmp_path: Path
) -> None:
    import socket

    running = serve(handshake_seconds=0.5)
    with socket.create_connection(("127.0.0.1", running.listener.port)) as slow:
        slow.sendall(b"MOI")
        files = save_images(tmp_path, 1)
        assert client.run_images(
            running.connect(), executor.program, files, tmp_path / "r.json"
        ).complete
        slow.settimeout(5)
        assert slow.recv(1) == b""
    assert running.end().refused == 1


def test_those_who_wait_are_reminded_and_those_who_left_forgotten(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = serve(waiting=1, reminder_seconds=0.1)
    first = client.join(running.connect(), executor.program)
    second = running.connect()
    wire.send(second, wire.hello(client.Role.CLIENT, executor.program))
    wire.receive(second, wire.Hello)
    assert [wire.receive(second, wire.Waiting).ahead for _ in range(3)] == [1, 1, 1]
    with caplog.at_level(logging.INFO, "moiety.server"):
        second.abort()
        until = time.monotonic() + 10
        while "left while waiting" not in caplog.text and time.monotonic() < until:
            time.sleep(0.02)
    # Its place is free again.
    waited = threading.Event()
    thread = threading.Thread(
        target=lambda: client.run_images(
            running.connect(),
            executor.program,
            save_images(tmp_path, 1),
            tmp_path / "r.json",
            lambda ahead: waited.set(),
        )
    )
    thread.start()
    assert waited.wait(timeout=10)
    first.channel.close()
    thread.join(timeout=30)
    assert json.loads((tmp_path / "r.json").read_text())["complete"]


def test_earlier_results_survive_a_run_that_computes_nothing(
    serve: Callable[..., Running], tmp_path: Path, executor: ServerExecutor
) -> None:
    running = serve()
    (tmp_path / "r.json").write_text("earlier")
    with pytest.raises(PeerMismatch):
        client.run_images(
            running.connect(), other_program(), save_images(tmp_path, 1), tmp_path / "r.json"
        )
    assert (tmp_path / "r.json").read_text() == "earlier"


def test_clients_that_come_while_the_server_prepares_wait(
    executor: ServerExecutor, tmp_path: Path
) -> None:
    listener = tcp.listen("127.0.0.1", 0)
    waited, finished = threading.Event(), threading.Event()
    files = save_images(tmp_path, 1)

    def early() -> None:
        channel = tcp.connect("127.0.0.1", listener.port)
        client.run_images(
            channel,
            executor.program,
            files,
            tmp_path / "r.json",
            on_wait=lambda ahead: waited.set(),
        )
        finished.set()

    server = Server(executor, listener, ServerOptions(max_clients=1))
    with server:
        threading.Thread(target=early, daemon=True).start()
        assert waited.wait(timeout=10)
        server.run()
    assert finished.wait(timeout=10)


# --- handshake ------------------------------------------------------------------------------------


def other_program() -> ir.Program:
    program, _ = small(name="another")
    return program


def test_different_programs_are_refused_on_both_sides(
    serve: Callable[..., Running],
    executor: ServerExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = serve()
    with caplog.at_level(logging.WARNING, "moiety.server"), pytest.raises(PeerMismatch) as caught:
        client.join(running.connect(), other_program())
    assert executor.program.digest()[:16] in str(caught.value)
    assert other_program().digest()[:16] in str(caught.value)
    assert "public folder" in str(caught.value)
    until = time.monotonic() + 5
    while "refused" not in caplog.text and time.monotonic() < until:
        time.sleep(0.02)
    assert "the two sides differ in the Program" in caplog.text


MISMATCHES = {
    "protocol version": {"protocol": 99},
    "package version": {"package": "9.9"},
    "the parameter 'vole'": {"cryptography": {**wire.CRYPTOGRAPHY, "vole": "other"}},
    "the parameter 'new'": {"cryptography": {**wire.CRYPTOGRAPHY, "new": "x"}},
    "the Program": {"program": "00" * 32},
    "rounding": {"rounding": "stochastic"},
}


@pytest.mark.parametrize("what", MISMATCHES)
@pytest.mark.parametrize("role", list(client.Role))
def test_every_field_of_the_handshake_is_compared(what: str, role: client.Role) -> None:
    program, _ = small()
    ours, theirs = wire.hello(role, program), wire.hello(client.Role(1 - role), program)
    wire.compare(ours, theirs)
    with pytest.raises(PeerMismatch, match=f"differ in {what}"):
        wire.compare(ours, msgspec.structs.replace(theirs, **MISMATCHES[what]))


def test_two_of_a_kind_do_not_talk() -> None:
    hello = wire.hello(client.Role.CLIENT, other_program())
    with pytest.raises(PeerMismatch, match="both sides are the client"):
        wire.compare(hello, hello)


def test_peer_text_cannot_forge_log_lines() -> None:
    program, _ = small()
    ours, theirs = wire.hello(client.Role.SERVER, program), wire.hello(client.Role.CLIENT, program)
    forged = msgspec.structs.replace(
        theirs, package="1\n2026-01-01 INFO all is well \x1b[2J" + "x" * 1000
    )
    with pytest.raises(PeerMismatch) as caught:
        wire.compare(ours, forged)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


# --- artifacts ------------------------------------------------------------------------------------


def test_artifacts_round_trip(tmp_path: Path) -> None:
    program, weights = small()
    save(tmp_path / "compiled", program, weights)
    loaded, tensors = artifacts.load_vendor(tmp_path / "compiled")
    assert loaded == program
    assert all(
        np.array_equal(tensors.tensors[name], array) for name, array in weights.tensors.items()
    )
    for place in ("compiled", "compiled/public", "compiled/public/program.json"):
        assert artifacts.load_program(tmp_path / place) == program


def test_missing_artifacts(tmp_path: Path) -> None:
    with pytest.raises(BadArtifact, match="no such folder"):
        artifacts.load_program(tmp_path / "nowhere")
    with pytest.raises(BadArtifact, match=r"no program\.json"):
        artifacts.load_program(tmp_path)
    program, weights = small()
    save(tmp_path, program, weights)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(BadArtifact, match=r"no weights\.safetensors"):
        artifacts.load_vendor(tmp_path)


def test_peak_memory_is_this_processs_own() -> None:
    """A parent that has used 300 MB starts a child that has not."""
    import subprocess
    import sys

    held = np.ones(300_000_000, np.uint8)
    code = "from moiety.runtime.party.executor import peak_rss; print(peak_rss())"
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert 10_000_000 < int(child.stdout) < held.nbytes
