"""Print the requirements of groups in pyproject.toml (PEP 735), for versions of pip without `--group`.

`python ci/groups.py dev` needs the standard library only.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["requirements_in"]

ROOT = Path(__file__).parents[1]


def requirements_in(*names: str, groups: Mapping[str, Sequence[Any]] | None = None) -> list[str]:
    """Return the requirements of groups, with those of the groups that they include.

    Raises:
        SystemExit: the group does not exist, or includes itself.
    """
    if groups is None:
        groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return [text for name in names for text in _expanded(name, groups, ())]


def _expanded(name: str, groups: Mapping[str, Sequence[Any]], inside: tuple[str, ...]) -> Iterator[str]:
    if name not in groups:
        raise SystemExit(f"pyproject.toml has no group {name!r}; it has {', '.join(groups)}")
    if name in inside:
        raise SystemExit(f"the group {name!r} of pyproject.toml includes itself")
    for entry in groups[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from _expanded(entry["include-group"], groups, (*inside, name))


if __name__ == "__main__":
    print(*requirements_in(*sys.argv[1:]), sep="\n")
