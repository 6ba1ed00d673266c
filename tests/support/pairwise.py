"""Which cases of a test a normal run tries: each pair of values of its parameters, under one event loop or the other.

A test over protocols, callers and kinds of calls has hundreds of cases, and nearly every defect shows with two of the
three values. The event loop makes no pairs: half of the cases of a test run under each. Longer runs try all cases; of
a test that belongs to a suite of conformance or that measures, every run does.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias
from zlib import crc32

import pytest

__all__ = ["chosen_cases", "covering", "left_out"]

#: Marks of tests whose cases are all tried.
WHOLE = ("measures", "conformance")

#: The parameter by which pytest-asyncio gives a test its event loop.
LOOP = "_asyncio_loop_factory"

Case: TypeAlias = Mapping[str, Hashable]


def left_out(items: Sequence[pytest.Item]) -> set[pytest.Item]:
    """Return the cases that a normal run does not try."""
    tests: dict[str, dict[str, pytest.Item]] = defaultdict(dict)
    for item in items:
        is_whole = any(item.get_closest_marker(name) is not None for name in WHOLE)
        if isinstance(item, pytest.Function) and hasattr(item, "callspec") and not is_whole:
            tests[item.nodeid.partition("[")[0]][item.nodeid] = item
    found: set[pytest.Item] = set()
    for cases in tests.values():
        chosen = chosen_cases({name: _values(item) for name, item in cases.items()})
        found.update(item for name, item in cases.items() if name not in chosen)
    return found


def chosen_cases(cases: Mapping[str, Case]) -> set[str]:
    """Return the names of the cases of one test that a normal run tries; `cases` has the parameters of each."""
    return covering({name: set(_targets(case)) for name, case in cases.items()})


def covering(cases: Mapping[str, set[Hashable]]) -> set[str]:
    """Return some of the cases that have all targets of all of them; always the same ones."""
    missing = set().union(*cases.values())
    order = sorted(cases, key=lambda name: (crc32(name.encode()), name))
    chosen: set[str] = set()
    # Those that add the most come first, and a case is looked at again only while it may add as many.
    for least in range(max(map(len, cases.values()), default=0), 0, -1):
        for name in order:
            if len(cases[name] & missing) >= least:
                chosen.add(name)
                missing -= cases[name]
        order = [name for name in order if name not in chosen]
    return chosen


def _values(item: pytest.Function) -> Case:
    """Return the parameters of a case by identity: True, 1 and 1.0 are equal, and different values here."""
    single: dict[str, Hashable] = {name: id(value) for name, value in item.callspec.params.items()}
    rows: dict[str, Hashable] = {}
    for mark in item.iter_markers("parametrize"):
        given = mark.args[0] if mark.args else mark.kwargs["argnames"]
        names = given.replace(",", " ").split() if isinstance(given, str) else given
        # A row of several parameters was written as one case.
        rows[" ".join(names)] = tuple(single.pop(name) for name in names)
    return single | rows


def _targets(case: Case) -> Iterator[Hashable]:
    """Return the targets of a case: its values, and each pair of them."""
    yield from case.items()
    yield from combinations([one for one in case.items() if one[0] != LOOP], 2)
