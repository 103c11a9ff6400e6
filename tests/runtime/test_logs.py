"""Logs as text and as JSON, in files that are rotated under the process."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.cli.logs import LogFormat, start_log

log = logging.getLogger("moiety.test")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield
    for handler in root.handlers:
        with contextlib.suppress(OSError):
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_hold_what_happened(tmp_path: Path) -> None:
    start_log(tmp_path / "log", LogFormat.json)
    log.warning('client %s said "%s"', "10.0.0.7", "a\nb\x1b")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("a bug")
    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert first["message"] == 'client 10.0.0.7 said "a\nb\x1b"'
    assert (first["level"], first["logger"]) == ("warning", "moiety.test")
    assert first["time"].endswith("Z")
    assert "ValueError: why" in second["traceback"]


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "log"
    start_log(file)
    log.info("one")
    file.rename(tmp_path / "log.1")
    log.info("two")
    assert "one" in (tmp_path / "log.1").read_text()
    assert "two" in file.read_text()
    assert "two" not in (tmp_path / "log.1").read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write the log there: No such file"):
        start_log(tmp_path / "none" / "log")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_does_not_lose_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    start_log(Path("/dev/full"))
    log.info("kept")
    assert "kept" in capsys.readouterr().err


def test_without_a_file_standard_error_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    start_log()
    log.info("said")
    assert "INFO said" in capsys.readouterr().err
