"""What a Program costs where its runs are prepared: what is made beforehand, and what is left for
the run itself. Added up they are the whole price of an image.

The protocols are those of a run on demand, cut into digits for prepared runs (`Network.ahead`), and
so are their declared costs: this module says which part of each is made when (`split`). Nothing of
it depends on the image but what an image's shares go into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from moiety.protocols.compare import fixing, masked
from moiety.protocols.compare.digits import plan_digits
from moiety.protocols.compare.joint_plan import plan_joint
from moiety.protocols.compare.maxpool import maxpool_pairs
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
    packed,
)
from moiety.protocols.lanes import in_lanes_cost
from moiety.protocols.linear.cost import (
    known_cost,
    offline_answer_cost,
    offline_cost,
    offline_request_cost,
    online_cost,
)
from moiety.protocols.linear.spec import LinearSpec
from moiety.protocols.preparation import LATER
from moiety.protocols.prices import FIGURES
from moiety.protocols.split import offline
from moiety.runtime.cost.traffic import CALLS, Setting, key_cost, settings
from moiety.runtime.program import AnyStep, Gates, Linear, MaxPool, Program, Relu, Truncate
from moiety.runtime.program.beforehand import corrected, is_drawn
from moiety.runtime.program.linear_layers import linear_specs

T = TypeVar("T")

MASKED = (Truncate, Gates, Relu, MaxPool)
"""Kinds of step that prepared runs have protocols of their own for (runtime/party/masked)."""


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
    layers = list(linear_specs(program, images).values())
    others = [
        part.offline
        for step, part in zip(program.steps, steps, strict=True)
        if not isinstance(step, Linear)
    ]
    offline = key_cost(program, images) + in_rounds(others, layers)
    return Prepared(offline, sum((part.online for part in steps), Cost()))


def prepared_steps(program: Program, images: int = 1) -> list[Prepared]:
    """Of every step, in order."""
    late, parts = corrected(program), []
    for step, at in zip(program.steps, settings(program, images, prepared=True), strict=True):
        if isinstance(step, Linear):
            spec = at.specs[at.index]
            run = online_cost(spec) if at.index in late else known_cost(spec)
            parts.append(Prepared(offline_cost([spec]), run))
            continue
        calls = (call.at_its_sizes(prepared=True) for call in CALLS[type(step)](step, at))
        whole = split(sum(calls, Cost()), known=isinstance(step, MASKED))
        parts.append(Prepared(whole.offline + beforehand(step, at), _in_the_run(step, at, whole)))
    return parts


def _in_the_run(step: AnyStep, at: Setting, on_demand: Prepared) -> Cost:
    """What is left of a step: by protocols of its own (compare/masked), or what on demand is left
    of it, whose result is then fixed.
    """
    n, bits = at.elements(step), at.operand.bits
    local = Cost(tuple(each for each in on_demand.online.events if isinstance(each, Local)))
    match step:
        case Truncate(shift=shift) if is_drawn(step) and at.joint is not None:
            count, compared = at.joint.shape[0], at.joint.compared
            tree = plan_joint(shift, compared - 1, count, n, at.network)
            made = _in_lanes(
                n,
                lambda n: masked.truncate_with_gates_cost(n, bits, shift, compared, count, tree),
            )
        case Truncate(shift=shift) if is_drawn(step):
            digits = plan_digits(shift, 1, n, at.network)
            made = _in_lanes(n, lambda n: masked.truncate_cost(n, bits, shift, digits))
        case Truncate() if at.joint is not None:
            made = _gates(at.joint, n, at)
        case Gates(joint=False):
            made = _gates(step, at.elements(at.operand), at)
        case Relu(multiplexes=True):
            once = masked.at_once(n, bits, step.bits, at.network)
            made = _in_lanes(n, lambda n: masked.multiplex_cost(n, bits, step.bits, once))
        case Relu():
            made = _relu(n, bits, step.bits, at)
        case MaxPool():
            pairs = maxpool_pairs(_planes(at), step.kernel, step.strides, step.pads)
            levels = (_relu(each, step.bits, step.bits, at) for each in pairs)
            made = sum(levels, Cost()) + fixing.fix_cost(n, step.bits)
        case _ if is_drawn(step) and not isinstance(step, Gates):
            return on_demand.online + fixing.fix_cost(n, step.bits)
        case _:
            return on_demand.online
    return local + split(made).online


def _gates(gates: Gates, n: int, at: Setting) -> Cost:
    count, bits = gates.shape[0], gates.compared
    digits = plan_digits(bits - 1, count, n, at.network)
    return _in_lanes(n, lambda n: masked.gates_cost(n, bits, count, digits))


def _relu(n: int, bits: int, out_bits: int, at: Setting) -> Cost:
    digits = plan_digits(bits - 1, 1, n, at.network)
    once = masked.at_once(n, bits, out_bits, at.network)
    return _in_lanes(n, lambda n: masked.relu_cost(n, bits, out_bits, digits, once))


def _in_lanes(n: int, cost: Callable[[int], Cost]) -> Cost:
    return in_lanes_cost(n, cost, prepared=True)


def _planes(at: Setting) -> tuple[int, int, int]:
    channels, height, width = at.operand.shape
    return at.images * channels, height, width


def beforehand(step: AnyStep, at: Setting) -> Cost:
    """What the client sends of a step's products (ot/early) and of the choices of its multiplexer,
    besides what drawing takes.
    """
    n, bits = at.elements(step), at.operand.bits
    match step:
        case Truncate() if is_drawn(step):
            return _sent(n, step.bits)
        case Relu() if masked.at_once(n, bits, step.bits, at.network):
            known = _sent(n, 1) + _sent(n, step.bits)
            for _ in range(2):
                known += _sent(n, step.bits - bits)
            return known + Cost((Draw("S", n, 1),))
        case Relu():
            extended = _sent(n, step.bits - bits) if step.bits > bits else Cost()
            return _sent(n, 1) + _sent(n, bits) + extended
        case MaxPool():
            pairs = sum(maxpool_pairs(_planes(at), step.kernel, step.strides, step.pads))
            return _sent(pairs, 1) + _sent(pairs, step.bits)
    return Cost()


def _sent(n: int, bits: int) -> Cost:
    return Cost.of(("C", packed(n, bits)))


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


def in_rounds(costs: Iterable[Cost], layers: Sequence[LinearSpec] = ()) -> Cost:
    """What is made beforehand for these protocols and layers together, round after round
    (protocols/preparation): all correlations, in the order in which a preparation draws them, and
    their check. What is made of them, and the layers, are spread evenly over the rounds: nobody
    knows here which of them a round's pieces belong to.
    """
    whole = sum(costs, Cost())
    *draws, settle = offline(whole).events
    each = _by_party(draws)
    count = max(1, *map(len, each))
    made = [replace(event, lane=0) for event in whole.events if isinstance(event, Send | Local)]
    events: list[Event] = []
    for at in range(count + LATER):
        for spec in _share(layers, at, count):
            events += offline_request_cost(spec).events
        events += _share(made, at - LATER, count)
        events += each[0][at : at + 1]
        for spec in _share(layers, at - 1, count):
            events += offline_answer_cost(spec).events
        events += each[1][at : at + 1]
    return Cost((*events, settle))


def _by_party(draws: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """The client's, and the server's."""
    mine: dict[Party, list[Event]] = {"C": [], "S": []}
    for draw in draws:
        if isinstance(draw, Draw):
            mine[draw.receiver].append(draw)
    return mine["C"], mine["S"]


def _share(whole: Sequence[T], at: int, count: int) -> Sequence[T]:
    """Number `at` of `count` equal parts, in order; empty where there is none."""
    if not 0 <= at < count:
        return []
    return whole[at * len(whole) // count : (at + 1) * len(whole) // count]


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
