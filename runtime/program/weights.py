"""Weights: the vendor's secret integers for a Program, in a safetensors file that is
tied to the Program by its digest.

The vocabulary (tensor names, types, shapes) is fixed by the Program's steps; see
`expected_tensors`. Nothing in the file can be executed.
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
from moiety.runtime import program as ir

Array = npt.NDArray[Any]
FORMAT = "moiety-weights"
VERSION = "1"


@dataclass(frozen=True, eq=False)
class Weights:
    """`tensors`: name -> array as in the step's docstring (`linear.3.weight`,
    `relu.5.threshold`, `const.9`).
    """

    tensors: Mapping[str, Array]

    def linear(self, step: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Weight int32 `(M, C/groups, kh, kw)` and bias int64 `(M,1,1)` or
        `(M,H',W')` of a Linear step.
        """
        return self.tensors[f"linear.{step}.weight"], self.tensors[f"linear.{step}.bias"]

    def gate(self, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """Threshold int64 `(C,)` and flip uint8 `(C,)` of an affine Relu step."""
        return self.tensors[f"relu.{step}.threshold"], self.tensors[f"relu.{step}.flip"]

    def thresholds(self, step: int) -> npt.NDArray[np.int64]:
        """Thresholds int64 `(K, C)` of a Gates step."""
        return self.tensors[f"gates.{step}.threshold"]

    def constant(self, step: int) -> npt.NDArray[np.int64]:
        """The int64 constant of an AddConst step, broadcastable to its shape."""
        return self.tensors[f"const.{step}"]

    def save(self, path: Path, program: ir.Program) -> None:
        """Writes the file atomically, with the Program's digest in its metadata.
        BadArtifact if they do not fit.
        """
        check_weights(program, self.tensors)
        metadata = {"format": FORMAT, "version": VERSION, "program": program.digest()}
        arrays = {name: np.ascontiguousarray(array) for name, array in sorted(self.tensors.items())}
        ir.write_atomically(path, safetensors.numpy.save(arrays, metadata))

    @classmethod
    def load(cls, path: Path, program: ir.Program) -> Weights:
        """Reads the file and checks it against the Program. BadArtifact,
        naming the file, on any misfit.
        """
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise BadArtifact("this is not a Moiety weights file")
                if metadata.get("version") != VERSION:
                    found = metadata.get("version")
                    raise BadArtifact(
                        f"it has version {found}, this Moiety reads {VERSION}; compile the model again"
                    )
                if metadata.get("program") != program.digest():
                    found = metadata.get("program", "?")
                    raise BadArtifact(
                        f"it belongs to the Program {found[:16]}, not to {program.digest()[:16]}; "
                        "use the two files of one compilation"
                    )
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


def expected_tensors(
    program: ir.Program,
) -> Iterator[tuple[str, type[np.generic], tuple[tuple[int, ...], ...]]]:
    """(name, dtype, permitted shapes) of every tensor of a Program's weights; no
    shapes: anything that broadcasts.
    """
    for index, step in enumerate(program.steps):
        match step:
            case ir.Linear():
                channels = program.steps[step.inputs[0]].shape[0]
                filters = step.shape[0]
                yield (
                    f"linear.{index}.weight",
                    np.int32,
                    ((filters, channels // step.groups, *step.kernel),),
                )
                yield f"linear.{index}.bias", np.int64, ((filters, 1, 1), step.shape)
            case ir.Relu(affine=True):
                yield f"relu.{index}.threshold", np.int64, (step.shape[:1],)
                yield f"relu.{index}.flip", np.uint8, (step.shape[:1],)
            case ir.Gates():
                yield f"gates.{index}.threshold", np.int64, (step.shape[:2],)
            case ir.AddConst():
                yield f"const.{index}", np.int64, ()
            case _:
                pass


def check_weights(program: ir.Program, tensors: Mapping[str, Array]) -> None:
    """BadArtifact unless the tensors are exactly those the Program needs, within its bounds."""
    expected = list(expected_tensors(program))
    names = {name for name, _, _ in expected}
    if missing := names - tensors.keys():
        raise BadArtifact(f"the weights lack {_some(missing)}")
    if foreign := tensors.keys() - names:
        raise BadArtifact(f"the weights hold {_some(foreign)}, which the Program does not use")
    for name, dtype, shapes in expected:
        array = tensors[name]
        if array.dtype != dtype:
            raise BadArtifact(f"{name} holds {array.dtype}, not {np.dtype(dtype)}")
        if shapes and array.shape not in shapes:
            raise BadArtifact(
                f"{name} has shape {array.shape}, not {' or '.join(map(str, shapes))}"
            )
        step = program.steps[int(name.split(".")[1])]
        match step:
            case ir.Linear() if name.endswith("weight"):
                bound = 1 << (step.weight_bits - 1)
                if array.size and int(np.abs(array.astype(np.int64)).max()) >= bound:
                    raise BadArtifact(f"{name} has a weight beyond its {step.weight_bits} bits")
            case ir.Relu(affine=True) if name.endswith("flip"):
                if not np.isin(array, (0, 1)).all():
                    raise BadArtifact(f"{name} holds something else than 0 and 1")
            case ir.AddConst() if not _broadcasts(array.shape, step.shape):
                raise BadArtifact(
                    f"{name} has shape {array.shape}, which does not broadcast to {step.shape}"
                )
            case _:
                pass


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
