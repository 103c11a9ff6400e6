"""A party's own Ray cluster, joined; and what may go wrong with one."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError, RayTaskError

from moiety.protocols.errors import BadInput, NetworkFailure
from moiety.runtime.cluster.placement import Room
from moiety.runtime.party.endpoints import parse_address
from moiety.runtime.party.signals import raise_stopped

WORDS = ("auto", "local")
_RAY: Any = ray
"""Its functions are typed in part."""
_NO_TELEMETRY = ("RAY_USAGE_STATS_ENABLED", "0")
HEAD_SECONDS = 30.0
"""In which a head must answer, or it is gone. Ray gives up after 60, and then ends this process
from within, in the middle of whatever it does and in words of its own.
"""
TICK = 1.0
"""Seconds between two looks at a head, and at whatever else goes on meanwhile."""


@dataclass
class Head:
    """Of the cluster that this process is in: a thread asks it for a connection, again and again.
    Ray's own calls wait for a head that is gone, and say nothing. `_silent`: seconds from the first
    attempt in vain to the end of the last.
    """

    address: str
    _silent: float = 0.0
    _left: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._watch, name="moiety-head", daemon=True).start()

    def _watch(self) -> None:
        where, since = parse_address(self.address), None
        while not self._left.wait(TICK):
            begun = time.monotonic()
            try:
                socket.create_connection(where, timeout=HEAD_SECONDS / 2).close()
            except OSError:
                since = begun if since is None else since
                self._silent = time.monotonic() - since
            else:
                since, self._silent = None, 0.0

    def why_gone(self) -> str | None:
        """In words; None while it is there."""
        if self._silent < HEAD_SECONDS:
            return None
        return (
            f"the head of the Ray cluster at {self.address} has not answered for "
            f"{HEAD_SECONDS:.0f} s; start the cluster again"
        )

    def leave(self) -> None:
        """It is not asked any more."""
        self._left.set()


@contextmanager
def joined(room: Room) -> Iterator[Head]:
    """Within the cluster of `room`, which has the processors that it takes. Raises `BadInput`,
    `NetworkFailure`. Main thread only; a process that is in a cluster already stays there.
    """
    if room.address not in WORDS:
        parse_address(room.address)
    inside = ray.is_initialized()
    if not inside:
        _join(room)
    head = Head(str(_RAY.get_runtime_context().gcs_address))
    try:
        _check_room(room)
        yield head
    finally:
        head.leave()
        if not inside:
            ray.shutdown()


def _join(room: Room) -> None:
    os.environ.setdefault(*_NO_TELEMETRY)
    only_local: dict[str, Any] = {"include_dashboard": False} if room.address == "local" else {}
    try:
        ray.init(address=room.address, log_to_driver=False, configure_logging=False, **only_local)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise NetworkFailure(
            f"cannot join the Ray cluster at {room.address}: {reason}; is it running (ray start "
            "--head, then ray start --address on the others), with the same Ray and Python?"
        ) from error
    raise_stopped()  # Ray has taken the signals for itself


def _check_room(room: Room) -> None:
    there = float(_RAY.cluster_resources().get("CPU", 0.0))
    if there < room.workers * room.cpus:
        raise BadInput(
            f"the cluster has {there:g} processors, and {room.workers} workers of {room.cpus:g} "
            "take more; give fewer --pairs, fewer --worker-cpus, or add nodes"
        )


def address_of_node() -> str:
    """By which other nodes of the cluster reach this one."""
    return str(_RAY.util.get_node_ip_address())


def actors(kind: type, room: Room) -> Any:
    """What makes actors of `kind` in the cluster; one that dies stays dead."""
    return ray.remote(num_cpus=room.cpus, max_restarts=0)(kind)


def why_lost(error: RayError) -> str:
    """Why an actor does not answer, in a line. Raises the error itself where that is a bug in the
    actor, not its end.
    """
    if isinstance(error, RayTaskError):
        raise error
    if isinstance(error, ActorUnavailableError):
        return "its process, or the node that it is on, does not answer"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
