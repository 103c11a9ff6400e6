"""What a report is made of: words for numbers, tables, colours, pictures."""

from __future__ import annotations

import matplotlib
import pytest

from moiety.runtime.study.report.forests import Line, Scale, forest, shortened
from moiety.runtime.study.report.palette import COLOURS, TEXT
from moiety.runtime.study.report.table import Column, Row, Table
from moiety.runtime.study.report.words import (
    counted,
    duration,
    fixed,
    listed,
    probability,
    said,
    scaled,
    signed,
    size,
)

AA_TEXT, AA_GRAPHICS = 4.5, 3.0
"""Least contrast of letters, and of what is drawn (WCAG 2.2, 1.4.3 and 1.4.11)."""


def luminance(colour: str) -> float:
    """Relative, as WCAG defines it."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_letters_and_marks_stand_out(scheme: int) -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    colours = {name: pair[scheme] for name, pair in COLOURS.items()}
    for name in TEXT:
        for ground in ("paper", "panel"):
            assert contrast(colours[name], colours[ground]) >= AA_TEXT, (name, ground)
    assert contrast(colours["secure"], colours["margin"]) >= AA_GRAPHICS


def test_a_figure_tells_its_colours_apart_by_their_names() -> None:
    drawn = [pair[0] for pair in COLOURS.values()]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize(
    ("said_as", "words"),
    [
        (fixed(4)(0.90256), "0.9026"),
        (signed(5)(-0.000187), "−0.00019"),
        (signed(5)(0.00048), "+0.00048"),
        (signed(5)(-0.000001), "0.00000"),
        (fixed(2)(-0.001), "0.00"),
        (scaled([0.00412, 1.2])[0](0.0112), "0.01120"),
        (scaled([10441.0])[1](1027.2), "+1027"),
        (scaled([8.5e-13])[1](-5.2e-14), "−5.20e−14"),
        (scaled([1e98])[1](1.5e97), "+1.50e+97"),
        (scaled([0.0])[1](0.0), "0.00000"),
        (probability(0.0000001), "<0.001"),
        (probability(0.0271758), "0.027"),
        (probability(0.9), "0.90"),
        (size(490_000_000), "490 MB"),
        (size(12), "12 B"),
        (duration(2.5921), "2.59 s"),
        (duration(3599), "1 h 0 min"),
        (duration(59.9), "59.9 s"),
        (counted(1, "image"), "1 image"),
        (counted(1149, "image"), "1,149 images"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed(["a"]), "a"),
        (said(fixed(1))(None), "–"),
        (said(fixed(1))((-1.0, 2.0)), "−1.0 to 2.0"),
    ],
)
def test_numbers_are_said_as_people_write_them(said_as: str, words: str) -> None:
    assert said_as == words


def test_a_table_is_one_for_page_and_file() -> None:
    columns = (
        Column("label", "Label"),
        Column("site", "Site"),
        Column("auroc", "AUROC", said(fixed(2))),
        Column("auroc", "95 % CI", said(fixed(2)), interval=True),
    )
    rows = [
        Row(("Oedema", "north", 0.8125, (0.7, 0.9))),
        Row(("Oedema", "south", None, None), "one class only"),
        Row(("=1+1", "north", 1.0, (0.5, 1.0))),
    ]
    table = Table("t", "A table", columns, rows, headers=2)
    assert table.as_csv().decode().splitlines() == [
        "label,site,auroc,auroc_low,auroc_high,reason",
        "Oedema,north,0.8125,0.7,0.9,",
        "Oedema,south,,,,one class only",
        "'=1+1,north,1.0,0.5,1.0,",
    ]
    (name, (_, south)), _ = table.groups()
    assert name == "Oedema"
    assert [(cell.shown, cell.note) for cell in south] == [("south", None), ("–", 1), ("–", None)]
    assert table.notes == ["one class only"]


def test_a_reason_belongs_to_a_dash() -> None:
    """What keeps a label from being compared is no footnote of a table where it has all values."""
    rows = [Row(("Oedema", 0.5), "cannot be compared"), Row(("Mass", None), "one class only")]
    table = Table("t", "A table", (Column("label", "Label"), Column("auroc", "AUROC")), rows)
    assert table.notes == ["one class only"]
    ((_, (_, (_, dash))),) = table.groups()
    assert dash.note == 1
    assert table.as_csv().decode().splitlines()[1:] == ["Oedema,0.5,", "Mass,,one class only"]


def test_a_picture_owes_nothing_to_the_process() -> None:
    """Nor does it change anything there."""
    lines = [Line("$x$"), Line("y" * 100)]
    before = forest("key", "A title", "AUROC", lines, Scale.of(lines))
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "text.usetex": True}):
        assert forest("key", "A title", "AUROC", lines, Scale.of(lines)) == before
        assert matplotlib.rcParams["font.size"] == 30
    assert ">$x$<" in before
    assert "#" not in before.replace("url(#", "").replace('href="#', "")


def test_long_names_are_shortened_where_there_is_no_room() -> None:
    assert shortened("y" * 22) == "y" * 22
    assert shortened("y" * 100) == "y" * 21 + "…"
    assert shortened("胸" * 100) == "胸" * 12 + "…"
    assert shortened("a\nb") == "a\\nb"
