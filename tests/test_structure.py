"""The tree keeps its promises: who imports whom, which unit has which twin, timing and test."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from amaranth.hdl import Fragment
from amaranth.lib import wiring

from deltamoe.boards import PRESETS
from deltamoe.rtl.accelerator import Accelerator
from deltamoe.rtl.record import Record, units

ROOT = Path(__file__).parents[1]
PACKAGES = {"golden": "deltamoe.golden", "rtl": "deltamoe.rtl", "sim": "deltamoe.sim",
            "boards": "deltamoe.boards", "scripts": "deltamoe"}
"""The name of each folder's package."""

SHARED = {
    "deltamoe.golden.config",
    "deltamoe.golden.numerics",
    "deltamoe.golden.operators",
    "deltamoe.golden.quantization.shapes",
    "deltamoe.golden.sparsity.names",
    "deltamoe.golden.sparsity.work",
    "deltamoe.golden.tables",
    "deltamoe.golden.temporal.policy",
}
"""The part of golden that describes a network and holds constants, without arithmetic."""


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules(*packages: str) -> dict[str, Path]:
    """Every module's dotted name."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT / package).with_suffix("").parts
            name = ".".join((PACKAGES.get(package, package.replace("/", ".")), *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def folder_of(name: str) -> str:
    """Return the folder that a module of the package lies in."""
    second = name.split(".")[1] if "." in name else ""
    return second if PACKAGES.get(second) == f"deltamoe.{second}" else "scripts"


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, at its top or anywhere below."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module != "deltamoe":
                yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def components(path: Path) -> list[ast.ClassDef]:
    return [node for node in parse(path).body if isinstance(node, ast.ClassDef)
            and any(ast.unparse(base) == "wiring.Component" for base in node.bases)]


UNITS = {name: path for name, path in modules("rtl").items() if components(path)}
TWINS = sorted({f"deltamoe.golden.{unit.record.twin}" for unit in units().values()
                if unit.record.twin is not None})


@pytest.mark.parametrize("name", list(modules(*PACKAGES)))
def test_imports_follow_the_direction(name: str) -> None:
    """golden.config <- rtl <- sim <- boards <- the face; host below all; torch in golden."""
    allowed = {"golden": {"golden"}, "rtl": {"rtl"}, "sim": {"sim", "rtl"},
               "boards": {"boards", "rtl", "sim"}, "scripts": set(PACKAGES)}
    package = folder_of(name)
    for used in imports(modules(package)[name]):
        top = used.split(".", maxsplit=1)[0]
        assert top not in {"cocotb", "tests", *PACKAGES}, f"{name} imports {used}"
        assert top != "torch" or package == "golden", f"{name} imports {used}"
        if top != "deltamoe":
            continue
        if folder_of(used) not in allowed[package]:
            assert any(f"{used}.".startswith(f"{shared}.") for shared in SHARED) or (
                f"{used}.".startswith("deltamoe.host.") and (
                    package in {"golden", "boards"} or name == "deltamoe.rtl.generate")), (
                f"{name} imports {used}")
        if name.startswith("deltamoe.host"):
            assert f"{used}.".startswith("deltamoe.host."), f"{name} imports {used}"


COMMANDS = {name: path for name, path in modules("scripts").items()
            if name.startswith("deltamoe.commands")}
LONGEST_COMMAND = 60
"""Lines of a command, which parses and prints; whatever else it does, a function does for it."""


@pytest.mark.parametrize("name", list(COMMANDS))
def test_commands_are_short(name: str) -> None:
    assert len(COMMANDS[name].read_text().splitlines()) <= LONGEST_COMMAND


@pytest.mark.parametrize("name", list(modules(*PACKAGES, "tests")))
def test_nobody_imports_a_command(name: str) -> None:
    """Not another command, no library and no test: the command line calls it by its name."""
    path = modules(*PACKAGES, "tests")[name]
    named = [node.value for node in ast.walk(parse(path))
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for used in [*imports(path), *named]:
        assert not any(used.startswith(f"{command}.") or used == command
                       for command in COMMANDS if command != "deltamoe.commands"), used


def test_config_and_tables_need_no_torch() -> None:
    """Nor does anything but golden's arithmetic, through whatever it imports."""
    names = ("golden.config", "golden.tables", "rtl.accelerator", "rtl.compiler.entry",
             "sim.machine", "sim.energy.estimate", "sim.report.trace")
    code = f"import sys, {', '.join(f'deltamoe.{name}' for name in names)}"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_unit_has_a_record() -> None:
    """It computes what a module of golden does, or moves values and never changes one."""
    named = [owner.name for path in UNITS.values() for owner in components(path)]
    assert sorted(named) == sorted(units()), "two units of one name, or one without a record"
    assert set(TWINS) <= modules("golden").keys()
    for twin, moves in ((None, None), ("integer", "moves")):
        with pytest.raises(ValueError, match="a unit computes or moves"):
            Record(twin=twin, moves=moves)


def names(*nodes: ast.AST) -> set[str]:
    """Names that an expression reads, or a target binds."""
    return {node.id for top in nodes for node in ast.walk(top) if isinstance(node, ast.Name)}


def objects(*nodes: ast.AST) -> set[str]:
    """Names that are called or handed on, not only compared or asked for a member."""
    mere = {id(node) for node in nodes} | {
        id(child) for top in nodes for node in ast.walk(top)
        if isinstance(node, ast.Attribute | ast.Compare | ast.BoolOp | ast.UnaryOp)
        for child in ast.iter_child_nodes(node)}
    return {node.id for top in nodes for node in ast.walk(top)
            if isinstance(node, ast.Name) and id(node) not in mere}


def bindings(function: ast.FunctionDef) -> Iterator[tuple[set[str], ast.AST]]:
    """Names that a function binds, and what to."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            yield names(*node.targets), node.value
        elif isinstance(node, ast.AugAssign):
            yield names(node.target), node.value
        elif isinstance(node, ast.For | ast.comprehension):
            yield names(node.target), node.iter


def behind(function: ast.FunctionDef, *nodes: ast.AST) -> list[ast.AST]:
    """Expressions that ``nodes`` of a function depend on, through whatever it assigns."""
    found, bound = list(nodes), list(bindings(function))
    for node in found:
        read = names(node)
        found += [value for targets, value in bound if targets & read and value not in found]
    return found


@cache
def compared(path: Path) -> set[str]:
    """Names whose calls an assertion in a test of a file depends on, through its functions."""
    functions = {node.name: node for node in parse(path).body
                 if isinstance(node, ast.FunctionDef)}
    found = set()
    for name, function in functions.items():
        if name.startswith("test_"):
            nodes = list(ast.walk(function))
            found |= objects(*behind(
                function, *(node.test for node in nodes if isinstance(node, ast.Assert)),
                *(node for node in nodes if isinstance(node, ast.Call)
                  and ast.unparse(node.func).rpartition(".")[2].startswith("assert_"))))
    for name in sorted(functions.keys() & found):
        returned = [node for node in ast.walk(functions[name]) if isinstance(node, ast.Return)]
        found |= objects(*behind(functions[name], *returned))
    return found


@pytest.mark.parametrize("twin", TWINS)
def test_twin_is_tested_against_real_arithmetic(twin: str) -> None:
    """An assertion depends on a call of each of its functions; an import is not enough."""
    public = {node.name for node in parse(modules("golden")[twin]).body
              if isinstance(node, ast.FunctionDef)}
    if twin == "deltamoe.golden.integer":
        public = {"infer"}
    found = {name for path in (ROOT / "tests/golden").glob("test_*.py") for name in compared(path)
             if f"{twin}.{name}" in imports(path)}
    assert found >= public


def test_every_unit_is_part_of_the_accelerator() -> None:
    """Each is made by another, and that one in the end by the accelerator."""
    makes = {owner.name: {ast.unparse(node.func) for node in ast.walk(owner)
                          if isinstance(node, ast.Call)}
             for path in UNITS.values() for owner in components(path)}
    reached, waiting = set(), {"Accelerator"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= (makes[name] & makes.keys()) - reached
    assert reached == makes.keys()


def constants() -> list:
    """Class and name of every constant of a unit: its cycle counts, nearly all of cycles."""
    numbers = [node for node in parse(modules("rtl")["deltamoe.rtl.cycles"]).body
                if isinstance(node, ast.ClassDef)]
    return [pytest.param(unit.name, target.id, id=f"{unit.name}.{target.id}")
            for unit in [*numbers, *(unit for path in UNITS.values() for unit in components(path))]
            for node in unit.body if isinstance(node, ast.Assign) for target in node.targets
            if target.id != "record"]


def test_cycles_are_those_of_the_unit_of_their_name() -> None:
    """Each class of deltamoe.rtl.cycles is a base of the unit, which so has no other numbers."""
    units = {owner.name: owner for path in UNITS.values() for owner in components(path)}
    for node in parse(modules("rtl")["deltamoe.rtl.cycles"]).body:
        if isinstance(node, ast.ClassDef):
            unit = units[node.name]
            assert f"cycles.{node.name}" in map(ast.unparse, unit.bases)
            assert not declared(node) & declared(unit)


def declared(owner: ast.ClassDef) -> set[str]:
    """Names that a class assigns or defines in its body."""
    return {name for part in owner.body for name in (
        [part.name] if isinstance(part, ast.FunctionDef) else
        map(ast.unparse, part.targets) if isinstance(part, ast.Assign) else [])}


@cache
def attributes(path: Path) -> set[str]:
    """Members that a file asks names for; those of deltamoe.rtl.cycles as if they were names."""
    return {ast.unparse(node).removeprefix("cycles.") for node in ast.walk(parse(path))
            if isinstance(node, ast.Attribute) and (
                isinstance(node.value, ast.Name) or ast.unparse(node.value).startswith("cycles."))}


@pytest.mark.parametrize(("unit", "constant"), constants())
def test_timing_is_used(unit: str, constant: str) -> None:
    """A cycle count that nothing reads is a claim that nothing checks."""
    readers = [*modules("rtl", "sim").values(), *(ROOT / "tests").rglob("*.py")]
    own = next(path for path in UNITS.values()
               if any(owner.name == unit for owner in components(path)))
    assert f"self.{constant}" in attributes(own) or any(
        f"{unit}.{constant}" in attributes(path) for path in readers)


def test_times_are_derived_beside_the_unit_s_name() -> None:
    """Each file of sim.units is of the unit whose file in rtl has the same name, and says why."""
    hardware = {name.rpartition(".")[2] for name in UNITS}
    timed = {name.rpartition(".")[2]: path for name, path in modules("sim").items()
             if name.startswith("deltamoe.sim.units.")}
    assert len(timed) > 20
    assert timed.keys() <= hardware
    for path in timed.values():
        assert ast.get_docstring(parse(path))


RUNNERS = {"simulate", "Case", "to_verilog"}
"""What runs its first arguments: in Amaranth's simulator, as a case of both, in Verilator."""


def simulated(function: ast.FunctionDef) -> set[str]:
    """Classes of which a function makes one and runs it."""
    functions = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = zip(target.elts, node.value.elts, strict=True) if (
                    isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                ) else ((target, node.value),)
                functions |= {ast.unparse(name): value.func for name, value in pairs
                              if isinstance(value, ast.Call)}
    ran = [part for node in ast.walk(function) if isinstance(node, ast.Call)
           and ast.unparse(node.func) in RUNNERS for given in node.args for part in ast.walk(given)]
    kinds = {ast.unparse(part.func) for part in ran if isinstance(part, ast.Call)} | {
        ast.unparse(functions[part.id]) for part in ran
        if isinstance(part, ast.Name) and part.id in functions}
    if kinds & {given.arg for given in function.args.args}:
        kinds |= objects(*function.decorator_list)  # a class that is a parameter of the test
    return kinds


def definitions(path: Path) -> dict[str, ast.AST]:
    """Functions, classes and constants of a file, by name."""
    found = {}
    for node in parse(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= dict.fromkeys(names(*node.targets), node)
        elif isinstance(node, ast.AnnAssign):
            found |= dict.fromkeys(names(node.target), node)
    return found


def registered(path: Path) -> dict[str, set[str]]:
    """Functions that a decorator of a file enters into a table, by the table's name."""
    defined, found = definitions(path), {}
    for name, node in defined.items():
        for decorator in getattr(node, "decorator_list", ()):
            for entered in ast.walk(defined.get(ast.unparse(decorator).split("(")[0], ast.Pass())):
                if isinstance(entered, ast.Subscript) and isinstance(entered.ctx, ast.Store):
                    found.setdefault(ast.unparse(entered.value), set()).add(name)
    return found


def reached(files: dict[str, Path]) -> Iterator[ast.AST]:
    """What the tests in these files consist of: their functions, fixtures, and what those name."""
    defined = {module: definitions(path) for module, path in files.items()}
    entered = {module: registered(path) for module, path in files.items()}
    imported = {module: {alias.asname or alias.name: (node.module, alias.name)
                         for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)
                         for alias in node.names} for module, path in files.items()}
    waiting = [(module, name) for module, found in defined.items() for name in found
               if name.startswith("test_")]
    seen = set(waiting)
    for module, name in waiting:
        if name in defined.get(module, {}):
            node = defined[module][name]
            yield node
            fixtures = {given.arg for given in ast.walk(node) if isinstance(given, ast.arg)}
            listed = entered[module].get(name, set())
            following = {(module, used) for used in names(node) | fixtures | listed} - seen
        else:
            following = {imported.get(module, {}).get(name)} - seen - {None}
        seen |= following
        waiting += following


def test_every_unit_is_tested_alone() -> None:
    """Each is made and run by itself in a test; an import is not enough."""
    files = modules("tests/rtl", "tests/bench", "tests/support")
    ran = {name for node in reached(files) for inner in ast.walk(node)
           if isinstance(inner, ast.FunctionDef) for name in simulated(inner)}
    units = {owner.name for path in UNITS.values() for owner in components(path)}
    assert ran >= units


def test_elaborations_are_short() -> None:
    for name, path in modules(*PACKAGES).items():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef) and node.name == "elaborate":
                assert node.end_lineno - node.lineno < 60, f"{name}: elaborate"


LOOSE = 114
"""Ports of all units but the accelerator that are in no signature: no more than there are."""


def test_ports_belong_to_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the accelerator are the pins of a block design, which has no nested ports."""
    elaborated: dict[str, wiring.Component] = {}
    begin = wiring.Component.__init__

    def note(unit, *arguments) -> None:
        begin(unit, *arguments)
        elaborated[type(unit).__name__] = unit

    monkeypatch.setattr(wiring.Component, "__init__", note)
    Fragment.get(Accelerator(replace(PRESETS["nano"], memory_ports=2)), None)
    Fragment.get(Accelerator(replace(PRESETS["zcu102"], last_key=True)), None)
    assert elaborated.keys() >= units().keys()
    loose = [f"{name}.{port}" for name in units() if name != "Accelerator"
             for port, member in elaborated[name].signature.members.items() if member.is_port]
    assert len(loose) <= LOOSE, sorted(loose)
