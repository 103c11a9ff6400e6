"""The command line on a small model, whole: compile, inspect, simulate, serve, infer,
demo; two real processes over TCP.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from moiety.protocols.errors import BadInput, ContractViolation
from moiety.runtime.cli import app as cli
from moiety.runtime.cli.app import ORDER, app, find_commands
from moiety.runtime.cli.options import STOCHASTIC
from moiety.runtime.cli.program_tables import summary
from moiety.runtime.cost.traffic import image_cost
from moiety.runtime.intake.loader import Reader, load
from moiety.runtime.intake.presets import IMAGENET_MEAN
from moiety.runtime.program import artifacts
from moiety.runtime.program.artifacts import load_program, program_file
from moiety.runtime.program.cleartext import CleartextExecutor
from tests.support.command import MANY, Compiled, many_images, moiety, serving
from tests.support.nets import run_onnx, small_resnet


def in_process(*arguments: str, columns: int = 200) -> Result:
    """For what ends before any work begins."""
    return CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns), "NO_COLOR": "1"})


def lacking(name: str, module: ModuleType) -> list[str]:
    """What a command's module must have and lacks."""
    found = []
    if not re.match(r"[A-Z].*?\.(\s|$)", module.__doc__ or "", re.S):
        found.append("docstring that begins with a sentence, its help")
    if not getattr(module, "EXAMPLES", None):
        found.append("EXAMPLES, which the help ends with")
    if not callable(getattr(module, "command", None)) and not hasattr(module, "app"):
        found.append("function command, whose parameters are its options, or Typer app")
    return [f"moiety {name} lacks: {what}" for what in found]


@pytest.mark.parametrize("command", find_commands())
def test_every_command_is_complete(command: str) -> None:
    module, _ = find_commands()[command]
    assert not lacking(command, importlib.import_module(module))


def test_what_a_new_command_lacks_is_named() -> None:
    assert lacking("new", ModuleType("new", "to do")) == [
        "moiety new lacks: docstring that begins with a sentence, its help",
        "moiety new lacks: EXAMPLES, which the help ends with",
        "moiety new lacks: function command, whose parameters are its options, or Typer app",
    ]


@pytest.mark.parametrize("command", find_commands())
def test_examples_are_parseable(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command's own options, all that an example names being there."""
    monkeypatch.chdir(tmp_path)
    module, _ = find_commands()[command]
    for example in importlib.import_module(module).EXAMPLES:
        program, name, *arguments = shlex.split(re.sub(r"\[dim\].*", "", example))
        assert (program, name) == ("moiety", command)
        for argument in arguments:
            path = tmp_path / argument
            if argument.endswith("/"):
                path.mkdir(exist_ok=True)
            elif path.suffix:
                path.parent.mkdir(exist_ok=True)
                path.touch()
        cli.load(command).make_context(f"moiety {command}", arguments)


@pytest.mark.parametrize("command", find_commands())
def test_help_teaches(command: str) -> None:
    done = in_process(command, "--help")
    assert done.exit_code == 0
    assert "Examples" in done.stdout
    assert f"$ moiety {command}" in done.stdout


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("serve", "[default: beside the access file]"),
        ("serve", "[default: standard error]"),
        ("infer", "[default: results.json]"),
    ],
)
def test_defaults_that_help_texts_state_are_shown(command: str, default: str) -> None:
    """Brackets in them are no markup."""
    shown = in_process(command, "--help", columns=400).stdout
    assert default in shown


def test_top_level_help_and_version() -> None:
    assert "Exit codes" in moiety("--help").check().stdout
    assert in_process("--version").stdout.startswith("moiety ")


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys; from moiety.runtime.cli.app import app\n"
        "try: app(['--help'])\n"
        "finally: print(*(name for name in sys.modules if 'commands' in name or 'onnx' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [*find_commands()][: len(ORDER)] == [*ORDER]
    assert all(f" {name} " in done.stdout for name in ORDER)
    assert done.stdout.splitlines()[-1] == ""


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("simulate", "ir.onnx_session"):
        monkeypatch.delitem(sys.modules, f"moiety.compiler.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert in_process("simulate", "--help").exit_code == 0
    error = in_process("simulate", "compiled", "images").exception
    assert isinstance(error, BadInput)
    assert str(error) == (
        "moiety simulate needs onnxruntime, which is not installed; pip install 'moiety[compiler]'"
    )


def test_a_room_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "ROOMS", ("moiety.nowhere.commands", "moiety.runtime.cli.commands"))
    assert in_process("serve", "--help").exit_code == 0
    error = in_process("compile", "--help").exception
    assert isinstance(error, BadInput)
    assert "moiety compile is not part of this installation" in str(error)


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("infer", "x"),
        ("frobnicate",),
        ("compile", "m.onnx", "--calibration", "x", "-o", "y", "--rounding", "up"),
        ("compile", "m.onnx", "--calibration", "x", "-o", "y", "--mean", "grey"),
        ("compile", "m.onnx", "--calibration", "x", "-o", "y", "--input-shape", "3,0,224"),
        (
            *("compile", "m.onnx", "--calibration", "x", "-o", "y"),
            *("--input-shape", "a=3,8,8", "--input-shape", "3"),
        ),
        ("infer", "model.moiety", "x.png", "--input", "age"),
    ],
)
def test_wrong_usage_has_its_own_exit_code(arguments: tuple[str, ...]) -> None:
    assert in_process(*arguments).exit_code == 2


def test_compiled_folder(compiled: Compiled) -> None:
    program = load_program(compiled.folder)
    assert program.preprocessing is not None
    assert program.preprocessing.mean == IMAGENET_MEAN
    (output,) = program.results()
    assert output.labels == ("cat", "dog", "owl")
    names = {path.name for path in compiled.folder.iterdir()} - {"audit.jsonl"}  # of serve
    assert names == {compiled.public.name, artifacts.VENDOR}
    secret = compiled.folder / artifacts.VENDOR
    assert stat.S_IMODE(secret.stat().st_mode) == 0o700
    files = {file.name for file in secret.iterdir()}
    assert files >= {"weights.safetensors", "plan.json", "ranges.safetensors"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in secret.iterdir())


def test_two_processes_give_the_cleartext_result_bit_for_bit(
    compiled: Compiled, tmp_path: Path
) -> None:
    with serving(compiled.folder, "--once") as server:
        done = server.infer(compiled.public, compiled.pictures, "-o", tmp_path / "r.json").check()
        log = server.wait().check().stderr
    results = json.loads((tmp_path / "r.json").read_text())
    program, weights = artifacts.load_vendor(compiled.folder)
    executor = CleartextExecutor(program, weights)
    assert len(results["images"]) == 6
    for image in results["images"]:
        tensor = load(Path(image["file"]), Reader.of(program)).tensor
        (expected,) = executor.run(tensor).values()
        assert image["outputs"][0]["values"] == expected.ravel().tolist()
        assert image["outputs"][0]["labels"] == ["cat", "dog", "owl"]
        cost = image_cost(program)
        assert (image["bytes_sent"], image["bytes_received"]) == (cost.up, cost.down)
    assert results["complete"]
    assert "5.png" in done.stdout
    assert "cat" in done.stdout
    assert "image 6 done" in log
    assert "correlations: softspoken)" in log  # not a number of bits that no choice has
    assert "ended: 6 images for 1 clients" in log
    assert "warning" not in log


def test_inspect(compiled: Compiled) -> None:
    for place in (compiled.folder, compiled.public):
        shown = moiety("inspect", place).check().stdout
        program = load_program(compiled.public)
        assert program.digest() in shown
        assert "cat, dog, owl" in shown
        assert "Steps" not in shown
        assert "Disclosed about the weights" in shown
        for entry in program.disclosed:
            assert entry in " ".join(shown.split())
    assert "none:" not in shown
    steps = moiety("inspect", compiled.public, "--steps").check().stdout
    assert ", 1 guard bit " in steps
    assert "RLWE parameters" in steps


def test_a_digest_is_not_cut_on_a_narrow_terminal(compiled: Compiled) -> None:
    program, shown = load_program(compiled.public), StringIO()
    Console(width=80, file=shown).print(summary(program))
    assert program.digest() in shown.getvalue()


@pytest.mark.parametrize("given", [("--network", "wan"), ("--ot", "silent")])
def test_inspect_predicts_seconds_only_when_asked(
    compiled: Compiled, given: tuple[str, str]
) -> None:
    moiety("inspect", compiled.public, *given).refused(BadInput.exit_code, given[0], "--cost")
    assert "seconds" in moiety("inspect", compiled.public, "--cost", *given).check().stdout


def test_compile_replaces_a_compiled_model_only_by_force(
    compiled: Compiled, tmp_path: Path
) -> None:
    folder = tmp_path / "compiled"
    shutil.copytree(compiled.folder, folder)
    given = ("compile", compiled.model, "-o", folder, "--calibration", compiled.pictures)
    moiety(*given).refused(BadInput.exit_code, str(folder), program_file(folder).name, "--force")
    before = load_program(folder)
    words = ("--name", "second model", "--model-version", "2.1")
    moiety(*given, "--force", *words, "--activation-bits", 12, "--weight-bits", 12).check()
    after = load_program(folder)
    assert (after.name, after.model_version) == ("second model", "2.1")
    assert after.commitment != before.commitment
    assert program_file(folder).name == "second-model.moiety"
    artifacts.load_vendor(folder)
    assert "2.1" in moiety("inspect", folder).check().stdout


def test_simulate(compiled: Compiled) -> None:
    done = moiety("simulate", compiled.folder, compiled.pictures, "--model", compiled.model).check()
    difference = float(done.stdout.split("largest difference from the float model: ")[1].split()[0])
    assert 0 < difference < 0.5
    assert "overflows: 0 values" in done.stdout
    assert (
        "overflows"
        in moiety("simulate", compiled.folder, compiled.pictures / "0.png").check().stdout
    )


def test_the_float_models_scores_for_a_study(compiled: Compiled, tmp_path: Path) -> None:
    """As onnxruntime has them; without a float model there are none."""
    command = ("simulate", compiled.folder, compiled.pictures / "0.png", compiled.pictures)
    scores = ("--scores", tmp_path / "scores.csv")
    moiety(*command, *scores).refused(5, "--scores are the float model's; give it with --model")
    moiety(*command, "--model", compiled.model, *scores).refused(5, "0.png have one name")
    moiety(command[0], command[1], command[3], "--model", compiled.model, *scores).check()
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", "cat", "dog", "owl"]
    assert [row[0] for row in rows] == sorted(path.stem for path in compiled.pictures.iterdir())
    program = artifacts.load_program(compiled.public)
    taken = load(compiled.pictures / "0.png", Reader.of(program))
    expected = run_onnx(onnx.load(compiled.model), taken.tensor[None])
    assert [float(cell) for cell in rows[0][1:]] == pytest.approx(expected[0].tolist(), abs=1e-4)


def test_a_long_path_leaves_room_for_the_values(compiled: Compiled, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-long-name-of-a-folder"] * 12)
    folder.mkdir(parents=True)
    shutil.copy(compiled.pictures / "0.png", folder)
    shown = moiety("simulate", compiled.folder, folder).check().stdout
    row = next(line for line in shown.splitlines() if "0.png" in line)
    assert re.search(r"0\.png +. logits +. (cat|dog|owl) +. +-?\d+\.\d{4} +. +0 ", row)


def test_compile_options(compiled: Compiled, tmp_path: Path) -> None:
    model = tmp_path / "resnet.onnx"
    onnx.save(small_resnet(), model)
    widths = ("--activation-bits", 15, "--weight-bits", 12, "--margin-bits", 3)
    pictures = ("--mean", 0.5, "--std", "0.25,0.25,0.3", "--exact-size")
    ranges = tmp_path / "ranges.safetensors"
    files = (
        "--save-ranges",
        ranges,
        "--dump-after",
        "fold-batchnorm",
        "--dump-folder",
        tmp_path / "dump",
    )
    given = (model, "--calibration", compiled.pictures, "-o", tmp_path / "a")
    first = moiety("compile", *given, *widths, *pictures, *files).check()
    program = load_program(tmp_path / "a")
    assert program.rounding == "exact"
    assert "warning" not in first.stderr
    assert program.preprocessing is not None
    assert program.preprocessing.mean == (0.5, 0.5, 0.5)
    assert program.preprocessing.std == (0.25, 0.25, 0.3)
    assert program.preprocessing.resize == "exact"
    assert [path.name.split("-", 1)[1] for path in (tmp_path / "dump").iterdir()] == [
        "fold-batchnorm.txt"
    ]
    assert "pipeline: " in first.stderr
    assert "planned for" not in first.stderr
    network = ("--network", "20ms,500Mbit/s", "--preprocessing", "none")
    uniform = (*network, "--bits", 41, "--scale", 12)
    given = (model, "--calibration", ranges, "-o", tmp_path / "b")
    second = moiety("compile", *given, *uniform).check()
    assert "planned for wan, of fast, lan and wan the nearest to 20ms,500Mbit/s" in second.stderr
    program = load_program(tmp_path / "b")
    assert program.network == "wan"
    assert program.preprocessing is None
    assert {step.bits for step in program.steps} >= {29, 41}


def test_stochastic_rounding_warns_whoever_compiles_and_serves(
    compiled: Compiled, tmp_path: Path
) -> None:
    folder = tmp_path / "stochastic"
    given = (compiled.model, "--calibration", compiled.pictures, "-o", folder)
    widths = ("--activation-bits", 12, "--weight-bits", 12)
    said = moiety("compile", *given, *widths, "--rounding", "stochastic").check().stderr
    assert artifacts.load_program(folder).rounding == "stochastic"
    with serving(folder, "--once") as server:
        picture = compiled.pictures / "0.png"
        server.infer(program_file(folder), picture, "-o", tmp_path / "r.json").check()
        heard = server.wait().check().stderr
    for output in (said, heard):
        (warning,) = [line for line in output.splitlines() if "gives weights away" in line]
        assert warning == f"warning: {STOCHASTIC}"
    assert "300 queries" in STOCHASTIC


def test_metadata_of_the_model_gives_labels_and_preprocessing(
    compiled: Compiled, tmp_path: Path
) -> None:
    model = onnx.load(compiled.model)
    described = {
        "moiety.labels": '["x","y","z"]',
        "moiety.preprocessing": '{"size":[16,16],"channels":3,"mean":[0.1,0.2,0.3],"std":[1,1,1]}',
    }
    onnx.helper.set_model_props(model, described)
    onnx.save(model, tmp_path / "m.onnx")
    moiety(
        "compile", tmp_path / "m.onnx", "--calibration", compiled.pictures, "-o", tmp_path / "c"
    ).check()
    program = load_program(tmp_path / "c")
    assert program.preprocessing is not None
    assert program.preprocessing.mean == (0.1, 0.2, 0.3)
    assert program.results()[0].labels == ("x", "y", "z")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_ends_in_good_order_on_a_signal(
    compiled: Compiled, tmp_path: Path, number: signal.Signals
) -> None:
    with serving(compiled.folder) as server:
        server.infer(
            compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "r.json"
        ).check()
        log = server.end(number).check().stderr
    assert "ended: 1 images for 1 clients (0 ended early" in log
    assert "Traceback" not in log


def test_max_clients(compiled: Compiled, tmp_path: Path) -> None:
    with serving(compiled.folder, "--max-clients", 2) as server:
        for _ in range(2):
            server.infer(
                compiled.public, compiled.pictures / "0.png", "-o", tmp_path / "r.json"
            ).check()
        assert "for 2 clients" in server.wait().check().stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_client_keeps_its_results(
    compiled: Compiled, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with serving(compiled.folder) as server:
        client = many_images(server, compiled, tmp_path / "r.json")
        client.send_signal(number)
        assert client.wait(timeout=20) == code
        assert client.stderr is not None
        assert "Traceback" not in client.stderr.read()
        results = json.loads((tmp_path / "r.json").read_text())
        assert 1 <= len(results["images"]) < MANY
        assert results["complete"] is False
        server.infer(
            compiled.public, compiled.pictures / "1.png", "-o", tmp_path / "again.json"
        ).check()
        assert "the client stopped" in server.end().check().stderr


def test_demo_on_a_small_model(compiled: Compiled, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(compiled.folder, kept)
    done = moiety(
        "demo",
        "--keep",
        kept,
        "--model",
        compiled.model,
        "--image",
        compiled.pictures / "2.png",
    ).check()
    assert "secure equals cleartext fixed point bit for bit: yes" in done.stdout
    for column in ("secure", "fixed point", "float", "bytes sent", "rounds"):
        assert column in done.stdout
    assert "(none)" not in done.stdout
    assert f"everything is in {kept / 'results.json'}" in done.stderr
    assert (kept / "results.json").is_file()


BUG = (
    "from moiety.runtime.cli import ui; from moiety.protocols.errors import ContractViolation\n"
    "def app(): raise {}\nui.run(app)"
)


@pytest.mark.parametrize("error", ["ContractViolation('broken')", "ValueError('broken')"])
def test_a_bug_keeps_its_traceback(error: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUG.format(error)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == ContractViolation.exit_code
    assert "Traceback" in done.stderr
    assert "broken" in done.stderr
