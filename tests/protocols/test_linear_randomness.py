"""What both parties of the linear layers draw, read out of what they send: every secret, error and
mask has its distribution, and none serves twice - not in another tile, piece, layer, ring or run.

Statistical checks fail for sound code less than once in 10^8 runs.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from moiety.protocols import kernels
from moiety.protocols.arrays import F64, I64, U8
from moiety.protocols.errors import ContractViolation
from moiety.protocols.linear.client import linear_client, new_query_client
from moiety.protocols.linear.parameters import ntt_primes
from moiety.protocols.linear.rlwe import Ring, ciphertext_a, public_key_a
from moiety.protocols.linear.server import new_query_server
from moiety.protocols.linear.spec import LinearSpec, download_bytes, parameter_sets, query_bytes
from moiety.protocols.parallel import Workers
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role, Session
from tests.support.convolutions import SEED, both, layer_parties
from tests.support.lattice_wire import (
    EXACT,
    PRIMES,
    SPECS,
    Answered,
    Uploaded,
    alone,
    answered,
    flat,
    no_inputs,
    prepared,
    random_inputs,
    uploaded,
    wide,
)
from tests.support.wiretap import chi_square

VARIANCE = 10.5
SMALL = [math.comb(42, 21 + k) / 2.0**42 for k in range(-21, 22)]
"""Probabilities of the centred binomial of parameter 21."""


def check_frequencies(values: I64, probabilities: Sequence[float]) -> None:
    """Of integers around zero; rare ones together."""
    reach = len(probabilities) // 2
    assert np.abs(values).max() <= reach
    counts = np.bincount((values + reach).reshape(-1), minlength=len(probabilities))
    expected = np.array(probabilities) * values.size
    rare = expected < 20
    seen = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    statistic = ((seen - wanted) ** 2 / np.maximum(wanted, 1)).sum()
    assert statistic < len(seen) + 9 * math.sqrt(2 * len(seen)) + 30


def check_spread(rows: I64, variance: float) -> None:
    """In every polynomial, and at every coefficient."""
    for axis in (0, 1):
        n = rows.shape[axis]
        found = rows.astype(np.float64).var(axis=axis)
        assert np.abs(found / variance - 1).max() < 9 * math.sqrt(2 / n) + 40 / n


def check_serial(rows: Sequence[I64]) -> None:
    """Coefficients near one another, or half a polynomial apart, have nothing to do with each
    other.
    """
    for lag in (1, 2, 4, rows[0].shape[-1] // 2):
        products = [(row[..., lag:] * row[..., :-lag]).reshape(-1) for row in rows]
        found = np.concatenate(products)
        assert abs(found.mean()) < 7 * found.std() / math.sqrt(found.size), lag


def check_apart(rows: Sequence[I64]) -> None:
    """No two polynomials have to do with each other, and no 64 coefficients in a row occur twice,
    whatever their sign.
    """
    width = min(row.shape[-1] for row in rows)
    table = np.concatenate([row.reshape(-1, row.shape[-1])[:, :width] for row in rows])
    unit: F64 = (table - table.mean(axis=1, keepdims=True)).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    like = unit @ unit.T
    np.fill_diagonal(like, 0)
    assert np.abs(like).max() < 8.5 / math.sqrt(width)
    # Windows, at every eighth coefficient, by a random linear form modulo 2^64.
    factors = np.random.default_rng().integers(1 << 63, size=64, dtype=np.uint64) * 2 + 1
    hashed = []
    for row in rows:
        windows = np.lib.stride_tricks.sliding_window_view(row.view(np.uint64), 64, axis=-1)
        form = windows[..., ::8, :] @ factors
        hashed.append(np.minimum(form, np.uint64(0) - form).reshape(-1))
    found = np.concatenate(hashed)
    assert len(np.unique(found)) == len(found)


def check_rounding(errors: Sequence[I64], fractions: Sequence[F64]) -> None:
    """An encoding is rounded up as often as its fraction says: what it adds to the error has no
    mean, whatever is rounded.
    """
    fraction = np.concatenate([part.reshape(-1) for part in fractions])
    moved = np.concatenate([part.reshape(-1) for part in errors]) - fraction
    for low in np.arange(0, 1, 1 / 8):
        among = moved[(fraction >= low) & (fraction < low + 1 / 8)]
        assert abs(among.mean()) < 6.5 * math.sqrt((VARIANCE + 0.25) / among.size)
    assert abs(moved.mean()) < 6.5 * math.sqrt((VARIANCE + 0.25) / moved.size)


# --- the client -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client_runs() -> list[Uploaded]:
    """Two runs in one session, on shares that are zero."""
    session, peer = alone(Role.CLIENT)
    return [uploaded(no_inputs(), session, peer) for _ in range(2)]


def test_secrets_are_ternary_and_serve_one_ring_and_run(client_runs: list[Uploaded]) -> None:
    secrets = [secret for run in client_runs for secret in run.secrets]
    assert len(secrets) == 4
    for secret in secrets:
        check_frequencies(secret, [1 / 3] * 3)
        assert abs((secret == 0).mean() - 1 / 3) < 7 / math.sqrt(secret.size)
    check_serial(secrets)
    check_apart(secrets)


def test_public_keys_and_ciphertexts_have_errors_of_their_own(client_runs: list[Uploaded]) -> None:
    """Those of two runs' public keys, and of the ciphertexts of 8 tiles each, are centred binomial,
    and no two of them alike.
    """
    keys = [error for run in client_runs for error in run.key_errors]
    tiles = [errors for run in client_runs for errors in flat(run.errors)]
    assert [errors.shape for errors in tiles] == [*[(70, 500)] * 6, *[(35, 600)] * 2] * 2
    for error in keys:
        check_frequencies(error, SMALL)
        assert abs(error.var() / VARIANCE - 1) < 9 * math.sqrt(2 / error.size)
    for errors in tiles:
        check_frequencies(errors, SMALL)
        check_spread(errors, VARIANCE)
    check_frequencies(np.concatenate([errors.reshape(-1) for errors in tiles]), SMALL)
    check_serial(tiles)
    check_apart([*keys, *tiles])


def test_the_clients_encodings_are_rounded_without_bias() -> None:
    session, peer = alone(Role.CLIENT)
    run = uploaded(random_inputs(1), session, peer)
    check_rounding(list(flat(run.errors)), list(flat(run.fractions)))


def test_a_secret_encrypts_for_a_layer_once() -> None:
    """The second time is an error before anything is sent."""
    session, peer = alone(Role.CLIENT)
    spec, x1 = SPECS[2], no_inputs()[2]
    for _ in range(2):
        peer.send(bytes(download_bytes(spec)))
    peer.flush()
    new_query_client(session, [spec], SEED)
    linear_client(session, spec, 5, SEED, x1)
    sent = session.channel.meter.total.sent
    with pytest.raises(ContractViolation, match="already encrypted for layer 5"):
        linear_client(session, spec, 5, SEED, x1)
    assert session.channel.meter.total.sent == sent


def test_keys_serve_one_query_and_one_ring() -> None:
    """Also those of rings that the next query does not use, and of rings of one degree."""
    other = wide(2048, 1, 10, 10, primes=PRIMES[:1])
    session, peer = alone(Role.CLIENT)
    server, client = alone(Role.SERVER)
    for specs in ((*SPECS, other), SPECS[:1]):
        new_query_client(session, specs, SEED)
        session.channel.flush()
        client.send(peer.recv(query_bytes(specs)))
        client.flush()
        new_query_server(server, specs, SEED)
        for keys in (session.secret_keys, server.public_keys):
            held = [(key.ring.degree, key.ring.primes) for key in keys]
            assert held == list(parameter_sets(specs))
        secrets = [key.secret.astype(np.int64) for key in session.secret_keys]
        check_apart(secrets)
        for missing in {(s.rlwe.degree, s.rlwe.primes) for s in (*SPECS, other)} - set(held):
            for keys in (session.secret_keys, server.public_keys):
                with pytest.raises(ContractViolation, match="new_query comes first"):
                    keys.of(*missing)


# --- the server -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_runs() -> list[Answered]:
    """Two runs in one session, on shares that are zero."""
    session, peer = alone(Role.SERVER)
    layers = [prepared(spec, layer) for layer, spec in enumerate(SPECS)]
    return [answered(layers, no_inputs(), session, peer) for _ in range(2)]


def test_every_answer_has_an_encryption_of_zero_of_its_own(server_runs: list[Answered]) -> None:
    """u ternary, both errors centred binomial, in all 70 answers of 8 tiles of 3 layers in 2 runs;
    and no two of them alike.
    """
    for draws, probabilities, variance in (
        ([u for run in server_runs for u in flat(run.u)], [1 / 3] * 3, 2 / 3),
        ([e for run in server_runs for e in flat(run.first)], SMALL, VARIANCE),
        ([e for run in server_runs for e in flat(run.second)], SMALL, VARIANCE),
    ):
        assert len(draws) == 16
        for rows in draws:
            check_frequencies(rows, probabilities)
            check_spread(rows, variance)
        check_frequencies(np.concatenate([rows.reshape(-1) for rows in draws]), probabilities)
        check_serial(draws)
        check_apart(draws)
    for run in server_runs:
        check_apart([draw[::7] for draw in (*flat(run.u), *flat(run.first), *flat(run.second))])


def test_masks_are_uniform_and_serve_one_output(server_runs: list[Answered]) -> None:
    masks = np.concatenate([m.reshape(-1) for run in server_runs for m in flat(run.masks)])
    assert masks.size == 2 * (2 * 70 * 1400 + 35 * 1200)
    assert masks.max() < 1 << EXACT
    # Of n masks of 54 bits two agree with probability n^2 / 2^55.
    assert len(np.unique(masks)) >= masks.size - 2
    for shift in (0, 8, 16, 24, 32, 40, EXACT - 8):
        octets: U8 = (masks >> np.uint64(shift)).astype(np.uint8)
        assert chi_square(octets) < 255 + 8 * 22.6, shift


def test_the_servers_encodings_are_rounded_without_bias() -> None:
    session, peer = alone(Role.SERVER)
    layers = [prepared(spec, layer) for layer, spec in enumerate(SPECS)]
    run = answered(layers, random_inputs(2), session, peer)
    check_rounding(list(flat(run.first)), list(flat(run.fractions)))


# --- what both draw it from -----------------------------------------------------------------------


def test_encodings_are_rounded_one_by_one() -> None:
    """Of one value a hundred thousand times: as often up as its fraction says, each on its own."""
    ring, prg, count = Ring.of(2048, PRIMES), Prg.from_os(), 1 << 17
    q = math.prod(PRIMES)
    for bits, x in ((3, 1), (20, 12345), (40, 1 << 39)):
        fraction = q * x % (1 << bits) / 2.0**bits
        ups = []
        for _ in range(2):
            encoded = ring.encode(np.full(count, x, np.uint64), bits, prg)
            up = (encoded[0].astype(np.int64) - (q * x >> bits)) % PRIMES[0]
            assert set(np.unique(up)) <= {0, 1}
            ups.append(up - fraction)
        deviation = math.sqrt(fraction * (1 - fraction))
        for one, other in ((ups[0], np.ones(count)), (ups[0][1:], ups[0][:-1]), (ups[0], ups[1])):
            spread = deviation if other[0] == 1 else deviation**2
            assert abs((one * other).mean()) < 6.5 * spread / math.sqrt(len(one))


def secret_blocks(
    drawn: list[tuple[bytes, int, int, int]],
) -> dict[tuple[bytes, int], list[tuple[int, int]]]:
    """Counter blocks `[start, stop)` by stream; public streams have no upper half."""
    streams = defaultdict(list)
    for key, start, size, upper in drawn:
        if upper:
            streams[key, upper].append((start, start - (-size // 16)))
    return streams


@pytest.mark.parametrize("threads", [1, 3])
def test_no_block_of_randomness_is_drawn_twice(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Two runs of both parties: every stream's blocks are drawn once, and the streams that are not
    secret are those of the public polynomials.
    """
    drawn: list[tuple[bytes, int, int, int]] = []
    real = kernels.aes_ctr

    def note(key: U8, start: int, size: int, upper: int) -> U8:
        drawn.append((key.tobytes(), start, size, upper))
        return real(key, start, size, upper)

    layers = [prepared(spec, layer) for layer, spec in enumerate(SPECS)]
    parties = [
        layer_parties(layer, *inputs)
        for layer, *inputs in zip(layers, random_inputs(3), random_inputs(4), strict=True)
    ]
    monkeypatch.setattr(kernels, "aes_ctr", note)
    with Workers(threads) as serving, Workers(threads) as asking:

        def all_of(side: int, session: Session) -> None:
            shared = (serving, asking)[side]
            object.__setattr__(session, "workers", shared)
            for _ in range(2):
                for pair in parties:
                    pair[side](session)

        both(lambda s: all_of(0, s), lambda s: all_of(1, s))
    streams = secret_blocks(drawn)
    assert sum(stop - start for blocks in streams.values() for start, stop in blocks) > 1 << 20
    for blocks in streams.values():
        blocks.sort()
        assert all(one[1] <= other[0] for one, other in itertools.pairwise(blocks))
    assert len({key for key, _ in streams}) == len(streams)
    assert {key for key, _, _, upper in drawn if not upper} == public_keys_of(SPECS)


def public_keys_of(specs: Sequence[LinearSpec]) -> set[bytes]:
    """The AES keys of all public polynomials, restated."""
    keys = set()
    for layer, spec in enumerate(specs):
        tiles = len(spec.layout.windows)
        domains = ["public-key", *(f"layer/{layer}/tile/{tile}" for tile in range(tiles))]
        ring = f"{spec.rlwe.degree}/{','.join(map(str, spec.rlwe.primes))}"
        for domain, i in itertools.product(domains, range(len(spec.rlwe.primes))):
            name = f"moiety.rlwe.public/{ring}/{domain}/{i}"
            keys.add(hashlib.sha256(SEED + name.encode()).digest()[:16])
    return keys


def test_public_polynomials_are_uniform_and_all_different() -> None:
    """Of two rings, the public keys' and 70 of each of two layers' two tiles: no four coefficients
    in a row occur twice, modulo no prime.
    """
    windows = []
    for degree, primes in ((2048, PRIMES), (4096, ntt_primes(26, 3)), (4096, ntt_primes(25, 4))):
        ring = Ring.of(degree, primes)
        made = [public_key_a(ring, SEED)[:, None]]
        made += [ciphertext_a(ring, SEED, layer, tile, 70) for layer in (0, 1) for tile in (0, 1)]
        for row, p in zip(np.concatenate(made, axis=1), primes, strict=True):
            assert row.max() < p
            octets: U8 = (row.astype(np.uint64) * np.uint64(256) // np.uint64(p)).astype(np.uint8)
            assert chi_square(octets.reshape(-1)) < 255 + 8 * 22.6
            windows.append(np.ascontiguousarray(row[:, :64]).view("V16").reshape(-1))
    found = np.concatenate(windows)
    assert len(np.unique(found)) == len(found)


def test_every_layer_and_tile_has_public_polynomials_of_its_own() -> None:
    """Layers and tiles of one digit to three: no name of one is that of another."""
    ring, numbers = Ring.of(2048, PRIMES), (*range(20), 64, 100, 111, 116, 164, 256)
    made = [ciphertext_a(ring, SEED, layer, tile, 1) for layer in numbers for tile in numbers[::2]]
    first = np.concatenate(made, axis=1)[:, :, :8].swapaxes(0, 1).reshape(len(made), -1)
    assert len(np.unique(first, axis=0)) == len(made)
