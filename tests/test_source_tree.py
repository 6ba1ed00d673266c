"""The reader of the sources for the rules of the house reads them correctly."""

from pathlib import Path

import pytest

from tests.support.ranks import upward_imports
from tests.support.source_tree import PACKAGE, functions, imports, module_name, named_imports

CYTHON = '''"""A module.

def not_a_function(a): in a text
"""
from fastrpc._core.base cimport wire
from fastrpc._core.base.buffer cimport (
    ReadBuffer,  # with a comment
    WriteBuffer,
)
cimport cython
import asyncio, socket

cdef object made = dict(a=1)

cdef class Table:
    cdef int declared(self, int a) except -1
    cdef inline int short(self, const char* data, int (*visit)(int, int), dict kept={1: 2}) noexcept: return 1

    def __init__(self, *, a, b=")", **options):
        """Say what it is for.

        At length.
        """
        import json

        pass  # def nested(

    async def last(
        self,
        a: "tuple[int, int]",
        /,
        *rest,
    ) -> None:
        def inner(x):
            return x

        await inner(a)
    # A comment behind the end.

cdef int after(): return 0
'''


@pytest.fixture
def cython_file(tmp_path: Path) -> Path:
    path = tmp_path / "table.pyx"
    path.write_text(CYTHON, encoding="utf-8")
    return path


def test_functions_with_a_body_are_found(cython_file: Path) -> None:
    assert [item.name for item in functions(cython_file)] == ["short", "__init__", "last", "inner", "after"]


def test_lines_are_counted_without_the_docstring(cython_file: Path) -> None:
    lines = {item.name: item.lines for item in functions(cython_file)}
    assert lines == {"short": 1, "__init__": 4, "last": 10, "inner": 2, "after": 1}


def test_parameters_are_counted_without_self_and_signs(cython_file: Path) -> None:
    parameters = {item.name: len(item.parameters) for item in functions(cython_file)}
    assert parameters == {"short": 3, "__init__": 3, "last": 2, "inner": 1, "after": 0}


def test_imports_of_cython_are_found_with_the_module_they_need(cython_file: Path) -> None:
    found = {item.module: item.deferred for item in imports(cython_file)}
    assert found == {
        "fastrpc._core.base.wire": False,
        "fastrpc._core.base.buffer": False,
        "cython": False,
        "asyncio": False,
        "socket": False,
        "json": True,
    }


def test_imports_of_python_know_what_runs_later(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "from fastrpc import errors\n"
        "if TYPE_CHECKING:\n"
        "    from fastrpc.config import Limits\n"
        "def load():\n"
        "    import json\n",
        encoding="utf-8",
    )
    found = {item.module: item.deferred for item in imports(path)}
    assert found == {"typing": False, "fastrpc.errors": False, "fastrpc.config": True, "json": True}


def test_package_is_named_by_its_folder() -> None:
    assert module_name(PACKAGE / "_core" / "__init__.py") == "fastrpc._core"
    assert module_name(PACKAGE / "errors.py") == "fastrpc.errors"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('X = "fastrpc.client.pool:ConnectionPool"', ["fastrpc.client.pool"]),
        ('X = "fastrpc.client.pool"', ["fastrpc.client.pool"]),
        ('X = "fastrpc.client:Client"', ["fastrpc.client"]),
        ('X = "fastrpc.client"', []),
        ('X = "fastrpc.none.pool"', []),
        ('X = "fastrpc.client.pool: it is full"', []),
        ('X = f"fastrpc.server.{a}"', ["fastrpc.server"]),
        ('X = f"{__name__}.pool"', ["fastrpc.client.pool"]),
        ('X = import_module("fastrpc.client")', ["fastrpc.client"]),
        ('X = importlib.import_module(".pool", __package__)', ["fastrpc.client.pool"]),
        ('X = import_module("..server.offer", __package__)', ["fastrpc.server.offer"]),
        ('X = import_module(".offer", "fastrpc.server")', ["fastrpc.server.offer"]),
        ("X = import_module(name)", []),
    ],
)
def test_modules_named_in_texts_are_found(tmp_path: Path, text: str, found: list[str]) -> None:
    path = tmp_path / "__init__.py"
    path.write_text(text)
    assert [item.module for item in named_imports(path, "fastrpc.client")] == found


@pytest.mark.parametrize(
    "breach",
    [
        "from fastrpc.hosting.mounts import Mounts",
        "def late():\n    from fastrpc.hosting.mounts import Mounts",
        "def late():\n    return importlib.import_module('fastrpc.hosting')",
        "def late(name):\n    return import_module(f'fastrpc.hosting.{name}')",
        "def late():\n    return import_module('..hosting.mounts', __package__)",
        "def late():\n    return __import__('fastrpc.hosting.mounts')",
        "PLACES = {'mounts': 'fastrpc.hosting.mounts:Mounts'}",
        "PLACES = {'mounts': ('fastrpc.hosting.mounts', 'Mounts')}",
    ],
)
def test_a_planted_import_that_points_up_is_found(tmp_path: Path, breach: str) -> None:
    path = tmp_path / "accepting.py"
    path.write_text("logger = logging.getLogger('fastrpc.hosting')\n" + breach)
    found = list(upward_imports(path, "fastrpc.server.accepting"))
    assert found
    assert all("server (rank 7) imports fastrpc.hosting" in one for one in found)
