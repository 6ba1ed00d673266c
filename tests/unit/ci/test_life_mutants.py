"""The script that removes each rule of a connection's life finds them all in the module."""

import pytest

from ci.life_mutants import MODULE, MUTANTS, ROOT


@pytest.mark.parametrize("rule", MUTANTS)
def test_each_mutant_finds_its_rule_in_the_module_once(rule: str) -> None:
    part, replacement, _ = MUTANTS[rule]
    assert (ROOT / MODULE).read_text().count(part) == 1
    assert replacement != part
