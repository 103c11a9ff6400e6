"""What the extras bring in: read from the installed distributions, and theirs, all the way down."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

PROJECT = tomllib.loads(
    (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
GPL = re.compile(r"\b[AL]?GPL|General Public", re.I)


def brought_in(extra: str) -> set[str]:
    """The distributions of an extra, and what they need."""
    wanted = [Requirement(text) for text in PROJECT["optional-dependencies"][extra]]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name == "moiety":
            wanted += [
                Requirement(text)
                for each in requirement.extras
                for text in PROJECT["optional-dependencies"][each]
            ]
            continue
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        for text in metadata.requires(name) or ():
            below = Requirement(text)
            extras = requirement.extras or {""}
            if below.marker is None or any(below.marker.evaluate({"extra": e}) for e in extras):
                wanted.append(below)
    return seen


def licence(name: str) -> str:
    """All that a distribution's metadata say of its licence, of long texts the begin."""
    found = metadata.metadata(name)
    words = [*(found.get_all("License-Expression") or ()), *(found.get_all("License") or ())]
    classifiers = [c for c in found.get_all("Classifier") or () if c.startswith("License")]
    return "\n".join([*(word[:200] for word in words), *classifiers])


@pytest.mark.parametrize("extra", ["dicom", "sr", "net"])
def test_no_extra_brings_in_the_gpl(extra: str) -> None:
    found = {name: licence(name) for name in brought_in(extra)}
    assert {"pydicom", "python-gdcm", "pylibjpeg-openjpeg"} <= set(found)
    assert not {name for name, text in found.items() if not text}
    assert not {name: text for name, text in found.items() if GPL.search(text)}
    assert "pylibjpeg-libjpeg" not in found


@pytest.mark.parametrize(
    "syntax",
    [
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGBaseline8Bit,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        JPEG2000,
        HTJ2K,
    ],
    ids=lambda uid: uid.name,
)
def test_every_common_transfer_syntax_has_a_decoder_without_it(syntax: UID) -> None:
    decoder = get_decoder(syntax)
    assert decoder.is_available
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("pylibjpeg-libjpeg")
