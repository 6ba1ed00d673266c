"""The rooms of the package: how many modules a folder has, and that a name stands for one class."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source_tree import PACKAGE, ROOT, sources, tree

pytestmark = pytest.mark.usefixtures("forgotten_trees")

FOLDER_MODULES = 30
#: A limit is crowded when more than three folders have 97 % of it.
CROWD = 3

CLASS = re.compile(r"^(?:cdef )?class (\w+)", re.MULTILINE)
FILES = [path for path in sources(".py", ".pyx", ".pxd") if PACKAGE in path.parents]


def classes_in(path: Path) -> Iterator[str]:
    """Yield the public classes that a module defines; classes of a `.pxd` have their body in the `.pyx`."""
    if path.suffix == ".py":
        names = [node.name for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    else:
        names = CLASS.findall(path.read_text(encoding="utf-8")) if path.suffix == ".pyx" else []
    return (name for name in names if not name.startswith("_"))


def test_folders_have_few_modules() -> None:
    # A `.pyx` and its `.pxd` are one module.
    modules = Counter(folder for folder, _ in {(path.parent, path.stem) for path in FILES})
    counts = {str(folder.relative_to(ROOT)): count for folder, count in modules.items()}
    assert {folder: count for folder, count in counts.items() if count > FOLDER_MODULES} == {}
    crowded = {folder: count for folder, count in counts.items() if count >= 0.97 * FOLDER_MODULES}
    assert len(crowded) <= CROWD, crowded


def test_a_name_stands_for_one_class() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for name in classes_in(path):
            places[name].append(str(path.relative_to(PACKAGE)))
    shared = {name: found for name, found in places.items() if len(found) > 1}
    assert shared == {}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", "class A:\n    class B: ...\nclass _C: ...\n'''\nclass D: ...\n'''\n", ["A", "B"]),
        ("a.pyx", "cdef class A(B):\n    pass\nclass C:\n    pass\ncdef class _D:\n    pass\n", ["A", "C"]),
        ("a.pxd", "cdef class A:\n    pass\n", []),
    ],
)
def test_classes_are_found(tmp_path: Path, name: str, text: str, found: list[str]) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert list(classes_in(path)) == found
