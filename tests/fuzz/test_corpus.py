"""Each reader of what a stranger hands in, on sound inputs and on those that were findings once."""

from __future__ import annotations

import pytest

from tests.fuzz.target import judged
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_kept_input_is_taken_or_refused_in_words(name: str) -> None:
    target = TARGETS[name]
    tried = [*target.seeds(), *(path.read_bytes() for path in target.kept())]
    assert tried
    for data in tried:
        finding = judged(target, data)
        assert finding is None, finding.told
