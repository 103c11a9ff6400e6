"""Parts of Moiety that need a library of an extra: loaded when they are wanted, by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from moiety.protocols.errors import BadInput

EXTRAS = {
    "gdcm": "dicom",
    "google": "compiler",
    "highdicom": "sr",
    "jinja2": "study",
    "markupsafe": "study",
    "matplotlib": "study",
    "networkx": "compiler",
    "onnx": "compiler",
    "onnxruntime": "compiler",
    "pydicom": "dicom",
    "pynetdicom": "net",
    "ray": "ray",
    "scipy": "study",
    "sklearn": "study",
    "statsmodels": "study",
    "sympy": "compiler",
    "torch": "train",
}
"""Library -> the extra of this distribution that installs it."""


def missing(what: str, error: ModuleNotFoundError) -> BadInput:
    """What to say of `what`, which could not be loaded for lack of a library."""
    absent = error.name or ""
    library = absent if absent.startswith("moiety.") else absent.partition(".")[0]
    advice = f"; pip install 'moiety[{EXTRAS[library]}]'" if library in EXTRAS else ""
    return BadInput(f"{what} needs {library}, which is not installed{advice}")


def require(libraries: Iterable[str], what: str) -> None:
    """Raises `BadInput` where one of these is absent; loads none of them."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise missing(what, ModuleNotFoundError(name=library))


def load(module: str, what: str) -> ModuleType:
    """The module of that name. Raises `BadInput` where a library that it needs is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("moiety"):
            raise
        raise missing(what, error) from error


class Later:
    """A module that is loaded when a name of it is first used, as `load` loads it: a command's
    options are known, and its help is shown, where what it runs on is not installed.
    """

    def __init__(self, module: str, what: str) -> None:
        self._module, self._what = module, what

    def __getattr__(self, name: str) -> Any:
        return getattr(load(self._module, self._what), name)
