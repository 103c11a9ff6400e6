"""Halves that do not belong together. A hospital that pairs its old half with the vendor's new ones
gets noise, for the vendor's serve once each. A vendor's half that outlived the weights it was made
with gives away how they changed; that is why a store is bound to the commitment to them
(tests/runtime/test_prepared_runs.py::test_a_retrained_model_never_meets_shares_of_the_old_one).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from moiety.protocols import ring
from moiety.protocols.arrays import I64
from moiety.runtime import program as ir
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.weights import Weights, commit
from tests.attacks.halves import GUARD, Halves, Parties, image_of, octets, two_layers
from tests.support.programs import make_program, random_weights, rlwe_plan
from tests.support.runnable import runnable
from tests.support.wiretap import deviates


@pytest.fixture(scope="module")
def parties() -> Parties:
    return Parties(*two_layers())


def test_an_old_half_against_new_ones_gives_noise(parties: Parties) -> None:
    """The client's half of item 0 against the vendor's of items 0 to 11, with one image: the first
    run is right, all other results fill their ring, and no two runs' messages of the server are
    alike: their sums (XOR) are uniform, where those of one half, used twice, are far from it
    (test_prepared_twice.py). What a client keeps of its own half is worth nothing.
    """
    items, image = parties.prepared(12), image_of(parties.program, 1)
    mixed = [Halves(item.server, items[0].client) for item in items]
    found = parties.runs(mixed, [image] * len(mixed))
    clear = CleartextExecutor(parties.program, parties.weights)
    expected = next(iter(clear.run_integers(image).values()))
    assert np.array_equal(found[0].outputs, expected)
    noise = np.array([heard.outputs for heard in found[1:]])
    bits = parties.program.steps[-1].bits
    assert (np.abs(noise) > np.abs(expected).max() + 1000).mean() > 0.9
    assert 0.2 < noise.std() / 2.0**bits < 0.4  # uniform: 0.29
    for one, two in itertools.pairwise(found):
        heard = [
            octets([each for each in run.by_client if not each[0].startswith("output/")])
            for run in (one, two)
        ]
        assert not deviates(heard[0] ^ heard[1])


# --- weights that changed -------------------------------------------------------------------------

FEATURES, FILTERS, SHIFT, RING = 2, 4, 6, 26


def one_layer() -> tuple[ir.Program, Weights]:
    shape = (FILTERS, 1, 1)
    program = make_program(
        ir.Input(inputs=(), shape=(FEATURES, 1, 1), bits=RING, scale=1.0, value_bits=8),
        ir.Linear(
            inputs=(0,),
            shape=shape,
            bits=RING + GUARD,
            weight_bits=8,
            guard=GUARD,
            rlwe=rlwe_plan(RING),
            kernel=(1, 1),
            pads=(0, 0, 0, 0),
        ),
        ir.Truncate(
            inputs=(1,), shape=shape, bits=RING - SHIFT, shift=SHIFT + GUARD, rounding="exact"
        ),
    )
    return commit(runnable(program), random_weights(program, np.random.default_rng(5)).tensors)


def retrained(weights: Weights, program: ir.Program) -> tuple[ir.Program, Weights]:
    """The same Program with other weights, and the bias as it was."""
    tensors = dict(weights.tensors)
    moved = np.random.default_rng(8).integers(-20, 21, tensors["linear.1.weight"].shape)
    tensors["linear.1.weight"] = tensors["linear.1.weight"] + moved.astype(np.int32)
    return commit(program, tensors)


def change(masks: list[I64], results: list[I64], base: I64) -> I64:
    """How the weights of each filter changed, `(FILTERS, FEATURES)`: what was wrong with the
    results for an image of zeros is `change . r`, but for what the truncation drops.
    """
    most = 1 << 8
    grid = np.arange(-most, most + 1)
    candidates = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, FEATURES)
    found = []
    for filter_ in range(FILTERS):
        fits = np.ones(len(candidates), np.bool_)
        for r, result in zip(masks, results, strict=True):
            wrong = (base[filter_] - result[filter_]) << SHIFT
            gap = candidates @ r - wrong
            gap = (gap + (1 << RING - 1)) % (1 << RING) - (1 << RING - 1)
            fits &= np.abs(gap) <= 2 << SHIFT
        (chosen,) = candidates[fits]
        found.append(chosen)
    return np.stack(found)


def test_an_old_half_with_new_weights_tells_how_they_changed() -> None:
    """From three items, exactly: the server's share is of `x - r` under the new weights, the
    client's of r under the old ones. The client asks about an image of zeros, and knows its masks.
    """
    program, weights = one_layer()
    old, new = Parties(program, weights), Parties(*retrained(weights, program))
    zeros = np.zeros(program.input.shape, np.float32)
    items, fresh = old.prepared(3), new.prepared(4)

    def outputs(of: Parties, halves: list[Halves]) -> list[I64]:
        found: list[Any] = of.runs(halves, [zeros] * len(halves))
        return [heard.outputs.reshape(-1) for heard in found]

    base = outputs(new, fresh[:1])[0]
    true = new.weights.tensors["linear.1.weight"] - old.weights.tensors["linear.1.weight"]
    masks = [
        ring.to_signed(item.masks(0).result(program.steps[0]), RING).reshape(-1) for item in items
    ]
    found = change(masks, outputs(new, items), base)
    assert np.array_equal(found, true.reshape(FILTERS, FEATURES))
    assert found.any()
    for result in outputs(new, fresh[1:]):  # with halves of its own: nothing
        assert np.array_equal(result, base)
