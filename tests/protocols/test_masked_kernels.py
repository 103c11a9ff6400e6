"""Products of masked values: the law of both twins, value by value on integers, and every compiled
variant equal to the reference, for all widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moiety.protocols.arrays import U8, U64
from moiety.protocols.kernels.reference import masked
from moiety.protocols.kernels.reference.streams import pack, unpack
from tests.protocols.twins import KernelFamily

FAMILY = KernelFamily("symmetric", masked)
# A group of 64, a block of 256, a grain of 512: around each.
SIZES = (0, 1, 7, 8, 63, 64, 65, 191, 255, 256, 257, 320, 511, 512, 513, 1100)


@pytest.fixture(params=FAMILY.twins)
def twin(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    with FAMILY.twin(request.param) as kernels:
        yield kernels


class Values:
    """Of n elements, all numbers modulo 2^bits."""

    def __init__(self, n: int, bits: int, seed: int) -> None:
        self.rng, self.n, self.bits = np.random.default_rng(seed), n, bits

    def numbers(self, n: int | None = None) -> U64:
        return self.rng.integers(0, 2**64, self.n if n is None else n, np.uint64) & np.uint64(
            2**self.bits - 1
        )

    def flags(self) -> U8:
        return self.rng.integers(0, 2, self.n, np.uint8)

    def stream(self, values: U64) -> U8:
        return pack(values, self.bits)

    def opened(self, stream: U8) -> list[int]:
        """The numbers of a stream, of which the spare bits are zero."""
        numbers = unpack(stream, self.n, self.bits)
        assert stream.tobytes() == pack(numbers, self.bits).tobytes()
        return [int(each) for each in numbers]


def integers(*arrays: U64 | U8) -> Iterator[tuple[int, ...]]:
    return zip(*(map(int, each) for each in arrays), strict=True)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 600), bits=st.integers(1, 64), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", FAMILY.twins)
def test_masked_products_are_modulo_the_ring(name: str, n: int, bits: int, seed: int) -> None:
    made, ring = Values(n, bits, seed), 2**bits
    pads, y, u = made.numbers(2 * n), made.numbers(), made.flags()
    with FAMILY.twin(name) as twin:
        message, sent = twin.product_sent(made.stream(pads), made.stream(y), n, bits)
        chosen = pads.reshape(n, 2)[np.arange(n), u]
        received = twin.product_received(made.stream(chosen), message, u, bits)
    both = list(zip(made.opened(sent), made.opened(received), strict=True))
    assert [(a + b) % ring for a, b in both] == [y * u for y, u in integers(y, u)]
    assert [a for a, _ in both] == [-p % ring for (p,) in integers(pads[::2])]
    assert made.opened(message) == [
        (y + p - q) % ring for y, p, q in integers(y, pads[::2], pads[1::2])
    ]


@pytest.mark.parametrize("n", SIZES)
def test_product_twins_are_equal(twin: SimpleNamespace, n: int) -> None:
    for bits in range(1, 65):
        made = Values(n, bits, 100 * n + bits)
        pads, y, u = made.stream(made.numbers(2 * n)), made.stream(made.numbers()), made.flags()
        message, share = twin.product_sent(pads, y, n, bits)
        assert [message.tobytes(), share.tobytes()] == [
            each.tobytes() for each in masked.product_sent(pads, y, n, bits)
        ]
        opened = masked.product_received(share, message, u, bits)
        assert twin.product_received(share, message, u, bits).tobytes() == opened.tobytes()


@settings(deadline=None, max_examples=60)
@given(
    n=st.integers(0, 600),
    bits=st.integers(1, 64),
    shift=st.integers(0, 63),
    alone=st.booleans(),
    seed=st.integers(0, 2**32),
)
@pytest.mark.parametrize("name", FAMILY.twins)
def test_masked_values_are_modulo_the_ring(
    name: str, n: int, bits: int, shift: int, alone: bool, seed: int
) -> None:
    """`alone`: the bit is added, times nothing."""
    made, ring = Values(n, bits, seed), 2**bits
    wide = Values(n, 64, seed)  # x, y and the mask are any words
    x, y, mask, a = wide.numbers(), wide.numbers(), wide.numbers(), made.numbers()
    bit, e = made.flags(), made.flags()
    share = made.stream(a)
    with FAMILY.twin(name) as twin:
        message = twin.masked_send(x, shift, None if alone else y, bit, share, e, mask, bits)
        summed = twin.masked_receive(x, shift, bit, share, e, message, bits)
    assert made.opened(message) == [
        ((x >> shift) + (1 if alone else y) * b + (1 - 2 * e) * a - m) % ring
        for x, y, b, e, a, m in integers(x, y, bit, e, a, mask)
    ]
    assert [int(each) for each in summed] == [
        ((x >> shift) - b + (1 - 2 * e) * a + sent) % ring
        for x, b, e, a, sent in integers(x, bit, e, a, np.array(made.opened(message), np.uint64))
    ]


@pytest.mark.parametrize("n", SIZES)
def test_value_twins_are_equal(twin: SimpleNamespace, n: int) -> None:
    for bits in range(1, 65):
        made = Values(n, bits, 100 * n + bits)
        x, y, mask, share = made.numbers(), made.numbers(), made.numbers(), made.numbers()
        given = (made.flags(), made.stream(share), made.flags())
        for known in (None, y):
            sent = twin.masked_send(x, bits - 1, known, *given, mask, bits)
            expected = masked.masked_send(x, bits - 1, known, *given, mask, bits)
            assert sent.tobytes() == expected.tobytes()
        summed = twin.masked_receive(x, bits - 1, *given, sent, bits)
        added = masked.masked_receive(x, bits - 1, *given, sent, bits)
        assert summed.tobytes() == added.tobytes()


WORDS = np.zeros(4, np.uint64)
ZEROS = np.zeros(4, np.uint8)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("product_sent", (ZEROS[:3], ZEROS[:2], 4, 4)),
        ("product_sent", (ZEROS, ZEROS[:3], 4, 4)),
        ("product_sent", (ZEROS, ZEROS[:2], 4, 0)),
        ("product_sent", (ZEROS[:0], ZEROS[:0], 0, 65)),
        ("product_sent", (ZEROS, ZEROS[:2], 2**48, 4)),
        ("product_received", (ZEROS, ZEROS, ZEROS, 9)),
        ("product_received", (ZEROS, ZEROS[:3], ZEROS, 8)),
        ("product_received", (ZEROS[:3], ZEROS, ZEROS, 8)),
        ("masked_send", (WORDS, 64, None, ZEROS, ZEROS, ZEROS, WORDS, 8)),
        ("masked_send", (WORDS, 0, None, ZEROS[:3], ZEROS, ZEROS, WORDS, 8)),
        ("masked_send", (WORDS, 0, WORDS[:3], ZEROS, ZEROS, ZEROS, WORDS, 8)),
        ("masked_send", (WORDS, 0, None, ZEROS, ZEROS[:3], ZEROS, WORDS, 8)),
        ("masked_send", (WORDS, 0, None, ZEROS, ZEROS, ZEROS[:3], WORDS, 8)),
        ("masked_send", (WORDS, 0, None, ZEROS, ZEROS, ZEROS, WORDS[:3], 8)),
        ("masked_receive", (WORDS, 0, ZEROS, ZEROS, ZEROS, ZEROS[:3], 8)),
        ("masked_receive", (WORDS, 0, ZEROS, ZEROS[:3], ZEROS, ZEROS, 8)),
        ("masked_receive", (WORDS, 0, ZEROS, ZEROS, ZEROS, ZEROS, 9)),
    ],
)
def test_wrong_lengths_are_refused(
    twin: SimpleNamespace, name: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(ValueError, match="must"):
        getattr(twin, name)(*arguments)
