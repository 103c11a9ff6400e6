"""`make trust` itself: a part passes only if its command ends well and says what it saw."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tests.faults import __main__ as faults
from tests.faults.parties import Health
from tests.faults.parts import Part as Sessions
from tests.fuzz import __main__ as fuzz
from tests.mutants import __main__ as mutants
from tests.trust import __main__ as trust
from tests.trust.parts import PARTS, ROOT, Part, debian, library
from tests.trust.run import FAILED, NOT_RUN, PASSED, run
from tests.views import __main__ as views


def part(code: str, seconds: int = 60, name: str = "tried", **more: object) -> Part:
    command = (sys.executable, "-c", code)
    return Part(name, "It holds.", command, "README.md", seconds, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "result", "summary"),
    [
        ("print('first'); print('12 of 12 hold')", PASSED, "12 of 12 hold"),
        ("print('11 of 12 hold'); raise SystemExit(1)", FAILED, "exit code 1: 11 of 12 hold"),
        ("print('no such tool'); raise SystemExit(3)", NOT_RUN, "no such tool"),
        ("raise SystemExit(3)", NOT_RUN, "it does not say why"),
        ("pass", FAILED, "it printed no summary"),
        ("import sys; print('not here', file=sys.stderr)", FAILED, "it printed no summary"),
        ("import os; print('ended', flush=True); os.abort()", FAILED, "exit code -6: ended"),
    ],
)
def test_what_becomes_of_a_part(code: str, result: str, summary: str, tmp_path: Path) -> None:
    outcome = run(part(code), tmp_path, 60)
    assert (outcome.result, outcome.summary) == (result, summary)


def test_what_a_part_prints_is_kept(tmp_path: Path) -> None:
    code = "import sys; print('saw this'); print('and that', file=sys.stderr); raise SystemExit(2)"
    run(part(code, name="two words"), tmp_path, 60)
    kept = (tmp_path / "two-words.log").read_text()
    assert "saw this" in kept
    assert "and that" in kept
    assert [file.name for file in tmp_path.iterdir()] == ["two-words.log"]


def test_a_part_that_takes_too_long_has_failed_and_its_children_are_gone(tmp_path: Path) -> None:
    child, said = "import time; time.sleep(600)", tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        f"pathlib.Path({str(said)!r}).write_text(str(child.pid)); child.wait(); print('ok')"
    )
    outcome = run(part(code, seconds=3), tmp_path, 60)
    assert outcome.result == FAILED
    assert "not done after" in outcome.summary
    until = time.monotonic() + 60
    while Path(f"/proc/{said.read_text()}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_no_part_begins_when_the_time_is_over(tmp_path: Path) -> None:
    parts = [part("import time; time.sleep(9)", name=name) for name in ("first", "second")]
    console = Console(file=(tmp_path / "said").open("w"))
    outcomes, _ = trust.run_all(parts, tmp_path, console, limit=0.0001)
    assert [outcome.result for outcome in outcomes] == [FAILED, FAILED]
    assert outcomes[1].summary == "no time was left for it"


def test_a_summary_says_what_its_numbers_are_of(tmp_path: Path) -> None:
    counted = part("print('12 passed')", counts="tests of this")
    assert run(counted, tmp_path, 60).summary == "tests of this: 12 passed"
    silent = part("pass", counts="tests of this")
    assert run(silent, tmp_path, 60).summary == "it printed no summary"
    assert all(one.counts for one in PARTS if one.command[2] == "pytest")


def test_the_list_of_parts_has_a_line_for_each() -> None:
    """However long, where a pipe or a file takes it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.trust", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{one.name}: {one.claim}" for one in PARTS]


@pytest.mark.parametrize(
    ("bad", "too_few", "code"),
    [((), "", 0), ((), "too few to tell", 3), (("wrong",), "", 1), (("wrong",), "too few", 1)],
)
def test_faults_that_were_too_few_are_no_fault(
    bad: tuple[str, ...], too_few: str, code: int
) -> None:
    health = Health(handles=15, children=0, resident=1 << 20)
    one = Sessions("TLS", "2 sessions", (), (health, health), bad, 1.0, too_few=too_few)
    assert faults.exit_code([one]) == code
    said = faults.summary([one], soak=False)
    assert ("things that should not be" in said) == bool(bad)
    assert too_few in said


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    wants = (debian("no-such-program", "its-package"), library("no_such_module", "trust"))
    outcome = run(part("print('done')", wants=wants), tmp_path, 60)
    assert outcome.result == NOT_RUN
    assert "no-such-program is not installed (Debian: apt-get install its-package)" in (
        outcome.summary
    )
    assert "pip install 'moiety[trust]'" in outcome.summary
    assert library("json", "trust")() is None
    assert debian("sh", "dash")() is None


GOOD, BAD, ABSENT = "print('holds')", "print('no'); exit(1)", "print('no tool'); exit(3)"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((GOOD, GOOD), 0), ((GOOD, ABSENT), 3), ((ABSENT, BAD), 1), ((BAD, GOOD), 1)],
)
def test_the_whole_is_as_good_as_its_worst_part(
    codes: tuple[str, ...], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [part(code, name=f"p{index}") for index, code in enumerate(codes)]
    monkeypatch.setattr(sys, "argv", ["trust", "-o", str(tmp_path / "out")])
    assert trust.main(parts) == expected
    written = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert [row["part"] for row in written["parts"]] == ["p0", "p1"]
    assert re.fullmatch(r"[0-9a-f]{40}( \(changed\))?|unknown", written["commit"])
    rows = (tmp_path / "out" / "trust.md").read_text().splitlines()
    for row in written["parts"]:
        assert any(row["result"] in line and row["summary"] in line for line in rows)


def test_nothing_run_is_nothing_passed() -> None:
    assert trust.exit_code([]) == 1


@pytest.mark.parametrize("one", PARTS, ids=lambda one: one.name)
def test_a_part_can_be_begun_and_its_section_is_there(one: Part) -> None:
    _, flag, module, *arguments = one.command
    assert flag == "-m"
    assert importlib.util.find_spec(module)
    paths = [text for text in arguments if text.startswith("tests/")]
    assert paths or module != "pytest"
    assert not [path for path in paths if not (ROOT / path).exists()]
    file, _, heading = one.document.partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.M)
    anchors = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}
    assert not heading or heading in anchors


def test_parts_have_names_of_their_own_and_a_page() -> None:
    names = [one.name for one in PARTS]
    assert len(set(names)) == len(names)
    page = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")
    assert not [name for name in names if f"**{name}**" not in page]


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (views.main, "--only nosuch", "no protocol has 'nosuch' in its name"),
        (views.main, "--runs 0", "--runs: at least one"),
        (fuzz.main, "keys --seconds 0", "at least one"),
        (fuzz.main, "keys --processes 0", "at least one"),
        (mutants.main, "linear --processes 0", "--processes: at least one"),
        (mutants.main, "--old x", "--file, --old and --new belong together"),
        (mutants.main, "--file README.md --new x", "--file, --old and --new belong together"),
        (mutants.main, "--name nosuch", "no such mutant"),
        (mutants.main, "--json /nosuch/rows.json", "/nosuch/rows.json cannot be written: No such"),
        (mutants.main, "--json /", "/ cannot be written: Is a directory"),
        (fuzz.main, "keys --out README.md", "--out README.md: is no folder"),
        (trust.main, "wheel --output README.md/out", "--output README.md/out: cannot be made"),
        (faults.main, "--sessions -1", "--sessions, --soak: 0 or more"),
        (faults.main, "--soak -1", "--sessions, --soak: 0 or more"),
        (faults.main, "--processes 0", "--clients, --processes: at least one"),
        (faults.main, "--slower 0", "--slower: more than 0"),
        (faults.main, "--sessions 0 --soak 0", "nothing to do"),
    ],
)
def test_a_command_that_would_try_nothing_or_something_else_is_refused(
    command: Callable[[], int],
    arguments: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tried", *arguments.split()])
    with pytest.raises(SystemExit) as stopped:
        command()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
