"""`moiety inspect --cost`: predicted bytes, flights and seconds by kind of step and by layer, and
those of a prepared run; the formulas in front of them are in formula_tables, which needs sympy, of
an extra.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from moiety.protocols.cost import Cost, Wire
from moiety.protocols.network import Network, parse_network
from moiety.protocols.ot.generators import Mixed, in_words
from moiety.runtime.cli.ui import TRAFFIC_COLUMNS, table, traffic_cells
from moiety.runtime.cost.clock import Time, predict, total
from moiety.runtime.cost.machine import find_machine
from moiety.runtime.cost.prepared import prepared_run
from moiety.runtime.cost.traffic import key_cost, step_costs
from moiety.runtime.intake import extras
from moiety.runtime.intake.text import printable
from moiety.runtime.party.generator_choice import agreed, parse_ot, soonest
from moiety.runtime.program import Program

FORMULAS = "moiety.runtime.cli.formula_tables"
COLUMNS = (*TRAFFIC_COLUMNS, "seconds", "server's work", "client's work", "network")


@dataclass(frozen=True)
class Line:
    """One step, or the keys: what it sends with the chosen generator, and how long that takes."""

    kind: str
    name: str
    wire: Wire
    time: Time


@dataclass(frozen=True)
class Prediction:
    """One image. Flights of a line are its own: where it begins in the direction in which the one
    before ended, the whole has one less than the sum. offline, online: of a run that is prepared,
    what is made beforehand and the run itself, where silent generation serves choices of
    `beforehand` bits and more. source: whose figures these are, in words.
    """

    lines: tuple[Line, ...]
    whole: Wire
    time: Time
    offline: Line
    online: Line
    beforehand: int
    silent_from: int
    network: Network
    source: str


def prediction(program: Program, network: str, ot: str, machine_file: Path | None) -> Prediction:
    """Raises `BadInput` for an unknown network or generator, or a file that is no machine's."""
    between, asked = parse_network(network), agreed(parse_ot(ot), "auto")
    figures, source = find_machine(machine_file)
    costs = [key_cost(program), *step_costs(program)]
    silent_from = soonest(costs, figures, between) if asked is None else asked
    times = predict(costs, figures, between, silent_from)
    prepared = prepared_run(program)
    beforehand = program.planned_for.ahead.silent_from if asked is None else asked
    generator = Mixed(silent_from)
    wires = [cost.on(generator) for cost in costs]
    steps = ((step.kind, f"{index} {step.name}") for index, step in enumerate(program.steps))
    names = [("keys", ""), *steps]
    lines = tuple(
        Line(*name, wire, time) for name, wire, time in zip(names, wires, times, strict=True)
    )
    whole = sum(costs, Cost()).on(Mixed(silent_from))

    def part(name: str, cost: Cost) -> Line:
        (time,) = predict([cost], figures, between, beforehand)
        return Line("prepared", name, cost.on(Mixed(beforehand)), time)

    offline, online = part("offline", prepared.offline), part("online", prepared.online)
    return Prediction(
        lines, whole, total(times), offline, online, beforehand, silent_from, between, source
    )


def report(program: Program, predicted: Prediction, layers: bool) -> list[Table | Text]:
    """Everything that is printed, in order. Raises `BadInput` where sympy is not installed."""
    parts: list[Table | Text] = [extras.load(FORMULAS, "--cost").formula_table(program)]
    parts.append(_by_kind(predicted))
    if layers:
        parts.append(_by_layer(predicted))
    parts.append(_prepared(predicted))
    return [*parts, Text(headline(predicted))]


def _by_kind(predicted: Prediction) -> Table:
    """Kinds that take longest first."""
    kinds: dict[str, list[Line]] = {}
    for line in predicted.lines:
        kinds.setdefault(line.kind, []).append(line)
    shown = table("Predicted cost of one image, by step kind", "kind", "steps", *COLUMNS, right=8)
    for kind, lines in sorted(kinds.items(), key=lambda item: -_time(item[1]).total):
        shown.add_row(kind, str(len(lines)), *_cells(lines))
    shown.add_section()
    whole = predicted.whole
    traffic = traffic_cells(whole.up, whole.down, len(whole.flights))
    shown.add_row("one image", "", *traffic, *_time_cells(predicted.time))
    return shown


def _by_layer(predicted: Prediction) -> Table:
    """Steps that send something or take a millisecond."""
    shown = table("Predicted cost of one image, by layer", "step", "kind", *COLUMNS, right=7)
    for line in predicted.lines:
        if line.wire.total or line.time.total >= 1e-3:
            shown.add_row(Text(printable(line.name) or line.kind), line.kind, *_cells([line]))
    return shown


def _prepared(predicted: Prediction) -> Table:
    """The three prices of a prepared run, and for comparison the one of a run on demand."""
    offline, online = predicted.offline, predicted.online
    columns = (*TRAFFIC_COLUMNS, "seconds")
    title = f"Predicted cost, prepared (correlations: {in_words(predicted.beforehand)})"
    shown = table(title, "part", *columns, right=4)
    for line in (offline, online):
        shown.add_row(line.name, *_cells([line])[: len(columns)])
    shown.add_section()
    shown.add_row("total", *_cells([offline, online])[: len(columns)])
    whole = predicted.whole
    traffic = traffic_cells(whole.up, whole.down, len(whole.flights))
    shown.add_row("on demand", *traffic, _seconds(predicted.time.total))
    return shown


def headline(predicted: Prediction) -> str:
    """The seconds, and for what network, generator and machine."""
    generator = in_words(predicted.silent_from)
    network = f"{1e3 * predicted.network.rtt:g} ms and {predicted.network.up / 1e6:,g} Mbit/s"
    return (
        f"One image takes about {predicted.time.total:.2f} s at {network} "
        f"(correlations: {generator}; one core per party; {predicted.source})"
    )


def _time(lines: Iterable[Line]) -> Time:
    return total([line.time for line in lines])


def _cells(lines: Sequence[Line]) -> tuple[str, ...]:
    up, down = sum(line.wire.up for line in lines), sum(line.wire.down for line in lines)
    flights = sum(len(line.wire.flights) for line in lines)
    return *traffic_cells(up, down, flights), *_time_cells(_time(lines))


def _time_cells(time: Time) -> tuple[str, ...]:
    return tuple(map(_seconds, (time.total, time.server, time.client, time.network)))


def _seconds(value: float) -> str:
    """Milliseconds below a second."""
    return f"{value:.2f} s" if value >= 1 else f"{1e3 * value:.1f} ms"
