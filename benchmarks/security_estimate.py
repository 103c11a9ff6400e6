"""What the parameters in use are worth, computed from formulas that stand here.

    python -m benchmarks.security_estimate                  # the largest that a plan may have
    python -m benchmarks.security_estimate compiled/ --json rows.json   # and these

Lattices of all linear layers (primal and dual attack), the codes of the silent correlations
(decoding, parity checks, the algebraic attack), pads, key streams, noise. Formulas are first held
against figures that public estimators have published (`support/published_estimates.json`): block
sizes must be theirs within two, and what the algebraic attack is over-rated by on the sets of
others is taken off ours. Bits are of operations: the attack that costs least counts. Exit code 1
where one has fewer than 128, or a statistical term fewer than 40. The last line is the summary.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log2, prod, sqrt
from pathlib import Path

from benchmarks.support import command_line
from benchmarks.support import security_codes as codes
from benchmarks.support import security_lattice as lattice
from benchmarks.support import security_terms as terms
from moiety.protocols.linear.parameters import ERROR_VARIANCE, MAX_LOG2_Q
from moiety.protocols.ot.lpn import BITS, NIBBLES, LpnParameters
from moiety.runtime.program.artifacts import load_program
from moiety.runtime.program.linear_layers import linear_specs

PUBLISHED = Path(__file__).parent / "support" / "published_estimates.json"
COMPUTATIONAL, STATISTICAL = 128, 40
TERNARY = sqrt(2 / 3)
RUN = terms.Run(images=1 << 16, linear_layers=1 << 8, pads=1 << 43)
"""A connection that is kept open for 65,536 images of a network of 256 linear layers and 2^27 pads
an image, twice what DenseNet-121 takes."""
KEY_STREAM_BLOCKS = 1 << 43
"""Of one generator in such a run."""


@dataclass(frozen=True)
class Line:
    """One estimate and what it must reach."""

    what: str
    attack: str
    bits: float
    least: int

    @property
    def enough(self) -> bool:
        return self.bits >= self.least


def lattices(pairs: Sequence[tuple[int, float]]) -> Iterator[Line]:
    """Client's secret and server's u alike: both are ternary."""
    for degree, log_q in pairs:
        lwe = lattice.Lwe(degree, log_q, sqrt(ERROR_VARIANCE), TERNARY)
        for name, attack in (("primal", lattice.primal(lwe)), ("dual", lattice.dual(lwe))):
            how = f"{name}, block {attack.block} (core-SVP count: {attack.core_bits:.0f})"
            yield Line(f"RLWE N = {degree}, log2 q = {log_q:.1f}", how, attack.bits, COMPUTATIONAL)


def silent(parameters: LpnParameters, overrated: float) -> Iterator[Line]:
    """The silent generator over one field."""
    lpn = codes.Lpn.of(parameters)
    what = f"LPN over F_{1 << lpn.width} {lpn.outputs, lpn.dimension, lpn.errors}"
    yield Line(what, "information set decoding", codes.decoding_bits(lpn), COMPUTATIONAL)
    yield Line(what, "parity checks", codes.parity_check_bits(lpn), COMPUTATIONAL)
    bits, degree = codes.algebraic_bits(lpn)
    how = f"algebraic, degree {degree}, less {overrated:.1f} for the formula's error"
    yield Line(what, how, bits - overrated, COMPUTATIONAL)
    if lpn.width > 1:
        bits = parameters.projected_bits()
        yield Line(what, "decoding of its binary image", bits, COMPUTATIONAL)


def others() -> Iterator[Line]:
    """Pads, streams and noise."""
    how = f"guesses at {terms.unknown_pads()} pads of a key, 2^{terms.pad_calls_bits():.1f} calls"
    yield Line("pads", how, terms.pad_bits(), COMPUTATIONAL)
    yield Line("pads", "repeated blocks", terms.repeated_block_bits(RUN), STATISTICAL)
    streams = terms.key_stream_bits(KEY_STREAM_BLOCKS)
    yield Line("key streams", "no block twice", streams, STATISTICAL)
    yield Line("linear layers", "noise beyond its bound", terms.noise_bits(RUN), STATISTICAL)


def disagreements(published: dict[str, dict]) -> list[str]:  # type: ignore[type-arg]
    """Where the lattice formulas do not give the block sizes that the public estimator prints."""
    found = []
    for row in published["lattices"]["rows"]:
        names = ("dimension", "log_q", "error", "secret", "samples")
        block = lattice.primal(lattice.Lwe(*(row[name] for name in names))).block
        if abs(block - row["block"]) > 2:
            found.append(f"{row['name']}: block size {block}, published {row['block']}")
    return found


def overrating(published: dict[str, dict]) -> float:  # type: ignore[type-arg]
    """By how many bits the algebraic formula is above the published figure, at most."""
    return max(
        codes.algebraic_bits(codes.Lpn(row["outputs"], row["dimension"], row["errors"]))[0]
        - row["bits"]
        for row in published["codes"]["rows"]
    )


def planned(folders: Sequence[Path]) -> list[tuple[int, float]]:
    """The largest modulus that any plan may have, and the largest that these Programs have, of each
    degree: a smaller one is harder to attack.
    """
    rings = {(degree, float(bits)) for degree, bits in MAX_LOG2_Q.items()}
    for folder in folders:
        largest: dict[int, float] = {}
        for spec in linear_specs(load_program(folder)).values():
            bits = round(log2(prod(spec.rlwe.primes)), 1)
            largest[spec.rlwe.degree] = max(bits, largest.get(spec.rlwe.degree, 0.0))
        rings |= set(largest.items())
    return sorted(rings)


def main() -> None:
    parser = command_line.parser("security_estimate", __doc__, "--json")
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="compiled Programs")
    options = parser.parse_args()
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    wrong = disagreements(published)
    overrated = overrating(published)
    lines = [*lattices(planned(options.folders))]
    for parameters in (BITS, NIBBLES):
        lines += silent(parameters, overrated)
    lines += others()
    for line in lines:
        print(f"{line.bits:7.1f} of {line.least:3d}  {line.what}: {line.attack}")
    if options.json:
        rows = [
            {"what": x.what, "attack": x.attack, "bits": x.bits, "least": x.least} for x in lines
        ]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    wrong += [f"{line.what}, {line.attack}" for line in lines if not line.enough]
    for each in wrong:
        print(f"too low, or not as published: {each}")
    least = min(line.bits for line in lines if line.least == COMPUTATIONAL)
    statistical = min(line.bits for line in lines if line.least == STATISTICAL)
    print(
        f"{len(lines)} estimates: least {least:.1f} bits of operations, "
        f"statistical terms {statistical:.1f} bits"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    command_line.run(main)
