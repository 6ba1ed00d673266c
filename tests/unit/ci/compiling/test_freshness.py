"""The keys of compiled modules: each change gives another one, and nothing else does."""

import copy
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import Cython
import pytest
from Cython.Build.Dependencies import create_dependency_tree
from Cython.Compiler.Main import Context
from Cython.Compiler.Options import CompilationOptions

from ci.compiling import freshness
from ci.compiling.freshness import Record, declarations_of, describe_tools, key_of
from ci.compiling.profiles import DIRECTIVES, PROFILES, extensions_of
from tests.support.source_tree import ROOT

COMPILER = ["gcc", "-fwrapv", "-O3"]
LINKER = ["gcc", "-shared"]


def settings() -> dict[str, Any]:
    """What the key of a module of the release covers, but files."""
    return {
        "tools": describe_tools(COMPILER, LINKER, DIRECTIVES),
        "name": "fastrpc._core.base.one",
        "macros": list(PROFILES["release"].macros.items()),
        "arguments": [list(PROFILES["release"].compile_arguments), list(PROFILES["release"].link_arguments)],
    }


def tools(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda made_with: made_with["tools"].update(changes)


def directive(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda made_with: made_with["tools"]["directives"].update({name: value})


def variable(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda made_with: made_with["tools"]["environment"].update({name: "/other"})


def argument(group: int, value: str) -> Callable[[dict[str, Any]], None]:
    return lambda made_with: made_with["arguments"][group].append(value)


def part(name: str, at: int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(made_with: dict[str, Any]) -> None:
        made_with["tools"][name] = list(made_with["tools"][name])
        made_with["tools"][name][at] = value

    return change


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "a newer Cython": tools(cython="3.3.2"),
    "another way of building": tools(format=2),
    "bounds that are checked": directive("boundscheck", True),
    "no check for None": directive("nonecheck", False),
    "lines traced": directive("linetrace", True),
    "division of Python": directive("cdivision", False),
    "comments in the C": directive("emit_code_comments", True),
    "another language level": directive("language_level", 2),
    "a newer compiler": part("compiler", 0, "gcc 13.1"),
    "a compiler for another machine": part("compiler", 1, "aarch64-linux-gnu"),
    "clang": part("commands", 0, ["clang", "-fwrapv", "-O3"]),
    "flags of the environment": part("commands", 0, [*COMPILER, "-march=native"]),
    "a flag of the environment less": part("commands", 0, COMPILER[:-1]),
    "flags in another order": part("commands", 0, ["gcc", "-O3", "-fwrapv"]),
    "another linker": part("commands", 1, ["gcc", "-shared", "-fuse-ld=gold"]),
    "one word made two": part("commands", 1, ["gcc -shared"]),
    "another interpreter": part("interpreter", 0, "3.11.8 (main)"),
    "another ABI": part("interpreter", 1, ".cpython-311d-x86_64-linux-gnu.so"),
    "another configuration": part("interpreter", 2, "'--with-pydebug'"),
    "another pyconfig.h": part("headers", 0, "0" * 64),
    "another patchlevel.h": part("headers", 1, "0" * 64),
    "another machine": part("system", 0, "aarch64"),
    "musl": part("system", 1, "musl"),
    "another libc": part("system", 2, "2.41"),
    "CPATH": variable("CPATH"),
    "C_INCLUDE_PATH": variable("C_INCLUDE_PATH"),
    "COMPILER_PATH": variable("COMPILER_PATH"),
    "LIBRARY_PATH": variable("LIBRARY_PATH"),
    "SDKROOT": variable("SDKROOT"),
    "another module": lambda made_with: made_with.update(name="fastrpc._core.base.two"),
    "a macro more": lambda made_with: made_with["macros"].append(("FASTRPC_UNCOUNTED", "1")),
    "a macro less": lambda made_with: made_with["macros"].pop(),
    "another value of a macro": lambda made_with: made_with.update(macros=[("CYTHON_COMPRESS_STRINGS", "1")]),
    "a compiler argument": argument(0, "-Os"),
    "a linker argument": argument(1, "-Wl,-z,now"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_an_input_of_a_module_changes_its_key(change: str) -> None:
    before = settings()
    after = copy.deepcopy(before)
    CHANGES[change](after)
    assert key_of(after, []) != key_of(before, [])


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("one.pyx", "one.pxd", "two.pxd", "wire.h")]
    for path in found:
        path.write_text(f"content of {path.name}\n")
    return found


@pytest.mark.parametrize("name", ["one.pyx", "one.pxd", "two.pxd", "wire.h"])
def test_a_change_of_a_file_changes_the_key(files: list[Path], name: str) -> None:
    before = key_of({}, files)
    changed = next(path for path in files if path.name == name)
    changed.write_text(f"Content of {name}\n")
    assert key_of({}, files) != before


def test_a_file_more_less_or_renamed_changes_the_key(files: list[Path], tmp_path: Path) -> None:
    before = key_of({}, files)
    assert key_of({}, files[1:]) != before
    renamed = files[0].rename(tmp_path / "three.pyx")
    assert key_of({}, [renamed, *files[1:]]) != before


def test_contents_that_change_places_change_the_key(files: list[Path]) -> None:
    before = key_of({}, files)
    one, two = files[1].read_text(), files[2].read_text()
    files[1].write_text(two)
    files[2].write_text(one)
    assert key_of({}, files) != before


def test_a_key_depends_neither_on_order_nor_on_times(files: list[Path]) -> None:
    before = key_of({"a": 1, "b": 2}, files)
    for path in files:
        shutil.copystat(ROOT / "README.md", path)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert key_of({"b": 2, "a": 1}, reversed(files)) == before


def test_the_compiler_behind_ccache_is_the_one_described(tmp_path: Path) -> None:
    starter = tmp_path / "ccache"
    starter.write_text('#!/bin/sh\nexec "$@"\n')
    starter.chmod(0o755)
    assert (
        describe_tools([str(starter), *COMPILER], LINKER, {})["compiler"]
        == describe_tools(COMPILER, LINKER, {})["compiler"]
    )


def test_tools_have_the_versions_of_this_build() -> None:
    made_with = describe_tools(COMPILER, LINKER, DIRECTIVES)
    assert made_with["cython"] == Cython.__version__
    assert "gcc" in str(made_with["compiler"])
    assert len(str(made_with["headers"])) > 2 * 64


def test_declarations_are_found_as_by_cython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    tree = create_dependency_tree(Context.from_options(CompilationOptions(include_path=["src"])), quiet=True)
    sources = [Path(each.sources[0]) for each in extensions_of("release", with_harness=True)]
    wrong = {
        source: found ^ known
        for source in sources
        if source.exists()
        and (found := {path.as_posix() for path in declarations_of(source, Path("src"))})
        != (
            known := {
                path
                for path in tree.all_dependencies(str(source))
                if path.startswith("src/") and path.endswith(".pxd")
            }
        )
    }
    assert wrong == {}


def test_a_record_maps_built_files_to_their_keys(tmp_path: Path) -> None:
    module = tmp_path / "one.so"
    module.write_bytes(b"compiled")
    record = Record(tmp_path / "built.json")
    assert not record.is_fresh(module, "key")
    record.add(module, "key")
    record.save()
    read = Record(tmp_path / "built.json")
    assert read.is_fresh(module, "key")
    assert not read.is_fresh(module, "other key")


@pytest.mark.parametrize("content", [b"compiled otherwise", None])
def test_a_module_that_was_replaced_or_removed_is_stale(tmp_path: Path, content: bytes | None) -> None:
    module = tmp_path / "one.so"
    module.write_bytes(b"compiled")
    record = Record(tmp_path / "built.json")
    record.add(module, "key")
    module.unlink()
    if content:
        module.write_bytes(content)
    assert not record.is_fresh(module, "key")


def test_variables_of_the_environment_are_read_when_tools_are_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key_of(describe_tools(COMPILER, LINKER, {}), [])
    monkeypatch.setenv("CPATH", "/other/include")
    assert key_of(describe_tools(COMPILER, LINKER, {}), []) != before
    assert "CPATH" in freshness.VARIABLES
