"""The key selectors of Go rpcx, for fleets in which Go and Python clients must map keys to the same endpoints."""

from typing import Any

from fastrpc._core.balancing.key_selectors import DoubleJumpSelector, JumpHashSelector

__all__ = ["DoubleJump", "JumpHash", "go_text", "rpcx_key"]


def go_text(value: object) -> str | None:
    """Return a scalar as Go prints it (`%v`); None for other values, which Go prints differently."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, float):
        return _go_float(value)
    return None


def _go_float(value: float) -> str:
    """Format with the fewest digits, and with an exponent below 1e-4 and from 1e21 on."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = f"{value!r}e0".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + int(exponent.partition("e")[0])
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0"
    if not -4 < point <= 21:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{rest}e{point - 1:+03d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return f"{sign}{digits}{'0' * (point - len(digits))}"
    return f"{sign}{digits[:point]}.{digits[point:]}"


def rpcx_key(method: str, arguments: tuple[Any, ...]) -> str | None:
    """Return the key that rpcx hashes, "/Path/Method/argument", for a method "Path.Method".

    None unless the argument is a single scalar or text: other values do not have the same form in every language.
    """
    text = go_text(arguments[0]) if len(arguments) == 1 else None
    if text is None:
        return None
    path, _, name = method.rpartition(".")
    return f"/{path}/{name}/{text}"


class JumpHash(JumpHashSelector):
    """Pick by jump hash over the sorted addresses.

    The key is `hash_key`, else rpcx's key of method and argument; a call with neither may use any endpoint. Jump hash
    spreads keys better than a ring and needs no memory, but removing an endpoint from the middle of the list moves half
    of the keys. While a listed endpoint is unavailable, only its keys use other endpoints.

    Args:
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()

    rpcx_key = staticmethod(rpcx_key)


class DoubleJump(DoubleJumpSelector):
    """Pick by double jump hash, like rpcx's consistent hash. The key is the same as for `JumpHash`.

    The endpoint of a key depends on the order in which endpoints were added to and removed from the list, not on
    connections. Endpoints of one change are ordered by address here and randomly in Go, so after a change of several
    endpoints even two Go clients may differ. While a listed endpoint is unavailable, only its keys use other endpoints.

    Args:
        filters: narrow the endpoints before one is picked, in this order; `labels`, `version`, `zone`, `subset` or one
            of your own.
        seed: makes random picks repeatable, for tests; None: a random seed.
    """

    __slots__ = ()

    rpcx_key = staticmethod(rpcx_key)
