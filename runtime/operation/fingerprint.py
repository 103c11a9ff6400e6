"""Fingerprints of certificates in the two spellings that people write down.

A fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits (colons and spaces do not
matter), or 56 base32 characters in groups of seven, where every 14th is a check character (Luhn's
scheme modulo 32, as Syncthing writes device identities): one wrong character, or two neighbours
that changed places, is found when it is typed.
"""

from __future__ import annotations

import base64
import re

from moiety.protocols.errors import BadInput

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PART, _GROUP = 13, 7


def check_character(part: str) -> str:
    """Of 13 base32 characters."""
    total = 0
    for index, character in enumerate(part):
        product = ALPHABET.index(character) * (1 + index % 2)
        total += product // 32 + product % 32
    return ALPHABET[-total % 32]


def show(fingerprint: str) -> str:
    """Hexadecimal -> groups with check characters."""
    text = base64.b32encode(bytes.fromhex(fingerprint)).decode().rstrip("=")
    parts = (text[at : at + _PART] for at in range(0, len(text), _PART))
    checked = "".join(part + check_character(part) for part in parts)
    return "-".join(checked[at : at + _GROUP] for at in range(0, len(checked), _GROUP))


def parse(text: str) -> str:
    """Either spelling -> 64 lower-case hexadecimal digits. Raises `BadInput`."""
    plain = re.sub(r"[\s:-]", "", text)
    if re.fullmatch(r"[0-9a-fA-F]{64}", plain):
        return plain.lower()
    plain = plain.upper()
    if len(plain) != 4 * (_PART + 1) or set(plain) - set(ALPHABET):
        raise BadInput(
            f"'{text}' is not a fingerprint: write the eight groups of seven letters and digits "
            "2 to 7 that `moiety keys show` prints, or 64 hexadecimal digits"
        )
    parts = [plain[at : at + _PART + 1] for at in range(0, len(plain), _PART + 1)]
    for number, part in enumerate(parts):
        if check_character(part[:-1]) != part[-1]:
            groups = f"{2 * number + 1} and {2 * number + 2}"
            raise BadInput(
                f"'{text}' is not a fingerprint: a check character does not fit, so a character "
                f"of groups {groups} is wrong"
            )
    digest = base64.b32decode("".join(part[:-1] for part in parts) + "====")
    return digest.hex()
