"""Silent VOLE: half-trees, the sparse F_16 code, a 128-bit hash.

Specifies native/silent; conventions are those of the package. Three kernels write into an array of
the caller's (`leaves`, `target`): one buffer then holds many iterations without a copy. Nothing
secret decides a branch or a memory index: positions and coefficients of the code are public, the
place of a puncture is reached by masks.
"""

from __future__ import annotations

import numpy as np

from moiety.protocols.arrays import U8, U16, U32, U64
from moiety.protocols.kernels.reference.blocks import aes, keystream, mmo
from moiety.protocols.kernels.reference.checks import (
    check_array,
    check_bytes,
    check_range,
    check_target,
)
from moiety.protocols.kernels.reference.field import multiples, times_x

__all__ = [
    "add_multiples",
    "encode_blocks",
    "encode_nibbles",
    "hash_blocks",
    "tree_full",
    "tree_punctured",
]

DEGREE = 10
"""Non-zero entries per output of the code."""
MAX_DEPTH = 16
_TILE = 4096  # outputs encoded at once, so that the temporaries stay in the cache


# --- hash -----------------------------------------------------------------------------------------


def hash_blocks(blocks: U8, key: U8) -> U8:
    """Hash blocks to 128 bits: `H(x_i)`, `uint8 (n, 16)` to `(n, 16)`.

    `H` is `blocks.mmo` for k = 1, whose keys count up from `key`, `uint8 (16,)`. The lookups' pads
    are its low 64 bits; their keys must be others.
    """
    check_bytes("blocks", blocks, None, 16)
    check_bytes("key", key, 16)
    return mmo(blocks, key, 1)


# --- products -------------------------------------------------------------------------------------


def add_multiples(target: U8, delta: U8, elements: U8) -> None:
    """Add `elements[i] * delta`, nibble by nibble in F_16, to row i of `target`.

    target: `uint8 (n, 16)`, written to; delta: `uint8 (16,)`, secret; elements: `uint8 (n,)`
    below 16, public.
    """
    check_target("target", target, None, 16)
    check_bytes("delta", delta, 16)
    check_bytes("elements", elements, len(target))
    if elements.size and int(elements.max()) > 15:
        raise ValueError("elements must be below 16")
    target ^= multiples(delta, 4)[elements]


# --- half-trees -----------------------------------------------------------------------------------


def tree_full(keys: U8, offset: U8, roots: U8, depth: int, leaves: U8) -> U8:
    """Grow correlated GGM trees of `2^depth` leaves (half-trees).

    Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023. keys: `uint8 (t, 16)`, the public AES
    key of each tree; offset: `uint8 (16,)`; roots: `uint8 (t, 16)`; depth: 2..16; leaves:
    `uint8 (t << depth, 16)`, written to, tree after tree.

    The first level is `(root, root ^ offset)`. A node x above the last level has children
    `(h, h ^ x)`, `h = H(x) = AES_key(s(x)) ^ s(x)`, so every level XORs to `offset`; nodes of
    the last but one have the leaves `(H(x), H(x ^ 1))`. `s` maps 64-bit halves `(low, high)`
    to `(high, low ^ high)`.

    Returns `uint8 (t, depth + 1, 16)`: the XOR of the left nodes of levels 1 .. depth-1, of the
    left leaves, of the right leaves.
    """
    trees = _check_trees(keys, depth, leaves)
    check_bytes("offset", offset, 16)
    check_bytes("roots", roots, trees, 16)
    sums = np.empty((trees, depth + 1, 16), np.uint8)
    nodes = np.stack([roots, roots ^ offset], axis=1)
    sums[:, 0] = roots
    for level in range(1, depth - 1):
        left = _tree_hash(keys, nodes)
        sums[:, level] = np.bitwise_xor.reduce(left, axis=1)
        nodes = _interleave(left, left ^ nodes)
    left, right = _tree_hash(keys, nodes), _tree_hash(keys, _other(nodes))
    sums[:, depth - 1] = np.bitwise_xor.reduce(left, axis=1)
    sums[:, depth] = np.bitwise_xor.reduce(right, axis=1)
    leaves[:] = _interleave(left, right).reshape(-1, 16)
    return sums


def tree_punctured(keys: U8, holes: U16, sums: U8, depth: int, leaves: U8) -> None:
    """The other side of `tree_full`: all leaves of each tree but one, whose number is secret.

    keys: `uint8 (t, 16)`; holes: `uint16 (t,)` below `2^depth`, secret; sums:
    `uint8 (t, depth + 1, 16)`: for each level 1 .. depth the XOR of the nodes on the side where the
    hole's path is not, then the XOR that all leaves shall have, which sets the leaf in the hole;
    leaves: as in `tree_full`.

    The node on the path is kept as the XOR of all others of its level, which differs from the true
    one by the offset. Then hashes of a level XOR to the same for either side, and one difference C
    of sums repairs both children of the path's node: that is all masks have to do.
    """
    trees = _check_trees(keys, depth, leaves)
    check_array("holes", holes, np.uint16, trees)
    check_bytes("sums", sums, trees, depth + 1, 16)
    if trees and int(holes.max()) >> depth:
        raise ValueError(f"holes must be below 2^{depth}")
    nodes = np.stack([sums[:, 0], sums[:, 0]], axis=1)
    for level in range(1, depth - 1):
        left = _tree_hash(keys, nodes)
        repair = sums[:, level] ^ np.bitwise_xor.reduce(left, axis=1)
        left ^= _at(holes >> np.uint16(depth - level), 1 << level) & repair[:, None, :]
        nodes = _interleave(left, left ^ nodes)
    left, right = _tree_hash(keys, nodes), _tree_hash(keys, _other(nodes))
    left_sum, right_sum = (np.bitwise_xor.reduce(side, axis=1) for side in (left, right))
    goes_right = -(holes & np.uint16(1)).astype(np.uint8)[:, None]
    sibling = sums[:, depth - 1] ^ right_sum ^ ((left_sum ^ right_sum) & goes_right)
    hole = sums[:, depth] ^ left_sum ^ right_sum ^ sibling
    swap = (sibling ^ hole) & goes_right
    on_path = _at(holes >> np.uint16(1), 1 << depth - 1)
    left ^= on_path & (hole ^ swap)[:, None, :]
    right ^= on_path & (sibling ^ swap)[:, None, :]
    leaves[:] = _interleave(left, right).reshape(-1, 16)


def _tree_hash(keys: U8, nodes: U8) -> U8:
    """`H` with each tree's key: `uint8 (t, m, 16)` to the same shape."""
    halves = nodes.view("<u8")
    mixed = np.stack([halves[..., 1], halves[..., 0] ^ halves[..., 1]], axis=-1).view(np.uint8)
    hashed = mixed.copy()
    for key, tree in zip(keys, hashed, strict=True):
        tree ^= aes(key.tobytes(), tree)
    return hashed.reshape(nodes.shape)


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


def code_entries(key: U8, start: int, n: int, size: int) -> tuple[U32, U8]:
    """Public positions and coefficients of the code's outputs `start .. start + n - 1`.

    key: `uint8 (16,)`; start: at most 2^40; n: at most 2^32; size: 1..2^20. The AES-CTR stream of
    `key` is cut into 32-bit words (little-endian), 160 for each group of 16 outputs: word
    `16*j + r` of group g is the j-th entry of output `16*g + r`. Word x has position `x*size >> 32`
    and, f being the low 32 bits of `x*size`, coefficient `1 + (15*f >> 32)`.

    Returns positions `uint32 (n, 10)` below `size` and coefficients `uint8 (n, 10)` in 1..15.
    """
    check_bytes("key", key, 16)
    check_range("start", start, 0, 2**40)
    check_range("n", n, 0, 2**32)
    check_range("size", size, 1, 2**20)
    group, skip = divmod(start, 16)
    groups = -(-(skip + n) // 16)
    stream = keystream(key.tobytes(), group * 4 * DEGREE, groups * 4 * DEGREE)
    words = (
        stream.reshape(-1)
        .view("<u4")
        .reshape(groups, DEGREE, 16)
        .transpose(0, 2, 1)
        .reshape(groups * 16, DEGREE)[skip : skip + n]
    )
    product = words.astype(np.uint64) * np.uint64(size)
    fraction = product & np.uint64(0xFFFFFFFF)
    coefficients = np.uint64(1) + (fraction * np.uint64(15) >> np.uint64(32))
    return (product >> np.uint64(32)).astype(np.uint32), coefficients.astype(np.uint8)


def encode_blocks(seeds: U8, key: U8, start: int, target: U8) -> None:
    """Add the code's outputs `start ..` to `target`: row i gets `sum_j c_ij * seeds[p_ij]`.

    Products are nibble by nibble in F_16. seeds: `uint8 (size, 16)`; key, start and the entries: as
    in `code_entries`; target: `uint8 (n, 16)`, written to.
    """
    check_bytes("seeds", seeds, None, 16)
    check_target("target", target, None, 16)
    words = np.ascontiguousarray(seeds).view(np.uint64)
    out = target.view(np.uint64)
    for at in range(0, len(target), _TILE):
        rows = out[at : at + _TILE]
        positions, coefficients = code_entries(key, start + at, len(rows), len(seeds))
        rows ^= _combine(words[positions], coefficients)


def encode_nibbles(
    seeds: U8, key: U8, start: int, n: int, depth: int, holes: U16, values: U8
) -> U8:
    """The code's outputs for single elements, with regular noise: `uint8 (n,)`, below 16.

    Outputs are `start .. start + n - 1`, the last below `t << depth`. seeds: `uint8 (size,)`,
    below 16; depth: 0..16; holes: `uint16 (t,)` below `2^depth`; values: `uint8 (t,)` below 16.
    Output `(b << depth) + holes[b]` also gets `values[b]`. Seeds, holes and values are secret.
    """
    check_bytes("seeds", seeds, None)
    if seeds.size and int(seeds.max()) > 15:
        raise ValueError("seeds must be below 16")
    check_range("depth", depth, 0, MAX_DEPTH)
    check_array("holes", holes, np.uint16, None)
    check_bytes("values", values, len(holes))
    check_range("start + n", start + n, 0, len(holes) << depth)
    out = np.empty(n, np.uint8)
    for at in range(0, n, _TILE):
        rows = out[at : at + _TILE]
        index = np.arange(start + at, start + at + len(rows))
        positions, coefficients = code_entries(key, start + at, len(rows), len(seeds))
        rows[:] = _combine(seeds[positions].astype(np.uint64)[:, :, None], coefficients)[:, 0]
        block = index >> depth
        rows ^= -(holes[block] == index - (block << depth)).astype(np.uint8) & values[block]
    return out


def _combine(terms: U64, coefficients: U8) -> U64:
    """`sum_j c_j * x_j` over axis 1, on words of nibbles: `(n, d, m)` and `(n, d)` to `(n, m)`."""
    total = np.zeros((len(terms), terms.shape[2]), np.uint64)
    for bit in (3, 2, 1, 0):  # Horner's rule in X
        total = times_x(total.view(np.uint8)).view(np.uint64)
        masks = -(coefficients >> np.uint8(bit) & np.uint8(1)).astype(np.uint64)
        total ^= np.bitwise_xor.reduce(terms & masks[:, :, None], axis=1)
    return total


# --- checks ---------------------------------------------------------------------------------------


def _check_trees(keys: U8, depth: int, leaves: U8) -> int:
    check_bytes("keys", keys, None, 16)
    check_range("depth", depth, 2, MAX_DEPTH)
    check_target("leaves", leaves, len(keys) << depth, 16)
    return len(keys)
