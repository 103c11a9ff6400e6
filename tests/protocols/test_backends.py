"""Which twin of the kernels runs, and what holds of all kernels: the compiled one here, and the
reference one in a second run of the same tests.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from moiety.protocols import kernels
from moiety.protocols.errors import BadInput
from moiety.protocols.kernels.__main__ import written

try:
    from moiety.protocols.kernels import _native
except ImportError:
    _native = None

HAS_NATIVE = _native is not None and _native.symmetric_supported()
ROOT = Path(__file__).resolve().parents[2]
ASKED = os.environ.get("MOIETY_KERNELS")
# What computes with kernels: every protocol, the linear layers, and whole networks between two
# parties. The tests of kernels name the twin they run and need no second run.
SECOND_RUN = (
    "protocols/test_base_ot.py",
    "protocols/test_linear.py",
    "protocols/test_protocols.py",
    "protocols/test_rlwe.py",
    "protocols/test_silent.py",
    "runtime/test_execution.py",
    "runtime/test_serving.py::test_many_images_and_sequential_clients",
)
CASE = "protocols/test_protocols.py::test_protocol_computes_and_sends_what_it_says"
LEFT_OUT = (
    f"{CASE}[AUROC of (2, 70), 63 bits]",
    f"{CASE}[placements of 1 by 600 images, 20 bits]",
    "protocols/test_linear.py::test_plans_of_a_deep_network_are_cheap",
)
"""What is about sizes, of which the run has smaller ones, or computes with no kernel."""


def processor_has_aes() -> bool:
    info = Path("/proc/cpuinfo")
    return not info.exists() or " aes" in info.read_text()


@pytest.mark.skipif(ASKED is not None, reason="MOIETY_KERNELS chooses the kernels")
@pytest.mark.skipif(not processor_has_aes(), reason="this processor has no AES instructions")
def test_the_compiled_kernels_run() -> None:
    assert kernels.backend_name() == "native"


def test_the_asked_kernels_run() -> None:
    assert ASKED in (None, kernels.backend_name())


@pytest.mark.skipif(ASKED == "reference", reason="this is the reference run")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tests", SECOND_RUN)
def test_reference_kernels_pass(tests: str) -> None:
    """The same tests with MOIETY_KERNELS=reference, which the package obeys at import."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        f"tests/{tests}",
        *(f"--deselect=tests/{each}" for each in LEFT_OUT),
    ]
    environment = os.environ | {"MOIETY_KERNELS": "reference"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    left_out = sum(each.partition("::")[0] == tests for each in LEFT_OUT)
    assert not left_out or f" {left_out} deselected" in done.stdout


# --- the choice of a twin -------------------------------------------------------------------------


@pytest.fixture
def _restored_backend() -> Iterator[None]:
    before = kernels.backend_name()
    yield
    kernels.set_backend(before)


@pytest.mark.usefixtures("_restored_backend")
def test_backend_rebinds_every_kernel() -> None:
    backends: tuple[kernels.Backend, ...] = (
        ("reference", "native") if HAS_NATIVE else ("reference",)
    )
    for backend in backends:
        kernels.set_backend(backend)
        assert kernels.backend_name() == backend
        assert kernels.description().startswith(backend)
        for name in kernels.kernel_names():
            assert getattr(kernels, name) is kernels.twin(backend, name)
    with pytest.raises(ValueError, match="choose 'native' or 'reference'"):
        kernels.set_backend("fast")  # type: ignore[arg-type]


@pytest.mark.skipif(not HAS_NATIVE, reason="no compiled kernels")
def test_every_kernel_has_a_native_twin() -> None:
    assert len(kernels.kernel_names()) == len(set(kernels.kernel_names()))
    for name in kernels.kernel_names():
        assert kernels.twin("native", name) is getattr(_native, name)
        assert kernels.twin("reference", name) is not kernels.twin("native", name)


@pytest.mark.skipif(not HAS_NATIVE, reason="no compiled kernels")
@pytest.mark.parametrize("name", kernels.kernel_names())
def test_twins_name_their_arguments_alike(name: str) -> None:
    native = re.findall(r"(\w+): ", (kernels.twin("native", name).__doc__ or "").partition("\n")[0])
    assert native == list(inspect.signature(kernels.twin("reference", name)).parameters)


@pytest.mark.parametrize("name", kernels.kernel_names())
def test_every_kernel_says_in_a_line_what_it_does(name: str) -> None:
    first, _, rest = (inspect.getdoc(kernels.twin("reference", name)) or "").partition("\n")
    assert first.endswith(".")
    assert not rest or rest.startswith("\n")


def test_the_table_of_kernels_is_current() -> None:
    """`python -m moiety.protocols.kernels --write docs/architecture.md` makes it so."""
    document = (ROOT / "docs" / "architecture.md").read_text()
    assert document == written(document)


WITHOUT_NATIVE = "import sys; sys.modules['moiety.protocols.kernels._native'] = None\n"
REPORT = "from moiety.protocols import kernels; print(kernels.backend_name())"


def python(code: str, choice: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MOIETY_KERNELS"}
    if choice is not None:
        environment["MOIETY_KERNELS"] = choice
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_absence_of_the_compiled_module_is_said_once() -> None:
    done = python(WITHOUT_NATIVE + REPORT, None)
    assert done.stdout.strip() == "reference"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "not importable" in done.stderr


def test_environment_chooses() -> None:
    chosen = python(REPORT, "reference")
    assert (chosen.stdout.strip(), chosen.stderr) == ("reference", "")
    quiet = python(WITHOUT_NATIVE + REPORT, "reference")
    assert (quiet.stdout.strip(), quiet.stderr) == ("reference", "")
    refused = python(WITHOUT_NATIVE + REPORT, "native")
    assert refused.returncode != 0
    assert "the native kernels cannot run" in refused.stderr


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("fast", "MOIETY_KERNELS=fast: kernels: unknown backend 'fast'; choose 'native'"),
        ("native", "MOIETY_KERNELS=native: the native kernels cannot run: "),
    ],
)
def test_a_choice_that_cannot_be_made_is_one_line_for_the_commands_user(
    choice: str, said: str
) -> None:
    done = python(WITHOUT_NATIVE + "from moiety.runtime.cli.start import main; main()", choice)
    assert done.returncode == BadInput.exit_code
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1


def test_an_empty_choice_is_none() -> None:
    assert python(REPORT, "").stdout == python(REPORT, None).stdout
