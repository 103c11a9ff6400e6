"""The results section of the README, from rows that the other benchmarks wrote.

    python -m benchmarks.results rows/*.json             print it
    python -m benchmarks.results rows/*.json --write     put it into the README

Takes rows of `benchmarks.inference` (both roundings) and `benchmarks.protocols`, in any number of
files. The peers' figures are constants here: measured by this project, not published ones, on
another machine than the rows may be from, which the section says.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.support import command_line
from benchmarks.support.documents import Section, paragraph
from benchmarks.support.harness import ROOT, Row
from moiety.protocols.errors import BadInput

DOCUMENT = ROOT / "README.md"
SECTION = Section("results")

PEERS_MACHINE = (
    "two cores of the Zen 5 class with AVX-512, loopback, one thread per party, built with -O3 "
    "-march=native"
)
PEERS = (
    ("Cheetah, 41 bits, approximate ReLU and truncation", "120.4", "2.47", "2618", "2.3 / 1.1"),
    ("CrypTFlow2 (SCI_HE), 32-bit prime field, faithful", "486", "33.8", "9388", "5.7 / 3.0"),
    ("SPU 0.9.5 with its Cheetah protocol, 64 bits", "652.7", "3.81", "", "3.8 / 6.5"),
)
# Case -> name, then milliseconds and MB of Cheetah (41 bits, exact) and of SCI_HE (41 bits), where
# they were measured.
MICRO: dict[str, tuple[str, str, str]] = {
    "relu 13 to 24 bits": ("ReLU, 2^20 values, 13 bits (the default plan's)", "", ""),
    "relu 16 to 28 bits": ("ReLU, 2^20 values, 16 bits", "", ""),
    "relu 41 to 41 bits": ("ReLU, 2^20 values, 41 bits", "8134; 72", "10076; 1136"),
    "truncate exact 28 bits by 12": ("exact truncation by 12, 2^20 values, 28 bits", "", ""),
    "truncate exact 41 bits by 12": (
        "exact truncation by 12, 2^20 values, 41 bits",
        "",
        "14775; 1641",
    ),
    "max-pool 3x3/2 16 bits": ("max-pool 3x3/2 on 64x112x112, 16 bits", "", ""),
    "max-pool 3x3/2 41 bits": (
        "max-pool 3x3/2 on 64x112x112, 41 bits",
        "12645; 110",
        "15660; 1755",
    ),
    "conv 1x1 56x56 128->128 guard 1": ("1x1, 56x56, 128 to 128, exact", "512; 14.8", "2651; 33.6"),
    "conv 1x1 56x56 128->128 guard 0": ("1x1, 56x56, 128 to 128, +-1", "", ""),
    "conv 1x1 14x14 512->128 guard 1": ("1x1, 14x14, 512 to 128, exact", "346; 5.9", "717; 6.8"),
    "conv 1x1 14x14 512->128 guard 0": ("1x1, 14x14, 512 to 128, +-1", "", ""),
    "conv 3x3 56x56 128->32 guard 1": ("3x3, 56x56, 128 to 32, exact", "490; 9.7", "6614; 27"),
    "conv 3x3 56x56 128->32 guard 0": ("3x3, 56x56, 128 to 32, +-1", "", ""),
    "conv 3x3 14x14 128->32 guard 1": ("3x3, 14x14, 128 to 32, exact", "56; 1.6", "405; 1.7"),
    "conv 3x3 14x14 128->32 guard 0": ("3x3, 14x14, 128 to 32, +-1", "", ""),
}


INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2"}


def section(rows: Sequence[Row], note: str = "") -> Iterator[str]:
    """Lines of the section. BadInput when there is no row of an inference."""
    inference = [row for row in rows if row.get("benchmark") == "inference"]
    protocols = {row["case"]: row for row in rows if row.get("benchmark") == "protocols"}
    if not inference:
        raise BadInput("no row of benchmarks.inference in these files")
    if note:
        yield f"*{note}*"
        yield ""
    yield from networks(inference)
    if protocols:
        yield from micro(protocols)


def described(row: Row) -> str:
    machine = row["machine"]
    instructions = next(
        (shown for flag, shown in INSTRUCTIONS.items() if flag in machine["instructions"]), "no AVX"
    )
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {instructions}, {row['kernels_backend']} "
        "kernels"
    )


def networks(rows: Sequence[Row]) -> Iterator[str]:
    """Whole inferences of either rounding beside the peers'."""
    yield from paragraph(
        f"One image through `{rows[0]['model']}`, two processes over loopback TCP, one core per "
        f"party: {described(rows[0])}. Verified against the cleartext executor, then timed; "
        "medians. Set-up (base transfers) and preparation, once per connection and once per "
        "server, are apart."
    )
    kinds = {
        rounding: chosen
        for rounding in ("exact", "stochastic")
        if (chosen := [row for row in rows if row["rounding"] == rounding])
    }
    yield (
        "| | total, s | CPU, server / client, s | traffic, GB | flights | peak memory, server / "
        "client, GB |"
    )
    yield "|---|---|---|---|---|---|"
    for rounding, chosen in kinds.items():
        yield network_line(rounding, chosen)
    for name, total, traffic, flights, memory in PEERS:
        yield f"| {name} | {total} | | {traffic} | {flights} | {memory} |"
    yield ""
    yield from paragraph(
        "The peers' rows are our own measurements, not published figures, and from another machine "
        f"unless the first line says so: {PEERS_MACHINE}. Cheetah's speed leans on approximations; "
        "compare it with both of our modes."
    )
    for rounding, chosen in kinds.items():
        yield from paragraph(details(rounding, chosen[-1]))


def details(rounding: str, row: Row) -> str:
    """What the table leaves out of a run."""
    return (
        f"{rounding.capitalize()}: preparation {row['prepare_s']:.1f} s, set-up "
        f"{row['setup_s']:.2f} s; a logit differs from the executor by at most "
        f"{row['max_diff_cleartext']:.1g}, from float32 by {row['max_diff_float']:.3f}; "
        f"{row['overflows']} overflows."
    )


def network_line(rounding: str, rows: Sequence[Row]) -> str:
    total, server, client, traffic = (
        median([row[name] for row in rows])
        for name in ("total_s", "server_cpu_s", "client_cpu_s", "bytes_total")
    )
    memory = (
        median([row[f"peak_rss_{party}"] for row in rows]) / 1e9 for party in ("server", "client")
    )
    return (
        f"| **Moiety, {rounding}** | **{total:.1f}** | {server:.1f} / {client:.1f} | "
        f"**{traffic / 1e9:.2f}** | {rows[0]['rounds']} | "
        f"{' / '.join(f'{value:.2f}' for value in memory)} |"
    )


def micro(rows: dict[str, Row]) -> Iterator[str]:
    first = next(iter(rows.values()))
    yield from paragraph(
        f"Single protocols (milliseconds; megabytes both ways), {first['ot']} correlations: "
        f"{described(first)}."
    )
    yield "| | Moiety | Cheetah, 41 bits | CrypTFlow2 SCI_HE, 41 bits |"
    yield "|---|---|---|---|"
    for case, (name, cheetah, sci) in MICRO.items():
        if case in rows:
            row = rows[case]
            yield (
                f"| {name} | {1e3 * row['seconds']:.0f}; {row['bytes_total'] / 1e6:.1f} | "
                f"{cheetah} | {sci} |"
            )
    yield ""
    rates = [
        f"{row['work_per_second'] / 1e6:.0f} million of {row['arguments'][1]} bits"
        for row in rows.values()
        if row["unit"] == "correlations"
    ]
    if rates:
        yield from paragraph(f"Correlations per second, generated and sent: {', '.join(rates)}.")


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("results", __doc__)
    p.add_argument(
        "files", type=Path, nargs="+", metavar="ROWS.json", help="written by the other benchmarks"
    )
    p.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="what a reader must know about these measurements",
    )
    p.add_argument("--write", action="store_true", help="put the section into the document")
    p.add_argument(
        "--document", type=Path, default=DOCUMENT, help="the document (default README.md)"
    )
    return p


def read_rows(file: Path) -> list[Row]:
    """Raises `BadInput` for a file that no benchmark wrote."""
    try:
        return list(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read as rows ({error})") from error


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    rows = [row for file in options.files for row in read_rows(file)]
    lines = list(section(rows, options.note))
    if options.write:
        document = options.document
        document.write_text(SECTION.replaced(document.read_text(), lines))
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    command_line.run(main)
