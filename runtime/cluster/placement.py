"""What is to be placed where, in words that need no Ray: the process that says them has none."""

from __future__ import annotations

from dataclasses import dataclass

EXTRA = "--cluster"


@dataclass(frozen=True, kw_only=True)
class Room:
    """In the cluster at `address` (HOST:PORT; auto: the one of this machine; local: a new one on
    it), `workers` at a time, each with so many `cpus` set aside.
    """

    address: str
    workers: int
    cpus: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Workers of the server that listens at `front`. `arguments`: of `moiety serve` on every node,
    without the front and the address to listen at; paths are as the nodes see them. `ports`: of
    each node, FIRST-LAST, of which workers listen at a free one each; 0: at any.
    """

    room: Room
    front: tuple[str, int]
    arguments: tuple[str, ...]
    ports: str = "0"
