"""What a silent generator draws, seen where its kernels take it: noise, roots and keys of trees,
codes; over refills, over iterations and over the trees of one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8, U16
from moiety.protocols.ot.lpn import LpnParameters
from moiety.protocols.ot.silent import SilentReceiver
from tests.protocols.oracles import affine_rank, unevenness
from tests.protocols.test_silent import drain, endpoints
from tests.support.two_party import run_two_party

DEPTH = 5
REFILLS, BATCH, TREES = 4, 3, 220
WIDE = LpnParameters(seeds=160, trees=TREES, depth=DEPTH)
BITS = LpnParameters(seeds=160, trees=TREES, depth=DEPTH, width=1)
ITERATIONS = REFILLS * BATCH


@dataclass
class Seen:
    """By iteration, in order."""

    holes: list[U16] = field(default_factory=list)
    values: list[U8] = field(default_factory=list)
    shifts: list[U8] = field(default_factory=list)
    u: list[U8] = field(default_factory=list)
    roots: list[U8] = field(default_factory=list)
    keys: list[U8] = field(default_factory=list)
    codes: list[bytes] = field(default_factory=list)
    hashed: dict[bytes, int] = field(default_factory=lambda: defaultdict(int))
    sent: bytes = b""

    def choices(self) -> list[U8]:
        """Of every base correlation: 1 less the bits of the hole, and the noise value."""
        places = np.arange(DEPTH - 1, -1, -1, dtype=np.uint16)
        made = []
        for holes, values in zip(self.holes, self.values, strict=True):
            bits = (1 - (holes[:, None] >> places & np.uint16(1))).astype(np.uint8)
            made.append(bits if self.shifts[0].shape[1] == DEPTH else np.c_[bits, values])
        return made


def watched(parameters: LpnParameters) -> Seen:
    """Several refills of several iterations, from the operating system's randomness."""
    seen, width = Seen(), parameters.width
    with pytest.MonkeyPatch.context() as patch:

        def spy(name: str, note: Callable[..., None]) -> None:
            real = getattr(kernels, name)

            def both(*arguments: Any) -> Any:
                note(*arguments)
                return real(*arguments)

            patch.setattr(kernels, name, both)

        def encoded(seeds: U8, code: U8, start: int, n: int, *rest: Any) -> None:
            holes, values = rest[2:4]
            if len(holes) == 1 and start == parameters.released:  # what the next one starts from
                seen.codes.append(code.tobytes())
                seen.holes.append(holes[0].copy())
                seen.values.append(values[0].copy())

        def multiplied(target: U8, delta: U8, elements: U8, *_: Any) -> None:
            if len(elements) == TREES * parameters.levels:
                seen.shifts.append(elements.reshape(TREES, -1).copy())

        def summed(keys: U8, delta: U8, roots: U8, *_: Any) -> None:
            seen.keys.append(keys.copy())
            seen.roots.append(roots.copy())

        def hashed(blocks: U8, key: U8) -> None:
            seen.hashed[key.tobytes()] += 1

        real_choose = SilentReceiver._choose

        def choose(receiver: SilentReceiver, u: U8) -> tuple[U16, U8, U8]:
            seen.u.append(u.reshape(TREES, -1).copy())
            return real_choose(receiver, u)

        patch.setattr(SilentReceiver, "_choose", choose)
        spy("encode_elements", encoded)
        spy("add_multiples", multiplied)
        spy("tree_sums", summed)
        spy("hash_blocks", hashed)
        demands = ((BATCH * parameters.released, width),) * REFILLS
        outcome = run_two_party(*endpoints(parameters, BATCH, drain(demands)))
    assert len(seen.holes) == len(seen.shifts) == len(seen.roots) == ITERATIONS
    assert outcome.client
    return seen


@pytest.fixture(scope="module", params=[WIDE, BITS], ids=["F_16", "F_2"])
def seen(request: pytest.FixtureRequest) -> Seen:
    return watched(request.param)


def test_holes_are_uniform_and_independent(seen: Seen) -> None:
    """Every hole; beside that of the next tree, and of the same tree in the next iteration."""
    holes = np.array(seen.holes)
    assert holes.shape == (ITERATIONS, TREES)
    assert unevenness(holes, 1 << DEPTH) < 6
    upper = holes >> np.uint16(1)  # of four bits, so that pairs have enough samples a cell
    assert unevenness(upper[:, :-1] << np.uint16(4) | upper[:, 1:], 256) < 6
    assert unevenness(upper[:-1] << np.uint16(4) | upper[1:], 256) < 6
    for column in np.unpackbits(holes.astype(np.uint8)[..., None], axis=2)[..., -DEPTH:].T:
        assert len(np.unique(column, axis=0)) > TREES // 2, "trees of all iterations are alike"


def test_noise_is_never_zero(seen: Seen) -> None:
    """Over F_16 uniform among the others, whatever the hole and the last tree's; over F_2 one."""
    values = np.array(seen.values)
    assert values.shape == (ITERATIONS, TREES)
    if seen.shifts[0].shape[1] == DEPTH:
        assert np.all(values == 1)
        return
    assert values.min() == 1
    assert unevenness(values - 1, 15) < 6
    assert unevenness((values[:, :-1] - 1) * np.uint16(15) + values[:, 1:] - 1, 225) < 6
    assert unevenness((values[:-1] - 1) * np.uint16(15) + values[1:] - 1, 225) < 6
    holes = np.array(seen.holes)
    for part in (holes & 7, holes >> 2):
        assert unevenness((values - 1) * np.uint16(8) + part, 120) < 6


def test_shifts_tell_nothing_of_the_holes(seen: Seen) -> None:
    """What the sender is told of every level and of the noise value is uniform beside the choice:
    all four bits of it over F_16.
    """
    shifts, choices = np.array(seen.shifts), np.array(seen.choices())
    width = 1 if shifts.shape[2] == DEPTH else 4
    assert np.array_equal(shifts ^ choices, np.array(seen.u))
    for level in range(shifts.shape[2]):
        told, chosen = shifts[..., level].astype(np.uint16), choices[..., level].astype(np.uint16)
        assert unevenness(told, 1 << width) < 6
        options = 2 if level < DEPTH else 15
        chosen -= chosen.min()
        assert unevenness(chosen << np.uint16(width) | told, options << width) < 6


def test_roots_and_keys_of_trees_serve_once(seen: Seen) -> None:
    """Over trees, iterations and refills; no bit of them follows from others, and no root is one
    of the keys, which are public.
    """
    for blocks in (np.concatenate(seen.roots), np.concatenate(seen.keys)):
        assert len({block.tobytes() for block in blocks}) == ITERATIONS * TREES
        assert len({half.tobytes() for half in blocks.reshape(-1, 8)}) == 2 * ITERATIONS * TREES
        for at in range(0, len(blocks), 2 * TREES):
            assert affine_rank(blocks[at : at + 2 * TREES]) == 128 + 1
    public = {block.tobytes() for block in np.concatenate(seen.keys)}
    assert public.isdisjoint(block.tobytes() for block in np.concatenate(seen.roots))


def test_a_refill_has_a_code_that_no_other_has(seen: Seen) -> None:
    """Of 128 bits, the same for its iterations."""
    codes = [set(seen.codes[at : at + BATCH]) for at in range(0, ITERATIONS, BATCH)]
    assert all(len(code) == 1 for code in codes)
    assert len(set.union(*codes)) == REFILLS
    assert all(len(code) == 16 for code in seen.codes)


def test_every_hash_inside_a_refill_has_keys_of_its_own(seen: Seen) -> None:
    """At the sender two calls, of both options, and one at the receiver, for each iteration; over
    F_2 there are none.
    """
    if seen.shifts[0].shape[1] == DEPTH:
        assert not seen.hashed
        return
    assert len(seen.hashed) == ITERATIONS
    assert set(seen.hashed.values()) == {3}
