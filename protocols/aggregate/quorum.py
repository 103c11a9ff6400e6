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
(docs/security.md); but where all that the marks are for is a choice among the server's words, these
can travel beside the shares, and the one choice takes both (`give_keys`, `take_keys`).

Flights: C S. Bits per image and label: a correlation of width 2 and 2 bits from the client, and 4 *
128 from the server; 3 * 64 more for each word beside. Nothing leaks: the server sees choices masked
by correlations, and fewer shares than needed are independent of their secret.
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
    if marks is None:
        return give_keys(session, least, np.zeros((labels, images, 0, 4), np.uint64))[0]
    return take_keys(session, least, marks, 0)[0]


def give_keys(session: Session, least: Quorum, beside: U64) -> tuple[Keys, U64]:
    """The server's part: the keys; and of each image its shares, uint64 `(L, n, words)` modulo
    2^64, of the words `beside` the shares of the key that the client's choice takes, of uint64
    `(L, n, words, 4)`, one for each mark.
    """
    labels, images, words, marks = beside.shape
    keys, table = _server_keys(session.prg, labels, images, least)
    entries = np.concatenate([table.reshape(labels, images, HALVES, marks), beside], axis=2)
    group = HALVES + words
    (accepted,) = session.sender.accept_rows(1, labels * images, 2, group)
    own = session.sender.additive(accepted, entries.reshape(-1, marks), 64)
    own = own.reshape(labels, images, group)
    reveal_to_client(session, own[..., :HALVES].reshape(-1), 64)
    return lambda: keys, own[..., HALVES:]


def take_keys(session: Session, least: Quorum, marks: U8, words: int) -> tuple[Keys, U64]:
    """The client's part: `marks` uint8 `(L, n)` choose the shares of the key and so many `words`
    beside, of which it gets its own shares.
    """
    labels, images = marks.shape
    group = HALVES + words
    (chosen,) = session.receiver.choose_rows(marks.reshape(1, -1), 2, group)
    own = session.receiver.additive(chosen, 64).reshape(labels, images, group)
    opened = reveal_to_client(session, own[..., :HALVES].reshape(-1), 64)
    assert opened is not None
    taken = opened.reshape(labels, images, HALVES)
    return partial(_client_keys, taken, marks, least), own[..., HALVES:]


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


@cost_of(share_keys, give_keys, take_keys)
def share_keys_cost(labels: Size, images: Size, words: int = 0) -> Cost:
    """Of so many labels of so many images, with so many words beside."""
    n, group = labels * images, HALVES + words
    made, read = (Work("join_send_2", group * n),), (Work("join_recv_2", group * n),)
    answered = answer_cost("S", group * n, 2, 64, made, read)
    return choose_cost("C", n, 2) + answered + reveal_to_client_cost(HALVES * n, 64)
