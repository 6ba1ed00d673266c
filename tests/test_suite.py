"""The rules of the tests, read off their files: their folders, and forbidden constructs."""

import ast
import re
from pathlib import Path

from tests.support.source_tree import ROOT, tree

TESTS = ROOT / "tests"

INTEGRATION = TESTS / "integration"


def test_integration_tests_lie_in_a_folder_for_each_feature() -> None:
    assert [path.name for path in INTEGRATION.glob("test_*.py")] == []


def test_each_integration_test_file_has_a_unique_name() -> None:
    names: dict[str, Path] = {}
    twice = []
    for path in sorted(INTEGRATION.rglob("test_*.py")):
        if path.name in names:
            twice.append(f"{path.relative_to(TESTS)} and {names[path.name].relative_to(TESTS)}")
        names[path.name] = path
    assert twice == []


def test_every_slow_test_exists_and_is_listed_once() -> None:
    names = (TESTS / "slow_tests.txt").read_text(encoding="utf-8").splitlines()
    assert names == sorted(set(names))
    assert [name for name in names if not is_there(*name.split("::")[:2])] == []


def is_there(path: str, name: str) -> bool:
    """Return whether a file has a test or a class; the methods of a class may come from elsewhere."""
    source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
    return re.search(rf"\b{name}\b", source) is not None


def test_no_test_unfreezes_what_the_collector_need_not_look_at() -> None:
    """The collected tests are frozen; a collection that looks at them takes half a second, and many tests collect."""
    files = [
        path for path in TESTS.rglob("*.py") if re.search(r"gc\.unfreeze\(", path.read_text(encoding="utf-8"))
    ]
    assert [str(path.relative_to(TESTS)) for path in files] == []


def test_streams_of_asyncio_are_written_by_the_function_that_takes_closed_peers() -> None:
    """A server may close while a test writes: `write_to` of `tests.support.peer_writing` drops the bytes."""
    excepted = {TESTS / "support" / "peer_writing.py", TESTS / "examples" / "demo.py"}
    found = []
    # Only files with these letters are parsed, a few of a thousand.
    named = {path for path in TESTS.rglob("*.py") if "writer.write" in path.read_text(encoding="utf-8")}
    for path in sorted(named - excepted):
        written = [ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        found += [f"{path.relative_to(TESTS)}: {name}" for name in written if name.endswith("writer.write")]
    assert found == []
