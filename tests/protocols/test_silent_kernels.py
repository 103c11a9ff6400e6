"""Kernels of the silent generator: laws of the twins, and every compiled variant equal to the
reference.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference import silent as reference
from moiety.protocols.kernels.reference.silent import check_blocks
from moiety.protocols.kernels.reference.symmetric import lookup_send
from tests.protocols.oracles import aes, multiples, times
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("silent", reference)


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


def noise(seed: int, *shape: int) -> U8:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# --- independent evaluations, one value at a time -------------------------------------------------


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def tree_hash(key: bytes, node: bytes) -> bytes:
    mixed = sigma(node)
    return xor(aes(key, mixed), mixed)


def sigma(block: bytes) -> bytes:
    high = np.frombuffer(block[8:], np.uint8)
    times_x = multiples(np.full(1, 2, np.uint8), high)[0].tobytes()
    return block[8:] + xor(block[:8], times_x)


def tree(key: bytes, offset: bytes, root: bytes, depth: int, width: int) -> list[bytes]:
    level = [root, xor(root, offset)]
    for _ in range(depth - (2 if width == 4 else 1)):
        level = [child for x in level for h in [tree_hash(key, x)] for child in (h, xor(h, x))]
    if width == 1:
        return level
    return [tree_hash(key, y) for x in level for y in (x, bytes([x[0] ^ 1]) + x[1:])]


def position(key: bytes, output: int, term: int, size: int) -> int:
    word = 10 * output + term
    block = aes(key, (word // 4).to_bytes(16, "little"))
    return int.from_bytes(block[word % 4 * 4 :][:4], "little") * size >> 32


# --- kernels --------------------------------------------------------------------------------------


def test_the_hash_is_the_one_that_pads_lookups_after_sigma(twin: SimpleNamespace) -> None:
    blocks, key = noise(1, 1037, 16), np.full(16, 255, np.uint8)
    digest = twin.hash_blocks(blocks, key)
    mixed = [sigma(block.tobytes()) for block in blocks]
    # A 1-of-2 lookup of zeros with delta = 0 and shift 0 has the hash's low byte for its share.
    zeros = np.zeros(1037, np.uint8)
    w = np.frombuffer(b"".join(mixed), np.uint8).reshape(-1, 16)
    _, share = lookup_send(
        w, np.zeros(16, np.uint8), 1, key, zeros, np.zeros((1037, 2), np.uint8), 8
    )
    assert np.array_equal(digest[:, 0], share)
    for i in (0, 511, 512, 1023, 1024, 1036):
        later = ((2**64 - 1 + i // 512) % 2**64).to_bytes(8, "little") + bytes([255] * 8)
        block = mixed[i]
        assert digest[i].tobytes() == xor(aes(later, block), block)


WIDTHS = pytest.mark.parametrize("width", [1, 4])
ONE_SEED = np.zeros((1, 16), np.uint8)
"""With it the code adds nothing."""
CODE = np.zeros(16, np.uint8)


def leaves(twin: SimpleNamespace, keys: U8, offset: U8, roots: U8, depth: int, width: int) -> U8:
    rows = noise(99, len(keys) << depth, 16)  # what was there does not count
    checks = room(len(keys), depth, width)
    twin.expand_full(keys, offset, roots, depth, width, ONE_SEED, CODE, 0, rows, checks)
    return rows


def room(trees: int, depth: int, width: int) -> U8:
    """For checks."""
    return noise(98, trees, check_blocks(depth, width), 16)


@WIDTHS
@pytest.mark.parametrize("depth", [2, 3, 6, 7])
def test_trees_are_those_of_the_paper(twin: SimpleNamespace, depth: int, width: int) -> None:
    keys, offset, roots = noise(2, 3, 16), noise(3, 16), noise(4, 3, 16)
    grown = leaves(twin, keys, offset, roots, depth, width)
    for t in range(3):
        expected = tree(keys[t].tobytes(), offset.tobytes(), roots[t].tobytes(), depth, width)
        assert [leaf.tobytes() for leaf in grown[t << depth : (t + 1) << depth]] == expected


def punctured(
    twin: SimpleNamespace, keys: U8, offset: U8, roots: U8, depth: int, width: int, total: U8
) -> tuple[U8, U8]:
    """(whole, punctured) leaves, uint8 `(trees, 2^depth, 16)`: tree i has its hole at i."""
    sums = twin.tree_sums(keys, offset, roots, depth, width)
    holes = np.arange(len(keys), dtype=np.uint16)
    given_sums = np.empty_like(sums)
    for level in range(depth):
        to_left = (holes >> (depth - 1 - level) & 1) == 0
        given_sums[:, level] = np.where(to_left[:, None], sums[:, level] ^ offset, sums[:, level])
    if width == 4:
        given_sums[:, -2] = np.where((holes & 1 == 0)[:, None], sums[:, -1], sums[:, -2])
        given_sums[:, -1] = total
    rows = np.zeros((len(keys) << depth, 16), np.uint8)
    checks = room(len(keys), depth, width)
    twin.expand_punctured(keys, holes, given_sums, depth, width, ONE_SEED, CODE, 0, rows, checks)
    shape = (len(keys), -1, 16)
    return leaves(twin, keys, offset, roots, depth, width).reshape(shape), rows.reshape(shape)


@WIDTHS
@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_a_punctured_tree_has_all_leaves_but_one(
    twin: SimpleNamespace, depth: int, width: int
) -> None:
    """Every hole once. Inner sums of the sides without the path are K_0 or K_0 ^ offset."""
    trees = 1 << depth
    keys, offset, roots, total = (
        noise(5, trees, 16),
        noise(6, 16),
        noise(7, trees, 16),
        noise(8, trees, 16),
    )
    whole, holed = punctured(twin, keys, offset, roots, depth, width, total)
    different = (whole ^ holed).any(axis=2)
    assert np.array_equal(different, np.eye(trees, dtype=bool))
    if width == 4:
        assert np.array_equal(np.bitwise_xor.reduce(holed, axis=1), total)
    else:
        assert np.array_equal((whole ^ holed)[different], np.broadcast_to(offset, (trees, 16)))


@WIDTHS
@pytest.mark.parametrize(("size", "start"), [(1, 0), (100, 3), (65537, 31), (1 << 20, 16)])
def test_the_code_is_the_specified_matrix(
    twin: SimpleNamespace, size: int, start: int, width: int
) -> None:
    key, blocks, keys, offset = noise(9, 16), noise(10, size, 16), noise(11, 3, 16), noise(12, 16)
    elements, n = noise(13, size), 3 << 3
    rows = np.zeros((n, 16), np.uint8)
    checks = room(3, 3, width)
    twin.expand_full(keys, offset, keys, 3, width, blocks, key, start, rows, checks)
    coded = rows ^ leaves(twin, keys, offset, keys, 3, width)
    holes = (np.arange(80) * 7 % 8).astype(np.uint16).reshape(2, 40)
    values = (np.arange(80) % 255 + 1).astype(np.uint8).reshape(2, 40)
    single = twin.encode_elements(elements, key, start, n, 3, width, holes, values)
    powers = [8, 8, 4, 4, 2, 2, 2, 1, 1, 1] if width == 4 else [1] * 10
    coefficients = np.array(powers, np.uint8)
    for i in range(n):
        places = [position(key.tobytes(), start + i, j, size) for j in range(10)]
        terms = multiples(coefficients, blocks[places])
        assert np.array_equal(coded[i], np.bitwise_xor.reduce(terms))
        block, at = divmod(start + i, 8)
        expected = 0
        for hole, value in zip(holes[:, block], values[:, block], strict=True):
            expected ^= int(value) * int(hole == at)
        for p, c in zip(places, powers, strict=True):
            low, high = int(elements[p]) & 15, int(elements[p]) >> 4
            expected ^= times(c, low) | times(c, high) << 4
        assert single[i] == expected


def test_multiples(twin: SimpleNamespace) -> None:
    target, delta, elements = (
        noise(13, 40, 16),
        noise(14, 16),
        (np.arange(40) % 16).astype(np.uint8),
    )
    changed = target.copy()
    twin.add_multiples(changed, delta, elements)
    assert np.array_equal(changed ^ target, multiples(elements, delta))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(0, 12),
    st.integers(2, 9),
    st.integers(1, 5000),
    st.integers(0, 400),
)
@WIDTHS
@pytest.mark.parametrize("isa", FAMILY.isas)
def test_twins_are_equal(
    isa: str, width: int, seed: int, trees: int, depth: int, size: int, n: int
) -> None:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> U8:
        return rng.integers(0, 256, shape, np.uint8)

    keys, offset, roots, sums = (
        draw(trees, 16),
        draw(16),
        draw(trees, 16),
        draw(trees, depth + (width == 4), 16),
    )
    holes = rng.integers(0, 1 << depth, trees, np.uint16)
    start = int(rng.integers(0, 1 << 20))
    long_holes = rng.integers(0, 1 << depth, (trees % 3, (start + n >> depth) + 1), np.uint16)
    values, elements, blocks, target = (
        draw(*long_holes.shape),
        draw(size),
        draw(size, 16),
        draw(n, 16),
    )
    key, pairs = draw(16), draw(size, 32)
    multipliers = draw(n) & np.uint8(15)

    def evaluate(k: SimpleNamespace) -> list[U8]:
        full, holed = (np.zeros((trees << depth, 16), np.uint8) for _ in range(2))
        checks = [room(trees, depth, width) for _ in range(4)]
        multiplied, both, both_holed = target.copy(), np.zeros_like(full), np.zeros_like(full)
        made = k.tree_sums(keys, offset, roots, depth, width)
        shape, code = (depth, width), (blocks, offset, start)
        k.expand_full(keys, offset, roots, *shape, *code, full, checks[0])
        k.expand_punctured(keys, holes, sums, *shape, *code, holed, checks[1])
        even = slice(0, trees // 2 * 2)
        some, to, code = keys[even], slice(0, even.stop << depth), (pairs, key, start)
        k.expand_full(some, offset, roots[even], *shape, *code, both[to], checks[2][even])
        k.expand_punctured(
            some, holes[even], sums[even], *shape, *code, both_holed[to], checks[3][even]
        )
        k.add_multiples(multiplied, offset, multipliers)
        single = k.encode_elements(elements, offset, start, n, depth, width, long_holes, values)
        hashed = k.hash_blocks(target, key)
        return [made, full, holed, both, both_holed, multiplied, single, hashed, *checks]

    with FAMILY.twin(isa) as native:
        results = evaluate(native)
    for ours, theirs in zip(evaluate(FAMILY.reference), results, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("width", [1, 4])
def test_two_instances_side_by_side_are_those_of_each(twin: SimpleNamespace, width: int) -> None:
    keys, offset, roots, seeds = noise(1, 6, 16), noise(2, 16), noise(3, 6, 16), noise(4, 9, 32)
    both = np.zeros((6 << 3, 16), np.uint8)
    checks = room(6, 3, width)
    twin.expand_full(keys, offset, roots, 3, width, seeds, CODE, 5, both, checks)
    for i in range(2):
        own = np.ascontiguousarray(seeds[:, 16 * i : 16 * i + 16])
        alone = np.zeros((3 << 3, 16), np.uint8)
        own_checks = room(3, 3, width)
        twin.expand_full(keys[i::2], offset, roots[i::2], 3, width, own, CODE, 5, alone, own_checks)
        assert np.array_equal(both.reshape(3, 2, 8, 16)[:, i], alone.reshape(3, 8, 16))
        assert np.array_equal(checks[i::2], own_checks)


def test_bad_arguments(twin: SimpleNamespace) -> None:
    keys, offset, rows = noise(1, 2, 16), noise(2, 16), np.zeros((8, 16), np.uint8)
    code, checks = (ONE_SEED, CODE, 0), room(2, 2, 4)
    with pytest.raises(ValueError, match="depth"):
        twin.tree_sums(keys, offset, keys, 1, 4)
    with pytest.raises(ValueError, match="width"):
        twin.tree_sums(keys, offset, keys, 3, 2)
    with pytest.raises(ValueError, match="rows"):
        twin.expand_full(keys, offset, keys, 3, 4, *code, rows, room(2, 3, 4))
    with pytest.raises(ValueError, match="seeds"):
        twin.expand_full(keys, offset, keys, 2, 4, noise(4, 3, 48), CODE, 0, rows, checks)
    with pytest.raises(ValueError, match="trees"):
        twin.expand_full(
            keys[:1], offset, keys[:1], 3, 4, noise(4, 3, 32), CODE, 0, rows, room(1, 3, 4)
        )
    holes, sums = np.array([0, 4], np.uint16), noise(3, 2, 3, 16)
    with pytest.raises(ValueError, match="holes"):
        twin.expand_punctured(keys, holes, sums, 2, 4, *code, rows, checks)
    with pytest.raises(TypeError, match="holes"):
        twin.expand_punctured(keys, np.array([0, 3]), sums, 2, 4, *code, rows, checks)
    with pytest.raises(ValueError, match="sums"):
        twin.expand_punctured(keys, holes & np.uint16(3), sums, 2, 1, *code, rows, room(2, 2, 1))
    one, none = np.array([1], np.uint8), np.zeros((1, 1), np.uint16)
    with pytest.raises(ValueError, match="values"):
        twin.encode_elements(one, offset, 0, 1, 2, 4, none, one)
    with pytest.raises(ValueError, match="holes"):
        twin.encode_elements(one, offset, 0, 1, 2, 4, none[0], one)
    with pytest.raises(ValueError, match="width"):
        twin.encode_elements(one, offset, 0, 1, 2, 3, none, one[None])
    with pytest.raises(ValueError, match=r"start \+ n"):
        twin.encode_elements(one, offset, 4, 1, 2, 4, none, one[None])
    with pytest.raises(ValueError, match="elements"):
        twin.add_multiples(rows, offset, np.full(8, 16, np.uint8))
    with pytest.raises((TypeError, ValueError)):  # a copy would be written to, and lost
        twin.expand_full(
            keys, offset, keys, 2, 4, *code, np.zeros((8, 32), np.uint8)[:, ::2], checks
        )
    with pytest.raises(ValueError, match="checks"):
        twin.expand_full(keys, offset, keys, 2, 4, *code, rows, checks[:, 1:].copy())
    with pytest.raises(ValueError, match="checks"):
        twin.expand_full(keys, offset, keys, 2, 1, *code, rows, rows[:2, None])


def test_positions_are_spread_evenly() -> None:
    """Chi-square; its mean is the number of cells less one, its deviation sqrt(2 * mean)."""
    positions, cells = reference.code_positions(noise(14, 16), 0, 40_000, 1000), 1000
    counts = np.bincount(positions.reshape(-1), minlength=cells)
    assert counts.size == cells
    mean = positions.size / cells
    assert ((counts - mean) ** 2 / mean).sum() < cells + 5 * (2 * cells) ** 0.5


def test_kernels_are_registered() -> None:
    assert set(reference.__all__) <= set(kernels.kernel_names())
