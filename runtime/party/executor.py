"""Runs a Program between two parties. Each has its executor, made once per process, and calls
`run` on an open Session once per image, or once for several images together (linear layers pack
them: protocols/linear/layout). Both walk the same list of steps (walk).
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import U32, U64
from moiety.protocols.errors import BadArtifact, BadInput, ContractViolation
from moiety.protocols.linear.client import new_query_client
from moiety.protocols.linear.rlwe import Ring
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec, check_spec
from moiety.protocols.linear.split import SEED_BYTES as SPLIT_SEED_BYTES
from moiety.protocols.linear.split import (
    ClientMaterial,
    OfflineClient,
    OfflineServer,
    ServerMaterial,
    client_bytes,
)
from moiety.protocols.ot.prepared import Sink, Source
from moiety.protocols.parallel import Workers
from moiety.protocols.preparation import answering, prepare
from moiety.protocols.session import Role, Session
from moiety.runtime.cost.memory import check_preparing_memory, check_run_memory
from moiety.runtime.party.cohorts import check_reveals_images, is_id
from moiety.runtime.party.hints import HintFile
from moiety.runtime.party.masks import operand_masks
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.prepared import (
    LINEAR,
    Operands,
    PreparedClientSide,
    PreparedServerSide,
    RecordedClientSide,
    RecordedServerSide,
    blank,
    check_demand,
    write_demand,
)
from moiety.runtime.party.recorded import Asked, Recorded
from moiety.runtime.party.sides import ClientSide, Revealed, ServerSide
from moiety.runtime.party.walk import Stage, ahead, check_network, stages_of, walk
from moiety.runtime.program import Case, Program
from moiety.runtime.program.beforehand import corrected
from moiety.runtime.program.linear_layers import (
    MAX_BATCH,
    layout_digest,
    linear_specs,
    public_seed,
)
from moiety.runtime.program.progress import Progress, no_progress
from moiety.runtime.program.weights import Weights

# --- the vendor -----------------------------------------------------------------------------------


@dataclass
class ServerExecutor:
    """The vendor's side. `prepare` computes what depends on the weights alone (the hints), for runs
    of each number of images in `batches`, and must come before `run`. Making one plans the layouts;
    `BadPlan` where no parameters hold a batch, `BadArtifact` where an image's run would take more
    memory than is allowed.
    """

    program: Program
    weights: Weights
    batches: tuple[int, ...] = (1,)
    _specs: dict[int, dict[int, LinearSpec]] = field(init=False)
    _tensors: list[dict[str, npt.NDArray[Any]]] = field(init=False)
    _layers: dict[int, dict[int, ServerLinear]] = field(default_factory=dict)
    _unprepared: set[int] = field(default_factory=set)
    _stages: list[Stage] = field(init=False)
    _asked_for: dict[int, Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if 1 not in self.batches or not all(1 <= images <= MAX_BATCH for images in self.batches):
            raise BadInput(
                f"runs of {', '.join(map(str, self.batches))} images (--batch): numbers from 1 to "
                f"{MAX_BATCH}, 1 among them"
            )
        check_run_memory(self.program)  # of this side's own: it is told before a client comes
        self._specs = {images: linear_specs(self.program, images) for images in self.batches}
        self._tensors = self.weights.by_step(self.program)
        self._stages = stages_of(self.program)

    def share_hints(self) -> None:
        """Before processes part: hints lie in memory that all of them have in common, so that
        `prepare` in one of them prepares the others. Whoever runs sees to it that it has ended.
        """
        for images in self.batches:
            if images not in self._layers:
                self._layers[images] = self._made(images)
                for layer in self._layers[images].values():
                    nbytes = 4 * math.prod(layer.hint_shape)
                    memory = np.frombuffer(mmap.mmap(-1, nbytes), np.uint32)
                    layer.place_hint(memory.reshape(layer.hint_shape))
                self._unprepared.add(images)

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
                self._layers[images] = self._made(images)
                self._unprepared.add(images)
            if images in self._unprepared:
                self._prepare(images, progress, keep_beside, workers or Workers())
                self._unprepared.remove(images)

    def _made(self, images: int) -> dict[int, ServerLinear]:
        seed = public_seed(self.program, images)
        return {
            index: ServerLinear(
                spec, index, seed, self._tensors[index]["weight"], self._tensors[index]["bias"]
            )
            for index, spec in self._specs[images].items()
        }

    def _prepare(
        self, images: int, progress: Progress, keep_beside: Path | None, workers: Workers
    ) -> None:
        layers, layout = self._layers[images], self.layout(images)
        file = None
        if keep_beside is not None:
            file = HintFile.beside(keep_beside, self.program.digest(), layout, images)
            if (kept := file.load()) is not None and _adopt(layers, kept, file):
                return
        for done, (index, layer) in enumerate(layers.items()):
            progress(done, len(layers), f"{self.program.steps[index].name}, layer")
            layer.prepare(workers)
        progress(len(layers), len(layers), "")
        if file is not None:
            file.save({index: layer.hint_array() for index, layer in layers.items()})

    def layout(self, images: int) -> str:
        """Digest of the layouts of a run of so many images; what the peer's must equal."""
        return layout_digest(self._specs[images])

    def run(self, session: Session, progress: Progress = no_progress, images: int = 1) -> RunCost:
        """One run of `images` images, whatever the client's are, on a session that was opened for
        the Program's `planned_for`.
        """
        return self.run_keeping(session, progress, images)[1]

    def run_keeping(
        self,
        session: Session,
        progress: Progress = no_progress,
        images: int = 1,
        item: Source | None = None,
    ) -> tuple[U64 | None, RunCost]:
        """As `run`; where the policy reveals nothing, also this side's share of the outputs, uint64
        `(images, L)`. `item`: this side's half of what was prepared for the run (`prepare_item`).
        """
        check_network(self.program, session)
        common = self._common(images)
        if item is None:
            side = ServerSide(*common)
            cost = walk(self.program, self._stages, session, side, progress)
            return _rows(side.kept), cost
        demand = self._asked(images).demand
        check_demand(item, demand)
        seed = item.read(LINEAR, SPLIT_SEED_BYTES).tobytes()
        material = ServerMaterial.from_bytes(seed, self._layers[images])
        side = PreparedServerSide(*common, material=material, corrected=corrected(self.program))
        with answering(demand, item, session) as of_item:
            cost = walk(self.program, self._stages, ahead(of_item), side, progress)
        return _rows(side.kept), cost

    def prepare_item(self, session: Session, sink: Sink, images: int = 1) -> bytes:
        """With the client's: makes the two halves of what a run of so many images needs, and writes
        this side's to `sink`. Returns what both parties agree on: the digest of what the run will
        ask for. Raises `DeviatingPeer`, and then nothing of it may be used.
        """
        check_network(self.program, session)
        common, (demand, layers) = self._common(images), self._asked(images)
        write_demand(sink, demand)
        ServerSide(*common).exchange_keys(session)
        seed = session.prg.bytes(SPLIT_SEED_BYTES).tobytes()
        linear = OfflineServer(self._layers[images], seed)
        prepare(session, demand, sink, layers=layers, linear=linear)
        sink.write(LINEAR, np.frombuffer(linear.material().to_bytes(), np.uint8))
        return demand.digest()

    def _common(
        self, images: int
    ) -> tuple[int, dict[int, ServerLinear], list[dict[str, npt.NDArray[Any]]], bytes, bool]:
        """What a side of this party's has."""
        if images not in self._layers:
            raise ContractViolation(f"prepare() has not run for {images} images")
        seed = public_seed(self.program, images)
        keeps = not self.program.policy.tells_of_images
        return images, self._layers[images], self._tensors, seed, keeps

    def demand_digest(self, images: int) -> bytes:
        """32 bytes, of what a prepared run of so many images asks: the same at both parties."""
        return self._asked(images).demand.digest()

    def _asked(self, images: int) -> Asked:
        if images not in self._asked_for:
            side, specs = RecordedServerSide(*self._common(images)), self._specs[images]
            recorded = Recorded(Role.SERVER, self.program, self._stages, specs, side)
            self._asked_for[images] = recorded.asked()
        return self._asked_for[images]


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


# --- the hospital ---------------------------------------------------------------------------------


@dataclass
class ClientExecutor:
    """The hospital's side. Raises `BadPlan` when a layer of the vendor's Program would not be
    secure or not decrypt, `BadArtifact` when a run would take more memory than is allowed.
    """

    program: Program
    _specs: dict[int, dict[int, LinearSpec]] = field(default_factory=dict)
    _stages: list[Stage] = field(init=False)
    _asked_for: dict[int, Asked] = field(default_factory=dict)
    _may_prepare: bool = False

    def __post_init__(self) -> None:
        check_run_memory(self.program)
        self._checked_specs(1)
        self._stages = stages_of(self.program)

    def _checked_specs(self, images: int) -> dict[int, LinearSpec]:
        """The layers of a run of so many images, none of which is taken on trust."""
        if images not in self._specs:
            specs = linear_specs(self.program, images)
            for spec in specs.values():
                check_spec(spec)
                # The ring's tables are made here, before anybody waits for them.
                Ring.of(spec.rlwe.degree, spec.rlwe.primes)
            self._specs[images] = specs
        return self._specs[images]

    def layout(self, images: int) -> str:
        """Digest of the layouts of a run of so many images; what the peer's must equal."""
        return layout_digest(self._checked_specs(images))

    def run(
        self, session: Session, case: Case, progress: Progress = no_progress
    ) -> tuple[list[Revealed], RunCost]:
        """The outputs for one case: the input tensor of the Program's input shape, already
        preprocessed, or tensors by the inputs' names.
        """
        revealed, cost = self.run_batch(session, [case], progress)
        return revealed[0], cost

    def run_batch(
        self,
        session: Session,
        cases: Sequence[Case],
        progress: Progress = no_progress,
        item: Source | None = None,
    ) -> tuple[list[list[Revealed]], RunCost]:
        """The outputs of every case, all in one run; the server must have prepared for that many,
        and the session be open for the Program's `planned_for`. `item`: this side's half of what
        was prepared for the run (`prepare_item`). Raises `BadInput` where the policy reveals none.
        """
        self.check_revealing()
        side, cost = self._walk(session, cases, progress, item)
        return side.revealed, cost

    def keep_batch(
        self,
        session: Session,
        cases: Sequence[Case],
        progress: Progress = no_progress,
        item: Source | None = None,
    ) -> tuple[U64, RunCost]:
        """As `run_batch`, where the policy reveals nothing: this side's share of the outputs,
        uint64 `(images, L)`.
        """
        side, cost = self._walk(session, cases, progress, item)
        kept = _rows(side.kept)
        assert kept is not None
        return kept, cost

    def check_revealing(self) -> None:
        """Raises `BadInput` where no image has results of its own."""
        check_reveals_images(self.program)

    def check_keeping(self, cohort: str) -> None:
        """Raises `BadInput` unless shares can be kept under this id."""
        if self.program.policy.tells_of_images:
            raise BadInput(
                "this Program's policy reveals the results of each image, so none are kept for a "
                "whole cohort; run its images one by one"
            )
        if not is_id(cohort):
            raise BadInput("the id of a cohort is 32 random hexadecimal digits")

    def check_preparing(self) -> None:
        """Raises `BadArtifact` when to prepare a run would take more memory than is allowed."""
        if not self._may_prepare:
            check_preparing_memory(self.program)
            self._may_prepare = True

    def _walk(
        self, session: Session, cases: Sequence[Case], progress: Progress, item: Source | None
    ) -> tuple[ClientSide, RunCost]:
        check_network(self.program, session)
        images = len(cases)
        common = self.program, cases, self._checked_specs(images), public_seed(self.program, images)
        if item is None:
            side = ClientSide(*common)
            return side, walk(self.program, self._stages, session, side, progress)
        specs, demand = self._checked_specs(images), self._asked(images).demand
        check_demand(item, demand)
        kept = item.read(LINEAR, client_bytes(list(specs.values()))).tobytes()
        material = ClientMaterial.from_bytes(kept, specs)
        side = PreparedClientSide(*common, material=material, corrected=corrected(self.program))
        with answering(demand, item, session) as of_item:
            return side, walk(self.program, self._stages, ahead(of_item), side, progress)

    def prepare_item(self, session: Session, sink: Sink, images: int = 1) -> bytes:
        """With the server's: makes the two halves of what a run of so many images needs, and writes
        this side's to `sink`. Returns what both parties agree on: the digest of what the run will
        ask for. Raises `DeviatingPeer`, and then nothing of it may be used.
        """
        check_network(self.program, session)
        (demand, layers), specs = self._asked(images), self._checked_specs(images)
        public, seed = public_seed(self.program, images), session.prg.bytes(SPLIT_SEED_BYTES)
        write_demand(sink, demand)
        new_query_client(session, list(specs.values()), public)
        masks = Operands(operand_masks(self.program, seed.tobytes(), images))
        linear = OfflineClient(specs, public, seed.tobytes(), masks.drawn)
        walked = self._recorded(images, linear.material(), masks)
        with closing(walked):
            prepare(session, demand, sink, walked.known, layers, linear)
            if walked.asked() != (demand, layers):
                raise ContractViolation("a prepared run asks for something else than all runs")
        sink.write(LINEAR, np.frombuffer(linear.material().to_bytes(), np.uint8))
        return demand.digest()

    def demand_digest(self, images: int) -> bytes:
        """As the server's."""
        return self._asked(images).demand.digest()

    def _asked(self, images: int) -> Asked:
        if images not in self._asked_for:
            self._asked_for[images] = self._recorded(images).asked()
        return self._asked_for[images]

    def _recorded(
        self,
        images: int,
        material: ClientMaterial | None = None,
        operands: Operands | None = None,
    ) -> Recorded:
        """A run without a peer: that of this material, where it is known, of whose layers these are
        the operands.
        """
        cases, seed = [blank(self.program)] * images, public_seed(self.program, images)
        specs = self._checked_specs(images)
        side = RecordedClientSide(self.program, cases, specs, seed, material, operands)
        keeps = material is not None
        return Recorded(Role.CLIENT, self.program, self._stages, specs, side, keeps)


def _rows(kept: U64 | None) -> U64 | None:
    """A row of what is kept for each image."""
    return None if kept is None else kept.reshape(len(kept), -1)
