"""Silent VOLE: laws of the kernels' twins, the correlation over many iterations, declared
bytes and flights, wire digests.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.errors import ContractViolation
from moiety.protocols.kernels.reference import silent as reference
from moiety.protocols.kernels.reference.blocks import HASH_KEY
from moiety.protocols.kernels.reference.symmetric import lookup_send
from moiety.protocols.ot import lpn
from moiety.protocols.ot.lpn import LpnParameters, Pool
from moiety.protocols.ot.silent import CODE_KEY, FIRST_TWEAK, SilentReceiver, SilentSender
from moiety.protocols.ot.transfers import TransferReceiver, TransferSender
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from tests.support.two_party import MemoryChannel, channel_pair, run_both, run_two_party

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

BASELINES = Path(__file__).parent / "baselines" / "silent.json"

U8 = npt.NDArray[np.uint8]

ISAS: list[str] = _native.silent_isa_names() if _native is not None else []
# Far too small to be secure, small enough to be quick: 400 correlations make 1280, of which 880 are
# released.
TINY = LpnParameters(seeds=160, trees=40, depth=5)
SHALLOW = LpnParameters(seeds=37, trees=101, depth=2)
DEMANDS = ((100, 4), (1, 1), (900, 2), (1, 4), (5000, 3), (64, 4), (3, 2), (1100, 1))


def compiled_for(isa: str) -> Iterator[Any]:
    before = _native.silent_isa()
    _native.set_silent_isa(isa)
    yield SimpleNamespace(**{name: getattr(_native, name) for name in reference.__all__})
    _native.set_silent_isa(before)


@pytest.fixture(params=["reference", *ISAS])
def twin(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The reference twin, then the native one with every instruction set that runs here."""
    if request.param == "reference":
        yield reference
    else:
        yield from compiled_for(request.param)


def noise(seed: int, *shape: int) -> U8:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# --- independent evaluations, one value at a time -------------------------------------------------


def aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def product(x: int, y: int) -> int:
    """In F_16 = F_2[X]/(X^4 + X + 1)."""
    total = 0
    for bit in range(4):
        total ^= (y << bit) * (x >> bit & 1)
    for bit in (6, 5, 4):
        total ^= (0b10011 << (bit - 4)) * (total >> bit & 1)
    return total


def times(x: int, block: U8) -> U8:
    return np.array(
        [product(x, b & 15) | product(x, b >> 4) << 4 for b in block.tolist()], np.uint8
    )


def tree_hash(key: bytes, node: bytes) -> bytes:
    mixed = node[8:] + xor(node[:8], node[8:])
    return xor(aes(key, mixed), mixed)


def tree(key: bytes, offset: bytes, root: bytes, depth: int) -> list[bytes]:
    level = [root, xor(root, offset)]
    for _ in range(depth - 2):
        level = [child for x in level for h in [tree_hash(key, x)] for child in (h, xor(h, x))]
    return [tree_hash(key, y) for x in level for y in (x, bytes([x[0] ^ 1]) + x[1:])]


def entry(key: bytes, output: int, term: int, size: int) -> tuple[int, int]:
    word = 160 * (output // 16) + 16 * term + output % 16
    block = aes(key, (word // 4).to_bytes(16, "little"))
    scaled = int.from_bytes(block[word % 4 * 4 :][:4], "little") * size
    return scaled >> 32, 1 + ((scaled & 0xFFFFFFFF) * 15 >> 32)


# --- kernels --------------------------------------------------------------------------------------


def test_the_hash_is_the_one_that_pads_lookups(twin: Any) -> None:
    blocks, tweak = noise(1, 37, 16), FIRST_TWEAK + 5
    digest = twin.hash_blocks(blocks, tweak)
    # A 1-of-2 lookup of zeros with delta = 0 and shift 0 has the hash's low byte for its share.
    zeros = np.zeros(37, np.uint8)
    _, share = lookup_send(
        blocks, np.zeros(16, np.uint8), 1, tweak, zeros, np.zeros((37, 2), np.uint8), 8
    )
    assert np.array_equal(digest[:, 0], share)
    for i in (0, 36):
        once = aes(HASH_KEY, blocks[i].tobytes())
        assert digest[i].tobytes() == xor(
            aes(HASH_KEY, xor(once, (tweak + i).to_bytes(16, "little"))), once
        )


@pytest.mark.parametrize("depth", [2, 3, 6, 7])
def test_trees_are_those_of_the_paper(twin: Any, depth: int) -> None:
    keys, offset, roots = noise(2, 3, 16), noise(3, 16), noise(4, 3, 16)
    leaves = np.zeros((3 << depth, 16), np.uint8)
    twin.tree_full(keys, offset, roots, depth, leaves)
    for t in range(3):
        expected = tree(keys[t].tobytes(), offset.tobytes(), roots[t].tobytes(), depth)
        assert [leaf.tobytes() for leaf in leaves[t << depth : (t + 1) << depth]] == expected


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_a_punctured_tree_has_all_leaves_but_one(twin: Any, depth: int) -> None:
    """Every hole once. Inner sums of the sides without the path are K_0 or K_0 ^ offset."""
    trees = 1 << depth
    keys, offset, roots, total = (
        noise(5, trees, 16),
        noise(6, 16),
        noise(7, trees, 16),
        noise(8, trees, 16),
    )
    leaves = np.zeros((trees << depth, 16), np.uint8)
    sums = twin.tree_full(keys, offset, roots, depth, leaves)
    holes = np.arange(trees, dtype=np.uint16)
    given_sums = np.empty_like(sums)
    for level in range(depth - 1):
        to_left = (holes >> (depth - 1 - level) & 1) == 0
        given_sums[:, level] = np.where(to_left[:, None], sums[:, level] ^ offset, sums[:, level])
    given_sums[:, -2] = np.where((holes & 1 == 0)[:, None], sums[:, -1], sums[:, -2])
    given_sums[:, -1] = total
    punctured = np.zeros_like(leaves)
    twin.tree_punctured(keys, holes, given_sums, depth, punctured)
    different = (leaves != punctured).any(axis=1).reshape(trees, -1)
    assert np.array_equal(different, np.eye(trees, dtype=bool))
    assert np.array_equal(np.bitwise_xor.reduce(punctured.reshape(trees, -1, 16), axis=1), total)


@pytest.mark.parametrize(
    ("size", "start", "n"), [(1, 0, 1), (100, 3, 40), (65537, 31, 17), (1 << 20, 16, 16)]
)
def test_the_code_is_the_specified_matrix(twin: Any, size: int, start: int, n: int) -> None:
    key, blocks, before = noise(9, 16), noise(10, size, 16), noise(11, n, 16)
    elements = noise(12, size) & np.uint8(15)
    target = before.copy()
    twin.encode_blocks(blocks, key, start, target)
    holes, values = (
        (np.arange(40) * 7 % 8).astype(np.uint16),
        (np.arange(40) % 15 + 1).astype(np.uint8),
    )
    nibbles = twin.encode_nibbles(elements, key, start, n, 3, holes, values)
    for i in range(n):
        entries = [entry(key.tobytes(), start + i, j, size) for j in range(10)]
        assert all(position < size and 0 < c < 16 for position, c in entries)
        assert np.array_equal(
            target[i] ^ before[i], np.bitwise_xor.reduce([times(c, blocks[p]) for p, c in entries])
        )
        block, offset = divmod(start + i, 8)
        expected = int(values[block]) * int(holes[block] == offset)
        for p, c in entries:
            expected ^= product(c, int(elements[p]))
        assert nibbles[i] == expected


def test_multiples(twin: Any) -> None:
    target, delta, elements = (
        noise(13, 40, 16),
        noise(14, 16),
        (np.arange(40) % 16).astype(np.uint8),
    )
    changed = target.copy()
    twin.add_multiples(changed, delta, elements)
    assert np.array_equal(changed ^ target, [times(x, delta) for x in elements.tolist()])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.integers(2, 9),
    st.integers(1, 5000),
    st.integers(0, 400),
)
@pytest.mark.parametrize("isa", ISAS)
def test_twins_are_equal(isa: str, seed: int, trees: int, depth: int, size: int, n: int) -> None:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> U8:
        return rng.integers(0, 256, shape, np.uint8)

    keys, offset, roots, sums = (
        draw(trees, 16),
        draw(16),
        draw(trees, 16),
        draw(trees, depth + 1, 16),
    )
    holes = rng.integers(0, 1 << depth, trees, np.uint16)
    start = int(rng.integers(0, 1 << 20))
    long_holes = rng.integers(0, 1 << depth, (start + n >> depth) + 1, np.uint16)
    values, elements, blocks, target = (
        draw(long_holes.size) & 15,
        draw(size) & 15,
        draw(size, 16),
        draw(n, 16),
    )
    tweak = int(rng.integers(0, 2**64, dtype=np.uint64))

    multipliers = draw(n) & np.uint8(15)

    def evaluate(k: Any) -> list[Any]:
        full, punctured = (np.zeros((trees << depth, 16), np.uint8) for _ in range(2))
        coded = target.copy()
        made = k.tree_full(keys, offset, roots, depth, full)
        k.tree_punctured(keys, holes, sums, depth, punctured)
        k.encode_blocks(blocks, offset, start, coded)
        k.add_multiples(coded, offset, multipliers)
        nibbles = k.encode_nibbles(elements, offset, start, n, depth, long_holes, values)
        return [made, full, punctured, coded, nibbles, k.hash_blocks(target, tweak)]

    for native in compiled_for(isa):
        results = evaluate(native)
    for ours, theirs in zip(evaluate(reference), results, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)


def test_bad_arguments(twin: Any) -> None:
    keys, offset, leaves = noise(1, 2, 16), noise(2, 16), np.zeros((8, 16), np.uint8)
    with pytest.raises(ValueError, match="depth"):
        twin.tree_full(keys, offset, keys, 1, leaves)
    with pytest.raises(ValueError, match="leaves"):
        twin.tree_full(keys, offset, keys, 3, leaves)
    with pytest.raises(ValueError, match="holes"):
        twin.tree_punctured(keys, np.array([0, 4], np.uint16), noise(3, 2, 3, 16), 2, leaves)
    with pytest.raises(TypeError, match="holes"):
        twin.tree_punctured(keys, np.array([0, 3]), noise(3, 2, 3, 16), 2, leaves)
    with pytest.raises(ValueError, match="seeds"):
        twin.encode_nibbles(
            np.array([16], np.uint8), offset, 0, 1, 2, np.zeros(1, np.uint16), np.zeros(1, np.uint8)
        )
    with pytest.raises(ValueError, match=r"start \+ n"):
        twin.encode_nibbles(
            np.array([1], np.uint8), offset, 4, 1, 2, np.zeros(1, np.uint16), np.zeros(1, np.uint8)
        )
    with pytest.raises(ValueError, match="elements"):
        twin.add_multiples(leaves, offset, np.full(8, 16, np.uint8))
    with pytest.raises((TypeError, ValueError)):  # a copy would be written to, and lost
        twin.encode_blocks(keys, offset, 0, np.zeros((8, 32), np.uint8)[:, ::2])


def test_entries_are_spread_evenly() -> None:
    """Chi-square of positions and coefficients; its mean is the number of cells less one,
    its deviation sqrt(2 * mean).
    """
    positions, coefficients = reference.code_entries(CODE_KEY, 0, 40_000, 1000)
    assert coefficients.min() == 1
    assert coefficients.max() == 15
    for values, cells in ((positions, 1000), (coefficients - 1, 15)):
        counts = np.bincount(values.reshape(-1), minlength=cells)
        assert counts.size == cells
        mean = values.size / cells
        assert ((counts - mean) ** 2 / mean).sum() < cells + 5 * (2 * cells) ** 0.5


# --- protocol -------------------------------------------------------------------------------------

Demands = tuple[tuple[int, int], ...]


def endpoints(
    parameters: LpnParameters, batch: int, use: Callable[[Any], Any]
) -> tuple[Callable[[Session], Any], Callable[[Session], Any]]:
    """(server, client): silent generators, server to client, bootstrapped by
    the session's SoftSpoken ones.
    """

    def softspoken(transfers: Any) -> Any:
        return transfers._vole.softspoken

    def server(session: Session) -> Any:
        with session.channel.meter.labelled("case"):
            return use(
                SilentSender(
                    session.channel, softspoken(session.sender), session.prg, parameters, batch
                )
            )

    def client(session: Session) -> Any:
        with session.channel.meter.labelled("case"):
            return use(
                SilentReceiver(
                    session.channel, softspoken(session.receiver), session.prg, parameters, batch
                )
            )

    return server, client


def drain(demands: Demands) -> Callable[[Any], Any]:
    def use(generator: Any) -> Any:
        made = [generator.extend(n, k) for n, k in demands]
        return getattr(generator, "delta", None), made

    return use


@pytest.mark.parametrize(("parameters", "batch"), [(TINY, 1), (TINY, 3), (SHALLOW, 2)])
def test_the_correlation_holds_over_iterations(parameters: LpnParameters, batch: int) -> None:
    outcome = run_two_party(*endpoints(parameters, batch, drain(DEMANDS)))
    (delta, sent), (_, received) = outcome
    for (n, k), w, (u, v) in zip(DEMANDS, sent, received, strict=True):
        assert w.shape == v.shape == (n, 16)
        assert u.shape == (n,)
        assert u.max() < 1 << k
        expected = v.copy()
        reference.add_multiples(expected, delta, u)
        assert np.array_equal(w, expected)


def test_u_is_uniform_and_nothing_repeats() -> None:
    n = 20_000
    (_, (w,)), (_, ((u, v),)) = run_two_party(*endpoints(TINY, 1, drain(((n, 4),))))
    for values in (u, v & 15, v >> 4, w & 15):
        counts = np.bincount(values.reshape(-1), minlength=16)
        mean = values.size / 16
        assert ((counts - mean) ** 2 / mean).sum() < 15 + 6 * 30**0.5
    for blocks in (v, w):
        assert len(np.unique(blocks, axis=0)) == n


def test_bases_are_never_released() -> None:
    """The correlations that a refill starts from are not among those given out, before or after."""

    def use(generator: Any) -> Any:
        released, bases = [], []
        for _ in range(12):
            made = generator.extend(300, 4)
            released.append(made if isinstance(made, np.ndarray) else made[1])
            bases.append(
                (generator._base if isinstance(made, np.ndarray) else generator._base_v).copy()
            )
        return np.concatenate(released), np.concatenate(bases)

    for released, bases in run_two_party(*endpoints(TINY, 1, use)):
        given_out = {row.tobytes() for row in released}
        assert len(given_out) == len(released)
        # At least four iterations.
        assert len({row.tobytes() for row in bases}) > 3 * TINY.reserved
        assert given_out.isdisjoint(row.tobytes() for row in bases)


@pytest.mark.parametrize(("parameters", "batch"), [(TINY, 1), (TINY, 2), (SHALLOW, 1)])
@pytest.mark.parametrize("demands", [((1, 4),), ((900, 4), (1, 1)), DEMANDS])
def test_declared_bytes_and_flights_are_the_metered_ones(
    parameters: LpnParameters, batch: int, demands: Demands
) -> None:
    pool = Pool(parameters, batch)
    declared = [pool.take(n, k) for n, k in demands]
    flights = "".join(extension.flights for extension in declared)
    merged = "".join(f for i, f in enumerate(flights) if i == 0 or f != flights[i - 1])
    outcome = run_two_party(*endpoints(parameters, batch, drain(demands)))
    server, client = (channel.meter.by_label["case"] for channel in outcome.channels)
    assert client.sent == server.received == sum(extension.forward for extension in declared)
    assert server.sent == client.received == sum(extension.answer for extension in declared)
    assert server.flights == client.flights == len(merged)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 4)), max_size=20), st.integers(1, 4))
def test_the_pool_serves_every_demand_and_stays_small(
    demands: list[tuple[int, int]], batch: int
) -> None:
    pool = Pool(TINY, batch)
    made = 0
    for n, k in demands:
        extension = pool.take(n, k)
        made += extension.iterations * TINY.released
        assert 0 <= pool.available <= batch * TINY.released
        assert extension.iterations == 0 or extension.answer == TINY.answer_bytes(
            extension.iterations
        )
    assert pool.available == made - sum(n for n, _ in demands)


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_transfers_run_on_it(k: int) -> None:
    rng = np.random.default_rng(k)
    n = 1500
    table = rng.integers(0, 256, (n, 1 << k), np.uint8)
    words = rng.integers(0, 2**64, (n, 1 << k), np.uint64)
    choices = rng.integers(0, 1 << k, n, np.uint8)

    def use(generator: Any) -> Any:
        if isinstance(generator, SilentSender):
            sender = TransferSender(generator._channel, generator)
            return sender.lookup(sender.accept(n, k), table, 8), sender.additive(
                sender.accept(n, k), words, 64
            )
        receiver = TransferReceiver(generator._channel, generator)
        return receiver.lookup(receiver.choose(choices, k), 8), receiver.additive(
            receiver.choose(choices, k), 64
        )

    (x0, y0), (x1, y1) = run_two_party(*endpoints(TINY, 1, use))
    assert np.array_equal(x0 ^ x1, table[np.arange(n), choices])
    assert np.array_equal(y0 + y1, words[np.arange(n), choices])


# --- parameters, misuse, wire ---------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [lpn.SMALL, lpn.LARGE])
def test_the_sets_hold_128_bits_by_the_estimate(parameters: LpnParameters) -> None:
    assert parameters.decoding_bits() > 136
    assert parameters.projected_bits() > 256


def test_the_estimate_falls_with_fewer_seeds_and_with_less_noise() -> None:
    full = lpn.SMALL.decoding_bits()
    assert LpnParameters(lpn.SMALL.seeds // 2, 850, 10).decoding_bits() < full - 40
    assert LpnParameters(lpn.SMALL.seeds, 850, 11).decoding_bits() < full - 40


@pytest.mark.parametrize(
    "arguments", [(0, 10, 5), (100, 10, 1), (100, 10, 17), (100, 0, 5), ((1 << 20) + 1, 9999, 16)]
)
def test_parameters_out_of_range(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ContractViolation, match="must be in"):
        LpnParameters(*arguments)


def test_parameters_without_gain() -> None:
    with pytest.raises(ContractViolation, match="uses up 1060 correlations and makes only 320"):
        LpnParameters(1000, 10, 5)


@pytest.mark.parametrize(("n", "k"), [(0, 4), (-1, 4), (10, 0), (10, 5)])
def test_impossible_demands(n: int, k: int) -> None:
    channel = MemoryChannel(None, None, 1.0)  # type: ignore[arg-type]  # nothing is sent
    bootstrap = SimpleNamespace(delta=np.zeros(16, np.uint8))
    for generator in (SilentSender, SilentReceiver):
        with pytest.raises(ContractViolation, match="no extension"):
            generator(channel, bootstrap, None, TINY).extend(n, k)  # type: ignore[arg-type]


def test_a_refill_makes_an_iteration() -> None:
    with pytest.raises(ContractViolation, match="at least one"):
        Pool(TINY, 0)


class IdealSender:
    """Correlations from a fixed seed, so that the digests below depend
    on nothing but the generator.
    """

    def __init__(self) -> None:
        self.delta = noise(20, 16)

    def extend(self, n: int, k: int) -> U8:
        u, w = IdealReceiver().extend(n, k)
        reference.add_multiples(w, self.delta, u)
        return w


class IdealReceiver:
    def extend(self, n: int, k: int) -> tuple[U8, U8]:
        return noise(21, n) & np.uint8((1 << k) - 1), noise(22, n, 16)


def test_wire_bytes_and_outputs_match_the_baseline() -> None:
    """A change of what is sent shows here; regenerate with
    MOIETY_WRITE_BASELINES=1 and review the difference.
    """
    channels = channel_pair()
    sender = SilentSender(channels[0], IdealSender(), Prg(b"randomness of S."), TINY)
    receiver = SilentReceiver(channels[1], IdealReceiver(), Prg(b"randomness of R."), TINY)
    use = drain(DEMANDS)
    (_, sent), _ = run_both(lambda: use(sender), lambda: use(receiver), channels)
    digests = {
        "sender": channels[0].digest.hexdigest(),
        "receiver": channels[1].digest.hexdigest(),
        "w": hashlib.sha256(b"".join(w.tobytes() for w in sent)).hexdigest(),
    }
    if os.environ.get("MOIETY_WRITE_BASELINES"):
        BASELINES.write_text(json.dumps(digests, indent=1) + "\n")
    assert digests == json.loads(BASELINES.read_text())


def test_kernels_are_registered() -> None:
    assert set(reference.__all__) <= set(kernels.kernel_names())
