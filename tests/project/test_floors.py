"""The floors of the house (docs/architecture.md): who may import whom, read from the source.

`python -m tests.project.import_table` prints what these tests judge.
"""

from __future__ import annotations

import ast
import sys

from tests.support.imports import (
    INSTALLED,
    NEEDS_TORCH,
    Import,
    circles,
    this_checkout,
    within,
)

HOUSE = this_checkout()

# From the ground up. A room imports itself and every floor below its own, never one beside it.
# `moiety.` is left out. The innermost room counts: a Session holds the keys of a query, so the ring
# they are in lies below it, and the layers that use them above.
FLOORS = (
    ("protocols.arrays", "protocols.errors"),
    ("protocols.kernels",),
    ("protocols.channel", "protocols.network", "protocols.parallel", "protocols.prg"),
    ("protocols.letters", "protocols.ring", "protocols.prices"),
    ("protocols.cost",),
    ("protocols.split",),
    ("protocols.ot",),
    ("protocols.linear.parameters",),
    ("protocols.linear.rlwe",),
    ("protocols.session",),
    ("protocols.settlement",),
    ("protocols.lanes", "protocols.recording", "protocols.setup"),
    ("protocols.compare", "protocols.linear"),
    ("protocols.aggregate", "protocols.preparation"),
    ("runtime.program",),
    ("runtime.cost",),
    ("runtime.intake",),
    ("runtime.operation",),
    ("runtime.store",),
    ("runtime.party",),
    ("runtime.measure", "runtime.results"),
    ("runtime.study",),
    ("runtime.cluster",),
    ("runtime.cli",),
    ("compiler.registry",),
    ("compiler.ir",),
    ("compiler.onnx_import", "compiler.passes"),
    ("compiler.planning",),
    ("compiler.lowering",),
    ("compiler.measure", "compiler.samples"),
    ("compiler.compile",),
    ("compiler.compile_report", "compiler.description"),
    ("compiler.compile_files", "compiler.simulate"),
    ("compiler.sweep",),
    ("compiler.commands",),
    ("models",),
    ("benchmarks",),
)

# Of the other houses' floors below, these rooms take no more than this.
ARITHMETIC = (
    "protocols.arrays",
    "protocols.compare.digits",
    "protocols.cost",
    "protocols.errors",
    "protocols.linear.layout",
    "protocols.linear.parameters",
    "protocols.linear.planner",
    "protocols.network",
    "protocols.prices",
)
PLANS = ("runtime.program", "runtime.cost", *ARITHMETIC)
TALKS = (
    "runtime.cli.options",
    "runtime.cli.progress",
    "runtime.cli.ui",
    "runtime.cli.verdicts",
    "runtime.intake",
    *PLANS,
)
NO_MORE = {
    "compiler": PLANS,
    "compiler.description": ("runtime.intake", *PLANS),
    "compiler.compile_files": TALKS,
    "compiler.compile_report": TALKS,
    "compiler.simulate": TALKS,
    "compiler.sweep": ("protocols.ot.generators", "runtime.study.statistics", *TALKS),
    "compiler.commands": TALKS,
}

# Modules that only these may import, beside their own room.
GUARDED = {"runtime.cost.formulas": ("runtime.cli", "benchmarks")}

# What a room may import from outside the project and the standard library; the longest name counts.
LIBRARIES = {
    "protocols": ("msgspec", "numpy"),
    "protocols.kernels": ("cryptography", "numpy"),
    "protocols.lanes": ("greenlet", "numpy"),
    "protocols.recording": ("greenlet",),
    "protocols.ot.base_ot": ("nacl", "numpy"),
    "protocols.ot.confirmation": ("nacl",),
    "runtime": ("msgspec", "numpy", "safetensors"),
    "runtime.cluster": ("ray",),
    "runtime.cost.formulas": ("sympy",),
    "runtime.intake": ("PIL", "msgspec", "numpy"),
    "runtime.intake.dicom": ("PIL", "gdcm", "numpy", "pydicom", "pynetdicom"),
    "runtime.measure": ("numpy", "threadpoolctl"),
    "runtime.results.structured_report": ("highdicom", "numpy", "pydicom"),
    "runtime.operation.metrics": ("prometheus_client",),
    "runtime.store": ("cryptography", "msgspec"),
    "runtime.study": ("msgspec", "numpy", "scipy", "sklearn", "statsmodels"),
    "runtime.study.report": ("jinja2", "markupsafe", "matplotlib", "msgspec"),
    "runtime.party.certificates": ("cryptography",),
    "runtime.party.credentials": ("cryptography", "service_identity"),
    "runtime.party.keystore": ("cryptography",),
    "runtime.party.tls": ("OpenSSL", "cryptography"),
    "runtime.cli": ("msgspec", "numpy", "rich", "threadpoolctl", "typer"),
    "compiler": (
        "google",
        "msgspec",
        "networkx",
        "numpy",
        "onnx",
        "onnxruntime",
        "safetensors",
        "threadpoolctl",
    ),
    "compiler.commands": ("msgspec", "numpy", "onnx", "onnxruntime", "rich", "typer"),
    "compiler.sweep": ("msgspec", "numpy", "rich"),
    "compiler.sweep.plot": ("matplotlib",),
}

# Where a party's process begins; what it must never load.
PARTY = (
    "moiety.runtime.cli.app",
    "moiety.runtime.cli.commands.infer",
    "moiety.runtime.cli.commands.serve",
    "moiety.runtime.party",
)
NOT_IN_A_PARTY = {"networkx", "onnx", "onnxruntime", "ray", "scipy", "sklearn", "sympy", "torch"}

# torch is an extra: these modules need it, and nothing else imports them.
TORCH = NEEDS_TORCH
SOCKETS = (
    "runtime.cluster.joining",  # asks whether the cluster's head is there
    "runtime.operation.health",
    "runtime.party.endpoints",
    "runtime.party.server.processes",
    "runtime.party.tls",
    "runtime.party.transport",
)

# Where modules are found by name, beside the faces: what the tests of this file cannot follow.
FINDERS = (
    "compiler.registry",
    "protocols.kernels",
    "runtime.cli.app",
    "runtime.cli.start",
    "runtime.intake.extras",
    "runtime.study.statistics",
)


def short(name: str) -> str:
    return name.removeprefix("moiety.")


def listed(imports: list[Import]) -> str:
    return "\n".join(f"{short(i.importer)}:{i.line} imports {short(i.name)}" for i in imports)


def longest(name: str, rooms: tuple[str, ...]) -> str | None:
    """The innermost of these rooms that a module is in."""
    return max((room for room in rooms if within(name, room)), key=len, default=None)


def floor_of(name: str) -> tuple[int, str] | None:
    """The floor and the room on it that a module or a name in one is in."""
    room = longest(name, tuple(room for floor in FLOORS for room in floor))
    if room is None:
        return None
    return next(index for index, floor in enumerate(FLOORS) if room in floor), room


def house_imports() -> list[Import]:
    """Every import of a module of this project, faces aside."""
    return [
        each
        for each in HOUSE.every_import()
        if HOUSE.module_of(each.name) is not None and not is_face(each.importer)
    ]


def is_face(module: str) -> bool:
    return short(module) in INSTALLED and short(module) != "models"


def may_import(importer: str, name: str) -> bool:
    here, there = floor_of(importer), floor_of(name)
    if here is None or there is None:
        return False
    if here[1] == there[1]:
        return True
    if there[0] >= here[0]:
        return False
    narrowed = longest(importer, tuple(NO_MORE))
    if narrowed is None or name.split(".")[0] == importer.split(".")[0]:
        return True
    return any(within(name, each) for each in NO_MORE[narrowed])


def test_every_module_stands_on_a_floor() -> None:
    modules = {short(module) for module in HOUSE.paths if not is_face(module)}
    homeless = {module for module in modules if floor_of(module) is None}
    assert not homeless


def test_every_room_of_the_table_exists() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    rooms += [room for table in (NO_MORE, GUARDED, LIBRARIES) for room in table]
    rooms += [*SOCKETS, *FINDERS, *TORCH, *ARITHMETIC, *TALKS]
    missing = set(rooms) - {short(module) for module in HOUSE.paths}
    assert not missing


def test_arrows_point_down() -> None:
    wrong = [i for i in house_imports() if not may_import(short(i.importer), short(i.name))]
    assert not wrong, listed(wrong)


def test_guarded_modules_have_few_visitors() -> None:
    wrong = [
        each
        for each in house_imports()
        for module, visitors in GUARDED.items()
        if within(short(each.name), module)
        and not any(within(short(each.importer), visitor) for visitor in visitors)
        and short(each.importer).rpartition(".")[0] != module.rpartition(".")[0]
    ]
    assert not wrong, listed(wrong)


def test_faces_are_for_visitors() -> None:
    """Inside the house everybody imports from where a thing is defined, so no module loads a whole
    room for one name. A face imports from its own room alone.
    """
    wrong = [
        each
        for each in HOUSE.every_import()
        if (module := HOUSE.module_of(each.name)) is not None
        and (
            (is_face(module) and short(each.importer).split(".")[0] in INSTALLED)
            or (is_face(each.importer) and not within(module, each.importer))
        )
    ]
    assert not wrong, listed(wrong)


def test_no_circle() -> None:
    """Not even one that an import inside a function, or for types alone, would hide."""
    found = circles(HOUSE.graph("module", "function", "type checking"))
    assert not found


def test_no_import_inside_a_function() -> None:
    wrong = [
        i
        for i in HOUSE.every_import()
        if i.place == "function" and short(i.importer).split(".")[0] in INSTALLED
    ]
    assert not wrong, listed(wrong)


def test_torch_is_an_extra() -> None:
    wrong = [
        i
        for i in HOUSE.every_import()
        if (i.name.split(".")[0] == "torch" or any(within(short(i.name), each) for each in TORCH))
        and short(i.importer) not in TORCH
    ]
    assert not wrong, listed(wrong)


def test_few_modules_find_others_by_name() -> None:
    wrong = [
        i
        for i in HOUSE.every_import()
        if i.name.split(".")[0] in ("importlib", "pkgutil", "runpy")
        and not within(i.name, "importlib.metadata")
        and short(i.importer).split(".")[0] in INSTALLED
        and not is_face(i.importer)
        and not any(within(short(i.importer), each) for each in FINDERS)
    ]
    assert not wrong, listed(wrong)


def test_libraries_are_used_where_they_belong() -> None:
    wrong = []
    for each in HOUSE.every_import():
        top = each.name.split(".")[0]
        room = longest(short(each.importer), tuple(LIBRARIES))
        if room is None or HOUSE.module_of(each.name) or top in sys.stdlib_module_names:
            continue
        if top not in LIBRARIES[room]:
            wrong.append(each)
    assert not wrong, listed(wrong)


def test_a_party_needs_no_compiler() -> None:
    """Everything that `moiety serve` and `moiety infer` load, followed through the source;
    test_party_process.py looks at real processes.
    """
    missing = set(PARTY) - set(HOUSE.paths)
    assert not missing
    roots = [module for name in PARTY for module in HOUSE.paths if within(module, name)]
    loaded = {short(name) for name in HOUSE.closure(roots)}
    assert {name.split(".")[0] for name in loaded} == {"protocols", "runtime"}
    libraries = {
        (name, library)
        for name in HOUSE.closure(roots)
        for library in HOUSE.foreign(name) & NOT_IN_A_PARTY
    }
    assert not libraries


def test_the_compiler_needs_no_party() -> None:
    """Faces that load their room at once would bring it in."""
    loaded = {short(name) for name in HOUSE.closure(["moiety.compiler.compile"])}
    rooms = ("runtime.cli", "runtime.intake", "runtime.measure", "runtime.party", "models")
    assert not {name for name in loaded if longest(name, rooms)}


def test_sockets_are_in_few_files() -> None:
    wrong = [
        i
        for i in HOUSE.every_import()
        if i.name.split(".")[0] in ("asyncio", "http", "socket", "socketserver", "ssl")
        and short(i.importer).split(".")[0] in ("compiler", "protocols", "runtime")
        and short(i.importer) not in SOCKETS
    ]
    assert not wrong, listed(wrong)


def test_nothing_executable_is_ever_read() -> None:
    wrong = [
        i
        for i in HOUSE.every_import()
        if i.name.split(".")[0] in ("dill", "joblib", "marshal", "pickle", "shelve")
        and short(i.importer).split(".")[0] in INSTALLED
    ]
    assert not wrong, listed(wrong)
    calls = [
        f"{short(module)}:{node.lineno} calls {ast.unparse(node)}"
        for module, path in HOUSE.paths.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and runs_what_it_reads(node)
    ]
    assert not calls


def runs_what_it_reads(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    keywords = {each.arg: ast.unparse(each.value) for each in call.keywords}
    return (
        name in ("eval", "exec")
        or keywords.get("allow_pickle") == "True"
        or (name == "torch.load" and keywords.get("weights_only") != "True")
    )
