"""Silent VOLE over F_2 and F_16: half-trees, the sparse code, a 128-bit hash.

Specifies native/silent; conventions are those of the package. `width` is 1 or 4, the bits of an
element of the field. Kernels that make rows write into an array of the caller's: one buffer then
holds those of several iterations without a copy. Nothing secret decides a branch or a memory index:
positions in the code are public, the place of a puncture is reached by masks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U16, U32
from moiety.protocols.kernels.reference.blocks import aes, keystream, mmo, sigma
from moiety.protocols.kernels.reference.checks import (
    check_array,
    check_bytes,
    check_range,
    check_target,
)
from moiety.protocols.kernels.reference.field import multiples, times_x
from moiety.protocols.kernels.reference.pool import Pool

__all__ = [
    "add_multiples",
    "encode_elements",
    "expand_full",
    "expand_punctured",
    "hash_blocks",
    "tree_sums",
]

DEGREE = 10
"""Non-zero entries per output of the code."""
GRADES = (3, 3, 2, 2, 1, 1, 1, 0, 0, 0)
"""Over F_16: entry j has the coefficient `X^GRADES[j]`. Sorted, so that the products of an output
are three multiplications by X.
"""
MAX_DEPTH = 16
_TILE = 4096  # outputs encoded at once, so that the temporaries stay in the cache


# --- hash -----------------------------------------------------------------------------------------


def hash_blocks(blocks: U8, key: U8) -> U8:
    """Hash blocks to 128 bits: `H(sigma(x_i))`, `uint8 (n, 16)` to `(n, 16)`.

    `H` is `blocks.mmo` for k = 1, whose keys count up from `key`, `uint8 (16,)`. With the blocks'
    difference `delta`, what is masked may contain multiples of delta (`blocks.sigma`).
    """
    check_bytes("blocks", blocks, None, 16)
    check_bytes("key", key, 16)
    return mmo(sigma(blocks), key, 1)


# --- products -------------------------------------------------------------------------------------


def add_multiples(target: U8, delta: U8, elements: U8, pool: Pool | None = None) -> None:
    """Add `elements[i] * delta`, nibble by nibble in F_16, to row i of `target`.

    target: `uint8 (n, 16)`, written to; delta: `uint8 (16,)`, secret; elements: `uint8 (n,)`
    below 16, public.
    """
    check_bytes("delta", delta, 16)
    check_bytes("elements", elements, None)
    check_target("target", target, np.uint8, (len(elements), 16), delta, elements)
    if elements.size and int(elements.max()) > 15:
        raise ValueError("elements must be below 16")
    target ^= multiples(delta, 4)[elements]


# --- half-trees -----------------------------------------------------------------------------------


def tree_sums(
    keys: U8, offset: U8, roots: U8, depth: int, width: int, pool: Pool | None = None
) -> U8:
    """Grow correlated GGM trees of `2^depth` leaves (half-trees), and sum their levels.

    Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023. keys: `uint8 (t, 16)`, the public AES
    key of each tree; offset: `uint8 (16,)`; roots: `uint8 (t, 16)`; depth: 2..16.

    The first level is `(root, root ^ offset)`. A node x has children `(h, h ^ x)`, `h = H(x) =
    AES_key(s(x)) ^ s(x)` with `s = blocks.sigma`, so every level XORs to `offset`. Width 1: that
    holds for the leaves too. Width 4: the nodes of the last level but one have the leaves `(H(x),
    H(x ^ 1))`, which are pseudo-random, also beside any multiple of the offset.

    Returns `uint8 (t, depth, 16)`, the XOR of the left nodes of levels 1 .. depth; of width 4
    `(t, depth + 1, 16)`, in which the XOR of the right leaves comes last.
    """
    sums, _, _ = _grow(keys, offset, roots, depth, width)
    return sums


def expand_full(
    keys: U8,
    offset: U8,
    roots: U8,
    depth: int,
    width: int,
    seeds: U8,
    code: U8,
    start: int,
    rows: U8,
    checks: U8,
    pool: Pool | None = None,
) -> None:
    """The leaves of the trees of `tree_sums`, each plus an output of the code, and their checks.

    seeds: `uint8 (size, 16)`, or of two instances side by side, `(size, 32)`, whose trees then
    alternate and get the same outputs of the code, each of its own seeds; code: `uint8 (16,)`, the
    key of its entries; start: the code's output that is added to leaf 0 (see `code_positions`);
    rows: `uint8 (t << depth, 16)`, written to; checks: `uint8 (t, check_blocks(depth, width), 16)`,
    written to.

    A tree's checks are sums (XOR) of nodes, for every level from the second on: of the left
    children whose parent's number has bit 0 set, then bit 1, and so on. A hashed level (the last
    one of width 4) has the sum of all left children before them, and then the same of its right
    children.
    """
    _, leaves, made = _grow(keys, offset, roots, depth, width)
    _expand(leaves, made, depth, width, seeds, code, start, rows, checks, keys, offset, roots)


def expand_punctured(
    keys: U8,
    holes: U16,
    sums: U8,
    depth: int,
    width: int,
    seeds: U8,
    code: U8,
    start: int,
    rows: U8,
    checks: U8,
    pool: Pool | None = None,
) -> None:
    """The other side of `expand_full`: all leaves of each tree but one, whose number is secret.

    keys: `uint8 (t, 16)`; holes: `uint16 (t,)` below `2^depth`, secret; sums: in the shape of
    `tree_sums`, for each level the XOR of the nodes on the side where the hole's path is not. Width
    1: the leaf in the hole is then the true one plus the offset. Width 4: the last of the sums is
    the XOR that all leaves shall have, which sets the leaf in the hole. All other arguments as in
    `expand_full`; the checks are of the nodes as they are kept here.

    The node on the path is kept as the XOR of all others of its level, which differs from the true
    one by the offset. Then hashes of a level XOR to the same for either side, and one difference C
    of sums repairs both children of the path's node: that is all masks have to do.
    """
    _check_trees(keys, depth, width)
    trees = len(keys)
    check_array("holes", holes, np.uint16, trees)
    check_bytes("sums", sums, trees, depth + (width == 4), 16)
    if trees and int(holes.max()) >> depth:
        raise ValueError(f"holes must be below 2^{depth}")
    nodes, made = np.stack([sums[:, 0], sums[:, 0]], axis=1), []
    for level in range(1, depth - (width == 4)):
        left = _tree_hash(keys, nodes)
        repair = sums[:, level] ^ np.bitwise_xor.reduce(left, axis=1)
        left ^= _at(holes >> np.uint16(depth - level), 1 << level) & repair[:, None, :]
        made.append(_by_bits(left))
        nodes = _interleave(left, left ^ nodes)
    if width == 4:
        left, right = _last_punctured(keys, holes, sums, depth, nodes)
        made += _of_hashed(left, right)
        nodes = _interleave(left, right)
    _expand(nodes, made, depth, width, seeds, code, start, rows, checks, keys, holes, sums)


def check_blocks(depth: int, width: int) -> int:
    """Blocks that a tree is checked by."""
    if width == 1:
        return depth * (depth - 1) // 2
    return (depth - 1) * (depth - 2) // 2 + 2 * depth


def _by_bits(nodes: U8) -> U8:
    """Of `uint8 (t, 2^bits, 16)` the sums of those whose number has a bit, `(t, bits, 16)`."""
    bits = nodes.shape[1].bit_length() - 1
    sums = np.empty((len(nodes), bits, 16), np.uint8)
    for bit in range(bits):
        halves = nodes.reshape(len(nodes), 1 << bits - bit - 1, 2, 1 << bit, 16)
        sums[:, bit] = np.bitwise_xor.reduce(halves[:, :, 1], axis=(1, 2))
    return sums


def _of_hashed(left: U8, right: U8) -> list[U8]:
    """The checks of a hashed level."""
    return [
        checks
        for side in (left, right)
        for checks in (np.bitwise_xor.reduce(side, axis=1)[:, None], _by_bits(side))
    ]


def _grow(keys: U8, offset: U8, roots: U8, depth: int, width: int) -> tuple[U8, U8, list[U8]]:
    """(sums as `tree_sums` returns them, leaves `uint8 (t, 2^depth, 16)`, checks by levels)."""
    _check_trees(keys, depth, width)
    trees = len(keys)
    check_bytes("offset", offset, 16)
    check_bytes("roots", roots, trees, 16)
    sums = np.empty((trees, depth + (width == 4), 16), np.uint8)
    nodes, checks = np.stack([roots, roots ^ offset], axis=1), []
    sums[:, 0] = roots
    for level in range(1, depth - (width == 4)):
        left = _tree_hash(keys, nodes)
        sums[:, level] = np.bitwise_xor.reduce(left, axis=1)
        checks.append(_by_bits(left))
        nodes = _interleave(left, left ^ nodes)
    if width == 4:
        left, right = _tree_hash(keys, nodes), _tree_hash(keys, _other(nodes))
        sums[:, depth - 1] = np.bitwise_xor.reduce(left, axis=1)
        sums[:, depth] = np.bitwise_xor.reduce(right, axis=1)
        checks += _of_hashed(left, right)
        nodes = _interleave(left, right)
    return sums, nodes, checks


def _last_punctured(keys: U8, holes: U16, sums: U8, depth: int, nodes: U8) -> tuple[U8, U8]:
    """The hashed leaves, left and right, from the level above."""
    left, right = _tree_hash(keys, nodes), _tree_hash(keys, _other(nodes))
    left_sum, right_sum = (np.bitwise_xor.reduce(side, axis=1) for side in (left, right))
    goes_right = -(holes & np.uint16(1)).astype(np.uint8)[:, None]
    sibling = sums[:, depth - 1] ^ right_sum ^ ((left_sum ^ right_sum) & goes_right)
    hole = sums[:, depth] ^ left_sum ^ right_sum ^ sibling
    swap = (sibling ^ hole) & goes_right
    on_path = _at(holes >> np.uint16(1), 1 << depth - 1)
    left ^= on_path & (hole ^ swap)[:, None, :]
    right ^= on_path & (sibling ^ swap)[:, None, :]
    return left, right


def _tree_hash(keys: U8, nodes: U8) -> U8:
    """`H` with each tree's key: `uint8 (t, m, 16)` to the same shape."""
    hashed = sigma(nodes)
    for key, tree in zip(keys, hashed, strict=True):
        tree ^= aes(key.tobytes(), tree)
    return hashed


def _other(nodes: U8) -> U8:
    flipped = nodes.copy()
    flipped[..., 0] ^= 1
    return flipped


def _interleave(left: U8, right: U8) -> U8:
    return np.stack([left, right], axis=2).reshape(len(left), 2 * left.shape[1], 16)


def _at(index: U16, size: int) -> U8:
    """All ones at the secret index: `uint8 (t, size, 1)`."""
    return -(index[:, None] == np.arange(size)).astype(np.uint8)[:, :, None]


# --- the code -------------------------------------------------------------------------------------


def code_positions(code: U8, start: int, n: int, size: int) -> U32:
    """Public positions of the ten entries of the code's outputs `start .. start + n - 1`.

    code: `uint8 (16,)`; start + n: at most 2^40; size: 1..2^20. The AES-CTR stream of
    `code` is cut into 32-bit words (little-endian): word `10*i + j` is the j-th entry of output i,
    and word x has position `x*size >> 32`.

    An output is the sum of its entries' seeds (width 1), or of `X^GRADES[j]` times the seed of
    entry j, nibble by nibble in F_16 (width 4).

    Returns `uint32 (n, 10)` below `size`.
    """
    _check_code(code, start, n, size)
    block, skip = divmod(start * DEGREE, 4)
    blocks = -(-(skip + n * DEGREE) // 4)
    stream = keystream(code.tobytes(), block, blocks).reshape(-1).view("<u4")
    words = stream[skip : skip + n * DEGREE].reshape(n, DEGREE)
    return (words.astype(np.uint64) * np.uint64(size) >> np.uint64(32)).astype(np.uint32)


def encode_elements(
    seeds: U8,
    code: U8,
    start: int,
    n: int,
    depth: int,
    width: int,
    holes: U16,
    values: U8,
    pool: Pool | None = None,
) -> U8:
    """The code's outputs for single elements, with regular noise: `uint8 (n,)`.

    A byte holds elements of several instances: eight of one bit, or two nibbles. Outputs are
    `start .. start + n - 1`, the last below `t << depth`. seeds: `uint8 (size,)`; depth: 0..16;
    holes: `uint16 (instances, t)` below `2^depth`; values: `uint8 (instances, t)`, an element at
    its instance's place in the byte. Output `(b << depth) + holes[i, b]` also gets `values[i, b]`.
    Seeds, holes and values are secret.
    """
    check_bytes("seeds", seeds, None)
    _check_width(width)
    check_range("depth", depth, 0, MAX_DEPTH)
    check_array("holes", holes, np.uint16, None, None)
    check_bytes("values", values, *holes.shape)
    check_range("n", n, 0, 2**32)
    _check_code(code, start, n, len(seeds))
    check_range("start + n", start + n, 0, holes.shape[1] << depth)
    out = np.empty(n, np.uint8)
    for at in range(0, n, _TILE):
        rows = out[at : at + _TILE]
        index = np.arange(start + at, start + at + len(rows))
        rows[:] = _combine(seeds, code_positions(code, start + at, len(rows), len(seeds)), width)
        block = index >> depth
        here = -(holes[:, block] == index - (block << depth)).astype(np.uint8)
        rows ^= np.bitwise_xor.reduce(here & values[:, block], axis=0)
    return out


def _expand(
    leaves: U8,
    made: list[U8],
    depth: int,
    width: int,
    seeds: U8,
    code: U8,
    start: int,
    rows: U8,
    checks: U8,
    *others: U8 | U16,
) -> None:
    """Writes leaves with the code's outputs to `rows`, and what the trees are checked by, which was
    `made` level by level, to `checks`.
    """
    side = _instances(seeds, len(leaves))
    _check_code(code, start, len(leaves) // side << depth, len(seeds))
    check_target("rows", rows, np.uint8, (len(leaves) << depth, 16), *others, seeds, code)
    shape = len(leaves), check_blocks(depth, width), 16
    check_target("checks", checks, np.uint8, shape, rows, *others, seeds, code)
    np.concatenate(made, axis=1, out=checks)
    rows[:] = leaves.reshape(-1, 16)
    outputs = rows.reshape(-1, side, 1 << depth, 16).swapaxes(1, 2)  # the same for all instances
    trees = max(1, _TILE >> depth)
    for at in range(0, len(outputs), trees):
        part = outputs[at : at + trees]
        positions = code_positions(code, start + (at << depth), len(part) << depth, len(seeds))
        part ^= _combine(seeds, positions, width).reshape(part.shape)


def _combine(seeds: U8, positions: U32, width: int) -> U8:
    """The code's outputs with these entries: `(size, ...)` and `(n, 10)` to `(n, ...)`."""
    total = np.zeros((len(positions), *seeds.shape[1:]), np.uint8)
    grade = max(GRADES)
    for j in range(DEGREE):  # over F_16, Horner's rule in X
        if width == 4 and GRADES[j] < grade:
            grade, total = GRADES[j], times_x(total)
        total ^= seeds[positions[:, j]]
    return total


# --- checks ---------------------------------------------------------------------------------------


def _check_width(width: int) -> None:
    """ValueError unless an element has 1 or 4 bits."""
    if width not in (1, 4):
        raise ValueError(f"width must be 1 or 4, got {width}")


def _instances(seeds: U8, trees: int) -> int:
    """How many instances these seeds are of; ValueError unless as many trees are of each."""
    check_bytes("seeds", seeds, None, None)
    side, rest = divmod(seeds.shape[1], 16)
    if rest or side not in (1, 2):
        raise ValueError(f"seeds must have 16 or 32 columns, not {seeds.shape[1]}")
    if trees % side:
        raise ValueError("trees of two instances must be as many of either")
    return side


def _check_code(code: U8, start: int, n: int, size: int) -> None:
    check_bytes("code", code, 16)
    check_range("start", start, 0, 2**40)
    check_range("start + n", start + n, 0, 2**40)
    check_range("size", size, 1, 2**20)


def _check_trees(keys: U8, depth: int, width: int) -> None:
    check_bytes("keys", keys, None, 16)
    check_range("depth", depth, 2, MAX_DEPTH)
    _check_width(width)
