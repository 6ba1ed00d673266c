"""Find, check and number codecs and compressors that other packages install."""

import re
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from fastrpc.assigned_numbers import FIRST_OWN_NUMBER, LAST_NUMBER
from fastrpc.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["free_number", "installed", "load"]

#: The allowed form of a name on the wire.
_NAME = re.compile(r"[a-z0-9._-]{1,32}")


def installed(group: str, built_in: Container[str]) -> "dict[str, EntryPoint]":
    """Return the entry points of a group by name, except built-in names, whose meaning on the wire is fixed."""
    # Imported here, because it loads parsers of package metadata, which would slow every import of fastrpc.
    from importlib.metadata import entry_points

    return {found.name: found for found in entry_points(group=group) if found.name not in built_in}


def load(kind: str, entry_point: "EntryPoint") -> Any:
    """Return the codec or compressor of an entry point; ConfigError names the defect."""
    label = f"{kind} {entry_point.name!r} ({entry_point.value})"
    try:
        loaded = entry_point.load()
    except Exception as error:
        raise ConfigError(f"{label} does not load: {error}") from error
    if not _NAME.fullmatch(entry_point.name):
        raise ConfigError(f"{label} has a name that is not 1 to 32 of a-z 0-9 . _ -")
    found = loaded() if isinstance(loaded, type) else loaded
    if found.name != entry_point.name:
        raise ConfigError(
            f"{label} calls itself {found.name!r}", hint="give the entry point the `name` of its class"
        )
    if not FIRST_OWN_NUMBER <= found.wire_id <= LAST_NUMBER:
        raise ConfigError(
            f"{label} has wire_id {found.wire_id}; installed {kind}s use {FIRST_OWN_NUMBER} to {LAST_NUMBER}"
        )
    return found


def free_number(wanted: int, taken: Container[int]) -> int | None:
    """Return the preferred number, or the next free number if another package has taken it."""
    endpoint_states = [*range(wanted, LAST_NUMBER + 1), *range(FIRST_OWN_NUMBER, wanted)]
    return next((number for number in endpoint_states if number not in taken), None)
