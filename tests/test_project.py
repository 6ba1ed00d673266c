"""The rules of the house, read off the sources: ranks, names, sizes, stubs, forbidden text."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.ranks import CORE_RANK, RANK, part_of, upward_imports
from tests.support.source_tree import (
    PACKAGE,
    ROOT,
    c_function_headers,
    functions,
    imports,
    module_name,
    returns_object,
    sources,
    tree,
)

pytestmark = pytest.mark.usefixtures("forgotten_trees")
# The modules that the implementations of a folder may import in addition to its `base`.
SHARED_BY_IMPLEMENTATIONS = {"protocols": {"native_client"}, "transports": {"early_bytes", "edge", "sockets"}}
SHARED_BY_IMPLEMENTATIONS["transports"] |= {"lookups", "race"}
SHARED_BY_IMPLEMENTATIONS["stores"] = {"expiring", "remote"}
SHARED_BY_IMPLEMENTATIONS["brokers"] = {"embedded", "local", "observed"}

# A service serves these implementations, and its client is another one.
SERVED_BY = {"brokers": {"remote": {"memory", "sqlite"}}}

# Modules that are no implementations: they use one through its `base`, and no implementation imports them.
FACADES = {
    "brokers": {
        "broker",
        "broker_urls",
        "current",
        "declared",
        "member_messages",
        "message",
        "subscribers",
        "subscription",
        "sync",
        "topic",
        "traces",
        "values",
    }
}

# The rooms that know neither sockets nor event loops: bytes in, bytes and events out.
SANS_IO = CORE_RANK.keys() - {"client", "http", "io", "loop", "server", "streams"}
INPUT_OUTPUT = {"asyncio", "socket", "select", "selectors", "ssl", "threading", "uvloop"}

# The modules that serve the calls of every protocol.
OF_EVERY_PROTOCOL = {"gate", "served_connection", "admission", "served_call", "handler_runner"}

FILE_LINES = {".py": 500, ".pyi": 500, ".pyx": 700, ".pxd": 700, ".h": 700}
FUNCTION_LINES, ARGUMENTS, CONSTRUCTOR_ARGUMENTS = 40, 7, 8
CONSTRUCTORS = {"__init__", "__cinit__", "__new__"}
# Their arguments are settings.
OPTION_TAKERS = {
    "with_options",
    "method",
    "function",
    "subscriber",
    "serve",
    "server",
    "serving",
    "connected",
}
SETTINGS_BY_NAME = {PACKAGE / "auth" / "json_web_tokens.py", PACKAGE / "server" / "server.py"}
SETTINGS_BY_NAME |= {PACKAGE / "testing" / "fixture_types.py"}

VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"}
# Abbreviations, and words for which the glossary has another.
FOREIGN_WORDS = VAGUE_NAMES | {"ctx", "cfg", "conn", "req", "resp", "buf", "addr", "idx", "cnt", "mgr", "svc"}
NAMED_BY_OTHERS = {"request_serializer", "response_serializer"}  # in generated code
FOREIGN_WORDS |= {"srv", "middleware", "servant", "serializer", "heartbeat", "packet", "discovery", "picker"}

CODE = sources(".py", ".pyx", ".pxd")
PACKAGE_CODE = [path for path in CODE if PACKAGE in path.parents]
PACKAGE_PYTHON = [path for path in PACKAGE_CODE if path.suffix == ".py"]
OUTSIDE = [path for path in (*ROOT.iterdir(), *ROOT.glob("ci/*"), *ROOT.glob(".ci/*")) if path.is_file()]
OUTSIDE = sorted(path for path in OUTSIDE if path.suffix in {"", ".md"} and not path.name.startswith(".git"))
CORE = PACKAGE / "_core"
HARNESS = ROOT / "src" / "fastrpc_harness"
CYTHON_MODULES = sorted([*CORE.rglob("*.pyx"), *HARNESS.glob("*.pyx")])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def offenders(paths: Iterable[Path], wrong_in: Callable[[Path], Iterable[object]]) -> list[str]:
    """Return the findings of a rule, a line each, with the file: one test judges all files."""
    return [f"{name_of(path)}: {wrong}" for path in paths for wrong in wrong_in(path)]


def test_a_rule_lists_each_offending_file_with_its_mistake() -> None:
    found = offenders(
        [ROOT / "setup.py", ROOT / "README.md"], lambda path: [1, 2] if path.suffix == ".py" else []
    )
    assert found == ["setup.py: 1", "setup.py: 2"]


def takes_clock(node: ast.AST) -> bool:
    """Whether code subtracts from the clock or adds to it."""
    return any(
        isinstance(part, ast.BinOp) and re.search(r"\b(monotonic|perf_counter|time)\(\)", ast.unparse(part))
        for part in ast.walk(node)
    )


def timed_asserts(path: Path) -> Iterator[str]:
    """Yield the asserts of elapsed time in tests that are not marked as measures."""
    for test in ast.walk(tree(path)):
        if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef) or not test.name.startswith("test"):
            continue
        if any("mark.measures" in ast.unparse(mark) for mark in test.decorator_list):
            continue
        spans = {
            target.id
            for node in ast.walk(test)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp) and takes_clock(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(test):
            if isinstance(node, ast.Assert) and (
                takes_clock(node.test)
                or any(isinstance(part, ast.Name) and part.id in spans for part in ast.walk(node.test))
            ):
                yield f"{node.lineno}: {test.name} asserts a time and is no measure"


def test_only_measures_assert_elapsed_time() -> None:
    texts = {path: path.read_text() for path in sources(".py") if path.name.startswith("test_")}
    files = [
        path
        for path, text in texts.items()
        if re.search(r"\b(monotonic|perf_counter|time)\(\)", text)
        and "pytestmark = pytest.mark.measures" not in text
    ]
    assert offenders(files, timed_asserts) == []


class TestLayers:
    def test_every_part_of_the_package_has_a_rank(self) -> None:
        parts = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
        assert parts - {"__pycache__"} == RANK.keys()

    def test_imports_point_down(self) -> None:
        assert offenders(PACKAGE_CODE, lambda path: upward_imports(path, module_name(path))) == []

    def test_every_room_of_the_core_has_a_rank(self) -> None:
        rooms = {path.name for path in CORE.iterdir() if path.is_dir()}
        assert rooms - {"__pycache__"} == CORE_RANK.keys()

    def test_imports_between_rooms_of_the_core_point_down(self) -> None:
        def wrong_in(path: Path) -> Iterator[str]:
            own = path.parent.name
            for item in imports(path):
                parts = item.module.split(".")
                if (
                    parts[:2] == ["fastrpc", "_core"]
                    and parts[2] != own
                    and CORE_RANK[parts[2]] >= CORE_RANK[own]
                ):
                    yield f"line {item.line}: {own} (rank {CORE_RANK[own]}) imports {item.module}"

        assert offenders([path for path in PACKAGE_CODE if path.parent.parent == CORE], wrong_in) == []

    def test_compiled_modules_lie_in_rooms(self) -> None:
        assert [name_of(path) for path in CYTHON_MODULES if path.parent == CORE] == []

    def test_implementations_import_their_base_but_not_each_other(self) -> None:
        def wrong_in(path: Path) -> set[str]:
            folder, implementation = part_of(module_name(path)), module_name(path).split(".")[2:3]
            has_base = any((PACKAGE / folder / name).exists() for name in ("base.py", "base"))
            facade = FACADES.get(folder, set())
            if folder == "_core" or not has_base or {"base", *facade}.issuperset(implementation):
                return set()
            inside = [item.module.split(".") for item in imports(path) if part_of(item.module) == folder]
            served = SERVED_BY.get(folder, {}).get("".join(implementation), set())
            shared = SHARED_BY_IMPLEMENTATIONS.get(folder, set()) | served
            return {".".join(parts[2:3]) for parts in inside} - {"base", *shared, *implementation}

        assert offenders(PACKAGE_CODE, wrong_in) == []

    def test_imports_form_no_cycle(self) -> None:
        graph: dict[str, set[str]] = {}
        for path in PACKAGE_CODE:
            needed = {item.module for item in imports(path) if not item.deferred}
            graph.setdefault(module_name(path), set()).update(needed - {module_name(path)})
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(f"modules import each other: {' → '.join(error.args[1])}")

    def test_the_gate_knows_no_protocol(self) -> None:
        files = [CORE / "server" / f"{name}{kind}" for name in OF_EVERY_PROTOCOL for kind in (".pyx", ".pxd")]
        files += (PACKAGE / "handlers").rglob("*.py")
        foreign = ("fastrpc._core.native", "fastrpc._core.io", "fastrpc._core.server.server_connection")
        found = offenders(
            files, lambda path: [item.module for item in imports(path) if item.module.startswith(foreign)]
        )
        assert found == []

    def test_core_below_the_sessions_knows_no_input_output(self) -> None:
        below = [path for path in PACKAGE_CODE if path.parent.parent == CORE and path.parent.name in SANS_IO]
        assert below
        found = offenders(
            below, lambda path: {item.module.partition(".")[0] for item in imports(path)} & INPUT_OUTPUT
        )
        assert found == []

    def test_the_package_imports_nothing_of_the_harness(self) -> None:
        found = offenders(
            PACKAGE_CODE, lambda path: [item for item in imports(path) if HARNESS.name in item.module]
        )
        assert found == []

    def test_the_package_has_no_hooks_of_benchmarks(self) -> None:
        assert found_in(PACKAGE_CODE, r"\bdef _measure_\w+\(|[Bb]ench hook") == []


class TestSizes:
    def test_files_are_short(self) -> None:
        def wrong_in(path: Path) -> list[str]:
            lines = len(path.read_text(encoding="utf-8").splitlines())
            limit = FILE_LINES[path.suffix]
            return [f"{lines} lines, the limit is {limit}"] if lines > limit else []

        assert offenders(sources(*FILE_LINES), wrong_in) == []

    def test_functions_are_short(self) -> None:
        found = offenders(
            CODE,
            lambda path: [
                f"{item.name} has {item.lines} lines"
                for item in functions(path)
                if item.lines > FUNCTION_LINES
            ],
        )
        assert found == []

    def test_functions_take_few_arguments(self) -> None:
        found = offenders(
            CODE,
            lambda path: [
                f"{item.name} takes {len(item.parameters)}"
                for item in functions(path)
                if item.name not in OPTION_TAKERS
                and not _is_command(path, item.name)
                and not (item.name in {*CONSTRUCTORS, "__call__"} and path in SETTINGS_BY_NAME)
                and len(item.parameters) > (CONSTRUCTOR_ARGUMENTS if item.name in CONSTRUCTORS else ARGUMENTS)
            ],
        )
        assert found == []


def _is_command(path: Path, function: str) -> bool:
    """Tell whether this is a command, whose parameters are the options it has."""
    return PACKAGE / "cli" in path.parents and function in _listed_names(path)


class TestNames:
    def test_no_file_or_folder_has_a_vague_name(self) -> None:
        def wrong_in(path: Path) -> set[str]:
            return VAGUE_NAMES & {
                word for part in path.relative_to(ROOT).parts for word in re.split(r"[._]", part)
            }

        assert offenders(sources(*FILE_LINES), wrong_in) == []

    def test_names_use_the_words_of_the_glossary(self) -> None:
        found = offenders(
            PACKAGE_PYTHON,
            lambda path: [
                name for name in _defined_names(tree(path)) if FOREIGN_WORDS & set(name.lower().split("_"))
            ],
        )
        assert found == []

    def test_public_definitions_are_listed_in_all(self) -> None:
        def wrong_in(path: Path) -> set[str]:
            defined = {
                node.name
                for node in tree(path).body
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and not node.name.startswith("_")
            }
            listed = _listed_names(path)
            unknown = listed - defined - _bound_names(tree(path))
            # The functions of the command line are its commands.
            return unknown if part_of(module_name(path)) == "cli" else unknown | defined - listed

        assert offenders(PACKAGE_PYTHON, wrong_in) == []

    def test_front_door_lists_all_of_its_re_exports(self) -> None:
        front_door = PACKAGE / "__init__.py"
        offered = {
            alias.asname or alias.name
            for node in tree(front_door).body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastrpc.")
            for alias in node.names
        }
        assert {name for name in offered if not name.startswith("_")} <= _listed_names(front_door)

    def test_modules_import_and_have_every_name_they_list(self) -> None:
        def wrong_in(path: Path) -> set[str]:
            module = importlib.import_module(module_name(path))
            return {name for name in _listed_names(path) if not hasattr(module, name)}

        assert offenders([path for path in PACKAGE_PYTHON if path.name != "__main__.py"], wrong_in) == []


class TestContents:
    def test_files_state_their_purpose(self) -> None:
        def wrong_in(path: Path) -> list[str]:
            text = re.sub(r"\A(?:#[^\n]*\n)+", "", path.read_text(encoding="utf-8"))
            return ["no docstring"] if text and not text.startswith(('"""', 'r"""')) else []

        described = [path for path in CODE if path.suffix != ".pxd" and not path.name.startswith("test_")]
        assert offenders(described, wrong_in) == []

    def test_nothing_unsafe_is_imported(self) -> None:
        unsafe = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "imp", "distutils"}
        found = offenders(
            PACKAGE_CODE, lambda path: {item.module.partition(".")[0] for item in imports(path)} & unsafe
        )
        assert found == []

    def test_forbidden_calls_do_not_appear(self) -> None:
        # wait_for of asyncio can swallow a cancellation before Python 3.12; loop policies belong to the program;
        # create_connection(sock=…) once closed a reused descriptor in uvloop.
        assert (
            found_in(
                PACKAGE_CODE,
                r"(?<!changed\.)\bwait_for\b|set_event_loop_policy|create_connection\([^)]*\bsock=",
            )
            == []
        )

    def test_nothing_forges_code_or_reads_its_own_source(self) -> None:
        # Byte code differs from version to version, and an installation may come without sources.
        assert found_in(PACKAGE_CODE, r"\bco_code\b|__code__\.replace|\bCodeType\(|getsource") == []

    def test_no_work_is_left_for_later(self) -> None:
        assert found_in(CODE, r"\b(?:T[O]DO|FIX[M]E|X[X]X)\b") == []

    def test_no_file_names_a_place_on_one_machine(self) -> None:
        assert found_in([*sources(*FILE_LINES, ".md", ".toml"), *OUTSIDE], r"/(?:home|root|Users)/\w+") == []

    def test_unit_tests_do_not_sleep(self) -> None:
        # sleep(0) only lets the loop turn once.
        unit_tests = [path for path in CODE if {"unit", "property"} & set(path.parts)]
        assert found_in(unit_tests, r"\bsleep\((?!0[,)])") == []

    def test_generated_files_do_not_lie_next_to_the_sources(self) -> None:
        annotated = [path for path in PACKAGE.rglob("*.html") if path.with_suffix(".pyx").exists()]
        assert sorted(PACKAGE.rglob("*.c")) + annotated == []


class TestCompiledModules:
    def test_each_module_has_its_declarations_and_its_stub_next_to_it(self) -> None:
        def wrong_in(path: Path) -> list[str]:
            return [suffix for suffix in (".pxd", ".pyi") if not path.with_suffix(suffix).exists()]

        assert offenders(CYTHON_MODULES, wrong_in) == []

    def test_every_c_function_says_how_it_fails(self) -> None:
        def wrong_in(path: Path) -> Iterator[str]:
            for line, text in c_function_headers(path):
                if not re.search(r"\b(?:noexcept|except)\b", text) and not returns_object(text):
                    yield f"line {line}: {text}"

        files = [file for path in CYTHON_MODULES for file in (path, path.with_suffix(".pxd"))]
        assert offenders(files, wrong_in) == []

    def test_stubs_and_compiled_modules_have_the_same_names(self) -> None:
        def wrong_in(path: Path) -> set[str]:
            module = importlib.import_module(module_name(path))
            assert not str(module.__file__).endswith(".py")
            stub = tree(path.with_suffix(".pyi"))
            stubbed = {
                name for name in _bound_names(stub) | _stub_definitions(stub) if not name.startswith("_")
            }
            missing = {name for name in _stub_definitions(stub) if not hasattr(module, name)}
            return set(_public_definitions(module)) - stubbed | missing

        assert offenders(CYTHON_MODULES, wrong_in) == []

    def test_stubs_describe_their_classes(self) -> None:
        found = offenders(
            CYTHON_MODULES,
            lambda path: [
                node.name
                for node in tree(path.with_suffix(".pyi")).body
                if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
            ],
        )
        assert found == []

    def test_stubs_and_compiled_classes_have_the_same_members(self) -> None:
        def wrong_in(path: Path) -> Iterator[str]:
            module = importlib.import_module(module_name(path))
            for node in tree(path.with_suffix(".pyi")).body:
                # A private class of a stub is for type checkers alone.
                if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                    continue
                compiled, stubbed = getattr(module, node.name), _stub_definitions(node)
                present = {name for name in vars(compiled) if not name.startswith("_")}
                missing = {name for name in stubbed if not hasattr(compiled, name)}
                yield from (f"{node.name}.{name}" for name in present - stubbed | missing)

        assert offenders(CYTHON_MODULES, wrong_in) == []


def found_in(paths: Iterable[Path], pattern: str) -> list[str]:
    """Return where a pattern occurs in the text of files."""
    return offenders(paths, lambda path: re.findall(pattern, path.read_text(encoding="utf-8")))


def _defined_names(module: ast.Module) -> set[str]:
    """Return the names a module gives to its functions, classes, parameters, variables and attributes."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names - NAMED_BY_OTHERS


def _listed_names(path: Path) -> set[str]:
    """Return the names in a module's `__all__`."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            assert len(names) == len(set(names))
            return set(names)
    return set()


def _bound_names(module: ast.Module) -> set[str]:
    """Return the names that imports and assignments of a module bind."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in module.body:
        for target in [*getattr(node, "targets", []), getattr(node, "target", None)]:
            if isinstance(target, ast.Name):
                names.add(target.id)
    return names


def _stub_definitions(node: ast.Module | ast.ClassDef) -> set[str]:
    """Return the definitions that a stub, or a class in it, declares for run time."""
    names = set()
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(item.name)
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            names.add(item.target.id)
    return {name for name in names if not name.startswith("_")}


def _public_definitions(module: ModuleType) -> list[str]:
    """Return the classes and functions that a compiled module defines for other modules."""
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isroutine(value))
        and getattr(value, "__module__", None) == module.__name__
    ]
