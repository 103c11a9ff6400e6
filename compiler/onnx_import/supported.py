"""Which ONNX op types are supported, and what of them."""

from __future__ import annotations

from moiety.compiler.onnx_import.call import IMPORTERS
from moiety.compiler.onnx_import.client.call import TRANSLATORS


def supported_ops() -> tuple[str, ...]:
    """The ONNX op types with an importer or a translator, sorted; constant subgraphs may use any
    other.
    """
    return tuple(sorted(IMPORTERS.keys() | TRANSLATORS.keys()))


def describe(op_type: str) -> str:
    """What of an op type is supported, one line: the docstrings of its importer and translator."""
    parts = []
    if op_type in IMPORTERS:
        parts.append(IMPORTERS[op_type].__doc__ or "")
    if op_type in TRANSLATORS:
        parts.append(f"At the client: {TRANSLATORS[op_type].translate.__doc__ or ''}")
    return " ".join(" ".join(parts).split())
