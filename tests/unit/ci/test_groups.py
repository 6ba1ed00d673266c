"""The groups of pyproject.toml, for those who work on this repository."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ci.groups import requirements_in

ROOT = Path(__file__).parents[3]
GROUPS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]


def test_a_group_brings_the_groups_that_it_includes() -> None:
    groups = {"a": ["x>=1", {"include-group": "b"}], "b": ["y", {"include-group": "c"}], "c": ["z"]}
    assert requirements_in("a", groups=groups) == ["x>=1", "y", "z"]
    assert requirements_in("c", "b", groups=groups) == ["z", "y", "z"]


def test_unknown_groups_and_circles_are_refused() -> None:
    with pytest.raises(SystemExit, match="no group 'd'; it has a"):
        requirements_in("d", groups={"a": []})
    with pytest.raises(SystemExit, match="'a' of pyproject.toml includes itself"):
        requirements_in("a", groups={"a": [{"include-group": "b"}], "b": [{"include-group": "a"}]})


def test_this_repository_has_groups_for_work_tests_and_documents() -> None:
    assert {"dev", "test", "docs"} <= GROUPS.keys()
    assert set(requirements_in("dev")) > set(requirements_in("test"))


def test_no_group_is_an_extra_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert GROUPS.keys() & project["optional-dependencies"].keys() == set()


def test_the_script_prints_one_requirement_a_line(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "ci" / "groups.py"), "docs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == requirements_in("docs")
