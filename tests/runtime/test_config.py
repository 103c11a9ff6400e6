"""Options from a file: what wins over what, and mistakes that are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moiety.protocols.errors import BadInput
from moiety.runtime.cli import config
from moiety.runtime.cli.app import app, find_commands, load
from tests.support.runnable import save_small


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No config file but the test's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))


def run(*arguments: object) -> None:
    app([str(each) for each in arguments], standalone_mode=False)


def taken(command: str, *arguments: str) -> dict[str, object]:
    """The parameters that a command would be called with."""
    with load(command).make_context(command, list(arguments)) as context:
        return dict(context.params)


def test_command_line_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "moiety.toml").write_text("[serve]\nthreads = 3\nwaiting = 4\n")
    options = taken("serve", "compiled", "--waiting", "5")
    assert (options["threads"], options["waiting"], options["ot"]) == (3, 5, "auto")


def test_an_option_of_one_value_that_is_given_twice_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last counts, as it may where a script has options of its own. Not said of a file's, which
    are defaults, of options that take several values, nor of what is the value of one.
    """
    given = ("model.moiety", "cohort.csv", "--store", "a", "-o", "x", "--store", "b", "--output=y")
    options = taken("evaluate", *given, "-oz")
    assert (options["store"], options["output"]) == (Path("b"), Path("z"))
    said = capsys.readouterr().err
    assert "warning: --store takes one value, and is given 2 times: the last counts" in said
    assert "warning: --output or -o takes one value, and is given 3 times: the last counts" in said
    Path("moiety.toml").write_text("[evaluate]\nsessions = 3\n")
    several = ("--label", "A=a", "--label", "B=b", "--title", "-o", "-o", "--store")
    options = taken("evaluate", "model.moiety", "cohort.csv", *several, "--sessions", "2")
    assert (options["sessions"], options["label"], options["title"]) == (2, ["A=a", "B=b"], "-o")
    assert options["output"] == Path("--store")
    assert "takes one value" not in capsys.readouterr().err


def test_the_working_folder_comes_before_the_users_own(tmp_path: Path) -> None:
    own = tmp_path / "xdg" / "moiety" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[serve]\nthreads = 2\n")
    assert taken("serve", "compiled")["threads"] == 2
    (tmp_path / "moiety.toml").write_text("[infer]\nbatch = 2\n")
    assert taken("serve", "compiled")["threads"] == 1
    named = tmp_path / "named.toml"
    named.write_text("[serve]\nthreads = 7\n")
    assert taken("serve", "compiled", "--config", str(named))["threads"] == 7


def test_values_of_every_kind(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "m.toml").write_text(
        '[serve]\nlisten = "10.0.0.1:7"\nonce = true\nhint-file = false\nbatch = [4, 16]\n'
        '[infer]\ntimeout = 90.5\noutput = "out/r.json"\n'
    )
    named = ("--config", str(folder / "m.toml"))
    serve = taken("serve", "compiled", *named)
    assert (serve["listen"], serve["once"], serve["hint_file"], serve["batch"]) == (
        "10.0.0.1:7",
        True,
        False,
        "4,16",
    )
    assert taken("serve", "compiled", "--hint-file", *named)["hint_file"] is True
    infer = taken("infer", "public", "x.npy", *named)
    assert infer["timeout"] == 90.5
    assert str(folder / "out/r.json") in str(infer["output"])  # from the file's own folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[serve]\nthread = 2", r"\[serve\] has no 'thread'; did you mean 'threads'\?"),
        ("[serve]\nzzz = 2", r"\[serve\] has no 'zzz'; there is .*threads"),
        ("[serv]\nthreads = 2", r"no command 'serv'; did you mean 'serve'\?"),
        ("threads = 2", "no command 'threads'"),
        ("serve = 2", r"write \[serve\]"),
        ("[serve]\nthreads = 0", r"\[serve\] threads = 0: "),
        ("[serve]\nthreads = 'many'", r"\[serve\] threads = 'many': "),
        ("[serve]\nonce = 1", r"\[serve\] once = 1: .*true or false"),
        ("[serve]\nlisten = true", r"\[serve\] listen = True: "),
        ("[serve]\nlisten = {host = 'x'}", r"\[serve\] listen = "),
        ("[serve]\nconfig = 'x'", "has no 'config'"),
        ("[serve]\nhelp = true", "has no 'help'"),
        ("[serve]\nfolder = 'x'", "has no 'folder'"),
        ("[serve\n", "not a config file"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=message) as refused:
        run("serve", "compiled", "--config", file)
    assert str(refused.value).startswith(f"{file}: ")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the config file"):
        run("serve", "compiled", "--config", tmp_path / "none.toml")


@pytest.mark.parametrize("command", list(find_commands()))
def test_every_option_of_every_command_can_be_set(command: str) -> None:
    context: Any = load(command).make_context(command, [], resilient_parsing=True)
    known = config.options_of(context)
    for option in known.values():
        assert option.name in context.params


def test_a_command_runs_with_options_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_small(tmp_path / "compiled")
    (tmp_path / "moiety.toml").write_text("[inspect]\ncost = true\n")
    run("inspect", "compiled")
    said = capsys.readouterr()
    assert "options from moiety.toml: cost" in said.err
