"""What is missing is said and not passed, what fails is said, and a blind tool fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.native import __main__ as command
from tests.native import constant_time
from tests.native.builds import Failed, Missing, Passed, tool
from tests.native.constant_time import Row, check, watched
from tests.native.secrets import SECRETS

WATCHED = [Row(kernel, "aesni", 0, secrets) for kernel, secrets in SECRETS.items()]


@pytest.mark.parametrize(
    ("end", "code", "summary"),
    [
        (Passed("seen"), 0, "passed: timing, fuzz"),
        (Missing("no valgrind"), 3, "passed: fuzz; not run: timing"),
        (Failed("leaks"), 1, "passed: fuzz; failed: timing"),
    ],
)
def test_a_part_that_does_not_run_has_not_passed(
    end: Passed | Exception,
    code: int,
    summary: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def part(folder: Path, seconds: int) -> Passed:
        if isinstance(end, Passed):
            return end
        raise end

    monkeypatch.setitem(command.PARTS, "timing", part)
    monkeypatch.setitem(command.PARTS, "fuzz", lambda folder, seconds: Passed("seen"))
    assert command.report(["timing", "fuzz"], Path(), 1) == code
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == summary
    assert isinstance(end, Passed) or str(end) in printed


def test_a_tool_that_is_not_there_is_missing() -> None:
    with pytest.raises(Missing, match="no-such-tool is not installed"):
        tool("no-such-tool")


def test_every_kernel_is_watched_with_all_its_secrets_and_reports_nothing() -> None:
    check(WATCHED, set(SECRETS))
    with pytest.raises(Failed, match="not called: mux_send"):
        check([row for row in WATCHED if row.kernel != "mux_send"], set(SECRETS))
    with pytest.raises(Failed, match="was called with the secrets -"):
        check([replace(WATCHED[0], secrets="-"), *WATCHED[1:]], set(SECRETS))
    with pytest.raises(Failed, match="depends on a secret: aes_ctr"):
        check([replace(WATCHED[0], reports=1), *WATCHED[1:]], set(SECRETS))


def test_a_blind_tool_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_time, "said", lambda *_, env: "planted_branch portable 0 x\n")
    with pytest.raises(Failed, match="does not report planted_branch"):
        watched("memcheck", ["program"], constant_time.NARROW)
