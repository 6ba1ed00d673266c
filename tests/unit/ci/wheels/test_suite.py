"""The suite of an installed wheel: all that its tests import is required, and each test that it names exists."""

import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ci.wheels import suite
from ci.wheels.suite import EMULATED, requirements_of_tests
from tests.support.source_tree import ROOT, functions, imports

pytestmark = pytest.mark.usefixtures("forgotten_trees")

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
OWN = tuple(ROOT / path for path in (ROOT / "ci/own_tests.txt").read_text().split())
#: Folders of this tree, next to the tests, and the modules compiled for them.
HERE = {"bench", "ci", "fastrpc_harness", "tests"}


def brought_by(waiting: list[str]) -> set[str]:
    """Return the names of all distributions that requirements bring."""
    found: set[tuple[str, str]] = set()
    while waiting:
        requirement = Requirement(waiting.pop())
        for extra in {"", *requirement.extras}:
            key = canonicalize_name(requirement.name), extra
            if key not in found and (not requirement.marker or requirement.marker.evaluate()):
                found.add(key)
                waiting += requirements_of(key[0], extra)
    return {name for name, _ in found}


def requirements_of(name: str, extra: str) -> Iterator[str]:
    """Return the requirements of a distribution; none for a missing one, such as the compiler of `make wheels`."""
    try:
        found = requires(name) or []
    except PackageNotFoundError:
        return
    for text in found:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            requirement.marker = None
            yield str(requirement)


def imported_by(places: list[str]) -> set[str]:
    """Return the packages that files of tests import when they are collected, and their parent packages."""
    files = [
        path
        for place in [*places, "tests/support", "tests/conftest.py"]
        for path in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
        if not any(path.is_relative_to(own) for own in OWN)
    ]
    assert len(files) > 100
    return {found.module.partition(".")[0] for path in files for found in imports(path) if not found.deferred}


@pytest.mark.parametrize("place", ["tests/unit", "tests/property", "tests/integration"])
def test_tests_of_a_wheel_import_nothing_that_is_not_required(place: str) -> None:
    required = brought_by(requirements_of_tests())
    parts = packages_distributions()
    foreign = imported_by([place]) & parts.keys() - HERE
    assert {"fastrpc", "hypothesis", "pytest"} <= foreign
    assert {
        name for name in foreign if not {canonicalize_name(part) for part in parts[name]} & required
    } == set()


def test_cibuildwheel_installs_the_requirements_of_the_tests() -> None:
    assert PROJECT["tool"]["cibuildwheel"]["test-groups"] == ["test"]


@pytest.mark.parametrize("option", ["--run", "--tests="])
def test_wheels_that_could_not_be_tried_are_not_built(tmp_path: Path, option: str) -> None:
    command = [sys.executable, "-m", "ci.wheels", "--versions", "3.12", option]
    # Without sources: a build would fail for another reason.
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "none of these wheels can have one here" in ended.stderr
    assert ended.returncode == 1


@pytest.mark.parametrize("is_emulated", [False, True])
def test_an_emulator_runs_no_slow_test(monkeypatch: pytest.MonkeyPatch, is_emulated: bool) -> None:
    monkeypatch.chdir(ROOT)
    arguments = suite.tests_of(is_emulated)
    assert ("not slow" in arguments[arguments.index("-m") + 1]) is is_emulated


def test_each_test_that_an_emulator_runs_exists_is_not_slow_and_is_named_once() -> None:
    named = Counter(EMULATED.read_text().split())
    assert named
    slow = (ROOT / "tests/slow_tests.txt").read_text().split()
    assert {
        each: count for each, count in named.items() if count > 1 or each in slow or not is_test(each)
    } == {}


def is_test(name: str) -> bool:
    path, _, function = name.partition("::")
    return (ROOT / path).exists() and function in {found.name for found in functions(ROOT / path)}
