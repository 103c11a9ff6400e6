"""Bills of materials: for each lock file a CycloneDX document of what it installs.

    python -m tests.supply.sbom              # out/sbom/moiety-LOCK.cdx.json (make sbom)
    python -m tests.supply.sbom --check      # twice, in two places, compared with the lock files

cyclonedx-bom writes them, without time and serial number: one lock file has one document.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from tests.supply.declared import LOCKS, PROJECT, ROOT, Pin, file_of, pins

CANNOT = 3


def write(lock: str, file: Path) -> None:
    """The document of one lock file. Raises SystemExit where it cannot be made."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(file_of(lock))]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library"]
    command += ["--output-reproducible", "--spec-version", "1.6", "--of", "JSON"]
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(
        [*command, "-o", str(file)], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{lock}: cyclonedx-bom fails: {done.stderr.strip()}")


def listed(document: dict[str, Any]) -> dict[str, Pin]:
    """The distributions that a document has, with their hashes."""
    found: dict[str, Pin] = {}
    for component in document.get("components", ()):
        name = canonicalize_name(component["name"])
        hashes = {
            each["content"]
            for reference in component.get("externalReferences", ())
            for each in reference.get("hashes", ())
            if each["alg"] == "SHA-256"
        }
        found[name] = Pin(name, component["version"], frozenset(hashes))
    return found


def differences(document: dict[str, Any], lock: dict[str, Pin]) -> list[str]:
    """What a document says otherwise than its lock file, and what would change from run to run."""
    root = document.get("metadata", {}).get("component", {})
    said = []
    if (root.get("name"), root.get("version")) != (PROJECT["name"], PROJECT["version"]):
        said.append(f"it is of {root.get('name')} {root.get('version')}")
    if "serialNumber" in document or "timestamp" in document.get("metadata", {}):
        said.append("it has a time or a serial number")
    found = listed(document)
    for name in sorted(found.keys() | lock.keys()):
        if found.get(name) != lock.get(name):
            said.append(f"{name}: {found.get(name)} is not {lock.get(name)}")
    return said


def check(folder: Path) -> list[str]:
    """What is wrong with the documents of all lock files, made twice below `folder`."""
    said = []
    for lock in LOCKS:
        files = [folder / side / f"{lock}.json" for side in ("once", "again and elsewhere")]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            write(lock, file)
        if files[0].read_bytes() != files[1].read_bytes():
            said.append(f"{lock}: two runs differ")
        document = json.loads(files[0].read_bytes())
        said += [f"{lock}: {each}" for each in differences(document, pins(lock))]
    return said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("out/sbom"))
    options = parser.parse_args()
    if importlib.util.find_spec("cyclonedx_py") is None:
        print("cyclonedx-bom is not installed (pip install 'moiety[trust]')")
        return CANNOT
    if options.check:
        with tempfile.TemporaryDirectory() as folder:
            said = check(Path(folder))
        print("\n".join(said))
        if not said:
            counts = ", ".join(f"{len(pins(lock))} of {lock}" for lock in LOCKS)
            print(f"{len(LOCKS)} documents list what the lock files do: {counts}")
        return bool(said)
    options.output.mkdir(parents=True, exist_ok=True)
    for lock in LOCKS:
        write(lock, options.output / f"moiety-{lock}.cdx.json")
        print(options.output / f"moiety-{lock}.cdx.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
