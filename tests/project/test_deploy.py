"""The sample files of deploy/: right for the commands that read them, and for systemd."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from moiety.runtime.cli import config
from moiety.runtime.cli.app import find_commands, load
from moiety.runtime.operation import access
from moiety.runtime.operation.events import COUNTED_ALONE, Event
from moiety.runtime.operation.metrics import Metrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")


def test_the_config_file_has_options_of_its_commands() -> None:
    file = DEPLOY / "moiety.toml"
    for name in config.read(file, find_commands()):
        load(name).make_context(name, ["compiled", "--config", str(file)])


def test_the_access_file_is_one() -> None:
    assert len(access.read(DEPLOY / "access.toml")) == 2


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("name", ["moiety-serve.service", "moiety-prepare.service"])
def test_the_unit_is_one(name: str, tmp_path: Path) -> None:
    """With a program that exists here."""
    unit = (DEPLOY / name).read_text()
    assert "/usr/local/bin/moiety" in unit
    file = tmp_path / name
    file.write_text(unit.replace("/usr/local/bin/moiety", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_nightly_command_is_one() -> None:
    unit = (DEPLOY / "moiety-prepare.service").read_text()
    (line,) = re.findall(r"^ExecStart=/usr/local/bin/moiety (.*)$", unit, re.M)
    name, *arguments = line.split()
    load(name).make_context(name, arguments, resilient_parsing=False)
    timer = (DEPLOY / "moiety-prepare.timer").read_text()
    assert "OnCalendar=*-*-* 02:00" in timer


def test_paths_of_the_config_file_are_writable_for_the_unit() -> None:
    unit = (DEPLOY / "moiety-serve.service").read_text()
    folders = {
        "StateDirectory=moiety": "/var/lib/moiety",
        "LogsDirectory=moiety": "/var/log/moiety",
    }
    assert all(line in unit for line in folders)
    serve = tomllib.loads((DEPLOY / "moiety.toml").read_text())["serve"]
    for key in ("counts", "audit", "log-file"):
        assert str(Path(serve[key]).parent) in folders.values()
    rotated = re.findall(r"^(/\S+) \{", (DEPLOY / "moiety.logrotate").read_text(), re.M)
    assert rotated == [serve["log-file"]]


def test_the_page_has_every_event_and_every_metric() -> None:
    named = set(re.findall(r"\w+", PAGE))
    for event in Event.__subclasses__():
        if event not in COUNTED_ALONE:
            assert str(event.__struct_config__.tag) in named
    samples = re.findall(r"^# TYPE (\w+) \w+$", Metrics().text().decode(), re.M)
    assert len(samples) > 8
    assert not [name for name in samples if name not in named and not name.endswith("_created")]
