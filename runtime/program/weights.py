"""Weights: the vendor's secret integers for a Program, in a safetensors file that is tied to the
Program by its digest.

The vocabulary (tensor names, types, shapes) is fixed by the Program's steps: each says its
`secrets`. Nothing in the file can be executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from moiety.protocols.errors import BadArtifact
from moiety.runtime.program.atomic import write_atomically
from moiety.runtime.program.program import Program
from moiety.runtime.program.steps.base import SecretTensor

Array = npt.NDArray[Any]
FORMAT = "moiety-weights"
VERSION = "1"


@dataclass(frozen=True, eq=False)
class Weights:
    """`tensors`: name -> array as in the step's docstring (`linear.3.weight`,
    `relu.5.threshold`, `const.9`).
    """

    tensors: Mapping[str, Array]

    def by_step(self, program: Program) -> list[dict[str, Array]]:
        """For each step of the Program, role -> tensor (`SecretTensor.role`)."""
        return [
            {secret.role: self.tensors[secret.name] for secret in secrets}
            for secrets in step_secrets(program)
        ]

    def save(self, path: Path, program: Program) -> None:
        """Writes the file atomically, with the Program's digest in its metadata. BadArtifact if
        they do not fit.
        """
        check_weights(program, self.tensors)
        metadata = {"format": FORMAT, "version": VERSION, "program": program.digest()}
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(self.tensors.items())}
        write_atomically(path, safetensors.numpy.save(arrays, metadata))

    @classmethod
    def load(cls, path: Path, program: Program) -> Weights:
        """Reads the file and checks it against the Program. BadArtifact, naming the file, on
        any misfit.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                _check_metadata(file.metadata() or {}, program)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            check_weights(program, tensors)
        except BadArtifact as error:
            raise BadArtifact(f"{path}: {error}") from None
        except OSError as error:
            raise BadArtifact(
                f"cannot read the weights {path}: {error.strerror or error}"
            ) from None
        except safetensors.SafetensorError as error:
            raise BadArtifact(f"{path}: the weights file is damaged: {error}") from None
        return cls(tensors)


def step_secrets(program: Program) -> Iterator[tuple[SecretTensor, ...]]:
    """The tensors that each step of a Program demands, step by step."""
    for index, step in enumerate(program.steps):
        yield step.secrets(index, program.operands(step))


def check_weights(program: Program, tensors: Mapping[str, Array]) -> None:
    """BadArtifact unless the tensors are exactly those the Program needs, within its bounds."""
    expected = {secret.name: secret for secrets in step_secrets(program) for secret in secrets}
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
