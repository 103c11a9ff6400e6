"""A verdict on every file before anything is done with one: the gate of all three commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.duplicates import Duplicates
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.text import printable
from moiety.runtime.intake.verdicts import Accepted, Refused, Skipped, without_name


@dataclass
class Intake:
    """What may go on, what may not, and what is passed over; each in the order given."""

    accepted: list[Accepted] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Those accepted."""
        return [each.path for each in self.accepted]


def admit(
    files: Sequence[Path],
    reader: Reader,
    keep_going: bool,
    judged: Callable[[int], None] = lambda done: None,
) -> Intake:
    """Reads every file once. With `keep_going` a refused one is noted, otherwise it is the end;
    one that is there already, by its UID and pixels, is skipped.
    `judged(n)` is called after the n-th. Raises `BadInput`, also where no file is accepted.
    """
    intake, known = Intake(), Duplicates()
    for number, path in enumerate(files, start=1):
        try:
            taken = load(path, reader)
            if note := known.check(path, taken.identity):
                note = without_name(path, note)
                intake.skipped.append(Skipped(path, note, taken.identity))
            else:
                intake.accepted.append(Accepted(taken.path, taken.identity, taken.warnings))
        except BadInput as error:
            if not keep_going:
                raise
            intake.refused.append(Refused(path, without_name(path, str(error))))
        judged(number)
    if not intake.accepted:
        first = intake.refused[0]
        raise BadInput(
            f"none of {len(files)} images is accepted; the first, {printable(first.path)}: "
            f"{first.reason}"
        )
    return intake
