"""The error for an unknown argument or setting: it suggests the probable name, or its proper place."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["setting_with", "unknown_name", "unknown_setting"]

#: Advice for an unknown setting whose nearest name would mislead.
_ADVICE: Final[Mapping[tuple[str, str], str]] = {
    ("Timeouts", "timeout"): "write Timeouts(call=…) for calls; each other phase has its own limit",
    ("ClientConfig", "timeout"): "write timeouts=Timeouts(call=…)",
    (
        "ServerConfig",
        "timeout",
    ): "write @method(timeout=…) for calls, timeouts=Timeouts(drain=…) for the drain",
}


def unknown_name(
    owner: str, kind: str, name: str, known: Iterable[str], advice: str | None = None
) -> TypeError:
    """Return the error for an unknown name, with the nearest one unless there is better advice."""
    names = list(known)
    if advice is None:
        near = _nearest(name, names)
        advice = f"did you mean {near!r}?" if near else f"there are {', '.join(names)}"
    return TypeError(f"{owner} has no {kind} {name!r} ({advice})")


def unknown_setting(
    owner: str, name: str, known: Iterable[str], others: Mapping[str, Iterable[str]]
) -> TypeError:
    """Return the error for an unknown setting of a class.

    Args:
        others: the settings of each class.
    """
    names = list(known)
    advice = _ADVICE.get((owner, name))
    if advice is None and not _nearest(name, names):
        holders = [other for other, settings in others.items() if name in settings]
        advice = f"it is a setting of {' and '.join(holders)}" if holders else None
    return unknown_name(owner, "setting", name, names, advice)


def _nearest(name: str, names: list[str]) -> str | None:
    # Imported on the first mistake: most programs make none.
    from difflib import get_close_matches

    near = get_close_matches(name, names, 1)
    return near[0] if near else None


def setting_with(config: Any, name: str) -> str | None:
    """Return a setting as source, or None if neither the configuration nor a part of it has this name."""
    kind, names = type(config).__name__, type(config).__dataclass_fields__
    if name in names:
        return f"{kind}({name}=…)"
    for part_name in names:
        part = type(getattr(config, part_name))
        if name in getattr(part, "__dataclass_fields__", ()):
            return f"{kind}({part_name}={part.__name__}({name}=…))"
    return None
