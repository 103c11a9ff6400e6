"""Declared costs of lookups that share their flights, for the protocols made of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moiety.protocols.cost import Cost, Party, Size, Work, Works, other
from moiety.protocols.ot.transfers import answer_cost, choose_cost


@dataclass(frozen=True)
class Lookup:
    """n lookups of `bits`-bit entries, with the work of making and of opening the answer."""

    n: Size
    k: int
    bits: Size
    made: Works = ()
    read: Works = ()

    @classmethod
    def xor(cls, n: Size, k: int, bits: Size) -> Lookup:
        """Of an XOR-shared entry."""
        return cls(n, k, bits, (Work(f"join_send_{k}", n),), (Work(f"join_recv_{k}", n),))


def lookups_cost(sender: Party, jobs: Iterable[Lookup]) -> Cost:
    """Lookups in the same flights: all are opened, then all answered by `sender`."""
    jobs = list(jobs)
    opened = sum((choose_cost(other(sender), job.n, job.k) for job in jobs), Cost())
    return opened + answers_cost(sender, jobs)


def answers_cost(sender: Party, jobs: Iterable[Lookup]) -> Cost:
    """The second of these flights alone."""
    answers = (answer_cost(sender, job.n, job.k, job.bits, job.made, job.read) for job in jobs)
    return sum(answers, Cost())
