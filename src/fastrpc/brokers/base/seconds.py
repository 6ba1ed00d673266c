"""Checks of numbers of seconds, which callers may pass with any size."""

import sys
from typing import Final

__all__ = ["is_seconds", "shown"]

_LONGEST: Final = sys.float_info.max


def is_seconds(value: object) -> bool:
    """Return whether a value is a number of seconds, 0 or more, that can be added to an instant."""
    # An int of any size can be compared, but arithmetic with an int beyond the greatest float raises OverflowError.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def shown(value: object) -> str:
    """Return a value as text for an error. CPython refuses to convert an int with thousands of digits."""
    if isinstance(value, int) and value.bit_length() > sys.float_info.max_exp:
        return f"a number of {value.bit_length()} bits"
    return repr(value)
