"""Names of files that callers send: relative to the root, with `/` between folders."""

from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["PART_SUFFIX", "is_partial", "parts_of", "quoted"]

#: The suffix of the names of unfinished files.
PART_SUFFIX = ".fastrpc-part"

#: The most bytes of a name (LONGEST_NAME) and of a part of a name (LONGEST_PART): Linux's PATH_MAX and NAME_MAX.
LONGEST_NAME = 4_096
LONGEST_PART = 255

#: Most characters of a name that an error text contains.
_MOST_QUOTED = 200


def is_partial(part: str) -> bool:
    """Return whether a part of a name is the name of an unfinished file."""
    return part.endswith(PART_SUFFIX)


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name.

    Raises:
        CallError: INVALID_ARGUMENT: the name is empty, absolute or too long, or has a part that cannot be a file's
            name.
    """
    if fault := _fault_in(name):
        raise CallError(Status.INVALID_ARGUMENT, f"{quoted(name)} is not the name of a file: {fault}")
    return tuple(name.split("/"))


def quoted(name: str) -> str:
    """Return a name in quotes for an error text."""
    return repr(name if len(name) <= _MOST_QUOTED else f"{name[:_MOST_QUOTED]}…")


def _fault_in(name: str) -> str | None:
    if not name:
        return "it is empty"
    if name.startswith("/"):
        return "it is absolute"
    for character, label in (("\0", "NUL"), ("\\", "a backslash")):
        if character in name:
            return f"it holds {label}"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "it is not Unicode text"
    if size > LONGEST_NAME:
        return f"it has {size} bytes, the limit is {LONGEST_NAME}"
    for part in name.split("/"):
        if part in {"", ".", ".."}:
            return f"it has the part {part!r}"
        if len(part.encode()) > LONGEST_PART:
            return f"a part of it has more than {LONGEST_PART} bytes"
    return None
