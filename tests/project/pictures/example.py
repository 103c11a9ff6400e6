"""The network of docs/build-it-up.md, compiled by that page's own code; the salt of its commitment,
on which all randomness of the encryption depends, is fixed, so that a picture stays as it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest import mock

from moiety.compiler import Compiled
from moiety.compiler.ir.graph import Graph
from moiety.compiler.onnx_import.load import import_onnx
from moiety.compiler.passes.manager import optimise
from moiety.protocols.arrays import F32
from tests.support.blocks import blocks_of

PAGE = "docs/build-it-up.md"
SECTIONS = 3
"""Blocks of the page that make the model, its Graph and its Program."""


@dataclass(frozen=True)
class Example:
    """nodes: of the ONNX file, as its text has them."""

    nodes: tuple[str, ...]
    graph: Graph
    compiled: Compiled
    image: F32


@cache
def example() -> Example:
    namespace: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch("moiety.runtime.program.weights.secrets.token_bytes", bytes),
    ):
        for block in blocks_of(PAGE)[:SECTIONS]:
            exec(compile(block.code, os.fspath(block.page), "exec"), namespace)
        graph = optimise(import_onnx("three-layers.onnx"))
    lines = [line.strip() for line in namespace["text"].splitlines()]
    nodes = tuple(line for line in lines if "=" in line and not line.endswith("logits)"))
    return Example(nodes, graph, namespace["compiled"], namespace["images"][0])
