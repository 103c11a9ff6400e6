"""What a Program costs where its runs are prepared: what is made beforehand, and what is left for
the run itself. Added up they are the whole price of an image.

The protocols are those of a run on demand, cut into digits for prepared runs (`Network.ahead`), and
so are their declared costs: this module says which part of each is made when (`split`). Nothing of
it depends on the image but what an image's shares go into.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from moiety.protocols.cost import (
    Cost,
    Draw,
    Event,
    Local,
    Party,
    Send,
    Settle,
    Work,
    Works,
    other,
)
from moiety.protocols.linear.cost import offline_cost, online_cost
from moiety.protocols.prices import FIGURES
from moiety.protocols.split import offline
from moiety.runtime.cost.traffic import Call, key_cost, protocol_calls
from moiety.runtime.program import Linear, Program
from moiety.runtime.program.beforehand import known_to_client
from moiety.runtime.program.linear_layers import linear_specs


@dataclass(frozen=True)
class Prepared:
    """The two parts of a cost: what is made beforehand, and the run itself."""

    offline: Cost
    online: Cost

    def __add__(self, more: Prepared) -> Prepared:
        """Of both together."""
        return Prepared(self.offline + more.offline, self.online + more.online)

    @property
    def total(self) -> Cost:
        """Everything, one after the other."""
        return self.offline + self.online


def prepared_run(program: Program, images: int = 1) -> Prepared:
    """One run of so many images together; set-up and control messages are not in it."""
    steps = prepared_steps(program, images)
    layers = offline_cost(list(linear_specs(program, images).values()))
    others = [
        part.offline
        for step, part in zip(program.steps, steps, strict=True)
        if not isinstance(step, Linear)
    ]
    offline = key_cost(program, images) + layers + in_long_runs(others)
    return Prepared(offline, sum((part.online for part in steps), Cost()))


def prepared_steps(program: Program, images: int = 1) -> list[Prepared]:
    """Of every step, in order."""
    specs = linear_specs(program, images)
    known = known_to_client(program)
    parts = []
    for index, calls in enumerate(protocol_calls(program, images, prepared=True)):
        step = program.steps[index]
        if isinstance(step, Linear):
            spec = specs[index]
            parts.append(Prepared(offline_cost([spec]), online_cost(spec)))
        else:
            early = bool(step.inputs) and step.inputs[0] in known
            parts.append(sum(_split_calls(calls, early), Prepared(Cost(), Cost())))
    return parts


def _split_calls(calls: Iterable[Call], known: bool) -> Iterator[Prepared]:
    """Only the first comparison of a step reads the step's operand."""
    for call in calls:
        compares = call.digits is not None
        yield split(call.at_its_sizes, known and compares)
        known = known and not compares


def split(cost: Cost, known: bool = False) -> Prepared:
    """What is made beforehand of a protocol on secret shares: correlations, and pads of all
    transfers. `known`: it begins with a comparison of which the client knows its operand, so that
    what the client says before it hears of the server goes first, too.
    """
    offline: list[Event] = []
    online: list[Event] = []
    heard: set[int] = set()
    for event in cost.events:
        match event:
            case Draw():
                offline.append(event)
            case Settle():
                pass  # once, after everything that was drawn
            case Local("C", lane=lane) if known and lane not in heard:
                offline.append(event)
            case Local():
                online.append(event)
            case Send("C", lane=lane) if known and lane not in heard:
                offline.append(event)
            case Send(sender, nbytes, made, read, ahead, lane):
                if sender == "S":
                    heard.add(lane)
                offline += _pads(sender, made) + _pads(other(sender), read)
                online.append(Send(sender, nbytes, _given(made), _given(read), ahead, lane))
    return Prepared(Cost(tuple(offline)), Cost(tuple(online)))


def in_long_runs(costs: Iterable[Cost]) -> Cost:
    """What is made beforehand for these protocols together: all their correlations, in the order in
    which a preparation draws them, and their check; then what is made of them.
    """
    whole = sum(costs, Cost())
    made = (replace(event, lane=0) for event in whole.events if isinstance(event, Send | Local))
    return offline(whole) + Cost(tuple(made))


def _pads(party: Party, works: Works) -> list[Event]:
    """The work of making the pads that these works use."""
    made = tuple(
        Work(FIGURES[work.figure].offline, work.amount)
        for work in works
        if FIGURES[work.figure].offline
    )
    return [Local(party, made)] if made else []


def _given(works: Works) -> Works:
    """The same works where the pads are there."""
    return tuple(Work(FIGURES[work.figure].online or work.figure, work.amount) for work in works)
