"""What `help()` shows of a settings class: its docstring, and its fields as the comments above them describe them.

The text of a setting is the `#:` comment above it, read from the source when `__doc__` is asked for, so that each
text is written once and costs no import time.
"""

import dataclasses
import inspect
import textwrap
from typing import Any

__all__ = ["description_of"]

_WIDTH = 100


def description_of(settings: type[Any], summary: str) -> str:
    """Return the docstring of a settings class and below it what the comments in its source say of the fields."""
    summary = inspect.cleandoc(summary)
    try:
        comments = _comments(inspect.getsource(settings))
    except (OSError, TypeError):  # Installed without its sources.
        return summary
    lines = [summary, "", "Attributes:"]
    for field in dataclasses.fields(settings):
        text = comments.get(field.name) or _summary_of_kind(field)
        lines += textwrap.wrap(
            f"{field.name}: {text}", _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8
        )
    return "\n".join(lines)


def _comments(source: str) -> dict[str, str]:
    """Return the `#:` comments of a class, each by the name below it."""
    texts: dict[str, str] = {}
    comment: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#:"):
            comment.append(line.removeprefix("#:").strip())
        elif comment:
            texts[line.partition(":")[0]] = " ".join(comment)
            comment = []
    return texts


def _summary_of_kind(field: dataclasses.Field[Any]) -> str:
    """Describe a field that is a group of settings of its own by what these are for."""
    kind: Any = field.default_factory
    return (kind.__doc__ or "").partition("\n")[0]
