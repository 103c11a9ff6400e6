"""What a row of the conformance table is (cases.py): a protocol's inputs, what it must open to,
what it declares; and how both parties are run on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from moiety.protocols import ring
from moiety.protocols.arrays import I64, U8, U64
from moiety.protocols.channel import Traffic
from moiety.protocols.cost import Cost, declared_costs
from moiety.protocols.session import Session
from tests.support.two_party import Outcome, run_two_party, share

Rng = np.random.Generator
Protocol = Callable[..., Any]
Pair = tuple[Any, Any]
"""The server's and the client's, of inputs or of results."""
Shape = tuple[int, ...]


class Pinned(NamedTuple):
    """Whose bytes are a committed baseline: `baselines/{file}.json` has the digests of both
    parties' messages, from uniform ring elements of this shape and width.
    """

    file: str
    shape: Shape
    bits: int


@dataclass(frozen=True)
class Case:
    """`body` is run by each party on its input of `inputs`; `check(inputs, results)` asserts what
    the results open to; `cost` is what was declared. `protocols` are all that take part in it.
    """

    protocols: tuple[Protocol, ...]
    body: Callable[[Session, Any], Any]
    inputs: Callable[[Rng], Pair]
    check: Callable[[Pair, Pair], None]
    cost: Cost
    pinned: Pinned | None = None


class Run(NamedTuple):
    """`traffic`: server's and client's, set-up apart."""

    outcome: Outcome
    traffic: tuple[Traffic, Traffic]


def run(case: Case, inputs: Pair, seed: int | None = None) -> Run:
    """Both parties; with a seed their channels' digests depend on inputs and seed alone. Inputs are
    frozen: a protocol that writes to its own raises.
    """
    inputs = frozen(inputs)

    def side(mine: Any) -> Callable[[Session], tuple[Any, Traffic]]:
        def metered(session: Session) -> tuple[Any, Traffic]:
            total = session.channel.meter.total
            before = replace(total)
            result = case.body(session, mine)
            return result, Traffic(
                total.sent - before.sent,
                total.received - before.received,
                total.flights - before.flights,
            )

        return metered

    outcome = run_two_party(side(inputs[0]), side(inputs[1]), seed)
    (server, down), (client, up) = outcome
    return Run(Outcome(server, client, outcome.channels), (down, up))


def frozen(value: Any) -> Any:
    """The same arrays, views that cannot be written to, in tuples as they come."""
    if isinstance(value, tuple):
        return tuple(frozen(each) for each in value)
    view = value.view()
    view.flags.writeable = False
    return view


def check_traffic(case: Case, made: Run) -> None:
    """Asserts that both meters say what was declared."""
    cost, (server, client) = case.cost, made.traffic
    assert (client.sent, client.received) == (cost.up, cost.down) == (server.received, server.sent)
    # The set-up ends with a flight of the server's: a case that starts with
    # the server's goes on with it.
    assert server.flights == client.flights == len(cost.flights) - cost.flights.startswith("S")


def uniform(pinned: Pinned, name: str) -> Pair:
    """What a baseline is made from."""
    rng = np.random.default_rng(len(name))
    server, client = (rng.integers(0, 2**64, pinned.shape, np.uint64) for _ in range(2))
    return ring.reduce(server, pinned.bits), ring.reduce(client, pinned.bits)


def declared(protocol: Protocol, *sizes: Any) -> Cost:
    """What a protocol declares, at these sizes."""
    return declared_costs()[protocol](*sizes)


# --- inputs ---------------------------------------------------------------------------------------


def edge_values(bits: int, rng: Rng, n: int = 300) -> U64:
    """Random ring elements with the edges of the signed range in front, uint64 `(n,)`."""
    half = 1 << (bits - 1)
    edges = [0, 1, 2, 2 * half - 1, half - 1, half, half + 1, 15, 16, 17][:n]
    values = ring.reduce(rng.integers(0, 2**64, n, np.uint64), bits)
    values[: len(edges)] = [e % (1 << bits) for e in edges]
    return values


def half_ring(bits: int, rng: Rng, n: int) -> I64:
    """Values of the inner half of the ring, `[-2^(bits-2), 2^(bits-2))`, its ends in front."""
    quarter = 1 << (bits - 2)
    values = rng.integers(-quarter, quarter, n)
    ends = [-quarter, quarter - 1, 0, -1][:n]
    values[: len(ends)] = ends
    return values


def shares(shape: Shape, bits: int) -> Callable[[Rng], Pair]:
    """Of edge values."""
    size = int(np.prod(shape))
    return lambda rng: share(edge_values(bits, rng, size).reshape(shape), bits, rng)


def neighbours(n: int, bits: int) -> Callable[[Rng], Pair]:
    """Two independent values, of which a sixth are equal and a sixth one apart."""

    def make(rng: Rng) -> Pair:
        a, y = (edge_values(max(bits, 2), rng, n) & ring.mask(bits) for _ in range(2))
        third, half = n // 3, n // 2
        y[third:half] = a[third:half]
        y[half : 2 * third] = a[half : 2 * third] + np.uint64(1) & ring.mask(bits)
        return a, y

    return make


def pool_values(shape: Shape, bits: int) -> Callable[[Rng], Pair]:
    """Shares of values in the half of the ring that max-pool takes, whole corners at its ends."""

    def make(rng: Rng) -> Pair:
        low, high = -(1 << (bits - 2)), 1 << (bits - 2)
        v = rng.integers(low, high, shape)
        v[0, :2, :2], v[0, 3:5, 3:5] = low, high - 1
        return share(ring.from_signed(v, bits), bits, rng)

    return make


def opened(pair: Pair, bits: int) -> U64:
    """Additive shares, put together; both must be elements of their ring."""
    assert all(share.max(initial=0) <= ring.mask(bits) for share in pair), "shares are not reduced"
    return ring.reduce(pair[0] + pair[1], bits)


def bit(x: U64) -> U8:
    return (x & np.uint64(1)).astype(np.uint8)


# --- what a result must be ------------------------------------------------------------------------


def opens_to(bits: int, out_bits: int, meaning: Callable[[I64], Any]) -> Callable[..., None]:
    """Shares modulo 2^out_bits of the meaning of the signed input."""

    def check(inputs: Pair, results: Pair) -> None:
        expected = meaning(ring.to_signed(opened(inputs, bits), bits))
        assert np.array_equal(opened(results, out_bits), ring.from_signed(expected, out_bits))

    return check


def is_xor_of(meaning: Callable[[Pair], Any]) -> Callable[..., None]:
    """XOR shares of the meaning of both inputs."""

    def check(inputs: Pair, results: Pair) -> None:
        assert np.array_equal(results[0] ^ results[1], meaning(inputs))

    return check


def relu_meaning(x: I64, bits: int, c: U64, flip: U8) -> I64:
    """`[x + c >= 0] * (x + c)`, or of the other sign where flip is 1."""
    y = ring.to_signed(ring.reduce(x.view(np.uint64) + c, bits), bits)
    return np.where((y >= 0) ^ flip.astype(bool), y, 0)


def pool_meaning(
    v: I64, bits: int, kernel: tuple[int, int], strides: tuple[int, int], pads: Shape
) -> I64:
    """Maxima of the windows, padding the least."""
    around = ((0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    padded = np.pad(v, around, constant_values=-(1 << (bits - 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (1, 2))
    maxima: I64 = windows[:, :: strides[0], :: strides[1]].max((-1, -2))
    return maxima
