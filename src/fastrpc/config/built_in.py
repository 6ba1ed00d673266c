"""Built-in selectors and fail modes, chosen by name."""

import importlib
from collections.abc import Mapping
from typing import Any

from fastrpc.errors import ConfigError

__all__ = ["built_in"]


def built_in(kind: str, choice: str, known: Mapping[str, tuple[str, str]]) -> Any:
    """Make the object named `choice`; its module is imported on demand.

    Args:
        kind: the kind of object, for the error.
        known: name -> (module, class).

    Raises:
        ConfigError: the name is unknown; the message lists the known names, the hint has the nearest.
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
