"""Stored values to grey: 0, black, to 1, white, in double precision.

Grey value "voi", as displayed (PS3.4 N.2): Modality LUT (its sequence, else Rescale Slope and
Intercept) -> VOI LUT 0, else window 0, else the full range -> inverted for MONOCHROME1 -> padding
pixels black. "full-range", as many models were trained: stored values over the range of their bits
-> inverted for MONOCHROME1. Photometric Interpretation alone decides on the inversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from moiety.protocols.arrays import F64
from moiety.runtime.intake.dicom.header import Header, Refused, named
from moiety.runtime.intake.dicom.pixels import Form
from moiety.runtime.intake.dicom.words import shown
from moiety.runtime.intake.picture import Warned
from moiety.runtime.program.preprocessing import GreyValue

Stored = npt.NDArray[Any]
WIDEST_LUT = 16

SHAPES = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
"""Photometric Interpretation -> the Presentation LUT Shape that goes with it."""


@dataclass(frozen=True)
class Values:
    """Pixels after the Modality LUT, and the least and the largest that it can give."""

    pixels: F64
    least: float
    largest: float


@dataclass(frozen=True)
class Lut:
    """A look-up table; what lies before `first` or behind the end takes the nearest entry."""

    first: int
    table: F64
    bits: int

    def __call__(self, values: F64) -> F64:
        index = np.rint(values) - self.first
        return self.table[np.clip(index, 0, len(self.table) - 1).astype(np.intp)]


def grey(
    stored: Stored, header: Header, form: Form, grey_value: GreyValue
) -> tuple[F64, list[Warned]]:
    """The picture's grey values, of the kind that the model was trained with. Raises `Refused`."""
    said = list(_contradiction(header, form))
    if grey_value == "full-range":
        return stored_range(stored, form), said
    seen, more = display(stored, header, form)
    return seen, said + more


def stored_range(stored: Stored, form: Form) -> F64:
    """No LUT, no window, and padding as it is stored. Signed values begin at their least."""
    return _upright(full_range(form.least, form.largest)(stored.astype(np.float64)), form)


def display(stored: Stored, header: Header, form: Form) -> tuple[F64, list[Warned]]:
    """The picture as it is meant to be seen. Raises `Refused`."""
    values = modality_values(stored, header, form)
    mapping, said = _voi(header, values)
    seen = _upright(mapping(values.pixels), form)
    outside = padding(stored, header, form)
    inside = seen[~outside]
    if inside.size == 0 or inside.min() == inside.max():
        raise Refused("a constant image: its display leaves a single grey value")
    seen[outside] = 0
    return seen, said


def _upright(seen: F64, form: Form) -> F64:
    """White is 1, for MONOCHROME1 too."""
    return 1 - seen if form.photometric == "MONOCHROME1" else seen


def _contradiction(header: Header, form: Form) -> Iterator[Warned]:
    shape = header.word("PresentationLUTShape")
    if shape and SHAPES.get(form.photometric) not in (None, shape):
        yield Warned(
            "presentation-lut-contradicts",
            f"PresentationLUTShape {shown(shape)} contradicts {form.photometric}, which decides",
        )


def modality_values(stored: Stored, header: Header, form: Form) -> Values:
    """A Modality LUT Sequence beats Rescale Slope and Intercept."""
    luts = header.items("ModalityLUTSequence")
    if luts:
        lut = read_lut(luts[0], signed=form.signed, big_endian=form.big_endian)
        return Values(lut(stored.astype(np.float64)), lut.table.min(), lut.table.max())
    slope = next(iter(header.numbers("RescaleSlope")), 1.0)
    intercept = next(iter(header.numbers("RescaleIntercept")), 0.0)
    if slope == 0:
        raise Refused(f"{named('RescaleSlope')} is 0")
    ends = sorted(slope * end + intercept for end in (form.least, form.largest))
    return Values(stored.astype(np.float64) * slope + intercept, *ends)


def read_lut(item: Header, *, signed: bool, big_endian: bool) -> Lut:
    """A table of a Modality or VOI LUT Sequence, its descriptor held to its data."""
    descriptor = [int(number) for number in item.numbers("LUTDescriptor")]
    if len(descriptor) != 3:
        raise Refused(f"{named('LUTDescriptor')} has {len(descriptor)} values, not 3")
    entries, first, bits = descriptor
    entries = entries % 0x10000 or 0x10000  # 65536 is written as 0
    if signed and first > 0x7FFF:
        first -= 0x10000  # written as unsigned
    table = _lut_data(item, entries, big_endian)
    if not 1 <= bits <= WIDEST_LUT or table.max() >= 1 << bits:
        raise Refused(
            f"{named('LUTDescriptor')} says {bits} bits, the table's values end at {table.max()}"
        )
    return Lut(first, table.astype(np.float64), bits)


def _lut_data(item: Header, entries: int, big_endian: bool) -> npt.NDArray[np.int64]:
    """Words, given as numbers or as bytes: each one entry, or two of 8 bits, the first below."""
    data = item.data("LUTData")
    if isinstance(data, bytes):
        found = f"{len(data)} bytes"
        whole = data + bytes(len(data) % 2)
        words = np.frombuffer(whole, ">u2" if big_endian else "<u2").astype("<u2")
    elif all(isinstance(value, int) for value in data):
        found = f"{len(data)} values"
        words = (np.array(data, np.int64) & 0xFFFF).astype("<u2")
    else:
        raise Refused(f"{named('LUTData')} is not numbers")
    if len(words) == entries:
        return words.astype(np.int64)
    if len(words) == (entries + 1) // 2:
        return words.view(np.uint8)[:entries].astype(np.int64)
    raise Refused(
        f"{named('LUTDescriptor')} says {entries} entries, {named('LUTData')} has {found}"
    )


def _voi(header: Header, values: Values) -> tuple[Callable[[F64], F64], list[Warned]]:
    """Values after the Modality LUT to 0..1, and what is to be said of it."""
    luts = header.items("VOILUTSequence")
    if luts:
        # Values below zero come out of signed pixels or of a rescale; the table's begin may be one.
        lut = read_lut(luts[0], signed=values.least < 0, big_endian=header.big_endian)
        top = (1 << lut.bits) - 1
        said = list(_several(len(luts), "VOI LUTs")) + list(_shallow(lut))
        return lambda pixels: lut(pixels) / top, said
    centres, widths = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    said = list(_several(min(len(centres), len(widths)), "windows"))
    full = full_range(values.least, values.largest)
    if not centres and not widths:
        return full, said
    if not centres or not widths:
        return full, [Warned("window-ignored", "a window has no centre or no width: full range")]
    name = header.word("VOILUTFunction") or "LINEAR"
    if name not in WINDOWS:
        said.append(
            Warned(
                "voi-function-unknown", f"VOILUTFunction {shown(name)} is unknown: taken as LINEAR"
            )
        )
        name = "LINEAR"
    centre, width = centres[0], widths[0]
    if width <= 0 or (name == "LINEAR" and width < 1):
        ignored = Warned("window-ignored", f"window width {width:g} is below 1: full range")
        return full, [ignored]
    return lambda pixels: WINDOWS[name](pixels, centre, width), said


def _several(count: int, what: str) -> Iterator[Warned]:
    if count > 1:
        yield Warned("several-windows", f"of {count} {what} the first is taken", note=True)


def _shallow(lut: Lut) -> Iterator[Warned]:
    needed = int(lut.table.max()).bit_length()
    if needed < lut.bits:
        yield Warned(
            "voi-lut-dark",
            f"the VOI LUT declares {lut.bits} bits and its values need {needed}: the picture is at "
            "most half as bright as it could be",
        )


def full_range(least: float, largest: float) -> Callable[[F64], F64]:
    if largest == least:
        raise Refused("a constant image: its Modality LUT has a single value")
    return lambda pixels: (pixels - least) / (largest - least)


def linear(pixels: F64, centre: float, width: float) -> F64:
    """PS3.3 C.11.2.1.2.1: centre - 0.5 and width - 1, so that whole numbers are met."""
    middle = centre - 0.5
    if width == 1:
        return (pixels > middle).astype(np.float64)
    return np.clip((pixels - middle) / (width - 1) + 0.5, 0, 1)


def linear_exact(pixels: F64, centre: float, width: float) -> F64:
    """PS3.3 C.11.2.1.3.2."""
    return np.clip((pixels - centre) / width + 0.5, 0, 1)


def sigmoid(pixels: F64, centre: float, width: float) -> F64:
    """PS3.3 C.11.2.1.3.1."""
    exponents = np.clip(-4 * (pixels - centre) / width, -700, 700)
    return 1 / (1 + np.exp(exponents))


WINDOWS: dict[str, Callable[[F64, float, float], F64]] = {
    "LINEAR": linear,
    "LINEAR EXACT": linear_exact,
    "SIGMOID": sigmoid,
}
"""VOI LUT Function, as `Header.word` gives it."""


def padding(stored: Stored, header: Header, form: Form) -> npt.NDArray[np.bool_]:
    """Where the image is filled up: stored values from PixelPaddingValue to
    PixelPaddingRangeLimit, before any LUT.
    """
    value = header.whole("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = header.whole("PixelPaddingRangeLimit")
    ends = sorted((form.meant(value), form.meant(value if limit is None else limit)))
    return (stored >= ends[0]) & (stored <= ends[1])
