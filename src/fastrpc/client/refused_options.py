"""Messages for arguments that a client does not have, with the right place of the option."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import ParamSpec

from fastrpc.config.unknown_names import setting_with, unknown_name
from fastrpc.errors import ConfigError
from fastrpc.rpc.options import OPTION_NAMES

__all__ = ["explain_options"]

P = ParamSpec("P")

#: The name of the first argument of each constructor, with an example.
_EXAMPLES = {"target": "tcp://host:port", "registry": "consul://host:8500"}

_PLACES = frozenset({"address", "addresses", "endpoint", "endpoints", "host", "port", "url", "uri"})


def explain_options(init: Callable[P, None]) -> Callable[P, None]:
    """Wrap the constructor of a client so that errors show the right form of an unknown keyword.

    Raises:
        TypeError: there is no such argument.
        ConfigError: services are given to a client that cannot serve.
    """
    known = inspect.signature(init).parameters.keys()
    first = next(name for name in known if name != "self")

    @functools.wraps(init)
    def explained(*args: P.args, **kwargs: P.kwargs) -> None:
        unknown = [name for name in kwargs if name not in known]
        if unknown:
            if "services" in unknown and first == "target":
                _check_services(type(args[0]).__name__, kwargs.pop("services"))
                unknown.remove("services")
            for name in unknown:
                raise _refusal(
                    type(args[0]).__name__, first, name, [each for each in known if each != "self"]
                )
        # The two positional arguments are `self` and the first argument of the caller.
        if len(args) != 2 and first not in kwargs:
            raise _wrong_count(type(args[0]).__name__, first, len(args) - 1)
        init(*args, **kwargs)

    return explained


def _check_services(client: str, services: object) -> None:
    """Refuse services. The default of `Client` is accepted, so that the same arguments are valid for both clients."""
    if services != ():
        # The message omits the value, which may be anything, even a secret.
        raise ConfigError(
            f"services is given to {client}, but it reads only while it waits, and could not answer calls (use Client)",
            hint="leave services out",
        )


def _wrong_count(client: str, first: str, count: int) -> TypeError:
    example = f"{client}({_EXAMPLES[first]!r})"
    if count == 0:
        return TypeError(f"{client}() needs a {first} (write {example})")
    several = f", {client}(['tcp://…', 'tcp://…']) for several addresses" if first == "target" else ""
    return TypeError(
        f"{client}() takes one positional argument, the {first}, and got {count} (write {example}{several}, and all "
        "else by name)"
    )


def _refusal(client: str, first: str, name: str, known: Iterable[str]) -> TypeError:
    text = f"{client}() has no argument {name!r}"
    if name == "timeout":
        return TypeError(
            f"{text} (write client.with_options(timeout=…).call(…) for some calls, "
            "config=ClientConfig(timeouts=Timeouts(call=…)) for all)"
        )
    if name in _PLACES:
        return TypeError(f"{text} (the {first} is the address: write {client}({_EXAMPLES[first]!r}))")
    if name in OPTION_NAMES:
        return TypeError(f"{text} (it is an option of calls: write client.with_options({name}=…).call(…))")
    from fastrpc.config import ClientConfig  # Its modules are imported only for the message.

    setting = setting_with(ClientConfig(), name)
    advice = None if setting is None else f"it is a setting: write config={setting}"
    return unknown_name(f"{client}()", "argument", name, known, advice)
