"""Which files are meant: those named, those of folders, those of CSV lists. Nothing is opened but
lists, and of files without a known suffix the first bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from moiety.protocols.errors import BadInput
from moiety.runtime.intake import dicom
from moiety.runtime.intake.beside import Row
from moiety.runtime.intake.contents import SUFFIXES, what_is_in_the_way
from moiety.runtime.intake.text import printable
from moiety.runtime.intake.verdicts import Skipped

LIST = ".csv"
COLUMNS = ("file", "image", "path")
UNKNOWN = "not a type read here"
NAMED = 5
"""So many skipped files are named; the others are counted."""


@dataclass
class Collected:
    """The images, in order, and what was skipped on the way. many: a folder or a list was among
    what was given, so that one bad file need not be the end. rows: what lists say of their files.
    """

    files: list[Path] = field(default_factory=list)
    rows: dict[Path, list[Row]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    many: bool = False


def collect(paths: Iterable[Path], recursive: bool = False) -> Collected:
    """Images named by `paths`: files, folders (their images, sorted by name, with `recursive` those
    of their folders too) and CSV lists.

    A CSV list has a column `file` or `image` or `path` (else its first column is taken), relative
    to the list's own folder. In a folder hidden files are ignored, and what is no image is skipped;
    what is named must be one. Raises `BadInput` otherwise.
    """
    found = Collected()
    for path in paths:
        if path.is_dir():
            found.many = True
            _add_folder(path, recursive, found)
        elif path.suffix.lower() == LIST and path.is_file():
            found.many = True
            _add_list(path, found)
        else:
            found.files.append(_named(path))
    if not found.files:
        raise BadInput("no image given")
    return found


def in_short(skipped: list[Skipped]) -> str:
    """`3 skipped: notes.txt (...), ...`"""
    named = ", ".join(f"{printable(each.path)} ({each.why})" for each in skipped[:NAMED])
    more = f", and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return f"{len(skipped)} skipped: {named}{more}"


def _named(path: Path) -> Path:
    if obstacle := what_is_in_the_way(path):
        raise BadInput(
            f"{printable(path)} does not exist"
            if obstacle == "does not exist"
            else f"{printable(path)}: {obstacle}, not an image file"
        )
    if why := _no_image(path):
        known = f": {', '.join(SUFFIXES)}, or DICOM" if why == UNKNOWN else ""
        raise BadInput(f"{printable(path)}: {why}{known}")
    return path


def _no_image(path: Path) -> str | None:
    """Why a regular file is not to be read as an image; None if it is."""
    if dicom.is_dicom(path):
        kind = dicom.not_an_image(path)
        return kind and f"{kind}, not an image"
    if path.suffix.lower() in SUFFIXES:
        return None
    return UNKNOWN


def _add_folder(folder: Path, recursive: bool, found: Collected) -> None:
    files, skipped = len(found.files), len(found.skipped)
    _walk(folder, recursive, found, set())
    if len(found.files) == files:
        what = found.skipped[skipped:]
        raise BadInput(
            f"no image in the folder {printable(folder)}: expected files ending in "
            f"{', '.join(SUFFIXES)}" + (f"; {in_short(what)}" if what else "")
        )


def _walk(folder: Path, recursive: bool, found: Collected, seen: set[tuple[int, int]]) -> None:
    """Adds what is in a folder. seen: the folders on the way, for links can go round in circles."""
    try:
        status = folder.stat()
        inside = _visible(folder)
    except OSError as error:
        found.skipped.append(Skipped(folder, (error.strerror or str(error)).lower()))
        return
    if (status.st_dev, status.st_ino) in seen:
        found.skipped.append(Skipped(folder, "a folder seen already"))
        return
    seen.add((status.st_dev, status.st_ino))
    for path in inside:
        obstacle = what_is_in_the_way(path)
        if obstacle == "a folder" and recursive:
            _walk(path, recursive, found, seen)
        elif obstacle == "a folder":
            found.skipped.append(Skipped(path, "a folder; --recursive reads it"))
        elif why := obstacle or _no_image(path):
            found.skipped.append(Skipped(path, why))
        else:
            found.files.append(path)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _add_list(path: Path, found: Collected) -> None:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(
            f"{printable(path)}: cannot be read as a CSV list of images ({error})"
        ) from error
    if not rows:
        raise BadInput(f"{printable(path)}: the list is empty")
    entries = list(_entries(path, rows))
    if not entries:
        raise BadInput(f"{printable(path)}: the list has a header and no image")
    for image, row in entries:
        found.files.append(image)
        if row.cells:
            found.rows.setdefault(image, []).append(row)


def _entries(path: Path, rows: list[list[str]]) -> Iterator[tuple[Path, Row]]:
    """The files of a list's rows, and what else stands there under a header. Raises `BadInput` with
    the line of one that is no image.
    """
    header = [cell.strip().lower() for cell in rows[0]]
    column = next((header.index(name) for name in COLUMNS if name in header), None)
    at, first = (0, 0) if column is None else (column, 1)
    for number, row in enumerate(rows[first:], start=1 + first):
        place = f"{printable(path)}, line {number}"
        if len(row) <= at:
            raise BadInput(f"{place}: no cell in column {at + 1}")
        entry = row[at].strip()
        file = path.parent / entry
        if why := what_is_in_the_way(file) or _no_image(file):
            raise BadInput(
                f"{place}: '{entry}' is not an image file ({why}; names "
                "are relative to the list's folder)"
            )
        cells = list(zip(rows[0], row, strict=False)) if first else []
        yield file, Row.of(place, path.parent, [*cells[:at], *cells[at + 1 :]])
