"""The outputs of one command: their formats, their targets, and what becomes of results whose
target fails after the work is done.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import extras
from moiety.runtime.intake.text import printable
from moiety.runtime.program import Program
from moiety.runtime.results import targets
from moiety.runtime.results.record import LeftOut, Results
from moiety.runtime.results.table import MAX_VALUES, encode_csv
from moiety.runtime.results.targets import STDOUT, File, Target, open_target

Format = Literal["json", "csv", "sr"]
DEFAULT_NAMES: dict[Format, str] = {"json": "results.json", "csv": "results.csv", "sr": "reports/"}
REPORTS = "moiety.runtime.results.structured_report"
_SUFFIXES: dict[str, Format] = {".json": "json", ".csv": "csv"}


def encode_json(results: Results) -> bytes:
    """The whole file."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


class Output(Protocol):
    """One output of a command."""

    name: str
    format: Format

    @property
    def place(self) -> Path | int:
        """Where it writes: a path behind all links, or a descriptor."""

    def check(self, files: Sequence[Path], program: Program) -> list[LeftOut]:
        """Of these files, those that it can hold no result of, known before anything is sent.
        Raises `BadInput` where it can hold none at all.
        """

    def save(self, results: Results, files: Sequence[Path], last: bool) -> None:
        """`files[i]` is the source of `results.images[i]`. Raises `OSError`."""

    def rescue(self, results: Results, files: Sequence[Path], folder: Path) -> Output:
        """The same output, saved under a new name in `folder`. Raises `OSError`, and leaves nothing
        there then.
        """


@dataclass
class Document:
    """All results in one file, JSON or CSV."""

    target: Target
    format: Format
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.target.name

    @property
    def place(self) -> Path | int:
        return self.target.path if isinstance(self.target, File) else self.target.descriptor

    def check(self, files: Sequence[Path], program: Program) -> list[LeftOut]:
        if self.format == "csv":
            require_few_values(program, MAX_VALUES, "a CSV file")
        return []

    def save(self, results: Results, files: Sequence[Path], last: bool) -> None:
        if last or isinstance(self.target, File):
            encode = encode_csv if self.format == "csv" else encode_json
            self.target.write(encode(results))

    def rescue(self, results: Results, files: Sequence[Path], folder: Path) -> Output:
        target = targets.spare_file(folder, f".{self.format}")
        spare = Document(target, self.format)
        try:
            spare.save(results, files, last=True)
        except OSError:
            target.path.unlink(missing_ok=True)
            raise
        return spare


def require_few_values(program: Program, most: int, holder: str) -> None:
    """Raises `BadInput` where an output has more values."""
    for result in program.results():
        if result.size > most:
            raise BadInput(
                f"the output {printable(result.name)} has {result.size} values, and {holder} holds "
                f"at most {most} of an output: take JSON"
            )


@dataclass
class Moved:
    """An output whose target failed after work was done; `now`: where its results are."""

    name: str
    why: str
    now: str | None


@dataclass
class Outputs:
    """What `save` and `finish` write. `told` hears at once when a target fails. `results`: the last
    that were to be saved.
    """

    outputs: list[Output]
    told: Callable[[str], None] = lambda message: None
    moved: list[Moved] = field(default_factory=list)
    results: Results | None = None

    def check(self, files: Sequence[Path], program: Program) -> dict[str, list[LeftOut]]:
        """Before anything is sent: by output, the files that it holds no result of. Raises
        `BadInput` where a file would have no result anywhere, or is an output itself.
        """
        self._spare_inputs(files)
        left = {output.name: output.check(files, program) for output in self.outputs}
        nowhere = set.intersection(*({each.file for each in out} for out in left.values()))
        if nowhere:
            first = next(each for out in left.values() for each in out if each.file in nowhere)
            raise BadInput(
                f"{len(nowhere)} of {len(files)} images would have no result, the first of them "
                f"{printable(first.file)} ({first.reason}): add an output that takes all, for "
                "example -o results.json"
            )
        return left

    def _spare_inputs(self, files: Sequence[Path]) -> None:
        places = {output.place: output.name for output in self.outputs}
        for file in files:
            name = places.get(Path(os.path.realpath(file)))
            if name is not None:
                raise BadInput(f"the output {printable(name)} is one of the images")

    def save(self, results: Results, files: Sequence[Path]) -> None:
        """What there is so far. A target that fails is given up for a file elsewhere."""
        self._save_all(results, files, last=False)

    def finish(self, results: Results, files: Sequence[Path]) -> None:
        """The last time, for streams the only one."""
        self._save_all(results, files, last=True)

    def _save_all(self, results: Results, files: Sequence[Path], last: bool) -> None:
        self.results = results
        for index, output in enumerate(self.outputs):
            try:
                output.save(results, files, last)
            except OSError as error:
                self.outputs[index] = self._rescued(output, results, files, error)
            else:
                self.moved = [m for m in self.moved if m.now or m.name != output.name]

    def _rescued(
        self, failed: Output, results: Results, files: Sequence[Path], error: OSError
    ) -> Output:
        """The output in the current folder, else in the one for temporary files."""
        why = targets.reason(error)
        for folder in (Path.cwd(), Path(tempfile.gettempdir())):
            try:
                spare = failed.rescue(results, files, folder)
            except OSError:
                continue
            self._tell(Moved(failed.name, why, spare.name))
            return spare
        if all(failed.name != moved.name for moved in self.moved):
            self._tell(Moved(failed.name, why, None))
        return failed

    def _tell(self, moved: Moved) -> None:
        self.moved.append(moved)
        now = printable(moved.now) if moved.now else "nowhere yet, and are kept in memory"
        self.told(f"cannot write to {printable(moved.name)}: {moved.why}; the results are {now}")

    def lost(self) -> list[Moved]:
        """Outputs that no file could be found for."""
        return [moved for moved in self.moved if moved.now is None]

    def on_stdout(self) -> bool:
        """Whether standard output is for results, and not for people."""
        return any(output.place == STDOUT for output in self.outputs)

    def names(self) -> str:
        """Where the results are, in words."""
        return ", ".join(
            "standard output" if output.place == STDOUT else printable(output.name)
            for output in self.outputs
        )


def open_outputs(names: Sequence[str], format: Format | None = None) -> list[Output]:
    """Outputs by name, opened. Raises `BadInput`, with nothing changed, where one cannot be written
    or its format is not clear.

    A name's suffix says its format (.json, .csv), as do a folder and a name that ends in `/` (a
    folder of DICOM SR); `format` is for all other names, which are JSON without it.
    """
    names = names or [DEFAULT_NAMES[format or "json"]]
    formats = [format_of(name, format) for name in names]
    if format is not None and format not in formats:
        raise BadInput(
            f"--format {format} is for outputs whose names do not say their format, and "
            f"{', '.join(map(printable, names))} says another"
        )
    opened = [open_output(name, each) for name, each in zip(names, formats, strict=True)]
    for index, output in enumerate(opened):
        if any(output.place == other.place for other in opened[:index]):
            raise BadInput(f"two outputs are {printable(output.name)}; give each a name of its own")
    return opened


def format_of(name: str, format: Format | None) -> Format:
    """By the name, else as `format` says. Raises `BadInput`."""
    suffix = Path(name).suffix.lower()
    if name.endswith("/") or Path(name).is_dir():
        return "sr"
    if suffix == ".dcm":
        raise BadInput(
            f"{printable(name)}: DICOM reports are one per image; give a folder for them, with a / "
            "at its end"
        )
    return _SUFFIXES.get(suffix) or format or "json"


def open_output(name: str, format: Format) -> Output:
    """Raises `BadInput`."""
    if format != "sr":
        return Document(open_target(name), format)
    reports: Output = extras.load(REPORTS, "DICOM SR").open_reports(name)
    return reports
