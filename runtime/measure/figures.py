"""Measures a machine's figures (runtime/cost/machine): the kernels, at the sizes at which a
network of convolutions calls them.

Each figure is the least processor time of several runs of one thread, so other work on the
machine disturbs it little. A kernel called again and again finds its data in the caches; in a
protocol it does not. So whole comparisons and whole layers are run at the end, and the figures of
each family raised by what they took above the sum of their kernels. Inputs are public random
numbers; nothing here is a secret of anybody.
"""

from __future__ import annotations

import contextlib
import os
import platform
import queue
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from moiety.protocols import cost as costs
from moiety.protocols import kernels, ring
from moiety.protocols.channel import Channel
from moiety.protocols.compare.millionaires import join_choice, split_digits
from moiety.protocols.compare.relu import gates, relu
from moiety.protocols.errors import NetworkFailure
from moiety.protocols.linear import protocol as linear
from moiety.protocols.linear.layout import Geometry, LinearSpec
from moiety.protocols.linear.parameters import Masking, ntt_primes
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import (
    ClientKey,
    Ring,
    ServerKey,
    ciphertext_a,
    phase_primes,
    public_key_a,
)
from moiety.protocols.network import LOOPBACK
from moiety.protocols.ot import softspoken as ss
from moiety.protocols.ot.lpn import BASE_WIDTH, SMALL
from moiety.protocols.ot.silent import CODE_KEY, SilentReceiver, SilentSender
from moiety.protocols.prg import Prg
from moiety.protocols.prices import REFERENCE
from moiety.protocols.session import Role, Session
from moiety.protocols.setup import NEVER_SILENT, open_session
from moiety.runtime.cost.clock import Timeline
from moiety.runtime.cost.machine import Machine
from moiety.runtime.cost.traffic import linear_cost
from moiety.runtime.party import transport as tcp

Progress = Callable[[int, int, str], None]


@dataclass
class Bench:
    """Takes the figures. `elements`: values per call; `repeats`: runs
    of which the fastest counts.
    """

    elements: int = 1 << 17
    repeats: int = 5
    figures: dict[str, float] = field(default_factory=dict)
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def time(self, call: Callable[[], object]) -> float:
        """Nanoseconds of one call."""
        call()
        best = float("inf")
        for _ in range(self.repeats):
            start = time.thread_time_ns()
            call()
            best = min(best, time.thread_time_ns() - start)
        return best

    def per(self, figure: str, units: int, call: Callable[[], object]) -> None:
        self.figures[figure] = self.time(call) / units

    def bytes(self, *shape: int, below: int = 256) -> npt.NDArray[np.uint8]:
        return self.rng.integers(0, below, shape, np.uint8)


def calibrate(
    elements: int = 1 << 17, repeats: int = 5, progress: Progress = lambda done, of, what: None
) -> Machine:
    """All figures of this machine; less than a minute with the compiled kernels.
    Smaller arguments: sooner, noisier.
    """
    bench = Bench(elements, repeats)
    parts = (correlations, silent, transfers, passes, lattice, convolution, messages, protocols)
    with threadpool_limits(1):
        for index, part in enumerate(parts):
            progress(index, len(parts), part.__name__)
            part(bench)
    progress(len(parts), len(parts), "")
    return Machine(
        description=_description(), figures={name: bench.figures[name] for name in REFERENCE}
    )


def _description() -> dict[str, str]:
    return {
        "machine": platform.node(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernels": kernels.description(),
        "system": platform.platform(),
        "numpy": np.__version__,
        "measured": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def correlations(bench: Bench) -> None:
    """SoftSpoken: the two kernels, without the channel's part."""
    leaves, delta = bench.bytes(ss.TREES, ss.LEAVES, 16), bench.bytes(16)
    blocks = -(-bench.elements // ss.BATCH)
    n = blocks * ss.BATCH
    for k in (1, 2, 3, 4):
        *_, sent = kernels.vole_receiver(leaves, 0, k, blocks)
        bench.per(f"vole_recv_{k}", n, lambda k=k: kernels.vole_receiver(leaves, 0, k, blocks))  # type: ignore[misc]
        bench.per(
            f"vole_send_{k}",
            n,
            lambda k=k, sent=sent: kernels.vole_sender(leaves, delta, 0, k, blocks, sent),  # type: ignore[misc]
        )


class _Pipe(Channel):
    """One end of a queue pair inside this process."""

    def __init__(self, out: queue.SimpleQueue[bytes], into: queue.SimpleQueue[bytes]) -> None:
        super().__init__()
        self._out, self._in = out, into
        self._rest = b""

    def _write(self, data: memoryview) -> None:
        self._out.put(bytes(data))

    def _read(self, nbytes: int) -> bytes:
        parts, size = [self._rest], len(self._rest)
        while size < nbytes:
            parts.append(self._in.get(timeout=60))
            size += len(parts[-1])
        whole = b"".join(parts)
        self._rest = whole[nbytes:]
        return whole[:nbytes]


@dataclass
class _Base:
    """Correlations to start from, `v = w`: with u = 0 they fit any delta."""

    blocks: npt.NDArray[np.uint8]
    delta: npt.NDArray[np.uint8]

    def shift_bits(self, k: int) -> int:
        return k

    def extend(self, n: int, k: int) -> npt.NDArray[np.uint8]:
        return self.blocks[:n]


@dataclass
class _BaseReceiver:
    blocks: npt.NDArray[np.uint8]

    def shift_bits(self, k: int) -> int:
        return k

    def extend(self, n: int, k: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        return np.zeros(n, np.uint8), self.blocks[:n]


def silent(bench: Bench) -> None:
    """Whole refills of two iterations, both parties in two threads,
    each by its own thread's clock.
    """
    p, batch = SMALL, 2
    blocks, delta = bench.bytes(p.reserved, 16), bench.bytes(16)
    there: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    back: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    sender = SilentSender(_Pipe(back, there), _Base(blocks, delta), Prg.from_os())
    receiver = SilentReceiver(_Pipe(there, back), _BaseReceiver(blocks), Prg.from_os())
    rounds, n = max(2, min(bench.repeats, 4)), batch * p.released
    spent: dict[str, list[int]] = {"silent_send": [], "silent_recv": []}

    def party(figure: str, draw: Callable[[int, int], object]) -> None:
        for _ in range(rounds):
            start = time.thread_time_ns()
            draw(n, BASE_WIDTH)
            spent[figure].append(time.thread_time_ns() - start)

    thread = threading.Thread(target=party, args=("silent_send", sender.extend))
    thread.start()
    party("silent_recv", receiver.extend)
    thread.join()
    alpha, beta = np.zeros(p.trees, np.uint16), np.ones(p.trees, np.uint8)
    seeds = np.zeros(p.seeds, np.uint8)

    def nibbles(first: int, count: int) -> Callable[[], object]:
        return lambda: kernels.encode_nibbles(seeds, CODE_KEY, first, count, p.depth, alpha, beta)

    bench.per("silent_seeds", p.length, nibbles(p.released, p.reserved))
    bench.per("silent_nibbles", p.length, nibbles(0, p.released))
    outputs = batch * p.length
    early = bench.figures["silent_seeds"] + bench.figures["silent_nibbles"]
    bench.figures["silent_send"] = min(spent["silent_send"]) / outputs
    bench.figures["silent_recv"] = max(0.0, min(spent["silent_recv"]) / outputs - early)
    u = bench.bytes(bench.elements, below=16)
    bench.per("silent_cut", bench.elements, lambda: kernels.pack(u >> np.uint8(2), 2))


def transfers(bench: Bench) -> None:
    """Answers made and opened: leaves, joins, multiplexer."""
    n = bench.elements
    w, delta = bench.bytes(n, 16), bench.bytes(16)
    for k in (1, 2, 3, 4):
        shifts, choices = bench.bytes(n, below=1 << k), bench.bytes(n, below=1 << k)
        u = shifts ^ choices

        def leaf(
            count: int, k: int = k, shifts: npt.NDArray[np.uint8] = shifts
        ) -> tuple[float, npt.NDArray[np.uint8]]:
            digits = bench.bytes(count, n, below=1 << k)
            messages, _ = kernels.leaves_send(w, delta, k, 0, shifts, digits, True)
            return bench.time(
                lambda: kernels.leaves_send(w, delta, k, 0, shifts, digits, True)
            ) / n, messages

        def opened(
            count: int, messages: npt.NDArray[np.uint8], k: int = k, c=choices, u=u
        ) -> float:  # type: ignore[no-untyped-def]
            return bench.time(lambda: kernels.leaves_recv(w, k, 0, c, u, count, True, messages)) / n

        one, message = leaf(1)
        bench.figures[f"leaf_send_{k}"], bench.figures[f"leaf_recv_{k}"] = one, opened(1, message)
        (few, message_few), (many, message_many) = leaf(4), leaf(24)
        _line(bench, f"leaves_send_{k}", f"field_send_{k}", few, many)
        _line(
            bench,
            f"leaves_recv_{k}",
            f"field_recv_{k}",
            opened(4, message_few),
            opened(24, message_many),
        )
        function = bench.bytes(1 << k, below=4)
        joined, _ = kernels.join_send(w, delta, k, 0, shifts, choices, function, 2)
        bench.per(
            f"join_send_{k}",
            n,
            lambda k=k, s=shifts, c=choices, f=function: kernels.join_send(
                w, delta, k, 0, s, c, f, 2
            ),  # type: ignore[misc]
        )
        bench.per(
            f"join_recv_{k}",
            n,
            lambda k=k, c=choices, u=u, m=joined: kernels.lookup_recv(w, k, 0, c, u, 2, m),  # type: ignore[misc]
        )
    bits, out_bits = 13, 26
    x = ring.reduce(bench.rng.integers(0, 1 << 62, n, np.uint64), bits)
    bit, two = bench.bytes(n, below=2), bench.bytes(n, below=4)
    to_client, _ = kernels.mux_server(w, delta, 0, two, x, bit, bit, bits, out_bits)
    to_server, _ = kernels.mux_client(w, delta, 0, bit, x, bit, bits, out_bits)
    bench.per(
        "mux_server", n, lambda: kernels.mux_server(w, delta, 0, two, x, bit, bit, bits, out_bits)
    )
    bench.per("mux_client", n, lambda: kernels.mux_client(w, delta, 0, bit, x, bit, bits, out_bits))
    bench.per("open_1", n, lambda: kernels.arith_recv(w, 1, 0, bit, bit, out_bits, to_server))
    bench.per("open_2", n, lambda: kernels.arith_recv(w, 2, 0, two, two, out_bits, to_client))
    table = bench.rng.integers(0, 2, (n, 2), np.uint64)
    bench.per("arith_send_1", n, lambda: kernels.arith_send(w, delta, 1, 0, bit, table, bits))
    bench.per("choose", n, lambda: kernels.pack(two ^ two, 2))
    data = kernels.pack(two, 2)
    bench.per("accept", n, lambda: kernels.unpack8(data, n, 2))


def _line(bench: Bench, base: str, slope: str, few: float, many: float) -> None:
    """From the times for 4 and 24 thresholds, two fields each."""
    bench.figures[slope] = max(0.0, (many - few) / 40)
    bench.figures[base] = max(0.0, few - 8 * bench.figures[slope])


def passes(bench: Bench) -> None:
    """NumPy's part: digits, choices, masks and copies."""
    n, bits = bench.elements, 12
    x = ring.reduce(bench.rng.integers(0, 1 << 62, (1, n), np.uint64), bits)
    bench.per("digit", 3 * n, lambda: split_digits(x, (4, 4, 4)))
    group = [bench.bytes(n, below=4) for _ in range(3)]
    bench.per("join_choice", 2 * n, lambda: join_choice(group, True))
    bench.per("pass", 2 * n, lambda: ring.reduce(x + x, bits))
    bit = bench.bytes(n, below=2)
    bench.per("bit_pass", 2 * n, lambda: bit ^ bit ^ np.uint8(1))
    options = np.arange(2, dtype=np.uint8)
    bench.per("bit_table", n, lambda: (bit[:, None] ^ options).astype(np.uint64))


def lattice(bench: Bench) -> None:
    """RLWE by residue, at the ring most layers have."""
    degree, primes = 4096, ntt_primes(25, 3)
    count = max(1, bench.elements // degree)
    ring_q, prg, seed = Ring.of(degree, primes), Prg.from_os(), bytes(16)
    key = ClientKey.generate(ring_q, prg)
    residues, bits, answer_bits = len(primes) * count * degree, 26, 35
    a = ciphertext_a(ring_q, seed, 0, 0, count)
    bench.per("expand_residue", residues, lambda: ciphertext_a(ring_q, seed, 0, 0, count))
    bench.per("mask_residue", residues, lambda: key.mask(a, prg))
    public = public_key_a(ring_q, seed)
    server = ServerKey(ring_q, public, ring_q.forward(key.mask(public[:, None], prg))[:, 0])
    bench.per("zero_residue", 2 * residues, lambda: server.zeros(count, prg))
    bench.per("torus_residue", residues, lambda: ring_q.to_torus(a, answer_bits))
    x = ring.reduce(bench.rng.integers(0, 1 << 62, (count, degree), np.uint64), bits)
    bench.per("encode_residue", residues, lambda: ring_q.add(a, ring_q.encode(x, bits, prg)))
    answer = ring.reduce(bench.rng.integers(0, 1 << 62, (count, degree), np.uint64), answer_bits)
    working = phase_primes(degree, answer_bits) * count * degree
    bench.per("phase_residue", working, lambda: key.phase_product(answer, answer_bits))
    flat = answer.reshape(-1)
    bench.per("flood_residue", residues, lambda: _flooded(ring_q, a, prg))
    packed = kernels.pack(flat, answer_bits)
    both = bench.time(lambda: kernels.pack(flat, answer_bits)) + bench.time(
        lambda: kernels.unpack(packed, flat.size, answer_bits)
    )
    bench.figures["word"] = both / 2 / flat.size


def _flooded(ring_q: Ring, a: npt.NDArray[np.uint32], prg: Prg) -> object:
    size = a[0].size
    noise = kernels.flood_residues(prg.uint64(2 * size).reshape(size, 2), 60, ring_q.p)
    return ring_q.add(a, noise.reshape(a.shape))


def convolution(bench: Bench) -> None:
    """The three parts of protocols/linear/product: copied rows, matrix products, sums."""
    terms, answers, length = 128, 32, 1024
    x = bench.rng.integers(0, 1 << 25, (terms // 4, 4 * length), np.uint32)
    bench.per("row", terms * length, lambda: kernels.shifted_rows(x, 0, length, 4, length))
    rows = bench.rng.normal(size=(1, terms, length))
    factors, out = bench.rng.normal(size=(1, answers, terms)), np.empty((1, answers, length))
    bench.per("product", terms * answers * length, lambda: np.matmul(factors, rows, out=out))
    total = np.zeros_like(out)
    bench.per("sum", out.size, lambda: np.add(total, out, out=total))


def messages(bench: Bench) -> None:
    """What a byte and a message cost over TCP on this machine: all threads
    of both ends together, halved.
    """
    count, size = 40, 1 << 20
    with contextlib.closing(tcp.listen("127.0.0.1", 0)) as listener:
        host, port = tcp.parse_address(listener.address)
        near = tcp.connect(host, port)
        far = listener.accept()
    if far is None:
        raise NetworkFailure("this machine does not answer to itself at 127.0.0.1")
    with contextlib.closing(near), contextlib.closing(far):
        small = min(_exchange(near, far, 10 * count, 64) for _ in range(bench.repeats))
        large = min(_exchange(near, far, count, size) for _ in range(bench.repeats))
    message = small / (10 * count) / 2
    # A message of each exchange is made on one end and read on the other:
    # two units of work per message.
    bench.figures["message"] = message
    bench.figures["send_byte"] = bench.figures["receive_byte"] = (
        max(0.0, large / (count * size) - message / size) / 2
    )
    bench.figures["step"] = bench.time(lambda: _bookkeeping(near)) + message


def _exchange(near: Channel, far: Channel, count: int, size: int) -> float:
    """Processor nanoseconds of `count` messages there and acknowledgements back, per direction."""
    data = np.ones(
        (count, size), np.uint8
    )  # another part of memory for every message: caches are cold in a protocol

    def answer() -> None:
        for each in data:
            far.recv(size)
            far.send(each)
        far.flush()

    thread = threading.Thread(target=answer)
    start = time.process_time_ns()
    thread.start()
    for each in data:
        near.send(each)
        near.recv(size)
    thread.join()
    return (time.process_time_ns() - start) / 2


def _bookkeeping(channel: Channel) -> None:
    with channel.meter.labelled("step"):
        pass


_LATTICE = {
    "expand_residue", "mask_residue", "encode_residue", "zero_residue", "torus_residue", "phase_residue", "product",
    "row", "sum", "flood_residue", "word",
}  # fmt: skip
_APART = {"message", "step", "layer", "send_byte", "receive_byte", "silent_send", "silent_recv"}
"""Not measured kernel by kernel."""


def protocols(bench: Bench) -> None:
    """Whole protocols: what a message takes in Python, and what cold caches add
    to the kernels of each family.
    """
    bench.figures["layer"] = 0.0
    tiny = costs.relu(16, 13, 26)
    spent = _relu(bench, 16)
    sends = sum(isinstance(event, costs.Send | costs.Draw) for event in tiny.events)
    bench.figures["message"] += spent / 2 / sends
    small, layers = _layers(bench)
    bench.figures["layer"] = max(0.0, (_linear(bench, small) - _expected(bench, small)) / 2)
    comparisons = [(_relu(bench, bench.elements), costs.relu(bench.elements, 13, 26))]
    comparisons.append((_gates(bench, bench.elements, 8), costs.gates(bench.elements, 13, 8)))
    slower = sum(each for each, _ in comparisons) / sum(
        _work(bench, cost) for _, cost in comparisons
    )
    colder = sum(_linear(bench, spec) for spec in layers) / sum(
        _expected(bench, spec) for spec in layers
    )
    for name in REFERENCE:
        if name not in _APART:
            bench.figures[name] *= max(1.0, colder if name in _LATTICE else slower)


def _work(bench: Bench, cost: costs.Cost) -> float:
    """Nanoseconds of both parties by the figures so far."""
    machine = Machine(description={}, figures={name: bench.figures[name] for name in REFERENCE})
    time_ = Timeline(machine, LOOPBACK, NEVER_SILENT).run(cost, steps=0)
    return (time_.server + time_.client) * 1e9


def _expected(bench: Bench, spec: LinearSpec) -> float:
    return _work(bench, linear_cost(spec))


def _together(bench: Bench, body: Callable[[Session], Callable[[], object]]) -> float:
    """Processor nanoseconds of both parties' calls, each made by `body` of its
    session; the least of several runs.
    """
    there: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    back: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    ends = {Role.SERVER: _Pipe(back, there), Role.CLIENT: _Pipe(there, back)}
    spent: dict[Role, list[int]] = {Role.SERVER: [], Role.CLIENT: []}

    def party(role: Role) -> None:
        call = body(open_session(role, ends[role]))
        for _ in range(bench.repeats + 1):
            start = time.thread_time_ns()
            call()
            spent[role].append(time.thread_time_ns() - start)

    thread = threading.Thread(target=party, args=(Role.SERVER,))
    thread.start()
    party(Role.CLIENT)
    thread.join()
    return sum(statistics.median(each[1:]) for each in spent.values())


def _relu(bench: Bench, n: int) -> float:
    x = ring.reduce(bench.rng.integers(0, 1 << 62, n, np.uint64), 13)
    return _together(bench, lambda session: lambda: relu(session, x, 13, 26))


def _gates(bench: Bench, n: int, count: int) -> float:
    x = ring.reduce(bench.rng.integers(0, 1 << 62, n, np.uint64), 13)
    thresholds = bench.rng.integers(0, 1 << 12, (count, 1), np.uint64)
    return _together(
        bench,
        lambda session: (
            lambda: gates(session, x, 13, count, thresholds if session.is_server else None)
        ),
    )


def _layers(bench: Bench) -> tuple[LinearSpec, list[LinearSpec]]:
    """A tiny layer, and layers of common shapes, shrunk with `elements`."""

    def spec(channels: int, filters: int, side: int, kernel: int, masking: Masking) -> LinearSpec:
        pad = kernel // 2
        shape, out = (channels, side, side), (filters, side, side)
        geometry = Geometry(shape, out, (kernel, kernel), (pad,) * 4, (1, 1), 1)
        return plan_linear(geometry, 26, 12, masking)

    few = max(1, min(128, bench.elements >> 10))
    tall, small = spec(few, few, 28, 1, "uniform"), spec(few, few, 14, 1, "flooded")
    return spec(1, 1, 2, 1, "uniform"), [tall, spec(few, -(-few // 4), 28, 3, "uniform"), small]


def _linear(bench: Bench, spec: LinearSpec) -> float:
    """One layer, without the keys."""
    seed, filters = bytes(16), spec.out_shape[0]
    weight = bench.rng.integers(-2000, 2000, (filters, spec.in_shape[0], *spec.kernel), np.int32)
    layer = linear.ServerLinear(spec, 0, seed, weight, np.zeros(filters, np.int64))
    layer.prepare()
    x = ring.reduce(bench.rng.integers(0, 1 << 62, spec.in_shape, np.uint64), spec.bits)

    def make(session: Session) -> Callable[[], object]:
        server = session.is_server

        def call() -> object:
            # The keys, a residue's worth of work each, are made anew: no
            # secret may meet a layer twice.
            if server:
                linear.new_query_server(session, [spec], seed)
                return linear.linear_server(session, layer, x)
            linear.new_query_client(session, [spec], seed)
            return linear.linear_client(session, spec, 0, seed, x)

        return call

    return _together(bench, make)
