"""Numbers of seconds that programs give, of any size."""

import sys
from typing import Final

__all__ = ["is_seconds", "shown"]

_LONGEST: Final = sys.float_info.max


def is_seconds(value: object) -> bool:
    """Return whether it is a number of seconds from 0 that can be added to an instant."""
    # Any whole number can be compared; arithmetic with one beyond the greatest float raises OverflowError.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST


def shown(value: object) -> str:
    """Return a value for an error; CPython refuses the text of an int with thousands of digits."""
    if isinstance(value, int) and value.bit_length() > sys.float_info.max_exp:
        return f"a number of {value.bit_length()} bits"
    return repr(value)
