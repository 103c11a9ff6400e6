"""The hints of a model's linear layers on the vendor's disk, beside the Weights:
`hints.safetensors`, and `hints-B.safetensors` for runs of B images.

A hint follows from the weights and public polynomials (protocols/linear/server); computing all of
them takes a large model seconds, reading them back a fraction of one. They are as secret as the
weights, so the file is its owner's alone. It is tied to the Program, to the weights file byte by
byte, to the layouts, and to its own contents by a digest; one that does not match in all of that is
not used, and the hints are computed again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from moiety.protocols.arrays import U32
from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.atomic import OWNER_ALONE, replacing

log = logging.getLogger("moiety.server")

FORMAT = "moiety-hints"
VERSION = "2"


@dataclass(frozen=True)
class HintFile:
    """One file of hints, and what it must belong to: digests of the Program, the weights file and
    the layouts.
    """

    path: Path
    program: str
    weights: str
    layout: str

    @classmethod
    def beside(cls, weights: Path, program: str, layout: str, images: int) -> HintFile:
        """The hints of the Weights in the file `weights`, which is read for its digest.
        Raises `BadArtifact`.
        """
        name = "hints.safetensors" if images == 1 else f"hints-{images}.safetensors"
        try:
            with weights.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadArtifact(
                f"cannot read the weights {weights}: {error.strerror or error}"
            ) from None
        return cls(weights.with_name(name), program, digest, layout)

    def load(self) -> dict[int, U32] | None:
        """Step index -> hint; None, and a line in the log unless there is no file, if they are not
        to be had.
        """
        if not self.path.exists():
            return None
        try:
            return self._read()
        except BadArtifact as error:
            self.reject(str(error))
        except (OSError, safetensors.SafetensorError) as error:
            self.reject(f"it is damaged: {error}")
        return None

    def reject(self, why: str) -> None:
        """Say that this file is not used."""
        log.warning("%s is not used, the hints are computed again: %s", self.path, why)

    def save(self, hints: Mapping[int, U32]) -> None:
        """Writes atomically; a failure (a full disk, a folder that is read-only) is logged and
        costs nothing else.
        """
        tensors = {f"hint.{index}": np.ascontiguousarray(hint) for index, hint in hints.items()}
        try:
            with replacing(self.path, OWNER_ALONE) as temporary:
                safetensors.numpy.save_file(tensors, temporary, self._metadata(hints))
        except (OSError, safetensors.SafetensorError) as error:
            log.warning("the hints are not kept: cannot write %s: %s", self.path, error)

    def _read(self) -> dict[int, U32]:
        with safetensors.safe_open(self.path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
                raise BadArtifact("it is no file of hints of this version")
            for what, expected in self._ties().items():
                if metadata.get(what) != expected:
                    raise BadArtifact(f"it belongs to another {what}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if any(tensor.dtype != np.uint32 for tensor in tensors.values()):
            raise BadArtifact("it holds something else than uint32")
        names = {name: name.removeprefix("hint.") for name in tensors}
        if not all(re.fullmatch("[0-9]{1,9}", number) for number in names.values()):
            raise BadArtifact("it holds tensors of unknown names")
        hints = {int(names[name]): tensor for name, tensor in tensors.items()}
        if metadata.get("contents") != _digest(hints):
            raise BadArtifact("it is damaged: its contents do not have the digest that it states")
        return hints

    def _ties(self) -> dict[str, str]:
        return {"program": self.program, "weights": self.weights, "layout": self.layout}

    def _metadata(self, hints: Mapping[int, U32]) -> dict[str, str]:
        return {"format": FORMAT, "version": VERSION, **self._ties(), "contents": _digest(hints)}


def _digest(hints: Mapping[int, U32]) -> str:
    state = hashlib.sha256()
    for index in sorted(hints):
        hint = hints[index]
        state.update(f"{index}{hint.shape}".encode())
        state.update(np.ascontiguousarray(hint).data)
    return state.hexdigest()
