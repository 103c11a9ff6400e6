"""Real images of all sites through vendor and hospital, two processes: is every result the
cleartext executor's, bit for bit?

    python -m benchmarks.sites --images 8
    python -m benchmarks.sites --compiled kept/ --images 8 --batch 4 --json rows.json

Takes images of the data folder's test split, in turns one of each site (column `site` of its
labels.csv). With exact rounding every logit of every image must be equal to the executor's, with
stochastic rounding lie within its distribution; bytes must be the declared ones. A row per image.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.support import command_line, harness, one_image, oracle
from benchmarks.support.command_line import positive
from benchmarks.support.corpus import images_of_sites
from benchmarks.support.harness import Row
from benchmarks.support.two_commands import TwoCommands
from moiety.models.xrays import HOW_TO_GIVE_DATA, data_folder
from moiety.protocols.errors import BadInput
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.program.artifacts import load_vendor
from moiety.runtime.results.record import Results


def parser() -> argparse.ArgumentParser:
    shared = ("--model", "--rounding", "--simulations", "--seed", "--json", "--no-pin")
    p = command_line.parser("sites", __doc__, *shared)
    one_image.add_plan(p)
    one_image.add_generator(p)
    p.add_argument("--images", type=positive, default=8, metavar="N", help="default 8")
    p.add_argument(
        "--data", type=Path, metavar="DIR", help="folder with labels.csv (default: MOIETY_DATA)"
    )
    p.add_argument("--batch", type=positive, default=1, metavar="B", help="images per run")
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    harness.one_thread()
    data = options.data or data_folder()
    if data is None:
        raise BadInput(f"no real images: {HOW_TO_GIVE_DATA}, or give --data DIR")
    sites = images_of_sites(data, "test", options.images)
    with tempfile.TemporaryDirectory(prefix="moiety-sites-") as scratch:
        work = Path(scratch)
        folder = options.compiled or work / "compiled"
        one_image.compiled(folder, options, work)
        commands = TwoCommands(work, not options.no_pin)
        with commands.serving(folder, clients=1, batch=options.batch) as vendor:
            results, _ = commands.infer(
                folder, list(sites), vendor.address, options.ot, options.batch
            )
        differences = verified(folder, results, options)
    common: Row = {
        "benchmark": "sites",
        **harness.environment(),
        "model": options.model.name,
        "program": results.program,
        "rounding": results.rounding,
        "silent_from": results.silent_from,
        "batch": options.batch,
    }
    rows: list[Row] = [
        common
        | {
            "image": image.file,
            "site": site,
            "logits": sum(len(each.values) for each in image.revealed),
            "max_diff_cleartext": difference,
            "total_s": image.seconds,
        }
        for image, site, difference in zip(results.images, sites.values(), differences, strict=True)
    ]
    report(rows)
    harness.write_rows(rows, options.json)
    return rows


def verified(folder: Path, results: Results, options: argparse.Namespace) -> list[float]:
    """By image, the largest difference of a logit from the executor's. Raises
    `VerificationFailed`.
    """
    program, weights = load_vendor(folder)
    expected = []
    for number, image in enumerate(results.images):
        harness.say(f"in the clear: {number + 1} of {len(results.images)}")
        tensor = load(Path(image.file), Reader.of(program)).tensor
        expected.append(
            oracle.simulate(program, weights, tensor, options.simulations, options.seed)
        )
    return oracle.verify(program, expected, results)


def report(rows: Sequence[Row]) -> None:
    """A table in Markdown, to standard error."""
    harness.say("| image | site | largest difference from the executor | total, s |")
    harness.say("|---|---|--:|--:|")
    for row in rows:
        harness.say(
            f"| {Path(row['image']).name} | {row['site']} | {row['max_diff_cleartext']:.3g} | "
            f"{row['total_s']:.2f} |"
        )
    equal = sum(row["max_diff_cleartext"] == 0 for row in rows)
    harness.say(
        f"{rows[0]['rounding']}: {equal} of {len(rows)} images of "
        f"{len({row['site'] for row in rows})} sites equal to the cleartext executor bit for bit"
    )


if __name__ == "__main__":
    command_line.run(main)
