"""Figures, where matplotlib is installed (an extra: only `--plot` needs it)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def figure(path: Path, columns: int = 1, **layout: Any) -> Iterator[tuple[Any, Any]]:
    """A figure of some panels side by side and its axes, written to `path` on leaving."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    made, axes = pyplot.subplots(1, columns, constrained_layout=True, **layout)
    yield made, axes
    path.parent.mkdir(parents=True, exist_ok=True)
    made.savefig(path, dpi=150)
    pyplot.close(made)
