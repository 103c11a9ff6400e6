"""What an image's run of a Program takes of a party's memory, from its public numbers alone: an
upper bound that is made before anything is allocated, because a Program comes from the other side.
How many images share a run is this side's own choice, and multiplies it.

A run holds the shares of all values that a later step reads, 8 bytes an element (`_held`). The step
at hand works on top of that: it copies its elements a few times, and keeps what it sends, what it
receives and the correlations that it draws, all of which its declared cost (runtime/cost/traffic)
says in bytes. `WORKING` and the two figures beside it are measured: tests/runtime/test_bounds holds
the bound against the peak of real runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from moiety.protocols.cost import Cost, Draw
from moiety.protocols.errors import BadArtifact
from moiety.protocols.linear.spec import LinearSpec
from moiety.runtime.cost.traffic import step_costs
from moiety.runtime.program import Program
from moiety.runtime.program.bounds import check_memory
from moiety.runtime.program.linear_layers import linear_specs

SHARE = 8
"""Bytes of an element of a share."""
WORKING = 24
"""Bytes an element, of a step's result and of its operands, in copies that a step makes."""
KEPT = 1.0
"""Part of a step's messages, both ways, that a party holds at once."""
DRAWN = 28
"""Bytes of a correlation, and of what is made of it."""
CIPHERTEXTS = 3
"""Copies of one tile's ciphertexts and products."""


def check_run_memory(program: Program) -> None:
    """Raises `BadArtifact` where a run of one image would take more than is allowed, before
    anything that is as large is made.
    """
    what = f"an image's run of the Program '{program.name}'"
    check_memory(what, max(_held(program)), BadArtifact)
    check_memory(what, run_memory(program), BadArtifact)


def run_memory(program: Program) -> int:
    """Bytes of the larger of the two parties. Plans the layouts, so `check_run_memory` comes
    first.
    """
    specs = linear_specs(program)
    steps = enumerate(zip(_held(program), step_costs(program), strict=True))
    return max(
        held + _exchanged(cost) + (_tiles(specs[index]) if index in specs else 0)
        for index, (held, cost) in steps
    )


def _held(program: Program) -> Iterator[int]:
    """For each step, bytes that are there while it runs, but for what the parties exchange."""
    live = 0
    for step, finished in zip(program.steps, program.last_uses(), strict=True):
        made = math.prod(step.shape)
        read = sum(math.prod(operand.shape) for operand in program.operands(step))
        live += SHARE * made
        yield live + WORKING * (made + read)
        live -= SHARE * sum(math.prod(program.steps[index].shape) for index in finished)


def _exchanged(cost: Cost) -> int:
    """Bytes that one party holds of a step's messages and correlations."""
    drawn = sum(event.n for event in cost.events if isinstance(event, Draw))
    return int((KEPT * cost.total + DRAWN * drawn) / 2)


def _tiles(spec: LinearSpec) -> int:
    """Bytes of one tile of a layer in the clear of its packing."""
    layout, plan = spec.layout, spec.rlwe
    up = layout.ciphertexts_per_tile * plan.degree * len(plan.primes) * 4
    down = layout.answers_per_tile * plan.degree * SHARE
    return CIPHERTEXTS * (up + down)
