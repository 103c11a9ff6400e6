"""Cohorts of DICOM files: what is refused or there twice, headers that change, and a report that
names nobody.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime import program as ir
from moiety.runtime.intake.loader import load
from moiety.runtime.party.executor import ServerExecutor
from moiety.runtime.party.server import ServerOptions
from moiety.runtime.program import Program
from moiety.runtime.program.cleartext import CleartextExecutor
from moiety.runtime.program.expression.expression import Expression, Result
from moiety.runtime.program.weights import Weights, commit
from moiety.runtime.study import evaluate as study
from moiety.runtime.study.journal import NAME, Journal
from moiety.runtime.study.prepare import REFUSED, TWICE, Prepared, StudyOptions, prepare
from moiety.runtime.study.session import SessionPlan
from tests.support.dicom import PATIENT, radiograph, saved
from tests.support.programs import GUARD, make_program, random_weights, rlwe_plan
from tests.support.runnable import runnable
from tests.support.serving import Running
from tests.support.studies import LABELS, write_csv

PICTURES = ir.Preprocessing(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))
HEADER = ["file", "site", "patient", *LABELS]
UID = "1.2.826.0.1.3680043.10.543.5"


def of_pictures() -> tuple[Program, Weights]:
    """A layer of a picture's pixels."""
    linear = ir.Linear(
        inputs=(1,),
        shape=(3, 1, 1),
        bits=26 + GUARD,
        weight_bits=8,
        guard=GUARD,
        kernel=(1, 1),
        pads=(0, 0, 0, 0),
        rlwe=rlwe_plan(26),
    )
    program = make_program(
        ir.Input(inputs=(), shape=(1, 4, 4), bits=26, scale=1 / 64, value_bits=9),
        ir.Reshape(inputs=(0,), shape=(16, 1, 1), bits=26),
        linear,
        ir.Truncate(inputs=(2,), shape=(3, 1, 1), bits=18, shift=8 + GUARD, rounding="exact"),
        ir.Reshape(inputs=(3,), shape=(3,), bits=18),
        preprocessing=PICTURES,
    )
    result = Result(name="findings", value=0, labels=LABELS)
    program = msgspec.structs.replace(runnable(program), expression=Expression(results=(result,)))
    return commit(program, random_weights(program, np.random.default_rng(5)).tensors)


MADE = of_pictures()


def dicom(folder: Path, name: str, seed: int, **changes: object) -> str:
    """A drawn radiograph; its name."""
    pixels = np.random.default_rng(seed).integers(0, 4096, (48, 40), np.uint16)
    saved(radiograph(pixels, **{"SOPInstanceUID": f"{UID}.{seed}", **changes}), folder / name)
    return name


def prepared(folder: Path, rows: Sequence[Sequence[object]], port: int = 0) -> Prepared:
    listed = write_csv(folder / "cohort.csv", HEADER, rows)
    plan = SessionPlan(program=MADE[0], host="127.0.0.1", port=port)
    return prepare(plan, listed, StudyOptions(bootstrap=20))


def test_an_image_that_is_there_twice_is_said_one_thing_of(tmp_path: Path) -> None:
    """By UID and pixels, or by pixels alone: counted once and named, and not with two labels."""
    first, again = dicom(tmp_path, "a.dcm", 1), dicom(tmp_path, "b.dcm", 1, PatientComments="x")
    exported = dicom(tmp_path, "c.dcm", 1, SOPInstanceUID=f"{UID}.9")
    said = ["north", "p1", 1, 0, 1]
    found = prepared(tmp_path, [[name, *said] for name in (first, again, exported)])
    assert [line.entry for line in found.lines] == [first]
    assert found.excluded == {TWICE: 2}
    assert [each.path.name for each in found.intake.skipped] == [again, exported]
    for name in (again, exported):
        with pytest.raises(BadInput, match=r"line 3: the same image as in line 2 \(a\.dcm\), with"):
            prepared(tmp_path, [[first, *said], [name, "north", "p1", 0, 0, 1]])


def test_one_uid_and_two_pictures(tmp_path: Path) -> None:
    """The second is refused, and may have any label."""
    names = [dicom(tmp_path, "a.dcm", 1), dicom(tmp_path, "b.dcm", 2, SOPInstanceUID=f"{UID}.1")]
    found = prepared(tmp_path, [[name, "", "", n, 0, 1] for n, name in enumerate(names)])
    assert found.excluded == {REFUSED: 1}
    assert "other pixels; which is the image?" in found.intake.refused[0].reason


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    executor = ServerExecutor(*MADE)
    executor.prepare()
    running = Running(executor, ServerOptions())
    yield running
    running.end()


def run(made: Prepared, folder: Path) -> Journal:
    made, journal = study.begin(made, folder, print)
    try:
        study.run(made, journal, study.local_workers(made))
        study.write(study.study_of(made, journal), folder)
    finally:
        journal.close()
    return journal


def test_a_corrected_header_is_another_picture(server: Running, tmp_path: Path) -> None:
    """The same pixels, shown inverted: the result of before is not taken for one of now."""
    images, folder, port = tmp_path / "images", tmp_path / "study", server.listener.port
    images.mkdir()
    rows = [[dicom(images, f"{n}.dcm", n), "north", f"p{n}", n % 2, 1, 0] for n in range(3)]
    before = run(prepared(images, rows, port), folder)
    dicom(images, "0.dcm", 0, PhotometricInterpretation="MONOCHROME1")
    now = prepared(images, rows, port)
    with pytest.raises(BadInput, match=r"1 of its 3 finished .*, or have changed .*0\.dcm"):
        study.check_folder(now, folder)
    after = run(now, tmp_path / "again")
    reader, executor = now.plan.reader(), CleartextExecutor(*MADE)
    expected = [executor.run(load(line.file, reader).case)["findings"] for line in now.lines]
    table = study.study_of(now, after).table
    assert table is not None
    assert (table.scores == np.array(expected)).all()
    assert before.images.keys() & after.images.keys() == {*now.keys[1:]}


def test_nobody_is_named(server: Running, tmp_path: Path) -> None:
    """Neither by header, nor list, nor file; the journal and all else is its owner's alone."""
    images, folder = tmp_path / "Secretfolder", tmp_path / "study"
    images.mkdir()
    rows = [
        [dicom(images, f"Secret{n}.dcm", n), "north", f"Secret{n}", n % 2, 1, 0] for n in range(4)
    ]
    rows.append([dicom(images, "Secret4.dcm", 4, Modality="CT"), "north", "Secret4", 1, 1, 1])
    run(prepared(images, rows, server.listener.port), folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"report.html", "report.json", "excluded.csv", NAME} <= {path.name for path in files}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        if path.name != NAME:
            text = path.read_text()
            assert not [word for word in (PATIENT, "Secret", UID) if word in text], path
    assert f"{REFUSED},1" in (folder / "tables/excluded.csv").read_text()
