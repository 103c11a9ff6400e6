"""A whole sweep: the planner's choice first, then the plans around it; while the images of one run,
the next is compiled.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from moiety.compiler.compile import Compiled
from moiety.compiler.planning.ranges import Progress
from moiety.compiler.simulate import FloatModel
from moiety.compiler.sweep import execution
from moiety.compiler.sweep.corpus import Corpus
from moiety.compiler.sweep.execution import Ran
from moiety.compiler.sweep.grid import Grid, Widths
from moiety.compiler.sweep.journal import Journal
from moiety.compiler.sweep.judgement import Judge
from moiety.compiler.sweep.rows import PlanRow
from moiety.compiler.sweep.subject import Subject, mean_widths
from moiety.protocols.arrays import F64
from moiety.protocols.errors import BadInput, BadPlan
from moiety.protocols.ot.generators import ALWAYS_SILENT, Mixed
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake.loader import Reader
from moiety.runtime.study.statistics.resampling import Bootstrap


@dataclass(frozen=True)
class Running:
    """A plan whose images are on their way."""

    key: str
    widths: Widths
    compiled: Compiled
    place: Path
    parts: list[Future[Ran]]


@dataclass
class Sweep:
    """reader: of the images of the corpus."""

    subject: Subject
    corpus: Corpus
    reader: Reader
    grid: Grid
    journal: Journal
    processes: int = 1
    resamples: int = 1000
    seed: int = 0
    progress: Progress = lambda what, done, total: None
    _reference: F64 | None = None

    def __post_init__(self) -> None:
        self._clock = Clock(len(self.corpus.files))
        self._judge = Judge(self.corpus, Bootstrap(self.resamples, self.seed))
        self._common = (
            self.subject.digest,
            self.corpus.digest(),
            self.resamples,
            self.seed,
            metadata.version("moiety"),
        )

    def run(self) -> Iterator[PlanRow]:
        """A row for every plan, as soon as it is known; those that the journal has are not made
        again. Raises `BadInput` where a process dies, and all that the images, the model and the
        options may raise.
        """
        with (
            tempfile.TemporaryDirectory(prefix="moiety-sweep-") as scratch,
            execution.processes(self.processes) as pool,
        ):
            try:
                yield from self._all(pool, Path(scratch))
            except BrokenProcessPool:
                raise BadInput(
                    "a process of the sweep was killed, perhaps for want of memory; run the same "
                    "command again, with fewer --processes: plans that are done are kept"
                ) from None

    def _all(self, pool: ProcessPoolExecutor, scratch: Path) -> Iterator[PlanRow]:
        first, *others = (self.grid.planners(rounding) for rounding in self.grid.roundings)
        (centre,) = self._rows(pool, scratch, [first])
        if centre.refused:
            raise BadPlan(f"{first}: {centre.refused}")
        yield centre
        around = self.grid.around(centre.activation_bits, centre.weight_bits)
        yield from self._rows(pool, scratch, [*others, *around])

    def _rows(
        self, pool: ProcessPoolExecutor, scratch: Path, plans: Sequence[Widths]
    ) -> Iterator[PlanRow]:
        """Of these plans. While one runs, the next is compiled and the one before is judged."""
        keys = {self._key(each): each for each in plans}
        yield from (self.journal.rows[key] for key in keys if key in self.journal.rows)
        missing = {key: each for key, each in keys.items() if key not in self.journal.rows}
        self._clock.plan(len(missing))
        before: Running | None = None
        for key, widths in missing.items():
            try:
                running = self._begun(pool, scratch / key, key, widths)
            except BadPlan as error:
                self._clock.plan(-1)
                yield self._kept(key, widths, refused=str(error))
                continue
            if before is not None:
                yield self._finished(before)
            before = running
        if before is not None:
            yield self._finished(before)

    def _begun(self, pool: ProcessPoolExecutor, place: Path, key: str, widths: Widths) -> Running:
        compiled = self.subject.compile(widths, place, self.progress)
        parts = execution.started(pool, place, self.corpus.files, self.reader, self.seed)
        return Running(key, widths, compiled, place, parts)

    def _finished(self, running: Running) -> PlanRow:
        """Wait for its images, judge them, and keep the row."""
        program = running.compiled.program
        ran = execution.joined([self._waited(part, running) for part in running.parts])
        columns = execution.label_columns(program, self.corpus.labels)
        wire = image_cost(program).on(Mixed(ALWAYS_SILENT))
        shutil.rmtree(running.place)
        return self._kept(
            running.key,
            running.widths,
            **mean_widths(running.compiled),
            **self._judge.judged(ran.values, self._floats(running.compiled), columns),
            images=len(self.corpus.files),
            overflows=ran.overflows,
            bytes_up=int(wire.up),
            bytes_down=int(wire.down),
            flights=len(wire.flights),
            seconds_per_image=ran.seconds / len(self.corpus.files),
            program=program.digest(),
        )

    def _waited(self, part: Future[Ran], running: Running) -> Ran:
        ran = part.result()
        self._clock.images(len(ran.values))
        self.progress(f"{running.widths}{self._clock.left}", self._clock.done, self._clock.total)
        return ran

    def _kept(self, key: str, widths: Widths, **fields: Any) -> PlanRow:
        row = PlanRow(key=key, rounding=widths.rounding, chosen=widths.chosen, **fields)
        self.journal.add(row)
        return row

    def _floats(self, compiled: Compiled) -> F64:
        if self._reference is None:
            model = FloatModel(
                self.subject.model, compiled.program, self.subject.options.batch_axis
            )
            self._reference = execution.float_results(
                model, compiled.program, self.corpus.files, self.reader
            )
        return self._reference

    def _key(self, widths: Widths) -> str:
        """Of a plan on these images: what its row follows from."""
        return hashlib.sha256(repr((self._common, widths)).encode()).hexdigest()[:32]


@dataclass
class Clock:
    """How far a sweep is, in images, and how long the rest will take."""

    images_of_a_plan: int
    done: int = 0
    total: int = 0
    started: float = field(default_factory=time.monotonic)

    def plan(self, count: int) -> None:
        """There are so many plans more."""
        self.total += count * self.images_of_a_plan

    def images(self, count: int) -> None:
        """So many more are done."""
        self.done += count

    @property
    def left(self) -> str:
        """For people."""
        if not self.done:
            return ""
        seconds = (time.monotonic() - self.started) * (self.total - self.done) / self.done
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"
