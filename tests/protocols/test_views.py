"""What each party sees: nothing that depends on what it must not know. Attacks that would work on a
slip are run, and must fail.

Statistical checks fail for sound code less than once in 10^8 runs.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from moiety.protocols import kernels, ring
from moiety.protocols.arrays import F32, I64, U8, U32, U64
from moiety.protocols.compare.product import product, square
from moiety.protocols.linear import client as client_side
from moiety.protocols.linear.client import rounded_phase
from moiety.protocols.linear.placement import add_messages, chunks
from moiety.protocols.linear.rlwe import ClientKey, Ring, ciphertext_a
from moiety.protocols.linear.server import ServerLinear
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.ot.generators import NEVER_SILENT
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session
from moiety.runtime import program as ir
from moiety.runtime.program.linear_layers import linear_specs
from tests.support.convolutions import SEED, Party, layer_parties, replanned
from tests.support.programs import counted, largest, random_weights
from tests.support.runnable import multiplying, small
from tests.support.two_party import run_two_party
from tests.support.wiretap import (
    GENERATORS,
    Tapped,
    brightest,
    chi_square,
    deviates,
    run,
    words,
    zeros,
)

ROUNDINGS: tuple[ir.Rounding, ...] = ("exact", "stochastic")
LENGTHS = ("short", "long")


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
                tiles, primes = len(spec.layout.windows), spec.rlwe.primes
                part = parts[label]
                parts[label] += 1
                if who == "client":
                    yield "client linear", residue_bytes(octets, primes[part % len(primes)])
                else:
                    yield f"server linear {'ab'[part // tiles % 2]}", octets[:-1]
            elif kind == "keys":
                primes = next(iter(specs.values())).rlwe.primes
                yield "client keys", residue_bytes(octets, primes[parts[label] % len(primes)])
                parts[label] += 1
            else:
                yield f"{who} {kind}", octets[:-1]  # the last byte may have spare bits


def residue_bytes(octets: U8, p: int) -> U8:
    """`floor(256 x / p)` of packed residues modulo p."""
    x = kernels.unpack(octets, 8 * octets.size // p.bit_length(), p.bit_length())
    return (x * np.uint64(256) // np.uint64(p)).astype(np.uint8)


SHORT = 512
"""Bytes, of most choices and answers; longer are refills of correlations and ciphertexts, among
which they would not show.
"""
ONLY_EXACT = {f"{party} truncate, {length}" for party in ("client", "server") for length in LENGTHS}
JUDGED = {
    *(f"{party} setup, {length}" for party in ("client", "server") for length in LENGTHS),
    "client keys, long",
    "client linear, short",
    *(f"server linear {half}, {length}" for half in "ab" for length in LENGTHS),
    *(
        f"{party} {kind}, {length}"
        for party in ("client", "server")
        for kind in ("truncate", "maxpool", "relu", "extend")
        for length in LENGTHS
    ),
    "server output, short",
}
"""All that is sent in a run of `small`, and no less, by what it is judged by."""


@pytest.mark.parametrize("picture", [zeros, brightest])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_messages_are_uniform_for_any_image(
    rounding: ir.Rounding, picture: Callable[[ir.Program], F32]
) -> None:
    program, weights = small(rounding)
    assert len({spec.rlwe.primes for spec in linear_specs(program).values()}) == 1
    seen: dict[str, list[U8]] = defaultdict(list)
    for what, octets in views(run(program, weights, [picture(program)] * 6, NEVER_SILENT)):
        length = "long" if octets.size > SHORT else "short"
        seen[f"{what}, {length}"].append(octets)
    assert set(seen) == JUDGED - (ONLY_EXACT if rounding == "stochastic" else set())
    assert [what for what, parts in seen.items() if deviates(np.concatenate(parts))] == []


@GENERATORS
@pytest.mark.parametrize("picture", [zeros, brightest])
def test_messages_of_products_are_uniform_for_any_image(
    silent_from: int, picture: Callable[[ir.Program], F32]
) -> None:
    """All elements of a group are equal here, and so are the choices for all groups."""
    program, weights = multiplying()
    tapped = run(program, weights, [picture(program)] * 6, silent_from)
    seen: dict[str, list[U8]] = defaultdict(list)
    for what, octets in views(tapped):
        seen[what].append(octets)
    for party in ("client", "server"):
        for kind in ("product", "square"):
            octets = np.concatenate(seen[f"{party} {kind}"])
            assert octets.size >= 5 * 256
            assert chi_square(octets) < 255 + 8 * 22.6, (party, kind)
    sent = words(tapped.messages)
    assert len(np.unique(sent)) == len(sent)


@GENERATORS
@pytest.mark.parametrize("picture", [zeros, brightest])
def test_messages_are_uniform_whatever_is_told(
    silent_from: int, picture: Callable[[ir.Program], F32]
) -> None:
    """All values are equal here, and so are all decisions; the client's view has what is revealed,
    and the server's shares of it alone are uniform.
    """
    for program in (counted(31, 60), largest(60)):
        weights = random_weights(program, np.random.default_rng(1))
        tapped = run(program, weights, [picture(program)] * 6, silent_from)
        seen: dict[str, list[U8]] = defaultdict(list)
        for what, octets in views(tapped):
            seen[what].append(octets)
        kind = program.steps[-2].kind
        for party in ("client", "server"):
            octets = np.concatenate(seen[f"{party} {kind}"])
            assert octets.size >= 5 * 256
            assert chi_square(octets) < 255 + 8 * 22.6, (party, kind)
        sent = words(tapped.messages)
        assert len(np.unique(sent)) == len(sent)


@GENERATORS
def test_shares_of_products_are_fresh(silent_from: int) -> None:
    """Whatever the operands' shares, here all alike; of a square but for its lowest bits."""
    n, bits = 1 << 12, 20

    def party(share: int) -> Callable[[Session], list[U64]]:
        y, x = (np.full(n, share & (1 << width) - 1, np.uint64) for width in (8, bits))
        return lambda s: [product(s, x[:, None], y, bits, 8)[:, 0], square(s, y, 8, bits)]

    operands = 0x5A5A5, 0xFFFFF
    mine, theirs = map(party, operands)
    outcome = run_two_party(mine, theirs, silent_from=silent_from)
    places = np.arange(bits, dtype=np.uint64)
    for share, (products, squares) in zip(operands, outcome, strict=True):
        assert np.all(squares & np.uint64(1) == share & 1)
        for made, known in ((products, 0), (squares, 1)):
            ones = (made[:, None] >> places[known:] & np.uint64(1)).sum(axis=0).astype(np.float64)
            assert np.all(np.abs(ones - n / 2) < 7 * np.sqrt(n / 4))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("largest", [False, True])
def test_shifts_do_not_tell_constant_choices(largest: bool, k: int) -> None:
    """A receiver that always chooses the same: per value of the shift, not only per byte."""
    n = 1 << 12
    choices = np.full(n, (1 << k) - 1 if largest else 0, np.uint8)
    outcome = run_two_party(
        lambda s: s.sender.accept(n, k).shifts(slice(0, n)),
        lambda s: s.receiver.choose(choices, k).u,
    )
    counts = np.bincount(outcome.server, minlength=1 << k)
    assert np.all(np.abs(counts - n / 2**k) < 7 * np.sqrt(n / 2**k))
    assert np.array_equal(outcome.server ^ outcome.client, choices)


# --- what decryption shows ----------------------------------------------------------------------


def centred(x: U64, p: int) -> I64:
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
    p = spec.rlwe.primes[0]
    uploads = [data for label, data in tapped.client.messages if label.startswith("linear/1/")]
    assert len(uploads) == 2 * len(spec.layout.windows) * len(spec.rlwe.primes)
    count = spec.layout.ciphertexts_per_tile * sum(spec.layout.sent)
    first, second = (
        kernels.unpack(np.frombuffer(uploads[i], np.uint8), count, p.bit_length())
        for i in (0, len(uploads) // 2)
    )
    difference = centred(first - second, p)
    assert np.abs(difference).mean() > p / 8  # p/4 if uniform

    # The attack itself works: the same key, used twice behind the back of `claim`.
    ring_q = Ring.of(spec.rlwe.degree, spec.rlwe.primes)
    key, a = ClientKey.generate(ring_q, Prg.from_os()), ciphertext_a(ring_q, SEED, 1, 0, 1)
    twice = [key.mask(a, Prg.from_os())[0].astype(np.uint64) for _ in range(2)]
    assert np.abs(centred(twice[0] - twice[1], p)).max() <= 84


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

    serve, ask = zero_parties(layer)
    received: list[U8] = []

    def client(session: Session) -> None:
        real = session.channel.recv

        def receive(nbytes: int) -> U8:
            received.append(real(nbytes))
            return received[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session.channel, "recv", receive)
            for _ in range(2):
                ask(session)

    run_two_party(lambda session: [serve(session) for _ in range(2)], client)
    pieces = len(chunks(spec.layout.answers_per_tile, spec.rlwe.degree))
    count = spec.layout.answers_per_tile * spec.rlwe.degree
    answers = np.concatenate(
        [
            kernels.unpack(
                np.concatenate(received[start : start + pieces]), count, spec.rlwe.answer_bits
            ).reshape(-1, spec.rlwe.degree)
            for start in (0, len(received) // 2)
        ]
    )
    for one, two in itertools.combinations(answers, 2):
        gap = ring.to_signed(ring.reduce(one - two, spec.rlwe.answer_bits), spec.rlwe.answer_bits)
        assert np.abs(gap.astype(float)).mean() > 2.0**spec.rlwe.answer_bits / 8


def zero_parties(layer: ServerLinear) -> tuple[Party, Party]:
    """Both parties of a layer, for shares of an input that are zero."""
    zero = np.zeros(layer.spec.geometry.in_shape, np.uint64)
    return layer_parties(layer, zero, zero)


def phases(layer: ServerLinear, images: int) -> U64:
    """What the client decrypts for inputs of zero, in Z_{2^answer_bits}: flat, all images."""
    seen: list[U64] = []
    serve, ask = zero_parties(layer)

    def note(spec: LinearSpec, phase: U64) -> U64:
        seen.append(ring.reduce(phase, spec.rlwe.answer_bits).reshape(-1))
        return rounded_phase(spec, phase)

    def client(session: Session) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(client_side, "rounded_phase", note)
            for _ in range(images):
                ask(session)

    run_two_party(lambda session: [serve(session) for _ in range(images)], client)
    return np.concatenate(seen)


def spike(ring_q: Ring, b: U32, messages: U64, bits: int, prg: Prg) -> None:
    """A client that encrypts a single enormous error, to read the weights from the noise."""
    add_messages(ring_q, b, messages, bits, prg)
    p = ring_q.p.astype(np.uint64)[:, None]
    b[:, :, 9] = (b[:, :, 9] + np.uint64(ring_q.modulus // 3) % p) % p


@pytest.mark.parametrize("spiked", [False, True])
@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_decrypted_answers_show_the_mask_alone(
    rounding: ir.Rounding, extreme: bool, spiked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the secret key: neither the message nor the noise, which both depend on the weights, can
    be seen; nor can noise that a client chose.
    """
    program, _ = small(rounding)
    index, spec = next(iter(linear_specs(program).items()))
    weight = np.full((4, 2, 3, 3), (1 << spec.weight_bits - 1) if extreme else 0, np.int32)
    layer = ServerLinear(spec, index, SEED, weight, np.zeros(4, np.int64))
    layer.prepare()
    if spiked:
        monkeypatch.setattr(client_side, "add_messages", spike)
    phase = phases(layer, 8)
    for shift in (spec.rlwe.answer_bits - spec.result_bits, spec.rlwe.answer_bits - 8):
        assert chi_square((phase >> np.uint64(shift)).astype(np.uint8)) < 255 + 8 * 22.6
