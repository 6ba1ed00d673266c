"""The headers of CPython that gcc reads once."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from setuptools import Extension

from ci.compiling.precompiled import PrecompiledHeaders

INCLUDED = f"-I{sysconfig.get_paths()['include']}"
MODULE = "#define PY_SSIZE_T_CLEAN\n#include <Python.h>\nPyObject *kept;\n"


def extension(name: str, *flags: str) -> Extension:
    return Extension(name, [f"{name}.c"], extra_compile_args=list(flags))


@pytest.fixture
def headers(tmp_path: Path) -> PrecompiledHeaders:
    version = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in version:
        pytest.skip("the compiler is not gcc")
    return PrecompiledHeaders(["cc", "-fPIC", INCLUDED], tmp_path / "headers")


def reads_precompiled(tmp_path: Path, *arguments: str) -> bool:
    """Compile a module, and return whether the compiler took a precompiled header."""
    (tmp_path / "module.c").write_text(MODULE)
    command = ["cc", "-fPIC", INCLUDED, "-H", "-c", "module.c", "-o", "module.o", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    return any(line.startswith("! ") for line in done.stderr.splitlines())


def test_modules_of_the_same_flags_share_a_header(headers: PrecompiledHeaders, tmp_path: Path) -> None:
    one, two = extension("one", "-O1"), extension("two", "-O1")
    headers.prepare([one, two])
    headers.wait()
    assert headers.arguments_for(one) == headers.arguments_for(two) != []
    assert reads_precompiled(tmp_path, "-O1", *headers.arguments_for(one))


def test_a_module_with_separate_flags_has_no_header(headers: PrecompiledHeaders) -> None:
    alone = extension("alone", "-O2")
    headers.prepare([extension("one", "-O1"), extension("two", "-O1"), alone])
    headers.wait()
    assert headers.arguments_for(alone) == []


def test_a_precompiled_header_for_other_options_is_not_used(
    headers: PrecompiledHeaders, tmp_path: Path
) -> None:
    one, two = extension("one", "-O1"), extension("two", "-O1")
    headers.prepare([one, two])
    headers.wait()
    assert not reads_precompiled(tmp_path, "-DPy_LIMITED_API", *headers.arguments_for(one))


def test_a_compiler_without_precompiled_headers_is_no_failure(tmp_path: Path) -> None:
    headers = PrecompiledHeaders(["false"], tmp_path)
    one = extension("one", "-O1")
    headers.prepare([one, extension("two", "-O1")])
    headers.wait()
    assert headers.arguments_for(one) != []
    assert not reads_precompiled(tmp_path, *headers.arguments_for(one))
