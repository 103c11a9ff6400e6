"""The house: every room on its floor, from the table that the tests hold the imports to, and an
arrow for each way in which one part imports another.
"""

from __future__ import annotations

from tests.project.pictures.svg import Picture, Point
from tests.project.test_floors import FLOORS, HOUSE, house_imports, short

WIDTH, LEFT, RIGHT, GAP = 960, 30, 640, 6
TOWER, ROW = 418, 27
SHARED = ("runtime.program", "runtime.cost")
"""The rooms of the runtime that the compiler builds on, too."""

GROUND = ("protocols.kernels", "protocols.arrays", "protocols.errors")

Floors = list[tuple[str, ...]]


def part_of(room: str) -> str:
    """The part of the house that a room or a module is drawn in."""
    if room.startswith(SHARED):
        return "program"
    if room.startswith(GROUND):
        return "ground"
    return room.split(".")[0]


def parts() -> dict[str, Floors]:
    """Part -> its floors, the highest first."""
    found: dict[str, Floors] = {}
    for floor in reversed(FLOORS):
        by_part: dict[str, list[str]] = {}
        for room in floor:
            by_part.setdefault(part_of(room), []).append(room)
        for part, rooms in by_part.items():
            found.setdefault(part, []).append(tuple(rooms))
    return found


def arrows() -> set[tuple[str, str]]:
    """Which part imports which, read from the source."""
    return {
        (part_of(short(each.importer)), part_of(short(module)))
        for each in house_imports()
        if (module := HOUSE.module_of(each.name)) is not None
    }


def draw() -> Picture:
    found = parts()
    towers = max(len(found["compiler"]), len(found["runtime"]))
    top = {"roof": 64.0}
    top["towers"] = top["roof"] + 78
    top["program"] = top["towers"] + towers * (ROW + GAP) + 74
    top["protocols"] = top["program"] + 104
    top["ground"] = top["protocols"] + len(found["protocols"]) * (ROW + GAP) + 72
    picture = Picture(
        "house",
        "The house and its arrows",
        "Benchmarks and the shipped models on top; below them the compiler, and beside it the two "
        "parties; both stand on the Program and its cost, these on the protocols, and these on the "
        "ground floor, with the kernels. Arrows are imports: all point down.",
        WIDTH,
        int(top["ground"] + len(found["ground"]) * (ROW + GAP) + 60),
    )
    picture.words((LEFT, 30), "The house and its arrows", "head")
    picture.words((WIDTH - LEFT, 30), "an arrow: uses what is below", "soft small", "end")
    for x, name, says in (
        (LEFT, "benchmarks", "measurements"),
        (LEFT + TOWER + 64, "models", "the shipped network, the demo"),
    ):
        picture.box((x, top["roof"]), (TOWER, 40))
        picture.words((x + 14, top["roof"] + 25), name, "bold")
        picture.words((x + TOWER - 14, top["roof"] + 25), says, "soft small", "end")
    _part(picture, "compiler", found["compiler"], (LEFT, top["towers"]), TOWER, towers, "vendor")
    right = LEFT + TOWER + 64
    _part(picture, "runtime", found["runtime"], (right, top["towers"]), TOWER, towers, "hospital")
    whole = WIDTH - 2 * LEFT
    _part(picture, "program", found["program"], (LEFT, top["program"]), whole, 0, "plain")
    _part(picture, "protocols", found["protocols"], (LEFT, top["protocols"]), whole, 0, "secret")
    _part(picture, "ground", found["ground"], (LEFT, top["ground"]), whole, 0, "plain")
    _arrows(picture, arrows(), top)
    return picture


TITLES = {
    "compiler": ("compiler", "ONNX file to Program and Weights"),
    "runtime": ("runtime", "the two parties that run it"),
    "program": ("runtime: program, cost", "what both parties know: steps, their meaning, files"),
    "protocols": ("protocols", "the cryptography between the two"),
    "ground": ("the ground floor", "hot loops, twice: NumPy, and C++ that a test holds equal"),
}


def _part(
    picture: Picture,
    part: str,
    floors: Floors,
    at: tuple[float, float],
    width: float,
    rows: int,
    style: str,
) -> None:
    """A part with its floors; where it is to be as high as `rows`, they are higher."""
    (x, y), (title, says) = at, TITLES[part]
    if part == "program":
        floors = [tuple(room for floor in reversed(floors) for room in floor)]
    rows = rows or len(floors)
    height = rows * (ROW + GAP) + 40
    picture.box((x, y), (width, height), "frame", 8)
    picture.words((x + 14, y + 24), title, "bold")
    picture.words((x + width - 14, y + 24), says, "soft small", "end")
    each = (height - 40) / len(floors) - GAP
    for number, rooms in enumerate(floors):
        inner = (width - 20 - (len(rooms) - 1) * GAP) / len(rooms)
        for place, room in enumerate(rooms):
            corner = (x + 10 + place * (inner + GAP), y + 36 + number * (each + GAP))
            label = room if room != "protocols.kernels" else "protocols.kernels = native"
            label = label.removeprefix(f"{room.split('.')[0]}.").replace(".", " / ")
            picture.labelled(corner, (inner, each), label, style, "mono")


def _arrows(picture: Picture, found: set[tuple[str, str]], top: dict[str, float]) -> None:
    """Each arrow of the drawing is one of the source; all that are not drawn follow from these."""
    left, right = LEFT + TOWER / 2, LEFT + TOWER + 64 + TOWER / 2
    middle = LEFT + TOWER + 32
    drawn: dict[tuple[str, str], list[Point]] = {
        ("benchmarks", "compiler"): [(left, top["roof"] + 40), (left, top["towers"] - 2)],
        ("models", "runtime"): [(right, top["roof"] + 40), (right, top["towers"] - 2)],
        ("models", "compiler"): [
            (right - 150, top["roof"] + 40),
            (right - 150, top["roof"] + 59),
            (left + 150, top["roof"] + 59),
            (left + 150, top["towers"] - 2),
        ],
        ("compiler", "program"): [(left, top["program"] - 32), (left, top["program"] - 2)],
        ("runtime", "program"): [(right, top["program"] - 32), (right, top["program"] - 2)],
        ("compiler", "runtime"): [
            (middle - 32, top["towers"] + 54),
            (middle + 30, top["towers"] + 54),
        ],
        ("program", "protocols"): [(middle, top["protocols"] - 31), (middle, top["protocols"] - 2)],
        ("protocols", "ground"): [(middle, top["ground"] - 32), (middle, top["ground"] - 2)],
    }
    missing = {pair for pair in drawn if pair not in found}
    if missing:
        raise AssertionError(f"the picture has arrows that the source lacks: {missing}")
    for pair, points in drawn.items():
        picture.arrow(points, "dotted" if pair == ("compiler", "runtime") else "")
    beside = top["program"] - 12
    picture.words(
        (left + 12, beside), "Program and cost, and arithmetic on public numbers", "soft small"
    )
    picture.words((right + 12, beside), "a party loads no compiler", "soft small")
    picture.words((middle, top["towers"] + 44), "options", "soft tiny", "middle")
    upward = [(a, b) for a, b in found if (b, a) in found and a != b]
    if upward:
        raise AssertionError(f"arrows both ways: {sorted(upward)}")
