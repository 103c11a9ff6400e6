"""What a study of an `aggregate` policy keeps: of each image a share at either party, under an id
that both derive alike, and at the end what is revealed of the whole cohort.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One image's outputs, which nobody has seen. `run`: 32 hexadecimal digits, under which the
    server keeps its share of them; `share`: this party's, ring elements of the Program's Output. As
    secret as the outputs where somebody has the other party's, too.
    """

    run: str
    share: tuple[int, ...]


@dataclass(frozen=True)
class AggregateResult:
    """Of one `label`, what an `aggregate` policy reveals: `auroc`, its DeLong `standard_error`, and
    how many `positives` and `negatives` stood behind it (the hospital's own labels). None where it
    has too few for the policy.
    """

    label: str
    positives: int
    negatives: int
    auroc: float | None
    standard_error: float | None
