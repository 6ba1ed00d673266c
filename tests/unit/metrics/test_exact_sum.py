"""Sums of floats without rounding."""

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.metrics.exact_sum import ExactSum

pytestmark = pytest.mark.one_loop

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def summed(*values: object) -> ExactSum:
    total = ExactSum()
    for value in values:
        total.add(value.plain() if isinstance(value, ExactSum) else value)
    return total


@given(st.lists(FINITE))
def test_a_total_is_the_exact_sum_rounded_once(values: list[float]) -> None:
    assert float(summed(*values)) == math.fsum(values)


@given(st.lists(FINITE), st.lists(FINITE), st.lists(FINITE))
def test_the_order_and_the_groups_do_not_matter(a: list[float], b: list[float], c: list[float]) -> None:
    left = summed(summed(summed(*a), summed(*b)), summed(*c))
    right = summed(summed(*a), summed(summed(*c), summed(*b)))
    assert float(left) == float(right) == math.fsum([*a, *b, *c])


@given(st.lists(FINITE, min_size=1))
def test_json_carries_it(values: list[float]) -> None:
    carried = summed(json.loads(json.dumps(summed(*values).plain())))
    assert float(carried) == math.fsum(values)


@given(st.lists(FINITE), st.lists(FINITE))
def test_subtracted_values_are_gone(kept: list[float], taken: list[float]) -> None:
    total = summed(*kept, *taken)
    total.add(summed(*taken).plain(), -1)
    assert float(total) == math.fsum(kept)


def test_a_sum_of_many_floats_stays_small() -> None:
    choose = random.Random(1)
    total = summed(*(choose.random() for _ in range(10_000)))
    plain = total.plain()
    assert isinstance(plain, float) or len(plain) <= 4


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_stays(value: float) -> None:
    total = summed(1.0, 1e-30, value, 2.0)
    assert repr(float(total)) == repr(value)
    assert repr(float(summed(total.plain(), 1.0))) == repr(value)


def test_infinities_of_both_signs_are_no_number() -> None:
    assert math.isnan(float(summed(math.inf, 1.0, -math.inf)))


def test_an_empty_sum_is_zero() -> None:
    assert ExactSum().plain() == 0.0
