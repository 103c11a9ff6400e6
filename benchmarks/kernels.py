"""Every kernel at a realistic size, its twin beside it, and for most of them how near the core's
limit they come.

    python -m benchmarks.kernels --json kernels.json
    python -m benchmarks.kernels --only leaves encode --elements 65536 --repeats 9

Each kernel is verified first, on a small size: both twins must return and write the same bytes.
Then it is timed, CPU time of this thread, the fastest of `--repeats` runs. What the core can do is
measured in the same run: AES blocks per second (the faster of our counter mode and OpenSSL's),
bytes copied, float64 matrix products, and gathers of 16-byte blocks at random places of a table as
large as the code's. A kernel's limit is the time this core would need for its AES blocks, its
gathers or, where it has neither, for copying its bytes; `share` is limit over time. For kernels
that compute (number-theoretic transforms, rounding) copying is a floor far below, and NumPy's
gather can be beaten.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.support import command_line, harness
from benchmarks.support.command_line import positive
from benchmarks.support.harness import Row
from benchmarks.support.kernel_cases import CASES, SEEDS, Made
from moiety.protocols import kernels
from moiety.protocols.kernels import Backend

REFERENCE_ELEMENTS = 1 << 13
"""The NumPy twins are timed at this size: they are the specification, not the product."""
VERIFIED_ELEMENTS = 1 << 12


def parser() -> argparse.ArgumentParser:
    p = command_line.parser("kernels", __doc__, "--only", "--seed", "--json")
    p.add_argument(
        "--elements", type=positive, default=1 << 18, metavar="N", help="per call (default 2^18)"
    )
    p.add_argument(
        "--repeats", type=positive, default=7, metavar="N", help="runs, the fastest counts"
    )
    p.add_argument(
        "--no-reference",
        action="store_true",
        help="do not time the NumPy twins (they are still compared)",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    options = parser().parse_args(arguments)
    names = command_line.chosen([*CASES], options.only)
    if not names:
        parser().error(f"no kernel is named like {' or '.join(options.only)}")
    harness.one_thread()
    harness.pin(0)
    core = limits(options.repeats, options.elements)
    for what, rate in core.items():
        harness.say(f"{what:18} {rate / 1e9:10.2f} G/s")
    common: Row = {
        "benchmark": "kernels",
        **harness.environment(),
        "isa": kernels.description(),
        "seed": options.seed,
        "limits": core,
    }
    rows = []
    for name in names:
        verify(name, options.seed)
        rows.append(common | measure(name, options, core))
        harness.say(line(rows[-1]))
    harness.say("\n" + "\n".join(table(rows)))
    harness.write_rows(rows, options.json)
    return rows


def line(row: Row) -> str:
    """One kernel, as it is done."""
    share = f"{100 * row['share']:5.0f} % of {row['limit']}" if row["share"] else ""
    slower = f"{row['reference_ns']:9.1f}" if row["reference_ns"] else " " * 9
    return f"{row['kernel']:22} {row['ns']:9.3f} ns per {row['unit']:14} reference {slower} {share}"


# --- one kernel -----------------------------------------------------------------------------------


def twin(backend: Backend, name: str) -> Callable[..., Any]:
    """`name` is a kernel, or a kernel, a space and what distinguishes the case."""
    return kernels.twin(backend, name.split()[0])


def verify(name: str, seed: int) -> None:
    """Both twins return the same and leave the same in what they were given. Raises
    `VerificationFailed`.
    """
    outcomes = []
    backends: tuple[Backend, ...] = ("native", "reference")
    for backend in backends:
        made = CASES[name](np.random.default_rng(seed), VERIFIED_ELEMENTS)
        outcomes.append([*_arrays(twin(backend, name)(*made.arguments)), *_arrays(made.arguments)])
    same = len(outcomes[0]) == len(outcomes[1])
    same = same and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(*outcomes, strict=True)
    )
    harness.require(same, f"the twins of kernel {name} differ")


def _arrays(value: Any) -> list[npt.NDArray[Any]]:
    parts = value if isinstance(value, tuple) else (value,)
    return [part for part in parts if isinstance(part, np.ndarray)]


def measure(name: str, options: argparse.Namespace, core: dict[str, float]) -> Row:
    made = CASES[name](np.random.default_rng(options.seed), options.elements)
    ns = fastest(twin("native", name), made, options.repeats) / made.units
    slow = None
    if not options.no_reference:
        small = CASES[name](
            np.random.default_rng(options.seed), min(options.elements, REFERENCE_ELEMENTS)
        )
        slow = fastest(twin("reference", name), small, 1) / small.units
    floor = 1e9 * made.work / core[made.limit] if made.limit else None
    return {
        "kernel": name,
        "unit": made.unit,
        "units": made.units,
        "verified": True,
        "ns": ns,
        "reference_ns": slow,
        "limit": made.limit,
        "work": made.work,
        "limit_ns": floor,
        "share": floor / ns if floor else None,
    }


def fastest(call: Callable[..., Any], made: Made, repeats: int) -> float:
    """CPU nanoseconds of this thread, after one call to warm up."""
    call(*made.arguments)
    best = float("inf")
    for _ in range(repeats):
        start = time.thread_time_ns()
        call(*made.arguments)
        best = min(best, time.thread_time_ns() - start)
    return best


# --- what the core can do -------------------------------------------------------------------------


def limits(repeats: int, elements: int) -> dict[str, float]:
    """Name -> per second: AES-128 blocks; bytes copied (read and written once) between arrays as
    large as the kernels' (8 bytes per element); 16-byte gathers by NumPy from a table of the code's
    size; float64 operations in a product.
    """
    rng = np.random.default_rng(0)

    def rate(work: float, call: Callable[[], object]) -> float:
        return 1e9 * work / fastest(call, Made((), 1, ""), repeats)

    key, blocks = np.zeros(16, np.uint8), elements
    ours = twin("native", "aes_ctr")
    stream, zeros = bytearray(16 * blocks + 16), bytes(16 * blocks)
    openssl = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
    words, copy = np.zeros(elements, np.uint64), np.ones(elements, np.uint64)
    seeds, places = rng.random((SEEDS, 2)).view("V16")[:, 0], rng.integers(0, SEEDS, 1 << 14)
    a, b, product = rng.random((384, 1024)), rng.random((1024, 1024)), np.empty((384, 1024))
    return {
        "aes": max(
            rate(blocks, lambda: ours(key, 0, 16 * blocks)),
            rate(blocks, lambda: openssl.update_into(zeros, stream)),
        ),
        "copy": rate(words.nbytes, lambda: np.copyto(copy, words)),
        "gather": rate(places.size, lambda: np.take(seeds, places, mode="clip")),
        "gemm": rate(2 * a.size * b.shape[1], lambda: np.matmul(a, b, out=product)),
    }


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown: achieved against the limit of this core."""
    lines = [
        "| kernel | ns per | | limit, ns | of the limit | NumPy twin, ns |",
        "|---|---:|---|---:|---:|---:|",
    ]
    for row in rows:
        limit = (
            f"{row['limit_ns']:.3f} ({row['limit']}) | {100 * row['share']:.0f} %"
            if row["share"]
            else " | "
        )
        slow = f"{row['reference_ns']:.1f}" if row["reference_ns"] else ""
        lines.append(f"| {row['kernel']} | {row['ns']:.3f} | {row['unit']} | {limit} | {slow} |")
    return lines


if __name__ == "__main__":
    command_line.run(main)
