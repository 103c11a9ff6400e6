"""Outputs of `moiety infer` as its users meet them: real processes, a small model."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.cli.commands import infer
from moiety.runtime.results.outputs import Moved, Outputs
from tests.support.command import (
    COMMAND,
    ENVIRONMENT,
    MANY,
    Compiled,
    Done,
    ServerProcess,
    many_images,
    serving,
)
from tests.support.results import an_image, some_results


@pytest.fixture(scope="module")
def server(compiled: Compiled) -> Iterator[ServerProcess]:
    with serving(compiled.folder) as running:
        yield running


def run(server: ServerProcess, compiled: Compiled, *arguments: object, **environment: str) -> Done:
    """`moiety infer` in an environment of its own."""
    command = [*COMMAND, "infer", compiled.public, *arguments, "--connect", server.address]
    done = subprocess.run(
        list(map(os.fspath, map(str, command))),
        capture_output=True,
        env=ENVIRONMENT | environment,
        timeout=100,
        check=False,
    )
    text = [out.decode("utf-8", "surrogateescape") for out in (done.stdout, done.stderr)]
    return Done(done.returncode, *text)


def test_several_formats_at_once(server: ServerProcess, compiled: Compiled, tmp_path: Path) -> None:
    done = server.infer(
        compiled.public, compiled.pictures, "-o", tmp_path / "r.json", "-o", tmp_path / "r.csv"
    ).check()
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["version"] == 3
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results["images"]) == 6
    for row, image in zip(rows, results["images"], strict=True):
        (output,) = image["outputs"]
        assert [float(row[label]) for label in output["labels"]] == output["values"]
        assert row["file"] == image["file"]
        assert row["program"] == results["program"]
    for name in ("r.json", "r.csv"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert f"everything is in {tmp_path / 'r.json'}, {tmp_path / 'r.csv'}" in done.stderr


def test_standard_output_is_for_results_alone(server: ServerProcess, compiled: Compiled) -> None:
    done = server.infer(compiled.public, compiled.pictures / "0.png", "-o", "-").check()
    assert json.loads(done.stdout)["complete"] is True
    assert "owl: " in done.stderr
    table = run(
        server, compiled, compiled.pictures / "0.png", "-o", "/dev/stdout", "--format", "csv"
    )
    (row,) = csv.DictReader(table.check().stdout.splitlines())
    assert row["verdict"] == "accepted"
    assert Path("/dev/stdout").is_symlink()


def test_outputs_are_tried_before_anything_is_sent(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    """Nothing listens at the address: the output is what is refused."""
    server_is_gone = ServerProcess(server.process, "127.0.0.1:1", [])
    (tmp_path / "old.json").write_text("old")
    (tmp_path / "old.json").chmod(0o400)
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "old.json": "it is read-only",
        "pipe": "start its reader first",
        "no/r.json": "there is no folder",
        "a.dcm": "one per image",
    }.items():
        done = run(server_is_gone, compiled, compiled.pictures, "-o", tmp_path / name)
        done.refused(BadInput.exit_code, message)
    assert (tmp_path / "old.json").read_text() == "old"


def test_pictures_alone_have_no_reports(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    done = server.infer(compiled.public, compiled.pictures, "-o", f"{tmp_path}/reports/")
    done.refused(BadInput.exit_code, "no result, the first of them ", "0.png (it is not a DICOM")
    both = ("-o", f"{tmp_path}/reports/", "-o", tmp_path / "r.json")
    done = server.infer(compiled.public, compiled.pictures, *both).check()
    assert f"6 without a report in {tmp_path}/reports/:" in done.stderr
    assert len(json.loads((tmp_path / "r.json").read_text())["images"]) == 6


def test_a_pipe_gets_all_of_it_at_the_end(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    done = server.infer(compiled.public, compiled.pictures, "-o", tmp_path / "pipe").check()
    assert reader.stdout is not None
    assert len(json.loads(reader.stdout.read())["images"]) == 6
    assert reader.wait(timeout=10) == 0
    assert "owl: " in done.stdout
    assert (tmp_path / "pipe").is_fifo()


def test_an_interrupted_run_keeps_what_it_has(
    server: ServerProcess, compiled: Compiled, tmp_path: Path
) -> None:
    """In a pipe, too, which is written at the end."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    client = many_images(server, compiled, tmp_path / "pipe")
    client.send_signal(signal.SIGINT)
    assert reader.stdout is not None
    results = json.loads(reader.stdout.read())
    assert reader.wait(timeout=10) == 0
    assert client.wait(timeout=20) == 130
    assert client.stderr is not None
    assert f"their results are in {tmp_path / 'pipe'}" in client.stderr.read()
    assert results["complete"] is False
    assert results["images"]
    assert len(results["images"]) + len(results["remaining"]) == MANY


def test_a_full_disk_after_the_work(
    server: ServerProcess, compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device, since it takes nothing but can be opened."""
    monkeypatch.chdir(tmp_path)
    done = server.infer(compiled.public, compiled.pictures / "0.png", "-o", "/dev/full")
    done.refused(BadInput.exit_code, "/dev/full: No space left on device; they are in ")
    (kept,) = tmp_path.iterdir()
    assert str(kept) in done.stderr
    assert json.loads(kept.read_text())["complete"] is True
    assert "owl: " in done.stdout
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_results_without_a_place_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    moved = [Moved("r.csv", "No space left on device", None)]
    outputs = Outputs([], moved=moved, results=some_results(an_image("a.png")))
    infer.print_lost(outputs)
    with pytest.raises(BadInput, match="they are on standard output, as JSON"):
        infer.require_kept(outputs)
    assert json.loads(capsys.readouterr().out)["images"][0]["file"] == "a.png"


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
        {"PYTHONIOENCODING": "latin-1", "COLUMNS": "80"},
        {"LC_ALL": "C", "LANG": "C"},
    ],
)
def test_any_name_on_any_terminal(
    server: ServerProcess, compiled: Compiled, tmp_path: Path, environment: dict[str, str]
) -> None:
    names = [b"\xff\xfe.png", "röntgen-肺.png".encode(), b"\x1b[2J.png", b"=1+1.png"]
    for name in names:
        shutil.copy(compiled.pictures / "0.png", tmp_path / os.fsdecode(name))
    outputs = ("-o", tmp_path / "r.json", "-o", tmp_path / "r.csv")
    done = run(server, compiled, tmp_path, *outputs, **environment).check()
    results = json.loads((tmp_path / "r.json").read_text())
    assert [Path(image["file"]).name for image in results["images"]] == [
        "\x1b[2J.png",
        "=1+1.png",
        "röntgen-肺.png",
        r"\xff\xfe.png",
    ]
    for image in results["images"]:
        (output,) = image["outputs"]
        for value in output["values"]:
            assert f"{value:.4f}" in done.stdout
    assert "\x1b[2J" not in done.stdout + done.stderr
    if "COLUMNS" in environment:
        assert max(map(len, done.stdout.splitlines())) <= int(environment["COLUMNS"])
