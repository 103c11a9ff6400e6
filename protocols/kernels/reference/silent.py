"""Reference twins of the silent-VOLE kernels: half-trees, the sparse F_16 code, a 128-bit hash. The
specification of `native/silent*`.

Conventions are those of `reference.py`: a *block* is 128 bits, uint8 `(16,)`, a vector of 32
elements of F_16 = F_2[X]/(X^4 + X + 1).

Three kernels write into an array of the caller's (`leaves`, `target`): one buffer then holds many
iterations without a copy. Nothing secret decides a branch or a memory index: positions and
coefficients of the code are public, the place of a puncture is reached by masks.

All functions raise TypeError for a wrong dtype and ValueError for a wrong
shape or an integer out of range.
"""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from moiety.protocols.kernels.reference.symmetric import HASH_KEY, aes_ctr

__all__ = [
    "add_multiples",
    "encode_blocks",
    "encode_nibbles",
    "hash_blocks",
    "tree_full",
    "tree_punctured",
]

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]

DEGREE = 10  # non-zero entries per output of the code
MAX_DEPTH = 16
_TILE = 4096  # outputs encoded at once, so that the temporaries stay in the cache


# --- hash -----------------------------------------------------------------------------------------


def hash_blocks(blocks: U8, tweak: int) -> U8:
    """`H(tweak + i, x_i) = AES(AES(x) ^ t) ^ AES(x)`, all 128 bits: uint8 `(n,16) -> (n,16)`.

    TMMO of Guo, Katz, Wang, Yu (S&P 2020), the hash whose low 64 bits pad the
    lookups; tweaks must not meet theirs.
    """
    _check("blocks", blocks, np.uint8, (None, 16))
    _check_range("tweak", tweak, 0, 2**64 - 1)
    once = _aes(HASH_KEY, blocks)
    tweaked = once.copy()
    tweaked.view("<u8")[:, 0] ^= np.uint64(tweak) + np.arange(len(blocks), dtype=np.uint64)
    return _aes(HASH_KEY, tweaked) ^ once


# --- products -------------------------------------------------------------------------------------


def add_multiples(target: U8, delta: U8, elements: U8) -> None:
    """Add `elements[i] * delta`, nibble by nibble in F_16, to row i of `target`, uint8 `(n,16)`.

    delta: uint8 `(16,)`, secret; elements: uint8 `(n,)` below 16, public.
    """
    _check_target("target", target, (None, 16))
    _check("delta", delta, np.uint8, (16,))
    _check("elements", elements, np.uint8, (len(target),))
    if elements.size and int(elements.max()) > 15:
        raise ValueError("elements must be below 16")
    multiples = np.zeros((16, 16), np.uint8)
    power = delta
    for bit in range(4):
        multiples[np.arange(16) >> bit & 1 == 1] ^= power
        power = (power << np.uint8(1) & np.uint8(0xEE)) ^ (
            power >> np.uint8(3) & np.uint8(0x11)
        ) * np.uint8(3)
    target ^= multiples[elements]


# --- half-trees -----------------------------------------------------------------------------------


def tree_full(keys: U8, offset: U8, roots: U8, depth: int, leaves: U8) -> U8:
    """Grow correlated GGM trees of 2^depth leaves (Guo, Yang, Wang, Zhang, Xie, Liu,
    Zhao, EUROCRYPT 2023: half-tree).

    keys: uint8 `(t,16)`, the public AES key of each tree; offset: uint8 `(16,)`; roots: uint8
    `(t,16)`; depth: 2..16. The first level is `(root, root ^ offset)`. A node x above the last
    level has children `(h, h ^ x)`, `h = H(x) = AES_key(s(x)) ^ s(x)`, so every level XORs to
    `offset`; nodes of the last but one have the leaves `(H(x), H(x ^ 1))`. `s` maps 64-bit halves
    `(low, high)` to `(high, low ^ high)`.

    Writes the leaves of tree after tree to `leaves`, uint8 `(t << depth, 16)`. Returns
    uint8 `(t, depth + 1, 16)`: the XOR of the left nodes of levels 1 .. depth-1, of the
    left leaves, of the right leaves.
    """
    trees = _check_trees(keys, depth, leaves)
    _check("offset", offset, np.uint8, (16,))
    _check("roots", roots, np.uint8, (trees, 16))
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
    """The other side of `tree_full`: all leaves but number `holes` (uint16 `(t,)`, below
    2^depth, secret) of each tree.

    sums: uint8 `(t, depth + 1, 16)`: for each level 1 .. depth the XOR of the nodes on
    the side where the hole's path is not, then the XOR that all leaves shall have,
    which sets the leaf in the hole.

    The node on the path is kept as the XOR of all others of its level, which differs from the true
    one by the offset. Then hashes of a level XOR to the same for either side, and one difference C
    of sums repairs both children of the path's node: that is all masks have to do.
    """
    trees = _check_trees(keys, depth, leaves)
    _check("holes", holes, np.uint16, (trees,))
    _check("sums", sums, np.uint8, (trees, depth + 1, 16))
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
    """`H` with each tree's key: uint8 `(t, m, 16) -> (t, m, 16)`."""
    halves = nodes.view("<u8")
    mixed = np.stack([halves[..., 1], halves[..., 0] ^ halves[..., 1]], axis=-1).view(np.uint8)
    hashed = mixed.copy()
    for key, tree in zip(keys, hashed, strict=True):
        tree ^= _aes(key.tobytes(), tree)
    return hashed.reshape(nodes.shape)


def _other(nodes: U8) -> U8:
    flipped = nodes.copy()
    flipped[..., 0] ^= 1
    return flipped


def _interleave(left: U8, right: U8) -> U8:
    return np.stack([left, right], axis=2).reshape(len(left), 2 * left.shape[1], 16)


def _at(index: U16, size: int) -> U8:
    """All-ones at the secret index: uint8 `(t, size, 1)`."""
    return -(index[:, None] == np.arange(size)).astype(np.uint8)[:, :, None]


# --- the code -------------------------------------------------------------------------------------


def code_entries(key: U8, start: int, n: int, size: int) -> tuple[U32, U8]:
    """Positions uint32 `(n,10)` below `size` and coefficients uint8 `(n,10)` in 1..15
    of outputs `start .. start + n
    - 1`. All public.

    The AES-CTR stream of `key` is cut into 32-bit words (little-endian), 160 for each
    group of 16 outputs: word 16*j
    + r of group g is the j-th entry of output 16*g + r. Word x has position `x*size >> 32` and, f
      being the low 32 bits of `x*size`, coefficient `1 + (15*f >> 32)`.
    """
    _check("key", key, np.uint8, (16,))
    _check_range("start", start, 0, 2**40)
    _check_range("n", n, 0, 2**32)
    _check_range("size", size, 1, 2**20)
    group, skip = divmod(start, 16)
    groups = -(-(skip + n) // 16)
    stream = aes_ctr(key, group * 4 * DEGREE, groups * 64 * DEGREE)
    words = (
        stream.view("<u4")
        .reshape(groups, DEGREE, 16)
        .transpose(0, 2, 1)
        .reshape(groups * 16, DEGREE)[skip : skip + n]
    )
    product = words.astype(np.uint64) * np.uint64(size)
    fraction = product & np.uint64(0xFFFFFFFF)
    coefficients = np.uint64(1) + (fraction * np.uint64(15) >> np.uint64(32))
    return (product >> np.uint64(32)).astype(np.uint32), coefficients.astype(np.uint8)


def encode_blocks(seeds: U8, key: U8, start: int, target: U8) -> None:
    """Add the code's outputs `start ..` to `target`, uint8 `(n,16)`: row i gets `sum_j c_ij *
    seeds[p_ij]`, nibble by nibble in F_16.

    seeds: uint8 `(size,16)`; entries as in `code_entries`.
    """
    _check("seeds", seeds, np.uint8, (None, 16))
    _check_target("target", target, (None, 16))
    words = np.ascontiguousarray(seeds).view(np.uint64)
    out = target.view(np.uint64)
    for at in range(0, len(target), _TILE):
        rows = out[at : at + _TILE]
        positions, coefficients = code_entries(key, start + at, len(rows), len(seeds))
        rows ^= _combine(words[positions], coefficients)


def encode_nibbles(
    seeds: U8, key: U8, start: int, n: int, depth: int, holes: U16, values: U8
) -> U8:
    """The code's outputs `start .. start + n - 1` for single elements, with regular
    noise: uint8 `(n,)`, below 16.

    seeds: uint8 `(size,)`, below 16; output `(b << depth) + holes[b]` also gets `values[b]`; holes:
    uint16 `(t,)` below 2^depth; values: uint8 `(t,)` below 16. All three are secret.
    """
    _check("seeds", seeds, np.uint8, (None,))
    if seeds.size and int(seeds.max()) > 15:
        raise ValueError("seeds must be below 16")
    _check_range("depth", depth, 0, MAX_DEPTH)
    _check("holes", holes, np.uint16, (None,))
    _check("values", values, np.uint8, (len(holes),))
    _check_range("start + n", start + n, 0, len(holes) << depth)
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
        high = (total >> np.uint64(3)) & np.uint64(0x1111111111111111)
        total = (total << np.uint64(1) & np.uint64(0xEEEEEEEEEEEEEEEE)) ^ high * np.uint64(3)
        masks = -(coefficients >> np.uint8(bit) & np.uint8(1)).astype(np.uint64)
        total ^= np.bitwise_xor.reduce(terms & masks[:, :, None], axis=1)
    return total


# --- shared ---------------------------------------------------------------------------------------


def _aes(key: bytes, blocks: U8) -> U8:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    return np.frombuffer(encryptor.update(blocks.tobytes()), np.uint8).reshape(blocks.shape)


def _check_trees(keys: U8, depth: int, leaves: U8) -> int:
    _check("keys", keys, np.uint8, (None, 16))
    _check_range("depth", depth, 2, MAX_DEPTH)
    _check_target("leaves", leaves, (len(keys) << depth, 16))
    return len(keys)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, got {value}")


def _check(
    name: str, array: NDArray[np.generic], dtype: type[np.generic], shape: tuple[int | None, ...]
) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, got {array.dtype}")
    if array.ndim != len(shape) or any(
        want not in (None, have) for have, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")


def _check_target(name: str, array: U8, shape: tuple[int | None, ...]) -> None:
    """For an array that is written to: a copy would lose what is written."""
    _check(name, array, np.uint8, shape)
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError(f"{name} must be contiguous and writeable")
