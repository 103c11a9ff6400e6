"""A DICOM header as the intake reads it: few kinds of values, each refused when it is none of its
kind.

Nothing of pydicom's passes through here but values: its exceptions and warnings quote the header,
which may name a patient. What is ever shown of a header is numbers, UIDs, and words that DICOM
defines (`words.shown`).
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gdcm
from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian

config.settings.reading_validation_mode = config.IGNORE
for _logger in ("pydicom", "pynetdicom"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL + 1)
gdcm.Trace.DebugOff()
gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


class Refused(Exception):
    """The one reason not to take a file, without the file's name."""


@contextmanager
def unheard() -> Iterator[None]:
    """pydicom's warnings quote values: none is shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def named(keyword: str) -> str:
    """`Rows (0028,0010)`."""
    tag = tag_for_keyword(keyword) or 0
    return f"{keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def is_uid(text: str) -> bool:
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def normal(text: str) -> str:
    """Upper case, no accents, single spaces for whatever is no letter or digit."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return " ".join(re.split(r"[\W_]+", bare.upper())).strip()


class Header:
    """Typed access to a data set. Absent and empty elements are alike."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def big_endian(self) -> bool:
        return self.transfer_syntax == ExplicitVRBigEndian

    @property
    def transfer_syntax(self) -> str:
        return self._meta("TransferSyntaxUID")

    @property
    def media_storage_class(self) -> str:
        return self._meta("MediaStorageSOPClassUID")

    @property
    def groups(self) -> set[int]:
        """Groups of elements that are there."""
        tags = self.dataset.keys()  # going through the data set itself would read all its values
        return {tag >> 16 for tag in tags}

    def _meta(self, keyword: str) -> str:
        """A UID of the file meta information; empty where there is none."""
        meta = getattr(self.dataset, "file_meta", None)
        return "" if meta is None else Header(meta).uid(keyword)

    def has(self, keyword: str) -> bool:
        return keyword in self.dataset

    def raw(self, keyword: str) -> list[Any]:
        """The values of an element, however many."""
        try:
            with unheard():
                value = self.dataset.get(keyword)
        except Exception:  # of every kind, as many as there are ways to write a wrong header
            raise Refused(f"{named(keyword)} cannot be read: it is not of its type") from None
        if value is None or (isinstance(value, str | bytes) and not value):
            return []
        return list(value) if isinstance(value, MultiValue | Sequence | list | tuple) else [value]

    def data(self, keyword: str) -> bytes | list[Any]:
        """Binary data, or the numbers that the file gives in its place."""
        values = self.raw(keyword)
        return values[0] if len(values) == 1 and isinstance(values[0], bytes) else values

    def items(self, keyword: str) -> list[Header]:
        """The items of a sequence."""
        items = self.raw(keyword)
        if not all(isinstance(item, Dataset) for item in items):
            raise Refused(f"{named(keyword)} is not a sequence")
        return [Header(item) for item in items]

    def numbers(self, keyword: str) -> list[float]:
        values = [value for value in self.raw(keyword) if value not in (None, "")]
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError, OverflowError):
            raise Refused(f"{named(keyword)} is not a number") from None
        if not all(map(math.isfinite, numbers)):
            raise Refused(f"{named(keyword)} is not a finite number")
        return numbers

    def whole(self, keyword: str) -> int | None:
        """The only value of an element, a whole number."""
        numbers = self.numbers(keyword)
        if not numbers:
            return None
        if len(numbers) > 1 or numbers[0] != int(numbers[0]):
            raise Refused(f"{named(keyword)} is not one whole number")
        return int(numbers[0])

    def needed(self, keyword: str) -> int:
        value = self.whole(keyword)
        if value is None:
            raise Refused(f"{named(keyword)} is absent")
        return value

    def words(self, keyword: str) -> list[str]:
        """The values of an element of text, `normal`, without empty ones."""
        texts = [normal(self._decoded(str(value))) for value in self.raw(keyword)]
        return [text for text in texts if text]

    def word(self, keyword: str) -> str:
        """The values of an element that should have one, as one text; empty where it is absent."""
        return " ".join(self.words(keyword))

    def uid(self, keyword: str) -> str:
        return "".join(str(value) for value in self.raw(keyword)[:1]).strip(" \0")

    def _decoded(self, text: str) -> str:
        """pydicom takes codes for Latin-1; whoever writes other letters there does so in UTF-8 or
        in the character set that the file names.
        """
        if text.isascii():
            return text
        named_sets = [str(value) for value in self.raw("SpecificCharacterSet")]
        for encoding in ("utf-8", *(python_encoding.get(each, "") for each in named_sets)):
            try:
                return text.encode("latin-1").decode(encoding)
            except (UnicodeError, LookupError):
                continue
        return text
