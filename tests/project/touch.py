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

# Pattern of files -> what a file that it stands for holds: its entry in a registry.
REGISTRIES = {
    "compiler/ir/ops/<family>.py": r"^@operator\b",
    "compiler/lowering/steps_of_ops.py": r"^@lowers\(",
    "compiler/onnx_import/<family>.py": r"^@importer\(",
    "compiler/onnx_import/client/<family>.py": r"^@translator\(",
    "compiler/passes/<name>.py": r"^@register\b",
    "native/<family>/<topic>.hpp": r"^void bind_\w+\(",
    "native/<family>/bindings.cpp": r"^  bind_\w+\(m\);",
    "native/<family>/family.hpp": r"^struct ",
    "protocols/aggregate/<name>.py": r"^@cost_of\(",
    "protocols/compare/<name>.py": r"^@cost_of\(",
    "protocols/kernels/reference/<family>.py": r"^__all__ = ",
    "runtime/cost/traffic.py": r"^@calls_of\(",
    "runtime/measure/<family>.py": r"^def [a-z]\w*\(bench: Bench\)",
    "runtime/party/handlers.py": r"^@executes\(",
    "runtime/program/expression/<family>.py": r"^class .*\btag=",
    "runtime/program/steps/<family>.py": r"^class .*\btag=",
}


@dataclass(frozen=True)
class Thing:
    """What can be added. `files`: path -> what to do there; `<name>`, `<family>` and `<topic>` in a
    path stand for a file or a folder. `shown_in`: the rooms whose README has it.
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
        "An ONNX op that the client computes by itself",
        ("compiler/onnx_import", "compiler/onnx_import/client"),
        {
            "compiler/onnx_import/client/<family>.py": "a function under `@translator`, with "
            "`begins=True` where no protocol computes the op exactly; its docstring says in one "
            "line what is supported",
        },
    ),
    Thing(
        "An operation of the client's expression",
        ("runtime/program", "runtime/program/expression"),
        {
            "runtime/program/expression/<family>.py": "one class in the family's `__all__`: what "
            "form its result has, and its meaning on NumPy arrays; it is total",
            "compiler/onnx_import/client/<family>.py": "what of ONNX becomes it, under "
            "`@translator`",
        },
    ),
    Thing(
        "A Graph op that passes rewrite into others",
        ("compiler/ir", "compiler/passes"),
        {
            "compiler/ir/ops/<family>.py": "a class under `@operator`, all that the compiler "
            "knows of it",
            "compiler/onnx_import/<family>.py": "what of ONNX becomes it, under `@importer`",
            "compiler/passes/<name>.py": "the pass, under `@register`; its docstring states the "
            "identity",
            "compiler/passes/pipeline.py": "the pass's place in the default pipeline",
        },
    ),
    Thing(
        "A Graph op with a step of its own",
        ("compiler", "compiler/ir", "compiler/lowering", "runtime", "runtime/program"),
        {
            "compiler/ir/ops/<family>.py": "a class under `@operator`, all that the compiler "
            "knows of it",
            "compiler/onnx_import/<family>.py": "what of ONNX becomes it, under `@importer`",
            "runtime/program/steps/<family>.py": "one class: checks, secrets, meaning on integers",
            "compiler/lowering/steps_of_ops.py": "under `@lowers` the step that it becomes",
            "runtime/party/handlers.py": "under `@executes` the protocol that it calls; a local "
            "step needs none",
            "runtime/cost/traffic.py": "under `@calls_of` what that costs, as the protocol "
            "declares it",
        },
    ),
    Thing(
        "A pass",
        ("compiler/passes",),
        {
            "compiler/passes/<name>.py": "a frozen dataclass under `@register`; its docstring "
            "states the identity",
            "compiler/passes/pipeline.py": "its name, at its place in the default pipeline",
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
        "A quantity that a sweep tells of each plan",
        ("compiler/sweep",),
        {
            "compiler/sweep/rows.py": "the field of `PlanRow`, which is its column in CSV",
            "compiler/sweep/judgement.py": "its value, from the results of all images",
            "compiler/sweep/table.py": "its column in the terminal",
            "compiler/sweep/plot.py": "its panel, if it is to be seen",
        },
    ),
    Thing(
        "A protocol",
        ("protocols", "protocols/compare"),
        {
            "protocols/compare/<name>.py": "both parties in one function of the Session; under "
            "`@cost_of` what it sends",
            "tests/protocols/cases.py": "its row for the suite: inputs, what they open to, cost, "
            "wire baseline",
            "docs/protocols.md": "its paragraph; `docs/security.md` if it shows something new",
        },
    ),
    Thing(
        "A statistic of a cohort",
        ("protocols/aggregate",),
        {
            "protocols/aggregate/<name>.py": "what is summed on shares, both parties in one "
            "function; under `@cost_of` what it sends; `auroc.py` reveals it under the key",
            "runtime/party/cohorts.py": "what the client makes of what it is told",
            "runtime/cost/traffic.py": "`aggregate_cost`, with what it sends",
        },
    ),
    Thing(
        "A generator of correlations",
        ("protocols/ot",),
        {
            "protocols/ot/<name>.py": "a sender and a receiver with the methods of `vole.py`",
            "protocols/ot/mixed.py": "which choices it serves",
            "protocols/ot/generators.py": "what drawing from it sends",
            "runtime/party/generator_choice.py": "its word for `--ot`, and when `auto` takes it",
            "runtime/party/handshake.py": "`CRYPTOGRAPHY`: what both sides must have alike",
        },
    ),
    Thing(
        "A choice of the packing",
        ("protocols/linear",),
        {
            "protocols/linear/parameters.py": "the field of `RlwePlan`, which a Program records",
            "protocols/linear/planner.py": "where it is chosen, by price",
            "protocols/linear/layout.py": "where coefficients and bytes go, and what does not fit",
        },
    ),
    Thing(
        "A kernel",
        ("protocols/kernels", "native"),
        {
            "protocols/kernels/reference/<family>.py": "the NumPy twin, in `__all__`; it is the "
            "specification",
            "native/<family>/<topic>.hpp": "its entry in the topic's table, its loop, its Python "
            "function",
        },
    ),
    Thing(
        "A topic of kernels",
        ("protocols/kernels", "native"),
        {
            "protocols/kernels/reference/<family>.py": "the NumPy twins, in `__all__`",
            "native/<family>/<name>.hpp": "a table of functions, their loops, `bind_<name>`",
            "native/<family>/family.hpp": "the topic's table in the family's",
            "native/<family>/bindings.cpp": "the table in use, and the call of `bind_<name>`",
        },
    ),
    Thing(
        "A section of the report",
        ("runtime/study", "runtime/study/report"),
        {
            "runtime/study/report/sections/<name>.py": "a function that returns its blocks, or "
            "None where a study has nothing for it",
            "runtime/study/report/write.py": "its place among the `SECTIONS`",
        },
    ),
    Thing(
        "A command",
        ("runtime", "runtime/cli"),
        {
            "runtime/cli/commands/<name>.py": "the function `command`, its parameters, `EXAMPLES`; "
            "in `compiler/commands` if it compiles, in `models/commands` if it needs the model",
        },
    ),
    Thing(
        "A column of the drawn Program",
        ("runtime/cli/page",),
        {
            "runtime/cli/page/layers.py": "what it says of a layer",
            "runtime/cli/page/drawing.py": "its place in a row, and its head",
            "runtime/cli/page/tables.py": "its cell in the table",
        },
    ),
    Thing(
        "A figure of the machine",
        ("runtime/cost", "runtime/measure"),
        {
            "protocols/prices.py": "its row: name, unit, value on the reference machine",
            "runtime/measure/<family>.py": "how it is taken",
        },
    ),
    Thing(
        "A message between the parties",
        ("runtime/party",),
        {
            "runtime/party/handshake.py": "the class, in the order of the picture at the top",
            "runtime/party/server/visit.py": "who sends or expects it",
            "runtime/party/client.py": "and the other side",
        },
    ),
    Thing(
        "An event for the audit log and the metrics",
        ("runtime/operation",),
        {
            "runtime/operation/events.py": "the class, and its name in `AnyEvent`",
            "runtime/operation/metrics.py": "what it counts",
        },
    ),
    Thing(
        "A record of a store's ledger",
        ("runtime/store",),
        {
            "runtime/store/ledger.py": "the class, its name in `Event`, what it does to a `Book`",
            "runtime/store/binding.py": "the next `FORMAT`: older releases cannot read it",
        },
    ),
    Thing(
        "A word between the server and the process of a connection",
        ("runtime/party/server",),
        {
            "runtime/party/server/reports.py": "the class, and its place in the picture at the top",
            "runtime/party/server/visit.py": "the connection's process: who says or hears it",
            "runtime/party/server/parent.py": "the server, likewise; its clock, if it has one",
        },
    ),
    Thing(
        "A picture format",
        ("runtime/intake",),
        {
            "runtime/intake/contents.py": "its suffix, and the bytes that it is known by",
            "runtime/intake/pictures.py": "its name in `FORMATS`, and what of it must be refused; "
            "a format that Pillow does not read has a module of its own, which `loader.py` calls",
            "docs/intake.md": "how it is read",
        },
    ),
    Thing(
        "A word for a body part or a view in DICOM headers",
        ("runtime/intake/dicom",),
        {"runtime/intake/dicom/words.py": "the word, in the set that it belongs to"},
    ),
    Thing(
        "Another scheduler than Ray",
        ("runtime/cluster",),
        {
            "runtime/cluster/placement.py": "how it is addressed",
            "runtime/cluster/<name>.py": "workers: `place`, as `servers.py`; sessions: Workers of "
            "`runtime/study/workers.py`, as `sessions.py`",
            "runtime/cli/pairs.py": "the option that asks for it",
        },
    ),
    Thing(
        "A format of results",
        ("runtime/results",),
        {
            "runtime/results/outputs.py": "its name, its suffix, and who writes it",
            "docs/results.md": "what is in it",
        },
    ),
    Thing(
        "A column of a cohort's list",
        ("runtime/study",),
        {
            "runtime/study/cohort.py": "how it is found and read; complaints name line and column",
            "runtime/study/assemble.py": "where it goes in the table of a study",
            "docs/study.md": "what may stand in it",
        },
    ),
    Thing(
        "A way to run a study's images",
        ("runtime/study",),
        {
            "runtime/study/<name>.py": "a class of `Workers`, as `local.py` has one",
            "runtime/cli/commands/evaluate.py": "the option that chooses it",
        },
    ),
    Thing(
        "A number of a study's report",
        ("runtime/study", "runtime/study/statistics"),
        {
            "runtime/study/statistics/analysis.py": "its field, and what it means",
            "runtime/study/statistics/<topic>.py": "the function of columns or scores that "
            "computes it; `runtime/study/statistics/whole.py` calls it",
            "docs/statistics.md": "its rule; the sentence of the report, with the source, is in "
            "`runtime/study/statistics/methods.py`",
        },
    ),
    Thing(
        "A preset of preprocessing",
        ("runtime/intake",),
        {
            "runtime/intake/presets.py": "its fields, under its name",
            "docs/preprocessing.md": "its row",
            "tests/runtime/test_preprocessing.py": "the library's tensor, recomputed",
        },
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
    """The files that this pattern stands for, by what differs in their paths: those that hold an
    entry.
    """
    before, after = re.split("<.*>", pattern) if "<" in pattern else (pattern, "")
    mark = re.compile(REGISTRIES[pattern], re.M)
    return sorted(
        str(path.relative_to(ROOT)).removeprefix(before).removesuffix(after)
        for path in ROOT.glob(re.sub("<.*?>", "*", pattern))
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
    """The families and topics that there are; a name is one's own choice."""
    found = families(path) if path in REGISTRIES and "<name>" not in path else []
    return f" ({', '.join(found)})" if any(found) else ""


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
