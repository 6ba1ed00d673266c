"""The tests that CI chooses by their marks."""

import re

from _pytest.mark.expression import Expression

from tests.support.source_tree import ROOT

RUN = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

#: What `.ci/run` gives to `-m` for the tests of services.
CHOICES = [Expression.compile(text) for text in re.findall(r"make services .*-m '(.+)'", RUN)]


def chosen(*marks: str) -> list[bool]:
    return [choice.evaluate(lambda name, **_: name in marks) for choice in CHOICES]


def test_each_test_of_services_runs_once() -> None:
    assert sum(chosen()) == 1


def test_measuring_tests_and_soak_suites_are_left_out() -> None:
    assert not any(chosen("measures"))
    assert not any(chosen("conformance"))
    assert not any(chosen("measures", "conformance"))
