"""Lines of source in the layout of formatters: a statement takes one line, or a line for each of its parts."""

import inspect
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["WIDTH", "Group", "behind", "comment_lines", "docstring", "flat", "statement"]

#: A quote that no backslash escapes.
_ENDS_IN_QUOTE: Final = re.compile(r'(?<!\\)(\\\\)*"$')
#: The default width of formatters.
WIDTH: Final = 88


class Group(NamedTuple):
    """Parts in brackets, such as the arguments of a call; a single part of a type has no trailing comma."""

    head: str
    parts: "Sequence[Group | str]"
    end: str
    is_open: bool = True


def flat(part: Group | str) -> str:
    """Return a part on one line."""
    return part if isinstance(part, str) else f"{part.head}{', '.join(map(flat, part.parts))}{part.end}"


def behind(text: str, part: Group | str) -> Group | str:
    """Return a part with a text put before it."""
    return (
        f"{text}{part}"
        if isinstance(part, str)
        else Group(f"{text}{part.head}", part.parts, part.end, part.is_open)
    )


def statement(indent: int, before: str, group: Group | str, after: str = "") -> list[str]:
    """Return a statement on one line or, if that is too long, with each part of the group on a line."""
    space = " " * indent
    line = f"{space}{before}{flat(group)}{after}"
    if len(line) <= WIDTH:
        return [line]
    if isinstance(group, str):
        kind, mark, other = group.partition(" | ")
        return [f"{space}{before}{kind}", f"{space}{mark.lstrip()}{other}{after}"] if mark else [line]
    # The last comma keeps formatters from joining the lines.
    comma = "," if group.is_open else ""
    parts = [line for part in group.parts for line in statement(indent + 4, "", part, comma)]
    return [f"{space}{before}{group.head}", *parts, f"{space}{group.end}{after}"]


def docstring(text: str, indent: int) -> list[str]:
    """Return a text as a docstring, escaped so that it cannot end the docstring; no lines for an empty text."""
    # Formatters ignore the first line, and remove the common indentation of the others.
    lines = [_escaped(line) for line in inspect.cleandoc(text).split("\n")]
    if not text.strip():
        return []
    space = " " * indent
    first = f'{space}"""{" " if lines[0].startswith(chr(34)) else ""}{lines[0]}'
    if len(lines) == 1:
        return [f'{first}{" " if _ENDS_IN_QUOTE.search(first) else ""}"""']
    return [first, *(f"{space}{line}" if line else "" for line in lines[1:]), f'{space}"""']


def comment_lines(text: str, indent: int, mark: str = "#") -> list[str]:
    """Return a text as lines of a comment."""
    space = " " * indent
    return [f"{space}{mark} {_visible(line)}".rstrip() for line in text.split("\n")] if text.strip() else []


def _escaped(line: str) -> str:
    return _visible(line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"'))


def _visible(line: str) -> str:
    """Return a line with invisible characters as escapes, since they could reorder the text on a screen."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
