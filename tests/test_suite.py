"""The rules of the tests, read off their files: where they lie, and what they may not do."""

import re
from pathlib import Path

from tests.support.source_tree import PACKAGE, ROOT

TESTS = ROOT / "tests"

INTEGRATION = TESTS / "integration"


def test_integration_tests_lie_in_a_folder_for_each_feature() -> None:
    assert [path.name for path in INTEGRATION.glob("test_*.py")] == []


def test_each_integration_test_file_has_a_name_of_its_own() -> None:
    names: dict[str, Path] = {}
    twice = []
    for path in sorted(INTEGRATION.rglob("test_*.py")):
        if path.name in names:
            twice.append(f"{path.relative_to(TESTS)} and {names[path.name].relative_to(TESTS)}")
        names[path.name] = path
    assert twice == []


def test_no_test_unfreezes_what_the_collector_need_not_look_at() -> None:
    """The collected tests are frozen; a collection that looks at them takes half a second, and many tests collect."""
    files = [
        path for path in TESTS.rglob("*.py") if re.search(r"gc\.unfreeze\(", path.read_text(encoding="utf-8"))
    ]
    assert [str(path.relative_to(TESTS)) for path in files] == []


#: Compiled modules that the tests of their neighbours cover so far; each leaves the list with its own test file.
WITHOUT_A_TEST_FILE = {
    "client/batch_call",
    "client/blocking_called_stream",
    "client/blocking_caller",
    "client/blocking_session",
    "client/blocking_state",
    "client/blocking_stream",
    "client/caller_state",
    "client/client_connection",
    "client/blocking_wait",
    "io/session",
    "io/transport_socket",
    "native/connection",
    "native/parts_owner",
    "server/server_connection",
}


def test_each_compiled_module_has_a_test_file_of_its_name() -> None:
    core = PACKAGE / "_core"
    modules = {str(path.relative_to(core).with_suffix("")) for path in core.rglob("*.pyx")}
    tested = {
        f"{path.parent.name}/{path.stem.removeprefix('test_')}"
        for path in (TESTS / "unit" / "_core").glob("*/test_*.py")
    }
    assert sorted(modules - tested - WITHOUT_A_TEST_FILE) == []
    assert sorted(WITHOUT_A_TEST_FILE & tested) == [], "these have a test file: take them off the list"
    assert sorted(WITHOUT_A_TEST_FILE - modules) == [], "these are no modules: take them off the list"
