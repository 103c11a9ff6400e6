"""Declared costs: bytes each way and the order of flights of every
protocol, as formulas in its sizes.

Sizes may be integers or sympy expressions; the formulas are the same. Set-up, key and
refill bytes are declared like everything else; what the TCP layer adds (frame headers,
keep-alive) is counted apart by the transport. A test holds these declarations equal to what
the meter counts, byte for byte.

A Cost is the sequence of what is sent and of the correlations that are drawn. What drawing
costs depends on the generator: SoftSpoken sends a fixed number of bits for each, silent
generation sends a refill now and then, so its bytes depend on all that was drawn before.
`Cost.on` puts the two together.

Local work stands beside the messages, as amounts of named figures (how many pads, how many
residues); what a unit of a figure takes is in the table of prices (protocols/prices), and how work
and messages overlap is runtime/cost/clock's.

The compiler imports this module and no other protocol code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from moiety.protocols.compare.digits import DigitPlan, join_width, plan_digits
from moiety.protocols.network import LAN, Network
from moiety.protocols.ot.lpn import SMALL, LpnParameters, Pool

Size = Any  # int or sympy.Expr
Party = Literal["C", "S"]


def _ceil(value: Size, divisor: int) -> Size:
    """`ceil(value / divisor)`, exactly, for an int or a symbolic value."""
    if isinstance(value, int):
        return -(-value // divisor)
    import sympy

    return sympy.ceiling(sympy.sympify(value) / divisor)


def packed(n: Size, bits: int) -> Size:
    """Bytes of n values of `bits` bits."""
    return _ceil(n * bits, 8)


@dataclass(frozen=True)
class Work:
    """`amount` units of local work of the kind `figure`
    (protocols/prices says what a unit is).
    """

    figure: str
    amount: Size


Works = tuple[Work, ...]


@dataclass(frozen=True)
class Send:
    """`sender` sends bytes: after the work `made`, and the peer does the
    work `read` when they are there.
    """

    sender: Party
    nbytes: Size
    made: Works = ()
    read: Works = ()


@dataclass(frozen=True)
class Local:
    """Work of one party that waits for nothing but its own."""

    party: Party
    work: Works


@dataclass(frozen=True)
class Draw:
    """n correlations for k-bit choices of `receiver` are drawn."""

    receiver: Party
    n: Size
    k: int


class Generator(Protocol):
    """What drawing correlations sends."""

    def draw(self, demand: Draw) -> Iterable[Send]: ...


class SoftSpoken:
    """31 bits per correlation and bit of choice, in blocks of 128 correlations."""

    def draw(self, demand: Draw) -> Iterator[Send]:
        yield Send(demand.receiver, correlations(demand.n, demand.k))


@dataclass
class Silent:
    """Silent generation in both directions, from a fresh session on; follows
    the pools as the two parties do.
    """

    parameters: LpnParameters = SMALL
    batch: int = 2
    pools: dict[Party, Pool] = field(default_factory=dict)

    def pool(self, receiver: Party) -> Pool:
        """What this receiver has at hand."""
        return self.pools.setdefault(receiver, Pool(self.parameters, self.batch))

    def draw(self, demand: Draw) -> Iterator[Send]:
        made = self.pool(demand.receiver).take(demand.n, demand.k)
        yield Send(demand.receiver, made.shifts)
        yield Send(other(demand.receiver), made.answer)
        yield Send(demand.receiver, made.high)


@dataclass
class Mixed:
    """Silent generation for choices of at least `silent_from` bits, SoftSpoken below."""

    silent_from: int
    silent: Silent = field(default_factory=Silent)
    softspoken: SoftSpoken = field(default_factory=SoftSpoken)

    def draw(self, demand: Draw) -> Iterable[Send]:
        generator: Generator = self.silent if demand.k >= self.silent_from else self.softspoken
        return generator.draw(demand)


def other(party: Party) -> Party:
    """The peer."""
    return "S" if party == "C" else "C"


@dataclass(frozen=True)
class Wire:
    """`up`: bytes client -> server, `down`: bytes server -> client; `flights`: who sends, in order,
    one letter ('C' or 'S') per maximal run in one direction.
    """

    up: Size
    down: Size
    flights: str

    @property
    def rounds(self) -> int:
        """Number of flights."""
        return len(self.flights)

    @property
    def total(self) -> Size:
        """Bytes both ways."""
        return self.up + self.down


@dataclass(frozen=True)
class Cost:
    """What a protocol sends, draws and computes, in order. `up`, `down`, ... are those
    with SoftSpoken correlations.
    """

    events: tuple[Send | Draw | Local, ...] = ()

    @classmethod
    def of(cls, *messages: tuple[Party, Size]) -> Cost:
        """Messages alone: `Cost.of(("C", 10), ("S", 20))`."""
        return cls(tuple(Send(who, nbytes) for who, nbytes in messages))

    def __add__(self, following: Cost) -> Cost:
        """One after the other."""
        return Cost(self.events + following.events)

    def on(self, generator: Generator) -> Wire:
        """The bytes and flights with correlations from `generator`, whose state moves on."""
        up: Size = 0
        down: Size = 0
        flights: list[str] = []
        for event in self.events:
            if isinstance(event, Local):
                continue
            for message in generator.draw(event) if isinstance(event, Draw) else (event,):
                if message.nbytes == 0:
                    continue
                if message.sender == "C":
                    up = up + message.nbytes
                else:
                    down = down + message.nbytes
                if not flights or flights[-1] != message.sender:
                    flights.append(message.sender)
        return Wire(up, down, "".join(flights))

    @property
    def up(self) -> Size:
        return self.on(SoftSpoken()).up

    @property
    def down(self) -> Size:
        return self.on(SoftSpoken()).down

    @property
    def flights(self) -> str:
        return self.on(SoftSpoken()).flights

    @property
    def rounds(self) -> int:
        return self.on(SoftSpoken()).rounds

    @property
    def total(self) -> Size:
        return self.on(SoftSpoken()).total


def correlations(n: Size, k: int) -> Size:
    """Bytes of SoftSpoken corrections for n correlations of width k:
    31*k bits each, in blocks of 128.
    """
    return 31 * k * 16 * _ceil(n, 128)


def local(figure: str, amount: Size, party: Party | None = None) -> Cost:
    """Work of one party, or the same of both."""
    work = (Work(figure, amount),)
    return Cost(tuple(Local(each, work) for each in ("C", "S") if party in (None, each)))


def choose(receiver: Party, n: Size, k: int) -> Cost:
    """The receiver opens n 1-of-2^k transfers."""
    send = Send(receiver, packed(n, k), (Work("choose", n),), (Work("accept", n),))
    return Cost((Draw(receiver, n, k), send))


def answer(sender: Party, n: Size, k: int, bits: int, made: Works = (), read: Works = ()) -> Cost:
    """The sender answers them with `bits`-bit entries."""
    return Cost((Send(sender, packed(n * ((1 << k) - 1), bits), made, read),))


@dataclass(frozen=True)
class Lookup:
    """n lookups of `bits`-bit entries, with the work of making and of opening the answer."""

    n: Size
    k: int
    bits: Size
    made: Works = ()
    read: Works = ()


def lookups(jobs: Iterable[Lookup]) -> Cost:
    """Lookups in the same flights, server -> client: all are opened, then all answered."""
    jobs = list(jobs)
    opened = sum((choose("C", job.n, job.k) for job in jobs), Cost())
    return sum((answer("S", job.n, job.k, job.bits, job.made, job.read) for job in jobs), opened)


def lookup(n: Size, k: int, bits: int) -> Cost:
    """n lookups, server -> client."""
    return lookups([_xor_lookup(n, k, bits)])


def _xor_lookup(n: Size, k: int, bits: int) -> Lookup:
    return Lookup(n, k, bits, (Work(f"join_send_{k}", n),), (Work(f"join_recv_{k}", n),))


def _leaf(n: Size, k: int, count: Size, with_eq: bool) -> Lookup:
    """One digit against `count` thresholds. From two on, pads are kept apart from
    fields, at a price of their own.
    """
    fields = count * (1 + with_eq)
    if count == 1:
        return Lookup(n, k, fields, (Work(f"leaf_send_{k}", n),), (Work(f"leaf_recv_{k}", n),))
    made, read = (
        (Work(f"leaves_{side}_{k}", n), Work(f"field_{side}_{k}", n * fields))
        for side in ("send", "recv")
    )
    return Lookup(n, k, fields, made, read)


def comparison_plan(
    n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN
) -> DigitPlan:
    """The digits of n comparisons; for a symbolic n those of a tensor so large that round trips do
    not matter. Instead of a network, here and below, the plan itself may be given.
    """
    if isinstance(network, DigitPlan):
        return network
    return plan_digits(bits, count, n if isinstance(n, int) else None, network)


def less_than(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """Millionaires' comparison of n client values with `count` server
    values each, of `bits` bits.
    """
    made = comparison_plan(n, bits, count, network)
    sizes = made.digits
    cut = local("digit", n * len(sizes), "C") + local("digit", n * count * len(sizes), "S")
    total = cut + lookups(
        _leaf(n, k, count, index < len(sizes) - 1) for index, k in enumerate(sizes)
    )
    for groups in made.joins:
        jobs = [(size, index == len(groups) - 1) for index, size in enumerate(groups) if size > 1]
        total = total + local("join_choice", n * count * sum(size - 1 for size, _ in jobs))
        total = total + lookups(
            _xor_lookup(n * count, join_width(size, last), 2 - last) for size, last in jobs
        )
    return total


def gates(n: Size, bits: int, count: Size = 1, network: Network | DigitPlan = LAN) -> Cost:
    """DReLU of n elements for `count` thresholds each."""
    shifted = local("pass", 2 * n, "C") + local("pass", 4 * n * count, "S")
    return shifted + less_than(n, bits - 1, count, network) + local("bit_pass", 2 * n * count)


def multiplex(n: Size, out_bits: int) -> Cost:
    """Gate and extend n elements."""
    prepared = local("pass", 2 * n, "C") + local("pass", 2 * n, "S") + local("bit_pass", n)
    opened = choose("C", n, 2) + choose("S", n, 1)
    server = answer("S", n, 2, out_bits, (Work("mux_server", n),), (Work("open_2", n),))
    client = answer("C", n, 1, out_bits, (Work("mux_client", n),), (Work("open_1", n),))
    return prepared + opened + server + client + local("pass", 2 * n)


def relu(n: Size, bits: int, out_bits: int, network: Network | DigitPlan = LAN) -> Cost:
    """DReLU, then the multiplexer with extension; the same with and without secret thresholds."""
    return gates(n, bits, 1, network) + multiplex(n, out_bits)


def bit_to_ring(n: Size, bits: int) -> Cost:
    table = (Work("bit_table", n), Work("arith_send_1", n))
    return lookups([Lookup(n, 1, bits, table, (Work("open_1", n),))]) + local("pass", n)


def truncate_exact(n: Size, bits_in: int, shift: int, network: Network | DigitPlan = LAN) -> Cost:
    if shift == 0:
        return Cost()
    return (
        local("pass", 2 * n)
        + less_than(n, shift, 1, network)
        + bit_to_ring(n, bits_in - shift)
        + local("pass", 3 * n)
    )


def truncate_stochastic(n: Size, bits_in: int, shift: int) -> Cost:
    return local("pass", 3 * n)


def extend(n: Size, bits: int, out_bits: int, network: Network | DigitPlan = LAN) -> Cost:
    if bits == out_bits:
        return Cost()
    made = local("pass", 2 * n) + less_than(n, bits, 1, network) + bit_to_ring(n, out_bits - bits)
    return made + local("pass", 4 * n)


def reveal_to_client(n: Size, bits: int) -> Cost:
    return Cost.of(("S", packed(n, bits)))


def maxpool(
    shape: tuple[int, int, int],
    bits: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    network: Network = LAN,
) -> Cost:
    """Rows, then columns; each a binary tree of maxima."""
    total = Cost()
    for pairs in maxpool_pairs(shape, kernel, strides, pads):
        total = total + maxima(pairs, bits, network)
    return total


def maxima(n: Size, bits: Size, network: Network | DigitPlan = LAN) -> Cost:
    """One level of the trees: the maxima of n pairs."""
    return local("pass", 5 * n) + relu(n, bits, bits, network) + local("pass", 2 * n)


def maxpool_pairs(
    shape: tuple[int, int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> Iterator[int]:
    """How many maxima each level of the trees takes."""
    channels, height, width = shape[0], shape[1] + pads[0] + pads[2], shape[2] + pads[1] + pads[3]
    out_width = (width - kernel[1]) // strides[1] + 1
    out_height = (height - kernel[0]) // strides[0] + 1
    for size, count in (
        (kernel[1], channels * height * out_width),
        (kernel[0], channels * out_height * out_width),
    ):
        taps = size
        while taps > 1:
            yield taps // 2 * count
            taps -= taps // 2


def setup() -> Cost:
    """Base transfers and punctured trees, both directions: 128 transfers each."""
    receiver, sender = 2 * 32 * 128, 32 + 128 * 2 * 16
    return Cost.of(("S", receiver), ("C", sender + receiver), ("S", sender))
