"""What is installed is what was locked, judged and written down; made anew, it is the same."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply import licences, page, sbom, tree
from tests.supply.declared import BUILD, FOLDER, LOCKS, PROJECT, ROOT, expanded, lines, pins, wanted
from tests.supply.lock import kept

INSTALL = FOLDER / "install.py"
MARKERS = {
    "python_version": "3.11",
    "python_full_version": "3.11.7",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "extra": "",
}


def installer() -> Any:
    """requirements/install.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("install", INSTALL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_has_what_is_asked_for(lock: str) -> None:
    """In a version that is asked for; `make lock` writes it anew."""
    locked = pins(lock)
    for text in wanted(lock):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(MARKERS):
            pin = locked[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin.version, prereleases=True), text


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_says_what_files_are_and_not_where(lock: str) -> None:
    """No index, no address, no path, no option of pip; a hash for each distribution."""
    text = (FOLDER / f"{lock}.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|^-|@ |/(?!install\.py)", re.sub(r"^#.*", "", text, flags=re.M), re.M)
    assert all(pin.hashes for pin in pins(lock).values())


def test_lock_files_agree_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for pin in pins(lock).values():
            versions.setdefault(pin.name, set()).add(pin.version)
    assert not {name: found for name, found in versions.items() if len(found) > 1}


def test_environments_are_nested() -> None:
    assert pins("party").keys() < pins("test").keys()
    assert pins("test").keys() < pins("extras").keys()
    assert pins("test").keys() < pins("trust").keys()


def test_build_tools_are_those_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = re.findall(r'"([^"]+)"', re.findall(r"^requires = \[(.*)\]$", project, re.M)[0])
    assert asked
    assert set(asked) <= set(lines(BUILD))


def test_versions_of_files_that_are_not_written_stay() -> None:
    assert set(kept(["party"])) >= {f"{pin.name}=={pin.version}" for pin in pins("test").values()}


def test_a_line_that_is_not_pinned_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.supply.declared.FOLDER", tmp_path)
    for line in ("numpy==2.0", "numpy>=2.0 --hash=sha256:" + "0" * 64, "numpy @ file:///x"):
        (tmp_path / "test.lock").write_text(line + "\n")
        with pytest.raises(ValueError, match="not a pinned distribution"):
            pins("test")


@pytest.mark.parametrize(
    ("wish", "machine", "taken"),
    [
        ("", "x86_64", True),
        ("require", "x86_64", True),
        ("no", "x86_64", False),
        ("", "aarch64", False),
        ("no", "aarch64", False),
    ],
)
def test_where_the_lock_is_taken(wish: str, machine: str, taken: bool) -> None:
    module = installer()
    here = tuple(machine if part == "x86_64" else part for part in module.LOCKED_FOR)
    locked, said = module.chosen(wish, here)
    assert locked == taken
    assert bool(said) == (not taken)


def test_a_lock_that_is_required_and_does_not_fit_ends_everything() -> None:
    module = installer()
    with pytest.raises(SystemExit, match=r"this is CPython 3\.13"):
        module.chosen("require", ("CPython", "3.13", "Linux", "x86_64", "glibc"))
    with pytest.raises(SystemExit, match="LOCK=maybe"):
        module.chosen("maybe", module.LOCKED_FOR)


@pytest.mark.parametrize(
    ("said", "required", "ends"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", False, True),
        ("ERROR: No matching distribution found", False, False),
        ("ERROR: No matching distribution found", True, True),
    ],
)
def test_a_file_that_is_not_the_locked_one_is_never_replaced(
    said: str, required: bool, ends: bool, tmp_path: Path
) -> None:
    """An environment whose pip says this."""
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    pip.chmod(0o755)
    if ends:
        with pytest.raises(SystemExit, match=r"party\.lock cannot be installed"):
            installer().install_locked(tmp_path, "party", required)
    else:
        assert installer().install_locked(tmp_path, "party", required) is False


def test_pip_compares_hashes(tmp_path: Path) -> None:
    """What the installer asks of pip, in its own words."""
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    pip.chmod(0o755)
    assert installer().install_locked(tmp_path, "party", True)
    asked = (tmp_path / "asked").read_text().split()
    assert {"--require-hashes", "--only-binary", str(FOLDER / "party.lock")} <= set(asked)


def test_continuous_integration_requires_the_lock() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.index("export LOCK=require") < script.index("make test")


def test_every_licence_is_allowed_and_as_recorded() -> None:
    assert licences.faults(licences.recorded(), licences.all_pins()) == []


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("MIT OR GPL-3.0-only", True),
        ("(MIT AND GPL-2.0-only) OR Apache-2.0", True),
        ("GPL-3.0-or-later", False),
        ("MIT AND LGPL-3.0-or-later", False),
        ("AGPL-3.0-only", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("", False),
    ],
)
def test_which_licences_are_allowed(licence: str, good: bool) -> None:
    assert licences.allowed(licence) == good


def test_no_licence_is_taken_on_trust() -> None:
    """A distribution with another licence, one that has none, one that nobody recorded."""
    locked = licences.all_pins()
    record = licences.recorded()
    for said in ("GPL-3.0-only", ""):
        assert licences.faults({**record, "numpy": said}, locked)
    assert licences.faults({k: v for k, v in record.items() if k != "numpy"}, locked)
    assert licences.faults({**record, "no-such-distribution": "MIT"}, locked)


def test_what_is_not_locked_is_allowed_too() -> None:
    assert all(licences.allowed(licence) for licence in licences.UNLOCKED.values())
    assert not licences.UNLOCKED.keys() & licences.all_pins().keys()


def test_judged_licences_have_a_reason() -> None:
    assert all(licence and reason for licence, reason in licences.JUDGED.values())
    assert not [name for name, (licence, _) in licences.JUDGED.items() if "AGPL" in licence]
    assert not re.search(r"\bA?GPL", " ".join(said for said in licences.recorded().values()))


def test_every_dependency_has_a_reason_and_every_reason_a_dependency() -> None:
    asked = {extra: set(found) for extra, found in page.asked_for().items() if found}
    assert {extra: set(found) for extra, found in page.reasons().items()} == asked


def test_the_page_of_dependencies_is_up_to_date() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.updated(text) == text, "python -m tests.supply.page --write"


def test_extras_name_extras_that_exist() -> None:
    for extra in PROJECT["optional-dependencies"]:
        assert expanded([extra])


def bill(lock: str) -> dict[str, Any]:
    """A document that lists what a lock file does, as cyclonedx-bom writes it."""
    return {
        "metadata": {"component": {"name": PROJECT["name"], "version": PROJECT["version"]}},
        "components": [
            {
                "name": pin.name,
                "version": pin.version,
                "externalReferences": [
                    {"hashes": [{"alg": "SHA-256", "content": each} for each in pin.hashes]}
                ],
            }
            for pin in pins(lock).values()
        ],
    }


def test_a_bill_that_says_otherwise_is_noticed() -> None:
    lock = pins("party")
    assert sbom.differences(bill("party"), lock) == []
    for change in ("version", "name"):
        wrong = bill("party")
        wrong["components"][0][change] = "0.0"
        assert sbom.differences(wrong, lock)
    wrong = bill("party")
    del wrong["components"][0]["externalReferences"]
    assert sbom.differences(wrong, lock)
    assert sbom.differences({**bill("party"), "components": []}, lock)
    assert sbom.differences({**bill("party"), "serialNumber": "urn:uuid:0"}, lock)
    wrong = bill("party")
    wrong["metadata"]["timestamp"] = "2026-01-01"
    assert sbom.differences(wrong, lock)
    wrong["metadata"] = {"component": {"name": "moiety", "version": "0"}}
    assert sbom.differences(wrong, lock)


@pytest.mark.skipif(
    importlib.util.find_spec("cyclonedx_py") is None, reason="cyclonedx-bom: the extra `trust`"
)
def test_a_bill_of_materials_lists_the_lock_file(tmp_path: Path) -> None:
    sbom.write("party", tmp_path / "party.json")
    document = json.loads((tmp_path / "party.json").read_bytes())
    assert sbom.differences(document, pins("party")) == []


def test_sources_of_a_wheel_are_a_copy_with_one_time(tmp_path: Path) -> None:
    tree.copy(tmp_path / "sources", 10**9)
    files = [path for path in (tmp_path / "sources").rglob("*") if path.is_file()]
    assert len(files) > 300
    assert {path.stat().st_mtime for path in files} == {10**9}
    assert not [path for path in files if path.suffix in (".so", ".pyc")]


def test_the_build_names_no_folder() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert text.count("-ffile-prefix-map=") == 3
    assert text.index("-ffile-prefix-map=") < text.index("nanobind_add_module(_native")


def test_a_part_that_lacks_a_tool_says_so_with_its_own_code() -> None:
    """Not a pass, and not a failure."""
    code = (
        "import importlib.util, sys\n"
        "importlib.util.find_spec = lambda name, package=None: None\n"
        "sys.argv = ['sbom', '--check']\n"
        "from tests.supply import sbom\n"
        "raise SystemExit(sbom.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == sbom.CANNOT
    assert "not installed" in done.stdout.splitlines()[-1]
