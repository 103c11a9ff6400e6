"""What an image's run of a Program takes of a party's memory, from its public numbers alone: an
upper bound that is made before anything is allocated, because a Program comes from the other side.
How many images share a run is this side's own choice, and multiplies it.

A run holds the shares of all values that a later step reads, 8 bytes an element (`_held`). The step
at hand works on top of that: it copies its elements a few times, and keeps what it sends, what it
receives and the correlations that it draws, all of which its declared cost (runtime/cost/traffic)
says in bytes. To prepare a run a client holds, besides, all that it keeps of the linear layers, all
that it knows of its choices, and the messages of several layers. `WORKING` and the two figures
beside it are measured: tests/runtime/test_bounds holds the bound against the peak of real runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from moiety.protocols.cost import Cost, Draw, Send
from moiety.protocols.errors import BadArtifact
from moiety.protocols.linear.spec import LinearSpec, download_bytes, upload_bytes
from moiety.protocols.linear.split import client_bytes
from moiety.protocols.preparation import TOGETHER
from moiety.runtime.cost.prepared import prepared_steps
from moiety.runtime.cost.traffic import step_costs
from moiety.runtime.program import Linear, Program
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
WHOLE = 3
"""Copies of what a client keeps of all linear layers: as they come, written, and recorded from."""
ROUNDS = 3
"""Of a preparation, whose layers' messages are under way at once."""


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


def check_preparing_memory(program: Program) -> None:
    """The same of preparing a run of one image: of many layers it takes more than the run."""
    what = f"preparing an image's run of the Program '{program.name}'"
    check_memory(what, preparing_memory(program), BadArtifact)


def preparing_memory(program: Program) -> int:
    """Bytes of the client, whose share is the larger one. As `run_memory`, after its check."""
    specs = list(linear_specs(program).values())
    layers = [upload_bytes(spec) + download_bytes(spec) for spec in specs]
    together = max(min(sum(layers), TOGETHER), *layers, 0)
    kept = WHOLE * client_bytes(specs) + _known(program)
    return run_memory(program) + kept + ROUNDS * together


def _known(program: Program) -> int:
    """Bytes of a client's choices and products that it knows beforehand: all of them are sent."""
    return sum(
        int(event.nbytes)
        for step, part in zip(program.steps, prepared_steps(program), strict=True)
        for event in part.offline.events
        if isinstance(event, Send) and event.sender == "C" and not isinstance(step, Linear)
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
