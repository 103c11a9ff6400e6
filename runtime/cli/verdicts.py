"""The images of a command line: collected, judged, and what is said of it. One way for compile,
simulate and infer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import ui
from moiety.runtime.cli.progress import watching
from moiety.runtime.intake.admission import Intake, admit
from moiety.runtime.intake.beside import Row
from moiety.runtime.intake.collect import Collected, collect, in_short
from moiety.runtime.intake.loader import Reader
from moiety.runtime.intake.text import printable


@dataclass(frozen=True)
class Given:
    """Images as they were named, and how the user wants them taken. keep_going: None: where a
    folder or a list is among them. bit_depth: of pictures deeper than 8 bits. beside: values of the
    model's further inputs, `NAME=VALUE`, for a single image.
    """

    paths: Sequence[Path]
    recursive: bool = False
    keep_going: bool | None = None
    bit_depth: int | None = None
    beside: Sequence[str] = ()

    def collected(self) -> Collected:
        """The images, with all that is given beside them. Raises `BadInput`."""
        found = collect(self.paths, self.recursive)
        if not self.beside:
            return found
        if len(found.files) != 1:
            raise BadInput(
                f"--input is for a single image, and there are {len(found.files)}: give their "
                "values in columns of a CSV list"
            )
        cells = ((name, value) for name, _, value in (word.partition("=") for word in self.beside))
        row = Row.of("--input", Path(), cells, asked=True)
        found.rows.setdefault(found.files[0], []).append(row)
        return found

    def admitted(self, reader: Reader, found: Collected | None = None) -> Intake:
        """The images, collected (unless they are `found`) and judged. Raises `BadInput`."""
        found = found or self.collected()
        with watching("reading images") as watch:
            return self.judged(found, reader, lambda done, total: watch(done, total, ""))

    def judged(self, found: Collected, reader: Reader, watch: Callable[[int, int], None]) -> Intake:
        """A verdict on every image, and said. `watch(done, total)` is told how far it has come.
        Raises `BadInput`.
        """
        keep_going = found.many if self.keep_going is None else self.keep_going
        total = len(found.files)
        intake = admit(found.files, reader, keep_going, lambda done: watch(done, total))
        intake.skipped = [*found.skipped, *intake.skipped]
        say(intake)
        return intake


def say(intake: Intake) -> None:
    """A line for each image that is not simply accepted, and one that counts. Notes are for the
    results.
    """
    for accepted in intake.accepted:
        for warning in (each for each in accepted.warnings if not each.note):
            ui.warn(f"{printable(accepted.path)}: {warning.code}: {warning.text}")
    for refused in intake.refused:
        ui.say(f"refused: {printable(refused.path)}: {refused.reason}")
    if intake.skipped:
        ui.say(in_short(intake.skipped))
    warned = sum(accepted.verdict != "accepted" for accepted in intake.accepted)
    if warned or intake.refused:
        ui.say(
            f"{len(intake.accepted) + len(intake.refused)} images: "
            f"{len(intake.accepted) - warned} accepted, {warned} accepted with warnings, "
            f"{len(intake.refused)} refused"
        )
