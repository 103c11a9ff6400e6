"""`with Server...`: a server in a process of its own, and what becomes of it."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from moiety.protocols.errors import BadPlan, ContractViolation, NetworkFailure
from moiety.runtime import CleartextExecutor, Client, Listener, Server
from moiety.runtime.party.executor import ServerExecutor
from tests.support.runnable import small


@pytest.fixture
def server() -> Server:
    return Server.of(*small(), Listener.at("127.0.0.1", 0))


def test_both_parties_in_one_program(server: Server) -> None:
    """Two clients, one after the other, exact; then nobody listens and no process is left."""
    program, weights = server.executor.program, server.executor.weights
    image = np.random.default_rng(0).normal(size=program.input.shape).astype(np.float32)
    expected = CleartextExecutor(program, weights).run(image)
    client = Client(program)
    with server:
        assert server._background is not None
        pid = server._background.child.pid
        for _ in range(2):
            with client.connect("127.0.0.1", server.port) as connection:
                (result,), _, _ = connection.infer(image)
                assert (result.values == expected[result.name]).all()
    with pytest.raises(NetworkFailure):
        client.connect("127.0.0.1", server.port)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_an_error_of_the_block_ends_it_too(server: Server) -> None:
    with pytest.raises(KeyError), server:
        raise KeyError
    assert server._background is not None
    with pytest.raises(ProcessLookupError):
        os.kill(server._background.child.pid, 0)


def test_what_ended_it_is_raised(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client hears that the line is gone; the block, why."""

    def fail(executor: ServerExecutor) -> None:
        raise BadPlan("no room for it")

    monkeypatch.setattr(ServerExecutor, "prepare", fail)
    with pytest.raises(BadPlan, match="no room for it") as raised, server:
        Client(server.executor.program).connect("127.0.0.1", server.port)
    assert isinstance(raised.value.__context__, NetworkFailure)


def test_a_killed_server_is_missed(server: Server) -> None:
    server.__enter__()
    assert server._background is not None
    server._background.child.signal(signal.SIGKILL)
    with pytest.raises(ContractViolation, match="killed by SIGKILL"):
        server.__exit__()
