"""Revealed values beyond where the vendor expects them: what is out of range, and that the client
is told so in every format.
"""

from __future__ import annotations

import csv
import io
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from moiety.protocols.errors import BadArtifact
from moiety.runtime import program as ir
from moiety.runtime.cli.commands.infer import Told
from moiety.runtime.cli.program_tables import summary
from moiety.runtime.intake.picture import Identity
from moiety.runtime.intake.verdicts import Accepted
from moiety.runtime.party.executor import ClientExecutor, ServerExecutor
from moiety.runtime.party.handshake import Served
from moiety.runtime.program.doubts import OUTPUT_RANGE, doubts
from moiety.runtime.program.weights import Weights
from moiety.runtime.results.inference import with_file
from moiety.runtime.results.outputs import encode_json
from moiety.runtime.results.record import ACCEPTED, WITH_WARNINGS, ImageResult, image_result
from moiety.runtime.results.table import encode_csv
from tests.support.programs import make_program
from tests.support.results import WARNING, read_back, some_results
from tests.support.two_party import run_two_party


def a_program(expected: tuple[int, int] | None) -> ir.Program:
    """What is revealed is the input, in steps of a quarter."""
    made = make_program(ir.Input(inputs=(), shape=(3,), bits=16, scale=0.25))
    output = msgspec.structs.replace(made.steps[-1], scale=0.25, expected=expected)
    return msgspec.structs.replace(made, steps=(made.steps[0], output))


def a_result(program: ir.Program, image: list[float]) -> ImageResult:
    """Of two parties."""
    server, tensor = ServerExecutor(program, Weights({})), np.array(image, np.float32)
    server.prepare()
    client = ClientExecutor(program)
    run = run_two_party(server.run, lambda session: client.run(session, tensor))
    (revealed,), cost = run.client
    served = Served(seconds=1.0, cpu_seconds=1.0, peak_rss=1)
    return image_result("x.npy", program, [revealed], cost, served)


@pytest.mark.parametrize("expected", [(1, 0), (-(1 << 15) - 1, 0), (0, 1 << 15)])
def test_a_range_lies_in_its_ring(expected: tuple[int, int]) -> None:
    with pytest.raises(BadArtifact, match=r"step 1.* the range .* is none of its ring"):
        a_program(expected).check()


@given(st.lists(st.integers(-40, 40), min_size=3, max_size=3), st.integers(-20, 0), st.integers(0))
def test_what_is_unexpected(values: list[int], low: int, reach: int) -> None:
    high = min(reach, 20)
    program = a_program((low, high))
    program.check()
    outside = [not low <= value <= high for value in values]
    integers = np.array(values)
    (step,) = program.outputs.values()
    assert step.unexpected(integers).tolist() == outside
    assert len(list(doubts(program, {1: integers}))) == any(outside)
    assert not list(doubts(a_program(None), {1: integers}))


def test_two_parties_doubt_a_value_out_of_range() -> None:
    program = a_program((-6, 11))
    program.check()
    image = a_result(program, [-1, 2, 3])
    assert (image.revealed[0].expected, image.revealed[0].outside) == ((-1.5, 2.75), 1)
    (warning,) = image.warnings
    assert warning.code == OUTPUT_RANGE
    assert warning.text.startswith("1 of 3 values of out lie outside -1.5 to 2.75: ")
    assert image.verdict == WITH_WARNINGS
    kept = a_result(program, [-1, 2, 2.75])
    assert (kept.verdict, kept.warnings, kept.revealed[0].outside) == (ACCEPTED, (), 0)


def test_every_format_has_it_beside_what_was_said_of_the_file() -> None:
    taken = Accepted(Path("x.npy"), Identity(file_sha256="f", pixel_sha256="p"), (WARNING,))
    image = with_file(taken, a_result(a_program((-6, 11)), [-1, 2, 3]))
    results = some_results(image)
    assert [each.code for each in image.warnings] == [WARNING.code, OUTPUT_RANGE]
    assert read_back(encode_json(results)) == results
    row = next(csv.DictReader(io.StringIO(encode_csv(results).decode(), newline="")))
    assert row["verdict"] == WITH_WARNINGS
    assert f"; {OUTPUT_RANGE}: 1 of 3 values" in row["warnings"]


def test_the_terminal_says_it_with_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(2)
    told.image(a_result(a_program((-6, 11)), [-1, 2, 3]))
    told.image(a_result(a_program((-6, 12)), [-1, 2, 3]))
    said = capsys.readouterr().err
    assert said.count(f"x.npy: {OUTPUT_RANGE}: 1 of 3 values") == 1


def test_inspect_shows_it() -> None:
    shown = StringIO()
    Console(width=80, file=shown).print(summary(a_program((-6, 11))))
    assert "out 3, expected within -1.5 to 2.75" in shown.getvalue()
