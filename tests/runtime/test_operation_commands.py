"""`moiety audit` and `moiety access`, as their users meet them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.cli.app import app
from moiety.runtime.operation.access import AccessList
from moiety.runtime.operation.audit import AuditLog
from moiety.runtime.operation.counters import Counters
from moiety.runtime.operation.fingerprint import Fingerprint
from tests.support.command import moiety

CLIENT = hashlib.sha256(b"client").hexdigest()
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: object) -> str:
        app([str(each) for each in arguments], standalone_mode=False)
        return capsys.readouterr().out

    return command


def test_audit_prints_the_head_and_takes_it_again(run: Run, tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    first = log.append({"event": "test"})
    said = run("audit", "verify", log.path)
    assert said.splitlines()[-1] == f"head 1 {first.sha256}"
    log.append({"event": "test"})
    assert "2 lines" in run("audit", "verify", log.path, "--head", first.sha256)
    with pytest.raises(BadInput, match="64 hexadecimal digits"):
        run("audit", "verify", log.path, "--head", "abc")


def test_a_broken_chain_is_an_exit_code(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    for _ in range(3):
        log.append({"event": "test", "images": 10})
    log.path.write_text(log.path.read_text().replace('"images":10', '"images":11', 1))
    moiety("audit", "verify", log.path).refused(5, "line 2", "line 1 was changed")
    assert moiety("audit", "check", log.path).code == 2


def test_counts_want_an_access_file(tmp_path: Path) -> None:
    moiety("serve", tmp_path, "--counts", tmp_path / "counts.json").refused(
        5, "--access; give both"
    )


def test_access_shows_what_was_used(run: Run, tmp_path: Path) -> None:
    shown = str(Fingerprint(bytes.fromhex(CLIENT)))
    file = tmp_path / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{shown}"\nimages-per-day = 12\n')
    AccessList.at(file).take(CLIENT, 7)
    row = next(line for line in run("access", file).splitlines() if "st-mary" in line)
    for word in (str(Fingerprint(bytes.fromhex(CLIENT))), "7", "12", "no limit"):
        assert word in row


def test_access_shows_failed_checks(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nfailed-checks-in-total = 9\n')
    for _ in range(5):
        AccessList.at(file).deviated(CLIENT)
    lines = run("access", file).splitlines()
    (head,) = (line for line in lines if "failed checks" in line)
    row = next(line for line in lines if "st-mary" in line)
    cells = [cell.strip() for cell in row.strip("│┃ ").split("│")]
    assert head.rindex("at most") > head.rindex("failed checks")
    assert cells[-2:] == ["5", "9"]


def test_access_sets_a_clock_right(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    file.write_text(f'[clients.st-mary]\nfingerprint = "{CLIENT}"\nimages-per-day = 12\n')
    ahead = Counters(tmp_path / "access.counts.json", today=lambda: date(2999, 1, 1))
    ahead.take(CLIENT, 12, lambda count: True)
    assert AccessList.at(file).take(CLIENT, 1) is not None
    run("access", file, "--clock-was-ahead")
    count = AccessList.at(file).counters.of(CLIENT)
    assert count.day.year < 2999
    assert (count.total, count.today) == (12, 12)
