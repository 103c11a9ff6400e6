"""One linear layer's ciphertext and answer: which coefficients carry what, by the layout that the
planner chose and the parties use.
"""

from __future__ import annotations

from moiety.protocols.linear.cost import linear_cost
from moiety.protocols.linear.layout import Geometry
from moiety.protocols.linear.planner import plan_linear
from moiety.protocols.linear.spec import LinearSpec
from tests.project.pictures.svg import Picture

GEOMETRY = Geometry((4, 14, 14), (8, 14, 14), (3, 3), (1, 1, 1, 1), (1, 1), 1)
BITS, WEIGHT_BITS, GUARD = 25, 12, 1
WIDTH, LEFT, STRIP, HIGH = 960, 24, 912, 28


def layer() -> LinearSpec:
    """The layer as the compiler would plan it."""
    return plan_linear(GEOMETRY, BITS, WEIGHT_BITS, GUARD)


def draw() -> Picture:
    spec = layer()
    plan, cost = spec.rlwe, linear_cost(spec)
    picture = Picture(
        "layer",
        "One linear layer: ciphertext and answer",
        "The hospital encrypts its share, one channel after the other in the coefficients of a "
        "polynomial. The vendor adds its own share, multiplies by its weights, adds an encryption "
        "of zero and subtracts a uniform mask, its share of the result. In the answer some "
        "coefficients are outputs, and the hospital decrypts these: its share.",
        WIDTH,
        0,
    )
    (channels, height, width), filters = GEOMETRY.in_shape, GEOMETRY.out_shape[0]
    picture.words((24, 30), "One linear layer: ciphertext and answer", "head")
    says = (
        f"{'x'.join(map(str, GEOMETRY.kernel))} convolution of {channels} channels of "
        f"{height}x{width} to {filters}; polynomials of {plan.degree} coefficients modulo q of "
        f"{sum(prime.bit_length() for prime in plan.primes)} bits"
    )
    picture.words((24, 52), says, "soft small")
    y = _encrypts(picture, spec, 84)
    y = _answers(picture, spec, y)
    y = _decrypts(picture, spec, y)
    foot = f"{int(cost.up):,} bytes up, {int(cost.down):,} down, two flights"
    picture.words((LEFT + STRIP, y), foot, "soft small", "end")
    picture.height = int(y) + 22
    return picture


def _encrypts(picture: Picture, spec: LinearSpec, y: float) -> float:
    """The plaintexts: channel c of a ciphertext at c*S."""
    layout = spec.layout
    title = f"1  The hospital encrypts its share x1, in {layout.ciphertexts_per_tile} polynomials"
    picture.words((LEFT, y + 12), title, "bold hospital")
    y += 24
    for place in range(layout.ciphertexts_per_tile):
        first = place * layout.cp
        count = min(layout.cp, layout.bundle_channels - first)
        blocks = [
            (at * layout.channel_size, layout.channel_size, f"channel {first + at}")
            for at in range(count)
        ]
        y = _strip(picture, spec, y, blocks, "hospital")
    says = f"a channel takes {layout.channel_size} coefficients, a row of it {layout.pitch}"
    picture.words((LEFT, y + 11), f"{says}: its pixels, and zeros that pad", "soft small")
    lines = (
        "s: a new secret for every image; e: small noise",
        "a: public and fixed for the model: it is not sent",
    )
    return _formula(picture, y + 24, "b = a s + e + q x1 / 2^l", lines, "hospital")


def _answers(picture: Picture, spec: LinearSpec, y: float) -> float:
    """The answers: filter m of one at m*B, its outputs in rows of the pitch."""
    layout, k = spec.layout, spec.rlwe.answer_bits
    title = f"2  The vendor answers, in {layout.answers_per_tile} polynomials"
    picture.words((LEFT, y + 12), title, "bold vendor")
    lines = (
        "x0: its share; w: its weights; enc(0): a new encryption of zero for every answer",
        "r: uniform, and its share of the result; w a was computed once per model",
    )
    formula = "b' = w (b + q x0 / 2^l) + enc(0) - r,   a' = w a + enc(0)"
    y = _formula(picture, y + 24, formula, lines, "vendor") - 8
    outputs = (layout.tile[0] - 1) * layout.pitch + layout.tile[1]
    for place in range(layout.answers_per_tile):
        first = place * layout.mp
        count = min(layout.mp, layout.bundle_filters - first)
        blocks = [(at * layout.block, outputs, f"filter {first + at}") for at in range(count)]
        y = _strip(picture, spec, y, blocks, "vendor")
    says = (
        f"of b' the outputs alone are sent, {spec.result_bits} bits each, {spec.guard} of them "
        f"for noise; of a' all coefficients, {k} bits each; the rest of b' means nothing"
    )
    picture.words((LEFT, y + 11), says, "soft small")
    return y + 36


def _decrypts(picture: Picture, spec: LinearSpec, y: float) -> float:
    picture.words((LEFT, y + 12), "3  The hospital decrypts", "bold hospital")
    lines = (
        f"its share of the result, modulo 2^{spec.result_bits}: with r it is the sum, and noise in "
        "the guard bits",
    )
    return _formula(picture, y + 24, "b' - a' s", lines, "hospital") - 6


def _strip(
    picture: Picture,
    spec: LinearSpec,
    y: float,
    blocks: list[tuple[int, int, str]],
    style: str,
) -> float:
    """A polynomial, coefficient 0 on the left, and what lies where: (first, count, words)."""
    scale = STRIP / spec.rlwe.degree
    picture.box((LEFT, y), (STRIP, HIGH), "frame", 2)
    for first, count, words in blocks:
        at, size = (LEFT + first * scale, y), (count * scale, HIGH)
        picture.labelled(at, size, words, style, "small")
    return y + HIGH + 8


def _formula(picture: Picture, y: float, formula: str, lines: tuple[str, ...], style: str) -> float:
    """A box with what is computed, and its letters."""
    height = 36 + 20 * len(lines)
    picture.box((LEFT, y), (STRIP, height), style, 6)
    picture.words((LEFT + 14, y + 24), formula, "mono bold")
    for row, line in enumerate(lines):
        picture.words((LEFT + 14, y + 46 + 20 * row), line, "small")
    return y + height + 24
