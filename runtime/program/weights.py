"""Weights: the vendor's secret integers for a Program, in a safetensors file that is tied to the
Program by its digest.

The Program in turn commits to the weights: SHA-256 of a secret salt of 256 bits and a digest of all
tensors (`commit`). So a vendor can neither serve altered weights by mistake nor other ones than
those that the hospital got its Program for, if it ever has to open salt and weights to a judge. The
salt, drawn by the operating system and kept in the weights file, hides them: without it a hospital
could test guesses of the weights.

The vocabulary (tensor names, types, shapes) is fixed by the Program's steps: each says its
`secrets`. Nothing in the file can be executed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.atomic import OWNER_ALONE, write_atomically
from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.base import SecretTensor

Array = npt.NDArray[Any]
FORMAT = "moiety-weights"
VERSION = "2"
SALT_BYTES = 32


@dataclass(frozen=True, eq=False)
class Weights:
    """`tensors`: name -> array as in the step's docstring (`linear.3.weight`,
    `relu.5.threshold`, `const.9`). `salt`: of the Program's commitment, 32 bytes; none before
    `commit`.
    """

    tensors: Mapping[str, Array]
    salt: bytes = b""

    def by_step(self, program: Program) -> list[dict[str, Array]]:
        """For each step of the Program, role -> tensor (`SecretTensor.role`)."""
        return [
            {secret.role: self.tensors[secret.name] for secret in demanded}
            for demanded in step_secrets(program)
        ]

    def save(self, path: Path, program: Program) -> None:
        """Writes the file atomically, with the Program's digest in its metadata. BadArtifact if
        they do not fit.
        """
        check_weights(program, self.tensors)
        _check_commitment(program, self)
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "program": program.digest(),
            "salt": self.salt.hex(),
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(self.tensors.items())}
        write_atomically(path, safetensors.numpy.save(arrays, metadata), OWNER_ALONE)

    @classmethod
    def load(cls, path: Path, program: Program) -> Weights:
        """Reads the file and checks it against the Program. BadArtifact, naming the file, on
        any misfit.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                _check_metadata(metadata, program)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            check_weights(program, tensors)
            weights = cls(tensors, _salt(metadata))
            _check_commitment(program, weights)
        except BadArtifact as error:
            raise BadArtifact(f"{path}: {error}") from None
        except OSError as error:
            raise BadArtifact(
                f"cannot read the weights {path}: {error.strerror or error}"
            ) from None
        except safetensors.SafetensorError as error:
            raise BadArtifact(f"{path}: the weights file is damaged: {error}") from None
        return weights


def commit(program: Program, tensors: Mapping[str, Array]) -> tuple[Program, Weights]:
    """The Program with its commitment to these tensors, and the Weights with its salt."""
    weights = Weights(tensors, secrets.token_bytes(SALT_BYTES))
    return msgspec.structs.replace(program, commitment=_commitment(weights)), weights


def _commitment(weights: Weights) -> str:
    state = hashlib.sha256()
    for name, array in sorted(weights.tensors.items()):
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(np.ascontiguousarray(array).tobytes())
    return hashlib.sha256(b"moiety weights" + weights.salt + state.digest()).hexdigest()


def _check_commitment(program: Program, weights: Weights) -> None:
    if not program.commitment or len(weights.salt) != SALT_BYTES:
        raise BadArtifact(
            "the Program does not commit to its weights, or their salt is missing; compile the "
            "model again"
        )
    if not hmac.compare_digest(program.commitment, _commitment(weights)):
        raise BadArtifact(
            "these are not the weights that the Program was compiled with: values were altered or "
            "the file is of another compilation; restore it, or compile again"
        )


def _salt(metadata: Mapping[str, str]) -> bytes:
    try:
        return bytes.fromhex(metadata.get("salt", ""))
    except ValueError:
        return b""


def step_secrets(program: Program) -> Iterator[tuple[SecretTensor, ...]]:
    """The tensors that each step of a Program demands, step by step."""
    for index, step in enumerate(program.steps):
        yield step.secrets(index, program.operands(step))


def check_weights(program: Program, tensors: Mapping[str, Array]) -> None:
    """BadArtifact unless the tensors are exactly those the Program needs, within its bounds."""
    expected = {secret.name: secret for step in step_secrets(program) for secret in step}
    if missing := expected.keys() - tensors.keys():
        raise BadArtifact(f"the weights lack {_some(missing)}")
    if foreign := tensors.keys() - expected.keys():
        raise BadArtifact(f"the weights hold {_some(foreign)}, which the Program does not use")
    for name, secret in expected.items():
        secret.check(tensors[name])


def _check_metadata(metadata: Mapping[str, str], program: Program) -> None:
    if metadata.get("format") != FORMAT:
        raise BadArtifact("this is not a Moiety weights file")
    if (version := metadata.get("version")) != VERSION:
        raise BadArtifact(
            f"it has version {version}, this Moiety reads {VERSION}; compile the model again"
        )
    if (found := metadata.get("program", "?")) != program.digest():
        raise BadArtifact(
            f"it belongs to the Program {found[:16]}, not to {program.digest()[:16]}; "
            "use the two files of one compilation"
        )


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
