"""What a study reads: lists of images, labels and scores, its journal, results that were kept."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from moiety.compiler.sweep.journal import Journal as SweepJournal
from moiety.compiler.sweep.rows import PlanRow, read_plans, write_plans
from moiety.models.processes import read_results
from moiety.runtime.intake.collect import collect
from moiety.runtime.study.cohort import CohortList, Columns, read_cohort
from moiety.runtime.study.journal import NAME, START, Head, Image, Journal, Part
from moiety.runtime.study.reference import read_reference
from tests.fuzz.mutation import of_bytes, of_json, of_lines, of_text
from tests.fuzz.target import Target, laid, scratch
from tests.fuzz.targets.mixed import behind_it, by_first_byte
from tests.fuzz.targets.pictures import png
from tests.support.results import an_image, some_results

LABELS = ("Effusion", "Edema", "No Finding")

# --- lists ----------------------------------------------------------------------------------------

COHORT = b"""file,id,site,patient,Effusion,Edema
a.png,1,north,p1,1,0
b.png,2,south,p2,,-1
"""
SCORES = b"""id;logit_Effusion;Edema\r\n1;0.31;-2.4\r\n2;"1";2\r\n"""
IMAGES = b"""file,age,clinical\na.png,63,"1,2"\nb.png,7,3 4\n"""


@cache
def _images() -> Path:
    """A folder with the images that lists name."""
    for name in ("a.png", "b.png"):
        laid(f"lists/{name}", png())
    return scratch() / "lists"


def run_cohort(data: bytes) -> None:
    _cohort(data)


def _cohort(data: bytes) -> CohortList:
    _images()
    columns = Columns(uncertain="unknown")
    return read_cohort(laid("lists/cohort.csv", data), LABELS, columns, None, lambda uids: [])


def run_scores(data: bytes) -> None:
    cohort = _cohort(COHORT)
    read_reference(laid("lists/scores.csv", data), cohort, {}, "logits")


def run_images(data: bytes) -> None:
    _images()
    for rows in collect([laid("lists/images.csv", data)]).rows.values():
        for row in rows:
            row.check_columns(["age", "clinical"])
            row.word("age", 1)
            row.word("clinical", 2)


def list_seeds() -> Iterator[bytes]:
    yield b"\0" + COHORT
    yield b"\0" + COHORT.replace(b",", b";").decode().encode("utf-16")
    yield b"\1" + SCORES
    yield b"\2" + IMAGES


LISTS = Target(
    "lists",
    by_first_byte(run_cohort, run_scores, run_images),
    list_seeds,
    behind_it(of_text),
    longest=1 << 12,
)

# --- the journal of a study -----------------------------------------------------------------------

HEAD = Head(
    program="p" * 64,
    bit_depth=None,
    cohort="c" * 32,
    started="2026-11-26T00:00:00.000Z",
    releases={"moiety": "0.1.0"},
    machine="a machine",
)
PART = Part(time="2026-11-26T00:00:01.000Z", cohort="d" * 64, images=3, sessions=2, batch=1)


def run_journal(data: bytes) -> None:
    folder = laid(f"study/{NAME}", data).parent
    Journal.look(folder)
    journal = Journal.open(folder, HEAD, lambda text: None)
    journal.add(PART)
    journal.forget_shares()
    journal.close()


def journal_seeds() -> Iterator[bytes]:
    folder = scratch() / "begun"
    folder.mkdir(exist_ok=True)
    journal = Journal.open(folder, HEAD, lambda text: None)
    journal.add(PART)
    for number in range(2):
        result = an_image(f"image{number}.png", warned=bool(number))
        journal.add(Image(key=str(number), elapsed=1.0, worker="session 1", result=result))
    journal.close()
    yield (folder / NAME).read_bytes()
    yield (folder / NAME).read_bytes()[:-9]


def of_journal(data: bytes, rng: random.Random) -> bytes:
    """Records changed, their checksums mostly right."""

    def change(line: bytes, rng: random.Random) -> bytes:
        checksum, _, payload = line.partition(b" ")
        return checksum + b" " + rng.choice((of_json, of_json, of_bytes))(payload, rng)

    made = of_lines(data, rng, change)
    return _summed(made) if rng.randrange(8) else made


def _summed(data: bytes) -> bytes:
    *lines, torn = data.split(b"\n")
    before, made = START, b""
    for line in lines:
        payload = line.partition(b" ")[2]
        before = hashlib.sha256(before.encode() + payload).hexdigest()[: len(START)]
        made += before.encode() + b" " + payload + b"\n"
    return made + torn


JOURNAL = Target("journal", run_journal, journal_seeds, of_journal)

# --- results that are read back -------------------------------------------------------------------


def run_results(data: bytes) -> None:
    read_results(laid("results.json", data))


def run_plans(data: bytes) -> None:
    read_plans(laid("plans.csv", data))


def run_rows(data: bytes) -> None:
    SweepJournal.open(laid("sweep.jsonl", data))


def result_seeds() -> Iterator[bytes]:
    image = an_image("image.png", warned=True)
    yield b"\0" + msgspec.json.encode(some_results(image))
    rows = [PlanRow(key="k" * 16, rounding="exact", chosen=True, activation_bits=12.5)]
    write_plans(rows, scratch() / "written.csv")
    yield b"\1" + (scratch() / "written.csv").read_bytes()
    yield b"\2" + b"".join(msgspec.json.encode(row) + b"\n" for row in rows * 2)


def of_results(data: bytes, rng: random.Random) -> bytes:
    kind = data[:1]
    if kind == b"\1":
        return kind + of_text(data[1:], rng)
    if kind == b"\2":
        return kind + of_lines(data[1:], rng, of_json)
    return kind + of_json(data[1:], rng)


RESULTS = Target(
    "results", by_first_byte(run_results, run_plans, run_rows), result_seeds, of_results
)
