"""Where the images lie that a list names by SOP Instance UID."""

from __future__ import annotations

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import dicom
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.text import printable

NAMED = 3
"""So many of what is missing or differs are named; the others are counted."""


def files_of_uids(wanted: Sequence[tuple[str, str]], folder: Path | None) -> list[Path]:
    """The files under `folder` and the folders in it that hold these UIDs, each given with the
    place that names it; of copies the first. Raises `BadInput` where one is not there, or in two
    files that differ.
    """
    if folder is None:
        raise BadInput(
            f"{wanted[0][0]}: images are named by UID; say with --images DIR where they lie"
        )
    uids = {uid for _, uid in wanted}
    found: dict[str, list[Path]] = {}
    for file in collect([folder], recursive=True).files:
        uid = dicom.instance_uid(file)
        if uid in uids and uid is not None:
            found.setdefault(uid, []).append(file)
    _check_copies(found)
    absent = [(place, uid) for place, uid in wanted if uid not in found]
    if absent:
        told = [f"{place}: {printable(uid)}" for place, uid in absent]
        raise BadInput(
            f"{len(absent)} of {len(wanted)} images are in no file of {printable(folder)}: "
            + _some(told)
        )
    return [found[uid][0] for _, uid in wanted]


def _check_copies(found: Mapping[str, Sequence[Path]]) -> None:
    """Raises `BadInput` for a UID in files that differ: which is the image?"""
    differing = [
        f"{printable(first)} and {printable(other)}"
        for first, *others in found.values()
        for other in others
        if not filecmp.cmp(first, other, shallow=False)
    ]
    if differing:
        raise BadInput(
            f"two files that differ have the same SOPInstanceUID, {len(differing)} times; leave "
            f"one of each there: {_some(differing)}"
        )


def _some(told: Sequence[str]) -> str:
    """The first few."""
    return "; ".join(told[:NAMED]) + ("; ..." if len(told) > NAMED else "")
