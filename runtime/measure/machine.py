"""All figures of this machine (`moiety calibrate-machine`): the kernels, at the sizes at which a
network of convolutions calls them, then whole protocols.
"""

from __future__ import annotations

import os
import platform
import time

import numpy as np
from threadpoolctl import threadpool_limits

from moiety.protocols import kernels
from moiety.runtime.cost.machine import Machine
from moiety.runtime.measure.bench import Bench
from moiety.runtime.measure.correlations import correlations, silent
from moiety.runtime.measure.lattice import convolution, lattice
from moiety.runtime.measure.messages import messages
from moiety.runtime.measure.passes import passes
from moiety.runtime.measure.protocols import protocols
from moiety.runtime.measure.transfers import transfers
from moiety.runtime.program.progress import Progress, no_progress

FAMILIES = (correlations, silent, transfers, passes, lattice, convolution, messages, protocols)
"""In this order: whole protocols are compared with what the kernels before them took."""


def measure_machine(
    elements: int = 1 << 17, repeats: int = 5, progress: Progress = no_progress
) -> Machine:
    """Less than a minute with the compiled kernels. elements: values per call, repeats: runs of
    which the fastest counts; with smaller ones sooner, but noisier.
    """
    bench = Bench(elements, repeats)
    with threadpool_limits(1):
        for index, family in enumerate(FAMILIES):
            progress(index, len(FAMILIES), family.__name__)
            family(bench)
    progress(len(FAMILIES), len(FAMILIES), "")
    return bench.machine(_description())


def _description() -> dict[str, str]:
    return {
        "machine": platform.node(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "kernels": kernels.description(),
        "system": platform.platform(),
        "numpy": np.__version__,
        "measured": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _processor() -> str:
    """The model's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
