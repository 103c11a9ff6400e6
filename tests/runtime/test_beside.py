"""What is given beside an image for a model's further inputs: on the command line, in CSV lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from moiety.protocols.errors import BadInput
from moiety.runtime import program as ir
from moiety.runtime.cli.verdicts import Given
from moiety.runtime.intake.beside import Row
from moiety.runtime.intake.duplicates import Duplicates
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.picture import Identity
from moiety.runtime.intake.verdicts import Taken
from tests.support.programs import clinical_program

PLAIN = ir.Preprocessing(size=(4, 4), channels=1, mean=(0.5,), std=(0.25,))
PROGRAM = clinical_program(preprocessing=PLAIN)
VECTOR = "age, sex"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def taken(paths: Sequence[Path], *beside: str, program: ir.Program = PROGRAM) -> list[Taken]:
    given = Given(paths, beside=beside)
    found = given.collected()
    reader = Reader.of(program, None, found.rows)
    return [load(path, reader) for path in given.admitted(reader, found).files]


def listed(folder: Path, text: str) -> Path:
    (folder / "cohort.csv").write_text(text)
    return folder / "cohort.csv"


def values(case: ir.Case) -> list[float]:
    assert isinstance(case, dict)
    assert list(case) == ["x-ray", VECTOR]
    return list(case[VECTOR])


@pytest.mark.parametrize("text", ["63.5,1", " 63.5 ,  1 ", "63.5 1", "6.35e1, 1"])
def test_numbers_of_a_single_image(picture: Path, text: str) -> None:
    (found,) = taken([picture], f"{VECTOR}={text}")
    assert values(found.case) == [63.5, 1]
    assert found.verdict == "accepted"


@pytest.mark.parametrize(
    "text",
    [
        'file,"age, sex",note\nx.png,"63.5, 1",first\n',
        '"age, sex[1]",FILE,"age, sex[0]"\n1,x.png,63.5\n',
        'file,"age, sex"\nx.png,v.npy\n',
    ],
)
def test_a_list_has_columns_of_their_names(picture: Path, text: str) -> None:
    np.save(picture.parent / "v.npy", np.array([63.5, 1], np.float32))
    (found,) = taken([listed(picture.parent, text)])
    assert values(found.case) == [63.5, 1]


def test_a_model_of_one_input_ignores_other_columns(picture: Path) -> None:
    cohort = listed(picture.parent, "file,age,age\nx.png,,63\n")
    single = replace(Reader.of(PROGRAM), others=())
    found = Given([cohort]).collected()
    assert isinstance(load(found.files[0], replace(single, rows=found.rows)).case, np.ndarray)


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ((), r"no value for the input 'age, sex' of shape \(2,\).* --input NAME=VALUE"),
        ((f"{VECTOR}=63",), "takes 2 numbers, not 1"),
        ((f"{VECTOR}=63,nan",), "NaN or infinite"),
        ((f"{VECTOR}=63,1e999",), "NaN or infinite"),
        ((f"{VECTOR}=6300,1",), "values from 1 to 6300, outside the model's input range of -128"),
        ((f"{VECTOR}=",), "--input: no value for 'age, sex'"),
        ((f"{VECTOR}=old,1",), r"'old,1', neither numbers nor a file \(does not exist\)"),
        ((f"{VECTOR}=.",), r"neither numbers nor a file \(a folder\)"),
        ((f"{VECTOR}[0]=63",), r"age, sex\[0\]; there must be age, sex\[0\] to age, sex\[1\]"),
        ((f"{VECTOR}[0]=63", f"{VECTOR}[1]=1,0"), r"age, sex\[1\] is not one number"),
        ((f"{VECTOR}=63,1", f"{VECTOR}=62,1"), "'age, sex' is there twice"),
        ((f"{VECTOR}=63,1", f"{VECTOR}[0]=63"), "one or the other"),
        ((f"{VECTOR}=63,1", "weight=70"), "no input 'weight' beside the image, only 'age, sex'"),
        (
            (f"{VECTOR}=63,1", "x-ray=other.png"),
            "no input 'x-ray' beside the image, only 'age, sex'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(picture: Path, beside: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        taken([picture], *beside)
    assert str(refused.value).startswith(f"{picture}: ")


def test_a_model_of_an_image_alone_takes_no_values(picture: Path) -> None:
    found = Given([picture], beside=["age=63"]).collected()
    reader = replace(Reader.of(PROGRAM), others=(), rows=found.rows)
    with pytest.raises(BadInput, match=r"--input: the model has no input 'age' beside the image"):
        load(picture, reader)


def test_one_image_alone_on_the_command_line(picture: Path) -> None:
    with pytest.raises(BadInput, match=r"--input is for a single image, and there are 2: .* CSV"):
        taken([picture, picture], f"{VECTOR}=63,1")


def test_a_row_without_its_value_refuses_its_image_alone(
    picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (picture.parent / "y.png").write_bytes(picture.read_bytes())
    cohort = listed(picture.parent, 'file,"age, sex"\nx.png,\ny.png,"50,0"\n')
    (found,) = taken([cohort])
    assert found.path.name == "y.png"
    said = capsys.readouterr().err
    assert f"refused: {picture}: {cohort}, line 2: no value for 'age, sex'" in said


def test_a_file_that_is_listed_twice_must_say_the_same(picture: Path) -> None:
    cohort = listed(picture.parent, 'file,"age, sex"\nx.png,"50,0"\nx.png,"50.0 0"\n')
    assert len(taken([cohort])) == 2
    cohort = listed(picture.parent, 'file,"age, sex"\nx.png,"50,0"\nx.png,"51,0"\n')
    with pytest.raises(BadInput, match=r"line 2 and .*line 3 do not say the same"):
        taken([cohort])


def two_pictures() -> ir.Program:
    """Read, not run: its further steps would not take it."""
    first, _, *rest = PROGRAM.steps
    lateral = msgspec.structs.replace(first, name="lateral")
    return msgspec.structs.replace(PROGRAM, steps=(first, lateral, *rest), pictures=("lateral",))


def test_a_second_picture_is_preprocessed_as_the_first(picture: Path) -> None:
    lateral = picture.parent / "lateral.png"
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(lateral)
    (found,) = taken([picture], f"lateral={lateral}", program=two_pictures())
    assert isinstance(found.case, dict)
    np.testing.assert_array_equal(found.case["lateral"], np.full((1, 4, 4), 2, np.float32))
    assert [w.code for w in found.warnings] == ["constant"]
    assert found.warnings[0].text.startswith("input 'lateral': ")
    lateral.write_bytes(b"GIF89a")
    with pytest.raises(BadInput, match=rf"{picture}: input 'lateral': {lateral}: is GIF"):
        taken([picture], f"lateral={lateral}", program=two_pictures())


def test_pictures_are_refused_where_a_tensor_is_wanted(picture: Path) -> None:
    with pytest.raises(BadInput, match=r"no preprocessing for pictures.* of shape \(2,\)"):
        taken([picture], f"{VECTOR}={picture}")


def test_what_is_beside_it_is_part_of_an_images_identity(picture: Path) -> None:
    one, other, same = (
        taken([picture], f"{VECTOR}={text}")[0].identity for text in ("63,1", "62,1", "63 1.0")
    )
    assert one == same
    assert one.inputs_sha256 is not None
    assert msgspec.structs.replace(one, inputs_sha256=other.inputs_sha256) == other != one


def test_an_image_that_comes_again_with_other_values_is_refused() -> None:
    seen = Duplicates()
    identity = Identity(
        file_sha256="1", pixel_sha256="p", sop_instance_uid="1.2", inputs_sha256="a"
    )
    assert seen.check(Path("a"), identity) is None
    other = msgspec.structs.replace(identity, file_sha256="2", inputs_sha256="b")
    with pytest.raises(BadInput, match="b: is the image a, with other values beside it"):
        seen.check(Path("b"), other)


def test_a_row_without_the_input_says_nothing() -> None:
    row = Row.of("list", Path(), [("file", "a.png"), ("ages", "1")])
    assert row.word("age", math.prod((2, 3))) is None
