"""Images that come twice: by their SOP Instance UID, which is given to one image alone."""

from __future__ import annotations

from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.picture import Identity
from moiety.runtime.intake.text import printable


class Duplicates:
    """Of a collection of files, in their order: an image counts once; a UID with two images is
    refused. Files without such a UID are never duplicates.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[Path, Identity]] = {}

    def check(self, path: Path, identity: Identity) -> str | None:
        """None for an image that is new; else a note that it is left out because it is there
        already. Raises `BadInput` where its UID was seen with other pixels, or other values beside
        it.
        """
        uid = identity.sop_instance_uid
        if uid is None:
            return None
        first, known = self._first.setdefault(uid, (path, identity))
        if known is identity:
            return None
        if known.pixel_sha256 != identity.pixel_sha256:
            raise BadInput(
                f"{path}: has the SOPInstanceUID of {printable(first)} and other pixels; which is "
                "the image?"
            )
        if known.inputs_sha256 != identity.inputs_sha256:
            raise BadInput(
                f"{path}: is the image {printable(first)}, with other values beside it; which are "
                "right?"
            )
        if known.file_sha256 == identity.file_sha256:
            return f"{path}: the same file as {printable(first)}, counted once"
        return (
            f"{path}: the same SOPInstanceUID and pixels as {printable(first)}, under another "
            "header or in another encoding; counted once, as that file shows it"
        )
