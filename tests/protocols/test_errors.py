"""Exit codes are what other people's scripts compare: written out here, not taken from the code."""

from __future__ import annotations

import inspect

import pytest

from moiety.protocols import errors
from moiety.protocols.errors import MoietyError

CODES = {
    "MoietyError": 1,
    "BadModel": 3,
    "BadPlan": 4,
    "BadInput": 5,
    "BadArtifact": 6,
    "PeerMismatch": 7,
    "NetworkFailure": 8,
    "UntrustedPeer": 9,
    "DeviatingPeer": 10,
    "ContractViolation": 70,
}


def classes() -> dict[str, type[MoietyError]]:
    return {
        name: each
        for name, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, MoietyError)
    }


def test_every_error_has_the_exit_code_that_is_documented() -> None:
    assert {name: each.exit_code for name, each in classes().items()} == CODES


@pytest.mark.parametrize("name", CODES)
def test_no_code_is_one_of_the_shell_or_of_success(name: str) -> None:
    assert 0 < classes()[name].exit_code < 126
