"""Steps that no output needs (a reshape that collapsed, a narrow form that nobody read) dropped,
the rest renumbered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from moiety.compiler.lowering.tensors import Tensors, renumbered
from moiety.runtime.program import AnyStep, Input, Output


def drop_dead_steps(
    steps: Sequence[AnyStep], tensors: Tensors, compared: Mapping[int, int]
) -> tuple[tuple[AnyStep, ...], Tensors, dict[int, int]]:
    """The live steps, their weights, and `compared` (see `share_gates`), under new numbers."""
    live = {index for index, step in enumerate(steps) if isinstance(step, Output | Input)}
    for index in reversed(range(len(steps))):
        if index in live:
            live.update(steps[index].inputs)
    where = {index: number for number, index in enumerate(sorted(live))}
    kept = tuple(
        msgspec.structs.replace(steps[index], inputs=tuple(where[i] for i in steps[index].inputs))
        for index in where
    )
    narrow = {where[index]: bits for index, bits in compared.items() if index in where}
    return kept, renumbered(tensors, where), narrow
