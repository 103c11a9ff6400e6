"""Runs a Program between two parties. Each has its executor, made once per process, and calls `run`
on an open Session once per image, or once for several images: a run's values have the images as
their first axis, steps without weights treat them as more elements, and linear layers pack them
together (protocols/linear/layout).

Both walk the same list of steps and hold one share of every live value; a value
is dropped after its last use.
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

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U32, U64
from moiety.protocols.compare.extend import extend
from moiety.protocols.compare.maxpool import maxpool
from moiety.protocols.compare.relu import gates, multiplex, relu
from moiety.protocols.compare.reveal import reveal_to_client
from moiety.protocols.compare.truncate import truncate_exact, truncate_stochastic
from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import LinearSpec
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import check_spec
from moiety.protocols.parallel import Workers
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.party.hints import HintFile
from moiety.runtime.party.local_steps import LOCAL_STEPS, apply_local
from moiety.runtime.program.layers import (
    MAX_BATCH,
    kind_of,
    layout_digest,
    linear_specs,
    public_seed,
)
from moiety.runtime.program.weights import Weights

Share = npt.NDArray[Any]
"""One party's share of a value: ring elements (uint64), or what Gates
makes, XOR-shared bits (uint8).
"""
Progress = Callable[[int, int, str], None]
"""Called with (done, total, name of what comes next)."""


def no_progress(done: int, total: int, what: str) -> None:
    """For those who do not watch."""


def peak_rss() -> int:
    """Largest resident size of this process so far, bytes.

    Linux keeps `ru_maxrss` across exec, so a process started by a larger one would report its
    parent's; the kernel's own high-water mark of this address space does not.
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
    """What one step, or all steps of one kind, took: wall and CPU seconds of this
    process, protocol bytes, flights.
    """

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
    """The cost of one run as this party saw it. `steps` is indexed like the Program's; `keys` is
    the query key exchange. `images` went through it together.
    """

    steps: list[StepCost] = field(default_factory=list)
    by_kind: dict[str, StepCost] = field(default_factory=dict)
    total: StepCost = field(default_factory=StepCost)
    peak_rss: int = 0
    images: int = 1

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


@dataclass
class ServerExecutor:
    """The vendor's side. `prepare` computes what depends on the weights alone (the hints), for runs
    of each number of images in `batches`, and must come before `run`. Making one plans the layouts;
    `BadPlan` where no parameters hold a batch.
    """

    program: ir.Program
    weights: Weights
    batches: tuple[int, ...] = (1,)
    _specs: dict[int, dict[int, LinearSpec]] = field(init=False)
    _layers: dict[int, dict[int, ServerLinear]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if 1 not in self.batches or not all(1 <= images <= MAX_BATCH for images in self.batches):
            raise BadInput(
                f"runs of {self.batches} images: numbers from 1 to {MAX_BATCH}, 1 among them"
            )
        self._specs = {images: linear_specs(self.program, images) for images in self.batches}

    def prepare(
        self,
        progress: Progress = no_progress,
        keep_beside: Path | None = None,
        workers: Workers | None = None,
    ) -> None:
        """Seconds to a minute for a large model; once per process.

        `keep_beside` is the weights' file: hints are read from the files beside it, or kept
        there (runtime/party/hints).
        """
        for images in self.batches:
            if images not in self._layers:
                self._layers[images] = self._prepared(
                    images, progress, keep_beside, workers or Workers()
                )

    def _prepared(
        self, images: int, progress: Progress, keep_beside: Path | None, workers: Workers
    ) -> dict[int, ServerLinear]:
        specs, seed = self._specs[images], public_seed(self.program, images)
        layers = {
            index: ServerLinear(spec, index, seed, *self.weights.linear(index))
            for index, spec in specs.items()
        }
        file = None
        if keep_beside is not None:
            file = HintFile.beside(keep_beside, self.program.digest(), layout_digest(specs), images)
            if (kept := file.load()) is not None and _adopt(layers, kept, file):
                return layers
        for done, (index, layer) in enumerate(layers.items()):
            progress(done, len(layers), self.program.steps[index].name)
            layer.prepare(workers)
        progress(len(layers), len(layers), "")
        if file is not None:
            file.save({index: layer.hint_array() for index, layer in layers.items()})
        return layers

    def layout(self, images: int) -> str:
        """Digest of the layouts of a run of so many images; what the peer's must equal."""
        return layout_digest(self._specs[images])

    def run(self, session: Session, progress: Progress = no_progress, images: int = 1) -> RunCost:
        """One run of `images` images, whatever the client's are."""
        if images not in self._layers:
            raise ContractViolation(f"prepare() has not run for {images} images")
        layers = self._layers[images]
        cost = RunCost(images=images)
        _check_network(session, self.program)
        with cost.measure(session, "keys", "keys"):
            specs = [layer.spec for layer in layers.values()]
            new_query_server(session, specs, public_seed(self.program, images))
        for index, step, values in _walk(self.program, images, progress):
            with cost.measure(session, kind_of(step), _label(index, step)):
                operands = [values[i] for i in step.inputs]
                if isinstance(step, ir.Input):
                    values[index] = np.zeros((images, *step.shape), np.uint64)
                elif isinstance(step, ir.Linear):
                    values[index] = linear_server(session, layers[index], operands[0])
                else:
                    values[index] = self._step(session, index, step, operands)
        session.channel.flush()
        cost.peak_rss = peak_rss()
        return cost

    def _step(self, session: Session, index: int, step: ir.AnyStep, operands: list[Share]) -> Share:
        match step:
            case ir.Relu(affine=True):
                bits = self.program.steps[step.inputs[0]].bits
                channelwise = (-1,) + (1,) * (len(step.shape) - 1)
                threshold, flip = self.weights.gate(index)
                elements = ring.from_signed(threshold, bits).reshape(channelwise)
                return relu_step(session, step, bits, operands, elements, flip.reshape(channelwise))
            case ir.Gates():
                bits = self.program.steps[step.inputs[0]].bits
                # (K, images, C, 1, ...)
                channelwise = (step.shape[0], 1, step.shape[1]) + (1,) * (len(step.shape) - 2)
                elements = ring.from_signed(self.weights.thresholds(index), bits).reshape(
                    channelwise
                )
                return gates_step(session, step, bits, operands[0], elements)
            case ir.AddConst():
                constant = ring.from_signed(self.weights.constant(index), step.bits)
                return ring.reduce(operands[0] + constant, step.bits)
            case ir.Output():
                reveal_to_client(session, operands[0], step.bits)
                return operands[0]
            case _:
                return shared_step(session, self.program, step, operands)


def _adopt(layers: dict[int, ServerLinear], kept: dict[int, U32], file: HintFile) -> bool:
    """Give the layers their hints from disk. One of them, that of the fewest products, is computed
    to compare: a file made by a release that derived hints otherwise would pass all other checks.
    """
    if kept.keys() != layers.keys():
        file.reject("it holds the hints of other layers")
        return False
    try:
        for index, layer in layers.items():
            layer.load_hint(kept[index])
    except BadArtifact as error:
        file.reject(str(error))
        return False
    if layers:
        probe = min(layers, key=lambda index: layers[index].hint_products)
        layers[probe].prepare()
        if not np.array_equal(layers[probe].hint_array(), kept[probe]):
            file.reject(f"the hint of layer {probe} is not the one that follows from the weights")
            return False
    return True


@dataclass(frozen=True)
class Output:
    """What the client reads of one Output step: the revealed integers, `logits` = integers * scale,
    `values` after the postprocess.
    """

    name: str
    integers: I64
    logits: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    postprocess: str
    labels: tuple[str, ...]

    @classmethod
    def of(cls, index: int, program: ir.Program, elements: U64) -> Output:
        """Of one image."""
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
    """The hospital's side. Raises `BadPlan` when a layer of the vendor's Program would
    not be secure or not decrypt.
    """

    program: ir.Program
    _specs: dict[int, dict[int, LinearSpec]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._layers(1)

    def _layers(self, images: int) -> dict[int, LinearSpec]:
        if images not in self._specs:
            specs = linear_specs(self.program, images)
            for spec in specs.values():
                check_spec(spec)
            self._specs[images] = specs
        return self._specs[images]

    def layout(self, images: int) -> str:
        """Digest of the layouts of a run of so many images; what the peer's must equal."""
        return layout_digest(self._layers(images))

    def run(
        self, session: Session, image: npt.NDArray[np.float32], progress: Progress = no_progress
    ) -> tuple[list[Output], RunCost]:
        """The outputs for one input tensor of the Program's input shape, already preprocessed."""
        outputs, cost = self.run_batch(session, [image], progress)
        return outputs[0], cost

    def run_batch(
        self,
        session: Session,
        images: Sequence[npt.NDArray[np.float32]],
        progress: Progress = no_progress,
    ) -> tuple[list[list[Output]], RunCost]:
        """The outputs of every image, all in one run; the server must
        have prepared for that many.
        """
        count = len(images)
        specs, seed = self._layers(count), public_seed(self.program, count)
        cost = RunCost(images=count)
        outputs: list[list[Output]] = [[] for _ in images]
        _check_network(session, self.program)
        with cost.measure(session, "keys", "keys"):
            new_query_client(session, list(specs.values()), seed)
        for index, step, values in _walk(self.program, count, progress):
            with cost.measure(session, kind_of(step), _label(index, step)):
                operands = [values[i] for i in step.inputs]
                match step:
                    case ir.Input():
                        integers = np.stack(
                            [ir.quantise_input(self.program, image) for image in images]
                        )
                        values[index] = ring.from_signed(integers, step.bits)
                    case ir.Linear():
                        values[index] = linear_client(
                            session, specs[index], index, seed, operands[0]
                        )
                    case ir.AddConst():
                        values[index] = operands[0]
                    case ir.Output():
                        values[index] = self._reveal(session, step, operands[0])
                        for of_image, elements in zip(outputs, values[index], strict=True):
                            of_image.append(Output.of(index, self.program, elements))
                    case _:
                        values[index] = shared_step(session, self.program, step, operands)
        session.channel.flush()
        cost.peak_rss = peak_rss()
        return outputs, cost

    @staticmethod
    def _reveal(session: Session, step: ir.Output, share: U64) -> U64:
        elements = reveal_to_client(session, share, step.bits)
        if elements is None:
            raise ContractViolation("a client's executor on a server's session")
        return elements


def _check_network(session: Session, program: ir.Program) -> None:
    """Raises `ContractViolation` for a session whose comparisons would be cut otherwise than the
    peer's.
    """
    if session.network != program.planned_for:
        raise ContractViolation(
            f"the session was opened for {session.network}, the Program is planned for "
            f"{program.planned_for}"
        )


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


def gates_step(
    session: Session, step: ir.Gates, bits: int, x: U64, thresholds: U64 | None = None
) -> Share:
    """Bits `(images, K, C, ...)`; thresholds, the server's, broadcast to `(K, images, C, ...)`."""
    return np.ascontiguousarray(gates(session, x, bits, step.shape[0], thresholds).swapaxes(0, 1))


def maxpool_step(session: Session, step: ir.MaxPool, bits: int, x: U64) -> U64:
    """Images are further channels."""
    planes = x.reshape(-1, *x.shape[2:])
    pooled = maxpool(session, planes, bits, step.kernel, step.strides, step.pads)
    return pooled.reshape(*x.shape[:2], *pooled.shape[1:])


def shared_step(
    session: Session, program: ir.Program, step: ir.AnyStep, operands: list[Share]
) -> Share:
    """The steps that both parties run with the same call."""
    x = operands[0]
    bits = program.steps[step.inputs[0]].bits
    if isinstance(step, LOCAL_STEPS):
        return apply_local(step, operands)
    match step:
        case ir.Relu():
            return relu_step(session, step, bits, operands)
        case ir.Gates():
            return gates_step(session, step, bits, x)
        case ir.Truncate():
            truncate = truncate_exact if step.rounding == "exact" else truncate_stochastic
            return truncate(session, x, bits, step.shift)
        case ir.MaxPool():
            return maxpool_step(session, step, bits, x)
        case ir.Extend():
            return extend(session, x, bits, step.bits)
        case _:
            raise ContractViolation(f"no execution for step kind {kind_of(step)}")


def _walk(
    program: ir.Program, images: int, progress: Progress
) -> Iterator[tuple[int, ir.AnyStep, dict[int, Share]]]:
    """The steps in order with the live values; after each step those
    of no further use are dropped.
    """
    values: dict[int, Share] = {}
    for (index, step), finished in zip(enumerate(program.steps), program.last_uses(), strict=True):
        progress(index, len(program.steps), step.name)
        yield index, step, values
        if values[index].shape != (images, *step.shape):
            made, wanted = values[index].shape, (images, *step.shape)
            raise ContractViolation(
                f"{_label(index, step)} made shape {made}, the Program says {wanted}"
            )
        for value in finished:
            del values[value]
    progress(len(program.steps), len(program.steps), "")


def _label(index: int, step: ir.AnyStep) -> str:
    return f"{kind_of(step)}/{index}/{step.name}"
