"""Numbers of seconds that programs give, of any size."""

from math import isfinite
from typing import Any

__all__ = ["is_seconds", "shown"]


def is_seconds(value: Any) -> bool:
    """Return whether a value is a finite number, which a float can hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return isfinite(value)
    except OverflowError:
        return False


def shown(value: Any) -> str:
    """Return a value for an error; CPython refuses the text of an int with thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"a number of {value.bit_length()} bits"
    return repr(value)
