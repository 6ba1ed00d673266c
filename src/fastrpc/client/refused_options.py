"""What is said to whoever gives a client what is no argument of it: where it belongs."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ParamSpec

from fastrpc.config import ClientConfig
from fastrpc.rpc.later_arguments import check_later
from fastrpc.rpc.options import OPTION_NAMES

__all__ = ["explain_options"]

P = ParamSpec("P")


def explain_options(init: Callable[P, None]) -> Callable[P, None]:
    """Have a constructor of a client say of keywords that it does not know what to write.

    Raises:
        TypeError: there is no such argument.
        ConfigError: this version does not have it yet.
    """
    known = inspect.signature(init).parameters.keys()

    @functools.wraps(init)
    def explained(*args: P.args, **kwargs: P.kwargs) -> None:
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            kwargs = check_later("Client", kwargs)  # type: ignore[assignment]
            for name in unknown:
                if name in kwargs:
                    raise _refusal(type(args[0]).__name__, name)
        init(*args, **kwargs)

    return explained


def _refusal(client: str, name: str) -> TypeError:
    text = f"{client}() has no argument {name!r}"
    if name == "timeout":
        return TypeError(
            f"{text} (write client.with_options(timeout=…).call(…) for some calls, "
            "config=ClientConfig(timeouts=Timeouts(call=…)) for all)"
        )
    if name in OPTION_NAMES:
        return TypeError(f"{text} (it is an option of calls: write client.with_options({name}=…).call(…))")
    part = _part_with(name)
    if part is not None:
        return TypeError(f"{text} (it is a setting: write config={part})")
    return TypeError(text)


def _part_with(name: str) -> str | None:
    """Return how a setting is written, if one of this name exists."""
    config: Any = ClientConfig()
    for field in fields(config):
        if field.name == name:
            return f"ClientConfig({name}=…)"
    for field in fields(config):
        part = getattr(config, field.name)
        if hasattr(type(part), "__dataclass_fields__") and name in type(part).__dataclass_fields__:
            return f"ClientConfig({field.name}={type(part).__name__}({name}=…))"
    return None
