"""Fingerprints of keys, as people compare them: SHA-256 of a certificate, in base32 with check
characters.

    P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2

52 characters of base32 in four parts of 13, after each its check character (Luhn, modulo 32), in
groups of seven: the form of Syncthing's device IDs. One wrong character in a part does not pass,
nor do two neighbours that changed places, but for A and 7.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from moiety.protocols.errors import BadInput

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PART, _GROUP, _PARTS = 13, 7, 4
_LOOKS_LIKE = str.maketrans({"0": "O", "1": "I", "8": "B", "-": None, " ": None})
"""What is not in the alphabet, but is typed for what is; and what only separates."""


@dataclass(frozen=True)
class Fingerprint:
    """SHA-256 of a certificate in DER."""

    digest: bytes

    @classmethod
    def of(cls, certificate: bytes) -> Fingerprint:
        return cls(hashlib.sha256(certificate).digest())

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """Capitals or not, with or without separators; or 64 hexadecimal digits. Raises `BadInput`
        that names the groups in which a character is wrong.
        """
        if re.fullmatch("[0-9a-fA-F]{64}", plain := re.sub(r"[\s:-]", "", text)):
            return cls(bytes.fromhex(plain))
        letters = "".join(text.upper().split()).translate(_LOOKS_LIKE)
        length = _PARTS * (_PART + 1)
        strange = sorted(set(letters) - set(_ALPHABET))
        if strange or len(letters) != length:
            what = f"it has {strange[0]!r}" if strange else f"it has {len(letters)} characters"
            raise BadInput(
                f"'{text[:80]}' is not a fingerprint: {what}, and a fingerprint has {length}, "
                "letters and digits from 2 to 7, as `moiety keys show` prints it"
            )
        parts = [letters[at : at + _PART + 1] for at in range(0, length, _PART + 1)]
        for index, part in enumerate(parts):
            if _check_character(part[:-1]) != part[-1]:
                raise BadInput(
                    f"a character of the fingerprint is wrong, in group {2 * index + 1} or "
                    f"{2 * index + 2}, {part[:_GROUP]}-{part[_GROUP:]}: its check character does "
                    "not fit; compare these groups again"
                )
        return cls(base64.b32decode("".join(part[:-1] for part in parts) + "===="))

    def __str__(self) -> str:
        letters = base64.b32encode(self.digest).decode().rstrip("=")
        parts = [letters[at : at + _PART] for at in range(0, len(letters), _PART)]
        checked = "".join(part + _check_character(part) for part in parts)
        return "-".join(checked[at : at + _GROUP] for at in range(0, len(checked), _GROUP))


def _check_character(part: str) -> str:
    """Luhn's check, modulo 32: every second character counts twice."""
    total = 0
    for index, letter in enumerate(part):
        addend = _ALPHABET.index(letter) * (1 + index % 2)
        total += addend // 32 + addend % 32
    return _ALPHABET[-total % 32]
