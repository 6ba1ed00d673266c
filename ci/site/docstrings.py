"""Turn docstrings of this package into reStructuredText."""

import inspect
import re

__all__ = ["Sections", "as_text", "described", "sections_of"]

#: The heads of the sections of a docstring.
HEADS = ("Args", "Attributes", "Returns", "Yields", "Raises")

#: The described names of each section.
Sections = dict[str, dict[str, str]]

_HEAD = re.compile(rf"({'|'.join(HEADS)}):")
_ENTRY = re.compile(r"^(\S[^:]*):\s*")
_CODE = re.compile(r"(`[^`]+`)")


def as_text(text: str) -> str:
    """Return prose with code in backticks as reStructuredText; blocks of code after `::` are unchanged."""
    found = []
    in_code = False
    for line in text.splitlines():
        if in_code and line and not line.startswith(" "):
            in_code = False
        found.append(line if in_code else _prose(line))
        in_code = in_code or line.rstrip().endswith("::")
    return "\n".join(found)


def _prose(line: str) -> str:
    parts = _CODE.split(line)
    return "".join(
        f"`{part}`" if part.startswith("`") and part.endswith("`") else re.sub(r"([*|]|_\b)", r"\\\1", part)
        for part in parts
    )


def sections_of(docstring: str | None) -> tuple[str, Sections]:
    """Return a docstring's text, and the entries of its sections by their names."""
    text: list[str] = []
    bodies: dict[str, list[str]] = {}
    here = text
    for line in inspect.cleandoc(docstring or "").splitlines():
        if match := _HEAD.fullmatch(line):
            here = bodies.setdefault(match[1], [])
            continue
        if line and not line.startswith(" "):
            # A section ends where its indent does.
            here = text
        here.append(line)
    return "\n".join(text).strip(), {head: _entries(body) for head, body in bodies.items()}


def _entries(body: list[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    names = ""
    for line in inspect.cleandoc("\n" + "\n".join(body)).splitlines():
        written = line
        if match := _ENTRY.match(line):
            names, written = match[1], line[match.end() :]
        if written.strip():
            entries[names] = f"{entries.get(names, '')} {written.strip()}".strip()
    # Several names may share a text.
    return {one.strip(): text for shared, text in entries.items() for one in shared.split(", ")}


def described(sections: Sections) -> list[str]:
    """Return the fields of a directive for arguments, results and errors."""
    fields = [f":param {name}: {as_text(text)}" for name, text in sections.get("Args", {}).items()]
    fields += [f":returns: {as_text(text)}" for text in sections.get("Returns", {}).values()]
    fields += [f":yields: {as_text(text)}" for text in sections.get("Yields", {}).values()]
    return fields + [f":raises {name}: {as_text(text)}" for name, text in sections.get("Raises", {}).items()]
