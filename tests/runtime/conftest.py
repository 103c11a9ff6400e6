"""What several files of this room serve and run."""

from __future__ import annotations

import pytest

from moiety.runtime.party.executor import ServerExecutor
from tests.support.runnable import small


@pytest.fixture(scope="module")
def executor() -> ServerExecutor:
    """Of the small Program, prepared; a file with other wants has its own."""
    made = ServerExecutor(*small())
    made.prepare()
    return made
