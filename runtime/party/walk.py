"""The walk of both parties over a Program: the same list of steps, one share of every live value,
each dropped after its last use. What a step does is in handlers and masked, the same at both; what
differs is in sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from moiety.protocols.errors import ContractViolation
from moiety.protocols.session import Session
from moiety.runtime.party import handlers, masked
from moiety.runtime.party.handlers import Turn
from moiety.runtime.party.metering import KEYS, RunCost, StepWatch, peak_rss
from moiety.runtime.party.sides import Share, Side
from moiety.runtime.program import AnyStep, Gates, Program
from moiety.runtime.program.progress import Progress


class Stage(NamedTuple):
    """A step, and what of a run's step follows from the Program alone. label: its name in the
    meter; rings: of its operands, of an Input its own; gates: those that are made together with it;
    finished: the values that nothing reads after it.
    """

    step: AnyStep
    kind: str
    label: str
    rings: tuple[int, ...]
    gates: Gates | None
    finished: tuple[int, ...]


def stages_of(program: Program) -> list[Stage]:
    return [
        Stage(
            step,
            step.kind,
            f"{step.kind}/{index}/{step.name}",
            tuple(x.bits for x in program.operands(step) or (step,)),
            program.joint_gates(index),
            finished,
        )
        for index, (step, finished) in enumerate(
            zip(program.steps, program.last_uses(), strict=True)
        )
    ]


def walk(
    program: Program, stages: Sequence[Stage], session: Session, side: Side, progress: Progress
) -> RunCost:
    """The loop of both parties: keys, then step by step."""
    steps = masked if side.prepared else handlers
    cost, meter = RunCost(images=side.images), session.channel.meter
    watch = StepWatch(meter, cost)
    values: dict[int, Share] = {}
    joint: Share | None = None
    with meter.labelled(KEYS):
        side.exchange_keys(session)
        watch.lap(KEYS)
        for index, (step, kind, label, rings, gates, finished) in enumerate(stages):
            progress(index, len(stages), f"{step.name}, step")
            meter.label = label
            if joint is not None:
                value, joint = joint, None
            else:
                operands = [values[i] for i in step.inputs]
                turn = Turn(session, side, index, step, rings, operands)
                if gates is not None:
                    compare = Turn(session, side, index + 1, gates, (step.bits,), ())
                    value, joint = steps.truncate_with_gates(turn, compare)
                else:
                    value = steps.execute(turn)
            if value.shape != (wanted := (side.images, *step.shape)):
                raise ContractViolation(
                    f"{label} made shape {value.shape}, the Program says {wanted}"
                )
            values[index] = value
            for operand in finished:
                del values[operand]
            watch.lap(kind)
    progress(len(stages), len(stages), "")
    session.channel.flush()
    cost.peak_rss = peak_rss()
    return cost


def ahead(session: Session) -> Session:
    """Its comparisons are cut for prepared runs."""
    return replace(session, network=session.network.ahead)


def check_network(program: Program, session: Session) -> None:
    if session.network != program.planned_for:
        raise ContractViolation(f"the session is not open for a {program.network} network")
