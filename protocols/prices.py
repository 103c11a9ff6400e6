"""The one table of prices: what a unit of local work takes, by figure.

A row is a *figure*: a name and, described once, what one unit of it is. The table has three
columns, and no price stands anywhere else.

`FORMAT_2`, whole picoseconds, is part of the Program's format. The two parties cut comparisons into
digits and pack batches of images into ciphertexts each for itself, by the least price, and must
find the same plan; so both read these numbers, whatever their machines are. Its rows are coarse:
the work of both parties together. **Changing a value changes bytes on the wire**, and takes another
version of the Program: these are those of version 2.

`PREPARED_1`, whole picoseconds and part of the format likewise, is what a transfer takes in a run
whose pads were made beforehand. What is made beforehand counts by `FORMAT_2`, for a share of
`OFFLINE_1`; a bit that is sent counts for no less than `BIT_1`.

`REFERENCE`, nanoseconds, is what `moiety calibrate-machine` measured on the reference machine, one
2.6 GHz core with AVX-512, VAES and GFNI. Its rows are fine: one party, one kernel. Predicted times
are made of it (runtime/cost), and of another machine's figures where they were measured there.
Changing a value changes predictions, and which generator `--ot auto` takes, but no plan.

`FORMAT_2` and `REFERENCE` differ because the format's numbers are kernels alone, 1.4 times as long
as in a hot loop (silent correlations, which are made in long runs, as they are), and stay; the
reference machine's are raised by what whole protocols, with cold caches, took above their kernels.
Where a coarse row is made of fine ones, `parts` names them: a SoftSpoken correlation of three bits
is planned at 20 ns and predicted at 25.2 ns. What that may cost is a plan that is not quite the
best, never a disagreement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

WIDTHS: Final = (1, 2, 3, 4)
"""Bits of a choice; a family of figures has one row for each."""


@dataclass(frozen=True)
class Figure:
    """A row. format_2, prepared_1: picoseconds, None where no plan asks for it. measured:
    nanoseconds on the reference machine, None where it is the sum of `parts` or the network's
    affair. offline, online: the figures of which a prepared run takes the first beforehand and the
    second by itself, in the place of this one; "" for none.
    """

    name: str
    unit: str
    format_2: int | None = None
    prepared_1: int | None = None
    measured: float | None = None
    parts: tuple[str, ...] = ()
    offline: str = ""
    online: str = ""


def _by_width(
    family: str,
    unit: str,
    *,
    format_2: tuple[int | None, ...] | None = None,
    prepared_1: tuple[int, ...] | None = None,
    measured: tuple[float, ...] | None = None,
    parts: tuple[str, ...] = (),
    offline: str = "",
    online: str = "",
) -> list[Figure]:
    """One row per width: `family_1` to `family_4`."""
    return [
        Figure(
            f"{family}_{k}",
            unit.format(k=k),
            format_2[k - 1] if format_2 else None,
            prepared_1[k - 1] if prepared_1 else None,
            measured[k - 1] if measured else None,
            tuple(f"{part}_{k}" for part in parts),
            offline and f"{offline}_{k}",
            online and f"{online}_{k}",
        )
        for k in WIDTHS
        if (format_2 or measured or (None,) * 4)[k - 1] is not None
    ]


_PLANNED: Final[tuple[Figure, ...]] = (
    *_by_width(
        "softspoken",
        "SoftSpoken correlation of {k} bits, both parties",
        format_2=(7_600, 14_300, 20_000, None),
        parts=("vole_recv", "vole_send"),
    ),
    *(
        Figure(
            f"silent_{width}",
            f"silent correlation over {field}, both parties",
            format_2=price,
            parts=(
                *("silent_refill_send", "silent_refill_recv"),
                *(f"silent_{part}_{width}" for part in ("send", "choose", "recv")),
            ),
        )
        for width, field, price in ((1, "F_2", 20_000), (4, "F_16", 21_500))
    ),
    *_by_width(
        "transfer",
        "transfer of a digit of {k} bits against one threshold or of a join, both parties",
        format_2=(4_400, 7_600, 10_400, 18_000),
        prepared_1=(800, 1_300, 2_200, 4_000),
        parts=("leaf_send", "leaf_recv"),
    ),
    *_by_width(
        "shared_transfer",
        "transfer of a digit of {k} bits against several thresholds, both parties",
        format_2=(6_900, 13_200, 26_800, 51_000),
        prepared_1=(2_300, 4_400, 8_900, 17_000),
        parts=("leaves_send", "leaves_recv"),
    ),
    *_by_width(
        "threshold",
        "two answer bits (lt and eq) of one of these thresholds, {k} bits, both parties",
        format_2=(1_500, 2_200, 3_400, 5_800),
        prepared_1=(500, 700, 1_100, 1_900),
        parts=("field_send", "field_send", "field_recv", "field_recv"),
    ),
    Figure("wire_byte", "byte on the line of a good LAN", format_2=2_700),
    Figure(
        "upload_residue",
        "residue of an upload: expand a, transform, sample, add (client); add, convert (server)",
        format_2=4_200,
        parts=("expand_residue", "mask_residue", "encode_residue", "encode_residue"),
    ),
    Figure(
        "answer_residue",
        "residue of an answer: transforms, samples, rounding (server); product, rounding (client)",
        format_2=12_400,
        parts=("zero_residue", "zero_residue", "torus_residue", "phase_residue"),
    ),
)

_CORRELATIONS: Final[tuple[Figure, ...]] = (
    *_by_width(
        "vole_recv",
        "SoftSpoken correlation of {k} bits, receiver",
        measured=(4.79, 8.47, 11.9, 16.1),
    ),
    *_by_width(
        "vole_send",
        "SoftSpoken correlation of {k} bits, sender",
        measured=(4.53, 7.82, 13.3, 22.2),
    ),
    Figure("silent_refill_send", "output of a silent refill, sender", measured=1.93),
    Figure("silent_refill_recv", "output of a silent refill, receiver", measured=1.77),
    Figure("silent_send_1", "silent correlation over F_2, sender", measured=7.0),
    Figure("silent_send_4", "silent correlation over F_16, sender", measured=7.12),
    Figure("silent_choose_1", "its choice, receiver", measured=2.4),
    Figure("silent_choose_4", "its choice over F_16, receiver", measured=2.6),
    Figure("silent_recv_1", "its row, receiver, while it waits for the answer", measured=7.53),
    Figure("silent_recv_4", "its row over F_16, receiver", measured=8.03),
    Figure(
        "silent_cut",
        "bits of a silent correlation that a narrow choice does not need, either party",
        measured=0.479,
    ),
)

_TRANSFERS: Final[tuple[Figure, ...]] = (
    Figure("choose", "choice made and packed", measured=0.424),
    Figure("accept", "choice unpacked", measured=0.256),
    *_by_width(
        "leaf_send",
        "digit of {k} bits against one threshold, sender",
        measured=(2.88, 5.38, 10.2, 19.6),
        offline="pads_send",
        online="given_send",
    ),
    *_by_width(
        "leaf_recv",
        "digit of {k} bits against one threshold, receiver",
        measured=(1.75, 3.01, 2.97, 4.93),
        offline="pads_recv",
        online="given_recv",
    ),
    *_by_width(
        "leaves_send",
        "digit of {k} bits against several thresholds, sender",
        measured=(3.52, 7.69, 12.9, 30.5),
        offline="pads_send",
        online="given_send",
    ),
    *_by_width(
        "leaves_recv",
        "digit of {k} bits against several thresholds, receiver",
        measured=(1.99, 4.28, 7.21, 13.4),
        offline="pads_recv",
        online="given_recv",
    ),
    *_by_width(
        "field_send",
        "one of its answer bits (lt or eq of a threshold), sender, {k} bits",
        measured=(0.917, 1.41, 2.48, 3.82),
        offline="pads_field_send",
        online="given_field_send",
    ),
    *_by_width(
        "field_recv",
        "one of its answer bits, receiver, {k} bits",
        measured=(0.53, 0.586, 0.884, 1.41),
        offline="pads_field_recv",
        online="given_field_recv",
    ),
    *_by_width(
        "join_send",
        "lookup of shared bits on {k} bits, sender",
        measured=(3.16, 5.48, 11, 20.2),
        offline="pads_send",
        online="given_send",
    ),
    *_by_width(
        "join_recv",
        "lookup of shared bits on {k} bits, receiver",
        measured=(1.75, 2.93, 3.04, 4.9),
        offline="pads_recv",
        online="given_recv",
    ),
    *(
        Figure(name, unit, measured=measured, offline=f"pads_{side}_1", online=f"given_{side}_1")
        for name, unit, measured, side in (
            ("mux_send", "product with a shared bit, sender", 3.3, "send"),
            ("mux_send_adding", "product with a shared bit, sender that adds another", 3.9, "send"),
            ("widen_send", "extension by a known sign, sender", 3.2, "send"),
            ("widen_recv", "extension by a known sign, receiver", 1.8, "recv"),
            ("open_1", "additive 1-of-2 transfer, receiver", 1.5, "recv"),
        )
    ),
)

# Estimates from the kernels that make and use pads at once: what they take is mostly the hashes.
_PREPARED: Final[tuple[Figure, ...]] = (
    *_by_width(
        "pads_send",
        "pads of a transfer of {k} bits made beforehand and cut, sender",
        measured=(2.9, 5.4, 10.2, 19.6),
    ),
    *_by_width(
        "pads_recv",
        "pad of a transfer of {k} bits made beforehand and cut, receiver",
        measured=(1.8, 2.9, 3.0, 4.9),
    ),
    *_by_width(
        "given_send",
        "answer to a choice of {k} bits under pads made beforehand, sender",
        measured=(0.5, 0.8, 1.4, 2.6),
    ),
    *_by_width(
        "given_recv",
        "such an answer, receiver",
        measured=(0.3, 0.5, 0.8, 1.4),
    ),
    *_by_width(
        "pads_field_send",
        "pads of one answer bit of several thresholds, {k} bits, made beforehand, sender",
        measured=(0.6, 0.9, 1.6, 2.5),
    ),
    *_by_width(
        "pads_field_recv",
        "pad of one such answer bit, receiver",
        measured=(0.35, 0.4, 0.6, 0.9),
    ),
    *_by_width(
        "given_field_send",
        "one such answer bit under pads made beforehand, sender",
        measured=(0.3, 0.5, 0.8, 1.3),
    ),
    *_by_width(
        "given_field_recv",
        "one such answer bit, receiver",
        measured=(0.18, 0.2, 0.3, 0.5),
    ),
)

_PASSES: Final[tuple[Figure, ...]] = (
    Figure("digit", "digit cut from a value", measured=0.831),
    Figure("join_choice", "shares of one more part put into a choice", measured=0.474),
    Figure("pass", "element of one pass over an array of ring elements", measured=0.485),
    Figure("bit_pass", "element of one pass over an array of bits", measured=0.0417),
)

_LATTICE: Final[tuple[Figure, ...]] = (
    Figure("expand_residue", "public polynomial expanded, per residue", measured=1.17),
    Figure("mask_residue", "encryption of zero under the secret, per residue", measured=4.06),
    Figure("encode_residue", "message put into a ciphertext, per residue", measured=2.04),
    Figure(
        "zero_residue",
        "encryption of zero under the public key, per residue of one of its two parts",
        measured=5.19,
    ),
    Figure("torus_residue", "residues rounded to a power of two, per residue", measured=5.89),
    Figure(
        "phase_residue",
        "product of an answer and the secret, per residue of the working modulus",
        measured=7.6,
    ),
    Figure("product", "multiply-add of a convolution", format_2=50, measured=0.0528),
    Figure(
        "half_product",
        "multiply-add of a convolution of known integers, per half of 16 bits",
        measured=0.0175,
    ),
    Figure("row", "coefficient of a row copied for a convolution", measured=0.434),
    Figure("sum", "product added to a sum", measured=0.277),
    Figure("word", "ring element or residue packed to its bits, or unpacked", measured=1.1),
)

_MESSAGES: Final[tuple[Figure, ...]] = (
    Figure("send_byte", "byte given to the network", measured=0.19),
    Figure("receive_byte", "byte taken from the network", measured=0.19),
    Figure("message", "one message, either party: calls, headers, waking up", measured=38_000.0),
    Figure("step", "one step of a Program, either party", measured=12_400.0),
    Figure("layer", "one tile of a homomorphic layer, either party", measured=191_000.0),
)

_GROUPS: Final = (
    *(_PLANNED, _CORRELATIONS, _TRANSFERS, _PREPARED),
    *(_PASSES, _LATTICE, _MESSAGES),
)

FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {figure.name: figure for group in _GROUPS for figure in group}
)
"""The table: name -> row."""

FORMAT_2: Final[Mapping[str, int]] = MappingProxyType(
    {name: figure.format_2 for name, figure in FIGURES.items() if figure.format_2 is not None}
)
"""The planners' column, whole picoseconds of both parties together."""

PREPARED_1: Final[Mapping[str, int]] = MappingProxyType(
    {name: figure.prepared_1 for name, figure in FIGURES.items() if figure.prepared_1 is not None}
)
"""The planners' column for prepared runs, likewise: reading pads, answering and opening."""

OFFLINE_1: Final = 33
"""Percent: what a picosecond counts for where it is spent before a prepared run."""

BIT_1: Final = 1_000
"""Picoseconds: the least that a bit counts for which a prepared run sends. It was made, kept and is
read as bits of pads at both parties, and whoever prepares runs wants answers on any line.
"""

PRODUCT_1: Final = 10_000
"""Picoseconds: what one product more takes of a prepared run and, at `OFFLINE_1`, before it."""

SILENT_WIRE_2: Final = {1: 14, 2: 37, 3: 27, 4: 17}
"""Tenths of a bit on the wire for one silent correlation of a width, a refill spread over all that
it makes: no price, but as much a part of format 2.
"""

REFERENCE: Final[Mapping[str, float]] = MappingProxyType(
    {name: figure.measured for name, figure in FIGURES.items() if figure.measured is not None}
)
"""The reference machine's column, nanoseconds of one core. Its names are those that declared costs
are made of, and that every measured machine has.
"""


def on_reference(name: str) -> float:
    """Nanoseconds of a figure on the reference machine: measured, or the sum of its parts. Raises
    `KeyError` for a name that no machine measures.
    """
    parts = FIGURES[name].parts
    return sum(REFERENCE[part] for part in parts) if parts else REFERENCE[name]
