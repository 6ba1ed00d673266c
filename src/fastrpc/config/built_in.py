"""What is chosen by its name: one of the selectors or fail modes that come with fastrpc."""

import importlib
from collections.abc import Mapping
from typing import Any

from fastrpc.errors import ConfigError

__all__ = ["built_in"]


def built_in(kind: str, choice: str, known: Mapping[str, tuple[str, str]]) -> Any:
    """Make the one called `choice`; its module is imported only now.

    Args:
        kind: what such things are called, for the error.
        known: name -> (module, class).

    Raises:
        ConfigError: there is none of that name; the message lists them, the hint has the nearest.
    """
    if choice not in known:
        import difflib

        near = difflib.get_close_matches(choice, known, n=1)
        raise ConfigError(
            f"there is no {kind} {choice!r}, there are {', '.join(known)}",
            hint=f"did you mean {near[0]!r}?" if near else None,
        )
    module, name = known[choice]
    return getattr(importlib.import_module(module), name)()
