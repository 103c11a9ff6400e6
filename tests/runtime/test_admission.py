"""Verdicts as a user meets them: what ends a command and what does not, and what is said of it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from moiety.protocols.errors import BadInput, BadPlan
from moiety.runtime.cli.verdicts import Given, say
from moiety.runtime.intake import admission
from moiety.runtime.intake.admission import Intake, admit
from moiety.runtime.intake.collect import collect
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.picture import Identity, Warned
from moiety.runtime.intake.verdicts import Accepted, Taken
from moiety.runtime.program import Preprocessing, artifacts
from tests.support.command import Compiled, moiety, serving

READER = Reader(
    (1, 8, 8), Preprocessing(size=(8, 8), channels=1, mean=(0.0,), std=(1.0,), resize="exact")
)


def picture(path: Path, *, bits: int = 8, seed: int = 1, size: int = 8) -> Path:
    """Grey noise that uses `bits` bits."""
    kind = np.uint8 if bits == 8 else np.uint16
    pixels = np.random.default_rng(seed).integers(0, 1 << bits, (size, size), kind)
    pixels[0, 0] = (1 << bits) - 1
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """One image for each verdict, and a note."""
    folder = tmp_path / "cohort"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "b.png", bits=12)
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "notes.txt").write_text("x")
    return folder


def test_a_bad_file_ends_only_itself(cohort: Path) -> None:
    seen: list[int] = []
    intake = admit(collect([cohort]).files, READER, True, seen.append)
    assert [(a.path.name, a.verdict) for a in intake.accepted] == [
        ("a.png", "accepted"),
        ("b.png", "accepted with warnings"),
    ]
    ((refused),) = intake.refused
    assert refused.path == cohort / "c.png"
    assert refused.reason.startswith("damaged picture")
    assert seen == [1, 2, 3]


def test_a_bad_file_ends_everything(cohort: Path) -> None:
    with pytest.raises(BadInput, match=r"c.png: damaged picture"):
        admit(collect([cohort]).files, READER, False)


def test_nothing_accepted(cohort: Path) -> None:
    files = [cohort / "c.png"] * 2
    with pytest.raises(
        BadInput, match=r"none of 2 images is accepted; the first, .*c.png: damaged"
    ):
        admit(files, READER, True)


@pytest.mark.parametrize("listed", [False, True])
def test_folders_and_lists_keep_going(cohort: Path, listed: bool) -> None:
    if listed:
        (cohort / "l.csv").write_text("file\na.png\nc.png\n")
    given = [cohort / "l.csv" if listed else cohort]
    assert len(Given(given).admitted(READER).refused) == 1
    with pytest.raises(BadInput, match="damaged"):
        Given(given, keep_going=False).admitted(READER)


def test_named_files_do_not(cohort: Path) -> None:
    named = [cohort / "a.png", cohort / "c.png"]
    with pytest.raises(BadInput, match="damaged"):
        Given(named).admitted(READER)
    assert len(Given(named, keep_going=True).admitted(READER).accepted) == 1


def test_what_is_said(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    intake = Given([cohort]).admitted(READER)
    assert [each.path.name for each in intake.skipped] == ["notes.txt"]
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"warning: {cohort}/b.png: low-peak: the brightest pixel is 4095 of")
    assert said[1].startswith(f"refused: {cohort}/c.png: damaged picture")
    assert said[2].startswith(f"1 skipped: {cohort}/notes.txt (not a type read here")
    assert said[3] == "3 images: 1 accepted, 1 accepted with warnings, 1 refused"


def test_nothing_is_said_of_good_images(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Given([cohort / "a.png"]).admitted(READER)
    assert capsys.readouterr().err == ""


def test_a_note_is_recorded_and_casts_no_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identity = Identity(file_sha256="", pixel_sha256="")
    noted = Accepted(tmp_path, identity, (Warned("lossy-compression", "at some time", note=True),))
    doubted = Accepted(tmp_path, identity, (*noted.warnings, Warned("constant", "nothing there")))
    assert (noted.verdict, doubted.verdict) == ("accepted", "accepted with warnings")
    say(Intake(accepted=[noted, doubted]))
    assert capsys.readouterr().err.splitlines() == [
        f"warning: {tmp_path}: constant: nothing there",
        "2 images: 1 accepted, 1 accepted with warnings, 0 refused",
    ]


def test_the_stated_depth_is_read_by(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(READER.shape, READER.preprocessing, bit_depth=12)
    Given([cohort / "b.png"]).admitted(reader)
    assert capsys.readouterr().err == ""


def test_an_image_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its SOP Instance UID; the same UID with other pixels is no image that can be used."""
    files = [picture(tmp_path / f"{n}.png", seed=seed) for n, seed in enumerate((1, 1, 2))]

    def with_uid(path: Path, reader: Reader) -> Taken:
        taken = load(path, reader)
        return replace(
            taken, identity=msgspec.structs.replace(taken.identity, sop_instance_uid="1.2")
        )

    monkeypatch.setattr(admission, "load", with_uid)
    intake = admit(files, READER, True)
    assert intake.files == files[:1]
    assert [each.path for each in intake.skipped] == files[1:2]
    assert [each.path for each in intake.refused] == files[2:]
    assert not intake.skipped[0].why.startswith(str(tmp_path))


def test_every_warning_is_documented() -> None:
    """Codes are for programs that read results: docs/intake.md or docs/dicom.md lists them."""
    root = Path(__file__).resolve().parents[2]
    pages = "".join(page.read_text() for page in (root / "docs").glob("*.md"))
    code = re.compile(r"Warned\(\s*\"([a-z-]+)\"")
    found = {
        name
        for file in (root / "runtime" / "intake").rglob("*.py")
        for name in code.findall(file.read_text())
    }
    assert len(found) >= 6
    assert not {name for name in found if f"| `{name}` " not in pages}


# --- the commands ---------------------------------------------------------------------------------


def test_infer_a_folder_with_bad_files(compiled: Compiled, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("0.png", "1.png"):
        (folder / name).write_bytes((compiled.pictures / name).read_bytes())
    picture(folder / "2.png", bits=12, size=16)
    (folder / "3.png").write_text("no picture")
    (folder / "4.txt").write_text("a note")
    os.mkfifo(folder / "5.png")
    out = tmp_path / "r.json"
    with serving(compiled.folder) as server:
        done = server.infer(compiled.public, folder, "--bit-depth", 12, "-o", out).check()
        named = server.infer(compiled.public, folder / "3.png", "-o", tmp_path / "no.json")
        stopped = server.infer(
            compiled.public, folder, "--stop-on-refusal", "-o", tmp_path / "no.json"
        )
        assert "1 clients" in server.end().check().stderr
    assert [Path(each["file"]).name for each in json.loads(out.read_text())["images"]] == [
        "0.png",
        "1.png",
        "2.png",
    ]
    assert "4 images: 3 accepted, 0 accepted with warnings, 1 refused" in done.stderr
    assert "3.png: not a picture" in done.stderr
    assert "2 skipped: " in done.stderr
    assert "5.png (a FIFO)" in done.stderr
    for refused in (named, stopped):
        refused.refused(BadInput.exit_code, "3.png: not a picture or tensor")
    assert not (tmp_path / "no.json").exists()


def test_simulate_says_what_overflows(compiled: Compiled, tmp_path: Path) -> None:
    """Images far brighter than those calibrated on: the Program's input range ends before."""
    narrow = tmp_path / "narrow"
    narrow.mkdir()
    for index in range(2):
        pixels = np.random.default_rng(index).integers(112, 120, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(narrow / f"{index}.png")
    out = tmp_path / "out"
    widths = ("--activation-bits", 12, "--weight-bits", 12, "--margin-bits", 1)
    moiety("compile", compiled.model, "--calibration", narrow, "-o", out, *widths).check()
    done = moiety("simulate", out, compiled.pictures)
    done.refused(BadPlan.exit_code, "values overflowed", "--margin-bits", "--calibration")
    assert "values left the" in done.stdout
    assert "saturated" in done.stderr


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda folder: picture(folder / "a.png", size=16), "one-image"),
        (lambda folder: [_flat(folder / f"{n}.png", 40 * n) for n in range(3)], "no-variation"),
    ],
    ids=["one image", "flat images"],
)
def test_calibration_without_variation(
    compiled: Compiled, tmp_path: Path, make: object, code: str
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    assert callable(make)
    make(folder)
    widths = ("--activation-bits", 12, "--weight-bits", 12, "--bit-depth", 12)
    given = (compiled.model, "--calibration", folder, "-o", tmp_path / "out")
    done = moiety("compile", *given, *widths).check()
    assert f"warning: calibration: {code}: " in done.stderr
    preprocessing = artifacts.load_program(tmp_path / "out").preprocessing
    assert preprocessing is not None
    assert preprocessing.bit_depth == 12


def _flat(path: Path, grey: int) -> Path:
    Image.new("L", (16, 16), grey).save(path)
    return path
