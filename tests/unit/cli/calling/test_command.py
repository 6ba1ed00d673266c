"""Calls from the command line: streams have no time limit."""

import pytest

from fastrpc.cli.calling.command import time_limit
from fastrpc.cli.calling.method_kinds import KindName, KnownMethod
from fastrpc.cli.printing import counted


@pytest.mark.parametrize("kind", KindName)
def test_only_a_method_that_streams_nothing_has_a_limit_by_default(kind: KindName) -> None:
    known = KnownMethod("feed.count", None, kind)
    assert time_limit(known, None) == (5.0 if kind is KindName.UNARY else None)
    assert time_limit(known, 0.5) == 0.5


@pytest.mark.parametrize(("count", "text"), [(0, "0 messages"), (1, "1 message"), (2_000, "2,000 messages")])
def test_a_count_has_its_noun_in_the_right_number(count: int, text: str) -> None:
    assert counted(count, "message") == text
