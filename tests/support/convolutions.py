"""Convolutions to test linear layers with: their shapes, their specs,
and what they mean on integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import msgspec
import numpy as np

from moiety.protocols.arrays import I32, I64, U64
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.prg import Prg
from moiety.protocols.ring import reduce, to_signed
from moiety.protocols.session import Role, Session
from tests.support.two_party import MemoryChannel, channel_pair, run_both

A = TypeVar("A")
B = TypeVar("B")

SEED = b"public seed 0001"
NO_PADS = (0, 0, 0, 0)
GUARDS = (-2, 0, 1, 3)
"""Guard bits that layers are tested with; those of stochastic Programs are not positive."""


@dataclass(frozen=True)
class Conv:
    channels: int
    size: tuple[int, int]
    filters: int
    kernel: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = NO_PADS
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def in_shape(self) -> tuple[int, int, int]:
        return (self.channels, *self.size)

    @property
    def out_shape(self) -> tuple[int, int, int]:
        (height, width), (top, left, bottom, right) = self.size, self.pads
        return (
            self.filters,
            height + top + bottom - (self.kernel[0] - 1) * self.dilations[0],
            width + left + right - (self.kernel[1] - 1) * self.dilations[1],
        )

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            self.in_shape, self.out_shape, self.kernel, self.pads, self.dilations, self.groups
        )

    def spec(self, guard: int, bits: int = 28, weight_bits: int = 10, **plan: Any) -> LinearSpec:
        """As planned, but for these fields of the plan."""
        return replanned(plan_linear(self.geometry, bits, weight_bits, guard), **plan)


def replanned(spec: LinearSpec, **plan: Any) -> LinearSpec:
    """The spec with another plan in some fields."""
    return replace(spec, rlwe=msgspec.structs.replace(spec.rlwe, **plan))


def deviation(spec: LinearSpec, shares: Sequence[U64], expected: U64) -> I64:
    """What two shares of a result hold beyond `floor(2^guard * expected)`, signed; `expected` is
    modulo 2^bits.
    """
    if spec.guard >= 0:
        scaled = expected << np.uint64(spec.guard)
    else:
        scaled = reduce(expected, spec.bits) >> np.uint64(-spec.guard)
    return to_signed(reduce(shares[0] + shares[1] - scaled, spec.result_bits), spec.result_bits)


def check_deviation(spec: LinearSpec, found: I64) -> None:
    """Within the guard bits; without any, off by at most 1; where low bits were left behind, rarely
    by more than a step besides the floor.
    """
    low, high = (0, (1 << spec.guard) - 1) if spec.guard > 0 else (-1, 1)
    if spec.guard < 0:
        assert found.size < 1000 or np.mean((found.astype(float) - 0.5) ** 2) < 2
        low, high = -12, 12
    assert found.min() >= low
    assert found.max() <= high


def convolve(x: U64, weight: I32, conv: Conv) -> U64:
    """Integers modulo 2^64."""
    top, left, bottom, right = conv.pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)))
    w = weight.astype(np.int64).view(np.uint64)
    filters, rows, columns = conv.out_shape
    per_group_filters, per_group = filters // conv.groups, conv.channels // conv.groups
    out = np.zeros(conv.out_shape, np.uint64)
    for m in range(filters):
        first = m // per_group_filters * per_group
        for c in range(per_group):
            for dy in range(conv.kernel[0]):
                for dx in range(conv.kernel[1]):
                    y0, x0 = dy * conv.dilations[0], dx * conv.dilations[1]
                    out[m] += w[m, c, dy, dx] * padded[first + c, y0 : y0 + rows, x0 : x0 + columns]
    return out


Party = Callable[[Session], U64]


def layer_parties(layer: ServerLinear, x0: U64, x1: U64) -> tuple[Party, Party]:
    """(server, client) of one layer under keys of its own, on shares of its input; each returns its
    share of the output.
    """

    def server(session: Session) -> U64:
        new_query_server(session, [layer.spec], SEED)
        return linear_server(session, layer, x0)

    def client(session: Session) -> U64:
        new_query_client(session, [layer.spec], SEED)
        return linear_client(session, layer.spec, layer.layer, SEED, x1)

    return server, client


def bare_session(role: Role, channel: MemoryChannel) -> Session:
    """Linear layers use no transfers, so there are none here."""
    return Session(role, channel, Prg.from_os(), cast(Any, None), cast(Any, None))


def both(
    server: Callable[[Session], A], client: Callable[[Session], B]
) -> tuple[A, B, tuple[MemoryChannel, MemoryChannel]]:
    channels = channel_pair()
    sessions = [bare_session(role, channel) for role, channel in zip(Role, channels, strict=True)]
    return *run_both(lambda: server(sessions[0]), lambda: client(sessions[1]), channels), channels
