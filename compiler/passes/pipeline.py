"""Pipelines of passes, written and read as one string: `name,name{option=value,option=value}`."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from moiety.compiler.passes.base import PASSES, Pass
from moiety.protocols.errors import BadInput

DEFAULT_PIPELINE = ",".join(
    (
        "dead-code",
        "canonicalise",
        "common-subexpressions",
        "volume-late",
        "fuse-activations",
        "canonicalise",
        "upsample-late",
        "fold-batchnorm",
        "transposed-conv",
        "upsample-into-conv",
        "expand-upsample",
        "relu-after-maxpool",
        "clip-to-relu",
        "pool-before-conv1x1",
        "absorb-batchnorm",
        "strided-conv",
        "canonicalise",
        "common-subexpressions",
    )
)
"""Its result is in normal form (`normal_form`)."""

_ENTRY = re.compile(r"\s*([a-z0-9-]+)\s*(?:\{([^}]*)\})?\s*(,|$)")


def format_pipeline(passes: Sequence[Pass]) -> str:
    """The pipeline as one string; options that have their default are left out."""
    parts = []
    for each in passes:
        options = [
            f"{field.name}={getattr(each, field.name)!r}"
            for field in dataclasses.fields(each)
            if getattr(each, field.name) != field.default
        ]
        parts.append(each.name + (f"{{{','.join(options)}}}" if options else ""))
    return ",".join(parts)


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The inverse of `format_pipeline`. Raises BadInput naming the unknown pass or option."""
    passes: list[Pass] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _ENTRY.match(text, position)
        if match is None:
            raise BadInput(
                f"pipeline: cannot read {text[position:]!r}; write name,name{{option=value}}"
            )
        passes.append(_make(match[1], match[2] or ""))
        position = match.end()
        if match[3] == "," and position == len(text):
            raise BadInput("pipeline ends with a comma")
    return tuple(passes)


def _make(name: str, text: str) -> Pass:
    """The pass `name` with its options as written between the braces."""
    if name not in PASSES:
        raise BadInput(f"pipeline: no pass {name!r}; there are {', '.join(sorted(PASSES))}")
    known = {field.name: field for field in dataclasses.fields(PASSES[name])}
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = part.partition("=")
        if key not in known:
            raise BadInput(
                f"pipeline: pass {name!r} has no option {key!r}; "
                f"it has {', '.join(known) or 'none'}"
            )
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise BadInput(f"pipeline: {name}{{{part}}}: {value!r} is no value") from None
        kind = type(known[key].default)
        if type(options[key]) is not kind:
            raise BadInput(f"pipeline: {name}{{{part}}}: needs a {kind.__name__}")
    return PASSES[name](**options)
