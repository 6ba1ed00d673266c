"""Options of selectors that make no sense are refused by a message with the expected value."""

from typing import Any

import pytest

from fastrpc.errors import ConfigError
from fastrpc.selectors import ConsistentHash, LeastLoaded, Random


@pytest.mark.parametrize("decay", [0, -1, 1e9, "1", None, True])
def test_least_loaded_refuses_a_decay_that_makes_no_sense(decay: Any) -> None:
    with pytest.raises(ConfigError, match=f"^decay is {decay!r}, it must be a number of seconds from 0.001"):
        LeastLoaded(decay=decay)


def test_an_invalid_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="^seed is 1.5, it must be a text, bytes or a whole number"):
        Random(seed=1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": 0.5}, "bound is 0.5, it must be a number from 1 to 1,000,000, or None"),
        ({"bound": "much"}, "bound is 'much', it must be a number from 1"),
        ({"bound": True}, "bound is True, it must be"),
        ({"bound": float("nan")}, "bound is nan, it must be"),
        ({"least_load": -1}, "least_load is -1, it must be a whole number from 0"),
        ({"least_load": "few"}, "least_load is 'few', it must be a whole number from 0"),
        ({"least_load": 1.5}, "least_load is 1.5, it must be a whole number from 0"),
    ],
)
def test_consistent_hash_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        ConsistentHash(**options)
