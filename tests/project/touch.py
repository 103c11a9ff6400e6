"""The lists "to add X, touch these", in one table, and the sections of the READMEs made from it.

    python -m tests.project.touch             print the sections that differ
    python -m tests.project.touch --write     put them into the READMEs

The counts are promises: docs/add-something.md repeats them, and a test holds both to this table.
The families that a section names are read from the tree: files that register something.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- touch: begin -->", "<!-- touch: end -->"

# Pattern of files -> what a file that belongs to a family holds: its entry in a registry.
REGISTRIES = {
    "compiler/ir/ops/<family>.py": r"^@operator\b",
    "compiler/onnx_import/<family>.py": r"^@importer\(",
    "native/<family>/family.hpp": r"^struct ",
    "protocols/kernels/reference/<family>.py": r"^__all__ = ",
    "runtime/program/steps/<family>.py": r"^class .*\btag=",
}


@dataclass(frozen=True)
class Thing:
    """What can be added. `files`: path -> what to do there; `<name>` and `<family>` in a path stand
    for a file of that folder. `shown_in`: the rooms whose README has it.
    """

    name: str
    shown_in: tuple[str, ...]
    files: dict[str, str]

    def lines(self) -> list[str]:
        """Its part of a README."""
        count = f"{len(self.files)} file{'s' * (len(self.files) > 1)}"
        return [
            f"**{self.name}** ({count})",
            "",
            *(
                line
                for number, (path, what) in enumerate(self.files.items(), 1)
                for line in _wrapped(f"{number}. `{path}`{_families(path)}: {what}")
            ),
        ]


THINGS = (
    Thing(
        "An ONNX op that the Graph's ops can express",
        ("compiler", "compiler/onnx_import"),
        {
            "compiler/onnx_import/<family>.py": "a function under `@importer`; its docstring says "
            "in one line what is supported",
        },
    ),
    Thing(
        "A Graph op that passes rewrite into others",
        ("compiler/ir", "compiler/passes"),
        {
            "compiler/ir/ops/<family>.py": "one class with all that the compiler knows of it",
            "compiler/onnx_import/<family>.py": "what of ONNX becomes it",
            "compiler/passes/<name>.py": "the identity, and the pass that uses it",
            "compiler/passes/pipeline.py": "the pass's place in the pipeline",
        },
    ),
    Thing(
        "A Graph op with a step of its own",
        ("compiler", "compiler/ir", "compiler/lowering", "runtime", "runtime/program"),
        {
            "compiler/ir/ops/<family>.py": "one class with all that the compiler knows of it",
            "compiler/onnx_import/<family>.py": "what of ONNX becomes it",
            "compiler/lowering/lower.py": "the step that it becomes",
            "runtime/program/steps/<family>.py": "one class: checks, secrets, meaning on integers",
            "runtime/party/handlers.py": "the calls of protocols, where the parties talk",
            "runtime/cost/traffic.py": "what it costs, from the protocols' declarations",
        },
    ),
    Thing(
        "A pass",
        ("compiler/passes",),
        {
            "compiler/passes/<name>.py": "a frozen dataclass; its docstring states the identity",
            "compiler/passes/pipeline.py": "its name, and its place in the pipeline",
        },
    ),
    Thing(
        "An option of the planner",
        ("compiler/planning",),
        {
            "compiler/planning/options.py": "the field, its default and what it means",
            "compiler/commands/compile.py": "the option of the command line",
        },
    ),
    Thing(
        "A protocol",
        ("protocols", "protocols/compare"),
        {
            "protocols/compare/<name>.py": "both parties in one function of the Session, and what "
            "it costs",
            "tests/protocols/test_costs.py": "a case: declared against metered bytes, and the wire "
            "baseline",
            "docs/protocols.md": "its paragraph; `docs/security.md` if it shows something new",
        },
    ),
    Thing(
        "A generator of correlations",
        ("protocols/ot",),
        {
            "protocols/ot/<name>.py": "a sender and a receiver with the methods of `vole.py`",
            "protocols/ot/generators.py": "what drawing from it sends, and its name",
            "runtime/party/generator_choice.py": "when `--ot auto` takes it",
        },
    ),
    Thing(
        "A choice of the packing",
        ("protocols/linear",),
        {
            "protocols/linear/spec.py": "the field of the RLWE plan, checked on arrival",
            "protocols/linear/planner.py": "where it is chosen, by price",
            "protocols/linear/layout.py": "where coefficients and bytes go",
        },
    ),
    Thing(
        "A kernel",
        ("protocols/kernels", "native"),
        {
            "protocols/kernels/reference/<family>.py": "the NumPy twin, which is the specification",
            "native/<family>/family.hpp": "its line in the table that each instruction set fills",
            "native/<family>/<name>.hpp": "the loop, over the vector type",
            "native/<family>/bindings.cpp": "its arguments, checked",
        },
    ),
    Thing(
        "A command",
        ("runtime", "runtime/cli"),
        {
            "runtime/cli/commands/<name>.py": "the function `command`, its options, its examples; "
            "in `compiler/commands` if it compiles, in `models/commands` if it needs the model",
        },
    ),
    Thing(
        "A figure of the machine",
        ("runtime/cost", "runtime/measure"),
        {
            "protocols/prices.py": "its name, unit and reference value",
            "runtime/measure/figures.py": "how it is taken",
        },
    ),
    Thing(
        "A message between the parties",
        ("runtime/party",),
        {
            "runtime/party/handshake.py": "the class, in the order of the picture at the top",
            "runtime/party/server.py": "who sends or expects it",
            "runtime/party/client.py": "and the other side",
        },
    ),
    Thing(
        "A picture format",
        ("runtime/intake",),
        {"runtime/intake/pictures.py": "its suffix, and how it becomes an array"},
    ),
    Thing(
        "An architecture to export and measure",
        ("models",),
        {"models/zoo.py": "the PyTorch definition, under its name"},
    ),
    Thing(
        "A benchmark",
        ("benchmarks",),
        {"benchmarks/<name>.py": "verify, then time; rows as JSON, with the machine in them"},
    ),
    Thing(
        "A network for all tests",
        ("tests",),
        {"tests/support/nets.py": "the builder; import, executor and two parties then run it"},
    ),
)


def rooms() -> list[str]:
    """The rooms whose README has such a section."""
    return sorted({room for thing in THINGS for room in thing.shown_in})


def section(room: str) -> str:
    """What stands between the markers of a room's README."""
    parts = ["\n".join(thing.lines()) for thing in THINGS if room in thing.shown_in]
    return "\n\n".join(parts)


def updated(room: str) -> tuple[str, str]:
    """A room's README as it is and as it should be."""
    text = (ROOT / room / "README.md").read_text(encoding="utf-8")
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.S)
    return text, pattern.sub(lambda _: f"{BEGIN}\n\n{section(room)}\n\n{END}", text)


def families(pattern: str) -> list[str]:
    """The families that have a file of this pattern, by name."""
    before, _, after = pattern.partition("<family>")
    mark = re.compile(REGISTRIES[pattern], re.M)
    return sorted(
        str(path.relative_to(ROOT)).removeprefix(before).removesuffix(after)
        for path in ROOT.glob(f"{before}*{after}")
        if mark.search(path.read_text(encoding="utf-8"))
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="change the READMEs")
    write = parser.parse_args().write
    for room in rooms():
        before, after = updated(room)
        if before != after and write:
            (ROOT / room / "README.md").write_text(after, encoding="utf-8")
        elif before != after:
            print(f"{room}/README.md:\n\n{section(room)}\n")


def _families(path: str) -> str:
    found = families(path) if path in REGISTRIES else []
    return f" ({', '.join(found)})" if found else ""


def _wrapped(item: str, width: int = 100) -> list[str]:
    """A list item in lines of at most so many characters; what is in backticks stays whole."""
    lines = [""]
    for word in item.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("  ")
        lines[-1] += word if lines[-1] in ("", "  ") else f" {word}"
    return [lines[0], *(f" {line}" for line in lines[1:])]


if __name__ == "__main__":
    main()
