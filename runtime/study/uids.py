"""Where the images lie that a list names by SOP Instance UID."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import dicom
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.text import printable

NAMED = 3
"""So many of the UIDs that are not there are named; the others are counted."""


def files_of_uids(wanted: Sequence[tuple[str, str]], folder: Path | None) -> list[Path]:
    """The files under `folder` and the folders in it that hold these UIDs, each given with the
    place that names it. Raises `BadInput` where one is not there, or in two files.
    """
    if folder is None:
        raise BadInput(
            f"{wanted[0][0]}: images are named by UID; say with --images DIR where they lie"
        )
    uids = {uid for _, uid in wanted}
    found: dict[str, Path] = {}
    for file in collect([folder], recursive=True).files:
        uid = dicom.instance_uid(file)
        if uid is None or uid not in uids:
            continue
        if uid in found:
            raise BadInput(
                f"{printable(found[uid])} and {printable(file)} both have the SOPInstanceUID "
                f"{uid}; leave one of them there"
            )
        found[uid] = file
    absent = [(place, uid) for place, uid in wanted if uid not in found]
    if absent:
        told = "; ".join(f"{place}: {printable(uid)}" for place, uid in absent[:NAMED])
        raise BadInput(
            f"{len(absent)} of {len(wanted)} images are in no file of {printable(folder)}: {told}"
            + ("; ..." if len(absent) > NAMED else "")
        )
    return [found[uid] for _, uid in wanted]
