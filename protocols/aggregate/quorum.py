"""A key that takes a quorum: the client gets it if enough images are marked, and the server does
not learn whether.

Functionality: of each label the server gets a fresh key, and so does the client if among its n
marks are at least `positives` positive and `negatives` negative ones; else it gets nothing of the
key. The server cuts two secrets into n shares each (Shamir, Communications of the ACM 1979, over
the field of 2^127 - 1), of which as many are needed as there must be marks, and in a 1-of-4
transfer per image the client takes the share of the first secret, or that of the second, or zero.
The key is a hash of both secrets.

An image gives a share of one class alone, so the count is of images, whatever the client does in
these transfers. What it cannot be held to is that it has the same marks elsewhere
(docs/security.md).

Flights: C S. Bits per image and label: a correlation of width 2 and 2 bits from the client, and 4 *
128 from the server. Nothing leaks: the server sees choices masked by correlations, and fewer shares
than needed are independent of their secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from moiety.protocols.aggregate.marks import NEGATIVE, POSITIVE
from moiety.protocols.arrays import U8, U64
from moiety.protocols.compare.reveal import reveal_to_client, reveal_to_client_cost
from moiety.protocols.cost import Cost, Size, Work, cost_of
from moiety.protocols.ot.transfers import answer_cost, choose_cost
from moiety.protocols.prg import Prg
from moiety.protocols.session import Session

FIELD: Final = (1 << 127) - 1
HALVES: Final = 2
"""Words of 64 bits that hold an element of the field."""

Key = bytes
Keys = Callable[[], list[Key | None]]
"""Of each label the key, 32 bytes; at the client None where its marks are too few. That takes a
while, so the client asks after the last message; it does the same work whatever the marks are.
"""


class Quorum(NamedTuple):
    """How many marks of either class it takes."""

    positives: int
    negatives: int


def share_keys(
    session: Session, labels: int, images: int, least: Quorum, marks: U8 | None = None
) -> Keys:
    """The keys. `marks` uint8 `(L, n)` are the client's, None at the server."""
    n = labels * images
    if marks is None:
        keys, table = _server_keys(session.prg, labels, images, least)
        (accepted,) = session.sender.accept_rows(1, n, 2, HALVES)
        own = session.sender.additive(accepted, table, 64)
        reveal_to_client(session, own, 64)
        return lambda: keys
    (chosen,) = session.receiver.choose_rows(marks.reshape(1, -1), 2, HALVES)
    words = reveal_to_client(session, session.receiver.additive(chosen, 64), 64)
    assert words is not None
    return partial(_client_keys, words.reshape(labels, images, HALVES), marks, least)


def _server_keys(prg: Prg, labels: int, images: int, least: Quorum) -> tuple[list[Key | None], U64]:
    """The keys, and of each image and half of its shares a row of what the client chooses in."""
    keys: list[Key | None] = []
    table = np.zeros((labels, images, HALVES, 4), np.uint64)
    for label in range(labels):
        secrets = []
        for mark, needed in ((POSITIVE, least.positives), (NEGATIVE, least.negatives)):
            polynomial = _random_elements(prg, needed)
            secrets.append(polynomial[0])
            shares = [_value(polynomial, image + 1) for image in range(images)]
            table[label, :, :, mark] = _words(shares)
        keys.append(_key(secrets))
    return keys, table.reshape(-1, 4)


def _client_keys(words: U64, marks: U8, least: Quorum) -> list[Key | None]:
    taken = _elements(words)
    return [_client_key(row, mine, least) for row, mine in zip(taken, marks, strict=True)]


def _client_key(taken: Sequence[int], marks: U8, least: Quorum) -> Key | None:
    """Where marks are missing, other images stand in for them, so that no time tells of it."""
    secrets, enough = [], True
    for mark, needed in ((POSITIVE, least.positives), (NEGATIVE, least.negatives)):
        images = np.argsort(marks != mark, kind="stable")[:needed]
        secrets.append(_interpolated([(int(at) + 1, taken[at]) for at in images]))
        enough &= int(np.sum(marks == mark)) >= needed
    key = _key(secrets)
    return key if enough else None


def _key(secrets: Sequence[int]) -> Key:
    words = b"".join(secret.to_bytes(8 * HALVES, "little") for secret in secrets)
    return hashlib.sha256(b"moiety quorum" + words).digest()


# --- the field ------------------------------------------------------------------------------------


def _random_elements(prg: Prg, count: int) -> list[int]:
    """Uniform to within 2^-127."""
    drawn = prg.bytes(8 * HALVES * count).tobytes()
    size = 8 * HALVES
    return [
        (int.from_bytes(drawn[at : at + size], "little") & FIELD) % FIELD
        for at in range(0, len(drawn), size)
    ]


def _value(polynomial: Sequence[int], x: int) -> int:
    """Horner's rule, coefficients from the constant one up."""
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % FIELD
    return value


def _interpolated(points: Sequence[tuple[int, int]]) -> int:
    """The value at 0 of the polynomial through these points (Lagrange)."""
    value = 0
    for x, y in points:
        above, below = 1, 1
        for other, _ in points:
            if other != x:
                above, below = above * other % FIELD, below * (other - x) % FIELD
        value += y * above * pow(below, -1, FIELD)
    return value % FIELD


def _words(elements: Sequence[int]) -> U64:
    """`(n, HALVES)`, the lower half first."""
    data = b"".join(element.to_bytes(8 * HALVES, "little") for element in elements)
    return np.frombuffer(data, "<u8").reshape(-1, HALVES)


def _elements(words: U64) -> list[list[int]]:
    """`(L, n, HALVES)` to L rows of n."""
    lower, upper = words[..., 0].tolist(), words[..., 1].tolist()
    return [
        [low | high << 64 for low, high in zip(*row, strict=True)]
        for row in zip(lower, upper, strict=True)
    ]


@cost_of(share_keys)
def share_keys_cost(labels: Size, images: Size) -> Cost:
    """Of so many labels of so many images."""
    n = labels * images
    made, read = (Work("join_send_2", HALVES * n),), (Work("join_recv_2", HALVES * n),)
    answered = answer_cost("S", HALVES * n, 2, 64, made, read)
    return choose_cost("C", n, 2) + answered + reveal_to_client_cost(HALVES * n, 64)
