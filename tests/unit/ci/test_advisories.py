"""The requirements of pyproject.toml against the table of advisories."""

import tomllib
from datetime import date, timedelta
from typing import Any

import pytest
from packaging.requirements import Requirement

from ci.advisories import MOST_DAYS, age_fault, faults, requirements_of
from tests.support.source_tree import ROOT

TODAY = date(2026, 11, 28)


def faults_of(requirement: str, *affected: str) -> list[str]:
    advisory = {"id": "CVE-1", "package": "Some.Package", "about": "it leaks", "affected": affected}
    return list(faults([Requirement(requirement)], [advisory]))


@pytest.mark.parametrize(
    ("requirement", "affected", "first"),
    [
        ("some-package", "<2", "0"),
        ("some-package>=1.9", "<2", "1.9.0"),
        ("some_package>=1,<1.5", ">=1.2,<1.4", "1.2.0"),
        ("some-package~=1.3", ">=1.2,<1.4", "1.3.0"),
        ("some-package==1.2.3", "<1.2.4", "1.2.3"),
        ("some-package[extra]>=1.2; python_version < '3.12'", "<=1.2", "1.2.0"),
        ("some-package>=3,!=6.30.*,!=6.31.*", ">=6.30,<6.33.5", "6.32"),
        ("some-package>=3,!=6.33.0,!=6.33.1", ">=6.33,<6.33.3", "6.33.2"),
        ("some-package>=3,!=6.33", ">=6.33,<6.33.3", "6.33.1"),
        ("some-package>1.2", "<1.2.2", "1.2.1"),
    ],
)
def test_requirement_that_allows_an_affected_version_is_refused(
    requirement: str, affected: str, first: str
) -> None:
    [fault] = faults_of(requirement, affected)
    assert f" allows {first}, which CVE-1 of Some.Package affects (it leaks)" in fault


@pytest.mark.parametrize(
    ("requirement", "affected"),
    [
        ("some-package>=2", "<2"),
        ("some-package>=2", ">=1,<1.5"),
        ("some-package<1", ">=1"),
        ("some-package>=6.29,!=6.30.*,!=6.31.0", ">=6.30,<6.31.1"),
        ("some-package~=2.0", "<2"),
        ("some-package==2.0", "!=2.0"),
    ],
)
def test_requirement_without_an_affected_version_passes(requirement: str, affected: str) -> None:
    assert faults_of(requirement, affected) == []


def test_advisory_of_a_package_that_is_not_required_is_refused() -> None:
    [fault] = faults_of("another", "<2")
    assert fault == "CVE-1 of Some.Package: no requirement names the package, remove the advisory"


@pytest.mark.parametrize("more", [{}, {"affected": ["<1"], "unreached": "it is not called"}])
def test_advisory_is_either_affected_or_unreached(more: dict[str, Any]) -> None:
    advisory = {"id": "CVE-1", "package": "a", "about": "it leaks"} | more
    assert list(faults([Requirement("a>=1")], [advisory])) == [
        "CVE-1 of a needs either `affected` or `unreached`"
    ]


@pytest.mark.parametrize("days", [0, 1, MOST_DAYS])
def test_table_of_the_last_days_is_young_enough(days: int) -> None:
    assert age_fault(TODAY - timedelta(days), TODAY) is None


def test_table_that_is_too_old_is_refused_with_a_remedy() -> None:
    fault = age_fault(TODAY - timedelta(MOST_DAYS + 1), TODAY)
    assert fault is not None
    assert "61 days ago, on 2026-09-28" in fault
    assert "then set compared_on" in fault


def test_table_of_tomorrow_is_refused() -> None:
    fault = age_fault(TODAY + timedelta(1), TODAY)
    assert fault is not None
    assert "1 days ahead" in fault


def test_requirements_of_the_build_of_all_extras_and_of_all_groups_count() -> None:
    project = {"dependencies": ["a>=1"], "optional-dependencies": {"x": ["b>=2"], "y": ["c>=3", "a>=2"]}}
    groups = {"dev": [{"include-group": "test"}, "e>=5"], "test": ["f>=6"]}
    pyproject = {"build-system": {"requires": ["d>=4"]}, "project": project, "dependency-groups": groups}
    found = [str(one) for one in requirements_of(pyproject)]
    assert found == ["d>=4", "a>=1", "b>=2", "c>=3", "a>=2", "e>=5", "f>=6"]
    assert requirements_of({"project": {}}) == []


def test_requirements_of_this_project_allow_no_affected_version() -> None:
    table = tomllib.loads((ROOT / "ci" / "advisories.toml").read_text(encoding="utf-8"))
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(faults(requirements_of(pyproject), table["advisory"])) == []
