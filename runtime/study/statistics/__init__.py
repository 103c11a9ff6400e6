"""The numbers of a study: discrimination, agreement, calibration, decisions, resources.

`analyse` loads when it is first used: areas and resamples alone, which sweeps take, need no
statsmodels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moiety.runtime.study.statistics.whole import analyse

__all__ = ["analyse"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.whole"), name)
