"""What must serve once: pads, streams, leaves and public polynomials of a whole run."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import U8
from moiety.protocols.kernels.reference.blocks import count_key, per_key
from moiety.protocols.linear import client as client_side
from moiety.protocols.linear import rlwe
from moiety.protocols.linear import server as server_side
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import Ring, ciphertext_a, public_key_a
from moiety.protocols.ot import silent
from moiety.protocols.ot.consistency import Chain
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.prg import Prg
from moiety.runtime.program import Program
from moiety.runtime.program.linear_layers import linear_specs, public_seed
from moiety.runtime.program.weights import Weights
from tests.support.convolutions import SEED
from tests.support.runnable import multiplying, small
from tests.support.wiretap import GENERATORS, run, zeros

Model = tuple[Program, Weights]


@dataclass
class Ranges:
    """Half-open ranges per name, of both parties and all their threads."""

    used: dict[bytes, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, name: bytes, start: int, length: int) -> None:
        self.used[name].append((start, start + length))

    def reused(self, name: bytes) -> bool:
        ends = sorted(self.used[name])
        return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ends))


SENDERS = {
    "lookup_send": None,
    "leaves_send": None,
    "join_send": None,
    "arith_send": None,
    "mux_send": 1,
    "mux_send_adding": 1,
    "widen_send": 1,
}
"""Kernels that use the transfer sender's pads, and the width of their choice; None where they are
told.
"""


def take_keys(ranges: Ranges, first: U8, n: int, k: int) -> None:
    """Note the keys of n elements of 2^k options: by their upper half, which they share, the counts
    of the lower.
    """
    ranges.take(first[8:].tobytes(), int(first.view("<u8")[0]), -(-n // per_key(k)))


def spy(monkeypatch: pytest.MonkeyPatch, name: str, note: Callable[..., None]) -> None:
    """Call `note` with the arguments of every call of a kernel."""
    real = getattr(kernels, name)

    def both(*arguments: Any, **named: Any) -> Any:
        note(*arguments, **named)
        return real(*arguments, **named)

    monkeypatch.setattr(kernels, name, both)


@GENERATORS
@pytest.mark.parametrize("made", [small, multiplying])
def test_no_pad_is_used_twice(
    monkeypatch: pytest.MonkeyPatch, silent_from: int, made: Callable[[], Model]
) -> None:
    keys, calls = Ranges(), []
    seen: dict[bytes, set[bytes]] = defaultdict(set)
    for name, width in SENDERS.items():

        def note(w: U8, delta: U8, *rest: Any, k: int | None = width, name: str = name) -> None:
            calls.append(name)
            told, key = (rest[0], rest[1]) if k is None else (k, rest[0])
            take_keys(keys, key, len(w), told)
            seen[delta.tobytes()].add(key[8:].tobytes())

        spy(monkeypatch, name, note)
    inside = Ranges()
    spy(monkeypatch, "hash_blocks", lambda blocks, key: take_keys(inside, key, len(blocks), 1))
    program, weights = made()
    run(program, weights, [zeros(program)] * 2, silent_from)
    assert {"leaves_send", "join_send", "mux_send"} <= set(calls)
    assert made is not small or {"mux_send_adding", "widen_send"} <= set(calls)
    assert len(seen) == len(keys.used) == 2, "each direction has its own delta and its own keys"
    assert all(len(uppers) == 1 for uppers in seen.values())
    assert not any(keys.reused(upper) for upper in keys.used)
    # The generator's own hashes are under the same delta, and have other keys.
    assert not inside.used.keys() & keys.used.keys()
    assert len(inside.used) == (2 if silent_from == 1 else 0)


@GENERATORS
def test_no_block_is_hashed_twice_for_products(
    monkeypatch: pytest.MonkeyPatch, silent_from: int
) -> None:
    """Elements share correlations there: under one key no two blocks are alike, of either option,
    nor those of two batches.
    """
    hashed: dict[bytes, list[bytes]] = defaultdict(list)

    def note(w: U8, delta: U8, key: U8, *_: Any) -> None:
        for at in range(0, len(w), per_key(1)):
            under = count_key(key, at // per_key(1)).tobytes()
            for option in (w, w ^ delta):
                hashed[under] += [row.tobytes() for row in option[at : at + per_key(1)]]

    spy(monkeypatch, "mux_send", note)
    program, weights = multiplying()
    run(program, weights, [zeros(program)] * 2, silent_from)
    assert sum(map(len, hashed.values())) > 10_000
    for blocks in hashed.values():
        assert len(set(blocks)) == len(blocks) <= 2 * per_key(1)


@GENERATORS
def test_no_randomness_is_used_twice(monkeypatch: pytest.MonkeyPatch, silent_from: int) -> None:
    streams, leaves, public = Ranges(), Ranges(), set()
    spy(
        monkeypatch,
        "aes_ctr",
        lambda key, start, size, upper=0: streams.take(key.tobytes(), start, -(-size // 16)),
    )
    spy(
        monkeypatch,
        "vole_receiver",
        lambda keys, start, k, n, *_: leaves.take(keys.tobytes(), start, k * n),
    )
    spy(
        monkeypatch,
        "vole_sender",
        lambda keys, d, start, k, n, *_: leaves.take(keys.tobytes(), start, k * n),
    )

    def public_stream(seed: bytes) -> Prg:
        public.add(seed)
        return Prg(seed)

    def tree_keys(self: silent._Silent, nonce: U8, iterations: int) -> U8:
        public.add(nonce.tobytes())
        return real_tree_keys(self, nonce, iterations)

    def offsets(self: Chain, n: int, start: int = 0) -> U8:
        public.add(self._derived(b"offsets", 0)[:16])
        return real_offsets(self, n, start)

    real_tree_keys, real_offsets = silent._Silent._tree_keys, Chain.offsets
    monkeypatch.setattr(Chain, "offsets", offsets)
    monkeypatch.setattr(rlwe, "Prg", public_stream)
    monkeypatch.setattr(silent._Silent, "_tree_keys", tree_keys)
    program, weights = small("stochastic")
    for _ in range(2):
        run(program, weights, [zeros(program)] * 2, silent_from, threads=3)
    assert len(leaves.used) == 8, "two sessions, two directions, two parties"
    assert not any(leaves.reused(keys) for keys in leaves.used)
    private = streams.used.keys() - public
    assert len(private) >= 4
    # Two parties, or two threads that were not given parts of it, would begin a stream alike.
    assert not any(streams.reused(key) for key in private)


def test_an_interrupted_stream_does_not_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    prg = Prg(bytes(16))
    first = Prg(bytes(16)).bytes(16)

    def interrupt(*_: Any) -> U8:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "aes_ctr", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prg.bytes(16)
    assert not np.array_equal(prg.bytes(16), first)


def test_public_polynomials_are_all_different() -> None:
    """Across layers, tiles, ciphertexts, rings and the public key, and between Programs."""
    rows: list[bytes] = []
    primes = ntt_primes(26, 2)
    for parameters in ((2048, primes), (4096, primes), (2048, primes[::-1]), (2048, primes[:1])):
        ring_q = Ring.of(*parameters)
        for seed in (SEED, SEED[::-1]):
            parts = [public_key_a(ring_q, seed)[:, None]]
            parts += [
                ciphertext_a(ring_q, seed, layer, tile, 2)
                for layer in (1, 2, 12)
                for tile in (0, 1, 11)
            ]
            for row in np.concatenate(parts, axis=1).reshape(-1, ring_q.degree):
                rows.append(row[:64].tobytes())
    assert len(set(rows)) == len(rows)


def test_a_run_asks_for_each_public_polynomial_once_per_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    real = rlwe.ciphertext_a

    def note(ring_q: Ring, seed: bytes, layer: int, tile: int, *rest: Any) -> Any:
        asked[threading.get_ident()].append((ring_q.degree, ring_q.primes, seed, layer, tile))
        return real(ring_q, seed, layer, tile, *rest)

    program, weights = small("stochastic")
    for side in (client_side, server_side):
        monkeypatch.setattr(side, "ciphertext_a", note)
    run(program, weights, [zeros(program)], NEVER_SILENT)
    server, client = asked.values()
    tiles = sum(len(spec.layout.windows) for spec in linear_specs(program).values())
    assert len(server) == len(client) == len(set(client)) == tiles
    assert set(server) == set(client)
    assert {seed for _, _, seed, _, _ in client} == {public_seed(program)}
