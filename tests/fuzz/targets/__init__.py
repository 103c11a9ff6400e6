"""All targets, by name."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets.artifacts import HINTS, PROGRAM, RANGES, WEIGHTS
from tests.fuzz.targets.frames import FRAMES
from tests.fuzz.targets.lists import JOURNAL, LISTS, RESULTS
from tests.fuzz.targets.models import ONNX
from tests.fuzz.targets.pictures import DICOM, PICTURE
from tests.fuzz.targets.session import REFILL, SESSION
from tests.fuzz.targets.settings import AUDIT, KEYS, SETTINGS
from tests.fuzz.targets.stocks import STOCKS
from tests.fuzz.targets.stores import STORE

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        FRAMES,
        SESSION,
        REFILL,
        PROGRAM,
        WEIGHTS,
        HINTS,
        RANGES,
        JOURNAL,
        LISTS,
        RESULTS,
        SETTINGS,
        KEYS,
        AUDIT,
        STORE,
        STOCKS,
        ONNX,
        PICTURE,
        DICOM,
    )
}
