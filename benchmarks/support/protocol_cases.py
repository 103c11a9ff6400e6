"""What `benchmarks.protocols` measures: inputs from a seed, makers for both parties (see
parties.py), checks.

Default sizes are those at which the peers were measured. Seeds are public and shares are drawn by
NumPy: these are measurements, not secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols import ring
from moiety.protocols.arrays import I32, I64, U8, U64
from moiety.protocols.compare.joint import truncate_with_gates, truncate_with_gates_cost
from moiety.protocols.compare.joint_plan import TreePlan, plan_one_tree, plan_separate
from moiety.protocols.compare.maxpool import maxpool, maxpool_cost
from moiety.protocols.compare.product import product, product_cost, square, square_cost
from moiety.protocols.compare.relu import gates, gates_cost, relu, relu_cost
from moiety.protocols.compare.truncate import (
    truncate_exact,
    truncate_exact_cost,
    truncate_stochastic,
    truncate_stochastic_cost,
)
from moiety.protocols.cost import Cost, Draw
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.rlwe import SEED_BYTES
from moiety.protocols.linear.server import ServerLinear, linear_server, new_query_server
from moiety.protocols.linear.spec import LinearSpec, download_bytes, query_bytes, upload_bytes
from moiety.protocols.network import LAN
from moiety.protocols.ot.on_demand import TransferReceiver, TransferSender
from moiety.protocols.session import Session

Shape = tuple[int, ...]
Call = Callable[[], Any]
POOL = ((3, 3), (2, 2), (1, 1, 1, 1))
LAYERS = {
    "conv 1x1 56x56 128->128": ((128, 56, 56), 128, 1),
    "conv 1x1 14x14 512->128": ((512, 14, 14), 128, 1),
    "conv 3x3 56x56 128->32": ((128, 56, 56), 32, 3),
    "conv 3x3 14x14 128->32": ((128, 14, 14), 32, 3),
}
"""Input shape, filters, kernel side: the four convolutions of a DenseNet-121 that the peers
were measured at.
"""

PUBLIC_SEED = bytes(range(SEED_BYTES))


@dataclass(frozen=True)
class Case:
    """One protocol at one size.

    `maker` is run by both parties with `arguments` and returns the call.
    `check(server's result, client's)` says what is wrong, or None. `declared` is what the traffic
    must be. `work` items are done per call, of a kind named by `unit`.
    """

    name: str
    maker: str
    arguments: tuple[Any, ...]
    check: Callable[[Any, Any], str | None]
    declared: Cost
    work: int
    unit: str


def cases(elements: int, pool: tuple[int, int, int], shrink: int, seed: int) -> Iterator[Case]:
    """All cases: element-wise protocols on `elements` values, max-pool on `pool`, convolutions with
    channels and filters divided by `shrink`.
    """
    yield from relu_cases(elements, seed)
    yield gates_case(elements, 16, 8, seed)
    yield from truncation_cases(elements, seed)
    yield from joint_cases(elements, seed)
    yield from product_cases(elements, seed)
    yield from maxpool_cases(pool, seed)
    for name, (shape, filters, kernel) in LAYERS.items():
        small, fewer = (max(1, shape[0] // shrink), *shape[1:]), max(1, filters // shrink)
        for guard in (1, 0):
            yield linear_case(f"{name} guard {guard}", small, fewer, kernel, guard, seed)
    yield from correlation_cases(elements)


def relu_cases(elements: int, seed: int) -> Iterator[Case]:
    n = (elements,)
    for bits, out_bits in ((13, 24), (16, 28), (32, 32), (41, 41)):
        yield _of_elements(
            f"relu {bits} to {out_bits} bits",
            "make_relu",
            (seed, n, bits, out_bits),
            opens_to(np.maximum(values(seed, n, bits), 0), out_bits),
            relu_cost(elements, bits, out_bits),
            elements,
        )


def truncation_cases(elements: int, seed: int) -> Iterator[Case]:
    n = (elements,)
    for bits, shift in ((28, 12), (41, 12)):
        floors = values(seed, n, bits) >> shift
        arguments = (seed, n, bits, shift)
        yield _of_elements(
            f"truncate exact {bits} bits by {shift}",
            "make_truncate_exact",
            arguments,
            opens_to(floors, bits - shift),
            truncate_exact_cost(elements, bits, shift),
            elements,
        )
        yield _of_elements(
            f"truncate stochastic {bits} bits by {shift}",
            "make_truncate_stochastic",
            arguments,
            opens_to(floors, bits - shift, above=1),
            truncate_stochastic_cost(elements, bits, shift),
            elements,
        )


JOINT = (30, 15, 14)
"""Bits of a layer's results, what is truncated of them, and bits of the gates above."""


def joint_cases(elements: int, seed: int) -> Iterator[Case]:
    """Truncation with gates, in one tree and one after the other."""
    for count in (1, 8):
        for plan, way in ((plan_one_tree, "one tree"), (plan_separate, "one after the other")):
            yield joint_case(elements, count, plan(15, 13, count, elements, LAN), way, seed)


def joint_case(elements: int, count: int, plan: TreePlan, way: str, seed: int) -> Case:
    """Its work is counted in elements, whatever the number of thresholds."""
    bits, shift, gate_bits = JOINT
    y = values(seed, (elements,), bits) >> shift
    truncated = opens_to(y, bits - shift)
    above = _opens_to_bits(
        ring.to_signed(
            ring.reduce((y + thresholds(seed, count, gate_bits)).view(np.uint64), gate_bits),
            gate_bits,
        )
        >= 0
    )

    def check(server: tuple[U64, U8], client: tuple[U64, U8]) -> str | None:
        return truncated(server[0], client[0]) or above(server[1], client[1])

    return Case(
        name=f"truncate exact {bits} bits by {shift}, {count} gates, {way}",
        maker=f"{__name__}:make_truncate_with_gates",
        arguments=(seed, (elements,), count, plan),
        check=check,
        declared=truncate_with_gates_cost(elements, *JOINT, count, plan),
        work=elements,
        unit="elements",
    )


PRODUCT = (24, 11)
"""Bits of a product and of its second factor."""


def product_cases(elements: int, seed: int) -> Iterator[Case]:
    """Of as many elements, with a factor for each and with one for 49 or fewer; and squares."""
    bits, y_bits = PRODUCT
    for group in (1, min(49, elements)):
        n = elements // group
        x, y = values(seed, (n, group), bits), values(seed, (n,), y_bits)
        yield _of_elements(
            f"product {bits} bits by {y_bits}, {group} a factor",
            "make_product",
            (seed, n, group),
            opens_to(x * y[:, None], bits),
            product_cost(n, group, bits, y_bits),
            n * group,
        )
    yield _of_elements(
        f"square {y_bits} to {bits} bits",
        "make_square",
        (seed, (elements,)),
        opens_to(values(seed, (elements,), y_bits) ** 2, bits),
        square_cost(elements, y_bits, bits),
        elements,
    )


def maxpool_cases(pool: tuple[int, int, int], seed: int) -> Iterator[Case]:
    for bits in (16, 41):
        x = values(seed, pool, bits)
        yield _of_elements(
            f"max-pool 3x3/2 {bits} bits",
            "make_maxpool",
            (seed, pool, bits),
            opens_to(cleartext_pool(x), bits),
            maxpool_cost(pool, bits, *POOL),
            x.size,
        )


def correlation_cases(elements: int) -> Iterator[Case]:
    for width in (4, 1):
        yield Case(
            name=f"correlations of {width} bits",
            maker=f"{__name__}:make_correlations",
            arguments=(elements, width),
            check=check_correlations,
            declared=Cost((Draw("C", elements, width),)),
            work=elements,
            unit="correlations",
        )


def _of_elements(
    name: str,
    maker: str,
    arguments: tuple[Any, ...],
    check: Callable[[U64, U64], str | None],
    declared: Cost,
    work: int,
) -> Case:
    return Case(name, f"{__name__}:{maker}", arguments, check, declared, work, "elements")


def values(seed: int, shape: Shape, bits: int) -> I64:
    """The secret values: uniform over the inner half of the ring (max-pool's and ReLU's range), its
    edges in front. int64 of `shape`.
    """
    half = 1 << (bits - 2)
    x = np.random.default_rng(seed).integers(-half, half, shape)
    edges = np.array([0, -1, 1, half - 1, -half])[: x.size]
    x.reshape(-1)[: edges.size] = edges
    return x


def share(session: Session, seed: int, shape: Shape, bits: int) -> U64:
    """This party's additive share of `values`."""
    mine: U64 = ring.reduce(
        np.random.default_rng([seed, 1]).integers(0, 1 << 64, shape, np.uint64), bits
    )
    return (
        ring.reduce(ring.from_signed(values(seed, shape, bits), bits) - mine, bits)
        if session.is_server
        else mine
    )


def opens_to(
    expected: I64, bits: int, below: int = 0, above: int = 0
) -> Callable[[U64, U64], str | None]:
    """A check: the shares open to `expected`, or at most `below` less or `above` more,
    modulo 2^bits.
    """

    def check(server: U64, client: U64) -> str | None:
        if server.shape != expected.shape or client.shape != expected.shape:
            return (
                f"shares of shapes {server.shape} and {client.shape} where {expected.shape} is due"
            )
        error = ring.to_signed(
            ring.reduce(server + client - ring.from_signed(expected, bits), bits), bits
        )
        wrong = int(np.count_nonzero((error < -below) | (error > above)))
        return (
            f"{wrong} of {expected.size} values are wrong, the worst by {int(np.abs(error).max())}"
            if wrong
            else None
        )

    return check


def _opens_to_bits(expected: npt.NDArray[np.bool_]) -> Callable[[U8, U8], str | None]:
    """A check: the XOR of the shares is `expected`."""

    def check(server: U8, client: U8) -> str | None:
        if server.shape != expected.shape or client.shape != expected.shape:
            return (
                f"shares of shapes {server.shape} and {client.shape} where {expected.shape} is due"
            )
        wrong = int(np.count_nonzero((server ^ client) != expected))
        return f"{wrong} of {expected.size} values are wrong" if wrong else None

    return check


def cleartext_pool(x: I64) -> I64:
    """3x3 maxima with stride 2 and one ring of padding; int64 `(C,H,W)`."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=np.iinfo(np.int64).min)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows[:, ::2, ::2].max(axis=(3, 4))


# --- makers ---------------------------------------------------------------------------------------


def make_relu(session: Session, seed: int, shape: Shape, bits: int, out_bits: int) -> Call:
    x = share(session, seed, shape, bits)
    return lambda: relu(session, x, bits, out_bits)


def thresholds(seed: int, count: int, bits: int) -> I64:
    """`(count, 1)`, within a quarter of the ring, so that no sum leaves it."""
    quarter = 1 << (bits - 2)
    return np.random.default_rng([seed, 3]).integers(-quarter, quarter, (count, 1))


def make_gates(session: Session, seed: int, shape: Shape, bits: int, count: int) -> Call:
    x = share(session, seed, shape, bits)
    secrets = ring.from_signed(thresholds(seed, count, bits), bits) if session.is_server else None
    return lambda: gates(session, x, bits, count, secrets)


def gates_case(elements: int, bits: int, count: int, seed: int) -> Case:
    """`count` comparisons of every element, whose leaf transfers are shared."""
    expected = values(seed, (elements,), bits) + thresholds(seed, count, bits) >= 0
    return Case(
        name=f"gates {bits} bits, {count} thresholds",
        maker=f"{__name__}:make_gates",
        arguments=(seed, (elements,), bits, count),
        check=_opens_to_bits(expected),
        declared=gates_cost(elements, bits, count),
        work=elements * count,
        unit="comparisons",
    )


def make_truncate_exact(session: Session, seed: int, shape: Shape, bits: int, shift: int) -> Call:
    x = share(session, seed, shape, bits)
    return lambda: truncate_exact(session, x, bits, shift)


def make_truncate_with_gates(
    session: Session, seed: int, shape: Shape, count: int, plan: TreePlan
) -> Call:
    bits, _, gate_bits = JOINT
    x = share(session, seed, shape, bits)
    secrets = ring.from_signed(thresholds(seed, count, gate_bits), gate_bits)
    own = secrets if session.is_server else None
    return lambda: truncate_with_gates(session, x, *JOINT, count, own, plan)


def make_truncate_stochastic(
    session: Session, seed: int, shape: Shape, bits: int, shift: int
) -> Call:
    x = share(session, seed, shape, bits)
    return lambda: truncate_stochastic(session, x, bits, shift)


def make_product(session: Session, seed: int, n: int, group: int) -> Call:
    bits, y_bits = PRODUCT
    x, y = share(session, seed, (n, group), bits), share(session, seed, (n,), y_bits)
    return lambda: product(session, x, y, bits, y_bits)


def make_square(session: Session, seed: int, shape: Shape) -> Call:
    bits, v_bits = PRODUCT
    v = share(session, seed, shape, v_bits)
    return lambda: square(session, v, v_bits, bits)


def make_maxpool(session: Session, seed: int, shape: Shape, bits: int) -> Call:
    x = share(session, seed, shape, bits)
    return lambda: maxpool(session, x, bits, *POOL)


def make_linear(session: Session, seed: int, spec: LinearSpec) -> Call:
    """The hint is made here, once, as it is once per model; the call includes the
    image's fresh key.
    """
    x = share(session, seed, spec.geometry.in_shape, spec.bits)
    if session.is_server:
        layer = ServerLinear(spec, 0, PUBLIC_SEED, *_weights(seed, spec))
        layer.prepare()

        def server() -> U64:
            new_query_server(session, [spec], PUBLIC_SEED)
            return linear_server(session, layer, x)

        return server

    def client() -> U64:
        new_query_client(session, [spec], PUBLIC_SEED)
        return linear_client(session, spec, 0, PUBLIC_SEED, x)

    return client


def make_correlations(session: Session, n: int, width: int) -> Call:
    """n correlations of `width` bits, server -> client: (delta, w) at the server, (u, v)
    at the client.
    """
    if session.is_server:
        assert isinstance(session.sender, TransferSender)
        sender = session.sender._vole
        return lambda: (sender.delta, sender.extend(n, width))
    assert isinstance(session.receiver, TransferReceiver)
    receiver = session.receiver._vole
    return lambda: receiver.extend(n, width)


def check_correlations(server: tuple[U8, ...], client: tuple[U8, ...]) -> str | None:
    """`w = v + u * delta`, nibble by nibble in F_2[X]/(X^4 + X + 1)."""
    (delta, w), (u, v) = server, client
    product = np.zeros_like(w)
    power = np.stack([delta & 15, delta >> 4])  # delta * X^bit, low and high nibbles
    for bit in range(4):
        chosen = (u >> bit & 1)[:, None]
        product ^= chosen * (power[0] | power[1] << 4)
        power = (power << 1 & 15) ^ (power >> 3) * np.uint8(3)
    wrong = int(np.count_nonzero((product ^ v ^ w).any(axis=1)))
    return f"{wrong} of {u.size} correlations do not hold" if wrong else None


# --- convolutions ---------------------------------------------------------------------------------

CONV_BITS, CONV_WEIGHT_BITS = 28, 10


def linear_case(
    name: str, shape: tuple[int, int, int], filters: int, kernel: int, guard: int, seed: int
) -> Case:
    """A stride-1 convolution with 'same' padding in a 28-bit ring with 10-bit weights, in the
    layout that the compiler would choose.
    """
    side = kernel // 2
    out_shape = (filters, *shape[1:])
    geometry = Geometry(shape, out_shape, (kernel, kernel), (side,) * 4, (1, 1), 1)
    spec = plan_linear(geometry, CONV_BITS, CONV_WEIGHT_BITS, guard)
    below, above = (0, (1 << guard) - 1) if guard else (1, 1)
    return Case(
        name=name,
        maker=f"{__name__}:make_linear",
        arguments=(seed, spec),
        check=opens_to(cleartext_conv(seed, spec) << guard, spec.result_bits, below, above),
        declared=Cost.of(
            ("C", query_bytes([spec]) + upload_bytes(spec)),
            ("S", download_bytes(spec)),
        ),
        work=int(np.prod(out_shape)) * shape[0] * kernel * kernel,
        unit="multiply-adds",
    )


def _weights(seed: int, spec: LinearSpec) -> tuple[I32, I64]:
    rng = np.random.default_rng([seed, 2])
    bound = 1 << (spec.weight_bits - 1)
    weight = rng.integers(
        -bound + 1,
        bound,
        (spec.geometry.out_shape[0], spec.geometry.in_shape[0], *spec.geometry.kernel),
        np.int32,
    )
    return weight, rng.integers(-(1 << 20), 1 << 20, spec.geometry.out_shape[0])


def cleartext_conv(seed: int, spec: LinearSpec) -> I64:
    """The same convolution on open integers, modulo 2^64."""
    weight, bias = _weights(seed, spec)
    x = np.pad(
        values(seed, spec.geometry.in_shape, spec.bits),
        ((0, 0), spec.geometry.pads[0::2], spec.geometry.pads[1::2]),
    )
    total = np.zeros(spec.geometry.out_shape, np.int64) + bias[:, None, None]
    # Two 14-bit halves: float64 products of each are exact.
    low, high = x & 0x3FFF, x >> 14
    for dy in range(spec.geometry.kernel[0]):
        for dx in range(spec.geometry.kernel[1]):
            tap = weight[:, :, dy, dx].astype(np.float64)
            for part, scale in ((low, 1), (high, 1 << 14)):
                window = part[
                    :, dy : dy + spec.geometry.out_shape[1], dx : dx + spec.geometry.out_shape[2]
                ].reshape(spec.geometry.in_shape[0], -1)
                total += (tap @ window.astype(np.float64)).astype(np.int64).reshape(
                    spec.geometry.out_shape
                ) * scale
    return total
