"""What all connections have in common, and what one of them does with cohorts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from moiety.protocols.arrays import U64
from moiety.protocols.session import Session
from moiety.runtime.party import handshake
from moiety.runtime.party.cohorts import FEWEST, ID_BYTES, aggregate, run_ids
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.metering import RunCost
from moiety.runtime.party.server.admission import Admission, Caller, Denied
from moiety.runtime.party.server.cohorts import (
    NO_COHORT_LEFT,
    Cohorts,
    Shelf,
    check_shelves,
    cohorts_left,
)
from moiety.runtime.party.server.limits import run_seconds
from moiety.runtime.party.server.options import ServerOptions
from moiety.runtime.party.stock import Cellar
from moiety.runtime.party.transport import TcpChannel
from moiety.runtime.program import Program


@dataclass(frozen=True)
class House:
    """What all visits have in common. `offer`: numbers of images that may share a run -> digest of
    their layouts; `run_seconds`: of each number, what a run may take. `cohorts`: where the policy
    is `aggregate`. `sends`: clients go to workers of this server. `cellar`: where items that are
    prepared with clients lie; None: nothing is prepared ahead.
    """

    executor: ServerExecutor
    options: ServerOptions
    admission: Admission
    offer: Mapping[int, str]
    run_seconds: Mapping[int, float]
    cohorts: Cohorts | None
    sends: bool = False
    cellar: Cellar | None = None

    @classmethod
    def of(
        cls,
        executor: ServerExecutor,
        options: ServerOptions,
        admission: Admission,
        cohorts: Cohorts | None,
        sends: bool = False,
        cellar: Cellar | None = None,
    ) -> House:
        """Raises `BadInput` where shares must be kept, and there is no place for them."""
        check_shelves(executor.program, cohorts)
        keeps = not executor.program.policy.tells_of_images
        return cls(
            executor,
            options,
            admission,
            {images: executor.layout(images) for images in executor.batches},
            {images: run_seconds(executor.program, images, options) for images in executor.batches},
            cohorts if keeps else None,
            sends,
            cellar,
        )

    def cellar_of(self, caller: Caller) -> Cellar | None:
        """Where what is prepared with this client lies, within its limits."""
        if self.cellar is None:
            return None
        limits = self.admission.allowance(caller).prepared
        return replace(self.cellar, limits=limits.within(self.cellar.limits))


class Opened(NamedTuple):
    """A cohort that is asked for, and this side's shares of its images, `(n, L)`."""

    cohort: str
    shares: U64


@dataclass(frozen=True)
class Desk:
    """The cohorts of one connection's client: kept, and aggregated once. `binding`: the
    connection's. What it raises as `Denied` is for the client.
    """

    program: Program
    admission: Admission
    caller: Caller
    shelf: Shelf
    binding: bytes

    @classmethod
    def of(cls, house: House, caller: Caller, binding: bytes) -> Desk | None:
        """None where the policy reveals each image's results."""
        if house.cohorts is None:
            return None
        program = house.executor.program
        shelf = house.cohorts.of(caller.fingerprint, program.digest())
        return cls(program, house.admission, caller, shelf, binding)

    def left(self) -> int | None:
        """How many cohorts the client may still ask for, by the policy and by its own limit."""
        return cohorts_left(self.shelf.count(), *self._limits())

    def check_open(self, cohort: str) -> None:
        """Raises `Denied` where nothing can come of more images."""
        self.shelf.check_open(cohort)
        if self.left() == 0:
            raise Denied(NO_COHORT_LEFT)

    def keep(self, cohort: str, index: int, shares: U64) -> None:
        """On the disk when it returns: `shares` of the images from number `index` on."""
        self.shelf.keep(cohort, run_ids(self.binding, index, len(shares)), shares)

    def open(self, channel: TcpChannel, asked: handshake.Aggregate) -> Opened:
        """Reads the runs' ids. Raises `Denied` unless the aggregate may be revealed."""
        most = self.program.policy.images
        if not FEWEST <= asked.images <= most:
            raise Denied(f"a cohort of {asked.images} images; {FEWEST} to {most} are possible")
        self.check_open(asked.cohort)
        named = bytes(channel.recv(ID_BYTES * asked.images))
        runs = [named[at : at + ID_BYTES] for at in range(0, len(named), ID_BYTES)]
        return Opened(asked.cohort, self.shelf.load(asked.cohort, runs))

    def aggregate(self, session: Session, opened: Opened) -> RunCost:
        """The server's part; the cohort is over before anything is revealed."""

        def record() -> None:
            self.admission.aggregate(self.caller, opened.cohort, len(opened.shares))

        def spend() -> None:
            self.shelf.spend(opened.cohort, *self._limits(), record)

        _, cost = aggregate(session, self.program, opened.shares, None, spend)
        return cost

    def _limits(self) -> tuple[int | None, int | None]:
        """Of this Program, and of all."""
        return self.program.policy.cohorts, self.admission.allowance(self.caller).cohorts
