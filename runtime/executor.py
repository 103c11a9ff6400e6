"""Runs a Program between two parties. Each has its executor, made once per process, and calls `run` once per image on
an open Session.

Both walk the same list of steps and hold one share of every live value; a value is dropped after its last use.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols import linear, ring
from moiety.protocols.errors import ContractViolation
from moiety.protocols.extend import extend
from moiety.protocols.maxpool import maxpool
from moiety.protocols.relu import gates, multiplex, relu
from moiety.protocols.reveal import reveal_to_client
from moiety.protocols.session import Session
from moiety.protocols.truncate import truncate_exact, truncate_stochastic
from moiety.runtime import program as ir
from moiety.runtime.layers import kind_of, linear_specs, public_seed
from moiety.runtime.local_ops import LOCAL_STEPS, apply_local
from moiety.runtime.weights import Weights

U64 = ring.U64
Share = npt.NDArray[Any]
"""One party's share of a value: ring elements (uint64), or what Gates makes, XOR-shared bits (uint8)."""
Progress = Callable[[int, int, str], None]
"""Called with (done, total, name of what comes next)."""


def no_progress(done: int, total: int, what: str) -> None:
    """For those who do not watch."""


def peak_rss() -> int:
    """Largest resident size of this process so far, bytes.

    Linux keeps `ru_maxrss` across exec, so a process started by a larger one would report its parent's; the kernel's
    own high-water mark of this address space does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class StepCost:
    """What one step, or all steps of one kind, took: wall and CPU seconds of this process, protocol bytes, flights."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    sent: int = 0
    received: int = 0
    flights: int = 0

    def add(self, other: StepCost) -> None:
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        self.sent += other.sent
        self.received += other.received
        self.flights += other.flights


@dataclass
class RunCost:
    """The cost of one inference as this party saw it. `steps` is indexed like the Program's; `keys` is the query key
    exchange.
    """

    steps: list[StepCost] = field(default_factory=list)
    by_kind: dict[str, StepCost] = field(default_factory=dict)
    total: StepCost = field(default_factory=StepCost)
    peak_rss: int = 0

    @contextmanager
    def measure(self, session: Session, kind: str, label: str) -> Iterator[None]:
        traffic = replace(session.channel.meter.total)
        wall, cpu = time.perf_counter(), time.process_time()
        with session.channel.meter.labelled(label):
            yield
        after = session.channel.meter.total
        cost = StepCost(
            time.perf_counter() - wall,
            time.process_time() - cpu,
            after.sent - traffic.sent,
            after.received - traffic.received,
            after.flights - traffic.flights,
        )
        self.by_kind.setdefault(kind, StepCost()).add(cost)
        self.total.add(cost)
        if kind != "keys":
            self.steps.append(cost)
        self.peak_rss = peak_rss()


@dataclass
class ServerExecutor:
    """The vendor's side. `prepare` computes what depends on the weights alone (the hints) and must come before
    `run`.
    """

    program: ir.Program
    weights: Weights
    _layers: dict[int, linear.ServerLinear] = field(default_factory=dict)

    def prepare(self, progress: Progress = no_progress) -> None:
        """Seconds to a minute for a large model; once per process."""
        specs = linear_specs(self.program)
        seed = public_seed(self.program)
        for done, (index, spec) in enumerate(specs.items()):
            progress(done, len(specs), self.program.steps[index].name)
            if index in self._layers:
                continue
            layer = linear.ServerLinear(spec, index, seed, *self.weights.linear(index))
            layer.prepare()
            self._layers[index] = layer
        progress(len(specs), len(specs), "")

    def run(self, session: Session, progress: Progress = no_progress) -> RunCost:
        """One image, whatever the client's is."""
        if len(self._layers) != len(linear_specs(self.program)):
            raise ContractViolation("prepare() has not run")
        cost = RunCost()
        session.link = self.program.link
        specs = list(linear_specs(self.program).values())
        with cost.measure(session, "keys", "keys"):
            linear.new_query_server(session, specs, public_seed(self.program))
        for index, step, values in _walk(self.program, progress):
            with cost.measure(session, kind_of(step), _label(index, step)):
                values[index] = self._step(session, index, step, [values[i] for i in step.inputs])
        session.channel.flush()
        return cost

    def _step(self, session: Session, index: int, step: ir.AnyStep, operands: list[Share]) -> Share:
        match step:
            case ir.Input():
                return np.zeros(step.shape, np.uint64)
            case ir.Linear():
                return linear.linear_server(session, self._layers[index], operands[0])
            case ir.Relu(affine=True):
                bits = self.program.steps[step.inputs[0]].bits
                channelwise = (-1,) + (1,) * (len(step.shape) - 1)
                threshold, flip = self.weights.gate(index)
                elements = ring.from_signed(threshold, bits).reshape(channelwise)
                return relu_step(session, step, bits, operands, elements, flip.reshape(channelwise))
            case ir.Gates():
                bits = self.program.steps[step.inputs[0]].bits
                channelwise = step.shape[:2] + (1,) * (len(step.shape) - 2)
                elements = ring.from_signed(self.weights.thresholds(index), bits).reshape(channelwise)
                return gates(session, operands[0], bits, step.shape[0], elements)
            case ir.AddConst():
                constant = ring.from_signed(self.weights.constant(index), step.bits)
                return ring.reduce(operands[0] + constant, step.bits)
            case ir.Output():
                reveal_to_client(session, operands[0], step.bits)
                return operands[0]
            case _:
                return shared_step(session, self.program, step, operands)


@dataclass(frozen=True)
class Output:
    """What the client reads of one Output step: the revealed integers, `logits` = integers * scale, `values` after the
    postprocess.
    """

    name: str
    integers: ring.I64
    logits: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    postprocess: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, index: int, program: ir.Program, elements: U64) -> Output:
        step = program.outputs[index]
        integers = ring.to_signed(elements, step.bits)
        return cls(
            name=program.output_names()[index],
            integers=integers,
            logits=integers.astype(np.float64) * step.scale,
            values=ir.dequantise_output(step, integers),
            postprocess=step.postprocess,
            labels=step.labels,
        )


@dataclass
class ClientExecutor:
    """The hospital's side. Raises `BadPlan` when a layer of the vendor's Program would not be secure or not decrypt."""

    program: ir.Program

    def __post_init__(self) -> None:
        for spec in linear_specs(self.program).values():
            linear.check_spec(spec)

    def run(
        self, session: Session, image: npt.NDArray[np.float32], progress: Progress = no_progress
    ) -> tuple[list[Output], RunCost]:
        """The outputs for one input tensor of the Program's input shape, already preprocessed."""
        cost, outputs = RunCost(), []
        session.link = self.program.link
        specs, seed = linear_specs(self.program), public_seed(self.program)
        with cost.measure(session, "keys", "keys"):
            linear.new_query_client(session, list(specs.values()), seed)
        for index, step, values in _walk(self.program, progress):
            with cost.measure(session, kind_of(step), _label(index, step)):
                operands = [values[i] for i in step.inputs]
                match step:
                    case ir.Input():
                        values[index] = ring.from_signed(ir.quantise_input(self.program, image), step.bits)
                    case ir.Linear():
                        values[index] = linear.linear_client(session, specs[index], index, seed, operands[0])
                    case ir.AddConst():
                        values[index] = operands[0]
                    case ir.Output():
                        values[index] = self._reveal(session, step, operands[0])
                        outputs.append(Output.of(index, self.program, values[index]))
                    case _:
                        values[index] = shared_step(session, self.program, step, operands)
        session.channel.flush()
        return outputs, cost

    @staticmethod
    def _reveal(session: Session, step: ir.Output, share: U64) -> U64:
        elements = reveal_to_client(session, share, step.bits)
        if elements is None:
            raise ContractViolation("a client's executor on a server's session")
        return elements


def relu_step(
    session: Session,
    step: ir.Relu,
    bits: int,
    operands: Sequence[Share],
    threshold: U64 | None = None,
    flip: npt.NDArray[np.uint8] | None = None,
) -> U64:
    """A whole ReLU, or the multiplexer alone where Gates have made the comparisons."""
    if len(operands) == 2:
        return multiplex(session, operands[0], operands[1], bits, step.bits, threshold, flip)
    return relu(session, operands[0], bits, step.bits, threshold, flip)


def shared_step(session: Session, program: ir.Program, step: ir.AnyStep, operands: list[Share]) -> Share:
    """The steps that both parties run with the same call."""
    x = operands[0]
    bits = program.steps[step.inputs[0]].bits
    if isinstance(step, LOCAL_STEPS):
        return apply_local(step, operands)
    match step:
        case ir.Relu():
            return relu_step(session, step, bits, operands)
        case ir.Gates():
            return gates(session, x, bits, step.shape[0])
        case ir.Truncate():
            truncate = truncate_exact if step.rounding == "exact" else truncate_stochastic
            return truncate(session, x, bits, step.shift)
        case ir.MaxPool():
            return maxpool(session, x, bits, step.kernel, step.strides, step.pads)
        case ir.Extend():
            return extend(session, x, bits, step.bits)
        case _:
            raise ContractViolation(f"no execution for step kind {kind_of(step)}")


def _walk(program: ir.Program, progress: Progress) -> Iterator[tuple[int, ir.AnyStep, dict[int, Share]]]:
    """The steps in order with the live values; after each step those of no further use are dropped."""
    values: dict[int, Share] = {}
    for (index, step), finished in zip(enumerate(program.steps), program.last_uses(), strict=True):
        progress(index, len(program.steps), step.name)
        yield index, step, values
        if values[index].shape != step.shape:
            raise ContractViolation(
                f"{_label(index, step)} made shape {values[index].shape}, the Program says {step.shape}"
            )
        for value in finished:
            del values[value]
    progress(len(program.steps), len(program.steps), "")


def _label(index: int, step: ir.AnyStep) -> str:
    return f"{kind_of(step)}/{index}/{step.name}"
