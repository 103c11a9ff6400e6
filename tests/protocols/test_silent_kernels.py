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


def test_the_hash_is_the_one_that_pads_lookups(twin: SimpleNamespace) -> None:
    blocks, key = noise(1, 1037, 16), np.full(16, 255, np.uint8)
    digest = twin.hash_blocks(blocks, key)
    # A 1-of-2 lookup of zeros with delta = 0 and shift 0 has the hash's low byte for its share.
    zeros = np.zeros(1037, np.uint8)
    _, share = lookup_send(
        blocks, np.zeros(16, np.uint8), 1, key, zeros, np.zeros((1037, 2), np.uint8), 8
    )
    assert np.array_equal(digest[:, 0], share)
    for i in (0, 511, 512, 1023, 1024, 1036):
        later = ((2**64 - 1 + i // 512) % 2**64).to_bytes(8, "little") + bytes([255] * 8)
        block = blocks[i].tobytes()
        assert digest[i].tobytes() == xor(aes(later, block), block)


@pytest.mark.parametrize("depth", [2, 3, 6, 7])
def test_trees_are_those_of_the_paper(twin: SimpleNamespace, depth: int) -> None:
    keys, offset, roots = noise(2, 3, 16), noise(3, 16), noise(4, 3, 16)
    leaves = np.zeros((3 << depth, 16), np.uint8)
    twin.tree_full(keys, offset, roots, depth, leaves)
    for t in range(3):
        expected = tree(keys[t].tobytes(), offset.tobytes(), roots[t].tobytes(), depth)
        assert [leaf.tobytes() for leaf in leaves[t << depth : (t + 1) << depth]] == expected


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_a_punctured_tree_has_all_leaves_but_one(twin: SimpleNamespace, depth: int) -> None:
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
def test_the_code_is_the_specified_matrix(
    twin: SimpleNamespace, size: int, start: int, n: int
) -> None:
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
        places, coefficients = map(list, zip(*entries, strict=True))
        terms = multiples(np.array(coefficients, np.uint8), blocks[places])
        assert np.array_equal(target[i] ^ before[i], np.bitwise_xor.reduce(terms))
        block, offset = divmod(start + i, 8)
        expected = int(values[block]) * int(holes[block] == offset)
        for p, c in entries:
            expected ^= times(c, int(elements[p]))
        assert nibbles[i] == expected


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
    st.integers(0, 40),
    st.integers(2, 9),
    st.integers(1, 5000),
    st.integers(0, 400),
)
@pytest.mark.parametrize("isa", FAMILY.isas)
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
    key = rng.integers(0, 256, 16, np.uint8)

    multipliers = draw(n) & np.uint8(15)

    def evaluate(k: SimpleNamespace) -> list[U8]:
        full, punctured = (np.zeros((trees << depth, 16), np.uint8) for _ in range(2))
        coded = target.copy()
        made = k.tree_full(keys, offset, roots, depth, full)
        k.tree_punctured(keys, holes, sums, depth, punctured)
        k.encode_blocks(blocks, offset, start, coded)
        k.add_multiples(coded, offset, multipliers)
        nibbles = k.encode_nibbles(elements, offset, start, n, depth, long_holes, values)
        return [made, full, punctured, coded, nibbles, k.hash_blocks(target, key)]

    with FAMILY.twin(isa) as native:
        results = evaluate(native)
    for ours, theirs in zip(evaluate(FAMILY.reference), results, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.array_equal(ours, theirs)


def test_bad_arguments(twin: SimpleNamespace) -> None:
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
    positions, coefficients = reference.code_entries(noise(14, 16), 0, 40_000, 1000)
    assert coefficients.min() == 1
    assert coefficients.max() == 15
    for values, cells in ((positions, 1000), (coefficients - 1, 15)):
        counts = np.bincount(values.reshape(-1), minlength=cells)
        assert counts.size == cells
        mean = values.size / cells
        assert ((counts - mean) ** 2 / mean).sum() < cells + 5 * (2 * cells) ** 0.5


def test_kernels_are_registered() -> None:
    assert set(reference.__all__) <= set(kernels.kernel_names())
