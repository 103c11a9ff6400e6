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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import ROOT, Row, median
from moiety.protocols.errors import BadInput

DOCUMENT = ROOT / "README.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

PEERS_MACHINE = "two cores of the Zen 5 class with AVX-512, loopback, one thread per party, built with -O3 -march=native"
PEERS = (
    ("Cheetah, 41 bits, approximate ReLU and truncation", "120.4", "2.47", "2618", "2.3 / 1.1"),
    ("CrypTFlow2 (SCI_HE), 32-bit prime field, faithful", "486", "33.8", "9388", "5.7 / 3.0"),
    ("SPU 0.9.5 with its Cheetah protocol, 64 bits", "652.7", "3.81", "", "3.8 / 6.5"),
)
# Case -> name, then milliseconds and MB of Cheetah (41 bits, exact) and of SCI_HE (41
# bits), where they were measured.
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
    "conv 1x1 56x56 128->128 flooded": ("1x1, 56x56, 128 to 128, exact", "512; 14.8", "2651; 33.6"),
    "conv 1x1 56x56 128->128 uniform": ("1x1, 56x56, 128 to 128, +-1", "", ""),
    "conv 1x1 14x14 512->128 flooded": ("1x1, 14x14, 512 to 128, exact", "346; 5.9", "717; 6.8"),
    "conv 1x1 14x14 512->128 uniform": ("1x1, 14x14, 512 to 128, +-1", "", ""),
    "conv 3x3 56x56 128->32 flooded": ("3x3, 56x56, 128 to 32, exact", "490; 9.7", "6614; 27"),
    "conv 3x3 56x56 128->32 uniform": ("3x3, 56x56, 128 to 32, +-1", "", ""),
    "conv 3x3 14x14 128->32 flooded": ("3x3, 14x14, 128 to 32, exact", "56; 1.6", "405; 1.7"),
    "conv 3x3 14x14 128->32 uniform": ("3x3, 14x14, 128 to 32, +-1", "", ""),
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
    return f"{machine['cpu']}, {machine['cores']} cores, {instructions}, {row['kernels_backend']} kernels"


def networks(rows: Sequence[Row]) -> Iterator[str]:
    first = rows[0]
    yield f"One image through `{first['model']}`, two processes over loopback TCP, one core per party:"
    yield f"{described(first)}."
    yield "Verified against the cleartext executor, then timed; medians. Set-up (base transfers) and preparation, once"
    yield "per connection and once per server, are apart."
    yield ""
    yield "| | total, s | CPU, server / client, s | traffic, GB | flights | peak memory, server / client, GB |"
    yield "|---|---|---|---|---|---|"
    kinds = {
        rounding: [row for row in rows if row["rounding"] == rounding]
        for rounding in ("stochastic", "exact")
    }
    for rounding, chosen in kinds.items():
        if chosen:
            yield network_line(rounding, chosen)
    for name, total, traffic, flights, memory in PEERS:
        yield f"| {name} | {total} | | {traffic} | {flights} | {memory} |"
    yield ""
    yield "The peers' rows are our own measurements, not published figures, and from another machine unless the first"
    yield f"line says so: {PEERS_MACHINE}."
    yield "Cheetah's speed leans on approximations; compare it with both of our modes."
    yield ""
    for rounding, chosen in kinds.items():
        if chosen:
            row = chosen[-1]
            yield (
                f"{rounding.capitalize()}: preparation {row['prepare_s']:.1f} s, set-up {row['setup_s']:.2f} s; a "
                f"logit differs from the executor by at most {row['max_diff_cleartext']:.1g}, from float32 by "
                f"{row['max_diff_float']:.3f}; {row['overflows']} overflows."
            )
    yield ""


def network_line(rounding: str, rows: Sequence[Row]) -> str:
    total, server, client, traffic = (
        median([row[name] for row in rows])
        for name in ("total_s", "server_cpu_s", "client_cpu_s", "bytes_total")
    )
    memory = (
        median([row[f"peak_rss_{party}"] for row in rows]) / 1e9 for party in ("server", "client")
    )
    return (
        f"| **Moiety, {rounding}** | **{total:.1f}** | {server:.1f} / {client:.1f} | **{traffic / 1e9:.2f}** | "
        f"{rows[0]['rounds']} | {' / '.join(f'{value:.2f}' for value in memory)} |"
    )


def micro(rows: dict[str, Row]) -> Iterator[str]:
    first = next(iter(rows.values()))
    yield f"Single protocols (milliseconds; megabytes both ways), {first['ot']} correlations:"
    yield f"{described(first)}."
    yield ""
    yield "| | Moiety | Cheetah, 41 bits | CrypTFlow2 SCI_HE, 41 bits |"
    yield "|---|---|---|---|"
    for case, (name, cheetah, sci) in MICRO.items():
        if case in rows:
            row = rows[case]
            yield f"| {name} | {1e3 * row['seconds']:.0f}; {row['bytes_total'] / 1e6:.1f} | {cheetah} | {sci} |"
    yield ""
    rates = [
        f"{row['work_per_second'] / 1e6:.0f} million of {row['arguments'][1]} bits"
        for row in rows.values()
        if row["unit"] == "correlations"
    ]
    if rates:
        yield f"Correlations per second, generated and sent: {', '.join(rates)}."
        yield ""


def updated(text: str, rows: Sequence[Row], note: str = "") -> str:
    """The document with the section between the two markers."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return "\n".join((head + BEGIN, "", *section(rows, note), END + tail))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.results",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="ROWS.json", help="written by the other benchmarks"
    )
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="what a reader must know about these measurements",
    )
    parser.add_argument("--write", action="store_true", help="put the section into the document")
    parser.add_argument(
        "--document", type=Path, default=DOCUMENT, help="the document (default README.md)"
    )
    options = parser.parse_args(arguments)
    rows = [row for file in options.files for row in json.loads(file.read_text())]
    if options.write:
        options.document.write_text(updated(options.document.read_text(), rows, options.note))
    else:
        print("\n".join(section(rows, options.note)))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, BadInput) as error:
        sys.exit(f"error: {error}")
