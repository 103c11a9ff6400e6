"""What the peer sees, and what must happen only once. Attacks that would work on
a slip are run, and must fail.

Statistical checks fail for sound code less than once in 10^8 runs.
"""

from __future__ import annotations

import ast
import io
import itertools
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

import moiety.protocols
from moiety.protocols import kernels, ring, setup
from moiety.protocols.arrays import U8, U64
from moiety.protocols.errors import BadPlan, NetworkFailure
from moiety.protocols.linear import client as client_side
from moiety.protocols.linear import rlwe
from moiety.protocols.linear import server as server_side
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import ClientKey, Ring, ciphertext_a, public_key_a
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec, check_spec, residue_bits
from moiety.protocols.ot import base_ot, silent
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.cli import progress
from moiety.runtime.program.linear_layers import linear_specs, public_seed
from tests.support.convolutions import replanned
from tests.support.runnable import small
from tests.support.two_party import MemoryChannel, run_two_party
from tests.support.wiretap import Tapped, brightest, chi_square, run, words, zeros

SEED = b"public seed 0001"
ROUNDINGS: tuple[ir.Rounding, ...] = ("exact", "stochastic")

slow = pytest.mark.skipif(
    kernels.backend_name() == "reference", reason="takes a minute without compiled kernels"
)
GENERATORS = pytest.mark.parametrize("silent_from", [NEVER_SILENT, pytest.param(1, marks=slow)])


@GENERATORS
def test_nothing_is_ever_sent_twice(silent_from: int) -> None:
    program, weights = small("stochastic")
    runs = [run(program, weights, [zeros(program)] * 2, silent_from) for _ in range(2)]
    sent = np.concatenate([words(each.messages) for each in runs])
    assert len(np.unique(sent)) == len(sent)


# --- what is sent looks uniform, whatever the inputs are ------------------------------------------


def views(tapped: Tapped) -> Iterator[tuple[str, U8]]:
    """What each party sees, as bytes that should be uniform: (who and
    what, bytes of one message).
    """
    specs = linear_specs(tapped.program)
    for who, channel in (("client", tapped.client), ("server", tapped.server)):
        parts: dict[str, int] = defaultdict(int)
        for label, data in channel.messages:
            kind = label.split("/")[0]
            octets = np.frombuffer(data, np.uint8)
            if kind == "linear":
                spec = specs[int(label.split("/")[1])]
                windows = spec.layout.windows
                part = parts[label] % (2 * len(windows))
                parts[label] += 1
                if who == "client":
                    yield "client linear", residue_bytes(octets, spec.rlwe.primes)
                elif spec.rlwe.masking == "flooded" and part >= len(windows):
                    # Below the message's own bits there is the flooding, which is not uniform.
                    width = spec.message_bits
                    b = kernels.unpack(
                        octets,
                        spec.geometry.out_shape[0] * windows[part - len(windows)].pixels,
                        width,
                    )
                    yield "server linear b", (b >> np.uint64(width - 8)).astype(np.uint8)
                else:
                    yield f"server linear {'ab'[part // len(windows)]}", octets[:-1]
            elif kind == "keys":
                yield "client keys", residue_bytes(octets, next(iter(specs.values())).rlwe.primes)
            else:
                yield f"{who} {kind}", octets[:-1]  # the last byte may have spare bits


def residue_bytes(octets: U8, primes: tuple[int, ...]) -> U8:
    """`floor(256 x / p)` of packed residues, row after row of the primes."""
    width = residue_bits(primes)
    count = 8 * octets.size // width // len(primes)
    x = kernels.unpack(octets, count * len(primes), width).reshape(len(primes), count)
    return (x * np.uint64(256) // np.array(primes, np.uint64)[:, None]).astype(np.uint8).reshape(-1)


@pytest.mark.parametrize("picture", [zeros, brightest])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_messages_are_uniform_for_any_image(
    rounding: ir.Rounding, picture: Callable[[ir.Program], Any]
) -> None:
    program, weights = small(rounding)
    assert len({spec.rlwe.primes for spec in linear_specs(program).values()}) == 1
    seen: dict[str, list[U8]] = defaultdict(list)
    for what, octets in views(run(program, weights, [picture(program)] * 2, NEVER_SILENT)):
        seen[what].append(octets)
    checked = 0
    for what, parts in seen.items():
        octets = np.concatenate(parts)
        if octets.size >= 5 * 256:
            checked += 1
            assert chi_square(octets) < 255 + 8 * 22.6, what
    assert checked >= 8


def test_shifts_do_not_tell_constant_choices() -> None:
    """A receiver that always chooses the same: per value of the shift, not only per byte."""
    for choice, k in itertools.product((0, 1), range(1, 5)):
        n = 1 << 12
        choices = np.full(n, choice * ((1 << k) - 1), np.uint8)
        outcome = run_two_party(
            lambda s, k=k, n=n: s.sender.accept(n, k).shifts,
            lambda s, k=k, c=choices: s.receiver.choose(c, k).u,
        )
        counts = np.bincount(outcome.server, minlength=1 << k)
        assert np.all(np.abs(counts - n / 2**k) < 7 * np.sqrt(n / 2**k)), (choice, k)
        assert np.array_equal(outcome.server ^ outcome.client, choices)


# --- what must happen once ------------------------------------------------------------------------


@dataclass
class Ranges:
    """Half-open ranges per name, each with the thread that used it."""

    used: dict[bytes, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))

    def take(self, name: bytes, start: int, length: int) -> None:
        self.used[name].append((start, start + length, threading.get_ident()))

    def users(self, name: bytes) -> set[int]:
        return {user for _, _, user in self.used[name]}

    def reused(self, name: bytes) -> bool:
        ends = sorted(self.used[name])
        return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(ends))


SENDERS = {
    "lookup_send": 3,
    "leaves_send": 3,
    "join_send": 3,
    "arith_send": 3,
    "mux_server": 2,
    "mux_client": 2,
}
"""Kernels that use the transfer sender's pads, and where their tweak is."""


def spy(monkeypatch: pytest.MonkeyPatch, name: str, note: Callable[..., None]) -> None:
    """Call `note` with the arguments of every call of a kernel."""
    real = getattr(kernels, name)

    def both(*arguments: Any, **named: Any) -> Any:
        note(*arguments, **named)
        return real(*arguments, **named)

    monkeypatch.setattr(kernels, name, both)


@GENERATORS
def test_no_pad_is_used_twice(monkeypatch: pytest.MonkeyPatch, silent_from: int) -> None:
    tweaks, calls = Ranges(), []
    for name, place in SENDERS.items():

        def note(w: U8, delta: U8, *rest: Any, place: int = place, name: str = name) -> None:
            calls.append(name)
            tweaks.take(delta.tobytes(), int(rest[place - 2]), len(w))

        spy(monkeypatch, name, note)
    inside: list[tuple[int, int]] = []
    spy(monkeypatch, "hash_blocks", lambda blocks, tweak: inside.append((int(tweak), len(blocks))))
    program, weights = small("exact")
    run(program, weights, [zeros(program)] * 2, silent_from)
    assert {"leaves_send", "join_send", "mux_server", "mux_client", "arith_send"} <= set(calls)
    assert len(tweaks.used) == 2, "each direction has its own delta"
    assert not any(tweaks.reused(delta) for delta in tweaks.used)
    # The generator's own hashes are under the same delta and must keep
    # away from the transfers' tweaks.
    highest = max(end for ranges in tweaks.used.values() for _, end, _ in ranges)
    assert all(highest <= tweak for tweak, _ in inside)
    assert bool(inside) == (silent_from == 1)


@GENERATORS
def test_no_randomness_is_used_twice(monkeypatch: pytest.MonkeyPatch, silent_from: int) -> None:
    streams, leaves, public = Ranges(), Ranges(), set()
    spy(
        monkeypatch,
        "aes_ctr",
        lambda key, start, size: streams.take(key.tobytes(), start, -(-size // 16)),
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

    real_tree_keys = silent._Silent._tree_keys
    monkeypatch.setattr(rlwe, "Prg", public_stream)
    monkeypatch.setattr(silent._Silent, "_tree_keys", tree_keys)
    program, weights = small("stochastic")
    for _ in range(2):
        run(program, weights, [zeros(program)] * 2, silent_from, threads=3)
    assert len(leaves.used) == 8, "two sessions, two directions, two parties"
    assert not any(leaves.reused(keys) for keys in leaves.used)
    private = streams.used.keys() - public
    assert len(private) >= 4
    for key in private:
        assert len(streams.users(key)) == 1, "two threads, or two parties, share a stream"
        assert not streams.reused(key)


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


def test_delta_has_no_fixed_bit() -> None:
    class Mute(MemoryChannel):
        def _write(self, data: memoryview) -> None:
            pass

    channel = Mute(queue.SimpleQueue(), queue.SimpleQueue(), 1.0)
    deltas = [setup._puncture(b"server->client", channel, Prg.from_os())[1] for _ in range(40)]
    bits = np.unpackbits(np.array(deltas), axis=1).sum(axis=0)
    assert np.all((bits > 0) & (bits < 40))


def test_base_transfers_of_two_directions_have_nothing_in_common() -> None:
    """A peer that sends our own receiver's message back gets other keys, and cannot
    tell our choices from the order.
    """
    start = base_ot.BaseReceiver.start(b"server->client", np.zeros(8, np.uint8), Prg.from_os())
    seed = os.urandom(16)
    (answer, there), (same, back) = (
        base_ot.send(tag, start.message, Prg(seed))
        for tag in (b"server->client", b"client->server")
    )
    assert answer == same
    assert np.array_equal(start.finish(answer), there[:, 0])
    assert len(np.unique(np.concatenate([there, back]).reshape(-1, 16), axis=0)) == 4 * 8
    assert "choices" not in repr(start)
    assert "scalars" not in repr(start)


def test_base_transfers_without_a_key_are_refused() -> None:
    """Two valid points, of which one is minus the hash of the other."""
    sodium = base_ot.sodium
    other = base_ot._map_pair(os.urandom(64))
    hashed = base_ot._hash_to_point(b"tag", 0, other)
    neutral = sodium.crypto_core_ed25519_sub(hashed, hashed)
    message = sodium.crypto_core_ed25519_sub(neutral, hashed) + other
    with pytest.raises(NetworkFailure):
        base_ot.send(b"tag", message, Prg.from_os())


# --- RLWE -----------------------------------------------------------------------------------------


def centred(x: npt.NDArray[np.uint64], p: int) -> npt.NDArray[np.int64]:
    signed = x.astype(np.int64) % p
    return np.where(signed > p // 2, signed - p, signed)


def test_two_uploads_of_one_image_differ_by_more_than_noise() -> None:
    """The attack on a secret that meets one `a` twice: the difference of two uploads
    is small, and gives the shares.
    """
    program, weights = small("stochastic")
    tapped = run(program, weights, [zeros(program)] * 2, NEVER_SILENT)
    assert len(set(tapped.secrets)) == len(tapped.secrets) == 2
    spec = next(iter(linear_specs(program).values()))
    width, p = residue_bits(spec.rlwe.primes), spec.rlwe.primes[0]
    uploads = [data for label, data in tapped.client.messages if label.startswith("linear/1/")]
    assert len(uploads) == 2 * len(spec.layout.windows)
    first, second = (
        kernels.unpack(np.frombuffer(uploads[i], np.uint8), 8 * len(uploads[i]) // width, width)
        for i in (0, len(spec.layout.windows))
    )
    count = len(first) // len(spec.rlwe.primes)
    difference = centred(first[:count] - second[:count], p)
    assert np.abs(difference).mean() > p / 8  # p/4 if uniform

    # The attack itself works: the same key, used twice behind the back of `claim`.
    ring_q = Ring.of(spec.rlwe.degree, spec.rlwe.primes)
    key, a = ClientKey.generate(ring_q, Prg.from_os()), ciphertext_a(ring_q, SEED, 1, 0, 1)
    twice = [key.mask(a, Prg.from_os())[0].astype(np.uint64) for _ in range(2)]
    assert np.abs(centred(twice[0] - twice[1], p)).max() <= 84


def test_public_polynomials_are_all_different() -> None:
    """Across layers, tiles, ciphertexts, rings and the public key, and between Programs."""
    rows: list[bytes] = []
    primes = ntt_primes(27, 2)
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

    def note(ring_q: Ring, seed: bytes, layer: int, tile: int, count: int) -> Any:
        asked[threading.get_ident()].append((ring_q.degree, ring_q.primes, seed, layer, tile))
        return real(ring_q, seed, layer, tile, count)

    program, weights = small("stochastic")
    for side in (client_side, server_side):
        monkeypatch.setattr(side, "ciphertext_a", note)
    run(program, weights, [zeros(program)], NEVER_SILENT)
    server, client = asked.values()
    tiles = sum(len(spec.layout.windows) for spec in linear_specs(program).values())
    assert len(server) == len(client) == len(set(client)) == tiles
    assert set(server) == set(client)
    assert {seed for _, _, seed, _, _ in client} == {public_seed(program)}


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_equal_filters_get_unequal_answers(rounding: ir.Rounding) -> None:
    """The attack on an encryption of zero in two answers: their difference is linear
    in the difference of weights.
    """
    program, _ = small(rounding)
    index, spec = next(iter(linear_specs(program).items()))
    spec = replanned(spec, filters_per_answer=1)
    weight = np.tile(np.arange(-9, 9, dtype=np.int32).reshape(1, 2, 3, 3), (4, 1, 1, 1))
    layer = ServerLinear(spec, index, SEED, weight, np.zeros(4, np.int64))
    layer.prepare()
    hint = layer.hint_array()[0, 0]
    assert np.array_equal(hint[0], hint[1]), "the attack needs equal hints"

    sent: list[npt.NDArray[np.uint64]] = []

    def server(session: Session) -> None:
        for _ in range(2):
            server_side.new_query_server(session, [spec], SEED)
            server_side.linear_server(session, layer, np.zeros(spec.geometry.in_shape, np.uint64))

    def client(session: Session) -> None:
        real = session.channel.recv
        for _ in range(2):
            client_side.new_query_client(session, [spec], SEED)
            got: list[U8] = []

            def receive(nbytes: int, got: list[U8] = got) -> U8:
                got.append(real(nbytes))
                return got[-1]

            session.channel.recv = receive  # type: ignore[method-assign]
            client_side.linear_client(
                session, spec, index, SEED, np.zeros(spec.geometry.in_shape, np.uint64)
            )
            session.channel.recv = real  # type: ignore[method-assign]
            count = spec.layout.answers_per_tile
            sent.append(
                kernels.unpack(got[0], count * spec.rlwe.degree, spec.rlwe.answer_bits).reshape(
                    count, spec.rlwe.degree
                )
            )

    run_two_party(server, client)
    answers = np.concatenate(sent)
    for one, two in itertools.combinations(answers, 2):
        gap = ring.to_signed(ring.reduce(one - two, spec.rlwe.answer_bits), spec.rlwe.answer_bits)
        assert np.abs(gap.astype(float)).mean() > 2.0**spec.rlwe.answer_bits / 8


def phases(spec: LinearSpec, layer: ServerLinear, images: int) -> tuple[U64, U64]:
    """What the client decrypts for inputs of zero, in Z_{2^answer_bits}, and the
    server's shares: flat, all images.
    """
    seen: list[U64] = []
    shares: list[U64] = []

    def server(session: Session) -> None:
        for _ in range(images):
            server_side.new_query_server(session, [spec], SEED)
            shares.append(
                server_side.linear_server(
                    session, layer, np.zeros(spec.geometry.in_shape, np.uint64)
                ).reshape(-1)
            )

    def client(session: Session) -> None:
        real = client_side.round_to

        def note(x: U64, width: int, bits: int) -> U64:
            if width == spec.rlwe.answer_bits:
                seen.append(ring.reduce(x, width).reshape(-1))
            return real(x, width, bits)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client_side, "round_to", note)
            for _ in range(images):
                client_side.new_query_client(session, [spec], SEED)
                client_side.linear_client(
                    session, spec, layer.layer, SEED, np.zeros(spec.geometry.in_shape, np.uint64)
                )

    run_two_party(server, client)
    return np.concatenate(seen), np.concatenate(shares)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_decrypted_answers_show_the_mask_alone(rounding: ir.Rounding, extreme: bool) -> None:
    """With the secret key: neither the message nor the noise, which both
    depend on the weights, can be seen.
    """
    program, _ = small(rounding)
    index, spec = next(iter(linear_specs(program).items()))
    modulus = Ring.of(spec.rlwe.degree, spec.rlwe.primes).modulus
    if rounding == "exact":
        # As much flooding as decrypts, and a in many bits, so that it is the flooding
        # that is seen, not roundings.
        spec = replanned(spec, answer_bits=56, flood_bits=modulus.bit_length() - spec.bits - 3)
    weight = np.full((4, 2, 3, 3), (1 << spec.weight_bits - 1) if extreme else 0, np.int32)
    layer = ServerLinear(spec, index, SEED, weight, np.zeros(4, np.int64))
    layer.prepare()
    phase, share = phases(spec, layer, 8)
    extra = spec.rlwe.answer_bits - spec.message_bits
    for shift in (
        extra if rounding == "stochastic" else spec.rlwe.answer_bits - spec.bits,
        spec.rlwe.answer_bits - 8,
    ):
        assert chi_square((phase >> np.uint64(shift)).astype(np.uint8)) < 255 + 8 * 22.6
    if rounding == "exact":
        scale = spec.rlwe.answer_bits - spec.bits
        error = ring.to_signed(
            ring.reduce(phase + (share << np.uint64(scale)), spec.rlwe.answer_bits),
            spec.rlwe.answer_bits,
        )
        flooding = 2.0 ** (spec.rlwe.flood_bits + spec.rlwe.answer_bits) / modulus
        roundings = 2.0**extra / np.sqrt(12)
        assert flooding > 4 * roundings
        assert abs(error.std() / np.hypot(flooding / np.sqrt(3), roundings) - 1) < 0.08


def test_layer_names_are_not_markup() -> None:
    """They come from the vendor's Program and are shown on the hospital's terminal."""
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    with progress._bar(console, "inference") as watch:
        watch(1, 2, "conv[/b][link=file:///]x")
    assert "conv[/b][link=file:///]x" in console.file.getvalue()  # type: ignore[attr-defined]


def test_absurd_flooding_is_refused() -> None:
    program, _ = small("exact")
    spec = next(iter(linear_specs(program).values()))
    for flood_bits in (spec.rlwe.flood_bits - 1, 200, 5000):
        with pytest.raises(BadPlan):
            check_spec(replanned(spec, flood_bits=flood_bits))


# --- sources --------------------------------------------------------------------------------------

ROOT = Path(moiety.protocols.__file__).parent
PARTY = sorted(ROOT.rglob("*.py"))


def test_secrets_come_from_the_operating_system_alone() -> None:
    """No other generator is as much as imported by the protocols, and no
    process is forked under a live one.
    """
    assert len(PARTY) > 20
    seeds = []
    for path in PARTY:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [
                    node.module or "",
                    *(f"{node.module}.{alias.name}" for alias in node.names),
                ]
            elif isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            banned = (
                "random",
                "np.random",
                "numpy.random",
                "multiprocessing",
                "os.fork",
                "ProcessPoolExecutor",
            )
            assert not any(
                name == b or name.startswith(b + ".") for name in names for b in banned
            ), path
            seeds += [path.name for name in names if name == "os.urandom"]
    assert seeds == ["prg.py"]
