"""Which files are meant: folders of all sorts of things, lists, and what must never be opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.intake.collect import Collected, collect, in_short
from moiety.runtime.intake.text import printable
from moiety.runtime.intake.verdicts import Skipped

HAS_RIGHTS = os.geteuid() == 0
"""root reads what it has no right to read."""


def names(found: Collected, folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in found.files]


def why(found: Collected) -> dict[str, str]:
    return {each.path.name: each.why for each in found.skipped}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Everything that a folder of a hospital's may hold."""
    for name in ("b.png", "a.JPG", "c.npy", "d.tiff", "notes.txt", "list.csv", "noend", ".hid.png"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("inner/e.bmp", "inner/deep/f.tif", ".cache/g.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "absent")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    (tmp_path / "inner" / "up").symlink_to(tmp_path, target_is_directory=True)
    return tmp_path


def test_a_folder(folder: Path) -> None:
    found = collect([folder])
    assert names(found, folder) == ["a.JPG", "b.png", "c.npy", "d.tiff"]
    assert found.many
    said = why(found)
    assert said["pipe.png"] == "a FIFO"
    assert said["gone.png"] == "a broken link"
    assert "symbolic links" in said["round.png"]
    assert said["inner"] == "a folder; --recursive reads it"
    assert said["notes.txt"] == "not a type read here"
    assert {*said} == {
        "notes.txt",
        "list.csv",
        "noend",
        "pipe.png",
        "gone.png",
        "round.png",
        "inner",
    }


def test_a_folder_of_folders(folder: Path) -> None:
    """A link back to the top ends the walk there, and nothing is taken twice."""
    found = collect([folder], recursive=True)
    assert names(found, folder) == [
        "a.JPG",
        "b.png",
        "c.npy",
        "d.tiff",
        "inner/deep/f.tif",
        "inner/e.bmp",
    ]
    assert why(found)["up"] == "a folder seen already"


def test_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no image in the folder .*\.png, .*\.npy, .*$"):
        collect([tmp_path])
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(BadInput, match=r"; 1 skipped: .*notes.txt"):
        collect([tmp_path])


def test_files_named_count_as_often_as_named(folder: Path) -> None:
    (folder / "list.csv").write_text("id,file\n1,c.npy\n2,b.png\n")
    found = collect([folder / "list.csv", folder / "b.png"])
    assert names(found, folder) == ["c.npy", "b.png", "b.png"]
    assert found.many
    (folder / "list.csv").write_text("a.JPG\n")
    assert names(collect([folder / "list.csv"]), folder) == ["a.JPG"]
    assert not collect([folder / "b.png", folder / "a.JPG"]).many


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pipe.png", "pipe.png: a FIFO, not an image file"),
        ("gone.png", "gone.png: a broken link, not an image file"),
        ("round.png", "round.png: .*symbolic links.*, not an image file"),
        ("absent.png", "absent.png does not exist"),
        ("notes.txt", "notes.txt: not a type read here: .*DICOM"),
        ("noend", "noend: not a type read here"),
        ("zero\0byte.png", r"zero\\x00byte.png does not exist"),
    ],
)
def test_what_is_named_must_be_an_image(folder: Path, name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        collect([folder / name])


def test_devices_and_sockets_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.png")
        for path, what in ((Path("s.png"), "a socket"), (Path("/dev/zero"), "a device")):
            with pytest.raises(BadInput, match=f"{what}, not an image file"):
                collect([path])


@pytest.mark.skipif(HAS_RIGHTS, reason="root may read everything")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(1))
    (tmp_path / "shut").mkdir(mode=0)
    assert why(collect([tmp_path], recursive=True)) == {"shut": "permission denied"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the list is empty"),
        ("file\n", "a header and no image"),
        ("file\nabsent.png\n", "line 2: 'absent.png' is not an image file .does not exist"),
        ("file\n../\n", r"line 2: '../' is not an image file .a folder"),
        ("file\npipe.png\n", "line 2: 'pipe.png' is not an image file .a FIFO"),
        ("id,file\n7\n", "line 2: no cell"),
        ("\0", "line 1|cannot be read"),
    ],
)
def test_a_list_that_is_wrong(folder: Path, content: str, message: str) -> None:
    (folder / "list.csv").write_text(content)
    with pytest.raises(BadInput, match=message):
        collect([folder / "list.csv"])


def test_skipped_files_are_counted_and_the_first_named() -> None:
    skipped = [Skipped(Path(f"{n}.txt"), "a note") for n in range(8)]
    assert in_short(skipped[:2]) == "2 skipped: 0.txt (a note), 1.txt (a note)"
    assert in_short(skipped).endswith("4.txt (a note), and 3 more")


def test_names_are_shown_so_that_they_print() -> None:
    odd = Path(os.fsdecode(b"caf\xe9\n\x1b[2J.png"))
    assert printable(odd) == "caf\\xe9\\n\\x1b[2J.png"
    assert printable(Path("Röntgen 1.png")) == "Röntgen 1.png"
