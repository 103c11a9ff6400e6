"""What is installed, what is judged, and what `make trust` calls a pass."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

INSTALL = "requirements/install.py"
SUPPLY = "tests/project/test_supply.py"
BASE = "tests/project/test_base_install.py"
TRUST = "tests/project/test_trust.py"

MUTANTS = (
    Mutant(
        name="hashes_are_not_compared",
        breaks="any file that an index gives under the name is installed",
        file=INSTALL,
        old='pip(venv, "--require-hashes", "--only-binary"',
        new='pip(venv, "--only-binary"',
        tests=(f"{SUPPLY}::test_pip_compares_hashes",),
    ),
    Mutant(
        name="a_wrong_hash_falls_back_to_ranges",
        breaks="whoever changes a file makes the lock be left aside",
        file=INSTALL,
        old="if required or MISMATCH in error.stderr:",
        new="if required:",
        tests=(f"{SUPPLY}::test_a_file_that_is_not_the_locked_one_is_never_replaced",),
    ),
    Mutant(
        name="a_required_lock_may_fail",
        breaks="continuous integration runs on what nobody has locked",
        file=INSTALL,
        old="if required or MISMATCH in error.stderr:",
        new="if MISMATCH in error.stderr:",
        tests=(f"{SUPPLY}::test_a_file_that_is_not_the_locked_one_is_never_replaced",),
    ),
    Mutant(
        name="one_good_licence_is_enough",
        breaks="MIT AND GPL passes for MIT",
        file="tests/supply/licences.py",
        old="        all(part.strip() in ALLOWED",
        new="        any(part.strip() in ALLOWED",
        tests=(f"{SUPPLY}::test_which_licences_are_allowed",),
    ),
    Mutant(
        name="bills_are_compared_by_name_alone",
        breaks="a bill of materials with other versions and hashes passes",
        file="tests/supply/sbom.py",
        old="if found.get(name) != lock.get(name):",
        new="if (name in found) != (name in lock):",
        tests=(f"{SUPPLY}::test_a_bill_that_says_otherwise_is_noticed",),
    ),
    Mutant(
        name="a_party_imports_sympy",
        breaks="inspect needs the compiler's extra",
        file="runtime/cli/cost_tables.py",
        old="from rich.table import Table\n",
        new="import sympy\nfrom rich.table import Table\n",
        tests=(f"{BASE}::test_a_partys_command_imports_the_base_alone",),
    ),
    Mutant(
        name="no_extra_is_named_for_onnx",
        breaks="who lacks onnx is not told what to install",
        file="runtime/intake/extras.py",
        old='    "onnx": "compiler",\n',
        new="",
        tests=(f"{BASE}::test_a_missing_onnx_is_named_with_its_extra",),
    ),
    Mutant(
        name="a_silent_part_has_passed",
        breaks="a check that saw nothing counts",
        file="tests/trust/run.py",
        old="    if not last:\n        return Outcome(part, FAILED",
        new="    if not last:\n        return Outcome(part, PASSED",
        tests=(f"{TRUST}::test_what_becomes_of_a_part",),
    ),
    Mutant(
        name="a_part_without_its_tool_has_passed",
        breaks="a machine without valgrind shows a table of passes",
        file="tests/trust/run.py",
        old="        return Outcome(part, NOT_RUN, seconds, last or",
        new="        return Outcome(part, PASSED, seconds, last or",
        tests=(f"{TRUST}::test_what_becomes_of_a_part",),
    ),
    Mutant(
        name="what_was_not_run_does_not_count",
        breaks="make trust ends well although a check was not made",
        file="tests/trust/__main__.py",
        old="return 3 if NOT_RUN in results else 0",
        new="return 0",
        tests=(f"{TRUST}::test_the_whole_is_as_good_as_its_worst_part",),
    ),
    Mutant(
        name="a_claim_may_name_any_function",
        breaks="a sentence names a test that nobody wrote",
        file="tests/project/test_claims.py",
        old="if not file or not path.exists() or (name and name not in functions(path)):",
        new="if not file or not path.exists():",
        tests=("tests/project/test_claims.py::test_a_false_name_is_found",),
    ),
    Mutant(
        name="short_names_of_tests_are_not_looked_up",
        breaks="likewise, where the name says no file",
        file="tests/project/test_claims.py",
        old="        if file or name:\n",
        new="        if file:\n",
        tests=("tests/project/test_claims.py::test_a_false_name_is_found",),
    ),
)
