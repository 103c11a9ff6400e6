"""From the model to shares: the example's ONNX nodes, its Graph, the steps of its Program, and of
one element of each step's value what either party holds in a run.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any
from unittest import mock

from moiety.protocols import ring
from moiety.protocols.prg import Prg
from moiety.protocols.session import Role
from moiety.protocols.setup import open_session
from moiety.runtime.party import handlers
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handlers import Turn, execute
from moiety.runtime.program import Output
from tests.project.pictures.example import Example, example
from tests.project.pictures.svg import Picture
from tests.support.two_party import channel_pair, run_both

WIDTH, ROW, TOP = 1042, 42, 128
COLUMNS = {"model": 24.0, "graph": 176.0, "program": 312.0, "shares": 564.0}
BIT = 2.9

Shares = dict[Role, dict[int, int]]


def shares(of: Example) -> Shares:
    """Role -> step -> its share of the middle element of the value, in a run of both parties."""
    program, weights = of.compiled.program, of.compiled.weights
    held: Shares = {Role.SERVER: {}, Role.CLIENT: {}}

    def noting(turn: Turn[Any]) -> Any:
        value = execute(turn)
        flat = value.reshape(-1)
        held[turn.session.role][turn.index] = int(flat[flat.size // 2])
        return value

    ends = channel_pair()
    server, client = ServerExecutor(program, weights), ClientExecutor(program)
    server.prepare()

    def session_of(role: Role) -> Any:
        seed = hashlib.sha256(f"picture {role}".encode()).digest()[:16]
        return open_session(role, ends[role], Prg(seed))

    with mock.patch.object(handlers, "execute", noting):
        run_both(
            lambda: server.run(session_of(Role.SERVER)),
            lambda: client.run(session_of(Role.CLIENT), of.image),
            ends,
        )
    return held


def draw() -> Picture:
    made = example()
    steps = made.compiled.program.steps
    picture = Picture(
        "compilation",
        "From a model to shares",
        "Four columns: the nodes of an ONNX file; the Graph, in which max-pool has moved before "
        "ReLU; the Program's steps with the bits of their rings; and for one element of each "
        "value the vendor's share, the hospital's share, and their sum modulo 2^bits, which nobody "
        "has before the last step.",
        WIDTH,
        TOP + len(steps) * ROW + 50,
    )
    picture.words((24, 30), "From a model to shares", "head")
    heads = (
        ("model", "model.onnx", "the vendor's file"),
        ("graph", "Graph", "after all passes"),
        ("program", "Program", "integers; known to both"),
        ("shares", "Shares", "of one element, while it runs"),
    )
    for column, title, says in heads:
        picture.words((COLUMNS[column], 68), title, "bold")
        picture.words((COLUMNS[column], 86), says, "soft small")
    for column, after in (("model", 104), ("graph", 70), ("program", 208)):
        x = COLUMNS[column] + after
        picture.arrow([(x, 63), (x + 26, 63)])
    _ops(picture, made)
    _steps(picture, made)
    _table(picture, made)
    return picture


def _ops(picture: Picture, made: Example) -> None:
    """The two columns of operators, each spread over the height of the steps."""
    names = [re.search(r"= (\w+)", node) for node in made.nodes]
    onnx = [name[1] for name in names if name]
    graph = [node.op for node in made.graph.nodes]
    height = len(made.compiled.program.steps) * ROW
    for column, ops, width, style in (
        ("model", onnx, 104, "vendor"),
        ("graph", graph, 104, "vendor"),
    ):
        pitch = height / len(ops)
        for place, op in enumerate(ops):
            at = (COLUMNS[column], TOP + place * pitch)
            picture.labelled(at, (width, 34), op, style, "mono")
            if place:
                x = COLUMNS[column] + width / 2
                picture.arrow([(x, at[1] - pitch + 34), (x, at[1] - 2)])


def _steps(picture: Picture, made: Example) -> None:
    """Kind, and a bar of its ring's bits."""
    x = COLUMNS["program"]
    for place, step in enumerate(made.compiled.program.steps):
        y = TOP + place * ROW
        picture.labelled((x, y), (92, 34), step.kind, "plain", "mono")
        picture.box((x + 102, y + 9), (step.bits * BIT, 16), "secret", 2)
        picture.words((x + 108 + step.bits * BIT, y + 22), f"{step.bits} bits", "soft small")


def _table(picture: Picture, made: Example) -> None:
    """Both shares and their sum, line by line."""
    held = shares(made)
    x = COLUMNS["shares"]
    ends = (x + 150, x + 316, x + 454)
    for end, title, style in zip(
        ends,
        ("vendor's", "hospital's", "together"),
        ("vendor", "hospital", "soft"),
        strict=True,
    ):
        picture.words((end, TOP - 12), title, f"small bold {style}", "end")
    for place, step in enumerate(made.compiled.program.steps):
        y = TOP + place * ROW
        mine, theirs = (held[role][place] for role in Role)
        picture.box((x + 10, y), (148, 34), "vendor")
        picture.box((x + 176, y), (148, 34), "hospital")
        if isinstance(step, Output):
            _result(picture, step, theirs, (x, y))
            continue
        value = int(ring.to_signed(ring.reduce(_u64(mine + theirs), step.bits), step.bits))
        picture.words((ends[0], y + 22), f"{mine:,}", "mono", "end")
        picture.words((x + 167, y + 22), "+", "soft", "middle")
        picture.words((ends[1], y + 22), f"{theirs:,}", "mono", "end")
        picture.words((x + 334, y + 22), "=", "soft")
        picture.words((ends[2], y + 22), f"{value:,}", "mono soft", "end")


def _result(picture: Picture, step: Output, opened: int, at: tuple[float, float]) -> None:
    """The vendor's share has been sent; the hospital has added up."""
    (x, y), value = at, int(ring.to_signed(_u64(opened), step.bits))
    picture.words((x + 150, y + 22), "sends its share", "small", "end")
    picture.arrow([(x + 158, y + 17), (x + 176, y + 17)], "vendor")
    picture.words((x + 316, y + 22), f"{value:,}", "mono bold", "end")
    picture.words((x + 334, y + 22), f"= {value * step.scale:.3f}, a logit", "small hospital")


def _u64(value: int) -> Any:
    return ring.from_signed(value, 64)
